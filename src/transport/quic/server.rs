//! What an endpoint tells new connections: certificates, limits, windows. Built off the workers and swapped whole.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, ValidationTokenConfig, VarInt};
use quinn_proto::crypto::rustls::QuicServerConfig;

use crate::limits::{
    QUIC_INCOMING_BUFFERED_BYTES_MAX, QUIC_INCOMING_BYTES_MAX, QUIC_INCOMING_MAX, QUIC_STREAM_WINDOW_BYTES,
    QUIC_STREAMS_FIRST, QUIC_STREAMS_UNI_MAX, QUIC_WINDOW_BYTES_MIN,
};
use crate::tls::server::{self, ServerProfile, TlsConfigError};
use crate::tls::ticket::TicketSeed;

use super::crypto::Crypto;
use super::identity::QuicKeys;

/// How long a Retry token is good for: a round trip, not a day (RFC 9000 §8.1.3).
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);
/// How long a token of a former connection is good for, if it is used at all.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest idle timeout: two probes of a slow path fit into it.
const IDLE_MS_MIN: u32 = 5_000;

/// Limits of each connection of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct QuicLimits {
    /// Requests at once. A connection begins with fewer, and whoever accepts its requests raises them when they are used: quinn
    /// has room ready for each, some 90 bytes.
    pub streams: u32,
    /// Milliseconds without a packet of the peer after which a connection is gone; at least 5,000. The peer is probed at half
    /// of it, so that a silent request (an event stream, a tunnel) lives: closing an idle connection is the
    /// business of who knows that no request is open.
    pub idle_ms: u32,
}

/// TLS and limits of one listener, for QUIC. Immutable: a change of certificates is a new value, and connections keep theirs.
#[derive(Clone, Debug)]
pub struct QuicTls {
    pub(super) config: quinn::ServerConfig,
}

impl QuicTls {
    /// Builds it from the same profile as that of TLS over TCP: certificates by SNI, client certificates, tickets.
    /// The protocol is `h3` whatever the profile says, TLS is 1.3, and there is no 0-RTT.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn build(
        profile: &ServerProfile,
        seed: &TicketSeed,
        keys: &QuicKeys,
        limits: QuicLimits,
    ) -> Result<Self, TlsConfigError> {
        let tls = Arc::new(server::quic_config(profile, seed)?);
        let crypto = QuicServerConfig::try_from(tls).map_err(|_| TlsConfigError::Library {
            profile: profile.name.clone(),
            source: rustls::Error::General("the provider has no suite for Initial packets".to_owned()),
        })?;
        let mut tokens = ValidationTokenConfig::default();
        tokens.lifetime(TOKEN_LIFETIME).log(Arc::clone(&keys.uses) as _).sent(1);
        let mut config =
            quinn::ServerConfig::new(Arc::new(Crypto(Arc::new(crypto))), Arc::clone(&keys.token) as _);
        config
            .transport_config(Arc::new(transport(limits)))
            .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
            .validation_token_config(tokens)
            .migration(true)
            .max_incoming(QUIC_INCOMING_MAX)
            .incoming_buffer_size(QUIC_INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(QUIC_INCOMING_BUFFERED_BYTES_MAX);
        Ok(Self { config })
    }
}

/// Limits of a connection, and its windows until it is established. MTU discovery is on, datagrams (RFC 9221) are off, acknowledgements are the peer's
/// choice.
pub(super) fn transport(limits: QuicLimits) -> TransportConfig {
    let idle_ms = limits.idle_ms.max(IDLE_MS_MIN);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams.min(QUIC_STREAMS_FIRST)))
        .max_concurrent_uni_streams(VarInt::from_u32(QUIC_STREAMS_UNI_MAX))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(Duration::from_millis(u64::from(idle_ms / 2))))
        .stream_receive_window(VarInt::from_u32(QUIC_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(QUIC_WINDOW_BYTES_MIN))
        .send_window(u64::from(QUIC_WINDOW_BYTES_MIN))
        .datagram_receive_buffer_size(None);
    transport
}
