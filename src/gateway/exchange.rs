//! One request to an upstream and its reply back: choose, connect, send, read, relay; both bodies at once.
//!
//! Retry in its least form (docs/architecture.md): a failed connect, or a pooled connection that turned out
//! to be closed before any byte of a reply, takes the next endpoint once.

mod reply;
mod upload;

use std::rc::Rc;

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_transport::{Receiver, Stream, TlsFailure};
use ringway_wire::head::{Framing, RequestHead};
use ringway_wire::http1::{RequestExtra, RequestLine};
use ringway_wire::overlay::Overlay;

use crate::body::{Coding, RelayEnd, Sink, SinkEnd, Source};
use crate::connection::Connection;
use crate::entry::Entry;
use crate::upstream::endpoint::Leased;
use crate::upstream::prepared::Timeouts;
use crate::upstream::{Choice, Upstream};
use crate::worker::Worker;

/// Attempts at an upstream, the first included.
const ATTEMPTS_MAX: u8 = 2;
/// What is to be sent, and to whom.
pub(crate) struct Job<'r> {
    /// Where the request came from.
    pub(crate) connection: &'r Connection,
    /// Its head.
    pub(crate) head: &'r RequestHead,
    /// Where to.
    pub(crate) upstream: Rc<Upstream>,
    /// Edits of the request's fields.
    pub(crate) overlay: Overlay,
    /// Fields that the chain and the gateway add to the reply.
    pub(crate) reply_overlay: Overlay,
    /// The target.
    pub(crate) line: RequestLine<'r>,
    /// How long is waited for the upstream.
    pub(crate) timeouts: Timeouts,
    /// How long a peer may take no bytes.
    pub(crate) write_stall_ns_max: u64,
    /// What a tunnel would read from, where the request has a stream of its own.
    pub(crate) receiver: Option<Receiver>,
    /// What is written beside the fields.
    pub(crate) extra: RequestExtra<'r>,
}

/// How an exchange ended, and what that means for the downstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// For the record.
    pub(crate) outcome: Outcome,
    /// Whether the caller has a whole reply.
    pub(crate) reply: Reply,
}

/// What the caller has of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing: the page may still answer.
    None,
    /// All of it; another request may follow.
    Whole,
    /// All of it, and the connection ends with it.
    Last,
    /// A part: the connection must be broken off.
    Cut,
}

impl Ended {
    fn before_reply(outcome: Outcome) -> Self {
        Self { outcome, reply: Reply::None }
    }
}

/// What one attempt came to.
enum Attempt {
    /// The exchange is over.
    Ended(Ended),
    /// The pooled connection was closed before it answered, and the request may be sent again.
    Stale,
}

/// Carries the request out.
pub(crate) async fn run(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
) -> Ended {
    let worker = &job.connection.worker;
    entry.upstream_id = job.upstream.prepared.id;
    let mut not = None;
    let mut last = Outcome::NoEndpoint;
    while entry.attempts < ATTEMPTS_MAX {
        // The clock was read a microsecond ago, unless somebody was waited for since: a head that came slowly, a caller that
        // expects `100 Continue`. The times to connect and to answer begin now.
        let fresh = entry.attempts == 0 && !job.connection.head_waited() && !job.head.expects_continue();
        let now_ns = if fresh { entry.started_ns() } else { ringway_rt::now().mono_ns };
        let Some(choice) = job.upstream.choose(&worker.endpoints, now_ns, worker.random(), not) else {
            let named = job.upstream.prepared.has_names();
            return Ended::before_reply(if named { Outcome::NameUnresolved } else { Outcome::NoEndpoint });
        };
        if not == Some(choice.endpoint.key.address) {
            // There is no other: asking the same once more would only double the wait.
            break;
        }
        entry.attempts += 1;
        entry.endpoint = Some(choice.endpoint.key.address);
        let in_flight = choice.endpoint.begin();
        let pooled = if entry.attempts == 1 { choice.endpoint.take_idle() } else { None };
        let leased = match pooled {
            Some(leased) => leased,
            None => match connect(job, &choice, now_ns).await {
                Ok(leased) => leased,
                Err(outcome) => {
                    // Nothing was sent: any request may try elsewhere.
                    last = outcome;
                    if outcome == Outcome::UpstreamSaturated {
                        break;
                    }
                    choice.endpoint.penalise(now_ns);
                    worker.count(Metric::UpstreamConnectionsFailed);
                    not = Some(choice.endpoint.key.address);
                    continue;
                }
            },
        };
        entry.reused = leased.pooled();
        match attempt(job, entry, source, sink, leased, now_ns).await {
            Attempt::Ended(ended) => return ended,
            Attempt::Stale => {
                worker.count(Metric::UpstreamRetries);
                last = Outcome::UpstreamReset;
            }
        }
        drop(in_flight);
    }
    Ended::before_reply(last)
}

