//! Cells that all workers of a node share.
//!
//! A table maps keys to cells; a worker finds a cell once and keeps it (`limit/worker.rs`), so that a request touches
//! one atomic and no lock. A cell leaves the table only when its TAT is past, which makes it equal to no cell at all,
//! or when it has to count in other units; either way a tombstone is put into it by CAS first, under the lock of its
//! table shard. Whoever still holds it sees the tombstone, goes to the table, waits for that lock and finds the
//! successor. So no request is counted in a cell that nobody else looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::gcra::{Debt, Decision, Gcra, Pace};
use super::key::{BuildAlreadyHashed, CellKey, HashKey};

/// State of a cell that has left the table.
const TOMBSTONE: u64 = u64::MAX;
/// Locks of the table: sweeping holds one of them at a time.
const SHARDS: usize = 256;
/// How long a cell whose TAT is past stays in a table with much room.
const REST_NS: u64 = 10_000_000_000;
/// A cell's base lies this far before its making, for workers whose reading of the clock is a little older.
const BASE_BEFORE_NS: u64 = 1_000_000_000;

/// One subject's use of one limit.
///
/// INVARIANT: `state` only ever changes by compare-and-swap, and never again once it is [`TOMBSTONE`]; it becomes
/// that only under the lock of the shard that holds the cell.
#[derive(Debug)]
pub struct Cell {
    limit_id: u64,
    base_ns: u64,
    pace: Pace,
    /// TAT in units of `pace` after `base_ns`.
    state: AtomicU64,
}

// With the counts of an `Arc`, one line of the cache.
const _: () = assert!(size_of::<Cell>() == 48);

/// What a cell says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Counted.
    Admitted(Debt),
    /// Not counted: the bucket is empty.
    Refused(Debt),
    /// This cell is no longer the one: ask the table.
    Stale,
}

impl Cell {
    fn new(limit_id: u64, gcra: &Gcra, now_ns: u64, debt: Debt) -> Self {
        let base_ns = now_ns.saturating_sub(BASE_BEFORE_NS);
        let pace = gcra.pace();
        let state = if debt == Debt::default() { 0 } else { debt.state(pace.units(now_ns - base_ns)) };
        Self { limit_id, base_ns, pace, state: AtomicU64::new(state) }
    }

    /// Stable id of the limit that it counts for.
    #[must_use]
    pub fn limit_id(&self) -> u64 {
        self.limit_id
    }

    /// Counts one request if the rate allows it. Lock-free; relaxed, since a cell guards nothing but itself.
    #[must_use]
    pub fn take(&self, gcra: &Gcra, now_ns: u64) -> Take {
        let elapsed_ns = now_ns.saturating_sub(self.base_ns);
        if self.pace != gcra.pace() || elapsed_ns > gcra.horizon_ns() {
            return Take::Stale;
        }
        let at = self.pace.units(elapsed_ns);
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            if seen == TOMBSTONE {
                return Take::Stale;
            }
            let (state, debt) = match gcra.decide(seen, at) {
                Decision::Admit { state, debt } => (state, debt),
                Decision::Refuse { debt } => return Take::Refused(debt),
            };
            match self.state.compare_exchange_weak(seen, state, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Take::Admitted(debt),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes one counted request back, at the same `now_ns` that counted it.
    ///
    /// A cell that was replaced since keeps the count: that errs on the side of the limit.
    pub fn take_back(&self, gcra: &Gcra, now_ns: u64) {
        if self.pace != gcra.pace() {
            return;
        }
        let at = self.at(now_ns);
        let change = |seen: u64| (seen != TOMBSTONE).then(|| gcra.take_back(seen, at));
        // The only error is a tombstone, which is the case above.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    fn at(&self, now_ns: u64) -> u64 {
        self.pace.units(now_ns.saturating_sub(self.base_ns))
    }

    /// Puts the tombstone in, if the TAT is past. Only under the lock of the cell's shard.
    fn retire(&self, now_ns: u64) -> bool {
        let at = self.at(now_ns);
        let change = |seen: u64| (seen <= at).then_some(TOMBSTONE);
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }

    /// Puts the tombstone in and says what was owed. Only under the lock of the cell's shard.
    fn succeed(&self, now_ns: u64) -> Debt {
        match self.state.swap(TOMBSTONE, Ordering::Relaxed) {
            TOMBSTONE => Debt::default(),
            state => Debt::of(state, self.at(now_ns)),
        }
    }
}

/// All node-wide cells of a process. They outlive every generation.
#[derive(Debug)]
pub struct NodeCells {
    cells: DashMap<CellKey, Arc<Cell>, BuildAlreadyHashed>,
    /// Cells in the table, or about to be.
    live: AtomicUsize,
    cells_max: usize,
    overflowed: AtomicU64,
    secret: HashKey,
}

/// Whether a cell may be made when the table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It may not.
    Bounded,
    /// It may: there is one overflow cell for each limit, and no more.
    Overflow,
}

impl NodeCells {
    /// An empty table of at most `cells_max` cells (and one more for each limit that overflows).
    #[must_use]
    pub fn new(secret: HashKey, cells_max: usize) -> Self {
        Self {
            cells: DashMap::with_hasher_and_shard_amount(BuildAlreadyHashed::default(), SHARDS),
            live: AtomicUsize::new(0),
            cells_max,
            overflowed: AtomicU64::new(0),
            secret,
        }
    }

