//! What the control plane is about: generations, what changes between them, nodes, and who did what.
//!
//! Plain values without I/O; every layer above speaks in them.

pub mod audit;
pub mod generation;
pub mod identity;
pub mod node;

pub use audit::{AuditEntry, AuditVerb};
pub use generation::{Generation, GenerationNumber, GenerationState};
pub use identity::{Identities, Identity, IdentityKey};
pub use node::{Acknowledgement, NodeReport, NodeVerdict};
pub use ringway_snapshot::current::ContentHash;
