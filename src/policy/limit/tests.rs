//! Laws of cells: shared by threads, removed, replaced, full, and a worker's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use proptest::prelude::*;

use super::gcra::{Debt, Decision, Gcra, Rate};
use super::key::{CellKey, HashKey, Subject};
use super::node::{Cell, NodeCells, Room, Take};
use super::worker::WorkerLimits;
use crate::limits::{CORE_CELLS_MAX, KEPT_CELLS_MAX};

const LIMIT: u64 = 42;
const SECRET: HashKey = HashKey([3; 16]);
const SECOND: u64 = 1_000_000_000;

fn rate(count: u64, per_ms: u64, burst: u64) -> Gcra {
    Rate { count, per_ms, burst }.prepare(1).unwrap()
}

fn node(cells_max: usize) -> Arc<NodeCells> {
    Arc::new(NodeCells::new(SECRET, cells_max))
}

fn key(name: u64) -> CellKey {
    CellKey::new(&SECRET, LIMIT, Subject::Route(name))
}

/// One cell without threads or table: what all of them together must come to.
struct Serial {
    gcra: Gcra,
    state: u64,
}

impl Serial {
    fn admits(&mut self, now_ns: u64) -> bool {
        match self.gcra.decide(self.state, self.gcra.pace().units(now_ns)) {
            Decision::Admit { state, .. } => {
                self.state = state;
                true
            }
            Decision::Refuse { .. } => false,
        }
    }
}

#[test]
fn threads_together_admit_exactly_what_one_would_while_cells_are_swept() {
    const THREADS: usize = 4;
    const KEYS: u64 = 3;
    const PHASES: usize = 200;
    const TRIES: u64 = 100;
    let gcra = rate(7, 1_000, 50);
    let cells = node(1_000);
    let admitted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let clock = AtomicU64::new(5 * SECOND);
    let barrier = Barrier::new(THREADS + 1);
    // Judged after the threads have ended: a failure amid them would leave them waiting for ever.
    let mut wrong = Vec::new();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cells, admitted, clock, barrier, gcra) = (&cells, &admitted, &clock, &barrier, &gcra);
            scope.spawn(move || {
                let mut worker = WorkerLimits::new(Arc::clone(cells));
                for _ in 0..PHASES {
                    barrier.wait();
                    let now_ns = clock.load(Ordering::SeqCst);
                    for index in 0..TRIES * KEYS {
                        // Cells are due for removal just when the others come for them.
                        if thread == 0 && index % 50 == 0 {
                            cells.remove_past(now_ns);
                        }
                        let name = index % KEYS;
                        let counted = worker.take_node(LIMIT, key(name), gcra, now_ns);
                        admitted[usize::try_from(name).unwrap()]
                            .fetch_add(u64::from(counted.admitted), Ordering::Relaxed);
                    }
                    barrier.wait();
                }
            });
        }
        let mut serial = Serial { gcra, state: 0 };
        let mut now_ns = clock.load(Ordering::SeqCst);
        for phase in 0..PHASES {
            now_ns += [0, SECOND / 3, 20 * SECOND, SECOND, 7, 8 * SECOND, 3_600 * SECOND][phase % 7];
            clock.store(now_ns, Ordering::SeqCst);
            // In some phases all threads begin with cells that were just swept away under them.
            if phase % 7 == 2 {
                let swept = cells.remove_past(now_ns);
                wrong.extend((swept != 3).then(|| format!("phase {phase}: {swept} of 3 cells swept")));
            }
            let expected = (0..TRIES * 4).filter(|_| serial.admits(now_ns)).count();
            barrier.wait();
            barrier.wait();
            for count in &admitted {
                let count = count.swap(0, Ordering::SeqCst);
                let differs = count != u64::try_from(expected).unwrap();
                wrong.extend(
                    differs.then(|| format!("phase {phase}: {count} admitted instead of {expected}")),
                );
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_racing_clock_admits_no_more_than_burst_and_rate() {
    const THREADS: u64 = 4;
    let gcra = rate(1_000, 1_000, 10);
    let cells = node(100);
    let clock = AtomicU64::new(0);
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut worker = WorkerLimits::new(Arc::clone(&cells));
                for _ in 0..50_000 {
                    let now_ns = clock.fetch_add(20_000, Ordering::Relaxed);
                    let counted = worker.take_node(LIMIT, key(1), &gcra, now_ns);
                    admitted.fetch_add(u64::from(counted.admitted), Ordering::Relaxed);
                }
            });
        }
    });
    // 200,000 readings of 20 µs are 4 s: 4,000 requests and the burst.
    let admitted = admitted.load(Ordering::Relaxed);
    assert!(admitted <= 4_010, "{admitted}");
    assert!(admitted >= 3_900, "{admitted}: a clock that is read out of order costs a little, not this");
}

