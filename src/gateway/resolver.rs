//! Names of endpoints: a helper thread resolves them at load and every 30 s; the last good set is kept.
//!
//! The blocking resolver of the C library is used, off the workers: it knows `/etc/hosts`, search
//! domains and whatever the host is set up with. It tells no TTL, hence the fixed interval.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

/// Between two resolutions of a name that resolved.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Between two attempts at a name that has never resolved.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Threads that ask for new names at once.
const ASKERS_MAX: usize = 8;
/// Most addresses kept of one name.
const ADDRESSES_MAX: usize = 64;

/// The addresses of one name, read by workers without a lock.
#[derive(Debug)]
pub(crate) struct Resolved {
    host: String,
    port: u16,
    addresses: ArcSwap<Vec<SocketAddr>>,
    version: AtomicU64,
    /// The system has answered once, whatever it said.
    asked: AtomicBool,
}

impl Resolved {
    /// The last good set; empty when the name has never resolved.
    pub(crate) fn addresses(&self) -> arc_swap::Guard<Arc<Vec<SocketAddr>>> {
        self.addresses.load()
    }

    /// Grows whenever the set changes.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Asks the system once and keeps the answer if it is one. Blocks; never called on a worker.
    fn refresh(&self) {
        match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(found) => {
                let mut fresh: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
                fresh.sort_unstable();
                fresh.dedup();
                if !fresh.is_empty() && **self.addresses.load() != fresh {
                    tracing::info!(host = self.host, addresses = ?fresh, "endpoint name resolved");
                    self.addresses.store(Arc::new(fresh));
                    self.version.fetch_add(1, Ordering::Release);
                }
            }
            Err(error) => {
                tracing::warn!(host = self.host, %error, "endpoint name not resolved; the last good set is kept");
            }
        }
    }
}

/// The names in use and the thread that keeps them fresh. One per node.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<Names>,
    changed: Condvar,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<(String, u16), Weak<Resolved>>,
    /// New ones that nobody has asked for yet.
    queue: VecDeque<Arc<Resolved>>,
    /// New ones since the last [`Resolver::settle`].
    fresh: Vec<Arc<Resolved>>,
    /// Threads that ask for new ones.
    askers: usize,
    stopped: bool,
}

impl Resolver {
    /// Starts the helper thread.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let resolver = Self::default();
        let shared = Arc::clone(&resolver.shared);
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            ringway_rt::idle_priority();
            keep_fresh(&shared);
        })?;
        Ok(resolver)
    }

    /// The entry of a name. A new one is asked for by a thread of its own, because a name server that does not answer takes
    /// half a minute to say so; [`Resolver::settle`] waits for it.
    pub(crate) fn name(&self, host: &str, port: u16) -> Arc<Resolved> {
        let key = (host.to_owned(), port);
        let mut names = lock(&self.shared.names);
        if let Some(known) = names.by_name.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(Resolved {
            host: key.0.clone(),
            port,
            addresses: ArcSwap::from_pointee(Vec::new()),
            version: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        });
        names.by_name.insert(key, Arc::downgrade(&fresh));
        names.queue.push_back(Arc::clone(&fresh));
        names.fresh.push(Arc::clone(&fresh));
        let wanted = names.askers < ASKERS_MAX;
        names.askers += usize::from(wanted);
        drop(names);
        if wanted {
            let shared = Arc::clone(&self.shared);
            let started =
                std::thread::Builder::new().name("resolver-ask".to_owned()).spawn(move || ask(&shared));
            if let Err(error) = started {
                tracing::warn!(%error, "no thread to resolve with");
                ask(&self.shared);
            }
        }
        fresh
    }

    /// Waits until the names that are new since the last call were asked for once, or for so long. One that takes longer has
    /// its addresses when they come; called on the reload thread before a generation goes live.
    pub(crate) fn settle(&self, patience: Duration) {
        let mut names = lock(&self.shared.names);
        let fresh = std::mem::take(&mut names.fresh);
        let waiting = |_: &mut Names| fresh.iter().any(|name| !name.asked.load(Ordering::Acquire));
        drop(
            self.shared
                .asked
                .wait_timeout_while(names, patience, waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        lock(&self.shared.names).stopped = true;
        self.shared.changed.notify_one();
    }
}

/// Asks for new names until there are no more.
fn ask(shared: &Shared) {
    let mut names = lock(&shared.names);
    while let Some(name) = names.queue.pop_front() {
        drop(names);
        name.refresh();
        names = lock(&shared.names);
        name.asked.store(true, Ordering::Release);
        shared.asked.notify_all();
        shared.changed.notify_one();
    }
    names.askers = names.askers.saturating_sub(1);
}

fn keep_fresh(shared: &Shared) {
    let mut due: HashMap<(String, u16), Instant> = HashMap::new();
    loop {
        let live: Vec<((String, u16), Arc<Resolved>)> = {
            let mut names = lock(&shared.names);
            if names.stopped {
                return;
            }
            names.by_name.retain(|_, name| name.strong_count() > 0);
            names.by_name.iter().filter_map(|(key, name)| Some((key.clone(), name.upgrade()?))).collect()
        };
        let now = Instant::now();
        due.retain(|key, _| live.iter().any(|(name, _)| name == key));
        for (key, name) in live {
            let at = due.entry(key).or_insert_with(|| now + interval(&name));
            if *at <= now {
                name.refresh();
                *at = Instant::now() + interval(&name);
            }
        }
        let wait =
            due.values().min().map_or(RESOLVE_EVERY, |at| at.saturating_duration_since(Instant::now()));
        let names = lock(&shared.names);
        if !names.stopped {
            drop(shared.changed.wait_timeout(names, wait).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn interval(name: &Resolved) -> Duration {
    if name.version() == 0 { RETRY_EVERY } else { RESOLVE_EVERY }
}

fn lock(names: &Mutex<Names>) -> std::sync::MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_last_good_set() {
        let resolver = Resolver::default();
        let name = resolver.name("localhost", 80);
        resolver.settle(Duration::from_secs(60));
        assert!(name.addresses().iter().any(|address| address.ip().is_loopback()));
        let before = name.version();
        name.refresh();
        assert_eq!(name.version(), before, "an equal answer is no change");
    }

    #[test]
    fn a_name_that_does_not_resolve_has_no_addresses() {
        let resolver = Resolver::default();
        let name = resolver.name("no-such-name.invalid", 80);
        assert!(name.addresses().is_empty());
        resolver.settle(Duration::from_secs(60));
        assert!(name.addresses().is_empty());
    }

    #[test]
    fn two_users_share_one_entry() {
        let resolver = Resolver::default();
        let first = resolver.name("localhost", 81);
        assert!(Arc::ptr_eq(&first, &resolver.name("localhost", 81)));
    }
}
