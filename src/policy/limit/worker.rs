//! What one worker holds of limits: node-wide cells that it has found, and cells of its own.

use std::sync::Arc;

use super::gcra::{Debt, Decision, Gcra, Pace};
use super::key::{CellKey, HashKey, Subject};
use super::node::{Cell, NodeCells, Room, Take};
use crate::limits::{CORE_CELLS_MAX, CORE_OVERFLOW_CELLS_MAX, KEPT_CELLS_MAX};

/// Cells of a worker's own table that a key may stand in.
const WAYS: usize = 8;

/// What was decided on one request, and by which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Whether it may pass; if not it was not counted.
    pub admitted: bool,
    /// What is used of the bucket.
    pub debt: Debt,
    /// Whether the limit's overflow cell decided, and not the subject's own.
    pub overflow: bool,
}

/// The node-wide cell of a caller, kept with what is known of him: of the first limit that counted him so.
pub(crate) type Near = Option<Arc<Cell>>;

/// The limiter state of one worker.
#[derive(Debug)]
pub struct WorkerLimits {
    node: Arc<NodeCells>,
    /// Node-wide cells that were found.
    kept: Kept,
    own: OwnCells,
}

/// Places that a node-wide cell may be kept in: its own, and those that follow.
const KEPT_WINDOW: usize = 16;
/// Places for node-wide cells once the first is kept.
const KEPT_FIRST: usize = 64;
const _: () = assert!(KEPT_FIRST.is_power_of_two() && KEPT_FIRST <= KEPT_CELLS_MAX);

/// Node-wide cells that were found, in a table that grows with their number: what is empty of it takes no room in the cache.
///
/// A cell goes by 64 bits of its key: with as many kept as may be, a request meets another's cell once in five hundred million
/// million, and nobody can aim at that.
#[derive(Debug, Default)]
struct Kept {
    /// Open-addressed, a power of two or none; no more than five eighths full, as long as it may grow.
    places: Vec<KeptCell>,
    used: usize,
}

#[derive(Debug, Default)]
struct KeptCell {
    tag: u64,
    cell: Option<Arc<Cell>>,
}

const _: () = assert!(size_of::<KeptCell>() == 16);

impl Kept {
    #[inline]
    fn find(&self, tag: u64) -> Option<&Cell> {
        // Nothing is ever taken out: a free place ends the search.
        let places = self.window(tag).map_while(|at| self.places.get(at));
        let mut taken = places.map_while(|place| Some((place.tag, place.cell.as_deref()?)));
        taken.find_map(|(here, cell)| (here == tag).then_some(cell))
    }

    fn keep(&mut self, tag: u64, cell: Arc<Cell>) {
        if self.places.len() < KEPT_CELLS_MAX && self.used * 8 >= self.places.len() * 5 {
            let larger = (self.places.len() * 2).max(KEPT_FIRST);
            let mut places = Vec::new();
            places.resize_with(larger, KeptCell::default);
            let old = std::mem::replace(&mut self.places, places);
            self.used = 0;
            old.into_iter()
                .for_each(|KeptCell { tag, cell }| cell.into_iter().for_each(|cell| self.put(tag, cell)));
        }
        self.put(tag, cell);
    }

    /// Puts it where its key stands already, in the first free place of its own, or else in that of another.
    fn put(&mut self, tag: u64, cell: Arc<Cell>) {
        let mine =
            |at: &usize| self.places.get(*at).is_some_and(|here| here.cell.is_none() || here.tag == tag);
        let any = (tag >> 32) as usize % KEPT_WINDOW;
        let Some(at) = self.window(tag).find(mine).or_else(|| self.window(tag).nth(any)) else { return };
        if let Some(place) = self.places.get_mut(at) {
            self.used += usize::from(place.cell.is_none());
            *place = KeptCell { tag, cell: Some(cell) };
        }
    }

    /// The places of a tag, in the order in which they are tried.
    #[inline]
    fn window(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        let places = self.places.len();
        (0..KEPT_WINDOW.min(places))
            .map(move |step| (tag as usize).wrapping_add(step) & places.wrapping_sub(1))
    }
}

impl WorkerLimits {
    /// Of a worker on the node that `node` belongs to. Memory for cells is taken when the first limit is met.
    #[must_use]
    pub fn new(node: Arc<NodeCells>) -> Self {
        Self { node, kept: Kept::default(), own: OwnCells::default() }
    }