#[test]
fn a_holder_of_a_swept_cell_finds_its_successor() {
    let gcra = rate(1, 1_000, 2);
    let cells = node(10);
    let (mut first, mut second) =
        (WorkerLimits::new(Arc::clone(&cells)), WorkerLimits::new(Arc::clone(&cells)));
    assert!(first.take_node(LIMIT, key(1), &gcra, SECOND).admitted);
    assert!(second.take_node(LIMIT, key(1), &gcra, SECOND).admitted);
    assert_eq!(cells.remove_past(SECOND), 0, "a cell that owes was removed");
    assert_eq!(cells.remove_past(3 * SECOND), 1);
    assert_eq!(cells.live(), 0);
    assert!(first.take_node(LIMIT, key(1), &gcra, 3 * SECOND).admitted);
    assert!(second.take_node(LIMIT, key(1), &gcra, 3 * SECOND).admitted);
    assert!(!second.take_node(LIMIT, key(1), &gcra, 3 * SECOND).admitted, "two cells counted for one key");
    assert!(!first.take_node(LIMIT, key(1), &gcra, 3 * SECOND).admitted, "two cells counted for one key");
    assert_eq!(cells.live(), 1);
}

#[test]
fn cells_rest_for_a_moment_in_a_table_with_much_room() {
    let gcra = rate(1, 1_000, 2);
    let (roomy, full) = (node(4), node(3));
    for cells in [&roomy, &full] {
        let mut worker = WorkerLimits::new(Arc::clone(cells));
        assert!(worker.take_node(LIMIT, key(1), &gcra, SECOND).admitted);
        assert!(worker.take_node(LIMIT, key(2), &gcra, SECOND).admitted);
    }
    assert_eq!((roomy.sweep(3 * SECOND), full.sweep(3 * SECOND)), (0, 2));
    assert_eq!(roomy.sweep(13 * SECOND), 2);
}

#[test]
fn more_keys_than_a_worker_keeps_at_hand_are_counted_as_one_worker_would() {
    let gcra = rate(1, 1_000, 2);
    let mut worker = WorkerLimits::new(node(2 * KEPT_CELLS_MAX));
    for _ in 0..2 {
        for name in 0..KEPT_CELLS_MAX as u64 * 3 / 2 {
            assert!(worker.take_node(LIMIT, key(name), &gcra, SECOND).admitted, "{name}");
        }
    }
    for name in 0..KEPT_CELLS_MAX as u64 * 3 / 2 {
        assert!(!worker.take_node(LIMIT, key(name), &gcra, SECOND).admitted, "{name}");
    }
}

#[test]
fn a_change_of_rate_keeps_what_was_used() {
    let (before, after) = (rate(10, 60_000, 10), rate(100, 60_000, 100));
    let cells = node(10);
    let mut worker = WorkerLimits::new(Arc::clone(&cells));
    for _ in 0..10 {
        assert!(worker.take_node(LIMIT, key(1), &before, SECOND).admitted);
    }
    assert!(!worker.take_node(LIMIT, key(1), &before, SECOND).admitted);
    let counted = worker.take_node(LIMIT, key(1), &after, SECOND);
    assert!(counted.admitted);
    assert_eq!(after.remaining(counted.debt), 89);
    // Another worker that has not changed yet goes on with the same count, and back.
    let mut late = WorkerLimits::new(Arc::clone(&cells));
    assert!(!late.take_node(LIMIT, key(1), &before, SECOND).admitted);
    let counted = worker.take_node(LIMIT, key(1), &after, SECOND);
    assert_eq!(
        after.remaining(counted.debt),
        89,
        "an older rate with a smaller burst forgave what is above it"
    );
    assert_eq!(cells.live(), 1);
}

