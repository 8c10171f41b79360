//! Bytes after the handshake: back-pressure, full duplex, ends, and what is held meanwhile.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ringway_rt::{DriverChoice, Side, spawn};
use ringway_wire::buffer::memory;
use rustls::{ClientConfig, ClientConnection};

use crate::{Stream, TlsFailure, accept};

use super::{
    Authority, VERSIONS, built, client_config, converse, listener, meet, on_both, pattern, peer, profile,
    read_exactly, soon, worker, write_all,
};

on_both! {
    ten_mebibytes_come_back_through_small_socket_buffers => echoed;
    both_directions_flow_at_once => duplex;
    an_end_without_close_notify_is_an_error => truncated;
    we_end_in_order_and_go_on_reading => half_closed;
    idle_connections_hold_no_buffer => idle;
    a_reader_that_stalls_holds_a_bounded_buffer => stalled;
    a_read_or_write_ends_at_its_deadline => deadlines;
    plaintext_that_waits_makes_readable_at_once => waiting;
    keys_are_renewed_on_demand => renewed;
    a_plain_stream_is_the_same => plain;
}

const MEBIBYTES: usize = 10 * 1024 * 1024;

/// Makes the socket's buffers small; below a segment of the loopback (64 KiB) TCP itself would only crawl.
fn narrow(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(32 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
}

/// Sends all of `bytes` from one thread while another reads as many back and then the end.
fn exchange(config: &Arc<ClientConfig>, socket: TcpStream, bytes: Vec<u8>) -> Vec<u8> {
    let mut connection = ClientConnection::new(Arc::clone(config), "a.test".try_into().unwrap()).unwrap();
    let mut reading = socket.try_clone().unwrap();
    let mut socket = socket;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    let connection = Arc::new(std::sync::Mutex::new(connection));
    let reader = {
        let connection = Arc::clone(&connection);
        thread::spawn(move || {
            let mut back = Vec::new();
            let mut sealed = [0; 2048];
            loop {
                let count = reading.read(&mut sealed).unwrap();
                let mut connection = connection.lock().unwrap();
                let mut rest = &sealed[..count];
                loop {
                    connection.read_tls(&mut rest).unwrap();
                    connection.process_new_packets().unwrap();
                    if let Err(error) = connection.reader().read_to_end(&mut back) {
                        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    }
                    if rest.is_empty() {
                        break;
                    }
                }
                if count == 0 {
                    return back;
                }
            }
        })
    };
    for part in bytes.chunks(10_000) {
        let mut sealed = Vec::new();
        {
            let mut connection = connection.lock().unwrap();
            connection.writer().write_all(part).unwrap();
            while connection.wants_write() {
                connection.write_tls(&mut sealed).unwrap();
            }
        }
        socket.write_all(&sealed).unwrap();
    }
    let mut sealed = Vec::new();
    {
        let mut connection = connection.lock().unwrap();
        connection.send_close_notify();
        connection.write_tls(&mut sealed).unwrap();
    }
    socket.write_all(&sealed).unwrap();
    reader.join().unwrap()
}

fn echoed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        let config = Arc::new(client_config(&authority, version, None));
        let (served, back) = meet(choice, &tls, move |socket| {
            narrow(&socket);
            exchange(&config, socket, pattern(MEBIBYTES))
        });
        let served = served.unwrap();
        assert_eq!((served.echoed, served.end), (MEBIBYTES, Ok(())));
        assert!(back == pattern(MEBIBYTES));
    }
}

fn duplex(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    worker(choice, || async {
        let (listener, address) = listener();
        let peer = thread::spawn(move || {
            let socket = TcpStream::connect(address).unwrap();
            narrow(&socket);
            exchange(&config, socket, pattern(MEBIBYTES))
        });
        let (io, _) = listener.accept().await.unwrap();
        let (stream, _) = accept(io, &tls, soon()).await.unwrap();
        let stream = Rc::new(stream);
        let written = Rc::new(Cell::new(false));
        let (writer, done) = (Rc::clone(&stream), Rc::clone(&written));
        // Not an echo: what is written does not wait for what is read.
        spawn(async move {
            write_all(&writer, &pattern(MEBIBYTES)).await.unwrap();
            done.set(true);
            writer.shutdown_write().await.unwrap();
        });
        assert!(read_exactly(&stream, MEBIBYTES).await == pattern(MEBIBYTES));
        let mut end = Vec::with_capacity(16);
        while stream.try_read_append(&mut end).unwrap().is_none() {
            stream.readable().await.unwrap();
        }
        assert!(end.is_empty());
        while !written.get() {
            ringway_rt::turn().await;
        }
        let back = thread::spawn(move || peer.join().unwrap());
        while !back.is_finished() {
            ringway_rt::turn().await;
        }
        assert!(back.join().unwrap() == pattern(MEBIBYTES));
    });
}

