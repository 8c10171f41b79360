//! The way to an endpoint: an idle connection, a stream of one that others use, or a new connection.

use std::rc::Rc;

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_snapshot::model::UpstreamProtocol;
use ringway_transport::{Alpn, ClientConnection, HeadEnd, Slot, Stream, TlsFailure};

use super::Job;
use crate::limits::{STREAM_WAITERS_MAX, TLS_NS_MIN};
use crate::malformed;
use crate::upstream::endpoint::{Endpoint, Lease, Leased};
use crate::upstream::streams::{Made, Opener, Speaks};
use crate::upstream::{Choice, Upstream};
use crate::worker::Worker;

/// What carries one request.
pub(super) enum Way {
    /// A connection for itself.
    Http1(Leased),
    /// A stream among others.
    Http2(Slot),
}

impl Way {
    /// Whether the connection carried a request before, and so may have been closed meanwhile.
    pub(super) fn reused(&self) -> bool {
        match self {
            Self::Http1(leased) => leased.pooled(),
            Self::Http2(slot) => slot.reused(),
        }
    }
}

/// What kind of connection a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// It becomes a tunnel: HTTP/1.1, and a connection of its own.
    pub(super) tunnel: bool,
    /// One that was used before will do.
    pub(super) pooled: bool,
}

/// Who looks for a way, and where to.
struct Search<'s> {
    worker: &'s Worker,
    upstream: &'s Upstream,
    choice: &'s Choice,
    need: Need,
    connect_ns_max: u64,
    until_ns: u64,
    /// How long an endpoint may take no bytes.
    stall_ns_max: u64,
}

/// Finds a way to the endpoint. Waits for a connection that is being made, and for a free stream where there are as many
/// connections as allowed, no longer than the time to connect.
pub(super) async fn reach(job: &Job<'_>, choice: &Choice, need: Need, now_ns: u64) -> Result<Way, Outcome> {
    let upstream = &*job.upstream;
    let until_ns = now_ns.saturating_add(job.timeouts.connect_ns_max);
    let search = Search {
        worker: &job.connection.worker,
        upstream,
        choice,
        need,
        connect_ns_max: job.timeouts.connect_ns_max,
        until_ns,
        stall_ns_max: job.write_stall_ns_max,
    };
    // What has to be waited for is no part of what every request holds.
    if search.may_share() {
        return Box::pin(search.share()).await;
    }
    let pooled = if need.pooled { choice.endpoint.take_idle() } else { None };
    match pooled {
        Some(leased) => Ok(Way::Http1(leased)),
        None => Box::pin(search.connect()).await,
    }
}

