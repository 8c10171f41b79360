//! API keys that a worker has proved before, so that neither the digest nor four places of the tables are needed again.
//!
//! No key is kept, nor its digest: an entry goes by a hash of the key (SipHash-2-4 with 128 bits) under a secret of the process,
//! which tells nothing without that secret. Callers can so neither aim at an entry nor learn from the time of an
//! answer more than that it was given before to who shows the very same key. Only keys that were found in the tables are kept:
//! whoever guesses fills nothing.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::{ApplicationIndex, CredentialIndex, Identity, Proof};
use crate::limit::HashKey;
use crate::limits::KNOWN_KEYS_MAX;

/// Entries that a key may stand in.
const WAYS: usize = 2;

/// The keys that one worker has proved.
pub struct KnownKeys {
    secret: HashKey,
    /// By the hash; the newest of a set stands first and pushes the last out. Empty until a key is kept.
    sets: Vec<Set>,
}

/// Two lines of the cache that are fetched together.
#[derive(Clone, Copy, Default)]
#[repr(align(128))]
struct Set([Entry; WAYS]);

const _: () = assert!(size_of::<Set>() == 128);

/// A proof under its hash; all zero where there is none.
#[derive(Clone, Copy, Default)]
struct Entry {
    tag: u128,
    application_id: u128,
    credential_id: u128,
    not_after_unix_ms: u64,
    application: u32,
    credential: u32,
}

/// What a key is found by.
#[derive(Clone, Copy)]
pub(super) struct Tag(u128);

impl KnownKeys {
    /// None yet. The secret is of the process, and of nothing else.
    #[must_use]
    pub fn new(secret: HashKey) -> Self {
        Self { secret, sets: Vec::new() }
    }

    /// The hash of a key that is proved by the policies of this number.
    ///
    /// INVARIANT: the number is of one generation alone. What another one proved is so not found, whatever became of the key.
    pub(super) fn tag(&self, policies: u64, key: &[u8]) -> Tag {
        let mut hasher = SipHasher24::new_with_key(&self.secret.0);
        hasher.write(&policies.to_le_bytes());
        hasher.write(key);
        Tag(hasher.finish128().as_u128())
    }

    /// What was proved by the key of this hash.
    pub(super) fn find(&self, tag: Tag) -> Option<Proof> {
        let set = self.sets.get(tag.place())?;
        let entry = set.0.iter().find(|entry| entry.tag == tag.0 && entry.credential_id != 0)?;
        Some(Proof {
            identity: Identity {
                application_id: entry.application_id,
                credential_id: entry.credential_id,
                application: ApplicationIndex(entry.application),
                credential: CredentialIndex(entry.credential),
            },
            not_after_unix_ms: entry.not_after_unix_ms,
        })
    }

    /// Keeps what was proved.
    #[cold]
    pub(super) fn keep(&mut self, tag: Tag, proof: &Proof) {
        if self.sets.is_empty() {
            self.sets.resize(KNOWN_KEYS_MAX / WAYS, Set::default());
        }
        if let Some(Set(entries)) = self.sets.get_mut(tag.place()) {
            entries.rotate_right(1);
            let [first, ..] = entries;
            *first = Entry {
                tag: tag.0,
                application_id: proof.identity.application_id,
                credential_id: proof.identity.credential_id,
                not_after_unix_ms: proof.not_after_unix_ms,
                application: proof.identity.application.0,
                credential: proof.identity.credential.0,
            };
        }
    }
}

impl Tag {
    fn place(self) -> usize {
        (self.0 >> 64) as usize & (KNOWN_KEYS_MAX / WAYS - 1)
    }
}

impl std::fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KnownKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(id: u128) -> Proof {
        let identity = Identity {
            application_id: id,
            credential_id: id + 1,
            application: ApplicationIndex(3),
            credential: CredentialIndex(4),
        };
        Proof { identity, not_after_unix_ms: 5 }
    }

    #[test]
    fn a_key_is_found_under_the_policies_that_proved_it_and_no_other_key_is() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        assert_eq!(known.find(known.tag(1, b"key")), None);
        known.keep(known.tag(1, b"key"), &proof(9));
        assert_eq!(known.find(known.tag(1, b"key")), Some(proof(9)));
        for (policies, key) in [(2, &b"key"[..]), (1, b"kez"), (1, b"key\0"), (1, b"")] {
            assert_eq!(known.find(known.tag(policies, key)), None);
        }
    }

    #[test]
    fn many_keys_take_no_more_memory_and_the_newest_are_known() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        for id in 0..4 * KNOWN_KEYS_MAX as u128 {
            let tag = known.tag(1, &id.to_le_bytes());
            known.keep(tag, &proof(id));
            assert_eq!(known.find(tag), Some(proof(id)));
        }
        assert_eq!(known.sets.len() * WAYS, KNOWN_KEYS_MAX);
    }
}
