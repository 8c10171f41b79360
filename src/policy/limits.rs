//! Bounds of this crate: everything that a definition or a peer could make grow has a number here.

/// Most `limit` steps in one chain: what a request remembers of them until its reply is a fixed array.
pub const CHAIN_LIMITS_MAX: usize = 8;
/// Most authenticators in one `authenticate` step, and so challenges in one 401.
pub const CHALLENGES_MAX: usize = 8;
/// Most requests that a rate may name, whatever its window.
pub const RATE_COUNT_MAX: u64 = 1_000_000_000;
/// Longest window of a rate: 366 days.
pub const RATE_WINDOW_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// Cells of node-wide limits when nothing else is said: about 100 bytes each.
pub const NODE_CELLS_MAX: usize = 1 << 20;
/// Places for node-wide cells that a worker keeps at hand, 16 bytes each.
pub const KEPT_CELLS_MAX: usize = 1 << 15;
/// Cells of one worker's own limits, 64 bytes each.
pub const CORE_CELLS_MAX: usize = 1 << 14;
/// Overflow cells of one worker's own limits: one for each limit that overflowed.
pub const CORE_OVERFLOW_CELLS_MAX: usize = 1 << 10;
/// Longest value that is looked up as an API key; a longer one is invalid without being hashed.
pub const API_KEY_BYTES_MAX: usize = 512;
/// Places for API keys that a worker remembers, 64 bytes each: keys in the order of half as many are all known.
pub const KNOWN_KEYS_MAX: usize = 1 << 15;
/// Longest value of an edited field.
pub const FIELD_VALUE_BYTES_MAX: usize = 8 * 1024;
/// Longest name of an edited field.
pub const FIELD_NAME_BYTES_MAX: usize = 256;
/// Most routes that an explanation lists.
pub const TRACE_ROUTES_MAX: usize = 64;

const _: () = assert!(KEPT_CELLS_MAX.is_power_of_two() && CORE_CELLS_MAX.is_power_of_two());
const _: () = assert!(KNOWN_KEYS_MAX.is_power_of_two());
const _: () = assert!(KEPT_CELLS_MAX <= NODE_CELLS_MAX);
