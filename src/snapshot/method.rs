//! Methods as a set: the known ones have a bit each, others are compared as text.

/// The known methods, in the order of their bits and of `Allow`.
pub const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// Bit of GET.
pub const GET: u16 = 1;
/// Bit of HEAD.
pub const HEAD: u16 = 1 << 1;
/// Set where a route names methods that have no bit of their own.
pub const OTHER: u16 = 1 << 15;
/// All bits that have a meaning.
pub const ALL: u16 = ((1 << KNOWN.len()) - 1) | OTHER;

/// Bit of a method, [`OTHER`] where it has none. Methods are case-sensitive (RFC 9110 §9.1).
#[must_use]
#[inline]
pub fn bit(method: &[u8]) -> u16 {
    match method {
        b"GET" => GET,
        b"HEAD" => HEAD,
        b"POST" => 1 << 2,
        b"PUT" => 1 << 3,
        b"DELETE" => 1 << 4,
        b"PATCH" => 1 << 5,
        b"OPTIONS" => 1 << 6,
        b"CONNECT" => 1 << 7,
        b"TRACE" => 1 << 8,
        _ => OTHER,
    }
}

/// Names of the bits that are set, in their order.
pub fn names(set: u16) -> impl Iterator<Item = &'static str> {
    KNOWN.iter().enumerate().filter(move |(at, _)| set & (1 << at) != 0).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::{ALL, KNOWN, OTHER, bit, names};

    #[test]
    fn every_known_method_has_the_bit_of_its_place() {
        for (at, method) in KNOWN.iter().enumerate() {
            assert_eq!(bit(method.as_bytes()), 1 << at);
        }
        assert_eq!(bit(b"get"), OTHER);
        assert_eq!(names(ALL).collect::<Vec<_>>(), KNOWN);
    }
}
