//! The laws of the seam. Each runs on io_uring with DEFER_TASKRUN, without it, and on epoll, and fails if a driver silently became another.

mod accepting;
mod completions;
mod cost;
mod deadlines;
mod endings;
mod exchange;
mod pipes;
mod sends;
mod turns;
mod udp;
mod waits;

use std::cell::RefCell;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::mpsc;
use std::time::Duration;

use crate::{
    BindOptions, Driver, DriverChoice, Ended, Listener, Options, Stream, now, run, sleep_until_ns, turn,
};

/// One test per driver from one function that takes the `DriverChoice`; `in_child`: in a process of its own.
macro_rules! on_each {
    ($($law:ident => $check:ident;)*) => {$(
        mod $law {
            #[test]
            fn on_the_ring() {
                super::$check(crate::DriverChoice::Uring);
            }

            #[test]
            fn on_a_ring_without_defer() {
                super::$check(crate::DriverChoice::UringCoop);
            }

            #[test]
            fn on_epoll() {
                super::$check(crate::DriverChoice::Epoll);
            }
        }
    )*};
    (in_child $($law:ident => $check:ident;)*) => {$(
        mod $law {
            #[test]
            fn on_the_ring() {
                let name = concat!(module_path!(), "::on_the_ring");
                crate::laws::in_a_process_of_its_own(name, || super::$check(crate::DriverChoice::Uring));
            }

            #[test]
            fn on_a_ring_without_defer() {
                let name = concat!(module_path!(), "::on_a_ring_without_defer");
                crate::laws::in_a_process_of_its_own(name, || super::$check(crate::DriverChoice::UringCoop));
            }

            #[test]
            fn on_epoll() {
                let name = concat!(module_path!(), "::on_epoll");
                crate::laws::in_a_process_of_its_own(name, || super::$check(crate::DriverChoice::Epoll));
            }
        }
    )*};
}
pub(crate) use on_each;

thread_local! {
    /// What tasks on this thread said when they panicked: a failed assertion in a task fails the test.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs `main` on exactly this driver, to its end; no task may panic.
fn worker<F: Future<Output = T>, T>(choice: DriverChoice, main: impl FnOnce() -> F) -> T {
    let (ended, panics) = worker_that_panics(choice, main);
    assert_eq!(panics, [""; 0]);
    match ended {
        Ended::Finished(value) => value,
        Ended::Panicked(message) => panic!("{message}"),
    }
}

/// Runs `main` on exactly this driver; tells how it ended and what tasks panicked with.
fn worker_that_panics<F: Future<Output = T>, T>(
    choice: DriverChoice,
    main: impl FnOnce() -> F,
) -> (Ended<T>, Vec<String>) {
    let on_panic = |message: &str| PANICS.with_borrow_mut(|panics| panics.push(message.to_owned()));
    let options = Options { driver: choice, entries: 256, on_panic };
    let _watchdog = Watchdog::start();
    let ended = run(&options, |driver| {
        let wanted = match choice {
            DriverChoice::Auto | DriverChoice::Uring => Driver::UringSingleIssuerDefer,
            DriverChoice::UringCoop => Driver::UringSingleIssuerCoop,
            DriverChoice::Epoll => Driver::Epoll,
        };
        assert_eq!(driver, wanted, "the driver fell back");
        main()
    });
    (ended.expect("the driver can be had"), PANICS.take())
}

/// Starvation shows as a law that never ends: after three minutes it ends the process.
struct Watchdog(#[expect(dead_code, reason = "its drop says that the law has ended")] mpsc::Sender<()>);

impl Watchdog {
    fn start() -> Self {
        let (ended, wait) = mpsc::channel();
        std::thread::spawn(move || {
            if wait.recv_timeout(Duration::from_secs(180)) == Err(mpsc::RecvTimeoutError::Timeout) {
                std::process::abort();
            }
        });
        Self(ended)
    }
}

/// Runs `law` in a process of its own: this test binary again, for the test named `name` (of `module_path!`).
fn in_a_process_of_its_own(name: &str, law: impl FnOnce()) {
    const MARK: &str = "RINGWAY_RT_CHILD";
    if std::env::var(MARK).is_ok_and(|child| child == name) {
        return law();
    }
    let (_crate, test) = name.split_once("::").unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(MARK, name)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
    assert!(told.contains("1 passed"), "the law did not run: {told}");
}

/// The open descriptors of this process, without the one that reads them.
fn descriptors() -> Vec<RawFd> {
    let listed = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open: Vec<RawFd> =
        listed.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    open.retain(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    open
}

/// Waits until no more than so many descriptors are open: closes, and the cancellations before them, take some rounds of the driver.
async fn closed_down_to(count: usize) {
    let until_ns = in_ms(60_000);
    while descriptors().len() != count {
        assert!(now().mono_ns < until_ns, "{} descriptors stay open, not {count}", descriptors().len());
        turn().await;
    }
}

/// What has connected to `listener`, without a turn of the driver's: the kernel may hand it over a moment after it has told the caller.
fn accepted_at_once(listener: &Listener) -> (Stream, SocketAddr) {
    loop {
        match listener.try_accept().unwrap() {
            Some(accepted) => return accepted,
            None => std::thread::yield_now(),
        }
    }
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

/// Waits until the peer reads the end, or a reset.
async fn peer_is_told(peer: &mut std::net::TcpStream) {
    peer.set_nonblocking(true).unwrap();
    loop {
        match peer.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep_until_ns(in_ms(1)).await,
            Ok(0) | Err(_) => return,
            Ok(_) => panic!("the peer read a byte"),
        }
    }
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
