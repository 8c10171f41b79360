//! Whose certificate, which version, which client: the handshake as a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ringway_rt::DriverChoice;
use rustls::{AlertDescription, Error, ProtocolVersion, SupportedProtocolVersion};

use crate::{Alpn, ClientAuth, ServerProfile, ServerTls, TlsConfigError, TlsFailure, Version, accept};

use super::{
    Authority, Issued, PATIENCE_NS, VERSIONS, built, client_config, converse, listener, meet, on_both, peer,
    profile, seed, tls_error, worker,
};

on_both! {
    a_name_gets_its_own_certificate => names;
    an_unknown_name_is_told_so => unknown_name;
    a_client_without_sni_is_served_only_where_configured => without_sni;
    versions_below_the_minimum_are_refused => minimum;
    protocols_are_negotiated_or_refused => alpn;
    client_certificates_are_asked_for_as_configured => client_certificates;
    revoked_clients_are_refused => revoked;
    what_is_not_tls_is_named => not_tls;
    a_slow_handshake_ends_at_its_deadline => deadline;
    a_cut_handshake_is_told_from_a_slow_one => cut;
    a_handshake_may_come_in_the_smallest_pieces => pieces;
}

fn names(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let exact = authority.issue(&["a.wild.test"]);
    let wild = authority.issue(&["*.wild.test"]);
    let other = authority.issue(&["b.test"]);
    let first =
        ServerProfile { certificates: vec![exact.certificate(), wild.certificate()], ..profile(&authority) };
    let second = ServerProfile {
        name: "second".to_owned(),
        certificates: vec![other.certificate()],
        minimum: Version::Tls13,
        ..profile(&authority)
    };
    let tls = ServerTls::build(&[first, second], &seed()).unwrap();
    assert_eq!([tls.profile_of(Some("x.wild.test")), tls.profile_of(Some("b.test"))], [Some(0), Some(1)]);
    for version in VERSIONS {
        let config = Arc::new(client_config(&authority, version, None));
        for (name, expected) in [("a.wild.test", &exact), ("X.wild.test", &wild), ("b.test", &other)] {
            if name == "b.test" && version.version == ProtocolVersion::TLSv1_2 {
                continue;
            }
            let config = Arc::clone(&config);
            let (served, shown) = meet(choice, &tls, move |socket| {
                let mut peer = peer(&config, name, socket);
                assert_eq!(converse(&mut peer, b"hello").unwrap(), b"hello");
                peer.conn.peer_certificates().unwrap()[0].to_vec()
            });
            assert_eq!(shown, expected.der);
            let served = served.unwrap();
            assert_eq!(served.agreed.server_name.as_deref(), Some(name.to_lowercase().as_str()));
            assert_eq!(served.agreed.version == Version::Tls13, version.version == ProtocolVersion::TLSv1_3);
            assert_eq!(
                (served.agreed.alpn, served.agreed.resumed, served.echoed, served.end),
                (Some(Alpn::Http1), false, 5, Ok(()))
            );
        }
    }
}

/// What server and client each say about a connection that does not come about.
fn refused(
    choice: DriverChoice,
    tls: &ServerTls,
    config: rustls::ClientConfig,
    name: &'static str,
) -> (TlsFailure, Error) {
    let config = Arc::new(config);
    let (served, error) =
        meet(choice, tls, move |socket| converse(&mut peer(&config, name, socket), b"hello").unwrap_err());
    (served.unwrap_err().failure, tls_error(&error))
}

fn unknown_name(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(ServerProfile { serve_without_sni: true, ..profile(&authority) });
    for version in VERSIONS {
        for name in ["b.test", "x.y.wild.test", "wild.test", "127.0.0.1.test"] {
            let config = client_config(&authority, version, None);
            let alert = Error::AlertReceived(AlertDescription::UnrecognisedName);
            assert_eq!(refused(choice, &tls, config, name), (TlsFailure::UnrecognizedName, alert));
        }
    }
}

fn without_sni(choice: DriverChoice) {
    let authority = Authority::new("ca");
    for version in VERSIONS {
        let config = || {
            let mut config = client_config(&authority, version, None);
            config.enable_sni = false;
            config
        };
        let alert = Error::AlertReceived(AlertDescription::MissingExtension);
        let tls = built(profile(&authority));
        assert_eq!(refused(choice, &tls, config(), "a.test"), (TlsFailure::MissingServerName, alert));

        let tls = built(ServerProfile { serve_without_sni: true, ..profile(&authority) });
        let config = Arc::new(config());
        let (served, back) = meet(choice, &tls, move |socket| {
            converse(&mut peer(&config, "a.test", socket), b"hello").unwrap()
        });
        assert_eq!(back, b"hello");
        assert_eq!(served.unwrap().agreed.server_name, None);
    }
}

