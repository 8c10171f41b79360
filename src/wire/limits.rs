//! Every bound of this crate, by name and unit, with the relations between them.

use crate::buffer::Class;

/// The longest method token that is taken. Registered methods have at most 17 bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// The largest `head_bytes_max` that may be configured: spans are `u16`.
pub const HEAD_BYTES_CEILING: usize = 60 * 1024;

/// The largest `fields_max` that may be configured: the parser's array lies on the stack.
pub const FIELDS_CEILING: usize = 256;

/// The longest host name (RFC 1035 §2.3.4, without the root dot).
pub const HOST_BYTES_MAX: usize = 255;

/// Digits of a chunk size: sixteen hold any `u64`.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Digits of a `Content-Length`: nineteen cannot overflow a `u64`.
pub const CONTENT_LENGTH_DIGITS_MAX: usize = 19;

/// Fields that one `Connection` may nominate.
pub const NOMINATIONS_MAX: usize = 16;

/// Interim (1xx) replies that one request may get (contract, rule 13).
pub const INTERIM_REPLIES_MAX: u8 = 16;

const _: () = assert!(HEAD_BYTES_CEILING <= u16::MAX as usize);
const _: () = assert!(HEAD_BYTES_CEILING <= Class::K64.bytes());
const _: () = assert!(HOST_BYTES_MAX < HEAD_BYTES_CEILING);
const _: () = assert!(FIELDS_CEILING <= u16::MAX as usize);

/// Bounds of one head. Larger figures than the ceilings count as the ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of start line, fields and both empty lines: beyond it 431.
    pub head_bytes_max: u32,
    /// Bytes of the request target: beyond it 414.
    pub target_bytes_max: u32,
    /// Field lines: beyond it 431.
    pub fields_max: u16,
}

impl HeadLimits {
    /// The defaults of the contract: 32 KiB, 8 KiB, 100 fields.
    pub const DEFAULT: Self = Self { head_bytes_max: 32 * 1024, target_bytes_max: 8 * 1024, fields_max: 100 };

    pub(crate) fn head_max(&self) -> usize {
        (self.head_bytes_max as usize).min(HEAD_BYTES_CEILING)
    }

    pub(crate) fn target_max(&self) -> usize {
        self.target_bytes_max as usize
    }

    pub(crate) fn field_count_max(&self) -> usize {
        (self.fields_max as usize).min(FIELDS_CEILING)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of a chunked body's framing; its data has no bound here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of one chunk's extensions, from `;` to before CRLF.
    pub extension_bytes_max: u32,
    /// Bytes of the trailer section.
    pub trailer_bytes_max: u32,
    /// Field lines of the trailer section.
    pub trailers_max: u16,
    /// How many framing bytes a body may run ahead of its data. Each chunk earns sixteen bytes and twice its data,
    /// each framing byte costs one: so a stream of small chunks lives for ever and a flood of
    /// one-byte chunks with long extensions does not.
    pub overhead_bytes_max: u32,
}

impl ChunkLimits {
    /// The defaults of the contract, rule 6.
    pub const DEFAULT: Self = Self {
        extension_bytes_max: 256,
        trailer_bytes_max: 8 * 1024,
        trailers_max: 32,
        overhead_bytes_max: 16 * 1024,
    };
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How many frames of one kind a peer may send that carry no request forward: a store that is full at first, filled again with
/// time, and by useful work where the meter says so ([`crate::http2::Meter`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The store's size in frames.
    pub burst: u32,
    /// Frames that each second adds.
    pub per_second: u32,
}

const fn allowance(burst: u32, per_second: u32) -> Allowance {
    Allowance { burst, per_second }
}

/// SETTINGS that are no acknowledgement. A client sends one, and perhaps a few while it tunes its windows.
pub const HTTP2_SETTINGS: Allowance = allowance(32, 1);
/// PING. Each DATA frame of ours earns one: gRPC clients measure the bandwidth that way.
pub const HTTP2_PINGS: Allowance = allowance(64, 4);
/// PRIORITY and PRIORITY_UPDATE. Each stream earns two.
pub const HTTP2_PRIORITIES: Allowance = allowance(128, 16);
/// WINDOW_UPDATE. Each stream and each DATA frame of ours earns four.
pub const HTTP2_WINDOW_UPDATES: Allowance = allowance(512, 64);
/// RST_STREAM. Each reply that is sent to its end earns one; a page that is left resets a hundred at once.
pub const HTTP2_RESETS: Allowance = allowance(256, 32);
/// DATA without content that does not end its stream. Each DATA frame with content earns one.
pub const HTTP2_EMPTY_DATA: Allowance = allowance(32, 4);
/// CONTINUATION without content that does not end its block.
pub const HTTP2_EMPTY_CONTINUATIONS: Allowance = allowance(2, 1);
/// Frames of types that nobody here knows, and GOAWAY.
pub const HTTP2_UNKNOWN_FRAMES: Allowance = allowance(64, 4);
/// CONTINUATION frames of one header block: five full ones hold more than the largest head.
pub const HTTP2_CONTINUATIONS_MAX: u8 = 8;
