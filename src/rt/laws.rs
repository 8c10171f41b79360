//! The laws of the seam. Each runs on both drivers, and fails if a driver silently became another.

mod exchange;

use std::future::Future;
use std::net::SocketAddr;

use crate::{BindOptions, Driver, DriverChoice, Ended, Listener, Options, Stream, now, run};

/// One test per driver from one function that takes the `DriverChoice`.
macro_rules! on_both {
    ($($(#[$attribute:meta])* $law:ident => $check:ident;)*) => {$(
        mod $law {
            $(#[$attribute])*
            #[test]
            fn on_the_ring() {
                super::$check(crate::DriverChoice::Uring);
            }

            $(#[$attribute])*
            #[test]
            fn on_epoll() {
                super::$check(crate::DriverChoice::Epoll);
            }
        }
    )*};
}
pub(crate) use on_both;

/// Runs `main` on exactly this driver, to its end.
fn worker<F: Future<Output = T>, T>(choice: DriverChoice, main: impl FnOnce() -> F) -> T {
    match worker_ended(choice, main) {
        Ended::Finished(value) => value,
        Ended::Panicked(message) => panic!("{message}"),
    }
}

fn worker_ended<F: Future<Output = T>, T>(choice: DriverChoice, main: impl FnOnce() -> F) -> Ended<T> {
    let options = Options { driver: choice, entries: 256, on_panic: |_| {} };
    run(&options, |driver| {
        assert_eq!(
            driver == Driver::Epoll,
            choice == DriverChoice::Epoll,
            "the driver fell back to {driver}"
        );
        main()
    })
    .expect("the driver can be had")
}

/// A listener on a free port of the loopback.
fn listener() -> (Listener, SocketAddr) {
    let listening = Listener::bind(([127, 0, 0, 1], 0).into(), BindOptions::default()).unwrap();
    let address = listening.local_addr().unwrap();
    (Listener::from_std(listening).unwrap(), address)
}

/// Two ends of one connection: ours that accepted, and a blocking one for the test to play the peer.
async fn pair() -> (Stream, std::net::TcpStream) {
    let (listener, address) = listener();
    let peer = std::net::TcpStream::connect(address).unwrap();
    let (stream, from) = listener.accept().await.unwrap();
    assert_eq!(from, peer.local_addr().unwrap());
    (stream, peer)
}

/// Reads exactly `length` bytes.
async fn read_exactly(stream: &Stream, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        match stream.try_read_append(&mut bytes).unwrap() {
            Some(0) => panic!("the end came after {} of {length} bytes", bytes.len()),
            Some(_) => {}
            None => stream.readable().await.unwrap(),
        }
    }
    bytes
}

fn in_ms(milliseconds: u64) -> u64 {
    now().mono_ns + milliseconds * 1_000_000
}
