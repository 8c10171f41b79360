//! The endpoint of a worker: who arrives, who must prove its address first, and who is refused.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::{fmt, io};

use quinn::rustls::pki_types::CertificateDer;
use quinn::{AsyncUdpSocket, ConnectionError, EndpointConfig, VarInt};
use ringway_rt as rt;

use crate::limits::{QUIC_ARRIVALS_PER_TURN, QUIC_HANDSHAKES_MAX, QUIC_UNVALIDATED_MAX};
use crate::tls::failure::TlsFailure;
use crate::tls::handshake::{Alpn, Handshake};
use crate::tls::record::Version;
use crate::tls::server::Refused;

use super::crypto::Known;
use super::identity::QuicIdentity;
use super::runtime::Runtime;
use super::server::QuicTls;
use super::socket::{Offload, Socket};
use super::windows::{QuicConnection, Windows};

/// QUIC version 1 (RFC 9000); all other versions are answered by Version Negotiation.
pub(super) const VERSION_1: u32 = 1;

/// A listening endpoint on a worker. It lives as long as a connection of it does, even when it is dropped.
pub struct QuicEndpoint {
    endpoint: quinn::Endpoint,
    load: Rc<Load>,
}

/// What is going on at an endpoint.
#[derive(Default)]
struct Load {
    handshakes: Cell<u32>,
    unvalidated: Cell<u32>,
    arrived_in_turn: Cell<u32>,
    stopped: Cell<bool>,
    retried: Cell<u64>,
    refused: Cell<u64>,
}

/// What an endpoint has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuicCounters {
    /// Clients that were asked to prove their address by Retry.
    pub retried: u64,
    /// Connections that were refused: too many handshakes, or the endpoint is stopped.
    pub refused: u64,
    /// Handshakes in progress.
    pub handshakes: u32,
}

impl QuicEndpoint {
    /// An endpoint on a bound socket, which may live on in a clone. On a worker.
    ///
    /// # Errors
    /// The driver or the kernel refuses the socket.
    pub fn new(socket: std::net::UdpSocket, identity: &QuicIdentity, tls: &QuicTls) -> io::Result<Self> {
        Self::on(Arc::new(Socket::new(socket, Offload::Kernel)?), identity, tls)
    }

    pub(super) fn on(
        socket: Arc<dyn AsyncUdpSocket>,
        identity: &QuicIdentity,
        tls: &QuicTls,
    ) -> io::Result<Self> {
        let mut config = EndpointConfig::new(Arc::clone(&identity.keys.reset) as _);
        let ids = identity.ids();
        config.cid_generator(move || Box::new(ids.clone())).supported_versions(vec![VERSION_1]);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            config,
            Some(tls.config.clone()),
            socket,
            Arc::new(Runtime::new()),
        )?;
        Ok(Self { endpoint, load: Rc::default() })
    }

    /// Serves new connections by these certificates and limits; those that are open keep theirs.
    pub fn set_tls(&self, tls: &QuicTls) {
        self.endpoint.set_server_config(Some(tls.config.clone()));
    }

    /// Waits for the next client that may begin a handshake. On the way, clients are sent a Retry or refused as the load
    /// demands. `None`: the endpoint is gone, because its socket is. One task at a time; may be given up.
    pub async fn accept(&self) -> Option<Arriving> {
        loop {
            if self.load.arrived_in_turn.get() >= QUIC_ARRIVALS_PER_TURN {
                self.load.arrived_in_turn.set(0);
                rt::turn().await;
            }
            let incoming = self.endpoint.accept().await?;
            self.load.arrived_in_turn.set(self.load.arrived_in_turn.get() + 1);
            let validated = incoming.remote_address_validated();
            if self.load.stopped.get() || self.load.handshakes.get() >= QUIC_HANDSHAKES_MAX {
                self.refuse(incoming);
            } else if !validated && self.load.unvalidated.get() >= QUIC_UNVALIDATED_MAX {
                self.load.retried.set(self.load.retried.get() + 1);
                // It fails only for one that has proved its address.
                let _ = incoming.retry();
            } else {
                let shaking = Shaking::new(Rc::clone(&self.load), validated);
                let windows = Windows::share(self.endpoint.open_connections() + 1);
                return Some(Arriving { incoming, shaking, windows });
            }
        }
    }

    fn refuse(&self, incoming: quinn::Incoming) {
        self.load.refused.set(self.load.refused.get() + 1);
        incoming.refuse();
    }

    /// Refuses every newcomer from now on, so that it turns to another endpoint or to TCP; connections live on.
    /// [`Self::accept`] must go on being called.
    pub fn stop(&self) {
        self.load.stopped.set(true);
    }

    /// Takes newcomers in again after [`Self::stop`]; not after [`Self::close`].
    pub fn resume(&self) {
        self.load.stopped.set(false);
    }

    /// Connections, those in their handshake and those that linger after their end included.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Ends every connection at once with this application error code (RFC 9114 §8.1), and accepting.
    pub fn close(&self, code: u32) {
        self.load.stopped.set(true);
        self.endpoint.close(VarInt::from_u32(code), b"");
    }

    /// Waits until no connection is left; after [`Self::close`] that takes three probe timeouts. May be given up.
    pub async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// What it has counted.
    pub fn counters(&self) -> QuicCounters {
        QuicCounters {
            retried: self.load.retried.get(),
            refused: self.load.refused.get(),
            handshakes: self.load.handshakes.get(),
        }
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// None on Linux.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }
}

