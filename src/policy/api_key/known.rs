//! API keys that a worker has proved before, so that neither the digest nor four places of the tables are needed again.
//!
//! No key is kept, nor its digest: an entry goes by a hash of the key (SipHash-2-4, 80 bits of 128) under a secret of the process,
//! which tells nothing without that secret. Callers can so neither aim at an entry nor learn from the time of an
//! answer more than that it was given before to who shows the very same key: with as many keys as may be, one guess in 2^65 is taken for
//! one of them. Only keys that were found in the tables are kept: whoever guesses fills nothing.

use siphasher::sip128::SipHasher24;

use super::{ApplicationIndex, CredentialIndex, Identity, Proof};
use crate::limit::HashKey;
use crate::limit::worker::Near;
use crate::limits::KNOWN_KEYS_MAX;

/// Places that a key may stand in: its own, and those that follow.
const WINDOW: usize = 16;
/// Places of a table that was just begun.
const PLACES_FIRST: usize = 256;
const _: () = assert!(PLACES_FIRST.is_power_of_two() && PLACES_FIRST <= KNOWN_KEYS_MAX);
/// Bits of an entry's expiry: until the year 10889. What ends later never ends.
const EXPIRY_BITS: u32 = 48;
const NEVER: u64 = (1 << EXPIRY_BITS) - 1;
/// Places of earlier policies that are let go of for each entry that is kept: more than there are for each in a table that may grow.
const LET_GO: usize = 8;

/// The keys that one worker has proved under the newest policies that it met.
///
/// INVARIANT: all entries are of the policies `policies`. What others proved is so not found, whatever became of the key.
pub struct KnownKeys {
    secret: HashKey,
    policies: u64,
    /// Open-addressed by the hash, a power of two or none; no more than half full, as long as it may grow.
    entries: Vec<Entry>,
    used: usize,
    /// Where the key stands that was asked for last.
    last: Option<usize>,
    /// Those of earlier policies: to let go of all their cells at once would take a worker milliseconds.
    old: Vec<Entry>,
}

/// A proof under its hash, one line of the cache; all zero where there is none.
#[derive(Default)]
#[repr(align(64))]
struct Entry {
    application_id: u128,
    credential_id: u128,
    tag: u64,
    /// More of the tag, above the expiry.
    more: u64,
    application: u32,
    credential: u32,
    near: Near,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// What a key is found by, in two parts as they stand in its entry; the second has room for the expiry.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Tag(u64, u64);

impl Entry {
    fn tag(&self) -> Tag {
        Tag(self.tag, self.more & !NEVER)
    }

    fn proof(&self) -> Proof {
        let not_after = self.more & NEVER;
        Proof {
            identity: Identity {
                application_id: self.application_id,
                credential_id: self.credential_id,
                application: ApplicationIndex(self.application),
                credential: CredentialIndex(self.credential),
            },
            not_after_unix_ms: if not_after == NEVER { u64::MAX } else { not_after },
        }
    }

    fn is_free(&self) -> bool {
        self.credential_id == 0
    }
}

impl KnownKeys {
    /// None yet. The secret is of the process, and of nothing else.
    #[must_use]
    pub fn new(secret: HashKey) -> Self {
        Self { secret, policies: 0, entries: Vec::new(), used: 0, last: None, old: Vec::new() }
    }

    /// The hash of a key.
    pub(super) fn tag(&self, key: &[u8]) -> Tag {
        let hash = SipHasher24::new_with_key(&self.secret.0).hash(key);
        Tag(hash.h1, hash.h2 & !NEVER)
    }

    /// What was proved by the key of this hash under the policies of this number, which is of one generation alone.
    #[inline]
    pub(super) fn find(&mut self, policies: u64, tag: Tag) -> Option<Proof> {
        self.last = None;
        if policies != self.policies {
            return None;
        }
        // Nothing is ever taken out: a free place ends the search.
        let places = window(tag, self.entries.len()).map_while(|at| Some((at, self.entries.get(at)?)));
        let mut taken = places.take_while(|(_, entry)| !entry.is_free());
        let (at, entry) = taken.find(|(_, entry)| entry.tag() == tag)?;
        self.last = Some(at);
        Some(entry.proof())
    }

    /// The key that was asked for last is none of these.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// What is kept of the limits of this caller, if it is he whose key was asked for last.
    #[inline]
    pub(crate) fn near(&mut self, identity: &Identity) -> Option<&mut Near> {
        let entry = self.entries.get_mut(self.last?)?;
        (entry.credential_id == identity.credential_id).then_some(&mut entry.near)
    }

