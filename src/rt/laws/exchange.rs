//! Connecting, accepting, reading and writing.

use std::io::{IoSlice, Read, Write};
use std::rc::Rc;

use super::{in_ms, listener, on_each, pair, read_exactly, worker};
use crate::{Doorbell, Driver, DriverChoice, Ended, Options, Stream, now, run, sleep_until_ns, spawn};

on_each! {
    bytes_come_back_from_an_echo => echo;
    a_pinned_read_appends => pinned;
    a_pinned_read_waits_on_a_connected_stream_too => pinned_after_connect;
    a_ring_from_another_thread_is_heard => doorbell;
    sleepers_wake_in_order => sleepers;
    a_short_sleep_does_not_wait_for_the_sweep_of_deadlines => short_sleeps;
}

fn echo(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::with_capacity(64);
            loop {
                bytes.clear();
                match stream.try_read_append(&mut bytes).unwrap() {
                    Some(0) => return,
                    Some(_) => assert_eq!(stream.try_write(&bytes).unwrap(), Some(bytes.len())),
                    None => stream.readable().await.unwrap(),
                }
            }
        });
        let stream = Stream::connect(address, in_ms(60_000)).await.unwrap();
        for round in 0..1000u32 {
            let bytes = round.to_be_bytes();
            let parts = [IoSlice::new(&bytes[..1]), IoSlice::new(&bytes[1..])];
            assert_eq!(stream.try_write_vectored(&parts).unwrap(), Some(4));
            assert_eq!(read_exactly(&stream, 4).await, bytes);
        }
        assert_eq!(stream.peer_address(), address);
        stream.shutdown_write().unwrap();
        stream.readable().await.unwrap();
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap(), Some(0));
    });
}

fn pinned(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let stream = Rc::new(stream);
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(b"head");
        let reader = stream.clone();
        let bell = Doorbell::new().unwrap();
        let done = bell.clone();
        spawn(async move {
            let (result, bytes) = reader.read_pinned(bytes).await;
            assert_eq!((result.unwrap(), bytes.as_slice()), (3, b"head123".as_slice()));
            let (result, bytes) = reader.read_pinned(bytes).await;
            assert_eq!((result.unwrap(), bytes.len()), (0, 7));
            done.ring();
        });
        crate::turn().await;
        peer.write_all(b"123").unwrap();
        crate::turn().await;
        drop(peer);
        bell.heard().await.unwrap();
    });
}

fn pinned_after_connect(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let connected = Stream::connect(address, in_ms(60_000)).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        spawn(async move {
            crate::turn().await;
            assert_eq!(accepted.try_write(b"late").unwrap(), Some(4));
        });
        let (result, bytes) = connected.read_pinned(Vec::with_capacity(8)).await;
        assert_eq!((result.unwrap(), bytes.as_slice()), (4, b"late".as_slice()));
    });
}

fn doorbell(choice: DriverChoice) {
    worker(choice, || async {
        let there = Doorbell::new().unwrap();
        let back = Doorbell::new().unwrap();
        let (other_there, other_back) = (there.clone(), back.clone());
        let other = std::thread::spawn(move || {
            worker(choice, || async move {
                for _ in 0..100 {
                    other_there.heard().await.unwrap();
                    other_back.ring();
                }
            });
        });
        for _ in 0..100 {
            there.ring();
            back.heard().await.unwrap();
        }
        other.join().unwrap();
        there.ring();
        there.ring();
        there.heard().await.unwrap();
    });
}

fn sleepers(choice: DriverChoice) {
    worker(choice, || async {
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let bell = Doorbell::new().unwrap();
        // Before the first of them is due, all of them sleep.
        let start_ns = in_ms(1000);
        for delay_ms in [30, 10, 20] {
            let (order, bell) = (order.clone(), bell.clone());
            spawn(async move {
                sleep_until_ns(start_ns + delay_ms * 1_000_000).await;
                assert!(now().mono_ns >= start_ns + delay_ms * 1_000_000);
                order.borrow_mut().push(delay_ms);
                if delay_ms == 30 {
                    bell.ring();
                }
            });
        }
        bell.heard().await.unwrap();
        assert_eq!(*order.borrow(), [10, 20, 30]);
    });
}

fn short_sleeps(choice: DriverChoice) {
    worker(choice, || async {
        // At the sweeps' pace each would take 100 ms, but for the first. A busy machine makes many of them late, but not all.
        let mut shortest_ns = u64::MAX;
        sleep_until_ns(in_ms(1)).await;
        for _ in 0..200 {
            let start_ns = now().mono_ns;
            sleep_until_ns(in_ms(1)).await;
            shortest_ns = shortest_ns.min(now().mono_ns - start_ns);
        }
        assert!(shortest_ns < 50_000_000, "{shortest_ns} ns");
    });
}

#[test]
fn a_reset_reaches_the_peer() {
    worker(DriverChoice::Auto, || async {
        let (stream, mut peer) = pair().await;
        stream.abort();
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn auto_takes_the_ring_where_there_is_one() {
    let options = Options { driver: DriverChoice::Auto, ..Options::default() };
    let ended = run(&options, |driver| async move { driver }).unwrap();
    assert_eq!(ended, Ended::Finished(Driver::UringSingleIssuerDefer));
}

/// A panic must unwind: with `abort` one connection would take the process.
#[test]
fn every_profile_unwinds() {
    const { assert!(cfg!(panic = "unwind")) };
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")).unwrap();
    let settings: Vec<_> = manifest.lines().filter(|line| line.trim_start().starts_with("panic")).collect();
    assert!(settings.iter().any(|line| line.starts_with("panic = \"unwind\"")), "{settings:?}");
    assert!(!settings.iter().any(|line| line.contains("abort")), "{settings:?}");
}

/// The wall clock is read ten times a second at most, and still agrees with the standard library's.
#[test]
fn the_clocks_go_forward_together() {
    let unix_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let (before_ms, first, after_ms) = (unix_ms(), now(), unix_ms());
    assert!(
        (before_ms..=after_ms + 1000).contains(&(first.unix_ms + 1000)),
        "{before_ms} {first:?} {after_ms}"
    );
    let mut last = first;
    while last.mono_ns < first.mono_ns + 5_000_000 {
        let next = now();
        assert!(next.mono_ns >= last.mono_ns && next.unix_ms >= last.unix_ms);
        last = next;
    }
    let passed_ms = (last.mono_ns - first.mono_ns) / 1_000_000;
    assert!(last.unix_ms.abs_diff(first.unix_ms + passed_ms) <= 2000);
}

#[test]
fn a_thread_is_pinned_and_stands_back() {
    std::thread::spawn(|| {
        crate::pin_to_core(0).unwrap();
        crate::idle_priority();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.lines().any(|line| line.trim_end() == "Cpus_allowed_list:\t0"), "{status}");
        assert!(crate::pin_to_core(usize::MAX).is_err());
    })
    .join()
    .unwrap();
}
