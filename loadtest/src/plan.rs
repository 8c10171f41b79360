//! What is to be done: everything decided and prepared, so that the threads only do it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use ringway_rt::DriverChoice;
use ringway_transport::{Alpn, ClientProfile, ClientTls, TlsConfigError, Verify, Version};

use crate::check::Checks;
use crate::random::Random;
use crate::request::Request;
use crate::schedule::{Arrivals, Piece};
use crate::template::Tables;
use crate::url::Url;

/// How load is made.
#[derive(Debug, Clone)]
pub(crate) enum Load {
    /// Each connection sends its next request when it has the reply to the one before.
    Closed,
    /// Requests are due by a schedule, whatever the replies do.
    Open {
        /// The rate over time, warm-up first.
        pieces: Vec<Piece>,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 (RFC 9112), one request at a time.
    Http1,
    /// HTTP/2 (RFC 9113): by ALPN with TLS, by prior knowledge without.
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
    /// Messages that are echoed (RFC 6455).
    WebSocket,
}

impl Protocol {
    /// Whether a connection carries several requests at once.
    pub(crate) fn is_multiplexed(self) -> bool {
        matches!(self, Self::Http2 | Self::Http3)
    }

    /// What is offered in a TLS handshake.
    fn alpn(self) -> Alpn {
        match self {
            Self::Http1 | Self::WebSocket => Alpn::Http1,
            Self::Http2 => Alpn::Http2,
            Self::Http3 => Alpn::Http3,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
            Self::WebSocket => "WebSocket",
        }
    }
}

/// Where connections go.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The name that its certificate is verified for, and how; none in plain text.
    pub(crate) tls: Option<(String, ClientTls)>,
    /// Scheme, host and port, by which targets share it.
    origin: String,
}

/// One kind of request.
#[derive(Debug)]
pub(crate) struct Target {
    /// What it is called in reports.
    pub(crate) name: String,
    /// Its place among the endpoints.
    pub(crate) endpoint: usize,
    /// How often it is taken, relative to the others.
    pub(crate) weight: u32,
    /// What is sent.
    pub(crate) request: Request,
    /// What is expected.
    pub(crate) checks: Checks,
}

/// All of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// Where to.
    pub(crate) endpoints: Vec<Endpoint>,
    /// What is asked for. Never empty.
    pub(crate) targets: Vec<Target>,
    /// What templates take from.
    pub(crate) tables: Tables,
    /// How load is made.
    pub(crate) load: Load,
    /// Connections that carry requests, over all threads.
    pub(crate) connections: usize,
    /// Requests at once on each of them; 1 where the protocol knows no more.
    pub(crate) streams: usize,
    /// Requests are gRPC calls, whose status is in a trailer.
    pub(crate) grpc: bool,
    /// Connections that are held and carry none.
    pub(crate) idle: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Cores that they are pinned to, in turn; empty: not pinned.
    pub(crate) cores: Vec<usize>,
    /// After so many requests a connection is closed and opened anew.
    pub(crate) requests_per_connection: Option<u64>,
    /// A closed loop ends after so many requests.
    pub(crate) requests: Option<u64>,
    /// Not counted: the time before the run.
    pub(crate) warm_up_ns: u64,
    /// The run, without warm-up.
    pub(crate) duration_ns: u64,
    /// For a whole reply, from when the request was taken up.
    pub(crate) timeout_ns: u64,
    /// For a connection with its handshakes.
    pub(crate) connect_timeout_ns: u64,
    /// How long replies are waited for after the end.
    pub(crate) drain_ns: u64,
    /// How often threads give away what they have counted.
    pub(crate) tick_ns: u64,
    /// Of all random numbers.
    pub(crate) seed: u64,
    /// Which driver of the runtime.
    pub(crate) driver: DriverChoice,
    /// Payload of a WebSocket message, in bytes.
    pub(crate) message_bytes: usize,
    /// Whether threads poll without ever sleeping.
    pub(crate) busy: bool,
}

