//! The grammar of one chunk's head (RFC 9112 §7.1), a byte at a time: any split of the input gives the same.

use crate::limits::{CHUNK_SIZE_DIGITS_MAX, ChunkLimits};
use crate::reject::Reject;
use crate::syntax::hex_digit;

/// Where in a chunk head the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkHead {
    /// In the size; so many digits so far.
    Size { value: u64, digits: u8 },
    /// In an extension; so many bytes so far.
    Extension { value: u64, bytes: u32 },
    /// After CR.
    Lf { value: u64 },
}

impl ChunkHead {
    pub(crate) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Takes one byte. `Ok(Err(size))`: the head is complete.
    pub(crate) fn step(self, byte: u8, limits: &ChunkLimits) -> Result<Result<Self, u64>, Reject> {
        match self {
            Self::Size { value, digits } => match (byte, hex_digit(byte)) {
                (_, Some(digit)) => {
                    if digits as usize >= CHUNK_SIZE_DIGITS_MAX {
                        return Err(Reject::ChunkSize);
                    }
                    Ok(Ok(Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }))
                }
                (b';', _) if digits > 0 => Ok(Ok(Self::Extension { value, bytes: 1 })),
                (b'\r', _) if digits > 0 => Ok(Ok(Self::Lf { value })),
                _ => Err(Reject::ChunkSize),
            },
            Self::Extension { value, bytes } => match byte {
                b'\r' => Ok(Ok(Self::Lf { value })),
                b'\t' | b' '..=b'~' if bytes < limits.extension_bytes_max => {
                    Ok(Ok(Self::Extension { value, bytes: bytes + 1 }))
                }
                _ => Err(Reject::ChunkExtension),
            },
            Self::Lf { value } => match byte {
                b'\n' => Ok(Err(value)),
                _ => Err(Reject::ChunkSize),
            },
        }
    }
}
