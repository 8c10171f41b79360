//! TLS towards upstreams: who is trusted, what is shown, what is remembered.

use std::rc::Rc;
use std::sync::Arc;

use ringway_rt::{self as rt, DriverChoice, spawn};

use crate::{
    Alpn, ClientAuth, ClientProfile, ClientTls, Handshake, ServerProfile, ServerTls, Stream, TlsFailure,
    Verify, Version, accept, connect,
};

use super::{Authority, built, echo, listener, on_both, profile, read_exactly, soon, worker, write_all};

on_both! {
    an_upstream_is_verified_unless_told_otherwise => verified;
    sessions_towards_an_upstream_are_resumed => resumed;
    our_certificate_is_shown_where_it_is_demanded => shown;
    an_upstream_that_is_none_is_named => garbage;
    a_silent_upstream_ends_at_the_deadline => silent;
    bytes_are_relayed_between_two_tls_streams => relayed;
}

fn towards(authority: &Authority) -> ClientProfile {
    ClientProfile {
        name: "up".to_owned(),
        ca: vec![authority.der()],
        certificate: None,
        alpn: vec![Alpn::Http2, Alpn::Http1],
        minimum: Version::Tls12,
        verify: Verify::Full,
    }
}

/// Connects once to an upstream of ours that echoes, sends a little and reads it back.
async fn converse(upstream: &Arc<ServerTls>, tls: &ClientTls, name: &str) -> Result<Handshake, TlsFailure> {
    let (listener, address) = listener();
    let theirs = Arc::clone(upstream);
    spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        if let Ok((stream, _)) = accept(io, &theirs, soon()).await {
            let _ = echo(&stream).await;
        }
    });
    let io = rt::Stream::connect(address, soon()).await.unwrap();
    let (stream, agreed) = connect(io, tls, name, soon()).await?;
    stream.deadline().arm(rt::Side::Read, soon());
    let failure = |error| TlsFailure::from(&error);
    write_all(&stream, b"hello").await.map_err(failure)?;
    let mut back = Vec::with_capacity(64);
    while back.len() < 5 {
        match stream.try_read_append(&mut back).map_err(failure)? {
            Some(0) => panic!("the end came early"),
            Some(_) => {}
            None => stream.readable().await.map_err(failure)?,
        }
    }
    stream.shutdown_write().await.map_err(failure)?;
    Ok(agreed)
}

fn verified(choice: DriverChoice) {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let expired = authority.issue_until(&["a.test"], 2021);
    for minimum in [Version::Tls12, Version::Tls13] {
        let upstream =
            Arc::new(built(ServerProfile { minimum, serve_without_sni: true, ..profile(&authority) }));
        let old = Arc::new(built(ServerProfile {
            certificates: vec![expired.certificate()],
            ..profile(&authority)
        }));
        let full = ClientTls::build(&towards(&authority)).unwrap();
        let fresh = ClientTls::build(&towards(&authority)).unwrap();
        let foreign = ClientTls::build(&towards(&stranger)).unwrap();
        let mozilla = ClientTls::build(&ClientProfile { ca: vec![], ..towards(&authority) }).unwrap();
        let insecure = ClientProfile { verify: Verify::Insecure, ..towards(&stranger) };
        let insecure = ClientTls::build(&insecure).unwrap();
        worker(choice, || async {
            let agreed = converse(&upstream, &full, "a.test").await.unwrap();
            assert_eq!((agreed.alpn, agreed.resumed), (Some(Alpn::Http1), false));
            assert_eq!(
                converse(&upstream, &full, "x.wild.test").await.unwrap().certificates,
                agreed.certificates
            );
            assert_eq!(converse(&upstream, &foreign, "a.test").await, Err(TlsFailure::UnknownIssuer));
            assert_eq!(converse(&upstream, &mozilla, "a.test").await, Err(TlsFailure::UnknownIssuer));
            assert_eq!(converse(&upstream, &full, "127.0.0.1").await, Err(TlsFailure::NameMismatch));
            assert_eq!(converse(&upstream, &full, "b.test").await, Err(TlsFailure::UnrecognizedName));
            assert_eq!(converse(&upstream, &full, "no name").await, Err(TlsFailure::NameMismatch));
            assert_eq!(converse(&old, &fresh, "a.test").await, Err(TlsFailure::CertificateExpired));
            assert!(converse(&upstream, &insecure, "127.0.0.1").await.is_ok());
            assert!(converse(&old, &insecure, "a.test").await.is_ok());
        });
    }
}

fn resumed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let upstream = Arc::new(built(profile(&authority)));
    let tls = ClientTls::build(&towards(&authority)).unwrap();
    let other = ClientTls::build(&towards(&authority)).unwrap();
    worker(choice, || async {
        assert!(!converse(&upstream, &tls, "a.test").await.unwrap().resumed);
        assert!(converse(&upstream, &tls, "a.test").await.unwrap().resumed);
        assert!(!converse(&upstream, &tls, "x.wild.test").await.unwrap().resumed, "another name");
        assert!(!converse(&upstream, &other, "a.test").await.unwrap().resumed, "another upstream");
    });
}

