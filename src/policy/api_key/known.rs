//! API keys that a worker has proved before, so that neither the digest nor four places of the tables are needed again.
//!
//! No key is kept, nor its digest: an entry goes by a hash of the key (SipHash-2-4 with 128 bits) under a secret of the process,
//! which tells nothing without that secret. Callers can so neither aim at an entry nor learn from the time of an
//! answer more than that it was given before to who shows the very same key. Only keys that were found in the tables are kept:
//! whoever guesses fills nothing.

use siphasher::sip128::SipHasher24;

use super::{ApplicationIndex, CredentialIndex, Identity, Proof};
use crate::limit::HashKey;
use crate::limits::KNOWN_KEYS_MAX;

/// Places that a key may stand in: its own, and those that follow.
const WINDOW: usize = 16;
/// Places of a table that was just begun.
const PLACES_FIRST: usize = 256;
const _: () = assert!(PLACES_FIRST.is_power_of_two() && PLACES_FIRST <= KNOWN_KEYS_MAX);

/// The keys that one worker has proved under the newest policies that it met.
///
/// INVARIANT: all entries are of the policies `policies`. What others proved is so not found, whatever became of the key.
pub struct KnownKeys {
    secret: HashKey,
    policies: u64,
    /// Open-addressed by the hash, a power of two or none; no more than half full, as long as it may grow.
    entries: Vec<Entry>,
    used: usize,
}

/// A proof under its hash, one line of the cache; all zero where there is none.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Entry {
    tag: u128,
    application_id: u128,
    credential_id: u128,
    not_after_unix_ms: u64,
    application: u32,
    credential: u32,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// What a key is found by.
#[derive(Clone, Copy)]
pub(super) struct Tag(u128);

impl KnownKeys {
    /// None yet. The secret is of the process, and of nothing else.
    #[must_use]
    pub fn new(secret: HashKey) -> Self {
        Self { secret, policies: 0, entries: Vec::new(), used: 0 }
    }

    /// The hash of a key.
    pub(super) fn tag(&self, key: &[u8]) -> Tag {
        Tag(SipHasher24::new_with_key(&self.secret.0).hash(key).as_u128())
    }

    /// What was proved by the key of this hash under the policies of this number, which is of one generation alone.
    #[inline]
    pub(super) fn find(&self, policies: u64, tag: Tag) -> Option<Proof> {
        if policies != self.policies {
            return None;
        }
        // Nothing is ever taken out: a free place ends the search.
        let places = window(tag, self.entries.len()).map_while(|at| self.entries.get(at));
        let mut taken = places.take_while(|entry| entry.credential_id != 0);
        let entry = taken.find(|entry| entry.tag == tag.0)?;
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

    /// Keeps what was proved under the policies of this number. Newer ones begin anew; what requests of older ones prove is theirs.
    #[cold]
    pub(super) fn keep(&mut self, policies: u64, tag: Tag, proof: &Proof) {
        if policies > self.policies {
            (self.policies, self.used) = (policies, 0);
            self.entries = Vec::new();
        }
        if policies < self.policies || proof.identity.credential_id == 0 {
            return;
        }
        if self.entries.len() < KNOWN_KEYS_MAX && self.used * 2 >= self.entries.len() {
            self.grow();
        }
        self.put(Entry {
            tag: tag.0,
            application_id: proof.identity.application_id,
            credential_id: proof.identity.credential_id,
            not_after_unix_ms: proof.not_after_unix_ms,
            application: proof.identity.application.0,
            credential: proof.identity.credential.0,
        });
    }

    fn grow(&mut self) {
        let larger = (self.entries.len() * 2).max(PLACES_FIRST);
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); larger]);
        self.used = 0;
        old.into_iter().filter(|entry| entry.credential_id != 0).for_each(|entry| self.put(entry));
    }

    /// Puts it where it stands already, in the first free place of its own, or else in that of another.
    fn put(&mut self, entry: Entry) {
        let places = || window(Tag(entry.tag), self.entries.len());
        let mine = |at: &usize| {
            self.entries.get(*at).is_some_and(|here| here.credential_id == 0 || here.tag == entry.tag)
        };
        let any = (entry.tag as usize) % WINDOW;
        let Some(at) = places().find(mine).or_else(|| places().nth(any)) else { return };
        if let Some(place) = self.entries.get_mut(at) {
            self.used += usize::from(place.credential_id == 0);
            *place = entry;
        }
    }
}

/// The places of a tag, in the order in which they are tried.
#[inline]
fn window(Tag(tag): Tag, places: usize) -> impl Iterator<Item = usize> {
    let home = (tag >> 64) as usize;
    (0..WINDOW.min(places)).map(move |step| home.wrapping_add(step) & places.wrapping_sub(1))
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
        assert_eq!(known.find(1, known.tag(b"key")), None);
        known.keep(1, known.tag(b"key"), &proof(9));
        assert_eq!(known.find(1, known.tag(b"key")), Some(proof(9)));
        for (policies, key) in [(2, &b"key"[..]), (0, b"key"), (1, b"kez"), (1, b"key\0"), (1, b"")] {
            assert_eq!(known.find(policies, known.tag(key)), None);
        }
    }

    #[test]
    fn newer_policies_begin_anew_and_older_ones_leave_nothing() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        let tag = known.tag(b"key");
        known.keep(1, tag, &proof(1));
        known.keep(3, known.tag(b"other"), &proof(3));
        assert_eq!((known.find(1, tag), known.find(3, tag)), (None, None));
        // A request that began before the reload proves its key last.
        known.keep(2, tag, &proof(2));
        assert_eq!((known.find(2, tag), known.find(3, tag)), (None, None));
        assert_eq!(known.find(3, known.tag(b"other")), Some(proof(3)));
    }

    #[test]
    fn as_many_keys_as_there_is_room_for_are_known_all_of_them() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        let keys = KNOWN_KEYS_MAX as u128 / 3;
        // While the table was small, some pushed others out: those are proved once more.
        for _ in 0..2 {
            for id in 1..=keys {
                known.keep(1, known.tag(&id.to_le_bytes()), &proof(id));
            }
        }
        assert_eq!((known.used as u128, known.entries.len()), (keys, KNOWN_KEYS_MAX));
        for id in 1..=keys {
            assert_eq!(known.find(1, known.tag(&id.to_le_bytes())), Some(proof(id)));
        }
    }

    #[test]
    fn many_keys_take_no_more_memory_and_the_newest_are_known() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        for id in 0..4 * KNOWN_KEYS_MAX as u128 {
            let tag = known.tag(&id.to_le_bytes());
            known.keep(1, tag, &proof(id));
            assert_eq!(known.find(1, tag), Some(proof(id)));
        }
        assert_eq!(known.entries.len(), KNOWN_KEYS_MAX);
        assert!(known.used <= KNOWN_KEYS_MAX);
    }
}
