//! QUIC over real sockets: handshakes, certificates by name, Retry, moving clients, steering, resets, offload.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use quinn::{ConnectionError, VarInt};
use ringway_rt::{DriverChoice, Ended, Options, UdpSocket, run, spawn, turn};

use super::{Authority, on_both, pattern, profile, seed, soon, worker};
use crate::limits::QUIC_UNVALIDATED_MAX;
use crate::quic::{Fault, faulty};
use crate::{
    Alpn, Arriving, ClientAuth, ClientProfile, ClientTls, Handshake, QuicClient, QuicEndpoint, QuicIdentity,
    QuicKeys, QuicLimits, QuicTls, Refused, ServerProfile, TlsFailure, Verify, Version,
};

on_both! {
    a_handshake_agrees_on_name_and_protocol_and_bytes_come_back => handshake;
    a_session_is_resumed_and_known_to_be => resumed;
    a_name_without_a_certificate_is_refused => unknown_name;
    a_client_certificate_is_asked_for_and_seen => client_certificate;
    beyond_a_few_handshakes_clients_prove_their_address => retry;
    who_was_here_before_has_proved_its_address => token;
    a_connection_survives_a_change_of_address_and_stays_with_its_worker => migration;
    a_restarted_node_resets_the_connections_of_its_former_life => reset;
    a_stopped_endpoint_refuses_newcomers_and_serves_the_others => stopped;
    new_certificates_are_for_new_connections => certificates;
    a_panic_of_the_library_ends_the_worker_and_the_next_one_takes_the_socket_over => failed;
    bulk_goes_through_with_and_without_offload_and_starves_nobody => bulk;
}

const LIMITS: QuicLimits = QuicLimits { streams: 16, idle_ms: 30_000 };

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn keys() -> QuicKeys {
    QuicKeys::new(&[3; 32], &[4; 32], &[5; 16]).unwrap()
}

fn identity(worker: u16, workers: u16) -> QuicIdentity {
    QuicIdentity { worker, workers, keys: keys() }
}

fn tls(profile: &ServerProfile) -> QuicTls {
    QuicTls::build(profile, &seed(), &keys(), LIMITS).unwrap()
}

fn client_tls(authority: &Authority, certificate: Option<crate::Certificate>) -> ClientTls {
    ClientTls::build(&ClientProfile {
        name: "test".to_owned(),
        ca: vec![authority.der()],
        certificate,
        alpn: vec![Alpn::Http3],
        minimum: Version::Tls13,
        verify: Verify::Full,
    })
    .unwrap()
}

fn client(authority: &Authority) -> QuicClient {
    QuicClient::bind(loopback(), &client_tls(authority, None), LIMITS).unwrap()
}

/// What an echo server has seen.
#[derive(Default)]
struct Seen {
    agreed: RefCell<Vec<Handshake>>,
    refused: RefCell<Vec<TlsFailure>>,
}

fn serve(endpoint: &Rc<QuicEndpoint>) -> Rc<Seen> {
    let (endpoint, seen) = (Rc::clone(endpoint), Rc::new(Seen::default()));
    let told = Rc::clone(&seen);
    spawn(async move {
        while let Some(arriving) = endpoint.accept().await {
            spawn(converse(arriving, Rc::clone(&told)));
        }
    });
    seen
}

async fn converse(arriving: Arriving, seen: Rc<Seen>) {
    let (connection, agreed) = match arriving.handshake(soon()).await {
        Ok(made) => made,
        Err(Refused { failure, .. }) => return seen.refused.borrow_mut().push(failure),
    };
    seen.agreed.borrow_mut().push(agreed);
    let _second = connection.clone();
    // Not what the distance needs: nothing but its own measure keeps the endpoint from sending all at once.
    connection.set_send_window(16 << 20);
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        spawn(async move {
            let bytes = receive.read_to_end(16 << 20).await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
        });
    }
}

/// Sends `bytes` on a stream of its own and gives what comes back.
async fn echo(connection: &quinn::Connection, bytes: &[u8]) -> Result<Vec<u8>, ConnectionError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let lost = |_| connection.close_reason().unwrap();
    send.write_all(bytes).await.map_err(lost)?;
    send.finish().unwrap();
    receive.read_to_end(16 << 20).await.map_err(|_| connection.close_reason().unwrap())
}

