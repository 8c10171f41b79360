//! Stateless session tickets: keys are derived from a seed, a configuration and a window of time, so that all
//! workers and nodes share them and rotate them without a word between them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

/// How long one key seals tickets, in seconds. A ticket is accepted in its window and in the next one.
pub const TICKET_WINDOW_SECONDS: u64 = 6 * 60 * 60;

/// What all ticket keys derive from: 32 secret bytes that every node of a cluster has.
#[derive(Clone)]
pub struct TicketSeed(Zeroizing<[u8; 32]>);

impl TicketSeed {
    /// Takes secret random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for TicketSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSeed(..)")
    }
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const WINDOW_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// Seals and opens the tickets of one configuration.
///
/// A ticket is its window (8 bytes), a random nonce and the sealed session. AES-GCM-SIV stands a repeated nonce,
/// which random ones could meet when a large cluster seals billions of tickets with one key.
pub(crate) struct Ticketer {
    secret: hkdf::Prk,
    /// Digest of all that decides who may connect: a ticket of another policy does not open here.
    binding: [u8; 32],
    time: Arc<dyn TimeProvider>,
    /// The last keys that were used, by window.
    keys: RwLock<Vec<(u64, Arc<LessSafeKey>)>>,
}

impl Ticketer {
    pub(crate) fn new(seed: &TicketSeed, binding: [u8; 32], time: Arc<dyn TimeProvider>) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringway session tickets 1");
        Self { secret: salt.extract(seed.0.as_slice()), binding, time, keys: RwLock::new(Vec::new()) }
    }

    fn window(&self) -> Option<u64> {
        Some(self.time.current_time()?.as_secs() / TICKET_WINDOW_SECONDS)
    }

    fn key(&self, window: u64) -> Option<Arc<LessSafeKey>> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = known.iter().find(|(of, _)| *of == window) {
            return Some(Arc::clone(key));
        }
        drop(known);
        let key = Arc::new(self.derive(window)?);
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _)| of.abs_diff(window) <= 2 && *of != window);
        known.push((window, Arc::clone(&key)));
        Some(key)
    }

    fn derive(&self, window: u64) -> Option<LessSafeKey> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let window = window.to_be_bytes();
        let info = [b"ticket key".as_slice(), &self.binding, &window];
        self.secret.expand(&info, hkdf::HKDF_SHA256).ok()?.fill(bytes.as_mut_slice()).ok()?;
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes.as_slice()).ok()?))
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (window, rest) = ticket.split_first_chunk::<WINDOW_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let of = u64::from_be_bytes(*window);
        // One window later too: that of a node whose clock is ahead.
        if of.abs_diff(self.window()?) > 1 {
            return None;
        }
        let key = self.key(of)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(window), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let of = self.window()?;
        let window = of.to_be_bytes();
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(WINDOW_BYTES + NONCE_BYTES + session.len() + TAG_BYTES);
        ticket.extend_from_slice(&window);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(session);
        let plain = ticket.get_mut(WINDOW_BYTES + NONCE_BYTES..)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key(of)?.seal_in_place_separate_tag(nonce, Aad::from(window), plain).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TICKET_WINDOW_SECONDS).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustls::pki_types::UnixTime;

    use super::*;

    #[derive(Debug, Default)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    fn at(windows: u64) -> Arc<Clock> {
        Arc::new(Clock(AtomicU64::new(windows * TICKET_WINDOW_SECONDS)))
    }

    fn ticketer(seed: u8, binding: u8, clock: &Arc<Clock>) -> Ticketer {
        Ticketer::new(&TicketSeed::new([seed; 32]), [binding; 32], Arc::clone(clock) as Arc<dyn TimeProvider>)
    }

    #[test]
    fn nodes_with_one_seed_open_each_others_tickets_for_two_windows() {
        let (mine, theirs) = (at(10), at(10));
        let ticket = ticketer(1, 1, &mine).seal(b"session").unwrap();
        let other = ticketer(1, 1, &theirs);
        for (window, opens) in [(8, false), (9, true), (10, true), (11, true), (12, false)] {
            theirs.0.store(window * TICKET_WINDOW_SECONDS, Ordering::Relaxed);
            assert_eq!(
                other.open(&ticket).as_deref(),
                opens.then_some(b"session".as_slice()),
                "window {window}"
            );
        }
    }

    #[test]
    fn another_seed_or_policy_does_not_open_it() {
        let clock = at(10);
        let ticket = ticketer(1, 1, &clock).seal(b"session").unwrap();
        assert_eq!(ticketer(2, 1, &clock).open(&ticket), None);
        assert_eq!(ticketer(1, 2, &clock).open(&ticket), None);
    }

    #[test]
    fn a_changed_or_cut_ticket_does_not_open() {
        let clock = at(10);
        let ticketer = ticketer(1, 1, &clock);
        let ticket = ticketer.seal(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.open(&changed), None, "byte {at}");
            assert_eq!(ticketer.open(&ticket[..at]), None, "cut at {at}");
        }
    }
}
