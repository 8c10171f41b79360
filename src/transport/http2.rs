//! HTTP/2 over [`crate::Stream`]: the h2 crate takes frames apart and keeps the streams' states; the socket, the limits, the
//! meter of floods, the order of what is sent and the blocks of replies' heads and trailers are ours.
//!
//! One task per connection drives [`Accepting`]; each stream's [`Receiver`] and [`Sender`] may be used by a task of its own on
//! the same worker. Bytes leave when the driving task has done all it can: many frames, one write.

mod accepting;
mod chunk;
mod client;
mod line;
mod receiver;
mod sender;

pub use accepting::{Accepting, Arrived, Control, Ending, Incoming, Patience};
pub use client::{ClientConnection, HeadEnd, Reply, ReplyHead, Requested, Slot};
pub use receiver::Receiver;
pub use sender::Sender;

use h2::Reason;

use crate::message::{Code, MessageEnd};
use ringway_wire::reject::Reject;

/// The code of a reset.
pub(crate) fn reason_of(code: Code) -> Reason {
    match code {
        Code::NoError => Reason::NO_ERROR,
        Code::Cancel => Reason::CANCEL,
        Code::Internal => Reason::INTERNAL_ERROR,
        Code::Refused => Reason::REFUSED_STREAM,
        Code::Malformed => Reason::PROTOCOL_ERROR,
        Code::Calm => Reason::ENHANCE_YOUR_CALM,
    }
}

/// What an error of the h2 crate says of the message that it ended.
fn end_of(error: &h2::Error) -> MessageEnd {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => MessageEnd::Refused,
        Some(_) if error.is_reset() && error.is_library() => MessageEnd::Malformed(Reject::StreamContent),
        Some(_) if error.is_reset() => MessageEnd::Reset,
        _ => MessageEnd::Closed,
    }
}