fn truncated(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        for cut in [0, 7] {
            let config = Arc::new(client_config(&authority, version, None));
            let (served, ()) = meet(choice, &tls, move |socket| {
                let mut peer = peer(&config, "a.test", socket);
                peer.write_all(b"hello").unwrap();
                let mut back = [0; 5];
                peer.read_exact(&mut back).unwrap();
                // The end, at once or in the middle of a record.
                peer.sock.write_all(&[23, 3, 3, 0, 100, 1, 2][..cut]).unwrap();
                peer.sock.shutdown(Shutdown::Write).unwrap();
                let mut rest = Vec::new();
                peer.sock.read_to_end(&mut rest).unwrap();
            });
            let served = served.unwrap();
            assert_eq!((served.echoed, served.end), (5, Err(TlsFailure::Truncated)));
        }
    }
}

fn half_closed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        let config = Arc::new(client_config(&authority, version, None));
        worker(choice, || async {
            let (listener, address) = listener();
            let peer = thread::spawn(move || {
                let mut peer = peer(&config, "a.test", TcpStream::connect(address).unwrap());
                let mut all = Vec::new();
                peer.read_to_end(&mut all).unwrap();
                peer.write_all(b"after your end").unwrap();
                peer.conn.send_close_notify();
                peer.flush().unwrap();
                all
            });
            let (io, _) = listener.accept().await.unwrap();
            let (stream, _) = accept(io, &tls, soon()).await.unwrap();
            write_all(&stream, b"all").await.unwrap();
            stream.shutdown_write().await.unwrap();
            assert_eq!(stream.try_write(b"more").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
            assert_eq!(read_exactly(&stream, 14).await, b"after your end");
            assert_eq!(peer.join().unwrap(), b"all");
        });
    }
}

fn idle(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        let config = Arc::new(client_config(&authority, version, None));
        worker(choice, || async {
            let (listener, address) = listener();
            let (send, receive) = mpsc::channel::<()>();
            let peers = thread::spawn(move || {
                let open: Vec<_> = (0..20)
                    .map(|_| {
                        let mut peer = peer(&config, "a.test", TcpStream::connect(address).unwrap());
                        peer.write_all(b"hello").unwrap();
                        let mut back = [0; 5];
                        peer.read_exact(&mut back).unwrap();
                        peer
                    })
                    .collect();
                receive.recv().unwrap_err();
                open.len()
            });
            let mut open = Vec::new();
            for _ in 0..20 {
                let (io, _) = listener.accept().await.unwrap();
                let (stream, _) = accept(io, &tls, soon()).await.unwrap();
                let request = read_exactly(&stream, 5).await;
                write_all(&stream, &request).await.unwrap();
                assert_eq!(stream.try_read_append(&mut Vec::with_capacity(4096)).unwrap(), None);
                open.push(stream);
            }
            assert_eq!(
                memory::in_use(),
                0,
                "bytes of pooled buffers that {} idle connections hold",
                open.len()
            );
            drop(send);
            assert_eq!(peers.join().unwrap(), 20);
        });
    }
}

