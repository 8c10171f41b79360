//! How tasks and workers end: panics, and the end of a runtime with operations in flight.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::rc::Rc;
use std::task::Poll;

use super::{descriptors, in_ms, on_each, pair, peer_is_told, read_exactly, worker, worker_that_panics};
use crate::{
    DriverChoice, Ended, Stream, sleep_until_ns, spawn, spawn_foreign, spawn_vital, tasks_panicked, turn,
};

on_each! {
    a_panicking_task_dies_alone => neighbours_live;
    a_panic_in_the_drop_of_a_task_is_contained => panic_in_drop;
    a_panic_outside_a_task_ends_the_worker_and_its_streams => panic_outside;
    a_panic_in_a_vital_task_ends_the_worker_and_nothing_else_runs => vital_panics;
    at_the_end_every_task_is_dropped_inside_the_runtime => tasks_dropped;
    a_task_may_spawn_while_it_is_ended => spawn_at_the_end;
}

on_each! { in_child
    a_worker_ends_with_operations_in_flight => ends_in_flight;
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

fn neighbours_live(choice: DriverChoice) {
    let before = tasks_panicked();
    let (ended, panics) = worker_that_panics(choice, || async {
        let (neighbour, mut neighbours_peer) = pair().await;
        let (stream, mut peer) = pair().await;
        let (foreign, mut foreign_peer) = pair().await;
        spawn(async move {
            stream.readable().await.unwrap();
            panic!("of {}", "one task");
        });
        spawn_foreign(async move {
            foreign.readable().await.unwrap();
            panic!("of a foreign task");
        });
        turn().await;
        peer.write_all(b"go").unwrap();
        foreign_peer.write_all(b"go").unwrap();
        while tasks_panicked() < before + 2 {
            sleep_until_ns(in_ms(1)).await;
        }
        // Their streams went with them.
        peer_is_told(&mut peer).await;
        peer_is_told(&mut foreign_peer).await;
        neighbours_peer.write_all(b"still here").unwrap();
        assert_eq!(read_exactly(&neighbour, 10).await, b"still here");
    });
    assert_eq!(ended, Ended::Finished(()));
    assert_eq!(panics.len(), 2);
    assert!(panics.contains(&"of one task".to_owned()) && panics.contains(&"of a foreign task".to_owned()));
}

fn panic_in_drop(choice: DriverChoice) {
    let (ended, panics) = worker_that_panics(choice, || async {
        spawn(async {
            let _bomb = Bomb;
            turn().await;
        });
        // This one is dropped at the end of the worker.
        spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        sleep_until_ns(in_ms(5)).await;
    });
    assert_eq!((ended, panics), (Ended::Finished(()), vec!["in a drop".to_owned(); 2]));
}

fn panic_outside(choice: DriverChoice) {
    let kept = Rc::new(Cell::new(None));
    let keep = kept.clone();
    let held = Rc::new(());
    let queued = held.clone();
    let (ended, _) = worker_that_panics(choice, || async move {
        let (stream, peer) = pair().await;
        keep.set(Some(peer));
        spawn(async move {
            let (result, _) = stream.read_pinned(Vec::with_capacity(64)).await;
            unreachable!("the runtime is leaked, {result:?}");
        });
        turn().await;
        spawn(async move { drop(queued) });
        panic!("outside a task");
    });
    assert_eq!(ended, Ended::<()>::Panicked("outside a task".to_owned()));
    assert_eq!(Rc::strong_count(&held), 2, "the runtime and its tasks are leaked");
    let mut told = kept.take().unwrap();
    // And a new worker starts on the same thread.
    worker(choice, || async {
        peer_is_told(&mut told).await;
        let (stream, mut peer) = pair().await;
        peer.write_all(b"again").unwrap();
        assert_eq!(read_exactly(&stream, 5).await, b"again");
    });
}

fn vital_panics(choice: DriverChoice) {
    let ran_after = Rc::new(Cell::new(0));
    let ran = ran_after.clone();
    let held = Rc::new(());
    let (task_holds, vital_holds) = (held.clone(), held.clone());
    let (ended, panics) = worker_that_panics(choice, || async move {
        spawn(async move {
            let _held = task_holds;
            loop {
                turn().await;
                ran.set(ran.get() + 1);
            }
        });
        let counted = ran_after.clone();
        spawn_vital(async move {
            let _held = vital_holds;
            turn().await;
            counted.set(0);
            panic!("of a vital task");
        });
        pending::<()>().await;
    });
    assert_eq!(ended, Ended::Panicked("of a vital task".to_owned()));
    assert_eq!(panics, [""; 0]);
    // What the vital task held went with its unwinding.
    assert_eq!(Rc::strong_count(&held), 2, "the other task was dropped");
    worker(choice, || async { turn().await });
}

fn tasks_dropped(choice: DriverChoice) {
    let held = Rc::new(());
    worker(choice, || async {
        let (stream, _peer) = pair().await;
        let (at_a_wait, asleep, for_ever) = (held.clone(), held.clone(), held.clone());
        spawn(async move {
            let _held = at_a_wait;
            let _ = stream.readable().await;
        });
        spawn(async move {
            let _held = asleep;
            sleep_until_ns(u64::MAX).await;
        });
        spawn_foreign(async move {
            let _held = for_ever;
            pending::<()>().await;
        });
        turn().await;
        // Never polled.
        let unpolled = held.clone();
        spawn(async move { drop(unpolled) });
    });
    assert_eq!(Rc::strong_count(&held), 1);
}

fn spawn_at_the_end(choice: DriverChoice) {
    struct SpawnsWhenDropped(Rc<Cell<bool>>);
    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            self.0.set(true);
            spawn(pending());
        }
    }
    let dropped = Rc::new(Cell::new(false));
    worker(choice, || async {
        let spawns = SpawnsWhenDropped(dropped.clone());
        spawn(async move {
            let _spawns = spawns;
            pending::<()>().await;
        });
        turn().await;
    });
    assert!(dropped.get());
}

/// Nothing is left: no descriptor, no buffer, no task. The streams that `main` returns outlive the runtime.
fn ends_in_flight(choice: DriverChoice) {
    let before = descriptors().len();
    for _ in 0..20 {
        let (stream, mut peer): (Stream, _) = worker(choice, || async {
            for _ in 0..10 {
                let (stream, peer) = pair().await;
                spawn(async move {
                    let _peer = peer;
                    let _ = stream.read_pinned(Vec::with_capacity(4096)).await;
                });
                let (stream, peer) = pair().await;
                spawn(async move {
                    let _peer = peer;
                    let _ = stream.readable().await;
                });
            }
            turn().await;
            let (stream, peer) = pair().await;
            let mut wait = Box::pin(stream.readable());
            poll_fn(|cx| {
                assert!(std::future::Future::poll(wait.as_mut(), cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(wait);
            (stream, peer)
        });
        assert_eq!(stream.try_write(b"after").unwrap(), Some(5));
        let mut bytes = [0; 5];
        peer.read_exact(&mut bytes).unwrap();
    }
    assert_eq!(descriptors().len(), before);
}
