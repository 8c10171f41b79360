//! HTTP/3 (RFC 9114) as pure cores: bytes of streams come in, events and bytes go out. A bound is checked before
//! anything is kept.

mod code;
mod control;
mod frame;
mod head;
mod message;
pub mod qpack;
mod settings;
mod unistream;
pub mod varint;

pub use code::{Code, Fault};
pub use control::{ControlEvent, ControlReader, write_goaway, write_priority_update};
pub use frame::{FrameKind, data_head_len, write_data_head, write_grease, write_headers};
pub use head::{read_request, read_response, read_trailers, write_head, write_trailers};
pub use message::{Event, MessageLimits, MessageReader, Part, Role};
pub use settings::Settings;
pub use unistream::{PeerStreams, StreamKind, StreamKindReader, write_stream_kind};
