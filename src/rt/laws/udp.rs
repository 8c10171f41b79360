//! UDP: readiness, blocked senders, the steering of a group, and timers that move.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::Poll;

use super::{in_ms, on_each, worker};
use crate::{DriverChoice, Segments, Timer, UdpSocket, now, sleep_until_ns, spawn, spawn_foreign, turn};

on_each! {
    a_datagram_wakes_who_waits_for_it => datagram;
    a_group_is_steered_by_the_connection_id => steered;
    a_group_that_was_left_takes_nothing_of_the_next_one => left;
    segments_go_out_one_by_one_on_each_families => segments;
    all_who_wait_to_send_are_told => blocked;
    a_timer_that_moves_fires_once_at_its_last_instant => moving;
    a_timer_moved_earlier_fires_early => earlier;
    a_foreign_timer_task_starves_nobody => busy_timer;
}

/// How long a blocking read may take before the law fails.
const PATIENCE: Option<std::time::Duration> = Some(std::time::Duration::from_secs(20));

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn received(socket: &UdpSocket, clone: &std::net::UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2048];
    loop {
        match clone.recv(&mut bytes) {
            Ok(length) => return bytes[..length].to_vec(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
    }
}

fn datagram(choice: DriverChoice) {
    worker(choice, || async {
        let bound = UdpSocket::bind(loopback()).unwrap();
        let clone = bound.try_clone().unwrap();
        let socket = UdpSocket::from_std(bound).unwrap();
        let address = socket.local_address().unwrap();
        assert_eq!(address, clone.local_addr().unwrap());
        let peer = std::net::UdpSocket::bind(loopback()).unwrap();
        spawn(async move {
            for word in [b"one", b"two"] {
                sleep_until_ns(in_ms(5)).await;
                peer.send_to(word, address).unwrap();
            }
        });
        assert_eq!(received(&socket, &clone).await, b"one");
        assert_eq!(received(&socket, &clone).await, b"two");
    });
}

/// Of 2,000 packets, half with long and half with short headers, none goes astray.
fn steered(choice: DriverChoice) {
    worker(choice, || async {
        for members in [1u16, 2, 3] {
            let group = UdpSocket::bind_group(loopback(), members).unwrap();
            let address = group[0].local_addr().unwrap();
            for socket in &group {
                socket.set_nonblocking(true).unwrap();
            }
            let peers: Vec<_> = (0..8).map(|_| std::net::UdpSocket::bind(loopback()).unwrap()).collect();
            let mut astray = 0;
            for number in 0..2000u32 {
                let id = (number % 251) as u8;
                let mut packet = [0xAA; 40];
                let header: &[u8] = if number % 2 == 0 { &[0x40, id] } else { &[0xC0, 0, 0, 0, 1, 8, id] };
                packet[..header.len()].copy_from_slice(header);
                peers[number as usize % peers.len()].send_to(&packet, address).unwrap();
                let mut bytes = [0; 64];
                for (index, socket) in group.iter().enumerate() {
                    let expected = index == usize::from(id) % usize::from(members);
                    let came = socket.recv(&mut bytes).is_ok();
                    astray += u32::from(came != expected);
                }
            }
            assert_eq!(astray, 0, "of 2,000 to {members}");
        }
        for members in [0, 257] {
            assert!(UdpSocket::bind_group(loopback(), members).is_err());
        }
    });
}

/// The sockets that left are open still, and waited for.
fn left(choice: DriverChoice) {
    worker(choice, || async {
        for ip in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let former = UdpSocket::bind_group((ip, 0).into(), 2).unwrap();
            let address = former[0].local_addr().unwrap();
            let waited = UdpSocket::from_std(former[0].try_clone().unwrap()).unwrap();
            poll_fn(|cx| Poll::Ready(waited.poll_readable(cx).is_pending())).await;
            former.iter().for_each(|socket| UdpSocket::leave(socket).unwrap());
            let client = std::net::UdpSocket::bind((ip, 0)).unwrap();
            client.connect(address).unwrap();
            client.set_read_timeout(PATIENCE).unwrap();
            client.send(b"nobody").unwrap();
            let mut bytes = [0; 8];
            assert_eq!(client.recv(&mut bytes).unwrap_err().kind(), ErrorKind::ConnectionRefused);

            let group = UdpSocket::bind_group(address, 2).unwrap();
            for id in [0u8, 1, 2, 3] {
                let member = usize::from(id % 2);
                client.send(&[0x40, id]).unwrap();
                group[member].set_nonblocking(false).unwrap();
                group[member].set_read_timeout(PATIENCE).unwrap();
                assert_eq!(group[member].recv(&mut bytes).unwrap(), 2);
            }
        }
    });
}

