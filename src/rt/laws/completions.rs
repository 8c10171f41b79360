//! Completions come though the driver waits for none: while the queue of tasks is never empty, and while another thread wakes tasks without
//! a pause. A ring with DEFER_TASKRUN gives none of itself.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::turns::{keep_the_queue_busy, others_go_on};
use super::{in_ms, listener, on_each, pair, read_exactly, worker, worker_that_panics};
use crate::{
    Doorbell, DriverChoice, Ended, Side, Stream, UdpSocket, sleep_until_ns, spawn, spawn_foreign, turn,
};

on_each! {
    reads_and_sends_go_on_while_the_queue_is_never_empty => reads_and_sends;
    connections_and_datagrams_come_while_the_queue_is_never_empty => connections_and_datagrams;
    deadlines_and_bells_are_kept_while_the_queue_is_never_empty => deadlines_and_bells;
    what_was_ready_before_a_turn_is_there_after_it => ready_before_a_turn;
    wakes_from_another_thread_hold_up_neither_timers_nor_io => woken_without_a_pause;
    all_of_many_completions_come => many;
    workers_that_sleep_wake_each_other => workers;
    a_worker_ends_while_its_queue_is_never_empty => ends;
    a_worker_that_starts_again_asks_its_own_ring => starts_again;
}

on_each! { in_child
    a_worker_knows_its_ring_while_descriptors_come_and_go => descriptors_come_and_go;
}

fn reads_and_sends(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let stream = Rc::new(stream);
        keep_the_queue_busy();
        for round in 0..20u8 {
            stream.send_at_turns_end(vec![round]);
            turn().await;
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            let mut peer = peer.try_clone().unwrap();
            spawn(async move {
                sleep_until_ns(in_ms(1)).await;
                peer.write_all(&[round]).unwrap();
            });
            let (result, bytes) = stream.read_pinned(Vec::with_capacity(8)).await;
            assert_eq!((result.unwrap(), bytes.as_slice()), (1, &[round][..]));
        }
        let other = Rc::clone(&stream);
        spawn(async move {
            sleep_until_ns(in_ms(1)).await;
            other.call_off();
        });
        let kind = stream.read_warm(Vec::with_capacity(8)).await.0.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Interrupted | ErrorKind::Unsupported), "{kind}");
    });
}

fn connections_and_datagrams(choice: DriverChoice) {
    worker(choice, || async {
        keep_the_queue_busy();
        let (listener, address) = listener();
        let bound = UdpSocket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let received = bound.try_clone().unwrap();
        let socket = UdpSocket::from_std(bound).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_address().unwrap()).unwrap();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                assert_eq!(stream.try_write(b"hello").unwrap(), Some(5));
                sender.send(b"datagram").unwrap();
            }
        });
        for _ in 0..20 {
            let stream = Stream::connect(address, in_ms(60_000)).await.unwrap();
            assert_eq!(read_exactly(&stream, 5).await, b"hello");
            let mut bytes = [0; 16];
            let length = loop {
                match received.recv(&mut bytes) {
                    Ok(length) => break length,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
            };
            assert_eq!(&bytes[..length], b"datagram");
        }
    });
}

fn deadlines_and_bells(choice: DriverChoice) {
    worker(choice, || async {
        keep_the_queue_busy();
        let (stream, _peer) = pair().await;
        stream.deadline().arm(Side::Read, in_ms(20));
        assert_eq!(stream.readable().await.unwrap_err().kind(), ErrorKind::TimedOut);
        for _ in 0..20 {
            let bell = Doorbell::new().unwrap();
            let rung = bell.clone();
            let ringer = thread::spawn(move || rung.ring());
            bell.heard().await.unwrap();
            ringer.join().unwrap();
        }
    });
}

