//! Which routes have a series of their own: a bounded table that all workers share and only ever fill.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most routes with a series of their own; later ones count under `_other`.
pub const ROUTES_MAX: usize = 2_000;
/// Places of the table; twice as many as entries keeps probes short.
const PLACES: usize = 4_096;
const _: () = assert!(PLACES.is_power_of_two() && PLACES >= 2 * ROUTES_MAX);
/// Slot of requests without a route.
pub(super) const SLOT_NONE: usize = PLACES;
/// Slot of the routes beyond [`ROUTES_MAX`].
pub(super) const SLOT_OTHER: usize = PLACES + 1;
/// Slots that there are.
pub(super) const SLOTS: usize = PLACES + 2;

/// Route ids by place, 0 where free. A place is claimed by compare-and-swap and never given up, so that a route's
/// series never moves between its own label and `_other`.
#[derive(Debug)]
pub(super) struct Routes {
    places: Box<[AtomicU64]>,
    taken: AtomicU32,
}

impl Default for Routes {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), taken: AtomicU32::new(0) }
    }
}

impl Routes {
    /// The slot of a route, claimed if it is new and there is one left.
    #[inline]
    pub(super) fn slot(&self, route_id: u64) -> usize {
        if route_id == 0 {
            return SLOT_NONE;
        }
        // Ids are hashes, but an id is no promise: a multiplication spreads whatever it is.
        let mut place = (route_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % PLACES;
        for _ in 0..PLACES {
            let Some(cell) = self.places.get(place) else { break };
            let here = cell.load(Ordering::Relaxed);
            if here == route_id || (here == 0 && self.claim(cell, route_id)) {
                return place;
            }
            if here == 0 && cell.load(Ordering::Relaxed) == 0 {
                break;
            }
            place = (place + 1) % PLACES;
        }
        SLOT_OTHER
    }

    /// The route of a slot.
    pub(super) fn route_id(&self, slot: usize) -> Option<u64> {
        self.places.get(slot).map(|cell| cell.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Takes a free place for a route; whether the place is this route's now.
    #[cold]
    fn claim(&self, cell: &AtomicU64, route_id: u64) -> bool {
        let room = |taken| ((taken as usize) < ROUTES_MAX).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return false;
        }
        match cell.compare_exchange(0, route_id, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(other) => {
                self.taken.fetch_sub(1, Ordering::Relaxed);
                other == route_id
            }
        }
    }
}
