//! Listening: options, running out of descriptors, stopping.

#![expect(unsafe_code, reason = "socket options and limits through libc")]

use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;

use super::{accepted_at_once, descriptors, in_ms, listener, on_each, peer_is_told, read_exactly, worker};
use crate::{BindOptions, Doorbell, DriverChoice, Listener, counters, now, sleep_until_ns, spawn, turn};

on_each! {
    accepted_and_connected_streams_send_at_once => nodelay;
    a_stopped_listener_wakes_its_accept_and_leaves_the_backlog => stop;
    a_closed_listener_refuses_while_its_socket_lives_on => close;
    listeners_share_a_port_and_families_do_not => sharing;
}

on_each! { in_child
    running_out_of_descriptors_degrades_and_recovers => exhausted;
}

#[test]
fn nobody_reaches_an_address_that_is_held_and_a_listener_there_is_found_out() {
    let held = Listener::hold(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let held = std::net::TcpListener::from(held);
    let address = held.local_addr().unwrap();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(held);
    // One that would share the address with its like shares it with no other.
    let options = BindOptions { reuseport: true, backlog: 16, v6only: false };
    let listening = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), options).unwrap();
    let taken = listening.local_addr().unwrap();
    assert_eq!(Listener::hold(taken, false).unwrap_err().kind(), ErrorKind::AddrInUse);
}

fn option_of(fd: i32, level: i32, option: i32) -> i32 {
    let (mut value, mut length) = (0i32, size_of::<i32>() as u32);
    // SAFETY: `value` is writable for `length` bytes.
    let result = unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(result, 0);
    value
}

fn nodelay(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let connected = crate::Stream::connect(address, in_ms(60_000)).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        for stream in [&connected, &accepted] {
            assert_eq!(option_of(stream.raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
        }
        let asked = [(libc::SOL_SOCKET, libc::SO_KEEPALIVE), (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE)];
        assert_eq!(asked.map(|(level, option)| option_of(connected.raw_fd(), level, option)), [1, 60]);
        assert_eq!(connected.local_address().unwrap(), accepted.peer_address());
    });
}

fn stop(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let listener = Rc::new(listener);
        let accepting = listener.clone();
        let ended = Doorbell::new().unwrap();
        let told = ended.clone();
        spawn(async move {
            assert_eq!(accepting.accept().await.unwrap_err().kind(), ErrorKind::Interrupted);
            told.ring();
        });
        turn().await;
        listener.stop();
        ended.heard().await.unwrap();
        let mut late = TcpStream::connect(address).unwrap();
        late.write_all(b"late").unwrap();
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::Interrupted);
        let (stream, _) = accepted_at_once(&listener);
        assert_eq!(read_exactly(&stream, 4).await, b"late");
        assert!(listener.try_accept().unwrap().is_none());
    });
}

fn close(choice: DriverChoice) {
    worker(choice, || async {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, clone) = (listening.local_addr().unwrap(), listening.try_clone().unwrap());
        let listener = Rc::new(Listener::from_std(listening).unwrap());
        let accepting = listener.clone();
        // Its wait is in flight when the socket is closed.
        spawn(async move { drop(accepting.accept().await) });
        turn().await;
        drop(TcpStream::connect(address).unwrap());
        listener.close();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        drop(clone);
    });
}

fn sharing(choice: DriverChoice) {
    worker(choice, || async {
        let shared = BindOptions { reuseport: true, ..BindOptions::default() };
        let first = Listener::bind("[::1]:0".parse().unwrap(), shared).unwrap();
        let address = first.local_addr().unwrap();
        let second = Listener::bind(address, shared).unwrap();
        let alone = Listener::bind(address, BindOptions::default()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::AddrInUse);
        let any: SocketAddr = ([0, 0, 0, 0], 0).into();
        let v4 = Listener::bind(any, BindOptions::default()).unwrap();
        let v6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, v4.local_addr().unwrap().port()));
        Listener::bind(v6, BindOptions::default()).expect("[::] leaves IPv4 to 0.0.0.0");
        drop((first, second));
    });
}

/// With no descriptor left: one caller is told by a close, the listener pauses instead of spinning, the others go on, and
/// when descriptors are free again the waiting callers are served.
fn exhausted(choice: DriverChoice) {
    let (listening, callers) = prepare_callers();
    worker(choice, || async {
        let listener = Listener::from_std(listening).unwrap();
        set_descriptors_max(*descriptors().iter().max().unwrap() as u64 + 1);
        let hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let accepted = Rc::new(Cell::new(0));
        let counted = accepted.clone();
        spawn(async move {
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
                counted.set(streams.len());
            }
        });
        let (before, began_ns) = (counters(), now().mono_ns);
        while counters().accepts_backed_off < before.accepts_backed_off + 3 {
            sleep_until_ns(in_ms(1)).await;
        }
        // Three pauses are 10 + 20 ms and the start of the third.
        let took_ns = now().mono_ns - began_ns;
        assert!(took_ns >= 30_000_000, "three pauses in {took_ns} ns");
        assert_eq!(accepted.get(), 0);
        let shed = counters().accepts_shed - before.accepts_shed;
        assert!((1..=4).contains(&shed), "{shed} were shed");
        drop(hoard);
        set_descriptors_max(1024);
        while accepted.get() + shed as usize != callers.len() {
            sleep_until_ns(in_ms(1)).await;
        }
        for mut told in callers.into_iter().take(shed as usize) {
            peer_is_told(&mut told).await;
        }
    });
}

fn prepare_callers() -> (std::net::TcpListener, Vec<TcpStream>) {
    let listening = Listener::bind(([127, 0, 0, 1], 0).into(), BindOptions::default()).unwrap();
    let address = listening.local_addr().unwrap();
    let callers = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    (listening, callers)
}

fn set_descriptors_max(descriptors_max: u64) {
    let limit = libc::rlimit { rlim_cur: descriptors_max, rlim_max: 1024 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}