impl Search<'_> {
    /// A stream of a connection that others use, or a new connection.
    async fn share(&self) -> Result<Way, Outcome> {
        let (endpoint, prepared) = (&self.choice.endpoint, &self.upstream.prepared);
        let mut joined = None;
        loop {
            if let Some(slot) = endpoint.streams.take() {
                return Ok(Way::Http2(slot));
            }
            // Who was let down once makes a connection for itself: callers with deadlines too short for one could keep all others
            // from any, each waiting for the next.
            let may_join = joined != Some(Made::GivenUp);
            let opening = may_join.then(|| endpoint.streams.joinable(prepared.streams_max)).flatten();
            if let Some(opening) = opening {
                let ended = ringway_rt::until_ns(self.patience_ns(), opening.ended()).await;
                joined = Some(ended.ok_or(Outcome::ConnectTimeout)??);
                if !self.may_share() {
                    return self.connect().await;
                }
            } else if endpoint.has_room(prepared.connections_max) {
                return self.connect().await;
            } else {
                if endpoint.streams.bell.waiting() >= STREAM_WAITERS_MAX {
                    return Err(Outcome::UpstreamSaturated);
                }
                let freed = ringway_rt::until_ns(self.until_ns, endpoint.streams.bell.heard()).await;
                freed.ok_or(Outcome::UpstreamSaturated)?;
            }
        }
    }

    /// Whether the request may go on a connection that others use, as far as is known.
    fn may_share(&self) -> bool {
        let prepared = &self.upstream.prepared;
        match prepared.protocol {
            _ if self.need.tunnel => false,
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => {
                prepared.tls.is_some() && self.choice.endpoint.streams.speaks() != Some(Speaks::Http1)
            }
        }
    }

    /// How long a handshake may take: TLS has at least so long, however short the time to connect is.
    fn patience_ns(&self) -> u64 {
        self.until_ns.saturating_add(TLS_NS_MIN.saturating_sub(self.connect_ns_max))
    }

    /// Makes a connection.
    async fn connect(&self) -> Result<Way, Outcome> {
        let endpoint = &self.choice.endpoint;
        let Some(place) = endpoint.reserve(self.upstream.prepared.connections_max) else {
            return Err(Outcome::UpstreamSaturated);
        };
        let shares = !self.need.tunnel && self.upstream.prepared.protocol != UpstreamProtocol::Http1;
        if !shares {
            let (stream, _) = self.stream(endpoint).await?;
            return Ok(Way::Http1(place.opened(stream)));
        }
        let opener = Opener::new(endpoint);
        match self.open(endpoint).await {
            Ok(Opened::Http1(stream)) => {
                opener.agreed(Speaks::Http1);
                Ok(Way::Http1(place.opened(stream)))
            }
            Ok(Opened::Http2(connection)) => shared(opener, place, connection),
            Err(outcome) => {
                opener.failed(outcome);
                Err(outcome)
            }
        }
    }

    async fn open(&self, endpoint: &Rc<Endpoint>) -> Result<Opened, Outcome> {
        let (stream, agreed) = self.stream(endpoint).await?;
        let prepared = &self.upstream.prepared;
        match (prepared.protocol, prepared.tls.is_some(), agreed) {
            (_, true, Some(Alpn::Http2)) | (UpstreamProtocol::Http2, false, _) => {}
            // Without ALPN nobody can know that HTTP/2 is spoken behind TLS (RFC 9113 §3.2).
            (UpstreamProtocol::Http2, true, _) => return Err(Outcome::UpstreamTlsFailed),
            _ => return Ok(Opened::Http1(stream)),
        }
        let bell = Rc::clone(&endpoint.streams.bell);
        let opened =
            ClientConnection::open(stream, prepared.streams_max, self.stall_ns_max, bell, self.patience_ns());
        opened.await.map(Opened::Http2).map_err(|end| match end {
            HeadEnd::Malformed(reject) => malformed::reply(reject),
            HeadEnd::Silent => Outcome::ConnectTimeout,
            _ => Outcome::UpstreamReset,
        })
    }

    /// A connection, with TLS where the upstream has it.
    async fn stream(&self, endpoint: &Endpoint) -> Result<(Stream, Option<Alpn>), Outcome> {
        let prepared = &self.upstream.prepared;
        let address = endpoint.key.address;
        let stream =
            ringway_rt::Stream::connect(address, self.until_ns).await.map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => Outcome::ConnectRefused,
                    std::io::ErrorKind::TimedOut => Outcome::ConnectTimeout,
                    _ => Outcome::ConnectFailed,
                }
            })?;
        self.worker.count(Metric::UpstreamConnectionsOpened);
        let tls = if self.need.tunnel { prepared.tunnel_tls() } else { prepared.tls.as_ref() };
        let Some(tls) = tls else { return Ok((Stream::Plain(stream), None)) };
        let name = prepared.tls_name(self.choice.defined, address);
        let until_ns = ringway_rt::now().mono_ns.saturating_add(self.connect_ns_max.max(TLS_NS_MIN));
        match ringway_transport::connect(stream, tls, &name, until_ns).await {
            Ok((stream, agreed)) => Ok((stream, agreed.alpn)),
            Err(failure) => {
                log_tls_failure(self.worker, &prepared.name, address, failure);
                Err(if failure == TlsFailure::HandshakeTimeout {
                    Outcome::ConnectTimeout
                } else {
                    Outcome::UpstreamTlsFailed
                })
            }
        }
    }
}

/// What a new connection turned out to speak.
enum Opened {
    Http1(Stream),
    Http2(ClientConnection),
}

/// The first stream of a new connection. From here on the endpoint's list counts the connection.
fn shared(opener: Opener, place: Lease, connection: ClientConnection) -> Result<Way, Outcome> {
    let slot = opener.opened(connection);
    drop(place);
    slot.map(Way::Http2).ok_or(Outcome::UpstreamReset)
}

fn log_tls_failure(worker: &Worker, upstream: &str, address: std::net::SocketAddr, failure: TlsFailure) {
    let Some(more) = worker.may_warn() else { return };
    let (failure, hint) = (failure.name(), failure.hint());
    tracing::warn!(upstream, %address, failure, hint, more, "TLS to the upstream failed");
}
