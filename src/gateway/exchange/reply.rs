//! An upstream's reply on its way down: interim heads, the head under the chain's edits, the body anew.

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::{Framing, ResponseHead, Version};
use ringway_wire::http1::{
    Interim, Interims, Parse, RequestFacts, ResponseExtra, WantsContinue, parse_response,
};
use ringway_wire::limits::HeadLimits;
use ringway_wire::method::Method;

use super::upload::{Beside, Upload};
use super::{Ended, Job, Reply};
use crate::body::{Coding, RelayEnd, Sink, SinkEnd, Source, SourceEnd, SourceLimits, relay};
use crate::entry::Entry;
use crate::malformed;
use crate::tunnel::{self, TunnelEnd};

/// Heads of replies may be as large as spans reach.
const REPLY_LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 60 * 1024, target_bytes_max: 0, fields_max: 256 };

/// How the reply's head is waited for.
#[derive(Clone, Copy)]
pub(super) struct Wait<'w> {
    /// The upstream's connection.
    pub(super) stream: &'w Stream,
    /// When the request was sent.
    pub(super) sent_ns: u64,
    /// When the head is due, once the request is sent whole.
    pub(super) until_ns: u64,
    /// The upload beside it, if there is one.
    pub(super) beside: Option<&'w Beside>,
}

/// What came of waiting for a reply and relaying it.
pub(super) struct Came {
    /// How the exchange ended.
    pub(super) ended: Ended,
    /// The connection ended before the first byte of a reply.
    pub(super) silent: bool,
    /// The connection may carry another request, if the request's body is complete as well.
    pub(super) reusable: bool,
}

impl Came {
    /// Nothing was sent to the caller.
    pub(super) fn before_reply(outcome: Outcome) -> Self {
        Self { ended: Ended { outcome, reply: Reply::None }, silent: false, reusable: false }
    }

    /// Names what kept the upstream from answering, if it did not.
    pub(super) fn unless_answered(mut self, outcome: Outcome) -> Self {
        if self.ended.reply == Reply::None {
            self.ended.outcome = outcome;
        }
        self
    }

    /// The caller has a part of a reply.
    pub(super) fn cut(outcome: Outcome) -> Self {
        Self { ended: Ended { outcome, reply: Reply::Cut }, silent: false, reusable: false }
    }
}

/// Reads the reply's head and relays head and body.
pub(super) async fn relay_reply(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    wait: Wait<'_>,
) -> Came {
    let reply = match read_head(job, sink, &wait).await {
        Ok(reply) => reply,
        Err(came) => return came,
    };
    if let Some(beside) = wait.beside {
        beside.head_came.set(true);
    }
    let now_ns = ringway_rt::now().mono_ns;
    entry.upstream_head_ns = now_ns.saturating_sub(wait.sent_ns);
    entry.waited_ns += entry.upstream_head_ns;
    entry.status = reply.status();
    if reply.is_upgrade() {
        return relay_tunnel(job, entry, sink, wait.stream, reply).await;
    }
    if job.receiver.is_some() && matches!(reply.status(), 200..300) {
        // To an extended CONNECT any of these says that the tunnel stands (RFC 8441 §5), and there is none.
        entry.detail = "declined-with-success";
        return Came::before_reply(Outcome::UpstreamMalformed);
    }
    let (framing, coding) = framing_down(job, &reply);
    let unsent = wait.beside.is_some_and(|beside| beside.upload.get() == Upload::Sending);
    let close = !job.head.persistent()
        || coding == Coding::UntilClose
        || job.connection.worker.draining()
        || (unsent && reply.status() >= 400);
    if write_head(job, entry, sink, &reply, framing, coding, close).is_err() {
        return Came::cut(Outcome::ClientClosed);
    }
    let limits = SourceLimits {
        body_bytes_max: u64::MAX,
        idle_ns_max: job.timeouts.idle_ns_max,
        rate_min: 0,
        rate_grace_ns: 0,
    };
    let mut source = Source::http1(wait.stream, reply.framing(), reply.rest(), limits);
    let relayed = relay(&mut source, sink).await;
    entry.waited_ns += source.waited_ns();
    entry.ended_ns = ringway_rt::now().mono_ns;
    let reusable = reply.persistent() && reply.framing() != Framing::UntilClose && !source.has_rest();
    match relayed {
        Ok(()) => {
            let outcome =
                if job.extra.upgrade.is_some() { Outcome::UpgradeDeclined } else { Outcome::Served };
            let reply = if close { Reply::Last } else { Reply::Whole };
            Came { ended: Ended { outcome, reply }, silent: false, reusable }
        }
        Err(end) => Came::cut(outcome_of(end)),
    }
}

