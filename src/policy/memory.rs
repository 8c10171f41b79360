//! What one worker remembers from request to request.

use std::sync::Arc;

use crate::api_key::KnownKeys;
use crate::limit::{HashKey, NodeCells, WorkerLimits};

/// The memory of one worker. It outlives generations; what belongs to one is found by no other.
#[derive(Debug)]
pub struct Memory {
    /// Cells of limits.
    pub limits: WorkerLimits,
    /// API keys that were proved.
    pub keys: KnownKeys,
}

impl Memory {
    /// Of a worker on the node that `cells` belongs to. `secret` is what known keys are hashed under: of the process, and of nothing
    /// else.
    #[must_use]
    pub fn new(cells: Arc<NodeCells>, secret: HashKey) -> Self {
        Self { limits: WorkerLimits::new(cells), keys: KnownKeys::new(secret) }
    }
}
