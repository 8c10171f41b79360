//! One request to an upstream and its reply back: choose, connect, send, read, relay; both bodies at once.
//!
//! Retry in its least form (docs/architecture.md): a failed connect, a connection used before that turned out to be closed
//! without any byte of a reply, or an HTTP/2 endpoint that says that it did nothing with the request, takes the next endpoint
//! once.

mod head;
mod reach;
mod reply;
mod upload;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_transport::{After, HeadEnd, Receiver, Slot};
use ringway_wire::grpc::Form;
use ringway_wire::head::{Framing, RequestHead};
use ringway_wire::http1::{RequestExtra, RequestLine};
use ringway_wire::message::OutgoingHead;
use ringway_wire::overlay::Overlay;

use self::head::{From, REPLY_LIMITS, Repeat, Wait};
use self::reach::{Need, Way};
use self::reply::Came;
pub(crate) use self::upload::outcome_of;
use crate::body::{Coding, RelayEnd, Sink, SinkEnd, Source};
use crate::connection::Connection;
use crate::entry::Entry;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Leased;
use crate::upstream::prepared::Timeouts;

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
    pub(crate) overlay: &'r Overlay,
    /// Fields that the chain and the gateway add to the reply.
    pub(crate) reply_overlay: &'r mut Overlay,
    /// The target.
    pub(crate) line: RequestLine<'r>,
    /// How long is waited for the upstream.
    pub(crate) timeouts: Timeouts,
    /// How long a peer may take no bytes.
    pub(crate) write_stall_ns_max: u64,
    /// What a tunnel would read from, where the request has a stream of its own.
    pub(crate) receiver: Option<Box<Receiver>>,
    /// How the content is framed towards an HTTP/1 upstream, and what its head says of it.
    pub(crate) framing: Framing,
    /// The instant at which the exchange is given up, wherever it is.
    pub(crate) deadline_ns: Option<u64>,
    /// The reply is translated into this form of gRPC-Web, if it is gRPC.
    pub(crate) web: Option<Form>,
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
    /// Nothing was done with the request, and it may be sent again.
    Again,
}

/// Carries the request out.
pub(crate) async fn run(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
) -> Ended {
    let worker = &job.connection.worker;
    entry.record.upstream_id = job.upstream.prepared.id;
    let mut not = None;
    let mut last = Outcome::NoEndpoint;
    while entry.record.attempts < ATTEMPTS_MAX {
        // The clock was read a microsecond ago, unless somebody was waited for since: a head that came slowly, a caller that
        // expects `100 Continue`. The times to connect and to answer begin now.
        let fresh =
            entry.record.attempts == 0 && !job.connection.head_waited() && !job.head.expects_continue();
        let now_ns = if fresh { entry.started_ns() } else { ringway_rt::now().mono_ns };
        let Some(choice) = job.upstream.choose(&worker.endpoints, now_ns, worker.random(), not) else {
            let named = job.upstream.prepared.has_names();
            return Ended::before_reply(if named { Outcome::NameUnresolved } else { Outcome::NoEndpoint });
        };
        if not == Some(choice.endpoint.key.address) {
            // There is no other: asking the same once more would only double the wait.
            break;
        }
        entry.record.attempts += 1;
        entry.record.endpoint = Some(choice.endpoint.key.address);
        let in_flight = choice.endpoint.begin();
        let need = Need { tunnel: job.extra.upgrade.is_some(), pooled: entry.record.attempts == 1 };
        let way = match reach::reach(job, &choice, need, now_ns).await {
            Ok(way) => way,
            Err(outcome) => {
                // Nothing was sent: any request may try elsewhere.
                last = outcome;
                entry.waited_since(now_ns);
                if outcome == Outcome::UpstreamSaturated {
                    break;
                }
                choice.endpoint.penalise(now_ns);
                worker.count(Metric::UpstreamConnectionsFailed);
                not = Some(choice.endpoint.key.address);
                continue;
            }
        };
        entry.record.reused = way.reused();
        if !matches!(&way, Way::Http1(leased) if leased.pooled()) {
            entry.waited_since(now_ns);
        }
        let attempted = match way {
            Way::Http1(leased) => {
                // Awaited by value, all of its room would be copied first.
                let attempt = pin!(over_http1(job, entry, source, sink, leased, now_ns));
                attempt.await
            }
            Way::Http2(slot) => Box::pin(over_http2(job, entry, source, sink, slot, now_ns)).await,
        };
        if entry.record.status != 0 {
            choice.endpoint.absolve();
        }
        match attempted {
            Attempt::Ended(ended) => return ended,
            Attempt::Again => {
                worker.count(Metric::UpstreamRetries);
                last = Outcome::UpstreamReset;
            }
        }
        drop(in_flight);
    }
    Ended::before_reply(last)
}

