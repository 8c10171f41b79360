//! Names of cells: a keyed 128-bit hash of the limit and of whose request it is.
//!
//! Callers choose header values and addresses, so the hash is keyed (SipHash-1-3 with 128 bits out): nobody can aim at
//! another's cell or at one bucket of a table. 128 bits make an accidental collision a matter of ages, so cells carry
//! the hash alone and not what was hashed.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher13};

/// Secret of one process, drawn at its start: the same for all of its workers.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u8; 16]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// Limit, kind of subject and the subject itself, where that has a fixed size.
const FIXED_BYTES: usize = 8 + 1 + 16;

/// Which cell: of which limit, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CellKey(u128);

/// Whose requests share a cell, with what tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An application, by its UUID.
    Application(u128),
    /// A credential, by its UUID.
    Credential(u128),
    /// A network, its host bits cleared.
    Network(IpAddr),
    /// A field's value.
    Field(&'a [u8]),
    /// A route, by its stable id.
    Route(u64),
    /// Everybody.
    All,
    /// Everybody who found no cell of his own.
    Overflow,
}

impl CellKey {
    /// The cell of `subject` under the limit with this stable id.
    #[must_use]
    pub fn new(secret: &HashKey, limit_id: u64, subject: Subject<'_>) -> Self {
        // What has a fixed size is hashed in one go: half the time of feeding it in parts (measured).
        let (tag, bytes) = match subject {
            Subject::Application(id) => (1, id.to_le_bytes()),
            Subject::Credential(id) => (2, id.to_le_bytes()),
            Subject::Network(IpAddr::V4(address)) => (3, u128::from(u32::from(address)).to_le_bytes()),
            Subject::Network(IpAddr::V6(address)) => (4, address.octets()),
            Subject::Field(value) => return Self::of_field(secret, limit_id, value),
            Subject::Route(id) => (6, u128::from(id).to_le_bytes()),
            Subject::All => (7, [0; 16]),
            Subject::Overflow => (8, [0; 16]),
        };
        let mut whole = [0; FIXED_BYTES];
        let (limit, rest) = whole.split_at_mut(8);
        limit.copy_from_slice(&limit_id.to_le_bytes());
        if let Some((kind, subject)) = rest.split_first_mut() {
            *kind = tag;
            subject.copy_from_slice(&bytes);
        }
        Self(SipHasher13::new_with_key(&secret.0).hash(&whole).as_u128())
    }

    fn of_field(secret: &HashKey, limit_id: u64, value: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(&secret.0);
        hasher.write(&limit_id.to_le_bytes());
        hasher.write(&[5]);
        hasher.write(value);
        Self(hasher.finish128().as_u128())
    }

    /// A place in a table of 2^n entries: `mask` is their number less one.
    #[must_use]
    pub fn place(self, mask: usize) -> usize {
        (self.0 >> 64) as usize & mask
    }

    /// The bits by which a worker keeps a cell at hand.
    #[must_use]
    pub(super) fn tag(self) -> u64 {
        self.0 as u64
    }
}

/// The network of an address: an IPv4-mapped one counts as IPv4, and bits beyond the prefix are cleared.
#[must_use]
pub fn network(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(v4_bits))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & kept).into())
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(v6_bits))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & kept).into())
        }
    }
}

/// Takes a [`CellKey`], which is a hash already, for its own hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct AlreadyHashed(u64);

/// Builds [`AlreadyHashed`].
pub type BuildAlreadyHashed = BuildHasherDefault<AlreadyHashed>;

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only for other keys than a CellKey, which there are none of: slow and still a hash.
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: HashKey = HashKey([7; 16]);

    #[test]
    fn subjects_limits_and_secrets_are_told_apart() {
        let subjects = [
            Subject::Application(1),
            Subject::Credential(1),
            Subject::Network("1.0.0.0".parse().unwrap()),
            Subject::Network("::1".parse().unwrap()),
            Subject::Field(b"\x01"),
            Subject::Field(b""),
            Subject::Route(1),
            Subject::All,
            Subject::Overflow,
        ];
        let mut keys = Vec::new();
        for secret in [SECRET, HashKey([8; 16])] {
            for limit in [1, 2] {
                keys.extend(subjects.iter().map(|subject| CellKey::new(&secret, limit, *subject)));
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_network_has_its_host_bits_cleared() {
        let cut = |text: &str, v4, v6| network(text.parse().unwrap(), v4, v6).to_string();
        assert_eq!(cut("192.0.2.77", 32, 64), "192.0.2.77");
        assert_eq!(cut("192.0.2.77", 24, 64), "192.0.2.0");
        assert_eq!(cut("192.0.2.77", 0, 64), "0.0.0.0");
        assert_eq!(cut("192.0.2.77", 200, 64), "192.0.2.77");
        assert_eq!(cut("2001:db8:1:2:3:4:5:6", 32, 64), "2001:db8:1:2::");
        assert_eq!(cut("2001:db8:1:2:3:4:5:6", 32, 128), "2001:db8:1:2:3:4:5:6");
        assert_eq!(cut("2001:db8:1:2:3:4:5:6", 32, 0), "::");
        assert_eq!(cut("::ffff:192.0.2.77", 24, 64), "192.0.2.0");
    }
}
