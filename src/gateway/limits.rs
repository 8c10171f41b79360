//! Bounds of the gateway's shell, by name and unit, with the relations between them.

/// Bytes of pooled buffers that one worker may hold: beyond it connections are turned away and requests get 503.
pub(crate) const MEMORY_BYTES_MAX: usize = 512 << 20;
/// From here on bodies flow through small buffers only: four fifths of the most.
pub(crate) const MEMORY_BYTES_SHORT: usize = MEMORY_BYTES_MAX / 5 * 4;

const _: () = assert!(MEMORY_BYTES_SHORT < MEMORY_BYTES_MAX);
