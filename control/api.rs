//! HTTP entry points: the REST API on loopback and the gateway protocol on a Unix socket.
//!
//! They translate between HTTP and [`crate::app`], and hold no rules of their own.

pub mod problem;
pub mod views;
