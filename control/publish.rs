//! Publishing: snapshot files on disk, the pointer to the current one, and what nodes say about it.

pub mod files;
pub mod nodes;

pub use files::{Published, Publisher};
pub use nodes::{LiveReport, NodeView, Nodes};