impl fmt::Debug for QuicEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicEndpoint").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// Counts a handshake until it is dropped.
struct Shaking {
    load: Rc<Load>,
    validated: bool,
}

impl Shaking {
    fn new(load: Rc<Load>, validated: bool) -> Self {
        load.handshakes.set(load.handshakes.get() + 1);
        load.unvalidated.set(load.unvalidated.get() + u32::from(!validated));
        Self { load, validated }
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.load.handshakes.set(self.load.handshakes.get().saturating_sub(1));
        self.load.unvalidated.set(self.load.unvalidated.get().saturating_sub(u32::from(!self.validated)));
    }
}

/// A client that may begin its handshake.
pub struct Arriving {
    incoming: quinn::Incoming,
    shaking: Shaking,
    windows: Windows,
}

impl Arriving {
    /// Where it says it is; proved only when the handshake is done.
    pub fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Whether it has proved its address already: by Retry, or by a token of a former connection.
    pub fn proved(&self) -> bool {
        self.shaking.validated
    }

    /// Turns it away: there are too many connections.
    pub fn refuse(self) {
        self.incoming.refuse();
    }

    /// Makes the handshake. All of it must be done by `deadline_ns` (monotonic). Whoever keeps the connection keeps a second
    /// handle of it, or a stream: were the library's driver to panic, it would abort the process on meeting a last handle,
    /// and ends the worker otherwise.
    ///
    /// # Errors
    /// [`Refused`], for the record and the log; the client has been told.
    pub async fn handshake(self, deadline_ns: u64) -> Result<(QuicConnection, Handshake), Refused> {
        let Self { incoming, shaking, windows } = self;
        let connecting = incoming.accept().map_err(|error| Refused::from(failure(&error)))?;
        // It is ours before it is done, so that there are two handles (`Runtime::spawn`); nothing is sent on it before.
        let (connection, done) = connecting.into_0rtt().map_err(|_| Refused::from(TlsFailure::Internal))?;
        let spare = connection.clone();
        if rt::until_ns(deadline_ns, done).await.is_none() {
            return Err(TlsFailure::HandshakeTimeout.into());
        }
        if let Some(error) = connection.close_reason() {
            return Err(failure(&error).into());
        }
        drop((spare, shaking));
        let agreed = agreed(&connection);
        Ok((QuicConnection::new(connection, windows), agreed))
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

fn agreed(connection: &quinn::Connection) -> Handshake {
    let data = connection.handshake_data().and_then(|data| data.downcast::<Known>().ok());
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'_>>>().ok());
    let name = data.as_ref().and_then(|data| data.server_name.as_deref());
    Handshake {
        version: Version::Tls13,
        alpn: Some(Alpn::Http3),
        server_name: name
            .map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()),
        certificates: chain.map(|chain| chain.iter().map(|der| der.to_vec()).collect()).unwrap_or_default(),
        resumed: data.is_some_and(|data| data.resumed),
    }
}

/// The failure of a handshake over QUIC: TLS alerts are error codes from 0x100 on (RFC 9001 §4.8).
pub(super) fn failure(error: &ConnectionError) -> TlsFailure {
    let alert = |code: quinn::TransportErrorCode| {
        u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
    };
    match error {
        ConnectionError::TimedOut => TlsFailure::HandshakeTimeout,
        ConnectionError::ConnectionClosed(close) => {
            alert(close.error_code).map_or(TlsFailure::PeerClosed, TlsFailure::of_alert_received)
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => TlsFailure::PeerClosed,
        ConnectionError::TransportError(ours) => match alert(ours.code) {
            Some(alert) => TlsFailure::of_alert_sent(alert),
            None => TlsFailure::Malformed,
        },
        ConnectionError::VersionMismatch => TlsFailure::NoSharedVersion,
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => TlsFailure::Internal,
    }
}
