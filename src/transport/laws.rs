//! The laws of the streams over real sockets. Each runs on both drivers, and fails if one silently became another.

mod authority;
mod flow;
mod handshakes;
mod http2;
mod http3;
mod openssl;
mod quic;
mod resumption;
mod upstreams;

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use ringway_rt::{BindOptions, Driver, DriverChoice, Ended, Listener, Options, now, run};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::{
    Alpn, ClientAuth, Handshake, Refused, ServerProfile, ServerTls, Stream, TicketSeed, TlsFailure, Version,
    accept,
};

use authority::{Authority, Issued};

/// One test per driver from one function that takes the `DriverChoice`.
macro_rules! on_both {
    ($($law:ident => $check:ident;)*) => {$(
        mod $law {
            #[test]
            fn on_the_ring() {
                super::$check(ringway_rt::DriverChoice::Uring);
            }

            #[test]
            fn on_epoll() {
                super::$check(ringway_rt::DriverChoice::Epoll);
            }
        }
    )*};
}
use on_both;

const SECOND: u64 = 1_000_000_000;
/// What takes longer does not come. A machine may stand still for a part of it.
const PATIENCE_NS: u64 = 60 * SECOND;

/// Runs `main` on exactly this driver, to its end.
fn worker<F: Future<Output = T>, T>(choice: DriverChoice, main: impl FnOnce() -> F) -> T {
    let options = Options { driver: choice, entries: 256, on_panic: |_| {} };
    let ended = run(&options, |driver| {
        assert_eq!(
            driver == Driver::Epoll,
            choice == DriverChoice::Epoll,
            "the driver fell back to {driver}"
        );
        main()
    });
    match ended.expect("the driver can be had") {
        Ended::Finished(value) => value,
        Ended::Panicked(message) => panic!("{message}"),
    }
}

fn listener() -> (Listener, SocketAddr) {
    let listening = Listener::bind(([127, 0, 0, 1], 0).into(), BindOptions::default()).unwrap();
    let address = listening.local_addr().unwrap();
    (Listener::from_std(listening).unwrap(), address)
}

fn soon() -> u64 {
    now().mono_ns + PATIENCE_NS
}

/// How one connection went on our side: the handshake, the bytes that were echoed, the end.
#[derive(Debug)]
struct Served {
    agreed: Handshake,
    echoed: usize,
    end: Result<(), TlsFailure>,
}

/// Accepts one connection of `client`, echoes what comes until the end, and gives both sides' results.
fn meet<C: Send + 'static>(
    choice: DriverChoice,
    tls: &ServerTls,
    client: impl FnOnce(TcpStream) -> C + Send + 'static,
) -> (Result<Served, Refused>, C) {
    worker(choice, || async {
        let (listener, address) = listener();
        let peer = thread::spawn(move || client(TcpStream::connect(address).unwrap()));
        let (io, _) = listener.accept().await.unwrap();
        let served = match accept(io, tls, soon()).await {
            Ok((stream, agreed)) => {
                stream.deadline().arm(ringway_rt::Side::Read, soon());
                let (echoed, end) = echo(&stream).await;
                Ok(Served { agreed, echoed, end: end.map_err(|error| TlsFailure::from(&error)) })
            }
            Err(refused) => Err(refused),
        };
        (served, peer.join().unwrap())
    })
}

/// Sends back what comes, until the peer's end; then ours.
async fn echo(stream: &Stream) -> (usize, std::io::Result<()>) {
    let mut echoed = 0;
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        match stream.try_read_append(&mut bytes) {
            Ok(Some(0)) => return (echoed, stream.shutdown_write().await),
            Ok(Some(count)) => {
                if let Err(error) = write_all(stream, &bytes).await {
                    return (echoed, Err(error));
                }
                echoed += count;
                bytes.clear();
            }
            Ok(None) => {
                if let Err(error) = stream.readable().await {
                    return (echoed, Err(error));
                }
            }
            Err(error) => return (echoed, Err(error)),
        }
    }
}

async fn write_all(stream: &Stream, bytes: &[u8]) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.try_write(rest)? {
            Some(count) => rest = &rest[count..],
            None => stream.writable().await?,
        }
    }
    Ok(())
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

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A profile of `a.test` and `*.wild.test` with the defaults of the product.
fn profile(authority: &Authority) -> ServerProfile {
    ServerProfile {
        name: "front".to_owned(),
        certificates: vec![authority.issue(&["a.test", "*.wild.test"]).certificate()],
        serve_without_sni: false,
        minimum: Version::Tls12,
        client: ClientAuth::None,
        client_ca: Vec::new(),
        client_crls: Vec::new(),
        alpn: vec![Alpn::Http1],
    }
}

fn seed() -> TicketSeed {
    TicketSeed::new([7; 32])
}

fn built(profile: ServerProfile) -> ServerTls {
    ServerTls::build(&[profile], &seed()).unwrap()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The configuration of a rustls client of one version that trusts `authority`.
fn client_config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    shows: Option<&Issued>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    let crypto = Arc::new(provider::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&crypto)).build().unwrap();
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_webpki_verifier(verifier);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let key = PrivateKeyDer::try_from(issued.key.clone()).unwrap();
            builder.with_client_auth_cert(vec![CertificateDer::from(issued.der.clone())], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

type Peer = StreamOwned<ClientConnection, TcpStream>;

fn peer(config: &Arc<ClientConfig>, name: &str, socket: TcpStream) -> Peer {
    let name = name.to_owned().try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Sends `bytes`, reads as many back, ends in order, and gives what the server ended with.
fn converse(peer: &mut Peer, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    peer.write_all(bytes)?;
    peer.flush()?;
    let mut back = vec![0; bytes.len()];
    peer.read_exact(&mut back)?;
    peer.conn.send_close_notify();
    peer.flush()?;
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest)?;
    back.extend_from_slice(&rest);
    Ok(back)
}

/// The TLS error inside a client's I/O error.
fn tls_error(error: &std::io::Error) -> rustls::Error {
    let inner = error.get_ref().unwrap_or_else(|| panic!("{error} is none of TLS"));
    inner.downcast_ref::<rustls::Error>().unwrap_or_else(|| panic!("{error} is none of TLS")).clone()
}