/// An endpoint alone on its address.
fn alone(tls: &QuicTls) -> (Rc<QuicEndpoint>, SocketAddr) {
    let socket = UdpSocket::bind_group(loopback(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    (Rc::new(QuicEndpoint::new(socket, &identity(0, 1), tls).unwrap()), address)
}

fn handshake(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        for ip in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let socket = UdpSocket::bind_group((ip, 0).into(), 1).unwrap().remove(0);
            let address = socket.local_addr().unwrap();
            let tls = tls(&profile(&authority));
            let endpoint = Rc::new(QuicEndpoint::new(socket, &identity(0, 1), &tls).unwrap());
            let seen = serve(&endpoint);
            let client = QuicClient::bind((ip, 0).into(), &client_tls(&authority, None), LIMITS).unwrap();
            let connection = client.connect(address, "x.wild.test", soon()).await.unwrap();
            assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
            let agreed = seen.agreed.borrow()[0].clone();
            assert_eq!(agreed.server_name.as_deref(), Some("x.wild.test"));
            assert_eq!((agreed.alpn, agreed.version), (Some(Alpn::Http3), Version::Tls13));
            assert_eq!(endpoint.counters().handshakes, 0);
            connection.close(VarInt::from_u32(0), b"");
            client.idle().await;
        }
    });
}

fn resumed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        let seen = serve(&endpoint);
        let client = client(&authority);
        for _ in 0..2 {
            let connection = client.connect(address, "x.wild.test", soon()).await.unwrap();
            // The ticket comes before the second answer does.
            for _ in 0..2 {
                assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
            }
            connection.close(VarInt::from_u32(0), b"");
        }
        let agreed: Vec<_> = seen.agreed.borrow().iter().map(|agreed| agreed.resumed).collect();
        assert_eq!(agreed, [false, true]);
        assert_eq!(seen.agreed.borrow()[1].server_name.as_deref(), Some("x.wild.test"));
    });
}

fn unknown_name(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        let seen = serve(&endpoint);
        let refused = client(&authority).connect(address, "other.test", soon()).await.unwrap_err();
        assert_eq!(refused, TlsFailure::UnrecognizedName);
        while seen.refused.borrow().is_empty() {
            turn().await;
        }
        assert_eq!(*seen.refused.borrow(), [TlsFailure::UnrecognizedName]);
        assert_eq!(endpoint.counters().handshakes, 0);
    });
}

fn client_certificate(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let shown = authority.issue(&["client.test"]);
    worker(choice, || async {
        let profile = ServerProfile {
            client: ClientAuth::Require,
            client_ca: vec![authority.der()],
            ..profile(&authority)
        };
        let (endpoint, address) = alone(&tls(&profile));
        let seen = serve(&endpoint);
        let showing = client_tls(&authority, Some(shown.certificate()));
        let showing = QuicClient::bind(loopback(), &showing, LIMITS).unwrap();
        let connection = showing.connect(address, "a.test", soon()).await.unwrap();
        assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
        assert_eq!(seen.agreed.borrow()[0].certificates, std::slice::from_ref(&shown.der));
        // The client is done before the server has seen that it shows nothing.
        if let Ok(connection) = client(&authority).connect(address, "a.test", soon()).await {
            connection.closed().await;
        }
        while seen.refused.borrow().is_empty() {
            turn().await;
        }
        assert_eq!(*seen.refused.borrow(), [TlsFailure::ClientCertificateRequired]);
    });
}

fn retry(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        let client = Rc::new(client(&authority));
        let connected = Rc::new(Cell::new(0));
        for _ in 0..=QUIC_UNVALIDATED_MAX {
            let (client, connected) = (Rc::clone(&client), Rc::clone(&connected));
            spawn(async move {
                let connection = client.connect(address, "a.test", soon()).await.unwrap();
                connected.set(connected.get() + 1);
                connection.closed().await;
            });
        }
        // As many as may be unproved wait, and the last comes back with a token.
        let mut waiting = Vec::new();
        for _ in 0..=QUIC_UNVALIDATED_MAX {
            waiting.push(endpoint.accept().await.unwrap());
        }
        let counters = endpoint.counters();
        assert_eq!((counters.retried, counters.refused), (1, 0));
        assert_eq!(counters.handshakes, QUIC_UNVALIDATED_MAX + 1);
        let seen = Rc::new(Seen::default());
        waiting.into_iter().for_each(|arriving| spawn(converse(arriving, Rc::clone(&seen))));
        while connected.get() <= QUIC_UNVALIDATED_MAX || endpoint.counters().handshakes > 0 {
            turn().await;
        }
        endpoint.close(0);
    });
}

