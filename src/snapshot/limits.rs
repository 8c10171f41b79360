//! Bounds of what a snapshot holds.

/// Most segments of a prefix or of a template: the match descends once for each.
pub const PATH_SEGMENTS_MAX: u8 = 63;
/// Most paths of one host that are expressions: each is tried in turn where nothing else takes a path.
pub const HOST_REGEXES_MAX: u16 = 256;
/// Most slots that a look-up in a hash table reads.
pub const TABLE_PROBES_MAX: usize = 128;
/// Largest automaton and cache of one regular expression.
pub const EXPRESSION_BYTES_MAX: usize = 1 << 20;
/// Longest host name (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Largest `current` file.
pub const CURRENT_BYTES_MAX: usize = 512;
/// Most pointers in the `published` file.
pub const PUBLISHED_MAX: usize = 8;

// A host's prefixes are a set of bits, one for each number of segments from 0.
const _: () = assert!((PATH_SEGMENTS_MAX as u32) < u64::BITS);
