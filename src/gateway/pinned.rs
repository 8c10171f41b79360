//! A generation as one worker holds it: the shared tables, and this worker's upstreams beside them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::generation::Generation;
use crate::upstream::{Endpoints, Upstream};

/// One worker's hold on a generation. Requests clone the `Rc`, not the `Arc`.
pub(crate) struct Pinned {
    /// The shared tables.
    pub(crate) generation: Arc<Generation>,
    /// Made when first used, so that a change of generation costs a worker nothing per upstream.
    upstreams: RefCell<Vec<Option<Rc<Upstream>>>>,
}

impl Pinned {
    /// Takes hold of a generation.
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        let mut upstreams = Vec::new();
        upstreams.resize_with(generation.upstreams.len(), || None);
        Self { generation, upstreams: RefCell::new(upstreams) }
    }

    /// The upstream of this index as this worker sees it.
    pub(crate) fn upstream(&self, index: u32, endpoints: &Endpoints) -> Option<Rc<Upstream>> {
        let mut upstreams = self.upstreams.borrow_mut();
        let slot = upstreams.get_mut(index as usize)?;
        if slot.is_none() {
            let prepared = self.generation.upstreams.get(index as usize)?;
            *slot = Some(Rc::new(Upstream::new(Arc::clone(prepared), endpoints)));
        }
        slot.clone()
    }
}