#[test]
fn a_full_table_shares_one_cell_and_says_so() {
    let gcra = rate(1, 1_000, 1);
    let cells = node(4);
    let mut worker = WorkerLimits::new(Arc::clone(&cells));
    for name in 0..4 {
        assert!(worker.take_node(LIMIT, key(name), &gcra, SECOND).admitted);
    }
    assert!(worker.take_node(LIMIT, key(100), &gcra, SECOND).admitted);
    for name in 101..110 {
        assert!(!worker.take_node(LIMIT, key(name), &gcra, SECOND).admitted, "{name} had a cell of its own");
    }
    assert_eq!(cells.overflowed(), 10);
    assert_eq!(cells.live(), 5);
    // Another limit overflows into a cell of its own.
    assert!(worker.take_node(LIMIT + 1, key(200), &gcra, SECOND).admitted);
    // When there is room again the newcomer gets its own.
    assert_eq!(cells.sweep(10 * SECOND), 6);
    for name in 101..105 {
        assert!(worker.take_node(LIMIT, key(name), &gcra, 10 * SECOND).admitted);
    }
}

#[test]
fn a_cell_is_rebased_beyond_its_horizon_and_owes_what_it_owed() {
    // A prime count has the finest units and so the nearest horizon: a little over an hour.
    let gcra = rate(1_000_003, 1_000, 1_000_003);
    let horizon = gcra.horizon_ns();
    assert!(horizon < 3 * 3_600 * SECOND);
    let cells = node(10);
    let first = cells.find(LIMIT, key(1), &gcra, SECOND, Room::Bounded).unwrap();
    let before = horizon;
    for _ in 0..1_000 {
        assert!(matches!(first.take(&gcra, before), Take::Admitted(_)));
    }
    // 100 µs later 100 are back, and the horizon of the cell (its base is at 0) is past.
    let after = before + 100_000;
    assert_eq!(first.take(&gcra, after), Take::Stale);
    let second = cells.find(LIMIT, key(1), &gcra, after, Room::Bounded).unwrap();
    let Take::Admitted(debt) = second.take(&gcra, after) else { panic!("not admitted") };
    assert_eq!(gcra.remaining(debt), 1_000_003 - 1_000 + 100 - 1);
    assert_eq!(first.take(&gcra, before), Take::Stale, "the old cell still counts");
    let mut worker = WorkerLimits::new(cells);
    for (turn, left) in (0..5).zip([1_000_002; 5]) {
        let now_ns = after + turn * horizon;
        let counted = worker.take_core(LIMIT, key(1), &gcra, now_ns);
        assert_eq!(gcra.remaining(counted.debt), left);
    }
}

#[test]
fn a_request_taken_back_leaves_room_for_another() {
    let gcra = rate(1, 1_000, 2);
    let mut worker = WorkerLimits::new(node(10));
    for round in 0..5 {
        let counted = worker.take_node(LIMIT, key(1), &gcra, SECOND);
        assert!(counted.admitted, "round {round}");
        worker.take_back_node(key(1), &gcra, SECOND);
        let counted = worker.take_core(LIMIT, key(1), &gcra, SECOND);
        assert!(counted.admitted, "round {round}");
        worker.take_back_core(key(1), &gcra, SECOND);
    }
}

#[test]
fn a_cell_that_is_kept_near_is_the_one_that_everybody_counts_in() {
    let gcra = rate(1, 1_000, 3);
    let cells = node(10);
    let (mut first, mut second) =
        (WorkerLimits::new(Arc::clone(&cells)), WorkerLimits::new(Arc::clone(&cells)));
    let mut near = None;
    // Once at its first use, and once because the cell was swept away.
    for now_ns in [SECOND, 100 * SECOND] {
        assert!(first.take_near(&mut near, LIMIT, |_| key(1), &gcra, now_ns).admitted);
        assert!(second.take_node(LIMIT, key(1), &gcra, now_ns).admitted);
        let not_asked = |_: &HashKey| unreachable!("the cell is there");
        assert!(first.take_near(&mut near, LIMIT, not_asked, &gcra, now_ns).admitted);
        assert!(!second.take_node(LIMIT, key(1), &gcra, now_ns).admitted);
        assert!(!first.take_near(&mut near, LIMIT, not_asked, &gcra, now_ns).admitted);
        assert_eq!(cells.remove_past(now_ns + 50 * SECOND), 1);
    }
    // Another limit has a cell of its own, which is not kept there.
    assert!(first.take_near(&mut near, LIMIT + 1, |_| key(2), &gcra, SECOND).admitted);
    assert_eq!(near.as_deref().map(Cell::limit_id), Some(LIMIT));
}