    /// Keeps what was proved under the policies of this number. Newer ones begin anew; what requests of older ones prove is theirs.
    #[cold]
    pub(super) fn keep(&mut self, policies: u64, tag: Tag, proof: &Proof) {
        self.let_go();
        if policies > self.policies {
            (self.policies, self.used) = (policies, 0);
            let before = std::mem::take(&mut self.entries);
            if self.old.is_empty() {
                self.old = before;
            } else {
                self.old.extend(before.into_iter().filter(|entry| !entry.is_free()));
            }
        }
        if policies < self.policies || proof.identity.credential_id == 0 {
            return;
        }
        if self.entries.len() < KNOWN_KEYS_MAX && self.used * 2 >= self.entries.len() {
            self.grow();
        }
        self.last = self.put(Entry {
            application_id: proof.identity.application_id,
            credential_id: proof.identity.credential_id,
            tag: tag.0,
            more: tag.1 | proof.not_after_unix_ms.min(NEVER),
            application: proof.identity.application.0,
            credential: proof.identity.credential.0,
            near: None,
        });
    }

    fn let_go(&mut self) {
        self.old.truncate(self.old.len().saturating_sub(LET_GO));
        if self.old.is_empty() {
            self.old = Vec::new();
        }
    }

    fn grow(&mut self) {
        let mut larger = Vec::new();
        larger.resize_with((self.entries.len() * 2).max(PLACES_FIRST), Entry::default);
        let old = std::mem::replace(&mut self.entries, larger);
        self.used = 0;
        for entry in old.into_iter().filter(|entry| !entry.is_free()) {
            self.put(entry);
        }
    }

    /// Puts it where it stands already, in the first free place of its own, or else in that of another; says where.
    fn put(&mut self, entry: Entry) -> Option<usize> {
        let tag = entry.tag();
        let places = || window(tag, self.entries.len());
        let mine = |at: &usize| self.entries.get(*at).is_some_and(|here| here.is_free() || here.tag() == tag);
        let any = (tag.0 >> 32) as usize % WINDOW;
        let at = places().find(mine).or_else(|| places().nth(any))?;
        let place = self.entries.get_mut(at)?;
        self.used += usize::from(place.is_free());
        *place = entry;
        Some(at)
    }
}

/// The places of a tag, in the order in which they are tried.
#[inline]
fn window(Tag(home, _): Tag, places: usize) -> impl Iterator<Item = usize> {
    (0..WINDOW.min(places)).map(move |step| (home as usize).wrapping_add(step) & places.wrapping_sub(1))
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
    fn what_is_kept_near_is_of_him_whose_key_was_asked_for_last() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        let (one, other) = (known.tag(b"one"), known.tag(b"other"));
        known.keep(2, one, &proof(1));
        known.keep(2, other, &proof(2));
        assert!(known.near(&proof(1).identity).is_none() && known.near(&proof(2).identity).is_some());
        known.find(2, one).unwrap();
        assert!(known.near(&proof(1).identity).is_some() && known.near(&proof(2).identity).is_none());
        // Under other policies the same limit may go by something else.
        assert_eq!(known.find(1, one), None);
        known.keep(1, one, &proof(1));
        assert!(known.near(&proof(1).identity).is_none());
        known.find(2, one).unwrap();
        known.forget_last();
        assert!(known.near(&proof(1).identity).is_none());
    }

    #[test]
    fn what_was_known_under_earlier_policies_is_let_go_of_bit_by_bit() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        for policies in 1..50 {
            for id in 0..100_u128 {
                known.keep(policies, known.tag(&id.to_le_bytes()), &proof(id));
            }
            assert!(known.old.is_empty(), "{} of earlier ones", known.old.len());
        }
        for policies in 50..1_000 {
            known.keep(policies, known.tag(b"key"), &proof(1));
            assert!(known.old.len() <= PLACES_FIRST);
        }
    }

    #[test]
    fn an_expiry_beyond_all_years_is_none() {
        let mut known = KnownKeys::new(HashKey([7; 16]));
        for (at, kept) in [(0, 0), (NEVER - 1, NEVER - 1), (NEVER, u64::MAX), (u64::MAX, u64::MAX)] {
            let tag = known.tag(&at.to_le_bytes());
            known.keep(1, tag, &Proof { not_after_unix_ms: at, ..proof(1) });
            assert_eq!(known.find(1, tag).unwrap().not_after_unix_ms, kept);
        }
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
