//! Who hands content to QUIC next, where several messages of a connection wait for room.
//!
//! What QUIC holds of all streams of a connection (sent and not acknowledged, or not even sent) is bounded. Where room comes about,
//! quinn wakes every stream that waits for it, the last that came first, and whoever runs first takes all of it: so two streams would
//! hand the room to each other for ever, of whatever rank they are, and a third would get none. Here whoever was woken is
//! let go before those that come after it: a lower rank, and within one rank those that took something more recently.
//!
//! A stream that waits because its own window is shut was not woken, and holds nobody up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use ringway_rt as rt;

/// Where a stream stands among those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// quinn's priority of the stream: the higher goes first.
    pub(super) priority: i32,
    /// When it took something last ([`Room::took`]); 0 before.
    pub(super) took: u64,
    /// The stream's id.
    pub(super) id: u64,
}

impl Rank {
    fn is_before(self, other: Self) -> bool {
        (-i64::from(self.priority), self.took, self.id) < (-i64::from(other.priority), other.took, other.id)
    }
}

/// The streams of a connection that wait.
#[derive(Default)]
pub(super) struct Room {
    places: RefCell<Vec<Place>>,
    /// How often something was taken.
    taken: Cell<u64>,
    /// A task sees to those who were woken and do not come.
    watched: Cell<bool>,
}

struct Place {
    rank: Rank,
    waits_for: WaitsFor,
    call: Arc<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// QUIC, which calls it.
    Quic,
    /// Those before it, after whom it would go on.
    Others,
}

impl Place {
    fn is_due(&self) -> bool {
        self.waits_for == WaitsFor::Others || self.call.called.load(Ordering::Relaxed) != NOT_CALLED
    }
}

const NOT_CALLED: u8 = 0;
const CALLED: u8 = 1;
/// Before the turn that all have now.
const CALLED_BEFORE: u8 = 2;

/// Wakes a task, and knows that it did.
struct Call {
    task: Waker,
    called: AtomicU8,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = self.called.compare_exchange(NOT_CALLED, CALLED, Ordering::Relaxed, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

impl Call {
    fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { task: task.clone(), called: AtomicU8::new(NOT_CALLED) })
    }

    /// Whether it was called before the turn that ends now.
    fn is_old(&self) -> bool {
        let now = Ordering::Relaxed;
        self.called.compare_exchange(CALLED, CALLED_BEFORE, now, now) == Err(CALLED_BEFORE)
    }
}

impl Room {
    /// Whether nobody goes before who could.
    pub(super) fn is_free(&self, rank: Rank) -> bool {
        let places = self.places.borrow();
        !places.iter().any(|place| place.rank.is_before(rank) && place.rank.id != rank.id && place.is_due())
    }

    /// Waits for those who go before: `task` is woken when they have gone.
    pub(super) fn stand_behind(self: &Rc<Self>, rank: Rank, task: &Waker) {
        self.put(Place { rank, waits_for: WaitsFor::Others, call: Call::new(task) });
        if !self.watched.replace(true) {
            rt::spawn(Rc::clone(self).watch());
        }
    }

    /// Waits for QUIC, which is to be given the result as this stream's waker; then [`Room::next`] is due.
    pub(super) fn wait(&self, rank: Rank, task: &Waker) -> Waker {
        let call = Call::new(task);
        self.put(Place { rank, waits_for: WaitsFor::Quic, call: Arc::clone(&call) });
        Waker::from(call)
    }

    /// The stream waits no more.
    pub(super) fn leave(&self, id: u64) {
        let mut places = self.places.borrow_mut();
        let Some(at) = places.iter().position(|place| place.rank.id == id) else { return };
        places.swap_remove(at);
        drop(places);
        self.next();
    }

    /// Something was taken: what a rank says of it.
    pub(super) fn took(&self) -> u64 {
        self.taken.set(self.taken.get() + 1);
        self.taken.get()
    }

    /// Calls the first of those that are due, unless QUIC has.
    pub(super) fn next(&self) {
        let places = self.places.borrow();
        let mut first: Option<&Place> = None;
        for place in places.iter().filter(|place| place.is_due()) {
            if first.is_none_or(|first| place.rank.is_before(first.rank)) {
                first = Some(place);
            }
        }
        if let Some(place) = first.filter(|place| place.waits_for == WaitsFor::Others) {
            place.call.wake_by_ref();
        }
    }

    fn put(&self, place: Place) {
        let mut places = self.places.borrow_mut();
        match places.iter_mut().find(|other| other.rank.id == place.rank.id) {
            Some(own) => *own = place,
            None => places.push(place),
        }
    }

    /// Whoever was called and did not come while all had a turn has something else to do, and holds nobody up.
    async fn watch(self: Rc<Self>) {
        loop {
            rt::turn().await;
            let mut places = self.places.borrow_mut();
            places.retain(|place| !place.call.is_old());
            let all_go = places.iter().all(|place| place.waits_for == WaitsFor::Quic);
            drop(places);
            if all_go {
                return self.watched.set(false);
            }
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    use ringway_rt::{DriverChoice, Ended, Options, run, turn};

    use super::{Rank, Room};

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rank(priority: i32, took: u64, id: u64) -> Rank {
        Rank { priority, took, id }
    }

    #[test]
    fn whoever_was_woken_goes_before_those_of_lower_rank_and_those_who_had_their_turn() {
        let room = Rc::new(Room::default());
        let tasks: [Arc<Woken>; 3] = Default::default();
        let wakers = tasks.clone().map(Waker::from);
        let woken = || tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
        let calls: Vec<_> = [rank(5, 9, 0), rank(0, 2, 4), rank(0, 1, 8)]
            .into_iter()
            .zip(&wakers)
            .map(|(rank, waker)| room.wait(rank, waker))
            .collect();
        assert!(room.is_free(rank(-1, 0, 12)), "nobody holds up others before it is woken");
        calls.iter().for_each(Waker::wake_by_ref);
        assert_eq!(woken(), [1, 1, 1]);
        assert!(room.is_free(rank(5, 9, 0)) && room.is_free(rank(6, 9, 12)));
        for (behind, waker) in [(rank(0, 2, 4), &wakers[1]), (rank(0, 1, 8), &wakers[2])] {
            assert!(!room.is_free(behind));
            room.stand_behind(behind, waker);
        }
        room.leave(0);
        assert_eq!(woken(), [1, 1, 2], "it had its turn longer ago");
        assert!(room.is_free(rank(0, 1, 8)) && !room.is_free(rank(0, 2, 4)));
        room.wait(rank(0, 3, 8), &wakers[2]);
        room.next();
        assert_eq!(woken(), [1, 2, 2]);
        room.leave(4);
        assert_eq!(woken(), [1, 2, 2], "who waits for QUIC is woken by it alone");
    }

    #[test]
    fn whoever_was_woken_and_does_something_else_holds_nobody_up() {
        let options = Options { driver: DriverChoice::Epoll, entries: 64, on_panic: |_| {} };
        let ended = run(&options, |_| async {
            let room = Rc::new(Room::default());
            let task = Arc::new(Woken::default());
            let waker = Waker::from(task.clone());
            room.wait(rank(5, 0, 0), Waker::noop()).wake();
            for id in [4, 8] {
                assert!(!room.is_free(rank(0, 0, id)));
                room.stand_behind(rank(0, 0, id), &waker);
            }
            while !room.is_free(rank(0, 0, 8)) {
                turn().await;
            }
            assert!(
                task.0.load(Ordering::Relaxed) > 0,
                "the first of them was called, and did not come either"
            );
        });
        assert!(matches!(ended.unwrap(), Ended::Finished(())));
    }
}
