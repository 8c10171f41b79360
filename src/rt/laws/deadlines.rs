//! Deadlines of reads, writes and connects.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use super::{in_ms, on_each, pair, read_exactly, worker};
use crate::{BindOptions, DriverChoice, Listener, Side, Stream, counters, now};

on_each! {
    a_read_ends_at_its_deadline_and_a_reply_can_still_be_sent => read;
    a_pinned_read_ends_at_its_deadline => pinned;
    a_write_ends_at_its_deadline => write;
    a_connect_ends_at_its_deadline => connect;
    a_refused_connect_says_so => refused;
    a_deadline_that_was_moved_or_taken_away_does_not_fire => moved;
    a_deadline_ends_with_its_stream => ends_with_stream;
}

fn read(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        let at_ns = in_ms(20);
        stream.deadline().arm(Side::Read, at_ns);
        assert_eq!(stream.deadline().expired(), None);
        assert_eq!(stream.readable().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(now().mono_ns >= at_ns);
        assert_eq!(stream.deadline().expired(), Some(Side::Read));
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.try_write(b"408").unwrap(), Some(3));
        stream.writable().await.unwrap();
        drop(stream);
        let mut reply = Vec::new();
        peer.read_to_end(&mut reply).unwrap();
        assert_eq!(reply, b"408");
    });
}

fn pinned(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, _peer) = pair().await;
        stream.deadline().arm(Side::Read, in_ms(20));
        let (result, buffer) = stream.read_pinned(Vec::with_capacity(64)).await;
        assert_eq!((result.unwrap_err().kind(), buffer.len()), (ErrorKind::TimedOut, 0));
    });
}

fn write(choice: DriverChoice) {
    worker(choice, || async {
        let expired_before = counters().deadlines_expired;
        let (stream, _peer) = pair().await;
        let bytes = vec![0; 1 << 20];
        while stream.try_write(&bytes).unwrap().is_some() {}
        stream.deadline().arm(Side::Write, in_ms(20));
        assert_eq!(stream.writable().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.deadline().expired(), Some(Side::Write));
        assert_eq!(stream.try_write(b"more").unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.readable().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(counters().deadlines_expired > expired_before);
    });
}

/// A listener whose queue is full does not answer.
fn connect(choice: DriverChoice) {
    let full =
        Listener::bind(([127, 0, 0, 1], 0).into(), BindOptions { backlog: 0, ..BindOptions::default() });
    let full = full.unwrap();
    let address = full.local_addr().unwrap();
    worker(choice, || async {
        let mut connected = Vec::new();
        let error = loop {
            let at_ns = in_ms(50);
            match Stream::connect(address, at_ns).await {
                Ok(stream) => connected.push(stream),
                Err(error) => {
                    assert!(now().mono_ns >= at_ns);
                    break error;
                }
            }
            assert!(connected.len() < 10);
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

fn refused(choice: DriverChoice) {
    worker(choice, || async {
        // Of an address that no other process has: nobody is given its port meanwhile.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let own = ([127, 64 + high % 64, middle, low], 0).into();
        let closed = Listener::bind(own, BindOptions::default()).unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = Stream::connect(address, in_ms(60_000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

fn moved(choice: DriverChoice) {
    worker(choice, || async {
        let (moved, mut moved_peer) = pair().await;
        let (witness, _peer) = pair().await;
        moved.deadline().arm(Side::Read, in_ms(20));
        moved.deadline().arm(Side::Write, in_ms(20));
        witness.deadline().arm(Side::Read, in_ms(30));
        moved.deadline().arm(Side::Read, in_ms(60_000));
        moved.deadline().disarm(Side::Write);
        assert!(witness.readable().await.is_err());
        assert_eq!(moved.deadline().expired(), None);
        moved_peer.write_all(b"alive").unwrap();
        assert_eq!(read_exactly(&moved, 5).await, b"alive");
    });
}

/// The descriptors' next owners, whose numbers nobody else had in between, are not shut down by the deadlines of the ones
/// before.
fn ends_with_stream(choice: DriverChoice) {
    worker(choice, || async {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let mut before = Vec::new();
        for _ in 0..100 {
            let (stream, peer) = pair().await;
            stream.deadline().arm(Side::Read, in_ms(20));
            stream.deadline().arm(Side::Write, in_ms(20));
            before.push((stream, peer));
        }
        let numbers: Vec<_> = before.iter().map(|(stream, _)| stream.raw_fd()).collect();
        drop(before);
        let mut after: Vec<_> = (0..100)
            .map(|_| (std::net::TcpStream::connect(address).unwrap(), listening.accept().unwrap().0))
            .collect();
        let reused = |socket: &std::net::TcpStream| numbers.contains(&socket.as_raw_fd());
        assert!(after.iter().any(|(caller, accepted)| reused(caller) || reused(accepted)));
        let (witness, _peer) = pair().await;
        witness.deadline().arm(Side::Read, in_ms(30));
        assert!(witness.readable().await.is_err());
        for (caller, accepted) in &mut after {
            let mut byte = [0];
            caller.write_all(b"a").unwrap();
            accepted.read_exact(&mut byte).unwrap();
            accepted.write_all(&byte).unwrap();
            caller.read_exact(&mut byte).unwrap();
        }
    });
}