/// Reads heads until a final one; interim ones are relayed to those who know them.
async fn read_head(job: &mut Job<'_>, sink: &mut Sink<'_>, wait: &Wait<'_>) -> Result<ResponseHead, Came> {
    let facts = RequestFacts { method: job.head.method(), upgrade_asked: job.extra.upgrade.is_some() };
    let mut buffer = Buffer::take(Class::K16);
    let mut interims = Interims::new(job.head.version(), WantsContinue::No);
    let mut answered = false;
    if wait.beside.is_none() {
        wait.stream.deadline().arm(Side::Read, wait.until_ns);
    }
    loop {
        if !buffer.is_empty() {
            match parse_response(buffer, facts, &REPLY_LIMITS) {
                Parse::Complete(reply) if !reply.is_interim() => {
                    wait.stream.deadline().disarm(Side::Read);
                    return Ok(reply);
                }
                Parse::Complete(reply) => {
                    answered = true;
                    match interims.admit(reply.status()) {
                        Ok(Interim::Relay) => relay_interim(sink, &reply).await?,
                        Ok(Interim::Drop) => {}
                        Err(reject) => return Err(Came::before_reply(malformed::reply(reject))),
                    }
                    buffer = reply.into_rest();
                    continue;
                }
                Parse::Partial(back) => buffer = if back.spare() == 0 { back.grown() } else { back },
                Parse::Reject(reject, _) => return Err(Came::before_reply(malformed::reply(reject))),
            }
        }
        let silent = buffer.is_empty() && !answered;
        let read = if sink.is_message() {
            // A caller that takes its stream back ends the wait: nobody needs the reply any more.
            let read = wait.stream.read_when_there(buffer.vec_mut());
            sink.unless_closed(read).await.map_err(|_| Came::before_reply(Outcome::ClientClosed))?
        } else if wait.beside.is_none() {
            wait.stream.read_soon(buffer.vec_mut()).await
        } else {
            wait.stream.read_when_there(buffer.vec_mut()).await
        };
        match read {
            Ok(0) => return Err(Came { silent, ..Came::before_reply(Outcome::UpstreamReset) }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(Came::before_reply(Outcome::UpstreamHeadTimeout));
            }
            Err(_) => return Err(Came { silent, ..Came::before_reply(Outcome::UpstreamReset) }),
        }
    }
}

/// Passes an interim reply on.
async fn relay_interim(sink: &mut Sink<'_>, reply: &ResponseHead) -> Result<(), Came> {
    sink.interim(reply).await.map_err(|end| Came::cut(outcome_of(RelayEnd::Sink(end))))
}

/// Writes the head under the chain's edits.
fn write_head(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    reply: &ResponseHead,
    framing: Framing,
    coding: Coding,
    close: bool,
) -> Result<(), SinkEnd> {
    let date = job.connection.worker.date(entry.started_unix_ms());
    let extra = ResponseExtra { version: job.head.version(), close, upgrade: None, date: Some(&date) };
    let bytes = sink.reply(reply, job.reply_overlay, framing, coding, &extra)?;
    entry.head_out_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(())
}

/// How the reply's body is framed towards the caller.
fn framing_down(job: &Job<'_>, reply: &ResponseHead) -> (Framing, Coding) {
    match reply.framing() {
        Framing::Empty => (Framing::Empty, Coding::None),
        _ if job.head.method() == Method::Head => (Framing::Empty, Coding::None),
        Framing::Length(length) => (Framing::Length(length), Coding::Length(length)),
        _ if job.head.version() < Version::Http11 => (Framing::UntilClose, Coding::UntilClose),
        Framing::Chunked | Framing::UntilClose => (Framing::Chunked, Coding::Chunked),
    }
}

/// Writes the head of 101 and joins the two connections until they end.
async fn relay_tunnel(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    up: &Stream,
    reply: ResponseHead,
) -> Came {
    entry.tunnel = true;
    if sink.is_message() {
        entry.status = 200;
    }
    let version = job.head.version();
    let extra = ResponseExtra { version, close: false, upgrade: job.extra.upgrade, date: None };
    if sink.reply(&reply, job.reply_overlay, Framing::Empty, Coding::None, &extra).is_err() {
        return Came::cut(Outcome::ClientClosed);
    }
    // Nothing of the head is needed any more: its 16 KiB are not held for the hours of a tunnel.
    let first_down = reply.rest().to_vec();
    drop(reply);
    if let Err(end) = sink.flush().await {
        return Came::cut(outcome_of(RelayEnd::Sink(end)));
    }
    let _open = job.connection.worker.gauge(Metric::TunnelsOpen);
    let idle_ns_max = job.timeouts.tunnel_idle_ns_max;
    let tunnelled = match (sink.connection(), job.receiver.take()) {
        (Some(down), _) => tunnel::join(down, up, job.head.rest(), &first_down, idle_ns_max).await,
        (None, Some(receiver)) => match sink.sender() {
            Some(sender) => tunnel::join_stream(receiver, sender, up, &first_down, idle_ns_max).await,
            None => return Came::cut(Outcome::Internal),
        },
        (None, None) => return Came::cut(Outcome::Internal),
    };
    entry.body_in_bytes = tunnelled.up_bytes;
    entry.body_out_bytes = tunnelled.down_bytes;
    let outcome = match tunnelled.end {
        TunnelEnd::Closed => Outcome::TunnelClosed,
        TunnelEnd::Idle if job.connection.worker.draining() => Outcome::DrainCut,
        TunnelEnd::Broken if job.connection.worker.cutting() => Outcome::DrainCut,
        TunnelEnd::Idle => Outcome::TunnelIdle,
        TunnelEnd::Broken => Outcome::TunnelCut,
    };
    let reply = if outcome == Outcome::TunnelClosed { Reply::Last } else { Reply::Cut };
    Came { ended: Ended { outcome, reply }, silent: false, reusable: false }
}

/// How a reply that was cut short ended.
fn outcome_of(end: RelayEnd) -> Outcome {
    match end {
        RelayEnd::Source(SourceEnd::Malformed(_) | SourceEnd::TooLarge) => Outcome::UpstreamChunkMalformed,
        RelayEnd::Source(SourceEnd::Timeout) => Outcome::UpstreamIdleTimeout,
        RelayEnd::Source(SourceEnd::Short | SourceEnd::Reset) => Outcome::UpstreamBodyShort,
        RelayEnd::Sink(SinkEnd::Closed) => Outcome::ClientClosed,
        RelayEnd::Sink(SinkEnd::Stalled) => Outcome::ClientStalled,
    }
}