    /// The node's table.
    #[must_use]
    pub fn node(&self) -> &Arc<NodeCells> {
        &self.node
    }

    /// Requests that this worker counted in an overflow cell of its own because its table was full.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.own.overflowed
    }

    /// The cell of `subject` under the limit with this stable id.
    #[must_use]
    pub fn key(&self, limit_id: u64, subject: Subject<'_>) -> CellKey {
        CellKey::new(self.node.secret(), limit_id, subject)
    }

    /// Counts one request in the node-wide cell of `key`.
    #[must_use]
    pub fn take_node(&mut self, limit_id: u64, key: CellKey, gcra: &Gcra, now_ns: u64) -> Counted {
        if let Some(counted) = self.take_kept(key, gcra, now_ns) {
            return counted;
        }
        self.take_found(limit_id, key, gcra, now_ns, None)
    }

    /// As [`Self::take_node`]: the cell that is in `near` already is counted in without its key. One `near` is of one caller alone,
    /// whose key under each limit is always the same.
    #[must_use]
    pub(crate) fn take_near(
        &mut self,
        near: &mut Near,
        limit_id: u64,
        key: impl FnOnce(&HashKey) -> CellKey,
        gcra: &Gcra,
        now_ns: u64,
    ) -> Counted {
        let own = near.as_deref().filter(|cell| cell.limit_id() == limit_id);
        if let Some(counted) = own.and_then(|cell| counted(cell.take(gcra, now_ns), false)) {
            return counted;
        }
        let key = key(self.node.secret());
        if own.is_none() && near.is_some() {
            return self.take_node(limit_id, key, gcra, now_ns);
        }
        self.take_found(limit_id, key, gcra, now_ns, Some(near))
    }

    fn take_kept(&self, key: CellKey, gcra: &Gcra, now_ns: u64) -> Option<Counted> {
        let cell = self.kept.find(key.tag())?;
        counted(cell.take(gcra, now_ns), false)
    }

    /// Looks the cell up in the table, which takes a lock, and keeps it.
    #[cold]
    fn take_found(
        &mut self,
        limit_id: u64,
        mut key: CellKey,
        gcra: &Gcra,
        now_ns: u64,
        mut near: Option<&mut Near>,
    ) -> Counted {
        let mut room = Room::Bounded;
        loop {
            let Some(cell) = self.node.find(limit_id, key, gcra, now_ns, room) else {
                // The overflow cell is not kept under the key itself, which so gets a cell of its own when there is room.
                self.node.count_overflow();
                (key, room) = (self.key(limit_id, Subject::Overflow), Room::Overflow);
                continue;
            };
            let taken = cell.take(gcra, now_ns);
            match &mut near {
                Some(near) if room == Room::Bounded => **near = Some(cell),
                _ => self.kept.keep(key.tag(), cell),
            }
            // Stale: retired or replaced since it was found. Each further turn takes another such event.
            if let Some(counted) = counted(taken, room == Room::Overflow) {
                return counted;
            }
        }
    }

    /// Takes one request back that [`Self::take_node`] counted in `cell` at the same `now_ns`.
    pub fn take_back_node(&mut self, cell: CellKey, gcra: &Gcra, now_ns: u64) {
        if let Some(cell) = self.node.peek(cell) {
            cell.take_back(gcra, now_ns);
        }
    }

    /// Counts one request in this worker's own cell of `key`.
    #[must_use]
    pub fn take_core(&mut self, limit_id: u64, key: CellKey, gcra: &Gcra, now_ns: u64) -> Counted {
        let secret = *self.node.secret();
        self.own.take(key, || CellKey::new(&secret, limit_id, Subject::Overflow), gcra, now_ns)
    }

    /// Takes one request back that [`Self::take_core`] counted in `cell` at the same `now_ns`.
    pub fn take_back_core(&mut self, cell: CellKey, gcra: &Gcra, now_ns: u64) {
        self.own.take_back(cell, gcra, now_ns);
    }
}

fn counted(taken: Take, overflow: bool) -> Option<Counted> {
    match taken {
        Take::Admitted(debt) => Some(Counted { admitted: true, debt, overflow }),
        Take::Refused(debt) => Some(Counted { admitted: false, debt, overflow }),
        Take::Stale => None,
    }
}

/// A worker's own cells: a key may stand in one of [`WAYS`] places, and takes the first whose TAT is past.
#[derive(Debug, Default)]
struct OwnCells {
    sets: Vec<[OwnCell; WAYS]>,
    overflow: Vec<OwnCell>,
    overflowed: u64,
}

