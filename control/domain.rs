//! What the control plane is about: generations, the resources they are made of, nodes, and who did what.
//!
//! Plain values without I/O; every layer above speaks in them.

pub mod audit;
pub mod generation;
pub mod node;
pub mod resource;

pub use audit::{AuditEntry, AuditVerb};
pub use generation::{Generation, GenerationNumber, GenerationState};
pub use node::{Acknowledgement, NodeReport, NodeVerdict};
pub use resource::{Change, Entry, Resource, ResourceKey, changes_between, hash_of, root_hash};
pub use ringway_snapshot::current::ContentHash;
