//! The seeded hash of the tables, and where a key stands in one.
//!
//! Multiply and fold, eight bytes at a time: a host name or a path costs a few nanoseconds. The seed comes from the
//! content, so equal models give equal tables; it is no secret, and need not be one: only what control compiled is
//! ever stored, and the builder refuses a seed under which a key stands further than [`TABLE_PROBES_MAX`] from its place.

use crate::limits::TABLE_PROBES_MAX;
use crate::rows::{NONE, Row, SlotRow};

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd1b5_4a32_d192_ed03;
const THIRD: u64 = 0x8cb9_2ba7_2f3d_8dd7;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Joins a number to a seed.
#[must_use]
#[inline]
pub fn mix(seed: u64, number: u64) -> u64 {
    fold(seed ^ number.wrapping_mul(FIRST), SECOND) ^ THIRD
}

/// Hash of some bytes.
#[must_use]
#[inline]
pub fn bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(FIRST);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), SECOND) ^ THIRD;
    }
    let mut last = 0;
    for (at, byte) in rest.iter().enumerate() {
        last |= u64::from(*byte) << (at * 8);
    }
    fold(fold(state ^ last, THIRD) ^ seed, FIRST)
}

/// Which keys a table holds: their hashes never meet those of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Exact host names.
    HostExact,
    /// Suffixes of wildcards.
    HostWildcard,
    /// Exact paths of a host.
    PathExact,
    /// Prefixes of a host, segment by segment.
    PathPrefix,
    /// Literal segments below a node.
    Node,
    /// Digests of credentials.
    Credential,
}

impl Space {
    /// The seed of this space; `owner` is the host or node that the keys belong to.
    #[must_use]
    #[inline]
    pub fn seed(self, seed: u64, owner: u32) -> u64 {
        mix(seed, (self as u64) << 32 | u64::from(owner))
    }
}

/// How many slots a table of this many keys has: two thirds full.
#[must_use]
pub fn slots_for(keys: usize) -> usize {
    if keys == 0 { 0 } else { keys + keys / 2 + 1 }
}

/// Where a key with this hash would like to stand among `slots`.
#[inline]
fn home(hash: u64, slots: usize) -> usize {
    (((hash >> 32) * slots as u64) >> 32) as usize
}

/// Finds the index whose key `is` the one looked for. At most [`TABLE_PROBES_MAX`] slots are read, and keys compared
/// only where 32 bits of the hash agree.
#[inline]
pub fn find(slots: &[[u8; SlotRow::SIZE]], hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
    let mut at = home(hash, slots.len());
    for _ in 0..TABLE_PROBES_MAX {
        let slot = SlotRow::read(slots.get(at)?);
        if slot.index == NONE {
            return None;
        }
        if slot.tag == hash as u32 && is(slot.index) {
            return Some(slot.index);
        }
        at += 1;
        if at == slots.len() {
            at = 0;
        }
    }
    None
}

/// Builds a table of (hash, index) pairs; none where a key stands too far from its place. Keys must differ.
#[must_use]
pub fn table(keys: &[(u64, u32)]) -> Option<Vec<SlotRow>> {
    let mut slots = vec![SlotRow { tag: 0, index: NONE }; slots_for(keys.len())];
    let length = slots.len();
    for (hash, index) in keys {
        let home = home(*hash, length);
        let at = (0..TABLE_PROBES_MAX)
            .map(|step| (home + step) % length)
            .find(|at| slots.get(*at).is_some_and(|slot| slot.index == NONE))?;
        *slots.get_mut(at)? = SlotRow { tag: *hash as u32, index: *index };
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::{Space, bytes, find, table};
    use crate::rows::Row;

    #[test]
    fn every_key_of_a_table_is_found_and_no_other() {
        let hash = |key: u32| bytes(Space::Node.seed(7, 1), &key.to_le_bytes());
        for count in [0_u32, 1, 2, 3, 10, 1000, 20_000] {
            let keys: Vec<(u64, u32)> = (0..count).map(|key| (hash(key), key)).collect();
            let mut slots = Vec::new();
            table(&keys).unwrap().iter().for_each(|slot| slot.write(&mut slots));
            let slots = slots.as_chunks().0;
            for key in 0..count {
                assert_eq!(find(slots, hash(key), |index| index == key), Some(key));
            }
            for key in count..count + 100 {
                assert_eq!(find(slots, hash(key), |index| index == key), None);
            }
        }
    }

    #[test]
    fn a_trailing_zero_changes_the_hash() {
        assert_ne!(bytes(1, b"a"), bytes(1, b"a\0"));
        assert_ne!(bytes(1, b""), bytes(1, b"\0"));
        assert_ne!(bytes(1, b"12345678"), bytes(1, b"12345678\0"));
    }
}