    /// The secret that keys are hashed with.
    #[must_use]
    pub fn secret(&self) -> &HashKey {
        &self.secret
    }

    /// Cells in the table.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Requests that were counted in an overflow cell because the table was full.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(super) fn count_overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    /// The cell of this key, which is of this limit, made if there is none and room for it. Takes a shard's lock.
    #[must_use]
    pub fn find(
        &self,
        limit_id: u64,
        key: CellKey,
        gcra: &Gcra,
        now_ns: u64,
        room: Room,
    ) -> Option<Arc<Cell>> {
        if let Some(cell) = self.cells.get(&key)
            && cell.pace == gcra.pace()
            && now_ns.saturating_sub(cell.base_ns) <= gcra.horizon_ns()
        {
            return Some(Arc::clone(&cell));
        }
        match self.cells.entry(key) {
            Entry::Occupied(mut entry) => {
                let cell = entry.get();
                let elapsed_ns = now_ns.saturating_sub(cell.base_ns);
                if cell.pace != gcra.pace() || elapsed_ns > gcra.horizon_ns() {
                    let debt = gcra.convert(cell.succeed(now_ns), cell.pace);
                    entry.insert(Arc::new(Cell::new(limit_id, gcra, now_ns, debt)));
                }
                Some(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => {
                if !self.reserve(room) {
                    return None;
                }
                let cell = Arc::new(Cell::new(limit_id, gcra, now_ns, Debt::default()));
                entry.insert(Arc::clone(&cell));
                Some(cell)
            }
        }
    }

    /// The cell of this key, if there is one.
    #[must_use]
    pub fn peek(&self, key: CellKey) -> Option<Arc<Cell>> {
        self.cells.get(&key).map(|cell| Arc::clone(&cell))
    }

    fn reserve(&self, room: Room) -> bool {
        let change = |live: usize| (room == Room::Overflow || live < self.cells_max).then_some(live + 1);
        self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }

    /// Removes the cells whose TAT is past; for a helper thread, every few seconds. Says how many went.
    ///
    /// It holds the lock of one shard of 256 at a time; a worker meets it only where it looks a cell up afresh. While there is much room,
    /// cells stay for a moment after that, so that the workers' hold on those of regular callers lasts.
    pub fn sweep(&self, now_ns: u64) -> usize {
        let roomy = self.live() <= self.cells_max / 2;
        self.remove_past(if roomy { now_ns.saturating_sub(REST_NS) } else { now_ns })
    }

    /// Removes the cells whose TAT was past at this time.
    pub(super) fn remove_past(&self, past_ns: u64) -> usize {
        let mut gone = 0;
        self.cells.retain(|_, cell| {
            let retired = cell.retire(past_ns);
            gone += usize::from(retired);
            !retired
        });
        self.live.fetch_sub(gone, Ordering::Relaxed);
        gone
    }
}
