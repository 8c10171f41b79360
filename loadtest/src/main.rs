//! Part of Ringway.

fn main() {}