/// As [`Cell`], for one thread. One that is all default has its TAT past and so is free.
#[derive(Debug, Clone, Copy, Default)]
struct OwnCell {
    key: CellKey,
    base_ns: u64,
    state: u64,
    pace: Option<Pace>,
}

impl OwnCells {
    fn take(
        &mut self,
        key: CellKey,
        overflow: impl FnOnce() -> CellKey,
        gcra: &Gcra,
        now_ns: u64,
    ) -> Counted {
        if self.sets.is_empty() {
            self.sets.resize(CORE_CELLS_MAX / WAYS, [OwnCell::default(); WAYS]);
        }
        if let Some(cell) = place(self.sets.get_mut(key.place(CORE_CELLS_MAX / WAYS - 1)), key, now_ns) {
            return cell.take(gcra, now_ns);
        }
        self.overflowed += 1;
        let key = overflow();
        let found = self.overflow.iter().position(|cell| cell.key == key);
        if found.is_none() && self.overflow.len() == CORE_OVERFLOW_CELLS_MAX {
            self.overflow.retain(|cell| !cell.is_past(now_ns));
        }
        if found.is_none() && self.overflow.len() < CORE_OVERFLOW_CELLS_MAX {
            self.overflow.push(OwnCell { key, ..OwnCell::default() });
        }
        match self.overflow.iter_mut().find(|cell| cell.key == key) {
            Some(cell) => Counted { overflow: true, ..cell.take(gcra, now_ns) },
            // More limits than overflow cells, all overflowing at once on this worker.
            None => Counted { admitted: false, debt: Debt::default(), overflow: true },
        }
    }

    fn take_back(&mut self, key: CellKey, gcra: &Gcra, now_ns: u64) {
        let set = self.sets.get_mut(key.place(CORE_CELLS_MAX / WAYS - 1));
        let cell = set.and_then(|set| set.iter_mut().find(|cell| cell.key == key));
        if let Some(cell) = cell.or_else(|| self.overflow.iter_mut().find(|cell| cell.key == key)) {
            cell.take_back(gcra, now_ns);
        }
    }
}

/// The cell of `key` in its set: its own, or one that is free.
fn place(set: Option<&mut [OwnCell; WAYS]>, key: CellKey, now_ns: u64) -> Option<&mut OwnCell> {
    let set = set?;
    let index = match set.iter().position(|cell| cell.key == key) {
        Some(index) => index,
        None => {
            let index = set.iter().position(|cell| cell.is_past(now_ns))?;
            *set.get_mut(index)? = OwnCell { key, ..OwnCell::default() };
            index
        }
    };
    set.get_mut(index)
}

impl OwnCell {
    fn is_past(&self, now_ns: u64) -> bool {
        self.pace.is_none_or(|pace| self.state <= pace.units(now_ns.saturating_sub(self.base_ns)))
    }

    fn take(&mut self, gcra: &Gcra, now_ns: u64) -> Counted {
        let elapsed_ns = now_ns.saturating_sub(self.base_ns);
        if self.pace != Some(gcra.pace()) || elapsed_ns > gcra.horizon_ns() {
            self.rebase(gcra, now_ns);
        }
        let at = gcra.pace().units(now_ns.saturating_sub(self.base_ns));
        match gcra.decide(self.state, at) {
            Decision::Admit { state, debt } => {
                self.state = state;
                Counted { admitted: true, debt, overflow: false }
            }
            Decision::Refuse { debt } => Counted { admitted: false, debt, overflow: false },
        }
    }

    /// Counts on in the units of `gcra`, from now.
    #[cold]
    fn rebase(&mut self, gcra: &Gcra, now_ns: u64) {
        let debt = self.pace.map_or(Debt::default(), |pace| {
            let at = pace.units(now_ns.saturating_sub(self.base_ns));
            gcra.convert(Debt::of(self.state, at), pace)
        });
        *self = Self { key: self.key, base_ns: now_ns, state: debt.state(0), pace: Some(gcra.pace()) };
    }

    fn take_back(&mut self, gcra: &Gcra, now_ns: u64) {
        if self.pace == Some(gcra.pace()) {
            self.state = gcra.take_back(self.state, gcra.pace().units(now_ns.saturating_sub(self.base_ns)));
        }
    }
}
