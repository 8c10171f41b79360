//! Laws of a session: both ends in memory, byte by byte where that matters.

use std::io::IoSlice;
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use ringway_wire::buffer::memory;
use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedConnectionCommon;
use rustls::{RootCertStore, SupportedCipherSuite};

use crate::tls::handshake::{Handshake, Incoming, Process, Step, advance};

use super::*;

struct Ends {
    client: Session,
    server: Session,
}

/// Both ends of a connection that agreed on this suite.
fn ends(suite: SupportedCipherSuite) -> Ends {
    let certified = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let der = certified.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let crypto = Arc::new(CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() });
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let versions = &[suite.version()];
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    agree(
        UnbufferedClientConnection::new(Arc::new(client), "a.test".try_into().unwrap()).unwrap(),
        UnbufferedServerConnection::new(Arc::new(server)).unwrap(),
    )
}

fn agree(mut client: UnbufferedClientConnection, mut server: UnbufferedServerConnection) -> Ends {
    let (mut to_client, mut to_server) = (Incoming::new(), Incoming::new());
    let (mut client_done, mut server_done) = (false, false);
    while !(client_done && server_done) {
        client_done |= step(&mut client, |c, i| c.process_tls_records(i), &mut to_client, &mut to_server);
        server_done |= step(&mut server, |c, i| c.process_tls_records(i), &mut to_server, &mut to_client);
    }
    let version = Handshake::of(&client, None).unwrap().version;
    let (secrets, kernel) = client.dangerous_into_kernel_connection().unwrap();
    let rest = to_client.into_rest().unwrap();
    let client = Session::new(Schedule::Client(kernel), version, &secrets, rest).unwrap();
    let (secrets, kernel) = server.dangerous_into_kernel_connection().unwrap();
    let rest = to_server.into_rest().unwrap();
    let server = Session::new(Schedule::Server(kernel), version, &secrets, rest).unwrap();
    Ends { client, server }
}

fn step<D>(
    connection: &mut UnbufferedConnectionCommon<D>,
    process: Process<D>,
    from: &mut Incoming,
    to: &mut Incoming,
) -> bool {
    let mut outgoing = Vec::new();
    let step = advance(connection, process, from, &mut outgoing).unwrap();
    to.receive_from(&outgoing);
    matches!(step, Step::Done)
}

fn suites() -> Vec<SupportedCipherSuite> {
    provider::ALL_CIPHER_SUITES
        .iter()
        .filter(|suite| !format!("{suite:?}").contains("RSA"))
        .copied()
        .collect()
}

fn tls13() -> SupportedCipherSuite {
    provider::cipher_suite::TLS13_AES_128_GCM_SHA256
}

fn tls12() -> SupportedCipherSuite {
    provider::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
}

/// Takes what is sealed, as the socket would.
fn sent(session: &mut Session) -> Vec<u8> {
    let bytes = session.unsent().to_vec();
    session.advance(bytes.len());
    bytes
}

/// Gives received bytes in, `cut` at a time, and takes what comes out.
fn received(session: &mut Session, bytes: &[u8], cut: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut taken = Vec::with_capacity(20_000);
    for part in bytes.chunks(cut) {
        let mut part = part;
        loop {
            taken.clear();
            while session.deliver(&mut taken) > 0 {
                plain.extend_from_slice(&taken);
                taken.clear();
            }
            if part.is_empty() || session.reading() != Reading::Open {
                break;
            }
            let space = session.receive_space(16_384);
            let (now, later) = part.split_at(part.len().min(space.capacity() - space.len()));
            space.extend_from_slice(now);
            part = later;
        }
        session.park();
    }
    plain
}

