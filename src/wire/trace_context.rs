//! W3C Trace Context: `traceparent` and the bounds of `tracestate`.

use crate::lanes;
use crate::request_id::place;
use crate::syntax::{hex_digit, list_members};

/// A valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Not zero.
    pub trace_id: u128,
    /// The caller's span; not zero.
    pub parent_id: u64,
    /// Bit 0: sampled. Others are not passed on.
    pub flags: u8,
}

/// Bytes of version 00.
pub const TRACEPARENT_BYTES: usize = 55;
/// Longest `tracestate` that is passed on (W3C Trace Context §3.3.1.5).
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate` (§3.3.1.1).
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

impl TraceParent {
    /// Reads a field's value. Later versions are read as version 00 as far as it goes (§3.2.4).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let version = number(known.get(..2)?)?;
        let separated = [2, 35, 52].into_iter().all(|at| known.get(at) == Some(&b'-'));
        let ends_well = more.is_empty() || (version > 0 && more.first() == Some(&b'-'));
        if version == 0xff || !separated || !ends_well {
            return None;
        }
        let trace_id = number(known.get(3..35)?)?;
        let parent_id = u64::try_from(number(known.get(36..52)?)?).ok()?;
        let flags = u8::try_from(number(known.get(53..55)?)?).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags })
    }

    /// A new trace. Zero is not an id: a 1 takes its place.
    #[must_use]
    pub fn root(random: [u64; 3], sampled: bool) -> Self {
        let [a, b, c] = random;
        let trace_id = (u128::from(a) << 64 | u128::from(b)).max(1);
        Self { trace_id, parent_id: c.max(1), flags: u8::from(sampled) }
    }

    /// The same trace with our span as the parent.
    #[must_use]
    pub fn child(self, random: u64) -> Self {
        Self { parent_id: random.max(1), flags: self.flags & 1, ..self }
    }

    /// Whether the caller asked for a record of it.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & 1 != 0
    }

    /// The field's value, in version 00.
    #[must_use]
    pub fn to_text(self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = [b'-'; TRACEPARENT_BYTES];
        let [high, low] = lanes::hex(&self.trace_id.to_be_bytes());
        let [_, parent] = lanes::hex(&u128::from(self.parent_id).to_be_bytes());
        place(&mut text, 0, *b"00");
        place(&mut text, 3, high);
        place(&mut text, 19, low);
        place(&mut text, 36, parent);
        place(&mut text, 53, if self.flags & 1 == 0 { *b"00" } else { *b"01" });
        text
    }
}

/// Lower-case hex only (§3.2.2).
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |sum, byte| {
        let digit = hex_digit(*byte).filter(|_| !byte.is_ascii_uppercase())?;
        Some(sum << 4 | u128::from(digit))
    })
}

/// Whether a combined `tracestate` may be passed on: bounded, and each member has a key and a value.
#[must_use]
pub fn is_good_tracestate(value: &[u8]) -> bool {
    value.len() <= TRACESTATE_BYTES_MAX
        && list_members(value).count() <= TRACESTATE_MEMBERS_MAX
        && list_members(value).all(|member| {
            let equals = member.iter().position(|byte| *byte == b'=');
            equals.is_some_and(|at| at > 0 && at + 1 < member.len())
                && member.iter().all(|byte| (b' '..=b'~').contains(byte))
        })
}

#[cfg(test)]
mod tests {
    use super::{TraceParent, is_good_tracestate};

    const GOOD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_parent_is_read_and_written_alike() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert!(parent.is_sampled());
        assert_eq!(parent.to_text(), *GOOD);
        let child = parent.child(0xab);
        assert_eq!(&child.to_text(), b"00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        let later = [b"cc", &GOOD[2..], b"-what-follows"].concat();
        assert_eq!(TraceParent::parse(&later), Some(parent));
    }

    #[test]
    fn a_malformed_parent_is_none() {
        let text = std::str::from_utf8(GOOD).unwrap();
        for bad in [
            text.replace("00-4", "ff-4"),
            text.replace("4b", "4B"),
            text.replace("-01", "-01-x"),
            text.replace("-01", "-0"),
            text.replace("-01", "_01"),
            text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            text.replace("4b", "4g"),
            String::new(),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_new_trace_is_never_zero() {
        let root = TraceParent::root([0; 3], false);
        assert_eq!(TraceParent::parse(&root.to_text()), Some(root));
    }

    #[test]
    fn tracestate_is_bounded() {
        assert!(is_good_tracestate(b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        assert!(!is_good_tracestate(b"rojo"));
        assert!(!is_good_tracestate(&[b'a'; 513]));
        assert!(!is_good_tracestate("a=b,".repeat(33).as_bytes()));
    }
}