fn minimum(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(ServerProfile { minimum: Version::Tls13, ..profile(&authority) });
    let config = client_config(&authority, &rustls::version::TLS12, None);
    let alert = Error::AlertReceived(AlertDescription::ProtocolVersion);
    assert_eq!(refused(choice, &tls, config, "a.test"), (TlsFailure::NoSharedVersion, alert));
}

fn alpn(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        let mut config = client_config(&authority, version, None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(refused(choice, &tls, config, "a.test"), (TlsFailure::NoSharedProtocol, alert));
        let mut config = client_config(&authority, version, None);
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        let (served, _) =
            meet(choice, &tls, move |socket| converse(&mut peer(&config, "a.test", socket), b"x").unwrap());
        assert_eq!(served.unwrap().agreed.alpn, None);
    }
}

/// How a client that shows `shows` fares; the failure, and the alert that it got.
fn shows(
    choice: DriverChoice,
    tls: &ServerTls,
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    shows: Option<&Issued>,
) -> Result<Vec<Vec<u8>>, (TlsFailure, Option<Error>)> {
    let config = Arc::new(client_config(authority, version, shows));
    let (served, told) =
        meet(choice, tls, move |socket| converse(&mut peer(&config, "a.test", socket), b"hello"));
    match (served, told) {
        (Ok(served), Ok(back)) => {
            assert_eq!((back.as_slice(), served.end), (b"hello".as_slice(), Ok(())));
            Ok(served.agreed.certificates)
        }
        (Err(refused), Err(error)) => Err((refused.failure, Some(tls_error(&error)))),
        (served, told) => panic!("{served:?} and {told:?}"),
    }
}

fn client_certificates(choice: DriverChoice) {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let good = authority.issue(&["client.test"]);
    let expired = authority.issue_until(&["client.test"], 2021);
    let foreign = stranger.issue(&["client.test"]);
    let with = |client| ServerProfile { client, client_ca: vec![authority.der()], ..profile(&authority) };
    for version in VERSIONS {
        let tls = built(with(ClientAuth::None));
        assert_eq!(shows(choice, &tls, &authority, version, Some(&good)), Ok(vec![]), "nobody asked");
        for client in [ClientAuth::Optional, ClientAuth::Require] {
            let tls = built(with(client));
            assert_eq!(shows(choice, &tls, &authority, version, Some(&good)), Ok(vec![good.der.clone()]));
            let none = shows(choice, &tls, &authority, version, None);
            if client == ClientAuth::Optional {
                assert_eq!(none, Ok(vec![]));
            } else {
                assert_eq!(none.unwrap_err().0, TlsFailure::ClientCertificateRequired);
            }
            let (failure, alert) = shows(choice, &tls, &authority, version, Some(&foreign)).unwrap_err();
            assert_eq!(failure, TlsFailure::UnknownIssuer);
            assert_eq!(alert, Some(Error::AlertReceived(AlertDescription::UnknownCA)));
            let (failure, alert) = shows(choice, &tls, &authority, version, Some(&expired)).unwrap_err();
            assert_eq!(failure, TlsFailure::CertificateExpired);
            assert_eq!(alert, Some(Error::AlertReceived(AlertDescription::CertificateExpired)));
        }
    }
}

fn revoked(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let (good, bad) = (authority.issue(&["client.test"]), authority.issue(&["client.test"]));
    let with = |crl| ServerProfile {
        client: ClientAuth::Require,
        client_ca: vec![authority.der()],
        client_crls: vec![crl],
        ..profile(&authority)
    };
    for version in VERSIONS {
        let tls = built(with(authority.revoke(&[&bad], 2100)));
        assert_eq!(shows(choice, &tls, &authority, version, Some(&good)), Ok(vec![good.der.clone()]));
        let (failure, alert) = shows(choice, &tls, &authority, version, Some(&bad)).unwrap_err();
        assert_eq!(failure, TlsFailure::CertificateRevoked);
        assert_eq!(alert, Some(Error::AlertReceived(AlertDescription::CertificateRevoked)));
        // A list that is out of date says nothing, so nobody passes.
        let tls = built(with(authority.revoke(&[&bad], 2024)));
        let (failure, _) = shows(choice, &tls, &authority, version, Some(&good)).unwrap_err();
        assert_eq!(failure, TlsFailure::CertificateRevoked);
    }
}

