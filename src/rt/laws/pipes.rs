//! Bytes that go from one stream to another through a pipe.

use std::io::{ErrorKind, IoSlice, Read, Write};

use super::{on_each, pair, worker};
use crate::{DriverChoice, Pipe, Stream};

on_each! {
    what_one_stream_receives_another_sends => relayed;
    a_pipe_that_holds_bytes_is_not_used_again => given_up;
    an_end_and_a_lost_peer_are_told => ended;
    pipes_are_bounded => bounded;
}

/// More than both sockets' buffers and a pipe take.
const LARGE: usize = 32 << 20;

/// Moves all that comes until the end.
async fn relay(from: &Stream, to: &Stream) -> usize {
    let mut sum = 0;
    loop {
        let mut pipe = Pipe::take().unwrap();
        match from.try_read_into(&mut pipe, 1 << 20).unwrap() {
            None => from.readable().await.unwrap(),
            Some(0) => return sum,
            Some(count) => {
                assert_eq!(pipe.held(), count);
                sum += count;
                while pipe.held() > 0 {
                    if to.try_write_from(&mut pipe).unwrap().is_none() {
                        to.writable().await.unwrap();
                    }
                }
            }
        }
    }
}

fn relayed(choice: DriverChoice) {
    worker(choice, || async {
        let ((from, mut sender), (to, mut receiver)) = (pair().await, pair().await);
        let content: Vec<u8> = (0..LARGE).map(|place| (place / 7) as u8).collect();
        let expected = content.clone();
        let writer = std::thread::spawn(move || sender.write_all(&content).unwrap());
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            receiver.read_to_end(&mut all).unwrap();
            all
        });
        assert_eq!(to.try_write_before(&[IoSlice::new(b"he"), IoSlice::new(b"ad")]).unwrap(), Some(4));
        assert_eq!(relay(&from, &to).await, LARGE);
        drop(to);
        writer.join().unwrap();
        let all = reader.join().unwrap();
        assert_eq!(all[..4], *b"head");
        assert!(all[4..] == expected);
    });
}

fn given_up(choice: DriverChoice) {
    worker(choice, || async {
        let ((from, mut sender), (to, mut receiver)) = (pair().await, pair().await);
        sender.write_all(b"lost").unwrap();
        from.readable().await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(from.try_read_into(&mut pipe, 3).unwrap(), Some(3));
        drop(pipe);
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(from.try_read_into(&mut pipe, 100).unwrap(), Some(1));
        assert_eq!(to.try_write_from(&mut pipe).unwrap(), Some(1));
        assert_eq!(pipe.held(), 0);
        drop(to);
        let mut all = String::new();
        receiver.read_to_string(&mut all).unwrap();
        assert_eq!(all, "t");
    });
}

fn ended(choice: DriverChoice) {
    worker(choice, || async {
        let ((from, mut sender), (to, receiver)) = (pair().await, pair().await);
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(from.try_read_into(&mut pipe, 100).unwrap(), None);
        sender.write_all(&[7; 1000]).unwrap();
        from.readable().await.unwrap();
        assert_eq!(from.try_read_into(&mut pipe, 2000).unwrap(), Some(1000));
        drop((sender, receiver));
        from.readable().await.unwrap();
        let mut other = Pipe::take().unwrap();
        assert_eq!(from.try_read_into(&mut other, 100).unwrap(), Some(0));
        // The first write may still go: what comes back for it is a reset.
        let error = loop {
            let sent = to.try_write_from(&mut pipe);
            pipe = match sent {
                Err(error) => break error,
                Ok(_) => {
                    to.readable().await.unwrap();
                    let mut filled = Pipe::take().unwrap();
                    sender_of(&mut filled).await;
                    filled
                }
            };
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    });
}

/// Some bytes in a pipe.
async fn sender_of(pipe: &mut Pipe) {
    let (from, mut sender) = pair().await;
    sender.write_all(b"more").unwrap();
    from.readable().await.unwrap();
    assert_eq!(from.try_read_into(pipe, 100).unwrap(), Some(4));
}

fn bounded(choice: DriverChoice) {
    worker(choice, || async {
        let pipes: Vec<Pipe> = std::iter::from_fn(Pipe::take).take(1000).collect();
        assert_eq!(pipes.len(), 64);
        drop(pipes);
        assert!(Pipe::take().is_some());
    });
}