async fn connect(job: &Job<'_>, choice: &Choice, now_ns: u64) -> Result<Leased, Outcome> {
    let (worker, upstream, connect_ns_max) =
        (&job.connection.worker, &job.upstream, job.timeouts.connect_ns_max);
    let Some(place) = choice.endpoint.reserve(upstream.prepared.connections_max) else {
        return Err(Outcome::UpstreamSaturated);
    };
    let address = choice.endpoint.key.address;
    let until_ns = now_ns.saturating_add(connect_ns_max);
    let stream =
        ringway_rt::Stream::connect(address, until_ns).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Outcome::ConnectRefused,
            std::io::ErrorKind::TimedOut => Outcome::ConnectTimeout,
            _ => Outcome::ConnectFailed,
        })?;
    worker.count(Metric::UpstreamConnectionsOpened);
    let Some(tls) = &upstream.prepared.tls else { return Ok(place.opened(Stream::Plain(stream))) };
    let name = upstream.prepared.tls_name(choice.defined, address);
    let until_ns = ringway_rt::now().mono_ns.saturating_add(connect_ns_max.max(TLS_NS_MIN));
    match ringway_transport::connect(stream, tls, &name, until_ns).await {
        Ok((stream, _)) => Ok(place.opened(stream)),
        Err(failure) => {
            log_tls_failure(worker, &upstream.prepared.name, address, failure);
            Err(if failure == TlsFailure::HandshakeTimeout {
                Outcome::ConnectTimeout
            } else {
                Outcome::UpstreamTlsFailed
            })
        }
    }
}

/// A handshake has at least this long, however short the connect timeout is.
const TLS_NS_MIN: u64 = 2_000_000_000;

fn log_tls_failure(worker: &Worker, upstream: &str, address: std::net::SocketAddr, failure: TlsFailure) {
    let Some(more) = worker.may_warn() else { return };
    let (failure, hint) = (failure.name(), failure.hint());
    tracing::warn!(upstream, %address, failure, hint, more, "TLS to the upstream failed");
}

/// One attempt over one connection.
async fn attempt(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    leased: Leased,
    sent_ns: u64,
) -> Attempt {
    let stream = leased.stream();
    let mut up = Sink::http1(stream, job.write_stall_ns_max, 0);
    let coding = coding_of(job.head.framing());
    let scheme = if stream.is_tls() { "https" } else { "http" };
    if up.request(job.head, &job.overlay, job.line, coding, &job.extra, scheme).is_err() {
        return Attempt::Ended(Ended::before_reply(Outcome::UpstreamReset));
    }
    let may_repeat = leased.pooled() && job.head.method().is_idempotent() && source.pristine();
    let until_ns = sent_ns.saturating_add(job.timeouts.request_ns_max);
    let wait = reply::Wait { stream, sent_ns, until_ns, beside: None };
    let came = match source.forward_ready(&mut up).await {
        Ok(true) => reply::relay_reply(job, entry, sink, wait).await,
        Ok(false) => upload::beside(job, entry, source, sink, &mut up, wait).await,
        // It may have answered before it closed.
        Err(RelayEnd::Sink(end)) => {
            let came = reply::relay_reply(job, entry, sink, wait).await;
            let came = reply::Came { reusable: false, ..came };
            if end == SinkEnd::Stalled { came.unless_answered(Outcome::UpstreamWriteTimeout) } else { came }
        }
        Err(RelayEnd::Source(end)) => reply::Came::before_reply(upload::outcome_of(end, entry)),
    };
    drop(up);
    if entry.status != 0 {
        leased.endpoint().absolve();
    }
    if came.silent && may_repeat && source.rewind() {
        return Attempt::Stale;
    }
    if came.reusable {
        leased.give_back(entry.ended_ns);
    }
    Attempt::Ended(came.ended)
}

/// Towards the upstream a body keeps its framing.
fn coding_of(framing: Framing) -> Coding {
    match framing {
        Framing::Length(length) => Coding::Length(length),
        Framing::Chunked => Coding::Chunked,
        Framing::Empty | Framing::UntilClose => Coding::None,
    }
}
