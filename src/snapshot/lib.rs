//! The snapshot: control's compiled policies on their way to the gateway.

pub mod model;
pub mod seal;
