//! The generation that the node serves: put there by the reload thread, read by workers.
//!
//! A worker compares one atomic per request and keeps its own reference ([`crate::worker::Worker`]). A reference to every
//! generation that lives is kept here, so that the last one is always dropped by a helper thread: freeing a large table
//! on a worker would stall its connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use ringway_snapshot::model::AccessLog;

use crate::generation::Generation;

/// Most generations alive at once; publishing another waits until one is let go.
pub(crate) const GENERATIONS_LIVE_MAX: usize = 8;

/// The current generation and those that requests still hold.
#[derive(Default)]
pub(crate) struct Published {
    current: ArcSwapOption<Generation>,
    turn: AtomicU64,
    live: Mutex<Vec<Arc<Generation>>>,
    log_since: LogSince,
}

/// The generation with which the access log was turned on.
#[derive(Default)]
struct LogSince(AtomicU64);

impl LogSince {
    /// A generation follows another one, whose log was this; none before the first.
    fn follows(&self, before: Option<&AccessLog>, generation: u64) {
        if before.is_none_or(|before| *before == AccessLog::Off) {
            self.0.store(generation, Ordering::Release);
        }
    }

    fn generation(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Published {
    /// Changes with each publication; 0 before the first. One load per request.
    #[inline]
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// The generation to serve, if there is one yet.
    pub(crate) fn current(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// Makes `generation` the one to serve: each head parsed after this uses it.
    pub(crate) fn publish(&self, generation: Arc<Generation>) {
        let before = self.current.load();
        let log_before = before.as_deref().map(|before| &before.settings.access_log);
        self.log_since.follows(log_before, generation.current.generation);
        self.shelf().push(Arc::clone(&generation));
        self.current.store(Some(generation));
        self.turn.fetch_add(1, Ordering::Release);
    }

    /// The generation with which the access log was turned on, where it is on. Noted as generations are published: whoever prints
    /// the log may look long after, when requests of several generations wait to be printed.
    pub(crate) fn log_since(&self) -> u64 {
        self.log_since.generation()
    }

    /// Drops generations that nobody else holds; on helper threads only. Returns how many live.
    pub(crate) fn prune(&self) -> usize {
        let gone: Vec<Arc<Generation>> = {
            let mut live = self.shelf();
            let (kept, gone) = live.drain(..).partition(|generation| Arc::strong_count(generation) > 1);
            *live = kept;
            gone
        };
        drop(gone);
        self.live()
    }

    /// How many generations live.
    pub(crate) fn live(&self) -> usize {
        self.shelf().len()
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Generation>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ringway_snapshot::model::AccessLog::{Off, Stdout};

    use super::LogSince;

    #[test]
    fn a_log_begins_with_the_generation_that_turns_it_on_whenever_somebody_looks() {
        let since = LogSince::default();
        since.follows(None, 1);
        since.follows(Some(&Stdout), 2);
        since.follows(Some(&Stdout), 3);
        assert_eq!(since.generation(), 1, "three generations before the first look");
        // The fourth turns it off, the fifth on again.
        since.follows(Some(&Stdout), 4);
        since.follows(Some(&Off), 5);
        assert_eq!(since.generation(), 5);
    }
}
