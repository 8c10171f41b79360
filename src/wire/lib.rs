//! Protocol cores and HTTP semantics of Ringway: bytes and time come in, events and bytes go out. No I/O, no clock, no
//! environment.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod buffer;
pub mod cookie;
pub mod date;
pub mod field;
mod fixed;
pub mod forwarded;
pub mod grpc;
pub mod head;
pub mod host;
pub mod http1;
pub mod http2;
pub mod http3;
mod lanes;
pub mod limits;
pub mod message;
pub mod method;
pub mod overlay;
pub mod path;
pub mod priority;
pub mod query;
pub mod reject;
pub mod request_id;
pub mod status;
pub mod syntax;
mod target;
pub mod told;
pub mod trace_context;
pub mod trailers;

pub use buffer::{Buffer, Class, memory};
pub use field::{FieldId, FieldSet};
pub use head::{Field, Framing, RequestHead, ResponseHead, Span, TargetForm, Upgrade, Version};
pub use limits::{ChunkLimits, HeadLimits};
pub use message::OutgoingHead;
pub use method::Method;
pub use overlay::{BadEdit, FieldName, Overlay};
pub use path::PathPolicy;
pub use priority::Priority;
pub use reject::{Reject, ResponseReject};
pub use trailers::Trailers;
