//! Waits that are given up, and descriptors that are closed under them.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{
    accepted_at_once, closed_down_to, descriptors, listener, on_each, pair, peer_is_told, read_exactly,
    worker,
};
use crate::{Doorbell, DriverChoice, Stream, spawn, turn};

on_each! {
    a_given_up_wait_loses_no_byte => no_byte_lost;
    a_given_up_wait_keeps_no_waker => no_waker_kept;
    a_stream_closed_under_a_wait_ends_for_its_peer => closed_under_a_wait;
    both_directions_wait_at_once => both_directions;
    a_wait_with_nothing_to_read_does_not_spin => no_spin;
    a_warm_read_that_is_called_off_loses_no_byte => called_off;
}

on_each! { in_child
    a_dropped_accept_leaks_no_descriptor => dropped_accept;
    a_pinned_read_that_was_given_up_takes_nothing_from_the_next_owner_of_the_number => no_wrong_reader;
    streams_closed_under_waits_leak_no_descriptor => dropped_streams;
    every_descriptor_is_closed_on_exec => cloexec;
    a_stream_with_nothing_in_flight_is_closed_at_once => closed_at_once;
}

#[test]
fn the_future_of_a_wait_is_small() {
    worker(DriverChoice::Auto, || async {
        let (stream, _peer) = pair().await;
        assert!(size_of_val(&stream.readable()) <= 64, "{}", size_of_val(&stream.readable()));
        assert!(size_of_val(&stream.writable()) <= 64, "{}", size_of_val(&stream.writable()));
        assert!(size_of::<Stream>() <= 128, "{}", size_of::<Stream>());
    });
}

/// Opens descriptors until every number below `fd` is taken.
fn fill_up_to(fd: i32, fillers: &mut Vec<std::fs::File>) {
    use std::os::fd::AsRawFd;
    loop {
        let filler = std::fs::File::open("/dev/null").unwrap();
        if filler.as_raw_fd() > fd {
            return;
        }
        fillers.push(filler);
    }
}

/// Polls `future` once, and gives it up if it is not ready.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn no_byte_lost(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        for round in 0..500u32 {
            // Given up before the driver knows of it, while it waits, and after it has been served.
            assert!(poll_once(stream.readable()).is_none() || round > 0);
            if round % 3 == 0 {
                turn().await;
            }
            peer.write_all(&round.to_be_bytes()).unwrap();
            if round % 2 == 0 {
                turn().await;
            }
            drop(poll_once(stream.readable()));
            assert_eq!(read_exactly(&stream, 4).await, round.to_be_bytes());
        }
    });
}

fn no_waker_kept(choice: DriverChoice) {
    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    worker(choice, || async {
        let (stream, _peer) = pair().await;
        let nobody = std::sync::Arc::new(Nobody);
        let waker = Waker::from(nobody.clone());
        {
            let mut wait = Box::pin(stream.readable());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(waker);
        assert_eq!(std::sync::Arc::strong_count(&nobody), 1);
    });
}

fn closed_under_a_wait(choice: DriverChoice) {
    worker(choice, || async {
        for turns in [0, 1, 2] {
            let (stream, mut peer) = pair().await;
            drop(poll_once(stream.readable()));
            for _ in 0..turns {
                turn().await;
            }
            drop(stream);
            peer_is_told(&mut peer).await;
        }
    });
}

/// The entry of the read stands in the submission queue, naming its descriptor by number, when the stream goes.
fn no_wrong_reader(choice: DriverChoice) {
    worker(choice, || async {
        let (next, address) = listener();
        let (mut peers, mut fillers) = (Vec::new(), Vec::new());
        for round in 0..20u32 {
            let (stream, peer) = pair().await;
            peers.push(peer);
            let mut successor = std::net::TcpStream::connect(address).unwrap();
            successor.write_all(&round.to_be_bytes()).unwrap();
            assert!(poll_once(stream.read_pinned(Vec::with_capacity(64))).is_none());
            // No lower number is free, so that the next descriptor gets the stream's, if it is free.
            fill_up_to(stream.raw_fd(), &mut fillers);
            drop(stream);
            // The driver has no turn meanwhile: the entry still stands there.
            let (stream, _) = accepted_at_once(&next);
            turn().await;
            turn().await;
            assert_eq!(read_exactly(&stream, 4).await, round.to_be_bytes());
            peers.push(successor);
        }
    });
}

/// Our own reads must clear what the driver believes about readiness: on epoll a stale belief makes every wait return at
/// once.
fn no_spin(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let bell = Doorbell::new().unwrap();
        let told = bell.clone();
        spawn(async move {
            let (mut waits, mut bytes) = (0, Vec::with_capacity(64));
            while bytes.len() < 10 {
                match stream.try_read_append(&mut bytes).unwrap() {
                    Some(_) => {}
                    None => {
                        stream.readable().await.unwrap();
                        waits += 1;
                    }
                }
            }
            assert!(waits <= 20, "{waits} waits for 10 bytes");
            told.ring();
        });
        for _ in 0..10 {
            peer.write_all(b"x").unwrap();
            for _ in 0..20 {
                turn().await;
            }
        }
        bell.heard().await.unwrap();
    });
}

