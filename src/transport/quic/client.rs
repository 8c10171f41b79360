//! A client's endpoint: for the load generator and for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::{fmt, io};

use quinn::EndpointConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use ringway_rt as rt;

use crate::tls::client::ClientTls;
use crate::tls::failure::TlsFailure;

use super::endpoint::{VERSION_1, failure};
use super::identity::{QuicIdentity, QuicKeys};
use super::runtime::Runtime;
use super::server::{QuicLimits, transport};
use super::socket::{Offload, Socket};
use super::windows::Windows;

/// Makes connections from one socket of a worker.
pub struct QuicClient {
    endpoint: quinn::Endpoint,
}

impl QuicClient {
    /// A client bound to `local`. `tls` must offer TLS 1.3 and its protocols (`h3`). On a worker.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub fn bind(local: SocketAddr, tls: &ClientTls, limits: QuicLimits) -> io::Result<Self> {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            aws_lc_rs::rand::fill(seed).map_err(io::Error::other)?;
        }
        let keys = QuicKeys::new(&seeds[0], &seeds[1], &[0; 16]);
        let keys = keys.ok_or_else(|| io::Error::other("no keys could be derived"))?;
        let ids = QuicIdentity { worker: 0, workers: 1, keys: keys.clone() }.ids();
        let mut config = EndpointConfig::new(Arc::clone(&keys.reset) as _);
        config.cid_generator(move || Box::new(ids.clone())).supported_versions(vec![VERSION_1]);
        let socket = Socket::new(rt::UdpSocket::bind(local)?, Offload::Kernel)?;
        let runtime = Arc::new(Runtime::new());
        let mut endpoint =
            quinn::Endpoint::new_with_abstract_socket(config, None, Arc::new(socket), runtime)?;
        let crypto = QuicClientConfig::try_from(tls.config()).map_err(io::Error::other)?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::new(transport(limits)));
        endpoint.set_default_client_config(client);
        Ok(Self { endpoint })
    }

    /// Connects to `peer`, which must show a certificate for `name`, until `deadline_ns` (monotonic).
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        &self,
        peer: SocketAddr,
        name: &str,
        deadline_ns: u64,
    ) -> Result<quinn::Connection, TlsFailure> {
        let connecting = self.endpoint.connect(peer, name).map_err(|error| {
            tracing::warn!(%error, %peer, "connecting is not possible");
            TlsFailure::Internal
        })?;
        match rt::until_ns(deadline_ns, connecting).await {
            Some(Ok(connection)) => {
                Windows::share(self.endpoint.open_connections()).apply(&connection);
                Ok(connection)
            }
            Some(Err(error)) => Err(failure(&error)),
            None => Err(TlsFailure::HandshakeTimeout),
        }
    }

    /// Moves every connection to a new socket, as a change of network does (RFC 9000 §9).
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub fn rebind(&self, local: SocketAddr) -> io::Result<()> {
        self.endpoint.rebind(rt::UdpSocket::bind(local)?)
    }

    /// Waits until no connection is left. May be given up.
    pub async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl fmt::Debug for QuicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicClient").finish_non_exhaustive()
    }
}
