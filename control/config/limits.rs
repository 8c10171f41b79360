//! Limits of what a configuration may be, so that nobody can make control work without end.

/// Largest document.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 512 << 20;
/// Deepest nesting of maps and lists; the grammar itself needs nine.
pub(crate) const DEPTH_MAX: usize = 24;
/// Most values in one document.
pub(crate) const ITEMS_MAX: usize = 50_000_000;
/// Most values that aliases of one document may stand for together.
pub(crate) const ALIAS_ITEMS_MAX: usize = 100_000;
/// Largest file that is referred to (certificates, keys, revocation lists).
pub(crate) const REFERENCE_BYTES_MAX: usize = 16 << 20;
/// Longest name of a resource.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// Longest path pattern.
pub(crate) const PATH_BYTES_MAX: usize = 2048;
/// Most active credentials of one application, so that one can be rotated.
pub(crate) const CREDENTIALS_MAX: usize = 2;
/// Shortest API key: below this it could be guessed.
pub(crate) const API_KEY_BYTES_MIN: usize = 16;
/// Longest API key.
pub(crate) const API_KEY_BYTES_MAX: usize = 512;

const _: () = assert!(ALIAS_ITEMS_MAX < ITEMS_MAX);
const _: () = assert!(DOCUMENT_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(API_KEY_BYTES_MIN < API_KEY_BYTES_MAX);
