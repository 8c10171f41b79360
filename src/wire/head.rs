//! Heads: a pooled buffer and spans of it. The same value for HTTP/1, 2 and 3.

mod assemble;
mod fields;
mod request;
mod response;

pub use assemble::{Content, RequestAssembler, ResponseAssembler};
pub(crate) use fields::Line;
pub use fields::{Field, Fields, Span};
pub(crate) use request::RequestParts;
pub use request::{RequestHead, TargetForm, Upgrade};
pub use response::ResponseHead;
pub(crate) use response::ResponseParts;

/// The protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Version {
    /// As it stands in `Via` and in logs: `1.1`, `2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }
}

/// Where a message's content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No content, and none announced.
    Empty,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes: replies only (RFC 9112 §6.3, case 8).
    UntilClose,
}
