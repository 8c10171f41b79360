//! Nobody starves: tasks that wake themselves, queues that are never empty, floods of connections.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, Waker};

use super::{in_ms, listener, on_each, pair, read_exactly, worker};
use crate::{Doorbell, DriverChoice, sleep_until_ns, spawn, spawn_foreign, turn};

on_each! {
    a_foreign_task_that_wakes_itself_starves_nobody => self_waking;
    a_task_that_gives_its_turn_away_starves_nobody => turning;
    timers_and_io_run_while_the_queue_is_never_empty => busy_queue;
    a_flood_of_connections_leaves_turns_to_others => flood;
    a_foreign_waker_works_from_another_thread => woken_from_elsewhere;
}

/// What must go on beside `busy`: another task, a timer, and I/O. Fails (never ends) if one of them does not.
pub(super) async fn others_go_on() {
    let (stream, mut peer) = pair().await;
    let turns = Rc::new(Cell::new(0u32));
    let counted = turns.clone();
    spawn(async move {
        for _ in 0..100 {
            turn().await;
            counted.set(counted.get() + 1);
        }
    });
    for round in 0..10u32 {
        sleep_until_ns(in_ms(2)).await;
        peer.write_all(&round.to_be_bytes()).unwrap();
        assert_eq!(read_exactly(&stream, 4).await, round.to_be_bytes());
    }
    while turns.get() < 100 {
        sleep_until_ns(in_ms(1)).await;
    }
}

fn self_waking(choice: DriverChoice) {
    worker(choice, || async {
        let polls = Rc::new(Cell::new(0u64));
        let counted = polls.clone();
        spawn_foreign(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        others_go_on().await;
        // And goes on itself.
        while polls.get() < 100 {
            turn().await;
        }
    });
}

fn turning(choice: DriverChoice) {
    worker(choice, || async {
        spawn(async {
            loop {
                turn().await;
            }
        });
        others_go_on().await;
    });
}

/// Starts two tasks that wake each other: from now on there is always one in the queue.
pub(super) fn keep_the_queue_busy() {
    let wakers = Rc::new([const { Cell::new(None::<Waker>) }; 2]);
    for me in [0, 1] {
        let wakers = wakers.clone();
        spawn(poll_fn(move |cx| {
            wakers[me].set(Some(cx.waker().clone()));
            if let Some(other) = wakers[1 - me].take() {
                other.wake();
            }
            Poll::Pending
        }));
    }
}

fn busy_queue(choice: DriverChoice) {
    worker(choice, || async {
        keep_the_queue_busy();
        others_go_on().await;
    });
}

fn flood(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let callers: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let turns = Rc::new(Cell::new(0u32));
        let counted = turns.clone();
        spawn(async move {
            loop {
                turn().await;
                counted.set(counted.get() + 1);
            }
        });
        for _ in &callers {
            listener.accept().await.unwrap();
        }
        assert!(turns.get() >= 10, "{} turns while 200 connections were accepted", turns.get());
    });
}

fn woken_from_elsewhere(choice: DriverChoice) {
    worker(choice, || async {
        let done = Doorbell::new().unwrap();
        let rung = done.clone();
        let rounds = Arc::new(AtomicU32::new(0));
        spawn_foreign({
            let rounds = rounds.clone();
            async move {
                for _ in 0..100 {
                    let woken = Arc::new(AtomicBool::new(false));
                    poll_fn(|cx| {
                        if woken.load(Ordering::Acquire) {
                            return Poll::Ready(());
                        }
                        let (waker, woken) = (cx.waker().clone(), woken.clone());
                        std::thread::spawn(move || {
                            woken.store(true, Ordering::Release);
                            waker.wake();
                        });
                        Poll::Pending
                    })
                    .await;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                rung.ring();
            }
        });
        done.heard().await.unwrap();
        assert_eq!(rounds.load(Ordering::Relaxed), 100);
    });
}