#[test]
fn who_finds_no_room_keeps_no_cell_near() {
    let gcra = rate(1, 1_000, 1);
    let mut worker = WorkerLimits::new(node(0));
    let mut near = None;
    for admitted in [true, false] {
        let counted = worker.take_near(&mut near, LIMIT, |_| key(1), &gcra, SECOND);
        assert_eq!((counted.admitted, counted.overflow, near.is_none()), (admitted, true, true));
    }
}

#[test]
fn a_workers_own_cells_are_bounded_and_shared_when_full() {
    let gcra = rate(1, 1_000, 1);
    let mut worker = WorkerLimits::new(node(1));
    let many = u64::try_from(CORE_CELLS_MAX).unwrap() * 2;
    let admitted =
        (0..many).filter(|name| worker.take_core(LIMIT, key(*name), &gcra, SECOND).admitted).count();
    // All places but those of unlucky sets are taken, and the overflow cell admits one.
    assert!(admitted <= CORE_CELLS_MAX + 1, "{admitted}");
    assert!(admitted > CORE_CELLS_MAX * 9 / 10, "{admitted}");
    assert_eq!(worker.overflowed(), many - u64::try_from(admitted).unwrap() + 1);
    // Later all of them are past, and the places are taken over.
    let again =
        (many..many + 1_000).filter(|name| worker.take_core(LIMIT, key(*name), &gcra, 10 * SECOND).admitted);
    assert_eq!(again.count(), 1_000);
}

#[test]
fn the_debt_of_a_refused_request_tells_when_to_come_back() {
    let gcra = rate(1, 1_000, 1);
    let mut worker = WorkerLimits::new(node(10));
    assert!(worker.take_node(LIMIT, key(1), &gcra, SECOND).admitted);
    let counted = worker.take_node(LIMIT, key(1), &gcra, SECOND + SECOND / 4);
    assert!(!counted.admitted);
    assert!(counted.debt > Debt::default());
    assert_eq!(gcra.next_after_ns(counted.debt), SECOND * 3 / 4);
}

proptest! {
    #[test]
    fn own_and_shared_cells_decide_as_one_cell_does(
        count in 1_u64..5_000,
        per_ms in prop_oneof![Just(1_000_u64), Just(60_000), 1_u64..10_000],
        burst in 1_u64..50,
        gaps in proptest::collection::vec(prop_oneof![0_u64..100_000, 0_u64..3_000_000_000], 1..200),
    ) {
        let gcra = rate(count, per_ms, burst);
        let cells = node(10);
        let mut worker = WorkerLimits::new(Arc::clone(&cells));
        let mut serial = Serial { gcra, state: 0 };
        let mut now_ns = 1;
        for (index, gap) in gaps.into_iter().enumerate() {
            now_ns += gap;
            let expected = serial.admits(now_ns);
            prop_assert_eq!(worker.take_node(LIMIT, key(1), &gcra, now_ns).admitted, expected);
            prop_assert_eq!(worker.take_core(LIMIT, key(1), &gcra, now_ns).admitted, expected);
            if index % 3 == 0 {
                cells.remove_past(now_ns);
            }
        }
    }

    #[test]
    fn switching_between_two_rates_never_forgives(
        steps in proptest::collection::vec((any::<bool>(), 0_u64..200_000_000), 1..200),
    ) {
        // Of two rates with one burst, whoever switches at every request gets no more than the faster allows.
        let (slow, fast) = (rate(10, 1_000, 20), rate(13, 1_000, 20));
        let mut worker = WorkerLimits::new(node(10));
        let mut bound = Serial { gcra: fast, state: 0 };
        let (mut admitted, mut allowed, mut now_ns) = (0, 0, SECOND);
        for (is_fast, gap) in steps {
            now_ns += gap;
            let gcra = if is_fast { &fast } else { &slow };
            admitted += u32::from(worker.take_node(LIMIT, key(1), gcra, now_ns).admitted);
            allowed += u32::from(bound.admits(now_ns));
            prop_assert!(admitted <= allowed, "{} of {}", admitted, allowed);
        }
    }
}