fn stalled(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    worker(choice, || async {
        let (listener, address) = listener();
        let (send, receive) = mpsc::channel::<()>();
        let peer = thread::spawn(move || {
            let socket = TcpStream::connect(address).unwrap();
            narrow(&socket);
            let mut peer = peer(&config, "a.test", socket);
            peer.conn.complete_io(&mut peer.sock).unwrap();
            // Reads nothing until it is told to.
            receive.recv().unwrap_err();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        let (io, _) = listener.accept().await.unwrap();
        let (stream, _) = accept(io, &tls, soon()).await.unwrap();
        let bytes = pattern(MEBIBYTES);
        let mut rest = bytes.as_slice();
        while let Some(count) = stream.try_write(rest).unwrap() {
            rest = &rest[count..];
        }
        assert!(memory::in_use() <= 64 * 1024, "{} bytes held", memory::in_use());
        assert_eq!(stream.try_write(rest).unwrap(), None);
        let other = stream.try_write(&rest[1..]).unwrap_err();
        assert_eq!(TlsFailure::of(&other), Some(TlsFailure::WriteChanged));
        drop(send);
        write_all(&stream, rest).await.unwrap();
        stream.shutdown_write().await.unwrap();
        assert_eq!(memory::in_use(), 0);
        assert!(peer.join().unwrap() == bytes);
    });
}

fn deadlines(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    for side in [Side::Read, Side::Write] {
        let config = Arc::clone(&config);
        worker(choice, || async {
            let (listener, address) = listener();
            let (send, receive) = mpsc::channel::<()>();
            let peer = thread::spawn(move || {
                let mut peer = peer(&config, "a.test", TcpStream::connect(address).unwrap());
                peer.conn.complete_io(&mut peer.sock).unwrap();
                receive.recv().unwrap_err();
            });
            let (io, _) = listener.accept().await.unwrap();
            let (stream, _) = accept(io, &tls, soon()).await.unwrap();
            stream.deadline().arm(side, ringway_rt::now().mono_ns + 50_000_000);
            let error = match side {
                Side::Read => stream.readable().await.unwrap_err(),
                Side::Write => write_all(&stream, &pattern(3 * MEBIBYTES)).await.unwrap_err(),
            };
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            assert_eq!(stream.deadline().expired(), Some(side));
            drop(send);
            peer.join().unwrap();
        });
    }
}

fn waiting(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    worker(choice, || async {
        let (listener, address) = listener();
        let (send, receive) = mpsc::channel::<()>();
        let peer = thread::spawn(move || {
            let mut peer = peer(&config, "a.test", TcpStream::connect(address).unwrap());
            peer.write_all(b"one record").unwrap();
            receive.recv().unwrap_err();
        });
        let (io, _) = listener.accept().await.unwrap();
        let (stream, _) = accept(io, &tls, soon()).await.unwrap();
        stream.deadline().arm(Side::Read, soon());
        assert_eq!(read_exactly(&stream, 3).await, b"one");
        assert!(stream.has_pending_plaintext());
        // Nothing more will come from the socket.
        stream.readable().await.unwrap();
        assert_eq!(read_exactly(&stream, 7).await, b" record");
        assert!(!stream.has_pending_plaintext());
        let full = stream.try_read_append(&mut Vec::new()).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::InvalidInput);
        drop(send);
        peer.join().unwrap();
    });
}

fn renewed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    let (served, ()) = meet(choice, &tls, move |socket| {
        let mut peer = peer(&config, "a.test", socket);
        for round in 0_u8..100 {
            peer.write_all(&[round; 100]).unwrap();
            // It renews its own key and asks for ours.
            peer.conn.refresh_traffic_keys().unwrap();
            peer.write_all(&[round; 100]).unwrap();
            let mut back = [0; 200];
            peer.read_exact(&mut back).unwrap();
            assert_eq!(back, [round; 200]);
        }
        assert_eq!(converse(&mut peer, b"end").unwrap(), b"end");
    });
    let served = served.unwrap();
    assert_eq!((served.echoed, served.end), (20_003, Ok(())));
}

fn plain(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        let peer = thread::spawn(move || {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(b"hello").unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            socket.read_to_end(&mut back).unwrap();
            back
        });
        let (io, from) = listener.accept().await.unwrap();
        let stream = Stream::Plain(io);
        assert_eq!((stream.peer_address(), stream.local_address().unwrap()), (from, address));
        assert!(!stream.is_tls() && !stream.has_pending_plaintext());
        assert_eq!(super::echo(&stream).await.0, 5);
        assert_eq!(peer.join().unwrap(), b"hello");
    });
}

#[test]
fn a_client_that_converses_is_echoed() {
    let authority = Authority::new("ca");
    let config = Arc::new(client_config(&authority, &rustls::version::TLS13, None));
    let (served, back) = meet(DriverChoice::Epoll, &built(profile(&authority)), move |socket| {
        converse(&mut peer(&config, "a.test", socket), b"").unwrap()
    });
    assert_eq!((back.len(), served.unwrap().end), (0, Ok(())));
}