/// What comes of a client that sends these bytes and ends its side; and what it is told.
fn sends(choice: DriverChoice, bytes: &[u8]) -> (TlsFailure, Vec<u8>) {
    let tls = built(profile(&Authority::new("ca")));
    let bytes = bytes.to_vec();
    let (served, told) = meet(choice, &tls, move |mut socket| {
        socket.write_all(&bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut told = Vec::new();
        socket.read_to_end(&mut told).unwrap();
        told
    });
    (served.unwrap_err().failure, told)
}

fn not_tls(choice: DriverChoice) {
    assert_eq!(sends(choice, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), (TlsFailure::PlainHttp, vec![]));
    assert_eq!(sends(choice, b"SSH-2.0-OpenSSH_9.9\r\n"), (TlsFailure::NotTls, vec![]));
    assert_eq!(sends(choice, &[0x80, 0x2e, 1, 0, 2, 0, 0]), (TlsFailure::NotTls, vec![]));
    let alert = |code| vec![21, 3, 3, 0, 2, 2, code];
    let malformed = (TlsFailure::Malformed, alert(u8::from(AlertDescription::UnexpectedMessage)));
    assert_eq!(sends(choice, &[22, 3, 1, 0, 4, 2, 0, 0, 0]), malformed);
    assert_eq!(sends(choice, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]), malformed);
    let large = (TlsFailure::HandshakeTooLarge, alert(u8::from(AlertDescription::RecordOverflow)));
    assert_eq!(sends(choice, &[22, 3, 1, 0, 4, 1, 1, 0, 0]), large);
    // Records that never complete the message they began are bounded too.
    let endless: Vec<u8> =
        [22, 3, 1, 0, 4, 1, 0, 0x7f, 0xff].into_iter().chain([22, 3, 1, 0, 1, 0].repeat(20_000)).collect();
    assert_eq!(sends(choice, &endless).0, TlsFailure::HandshakeTooLarge);
}

fn deadline(choice: DriverChoice) {
    let tls = built(profile(&Authority::new("ca")));
    for sent in [[].as_slice(), &[22, 3, 1, 0, 100, 1]] {
        let refused = worker(choice, || async {
            let (listener, address) = listener();
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(sent).unwrap();
            let (io, _) = listener.accept().await.unwrap();
            let started = ringway_rt::now().mono_ns;
            let refused = accept(io, &tls, started + 50_000_000).await.err();
            let took = ringway_rt::now().mono_ns - started;
            assert!((50_000_000..PATIENCE_NS).contains(&took), "{took} ns");
            refused.unwrap()
        });
        assert_eq!(refused.failure, TlsFailure::HandshakeTimeout);
    }
}

fn cut(choice: DriverChoice) {
    assert_eq!(sends(choice, &[]), (TlsFailure::PeerClosed, vec![]));
    assert_eq!(sends(choice, &[22, 3, 1, 0, 100, 1]), (TlsFailure::PeerClosed, vec![]));
}

/// A socket that sends one byte at a time.
struct Pieces(TcpStream);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn pieces(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let tls = built(profile(&authority));
    for version in VERSIONS {
        for fragment in [None, Some(40)] {
            let mut config = client_config(&authority, version, None);
            config.max_fragment_size = fragment;
            let (served, back) = meet(choice, &tls, move |socket| {
                socket.set_nodelay(true).unwrap();
                let name = "a.test".try_into().unwrap();
                let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
                let mut peer = rustls::StreamOwned::new(connection, Pieces(socket));
                peer.write_all(&[5; 300]).unwrap();
                let mut back = [0; 300];
                peer.read_exact(&mut back).unwrap();
                peer.conn.send_close_notify();
                peer.flush().unwrap();
                assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0);
                back
            });
            assert_eq!(back, [5; 300]);
            assert_eq!(served.unwrap().end, Ok(()));
        }
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let authority = Authority::new("ca");
    let build = |profiles: &[ServerProfile]| ServerTls::build(profiles, &seed()).err();
    let twice = [profile(&authority), ServerProfile { name: "other".to_owned(), ..profile(&authority) }];
    assert!(matches!(build(&twice), Some(TlsConfigError::NameTwice { .. })));
    let none = ServerProfile { certificates: vec![], ..profile(&authority) };
    assert!(matches!(build(&[none]), Some(TlsConfigError::NoCertificate(_))));
    let blind = ServerProfile { client: ClientAuth::Require, ..profile(&authority) };
    assert!(matches!(build(&[blind]), Some(TlsConfigError::ClientVerifier { .. })));
    let mut swapped = authority.issue(&["a.test"]);
    swapped.key = authority.issue(&["a.test"]).key;
    let mismatch = ServerProfile { certificates: vec![swapped.certificate()], ..profile(&authority) };
    assert!(matches!(build(&[mismatch]), Some(TlsConfigError::Certificate { index: 0, .. })));
    let garbage =
        ServerProfile { client: ClientAuth::Optional, client_ca: vec![vec![1, 2]], ..profile(&authority) };
    assert!(matches!(build(&[garbage]), Some(TlsConfigError::Ca { index: 0, .. })));
}