/// One attempt over a connection of its own.
async fn over_http1(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    leased: Leased,
    sent_ns: u64,
) -> Attempt {
    let may_repeat = leased.pooled() && job.head.method().is_idempotent() && source.repeatable();
    let (came, whole) = {
        let stream = leased.stream();
        let mut up = Sink::http1(stream, job.write_stall_ns_max, 0);
        let coding = coding_of(job.framing);
        up.request_text(job.head, job.overlay, job.line, (job.framing, coding), &job.extra);
        let until_ns = sent_ns.saturating_add(job.timeouts.request_ns_max);
        let mut wait = Wait { from: From::Http1(stream), sent_ns, until_ns, beside: None };
        let came = pin!(carry(job, entry, source, sink, &mut up, &mut wait)).await;
        (came, up.settle())
    };
    if came.repeat == Repeat::Idempotent && may_repeat && source.rewind() {
        return Attempt::Again;
    }
    if came.reusable && whole {
        leased.give_back(entry.ended_ns);
    }
    Attempt::Ended(came.ended)
}

/// One attempt on a stream of a connection that others use.
async fn over_http2(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    slot: Slot,
    sent_ns: u64,
) -> Attempt {
    let framing = job.framing;
    let coding = coding_of(framing);
    let head = OutgoingHead::Request {
        head: job.head,
        overlay: job.overlay,
        line: job.line,
        framing,
        extra: &job.extra,
        scheme: if job.upstream.prepared.tls.is_some() { "https" } else { "http" },
    };
    let after = if coding == Coding::None { After::Nothing } else { After::Content };
    let requested = match slot.request(&head, after, &REPLY_LIMITS) {
        Ok(requested) => requested,
        // The connection took its leave in this very moment.
        Err(HeadEnd::Refused) => return Attempt::Again,
        Err(_) => return Attempt::Ended(Ended::before_reply(Outcome::Internal)),
    };
    source.keep();
    let mut up = Sink::begun(Box::new(requested.sender), coding, job.write_stall_ns_max);
    let (reply, due_ns) = (RefCell::new(requested.reply), Cell::new(u64::MAX));
    let until_ns = sent_ns.saturating_add(job.timeouts.request_ns_max);
    let from = From::Http2 { reply: &reply, due_ns: &due_ns };
    let mut wait = Wait { from, sent_ns, until_ns, beside: None };
    let came = carry(job, entry, source, sink, &mut up, &mut wait).await;
    if came.reusable {
        slot.ended_in_order();
    }
    if matches!(came.ended.outcome, Outcome::UpstreamHeadTimeout | Outcome::UpstreamIdleTimeout) {
        // Either this request is slow or the connection is dead: the others on it are told which.
        let now_ns = ringway_rt::now().mono_ns;
        slot.probe(now_ns.saturating_add(job.timeouts.connect_ns_max));
    }
    let may_repeat = match came.repeat {
        Repeat::Never => false,
        Repeat::Idempotent => slot.reused() && job.head.method().is_idempotent(),
        Repeat::Any => true,
    };
    // What is left of the stream goes before its place on the connection is another's.
    drop((up, reply));
    if may_repeat && source.rewind() { Attempt::Again } else { Attempt::Ended(came.ended) }
}

/// Sends the content and relays the reply.
async fn carry(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    up: &mut Sink<'_>,
    wait: &mut Wait<'_>,
) -> Came {
    let forwarded = if job.framing == Framing::Empty && source.is_done() {
        let sent = if up.end_now() { Ok(()) } else { up.end(None).await };
        sent.map(|()| true).map_err(RelayEnd::Sink)
    } else {
        source.forward_ready(up).await
    };
    match forwarded {
        Ok(true) => {
            wait.sent_ns = ringway_rt::now().mono_ns;
            let relaying = pin!(reply::relay_reply(job, entry, sink, wait));
            relaying.await
        }
        // Two directions at once are twice the state; most requests are there whole and have no need of it.
        Ok(false) => Box::pin(upload::beside(job, entry, source, sink, up, *wait)).await,
        // It may have answered before it closed.
        Err(RelayEnd::Sink(end)) => {
            let came = reply::relay_reply(job, entry, sink, wait).await;
            let came = Came { reusable: false, ..came };
            if end == SinkEnd::Stalled { came.unless_answered(Outcome::UpstreamWriteTimeout) } else { came }
        }
        Err(RelayEnd::Source(end)) => Came::before_reply(upload::outcome_of(end, entry)),
    }
}

/// Towards the upstream a body keeps its framing.
fn coding_of(framing: Framing) -> Coding {
    match framing {
        Framing::Length(length) => Coding::Length(length),
        Framing::Chunked => Coding::Chunked,
        Framing::Empty | Framing::UntilClose => Coding::None,
    }
}
