//! TLS: rustls makes handshakes and keys, records are protected here, so that an idle connection holds no buffer
//! and bytes are copied as little as its library allows (`docs/decision/0002-tls-stream.md`).

pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod record;
pub(crate) mod server;
mod session;
pub(crate) mod stream;
pub(crate) mod ticket;