fn shown(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let demanding = ServerProfile {
        client: ClientAuth::Require,
        client_ca: vec![authority.der()],
        ..profile(&authority)
    };
    let upstream = Arc::new(built(demanding));
    let ours = authority.issue(&["gateway.test"]).certificate();
    let with = ClientTls::build(&ClientProfile { certificate: Some(ours), ..towards(&authority) }).unwrap();
    let without = ClientTls::build(&towards(&authority)).unwrap();
    worker(choice, || async {
        assert!(converse(&upstream, &with, "a.test").await.is_ok());
        // TLS 1.3: it says so after our handshake, in the first read (116: certificate_required).
        assert_eq!(converse(&upstream, &without, "a.test").await, Err(TlsFailure::AlertReceived(116)));
    });
}

fn garbage(choice: DriverChoice) {
    use std::io::{Read, Write};
    let authority = Authority::new("ca");
    let tls = ClientTls::build(&towards(&authority)).unwrap();
    for (bytes, failure) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), TlsFailure::Malformed),
        (&[22, 3, 3, 0, 4, 2, 0, 0, 0], TlsFailure::Malformed),
        (&[], TlsFailure::PeerClosed),
        (&[22, 3, 3, 0x40, 0, 2], TlsFailure::PeerClosed),
        (&[21, 3, 3, 0, 2, 2, 40], TlsFailure::AlertReceived(40)),
    ] {
        worker(choice, || async {
            let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listening.local_addr().unwrap();
            let bytes = bytes.to_vec();
            let upstream = std::thread::spawn(move || {
                let (mut socket, _) = listening.accept().unwrap();
                let mut hello = [0; 5];
                socket.read_exact(&mut hello).unwrap();
                socket.write_all(&bytes).unwrap();
                socket.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            });
            let io = rt::Stream::connect(address, soon()).await.unwrap();
            assert_eq!(connect(io, &tls, "a.test", soon()).await.err(), Some(failure));
            upstream.join().unwrap();
        });
    }
}

fn silent(choice: DriverChoice) {
    let tls = ClientTls::build(&towards(&Authority::new("ca"))).unwrap();
    worker(choice, || async {
        let (_listener, address) = listener();
        let io = rt::Stream::connect(address, soon()).await.unwrap();
        let deadline = rt::now().mono_ns + 50_000_000;
        assert_eq!(connect(io, &tls, "a.test", deadline).await.err(), Some(TlsFailure::HandshakeTimeout));
    });
}

/// Moves bytes one way until the end.
async fn relay(from: Rc<Stream>, to: Rc<Stream>) {
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        match from.try_read_append(&mut bytes).unwrap() {
            Some(0) => return to.shutdown_write().await.unwrap(),
            Some(_) => {
                write_all(&to, &bytes).await.unwrap();
                bytes.clear();
            }
            None => from.readable().await.unwrap(),
        }
    }
}

fn relayed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let front = Arc::new(built(profile(&authority)));
    let tls = ClientTls::build(&towards(&authority)).unwrap();
    let length = 3 * 1024 * 1024;
    worker(choice, || async {
        let (first, first_address) = listener();
        let (second, second_address) = listener();
        let theirs = Arc::clone(&front);
        spawn(async move {
            let (io, _) = second.accept().await.unwrap();
            let (stream, _) = accept(io, &theirs, soon()).await.unwrap();
            echo(&stream).await.1.unwrap();
        });
        let between = ClientTls::build(&towards(&authority)).unwrap();
        let ours = Arc::clone(&front);
        spawn(async move {
            let (io, _) = first.accept().await.unwrap();
            let (down, _) = accept(io, &ours, soon()).await.unwrap();
            let io = rt::Stream::connect(second_address, soon()).await.unwrap();
            let (up, _) = connect(io, &between, "a.test", soon()).await.unwrap();
            let (down, up) = (Rc::new(down), Rc::new(up));
            spawn(relay(Rc::clone(&down), Rc::clone(&up)));
            relay(up, down).await;
        });
        let io = rt::Stream::connect(first_address, soon()).await.unwrap();
        let (stream, _) = connect(io, &tls, "a.test", soon()).await.unwrap();
        stream.deadline().arm(rt::Side::Read, soon());
        let stream = Rc::new(stream);
        let writer = Rc::clone(&stream);
        spawn(async move {
            write_all(&writer, &super::pattern(length)).await.unwrap();
            writer.shutdown_write().await.unwrap();
        });
        assert!(read_exactly(&stream, length).await == super::pattern(length));
    });
}
