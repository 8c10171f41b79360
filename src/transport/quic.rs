//! QUIC (RFC 9000) under HTTP/3: quinn on this runtime, one endpoint per worker on its own socket of a reuseport group.
//!
//! A connection id of ours begins with its worker, and the kernel steers by that byte
//! ([`ringway_rt::UdpSocket::bind_group`]): whatever address a packet comes from, it reaches the worker that knows the
//! connection, and a client may change its network. An Initial packet bears an id that the client made up, and goes to the
//! worker that this happens to name.
//!
//! What a peer can make an endpoint hold is bounded in `limits.rs`: handshakes, streams, windows. Unvalidated clients
//! prove their address by Retry once a few handshakes are in progress (RFC 9000 §8.1.2), unless they were here before and bring a
//! token (§8.1.3).

mod batches;
mod bound;
mod client;
mod crypto;
mod endpoint;
mod identity;
mod outgoing;
mod runtime;
mod server;
mod socket;
mod tokens;
mod windows;

pub use client::QuicClient;
pub use endpoint::{Arriving, QuicCounters, QuicEndpoint};
pub use identity::{QuicIdentity, QuicKeys};
pub use server::{QuicLimits, QuicTls};
pub use windows::QuicConnection;

#[cfg(test)]
mod faulty;
#[cfg(test)]
pub(crate) use faulty::{Fault, faulty};
