//! HTTP/1.1 (RFC 9112) as pure cores: heads, bodies and their writers. Heads of the common form are read in words; httparse
//! reads the others, and whatever it lets pass and the contract does not is refused by a strict pass after it.

mod ahead;
mod body;
mod chunk;
mod connection;
mod framing;
mod interim;
mod lines;
mod request;
mod response;
mod words;
mod write;

pub use ahead::ReplyAhead;
pub use body::{BodyEvent, BodyReader, BytesIn};
pub use connection::websocket_key;
pub use interim::{Interim, Interims, WantsContinue};
pub use request::parse_request;
pub use response::{RequestFacts, parse_response};
pub use write::{
    HostValue, RequestExtra, RequestLine, ResponseExtra, write_chunk_head, write_interim, write_last_chunk,
    write_request_head, write_response_head, write_status_head,
};

pub use crate::path::normalise_path;

use crate::buffer::Buffer;

/// What a parser made of a buffer.
#[derive(Debug)]
pub enum Parse<Head, Fault> {
    /// A whole, valid head; it owns the buffer with all that follows it.
    Complete(Head),
    /// No end of the head yet: the buffer back, to be read into and parsed again, after [`Buffer::grown`] where it is full. It
    /// remembers how far lines were checked.
    Partial(Buffer),
    /// Never a valid head: close the connection.
    Reject(Fault, Buffer),
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