/// Polls `wait` once. It must not be ready.
fn not_yet<F: Future>(wait: std::pin::Pin<&mut F>) {
    assert!(wait.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

fn ready_before_a_turn(choice: DriverChoice) {
    worker(choice, || async {
        for round in 0..40 {
            if round == 20 {
                keep_the_queue_busy();
            }
            let bell = Doorbell::new().unwrap();
            let mut heard = pin!(bell.heard());
            not_yet(heard.as_mut());
            turn().await;
            not_yet(heard.as_mut());
            bell.ring();
            turn().await;
            assert!(heard.poll(&mut Context::from_waker(Waker::noop())).is_ready(), "round {round}");
        }
    });
}

/// Two tasks. Each, when it is polled, has another thread wake the other one before it goes on: the driver never waits, because whenever no
/// task is ready one has been woken from elsewhere.
fn woken_without_a_pause(choice: DriverChoice) {
    worker(choice, || async {
        let (wake, wakers): (Sender<Waker>, Receiver<Waker>) = channel();
        let (done, woken) = channel();
        let waking = thread::spawn(move || {
            for waker in wakers {
                waker.wake();
                if done.send(()).is_err() {
                    return;
                }
            }
        });
        let (tasks, woken) = (Rc::new([const { Cell::new(None::<Waker>) }; 2]), Rc::new(woken));
        for me in [0, 1] {
            let (tasks, wake, woken) = (tasks.clone(), wake.clone(), woken.clone());
            spawn(poll_fn(move |cx| {
                tasks[me].set(Some(cx.waker().clone()));
                if let Some(other) = tasks[1 - me].take() {
                    wake.send(other).unwrap();
                    woken.recv().unwrap();
                }
                Poll::Pending
            }));
        }
        drop((wake, woken));
        let (stream, mut peer) = pair().await;
        for round in 0..3u8 {
            sleep_until_ns(in_ms(1)).await;
            peer.write_all(&[round]).unwrap();
            assert_eq!(read_exactly(&stream, 1).await, [round]);
        }
        drop(waking);
    });
}

/// More than the kernel works off in one go.
fn many(choice: DriverChoice) {
    const MANY: u32 = 300;
    worker(choice, || async {
        for round in 0..4 {
            if round == 2 {
                keep_the_queue_busy();
            }
            let heard = Rc::new(Cell::new(0));
            let all = Doorbell::new().unwrap();
            let bells: Vec<_> = (0..MANY).map(|_| Doorbell::new().unwrap()).collect();
            for bell in bells.clone() {
                let (heard, all) = (heard.clone(), all.clone());
                spawn(async move {
                    bell.heard().await.unwrap();
                    heard.set(heard.get() + 1);
                    if heard.get() == MANY {
                        all.ring();
                    }
                });
            }
            turn().await;
            bells.iter().for_each(Doorbell::ring);
            all.heard().await.unwrap();
        }
    });
}

fn workers(choice: DriverChoice) {
    let bells: Arc<Vec<_>> = Arc::new((0..3).map(|_| Doorbell::new().unwrap()).collect());
    let workers: Vec<_> = (0..bells.len())
        .map(|me| {
            let bells = Arc::clone(&bells);
            thread::spawn(move || {
                worker(choice, || async {
                    for _ in 0..200 {
                        bells[me].heard().await.unwrap();
                        bells[(me + 1) % bells.len()].ring();
                    }
                });
            })
        })
        .collect();
    bells[0].ring();
    for worker in workers {
        worker.join().unwrap();
    }
}

fn ends(choice: DriverChoice) {
    let held = Rc::new(());
    for _ in 0..10 {
        worker(choice, || async {
            keep_the_queue_busy();
            for _ in 0..10 {
                let (stream, peer) = pair().await;
                let also_held = held.clone();
                spawn(async move {
                    let _held = (peer, also_held);
                    let _ = stream.read_pinned(Vec::with_capacity(4096)).await;
                });
                let held = held.clone();
                spawn_foreign(async move {
                    let _held = held;
                    pending::<()>().await;
                });
            }
            turn().await;
        });
        assert_eq!(Rc::strong_count(&held), 1);
    }
}

fn starts_again(choice: DriverChoice) {
    for _ in 0..3 {
        let (ended, _) = worker_that_panics(choice, || async {
            let (stream, _peer) = pair().await;
            spawn(async move {
                let _ = stream.read_pinned(Vec::with_capacity(64)).await;
            });
            keep_the_queue_busy();
            turn().await;
            panic!("outside a task");
        });
        assert_eq!(ended, Ended::<()>::Panicked("outside a task".to_owned()));
    }
    worker(choice, || async {
        keep_the_queue_busy();
        others_go_on().await;
    });
}

/// Other threads open and close descriptors while a worker's ring is made, and take those that it might have had.
fn descriptors_come_and_go(choice: DriverChoice) {
    let ended = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    drop(std::fs::File::open("/dev/null").unwrap());
                }
            })
        })
        .collect();
    for _ in 0..20 {
        worker(choice, || async {
            keep_the_queue_busy();
            sleep_until_ns(in_ms(1)).await;
        });
    }
    ended.store(true, Ordering::Relaxed);
    for other in others {
        other.join().unwrap();
    }
}
