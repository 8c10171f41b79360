//! Streams on sockets, plain and with TLS, behind one type: [`Stream`].
//!
//! All streams mirror `rt::Stream`: they are tried first and waited for after, take `&self`, and hold no
//! buffer while idle. [`accept`] and [`connect`] make TLS streams; [`ServerTls`] and [`ClientTls`] are what
//! they are made by, built off the workers and swapped whole.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod bell;
pub mod http2;
pub mod http3;
#[cfg(test)]
mod laws;
mod limits;
mod message;
mod quic;
mod stream;
mod tls;

pub use bell::{Bell, Heard};
pub use http2::{ClientConnection, HeadEnd, Reply, ReplyHead, Requested, Slot};
pub use message::{After, Code, MessageEnd, Received, Receiver, Sender};
pub use quic::{
    Arriving, QuicClient, QuicConnection, QuicCounters, QuicEndpoint, QuicIdentity, QuicKeys, QuicLimits,
    QuicTls,
};
pub use stream::Stream;
pub use tls::certificate::{Certificate, CertificateFault, PrivateKey};
pub use tls::client::{ClientProfile, ClientTls, Verify, connect};
pub use tls::failure::TlsFailure;
pub use tls::handshake::{Alpn, Handshake};
pub use tls::record::Version;
pub use tls::server::{ClientAuth, Refused, ServerProfile, ServerTls, TlsConfigError, accept};
pub use tls::stream::TlsStream;
pub use tls::ticket::{TICKET_WINDOW_SECONDS, TicketSeed};
