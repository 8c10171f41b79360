//! Sends at the end of a turn.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use super::{in_ms, listener, on_each, pair, worker};
use crate::{DriverChoice, sleep_until_ns, turn};

on_each! {
    what_is_sent_at_the_turns_end_is_not_sent_before => at_the_end;
    what_is_written_later_does_not_overtake_it => in_order;
    a_stream_that_is_dropped_has_sent_it => dropped;
    what_does_not_fit_is_handed_back => partly;
    what_does_not_fit_and_nobody_asks_for_goes_later => later;
    nothing_follows_what_did_not_go => broken;
}

/// More than both sockets' buffers take.
const LARGE: usize = 32 << 20;

fn nothing_came(peer: &mut TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    let read = peer.read(&mut [0]);
    peer.set_nonblocking(false).unwrap();
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn came(peer: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

fn at_the_end(choice: DriverChoice) {
    worker(choice, || async {
        let ((first, mut first_peer), (second, mut second_peer)) = (pair().await, pair().await);
        first.send_at_turns_end(b"first".to_vec());
        second.send_at_turns_end(b"second".to_vec());
        assert!(nothing_came(&mut first_peer) && nothing_came(&mut second_peer));
        turn().await;
        assert_eq!(came(&mut first_peer, 5), b"first");
        assert_eq!(came(&mut second_peer, 6), b"second");
        let (result, bytes) = second.take_sent().unwrap();
        assert_eq!((result.unwrap(), bytes.as_slice()), (6, b"second".as_slice()));
        assert!(second.take_sent().is_none());
        second.send_at_turns_end(b"at once".to_vec());
        assert_eq!(second.take_sent().unwrap().0.unwrap(), 7);
        assert_eq!(came(&mut second_peer, 7), b"at once");
    });
}

fn in_order(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        stream.send_at_turns_end(b"one ".to_vec());
        assert_eq!(stream.try_write(b"two ").unwrap(), Some(4));
        stream.send_at_turns_end(b"three".to_vec());
        stream.shutdown_write().unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "one two three");
    });
}

fn dropped(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        stream.send_at_turns_end(b"last words".to_vec());
        drop(stream);
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
        // The turn's end meets a send that was made, of a descriptor that may be another's by now.
        turn().await;
    });
}

fn partly(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, mut peer) = pair().await;
        stream.send_at_turns_end(vec![7; LARGE]);
        let (result, bytes) = stream.take_sent().unwrap();
        let count = result.unwrap();
        assert!(count > 0 && count < LARGE && bytes.len() == LARGE, "{count}");
        drop(stream);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), count);
    });
}

fn later(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let reader = std::thread::spawn(move || {
            let mut peer = TcpStream::connect(address).unwrap();
            came(&mut peer, LARGE).len()
        });
        let (stream, _) = listener.accept().await.unwrap();
        stream.send_at_turns_end(vec![7; LARGE]);
        while !reader.is_finished() {
            sleep_until_ns(in_ms(1)).await;
        }
        assert_eq!(reader.join().unwrap(), LARGE);
        assert_eq!(stream.take_sent().unwrap().0.unwrap(), LARGE);
    });
}

fn broken(choice: DriverChoice) {
    worker(choice, || async {
        let (stream, _peer) = pair().await;
        stream.send_at_turns_end(vec![7; LARGE]);
        assert_eq!(stream.try_write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        stream.send_at_turns_end(vec![7; LARGE]);
        stream.send_at_turns_end(b"more".to_vec());
        assert_eq!(stream.take_sent().unwrap().0.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}
