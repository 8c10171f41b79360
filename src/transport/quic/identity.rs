//! What an endpoint is known by: its worker in each connection id, and the keys by which packets of a former life are
//! answered and addresses are proved.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac, rand};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use siphasher::sip::SipHasher13;

use super::tokens::Uses;

/// Bytes of our connection ids: the worker, four random ones, three that prove them ours.
const ID_BYTES: usize = 8;
const RANDOM_END: usize = 5;
/// Most workers that a first byte can name.
const WORKERS_MAX: u16 = 256;

/// Keys of a node's QUIC endpoints, derived from keys of the cluster: the same after a restart, so that
/// connections of a former life are reset at once instead of timing out (RFC 9000 §10.3).
#[derive(Clone)]
pub struct QuicKeys {
    /// Of stateless reset tokens. This node's alone: one node must not reset what is another's.
    pub(super) reset: Arc<hmac::Key>,
    /// Of Retry tokens and those of former connections. The cluster's: a client may be routed to another node between two packets.
    pub(super) token: Arc<hkdf::Prk>,
    /// Of the proof in connection ids.
    ids: [u8; 16],
    /// The tokens of former connections that were used.
    pub(super) uses: Arc<Uses>,
}

impl QuicKeys {
    /// Derives them from 32 secret bytes for resets and 32 for Retry, which all nodes share, and this node's own id.
    /// None only where the library refuses.
    #[must_use]
    pub fn new(reset: &[u8; 32], retry: &[u8; 32], node: &[u8; 16]) -> Option<Self> {
        let salt = |name: &'static [u8]| hkdf::Salt::new(hkdf::HKDF_SHA256, name);
        let resets = salt(b"ringway quic resets 1").extract(reset);
        let mut key = [0; 32];
        resets.expand(&[b"stateless reset", node], hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
        let mut of_ids = [0; 32];
        resets.expand(&[b"connection ids", node], hkdf::HKDF_SHA256).ok()?.fill(&mut of_ids).ok()?;
        Some(Self {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)),
            token: Arc::new(salt(b"ringway quic tokens 1").extract(retry)),
            ids: *of_ids.first_chunk()?,
            uses: Arc::new(Uses::new()),
        })
    }
}

impl fmt::Debug for QuicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuicKeys(..)")
    }
}

/// Which endpoint of a node it is.
#[derive(Debug, Clone)]
pub struct QuicIdentity {
    /// Its place in the reuseport group.
    pub worker: u16,
    /// Members of the group: 1 to 256.
    pub workers: u16,
    /// The node's keys.
    pub keys: QuicKeys,
}

impl QuicIdentity {
    /// Makes the ids of this endpoint's connections.
    pub(super) fn ids(&self) -> Ids {
        let workers = self.workers.clamp(1, WORKERS_MAX);
        Ids { worker: self.worker % workers, workers, key: self.keys.ids, made: 0 }
    }
}

/// Makes connection ids, and tells ours from others: a packet with a foreign id is dropped without an answer.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    worker: u16,
    workers: u16,
    key: [u8; 16],
    made: u64,
}

impl Ids {
    fn proof(&self, id: &[u8]) -> [u8; 3] {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(id);
        let [a, b, c, ..] = hasher.finish().to_le_bytes();
        [a, b, c]
    }

    /// Random bytes; were there no randomness, bytes that at least differ.
    fn random(&mut self) -> [u8; RANDOM_END] {
        let mut bytes = [0; RANDOM_END];
        self.made = self.made.wrapping_add(1);
        if rand::fill(&mut bytes).is_err() {
            let mut hasher = SipHasher13::new_with_key(&self.key);
            hasher.write_u64(self.made);
            let [a, b, c, d, e, ..] = hasher.finish().to_le_bytes();
            bytes = [a, b, c, d, e];
        }
        bytes
    }
}

impl ConnectionIdGenerator for Ids {
    /// The first byte is the worker modulo the workers, and otherwise random (RFC 9000 §5.1: ids of one connection must not
    /// be linkable; those of one worker are, by design).
    fn generate_cid(&mut self) -> ConnectionId {
        let [first, rest @ ..] = self.random();
        let multiples = (255 - self.worker) / self.workers + 1;
        let steering = self.worker + self.workers * (u16::from(first) % multiples);
        let [a, b, c, d] = rest;
        let named = [u8::try_from(steering).unwrap_or(0), a, b, c, d];
        let [x, y, z] = self.proof(&named);
        ConnectionId::new(&[named[0], a, b, c, d, x, y, z])
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(RANDOM_END) {
            Some((named, proof)) if proof == self.proof(named) => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::crypto::HmacKey;

    use super::*;

    fn identity(worker: u16, workers: u16, secret: u8, node: u8) -> QuicIdentity {
        let keys = QuicKeys::new(&[secret; 32], &[secret; 32], &[node; 16]).unwrap();
        QuicIdentity { worker, workers, keys }
    }

    #[test]
    fn the_first_byte_names_the_worker() {
        for workers in [1, 2, 3, 7, 64, 255, 256] {
            for worker in 0..workers {
                let mut ids = identity(worker, workers, 1, 1).ids();
                for _ in 0..4 {
                    let id = ids.generate_cid();
                    assert_eq!(id.len(), ids.cid_len());
                    assert_eq!(u16::from(id[0]) % workers, worker);
                }
            }
        }
    }

    #[test]
    fn ids_of_a_former_life_are_known_and_others_are_not() {
        let id = identity(1, 4, 1, 1).ids().generate_cid();
        assert!(identity(0, 2, 1, 1).ids().validate(&id).is_ok());
        assert!(identity(1, 4, 1, 2).ids().validate(&id).is_err(), "another node");
        assert!(identity(1, 4, 2, 1).ids().validate(&id).is_err(), "another cluster");
        let ids = identity(1, 4, 1, 1).ids();
        let foreign = (0..1000u64).filter(|number| {
            let bytes = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            ids.validate(&ConnectionId::new(&bytes)).is_ok()
        });
        assert_eq!(foreign.count(), 0);
        assert!(ids.validate(&ConnectionId::new(&[])).is_err());
    }

    #[test]
    fn reset_keys_are_a_nodes_own_and_last() {
        let signed = |node| {
            let mut out = [0; 32];
            HmacKey::sign(&*identity(0, 1, 1, node).keys.reset, b"id", &mut out);
            out
        };
        assert_eq!(signed(1), signed(1));
        assert_ne!(signed(1), signed(2));
    }
}
