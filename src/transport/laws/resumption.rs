//! Sessions are resumed by whoever has the seed, for a while, and never across policies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway_rt::DriverChoice;
use rustls::ClientConfig;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::{ClientAuth, ServerProfile, ServerTls, TICKET_WINDOW_SECONDS, TicketSeed};

use super::{Authority, VERSIONS, client_config, converse, meet, on_both, peer, profile, seed};

on_both! {
    another_node_resumes_within_the_next_window => nodes;
    a_session_is_not_resumed_under_another_policy => policies;
}

/// A clock of the test's, at the same time the server's for certificates.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn new() -> Arc<Self> {
        // In 2026, at the start of a window.
        Arc::new(Self(AtomicU64::new(1_767_225_600 / TICKET_WINDOW_SECONDS * TICKET_WINDOW_SECONDS)))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

fn at(profile: ServerProfile, seed: &TicketSeed, clock: &Arc<Clock>) -> ServerTls {
    ServerTls::build_at(&[profile], seed, &(Arc::clone(clock) as Arc<dyn TimeProvider>)).unwrap()
}

/// Whether a connection of this client resumed, as both sides see it; and the client's chain.
fn resumes(choice: DriverChoice, tls: &ServerTls, config: &Arc<ClientConfig>) -> (bool, Vec<Vec<u8>>) {
    let config = Arc::clone(config);
    let (served, resumed) = meet(choice, tls, move |socket| {
        let mut peer = peer(&config, "a.test", socket);
        assert_eq!(converse(&mut peer, b"hello").unwrap(), b"hello");
        peer.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    });
    let agreed = served.unwrap().agreed;
    assert_eq!(agreed.resumed, resumed);
    (resumed, agreed.certificates)
}

fn nodes(choice: DriverChoice) {
    let authority = Authority::new("ca");
    for version in VERSIONS {
        let clock = Clock::new();
        // Two nodes, and a third one of another cluster. Each has a certificate of its own.
        let nodes = [at(profile(&authority), &seed(), &clock), at(profile(&authority), &seed(), &clock)];
        let stranger = at(profile(&authority), &TicketSeed::new([8; 32]), &clock);
        let fresh = || Arc::new(client_config(&authority, version, None));

        let config = fresh();
        assert!(!resumes(choice, &nodes[0], &config).0);
        assert!(resumes(choice, &nodes[1], &config).0, "{version:?}");
        assert!(resumes(choice, &nodes[0], &config).0);
        assert!(!resumes(choice, &stranger, &config).0);

        for (seconds, resumed) in [(TICKET_WINDOW_SECONDS, true), (2 * TICKET_WINDOW_SECONDS, false)] {
            let config = fresh();
            assert!(!resumes(choice, &nodes[0], &config).0);
            clock.advance(seconds);
            assert_eq!(resumes(choice, &nodes[1], &config).0, resumed, "{version:?} after {seconds} s");
        }
    }
}

fn policies(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let shown = authority.issue(&["client.test"]);
    let clock = Clock::new();
    let open = at(profile(&authority), &seed(), &clock);
    let with = |client, crls| ServerProfile {
        client,
        client_ca: vec![authority.der()],
        client_crls: crls,
        ..profile(&authority)
    };
    let optional = at(with(ClientAuth::Optional, vec![]), &seed(), &clock);
    let require = at(with(ClientAuth::Require, vec![]), &seed(), &clock);
    let listed = at(with(ClientAuth::Require, vec![authority.revoke(&[], 2100)]), &seed(), &clock);
    let other = at(ServerProfile { name: "other".to_owned(), ..profile(&authority) }, &seed(), &clock);
    for version in VERSIONS {
        let config = Arc::new(client_config(&authority, version, Some(&shown)));
        assert_eq!(resumes(choice, &open, &config), (false, vec![]));
        assert_eq!(resumes(choice, &other, &config), (false, vec![]));
        assert_eq!(resumes(choice, &optional, &config), (false, vec![shown.der.clone()]));
        assert_eq!(resumes(choice, &require, &config), (false, vec![shown.der.clone()]));
        assert_eq!(resumes(choice, &listed, &config), (false, vec![shown.der.clone()]));
        // Who showed a certificate is known again when the session is resumed.
        assert_eq!(resumes(choice, &listed, &config), (true, vec![shown.der.clone()]));
    }
}
