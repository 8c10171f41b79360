//! Part of Ringway.