fn written(session: &mut Session, bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut wire = Vec::new();
    while !rest.is_empty() {
        let count = session.seal(&[IoSlice::new(rest)]).unwrap();
        wire.extend_from_slice(&sent(session));
        rest = &rest[count..];
    }
    wire
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn every_suite_carries_bytes_both_ways() {
    for suite in suites() {
        let mut ends = ends(suite);
        for length in [1, 100, 16_384, 16_385, 100_000] {
            let bytes = pattern(length);
            let wire = written(&mut ends.client, &bytes);
            assert_eq!(received(&mut ends.server, &wire, 4096), bytes, "{suite:?} {length}");
            let wire = written(&mut ends.server, &bytes);
            assert_eq!(received(&mut ends.client, &wire, 70_000), bytes, "{suite:?} {length}");
        }
    }
}

#[test]
fn records_may_come_byte_by_byte_and_small_buffers_are_held_meanwhile() {
    for suite in [tls13(), tls12()] {
        let mut ends = ends(suite);
        let bytes = pattern(3000);
        let wire = written(&mut ends.client, &bytes);
        let before = memory::in_use();
        let mut plain = Vec::new();
        for byte in &wire {
            plain.extend_from_slice(&received(&mut ends.server, &[*byte], 1));
            assert!(memory::in_use() - before <= 4096);
        }
        assert_eq!(plain, bytes);
        assert_eq!(memory::in_use(), before, "an idle session holds no buffer");
    }
}

#[test]
fn head_and_body_share_a_record() {
    let mut ends = ends(tls13());
    let count =
        ends.client.seal(&[IoSlice::new(b"head "), IoSlice::new(b""), IoSlice::new(b"body")]).unwrap();
    assert_eq!(count, 9);
    let wire = sent(&mut ends.client);
    assert_eq!(wire.len(), 5 + 9 + 1 + 16);
    assert_eq!(received(&mut ends.server, &wire, wire.len()), b"head body");
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert() {
    for suite in [tls13(), tls12()] {
        let wire = written(&mut ends(suite).client, b"hello");
        for at in 5..wire.len() {
            let mut ends = ends(suite);
            let mut wire = written(&mut ends.client, b"hello");
            wire[at] ^= 1;
            assert_eq!(received(&mut ends.server, &wire, wire.len()), b"");
            assert_eq!(ends.server.reading(), Reading::Failed(TlsFailure::BadRecord), "byte {at}");
            let alert = sent(&mut ends.server);
            received(&mut ends.client, &alert, alert.len());
            let code = u8::from(AlertDescription::BadRecordMac);
            assert_eq!(ends.client.reading(), Reading::Failed(TlsFailure::AlertReceived(code)));
            assert_eq!(ends.client.seal(&[IoSlice::new(b"more")]), Err(TlsFailure::AlertReceived(code)));
        }
    }
}

#[test]
fn a_record_that_is_repeated_left_out_or_reordered_does_not_open() {
    for suite in [tls13(), tls12()] {
        for order in [[0, 0], [1, 0], [1, 1]] {
            let mut ends = ends(suite);
            let wire = [written(&mut ends.client, b"one"), written(&mut ends.client, b"two")];
            let came = [wire[order[0]].as_slice(), wire[order[1]].as_slice()].concat();
            received(&mut ends.server, &came, came.len());
            assert_eq!(ends.server.reading(), Reading::Failed(TlsFailure::BadRecord), "{order:?}");
        }
    }
}

#[test]
fn the_end_is_clean_only_after_close_notify() {
    for suite in [tls13(), tls12()] {
        let mut ends = ends(suite);
        let mut wire = written(&mut ends.client, b"all");
        ends.client.seal_close().unwrap();
        ends.client.seal_close().unwrap();
        wire.extend_from_slice(&sent(&mut ends.client));
        assert_eq!(received(&mut ends.server, &wire, wire.len()), b"all");
        ends.server.end();
        assert_eq!(ends.server.reading(), Reading::Closed);
        // The other half goes on.
        let wire = written(&mut ends.server, b"still");
        assert_eq!(received(&mut ends.client, &wire, wire.len()), b"still");
        ends.client.end();
        assert_eq!(ends.client.reading(), Reading::Failed(TlsFailure::Truncated));
    }
}

#[test]
fn keys_are_renewed_on_demand_and_when_they_are_used_up() {
    let mut ends = ends(tls13());
    for round in 0..3 {
        let before = ends.server.sealer.sequence();
        ends.client.set_records_max(u64::from(u8::MAX));
        // The client asks for ours with its own.
        ends.client.seal_control(Content::Handshake, &[KEY_UPDATE, 0, 0, 1, 1]).unwrap();
        let (sequence, secrets) = ends.client.schedule.next_transmit().unwrap();
        ends.client.sealer = Sealer::new(&secrets, sequence, Version::Tls13).unwrap();
        let mut wire = sent(&mut ends.client);
        wire.extend_from_slice(&written(&mut ends.client, b"after"));
        assert_eq!(received(&mut ends.server, &wire, 7), b"after", "round {round}");
        assert!(before > 0 || round == 0);
        assert_eq!(ends.server.sealer.sequence(), 0, "the answer took a new key");
        let mut wire = sent(&mut ends.server);
        wire.extend_from_slice(&written(&mut ends.server, b"answer"));
        assert_eq!(received(&mut ends.client, &wire, 7), b"answer");
    }
    ends.server.set_records_max(20);
    for _ in 0..100 {
        let wire = written(&mut ends.server, b"many");
        assert_eq!(received(&mut ends.client, &wire, wire.len()), b"many");
        assert!(ends.server.sealer.sequence() <= 20);
    }
}

#[test]
fn keys_of_tls_12_end() {
    let mut ends = ends(tls12());
    ends.server.set_records_max(20);
    let mut count = 0;
    let failure = loop {
        match ends.server.seal(&[IoSlice::new(b"x")]) {
            Ok(_) => sent(&mut ends.server),
            Err(failure) => break failure,
        };
        count += 1;
        assert!(count < 20);
    };
    assert_eq!(failure, TlsFailure::KeysExhausted);
}

/// What a flood of one kind of record ends in.
fn flood(suite: SupportedCipherSuite, content: Content, bytes: &[u8], count: usize) -> Reading {
    let mut ends = ends(suite);
    for _ in 0..count {
        ends.client.seal_control(content, bytes).unwrap();
        let wire = sent(&mut ends.client);
        received(&mut ends.server, &wire, wire.len());
        sent(&mut ends.server);
    }
    ends.server.reading()
}

#[test]
fn records_without_data_are_counted() {
    let failed = Reading::Failed(TlsFailure::Malformed);
    for suite in [tls13(), tls12()] {
        assert_eq!(flood(suite, Content::Data, b"", usize::from(EMPTY_RECORDS_MAX)), Reading::Open);
        assert_eq!(flood(suite, Content::Data, b"", usize::from(EMPTY_RECORDS_MAX) + 1), failed);
        let cancelled = [1, u8::from(AlertDescription::UserCanceled)];
        assert_eq!(flood(suite, Content::Alert, &cancelled, usize::from(WARNING_ALERTS_MAX)), Reading::Open);
        assert_eq!(flood(suite, Content::Alert, &cancelled, usize::from(WARNING_ALERTS_MAX) + 1), failed);
    }
    // A client that wants to renegotiate is told once that it cannot.
    let hello = [CLIENT_HELLO, 0, 0, 0];
    assert_eq!(flood(tls12(), Content::Handshake, &hello, 1), Reading::Open);
    assert_eq!(flood(tls12(), Content::Handshake, &hello, 2), failed);
}

#[test]
fn what_is_no_message_after_the_handshake_is_refused() {
    let failed = Reading::Failed(TlsFailure::Malformed);
    for bytes in [
        [KEY_UPDATE, 0, 0, 1, 2].as_slice(),
        &[KEY_UPDATE, 0, 0, 0],
        &[KEY_UPDATE, 0, 0, 1, 0, 0],
        &[NEW_SESSION_TICKET, 0, 0, 0],
        &[CLIENT_HELLO, 0, 0, 0],
        &[13, 0, 0, 0],
    ] {
        assert_eq!(flood(tls13(), Content::Handshake, bytes, 1), failed, "{bytes:?}");
    }
    assert_eq!(flood(tls12(), Content::Handshake, &KEY_UPDATE_REPLY, 1), failed);
    assert_eq!(flood(tls13(), Content::Alert, &[2], 1), failed);
    // A part of a message may wait, but nothing else may come in between.
    let mut ends = ends(tls13());
    ends.client.seal_control(Content::Handshake, &[KEY_UPDATE, 0]).unwrap();
    ends.client.seal_control(Content::Data, b"x").unwrap();
    let wire = sent(&mut ends.client);
    assert_eq!(received(&mut ends.server, &wire, wire.len()), b"");
    assert_eq!(ends.server.reading(), failed);
}

#[test]
fn a_long_header_or_a_foreign_record_is_refused() {
    for (bytes, failure) in [
        ([23, 3, 3, 0x41, 0x01, 0], TlsFailure::Malformed),
        ([23, 2, 3, 0, 1, 0], TlsFailure::Malformed),
        ([23, 3, 3, 0, 1, 0], TlsFailure::BadRecord),
        ([0x47, 0x45, 0x54, 0x20, 0x2f, 0x20], TlsFailure::Malformed),
    ] {
        let mut ends = ends(tls13());
        let before = memory::in_use();
        received(&mut ends.server, &bytes, 6);
        assert_eq!(ends.server.reading(), Reading::Failed(failure), "{bytes:?}");
        sent(&mut ends.server);
        assert_eq!(memory::in_use(), before, "nothing is held for a connection that is over");
    }
}

#[test]
fn a_repeated_write_must_be_the_same() {
    let mut ends = ends(tls13());
    let bytes = pattern(200_000);
    let length = ends.client.seal(&[IoSlice::new(&bytes)]).unwrap();
    assert_eq!(length, RECORDS_SEALED_MAX * RECORD_PLAIN_BYTES_MAX);
    ends.client.claim(&[IoSlice::new(&bytes)], length);
    let moved = [IoSlice::new(&bytes[..70]), IoSlice::new(&bytes[70..length])];
    assert_eq!(ends.client.claimed(&moved), Ok(Some(length)));
    assert_eq!(ends.client.claimed(&[IoSlice::new(&bytes[..length - 1])]), Err(TlsFailure::WriteChanged));
    assert_eq!(ends.client.claimed(&[IoSlice::new(&bytes[1..])]), Err(TlsFailure::WriteChanged));
    sent(&mut ends.client);
    ends.client.settled(false);
    assert_eq!(
        ends.client.seal(&[IoSlice::new(&bytes[length..])]),
        Ok(RECORD_PLAIN_BYTES_MAX),
        "while congested"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bytes_come_out_as_they_went_in(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 1..5),
        cut in 1_usize..20_000,
        old in any::<bool>(),
    ) {
        let mut ends = ends(if old { tls12() } else { tls13() });
        let whole = parts.concat();
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let first = ends.server.seal(&slices).unwrap();
        let mut wire = sent(&mut ends.server);
        wire.extend_from_slice(&written(&mut ends.server, &whole[first..]));
        prop_assert_eq!(received(&mut ends.client, &wire, cut), whole);
    }
}
