//! The snapshot: control's compiled policies on their way to the gateway.
//!
//! Control compiles definitions into a [`model::Model`] and [`builder::build`] turns that into the bytes of
//! one file. The gateway gives those bytes to [`reader::Snapshot::open`], the only maker of a [`Snapshot`]:
//! whoever holds one may follow every index in it.
//!
//! Big sections are tables of fixed-width little-endian rows, read in place without `unsafe`; small ones are rkyv
//! archives of the model's own types, deserialised by getters on the reload thread. No I/O, no clock, no
//! random source.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod builder;
pub mod current;
pub mod enrolment;
pub mod error;
pub mod hash;
pub mod header;
mod hex;
pub mod id;
pub mod keys;
pub mod limits;
pub mod method;
#[expect(missing_docs, reason = "the resolvers that rkyv derives for enums carry none")]
pub mod model;
pub mod reader;
pub mod rows;
pub mod seal;
pub mod secret;
pub mod tables;
mod validate;
pub use error::{SemanticError, SnapshotError};
pub use reader::Snapshot;

#[cfg(test)]
mod sample;