fn token(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        let client = Rc::new(client(&authority));
        let seen = Rc::new(Seen::default());
        for round in 0..3 {
            let caller = Rc::clone(&client);
            spawn(async move {
                let connection = caller.connect(address, "a.test", soon()).await.unwrap();
                for _ in 0..2 {
                    assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
                }
                connection.close(VarInt::from_u32(0), b"");
            });
            let arriving = endpoint.accept().await.unwrap();
            assert_eq!(arriving.proved(), round > 0, "{round}");
            converse(arriving, Rc::clone(&seen)).await;
        }
        assert_eq!(endpoint.counters().retried, 0);
    });
}

fn migration(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        const WORKERS: u16 = 3;
        const CONNECTIONS: usize = 36;
        let tls = tls(&profile(&authority));
        let group = UdpSocket::bind_group(loopback(), WORKERS).unwrap();
        let address = group[0].local_addr().unwrap();
        let endpoints: Vec<_> = group
            .into_iter()
            .zip(0..)
            .map(|(socket, at)| Rc::new(QuicEndpoint::new(socket, &identity(at, WORKERS), &tls).unwrap()))
            .collect();
        let seen: Vec<_> = endpoints.iter().map(serve).collect();
        let mut connections = Vec::new();
        let client = client(&authority);
        for _ in 0..CONNECTIONS {
            connections.push(client.connect(address, "a.test", soon()).await.unwrap());
        }
        let served = || seen.iter().map(|seen| seen.agreed.borrow().len()).collect::<Vec<_>>();
        while served().iter().sum::<usize>() < CONNECTIONS {
            turn().await;
        }
        let served_before = served();
        assert!(served_before.iter().all(|count| *count > 0), "{served_before:?}");
        for _ in 0..3 {
            client.rebind(loopback()).unwrap();
            for connection in &connections {
                assert_eq!(echo(connection, b"moved").await.unwrap(), b"moved");
            }
        }
        // Nobody had to begin anew.
        assert_eq!(served(), served_before);
    });
}

fn reset(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let (told, address) = mpsc::channel();
    let (kill, killed) = mpsc::channel::<()>();
    let (again, restarted) = mpsc::channel();
    let served = tls(&profile(&authority));
    let node = std::thread::spawn(move || {
        let socket = UdpSocket::bind_group(loopback(), 1).unwrap().remove(0);
        told.send(socket.local_addr().unwrap()).unwrap();
        for life in 0..2 {
            let (socket, served) = (socket.try_clone().unwrap(), &served);
            let (killed, again) = (&killed, &again);
            worker(choice, || async move {
                let endpoint = Rc::new(QuicEndpoint::new(socket, &identity(0, 1), served).unwrap());
                serve(&endpoint);
                if life == 1 {
                    again.send(()).unwrap();
                }
                while killed.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    turn().await;
                }
            });
        }
    });
    let address = address.recv().unwrap();
    worker(choice, || async {
        let client = client(&authority);
        let connection = client.connect(address, "a.test", soon()).await.unwrap();
        assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
        kill.send(()).unwrap();
        restarted.recv().unwrap();
        let lost = echo(&connection, &pattern(200)).await.unwrap_err();
        assert_eq!(lost, ConnectionError::Reset);
    });
    drop(kill);
    node.join().unwrap();
}

fn stopped(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        serve(&endpoint);
        let client = client(&authority);
        let connection = client.connect(address, "a.test", soon()).await.unwrap();
        endpoint.stop();
        let refused = client.connect(address, "a.test", soon()).await.unwrap_err();
        assert_eq!(refused, TlsFailure::PeerClosed);
        assert_eq!(endpoint.counters().refused, 1);
        assert_eq!(echo(&connection, b"still").await.unwrap(), b"still");
        endpoint.close(0x100);
        match connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, VarInt::from_u32(0x100))
            }
            other => panic!("{other:?}"),
        }
        endpoint.idle().await;
        assert_eq!(endpoint.open_connections(), 0);
    });
}

