//! The control plane: definitions in, snapshots out.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod compile;
pub mod config;