fn segments(choice: DriverChoice) {
    worker(choice, || async {
        for ip in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let peer = std::net::UdpSocket::bind((ip, 0)).unwrap();
            let socket = UdpSocket::from_std(UdpSocket::bind((ip, 0).into()).unwrap()).unwrap();
            let contents: Vec<u8> = (0..250).collect();
            let sent = socket.send_segments(&Segments {
                destination: peer.local_addr().unwrap(),
                source: Some(ip),
                ecn: 2,
                contents: &contents,
                segment_bytes: 100,
            });
            assert_eq!(sent.unwrap(), 3);
            let mut got = Vec::new();
            for length in [100, 100, 50] {
                let mut bytes = [0; 256];
                let (read, from) = peer.recv_from(&mut bytes).unwrap();
                assert_eq!((read, from), (length, socket.local_address().unwrap()));
                got.extend_from_slice(&bytes[..read]);
            }
            assert_eq!(got, contents);
        }
    });
}

fn blocked(choice: DriverChoice) {
    worker(choice, || async {
        let socket = Rc::new(UdpSocket::from_std(UdpSocket::bind(loopback()).unwrap()).unwrap());
        // Not blocked: nobody waits. Then as if a send had met a full buffer: all wait, and are told.
        poll_fn(|cx| socket.poll_writable(cx)).await;
        socket.blocked();
        let told = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (socket, told) = (socket.clone(), told.clone());
            spawn(async move {
                poll_fn(|cx| socket.poll_writable(cx)).await;
                told.set(told.get() + 1);
            });
        }
        while told.get() < 3 {
            turn().await;
        }
        assert!(!std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd()).is_negative());
    });
}

/// Fails unless it is pending, or its time has come while the machine stood still.
#[track_caller]
fn assert_early(polled: Poll<()>, at_ns: u64) {
    assert!(polled.is_pending() || now().mono_ns >= at_ns);
}

fn moving(choice: DriverChoice) {
    worker(choice, || async {
        let started_ns = now().mono_ns;
        let mut timer = Timer::new(started_ns + 5_000_000);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                assert_early(timer.poll(cx), started_ns + 5_000_000);
                // Moved a hundred times before it fires.
                for later_ms in 1..=100u64 {
                    let at_ns = started_ns + (20 + later_ms / 10) * 1_000_000;
                    timer.reset(at_ns);
                    assert_early(timer.poll(cx), at_ns);
                }
            }
            timer.poll(cx)
        })
        .await;
        assert!(now().mono_ns >= started_ns + 30_000_000);
        // The first, the one of the instant before, the last; a driver may add one.
        assert!(polls <= 4, "{polls} polls");
    });
}

fn earlier(choice: DriverChoice) {
    worker(choice, || async {
        let mut timer = Timer::new(u64::MAX);
        let mut first = true;
        let at_ns = in_ms(5);
        poll_fn(|cx| {
            let polled = timer.poll(cx);
            if std::mem::take(&mut first) {
                timer.reset(at_ns);
                return timer.poll(cx);
            }
            polled
        })
        .await;
        assert!(now().mono_ns >= at_ns);
        // Dropped while it is entered, and on a thread where it never fires.
        let at_ns = in_ms(1);
        let mut timer = Timer::new(at_ns);
        poll_fn(|cx| {
            assert_early(timer.poll(cx), at_ns);
            Poll::Ready(())
        })
        .await;
        std::thread::spawn(move || drop(timer)).join().unwrap();
        sleep_until_ns(in_ms(5)).await;
    });
}

/// A task whose timer is always due does not keep the others from running.
fn busy_timer(choice: DriverChoice) {
    worker(choice, || async {
        let fired = Rc::new(Cell::new(0u32));
        let counted = fired.clone();
        let mut timer = Timer::new(0);
        spawn_foreign(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            timer.reset(now().mono_ns + 1);
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }));
        for _ in 0..10 {
            sleep_until_ns(in_ms(1)).await;
        }
        // And goes on itself.
        while fired.get() < 10 {
            turn().await;
        }
    });
}