fn certificates(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let (endpoint, address) = alone(&tls(&profile(&authority)));
        serve(&endpoint);
        let client = client(&authority);
        let before = client.connect(address, "a.test", soon()).await.unwrap();
        let renamed = ServerProfile {
            certificates: vec![authority.issue(&["b.test"]).certificate()],
            ..profile(&authority)
        };
        endpoint.set_tls(&tls(&renamed));
        assert!(client.connect(address, "a.test", soon()).await.is_err());
        let after = client.connect(address, "b.test", soon()).await.unwrap();
        for connection in [&before, &after] {
            assert_eq!(echo(connection, b"hello").await.unwrap(), b"hello");
        }
    });
}

fn failed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let (told, address) = mpsc::channel();
    let (again, restarted) = mpsc::channel();
    let (ready, go_on) = mpsc::channel::<()>();
    let served = tls(&profile(&authority));
    let now = Arc::new(AtomicBool::new(false));
    let exploding = Arc::clone(&now);
    let node = std::thread::spawn(move || {
        let socket = UdpSocket::bind_group(loopback(), 1).unwrap().remove(0);
        told.send(socket.local_addr().unwrap()).unwrap();
        let options = Options { driver: choice, entries: 256, on_panic: |_| {} };
        let first = socket.try_clone().unwrap();
        let ended = run(&options, |_| async {
            let endpoint = faulty(first, &identity(0, 1), &served, Fault::Panic(exploding), Arc::default());
            serve(&Rc::new(endpoint));
            std::future::pending::<()>().await;
        });
        assert_eq!(ended.unwrap(), Ended::Panicked("of the library's driver".to_owned()));
        worker(choice, || async {
            serve(&Rc::new(QuicEndpoint::new(socket, &identity(0, 1), &served).unwrap()));
            again.send(()).unwrap();
            while go_on.try_recv() == Err(mpsc::TryRecvError::Empty) {
                turn().await;
            }
        });
    });
    let address = address.recv().unwrap();
    worker(choice, || async {
        let client = client(&authority);
        let connection = client.connect(address, "a.test", soon()).await.unwrap();
        assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
        now.store(true, Ordering::Relaxed);
        assert_eq!(echo(&connection, &pattern(200)).await.unwrap_err(), ConnectionError::Reset);
        restarted.recv().unwrap();
        let connection = client.connect(address, "a.test", soon()).await.unwrap();
        assert_eq!(echo(&connection, b"hello").await.unwrap(), b"hello");
    });
    drop(ready);
    node.join().unwrap();
}

/// What an endpoint with one connection may send and receive between two turns of the others: a driver sends 57 KiB when it is polled,
/// and there is a poll for itself and one for each of those who woke it. One that goes on as long as it has something to send comes to
/// the window, a megabyte and a half.
const TURN_BYTES_MAX: usize = 512 * 1024;

fn bulk(choice: DriverChoice) {
    let authority = Authority::new("ca");
    worker(choice, || async {
        let tls = tls(&profile(&authority));
        for fault in [Fault::None, Fault::NoOffload] {
            let socket = UdpSocket::bind_group(loopback(), 1).unwrap().remove(0);
            let address = socket.local_addr().unwrap();
            let handled = Arc::new(AtomicUsize::new(0));
            let endpoint =
                Rc::new(faulty(socket, &identity(0, 1), &tls, fault.clone(), Arc::clone(&handled)));
            serve(&endpoint);
            let most = Rc::new(Cell::new(0));
            let seen = Rc::clone(&most);
            spawn(async move {
                loop {
                    turn().await;
                    seen.set(seen.get().max(handled.swap(0, Ordering::Relaxed)));
                }
            });
            let connection = client(&authority).connect(address, "a.test", soon()).await.unwrap();
            let bytes = pattern(3 << 20);
            assert!(echo(&connection, &bytes).await.unwrap() == bytes, "other bytes came back");
            assert!(most.get() < TURN_BYTES_MAX, "{} bytes between two turns of the others", most.get());
            assert!(connection.stats().path.current_mtu > 1200, "the path's MTU was found out");
        }
    });
}
