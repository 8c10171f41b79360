//! HTTP/3 over a connection of QUIC: `wire` takes frames apart and checks them, quinn carries streams, and what stands between
//! is here: which streams there are, what they wait for, and how much a peer may ask of us.
//!
//! [`Accepting`] is the server's side of a connection and [`Calling`] the client's. Each request is a pair of halves that may be
//! used by a task of its own on the same worker. Bytes leave when that task waits: a small reply is one write.
//!
//! We open a control stream and no QPACK streams: with a table of capacity 0 in both directions nothing can be said on them
//! (RFC 9204 §4.2).

mod accepting;
mod calling;
mod inflow;
mod line;
mod receiver;
mod room;
mod sender;
mod streams;

pub use accepting::{Accepting, Arrived, Control, Incoming, NoHead, Patience};
pub use calling::{Call, CallEnd, Calling, Reply};
pub use line::Ending;
pub use receiver::Receiver;
pub use sender::Sender;

use quinn::VarInt;
use ringway_wire::http3;

use crate::message::{Code, MessageEnd};

/// The number of a code on the wire.
fn number(code: http3::Code) -> VarInt {
    // None of them needs more than two bytes.
    VarInt::from_u32(u32::try_from(code.number()).unwrap_or(0))
}

/// What HTTP/3 calls this.
fn code_of(code: Code) -> http3::Code {
    match code {
        Code::NoError => http3::Code::NoError,
        Code::Cancel => http3::Code::RequestCancelled,
        Code::Internal => http3::Code::Internal,
        Code::Refused => http3::Code::RequestRejected,
        Code::Malformed => http3::Code::Message,
        Code::Calm => http3::Code::ExcessiveLoad,
    }
}

/// What a peer's reset says of the message that it ended.
fn end_of_reset(code: VarInt) -> MessageEnd {
    if code == number(http3::Code::RequestRejected) { MessageEnd::Refused } else { MessageEnd::Reset }
}