impl Plan {
    /// Whether requests are due by a schedule.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.load, Load::Open { .. })
    }

    /// The pieces of the rate that are counted: steps of the report.
    pub(crate) fn steps(&self) -> &[Piece] {
        match &self.load {
            Load::Closed => &[],
            Load::Open { pieces, .. } => pieces.get(usize::from(self.warm_up_ns > 0)..).unwrap_or_default(),
        }
    }

    /// Which target comes next.
    #[inline]
    pub(crate) fn choose(&self, random: &mut Random) -> Option<(usize, &Target)> {
        if let [only] = self.targets.as_slice() {
            return Some((0, only));
        }
        let total: u64 = self.targets.iter().map(|target| u64::from(target.weight)).sum();
        let mut left = random.below(total);
        for (place, target) in self.targets.iter().enumerate() {
            match left.checked_sub(u64::from(target.weight)) {
                None => return Some((place, target)),
                Some(rest) => left = rest,
            }
        }
        None
    }

    /// The share of `total` that falls to thread `thread`.
    pub(crate) fn share_of(&self, total: usize, thread: usize) -> usize {
        total / self.threads + usize::from(thread < total % self.threads)
    }
}

/// Why an endpoint is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    /// The name has no address.
    #[error("cannot find an address of {host}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The name has no address, says the resolver.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The roots cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Roots {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsConfigError),
}

/// How endpoints are connected to.
#[derive(Debug, Default)]
pub(crate) struct Connecting {
    /// Certificates are not verified.
    pub(crate) insecure: bool,
    /// Roots, in place of Mozilla's.
    pub(crate) roots: Option<PathBuf>,
    /// What is spoken.
    pub(crate) protocol: Option<Protocol>,
    /// Instead of what the host's name resolves to.
    pub(crate) address: Option<SocketAddr>,
}

/// Endpoints by origin, made as targets name them.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    connecting: Connecting,
    made: Vec<Endpoint>,
}

impl Endpoints {
    /// None yet.
    pub(crate) fn new(connecting: Connecting) -> Self {
        Self { connecting, made: Vec::new() }
    }

    /// The place of the endpoint of this address; made where it is not there.
    pub(crate) fn of(&mut self, url: &Url) -> Result<usize, EndpointError> {
        let origin = format!("{:?} {} {}", url.scheme, url.host, url.port);
        if let Some(place) = self.made.iter().position(|endpoint| endpoint.origin == origin) {
            return Ok(place);
        }
        let address = match self.connecting.address {
            Some(address) => address,
            None => resolve(&url.host, url.port)?,
        };
        let tls = if url.scheme.is_tls() { Some((url.host.clone(), self.tls(&url.host)?)) } else { None };
        self.made.push(Endpoint { address, tls, origin });
        Ok(self.made.len() - 1)
    }

    /// All of them.
    pub(crate) fn into_list(self) -> Vec<Endpoint> {
        self.made
    }

    fn tls(&self, host: &str) -> Result<ClientTls, EndpointError> {
        use rustls_pki_types::pem::PemObject;
        let mut ca = Vec::new();
        if let Some(path) = &self.connecting.roots {
            let fault = |source| EndpointError::Roots { path: path.clone(), source };
            for der in rustls_pki_types::CertificateDer::pem_file_iter(path).map_err(fault)? {
                ca.push(der.map_err(fault)?.to_vec());
            }
        }
        let profile = ClientProfile {
            name: host.to_owned(),
            ca,
            certificate: None,
            alpn: vec![self.connecting.protocol.unwrap_or(Protocol::Http1).alpn()],
            minimum: if self.connecting.protocol == Some(Protocol::Http3) {
                Version::Tls13
            } else {
                Version::Tls12
            },
            verify: if self.connecting.insecure { Verify::Insecure } else { Verify::Full },
        };
        Ok(ClientTls::build(&profile)?)
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, EndpointError> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|source| EndpointError::Resolve { host: host.to_owned(), source })?
        .min_by_key(|address| address.is_ipv6());
    found.ok_or_else(|| EndpointError::NoAddress(host.to_owned()))
}

/// A plan that all threads hold.
pub(crate) type SharedPlan = Arc<Plan>;