fn closed_at_once(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        peer.write_all(b"read").unwrap();
        stream.readable().await.unwrap();
        let (result, _) = stream.read_pinned(Vec::with_capacity(64)).await;
        assert_eq!(result.unwrap(), 4);
        let fd = stream.raw_fd();
        drop(stream);
        assert!(!descriptors().contains(&fd));
    });
}

fn both_directions(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let full = vec![0u8; 1 << 20];
        let mut written = 0;
        while let Some(more) = stream.try_write(&full).unwrap() {
            written += more;
        }
        let mut writable = Box::pin(stream.writable());
        let mut readable = Box::pin(stream.readable());
        let reader = std::thread::spawn(move || {
            let mut left = vec![0; written];
            peer.read_exact(&mut left).unwrap();
            peer.write_all(b"all read").unwrap();
            peer
        });
        let (mut wrote, mut read) = (false, false);
        std::future::poll_fn(|cx| {
            wrote = wrote || writable.as_mut().poll(cx).map(Result::unwrap).is_ready();
            read = read || readable.as_mut().poll(cx).map(Result::unwrap).is_ready();
            if wrote && read { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!(read_exactly(&stream, 8).await, b"all read");
        drop(reader.join().unwrap());
    });
}

fn dropped_accept(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        // The first accept makes what the listener keeps.
        assert!(poll_once(listener.accept()).is_none());
        turn().await;
        let before = descriptors().len();
        let mut callers = Vec::new();
        for round in 0..500 {
            assert!(poll_once(listener.accept()).is_none());
            if round % 2 == 0 {
                turn().await;
            }
            callers.push(std::net::TcpStream::connect(address).unwrap());
            turn().await;
            let (stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, callers[round].local_addr().unwrap());
            drop(stream);
        }
        drop(callers);
        closed_down_to(before).await;
    });
}

fn dropped_streams(choice: DriverChoice) {
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listening.local_addr().unwrap();
    worker(choice, || async {
        turn().await;
        let before = descriptors().len();
        for round in 0..500 {
            let (stream, _peer) = pair().await;
            drop(poll_once(stream.readable()));
            if round % 2 == 0 {
                turn().await;
            }
            if round % 3 == 0 {
                drop(poll_once(stream.read_pinned(Vec::with_capacity(64))));
            }
            drop(poll_once(Stream::connect(address, u64::MAX)));
            drop(listening.accept().unwrap());
        }
        closed_down_to(before).await;
    });
}

fn cloexec(choice: DriverChoice) {
    let inherited_by_us = descriptors();
    worker(choice, || async {
        let (listener, address) = listener();
        let connected = Stream::connect(address, u64::MAX).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(descriptors().contains(&connected.raw_fd()) && descriptors().contains(&accepted.raw_fd()));
        let inherited: Vec<_> = descriptors()
            .into_iter()
            .filter(|fd| !inherited_by_us.contains(fd))
            .filter(|fd| {
                let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
                let flags =
                    flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("02000000").trim();
                i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC == 0
            })
            .map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")))
            .collect();
        assert!(inherited.is_empty(), "{inherited:?}");
    });
}

/// Called off while the peer writes: each byte is returned by the read that was called off or by the next one.
fn called_off(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let stream = std::rc::Rc::new(stream);
        for round in 0..200u8 {
            let other = std::rc::Rc::clone(&stream);
            spawn(async move {
                turn().await;
                other.call_off();
            });
            if round.is_multiple_of(2) {
                peer.write_all(&[round]).unwrap();
            }
            let (result, buffer) = stream.read_warm(Vec::with_capacity(8)).await;
            match result {
                Ok(1) => assert_eq!(buffer, [round]),
                Ok(count) => panic!("{count} bytes"),
                Err(error) => {
                    let kind = error.kind();
                    assert!(matches!(kind, ErrorKind::Interrupted | ErrorKind::Unsupported), "{error}");
                    assert!(buffer.is_empty() && buffer.capacity() >= 8);
                    if round.is_multiple_of(2) {
                        stream.readable().await.unwrap();
                        let mut byte = [0];
                        assert_eq!(stream.try_read(&mut byte).unwrap(), Some(1));
                        assert_eq!(byte, [round]);
                    }
                }
            }
            turn().await;
        }
    });
}
