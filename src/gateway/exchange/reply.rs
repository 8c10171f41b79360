//! An upstream's reply on its way down: interim heads, the head under the chain's edits, the body anew.

use std::pin::pin;

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_transport::Stream;
use ringway_wire::field::FieldId;
use ringway_wire::grpc::Form;
use ringway_wire::head::{Framing, ResponseHead, Version};
use ringway_wire::http1::ResponseExtra;
use ringway_wire::method::Method;

use super::head::{self, From, Head, Repeat, Wait};
use super::upload::Upload;
use super::{Ended, Job, Reply};
use crate::body::{Coding, RelayEnd, Sink, SinkEnd, Source, SourceEnd, SourceLimits, relay};
use crate::entry::Entry;
use crate::reply::OVER_THE_CALLERS_LIMIT;
use crate::tunnel::{self, TunnelEnd};

/// What came of waiting for a reply and relaying it.
pub(super) struct Came {
    /// How the exchange ended.
    pub(super) ended: Ended,
    /// Which requests may be sent again after this.
    pub(super) repeat: Repeat,
    /// The connection may carry another request, if the request's body is complete as well.
    pub(super) reusable: bool,
}

impl Came {
    /// Nothing was sent to the caller.
    pub(super) fn before_reply(outcome: Outcome) -> Self {
        Self { ended: Ended { outcome, reply: Reply::None }, repeat: Repeat::Never, reusable: false }
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
        Self { ended: Ended { outcome, reply: Reply::Cut }, repeat: Repeat::Never, reusable: false }
    }
}

/// Reads the reply's head and relays head and body.
pub(super) async fn relay_reply(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    wait: &Wait<'_>,
) -> Came {
    let read = match wait.from {
        From::Http1(stream) => pin!(head::read_text(job, sink, wait, stream)).await,
        From::Http2 { reply, due_ns } => Box::pin(head::read_stream(job, sink, wait, reply, due_ns)).await,
    };
    let (reply, receiver) = match read {
        Ok(Head { reply, receiver }) => (reply, receiver),
        Err(came) => {
            entry.waited_since(wait.sent_ns);
            return came;
        }
    };
    if let Some(beside) = wait.beside {
        beside.head_came.set(Some(beside.upload.get()));
    }
    let now_ns = ringway_rt::now().mono_ns;
    entry.upstream_head_ns = now_ns.saturating_sub(wait.sent_ns);
    entry.waited_ns += entry.upstream_head_ns;
    entry.record.status = reply.status();
    if let (true, From::Http1(stream)) = (reply.is_upgrade(), wait.from) {
        // Its state is not a part of what every request holds.
        return Box::pin(relay_tunnel(job, entry, sink, stream, reply)).await;
    }
    if job.receiver.is_some() && matches!(reply.status(), 200..300) {
        // To an extended CONNECT any of these says that the tunnel stands (RFC 8441 §5), and there is none.
        entry.detail = "declined-with-success";
        return Came::before_reply(Outcome::UpstreamMalformed);
    }
    let (framing, coding) = match job.web.and_then(|form| translated(job, form, &reply)) {
        Some(form) => {
            sink.translate(form);
            // The content grows on its way: no length holds for it.
            framing_down(job, &reply, Framing::Chunked)
        }
        None => framing_down(job, &reply, reply.framing()),
    };
    let unsent = wait.beside.is_some_and(|beside| beside.upload.get() == Upload::Sending);
    let close = !job.head.persistent()
        || coding == Coding::UntilClose
        || job.connection.worker.draining()
        || (unsent && reply.status() >= 400);
    if let Err(end) = write_head(job, entry, sink, &reply, framing, coding, close) {
        return unwritten(entry, end);
    }
    if let (From::Http1(_), Framing::Length(length)) = (wait.from, reply.framing())
        && reply.rest().len() as u64 == length
        && sink.gather_whole(reply.rest())
    {
        let sent = if sink.end_now() { Ok(()) } else { sink.end(None).await.map_err(RelayEnd::Sink) };
        return relayed(job, entry, sink, sent, (close, reply.persistent()));
    }
    let idle_ns_max = job.timeouts.idle_ns_max;
    let limits = SourceLimits { body_bytes_max: u64::MAX, idle_ns_max, rate_min: 0, rate_grace_ns: 0 };
    let mut source = match (wait.from, receiver) {
        (_, Some(receiver)) => Source::message(receiver, reply.framing(), limits),
        (From::Http1(stream), None) => Source::http1(stream, reply.framing(), reply.rest(), limits),
        // Over HTTP/2 a receiver comes with every final head.
        (From::Http2 { .. }, None) => return Came::cut(Outcome::Internal),
    };
    let sent = relay_content(&mut source, sink).await;
    entry.waited_ns += source.waited_ns();
    let reusable = reply.persistent() && reply.framing() != Framing::UntilClose && !source.has_rest();
    relayed(job, entry, sink, sent, (close, reusable))
}

/// Relays a reply's content. Where it breaks off, what came before is still written, such as the last event of a stream.
async fn relay_content(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<(), RelayEnd> {
    let sent = relay(source, sink).await;
    if matches!(sent, Err(RelayEnd::Source(_))) && !sink.can_be_taken_back() {
        Box::pin(sink.flush()).await.ok();
    }
    sent
}

/// What became of a reply whose head was sent.
fn relayed(
    job: &Job<'_>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    sent: Result<(), RelayEnd>,
    (close, reusable): (bool, bool),
) -> Came {
    entry.ended_ns = ringway_rt::now().mono_ns;
    match sent {
        Ok(()) => {
            let outcome =
                if job.extra.upgrade.is_some() { Outcome::UpgradeDeclined } else { Outcome::Served };
            let reply = if close { Reply::Last } else { Reply::Whole };
            Came { ended: Ended { outcome, reply }, repeat: Repeat::Never, reusable }
        }
        Err(end) => broken_off(entry, sink, end),
    }
}

/// The form of gRPC-Web that the reply's content is translated into, if it is gRPC and the caller asked for that. Its media type
/// changes with it, and also where it is trailers only, which both forms write alike.
#[cold]
fn translated(job: &mut Job<'_>, form: Form, reply: &ResponseHead) -> Option<Form> {
    let content_type = reply.field(FieldId::ContentType)?;
    if Form::of_content_type(content_type) != Some(Form::Native) {
        return None;
    }
    let set = |out: &mut Vec<u8>| form.write_content_type(content_type, out);
    let edited = job.reply_overlay.set_with(b"Content-Type", set);
    (edited.is_ok() && reply.framing() != Framing::Empty).then_some(form)
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
    let version = job.head.version();
    let upgrade = reply.upgrade_demanded().filter(|_| version == Version::Http11);
    let extra = ResponseExtra { version, close, upgrade, date: Some(&date) };
    let bytes = sink.reply(reply, job.reply_overlay, framing, coding, &extra)?;
    entry.record.head_out_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(())
}

/// What a reply comes to that has begun and is not whole.
#[cold]
fn broken_off(entry: &mut Entry<'_>, sink: &mut Sink<'_>, end: RelayEnd) -> Came {
    if end == RelayEnd::Sink(SinkEnd::TooLarge) {
        entry.detail = OVER_THE_CALLERS_LIMIT;
    }
    if matches!(end, RelayEnd::Source(_)) && sink.take_back() {
        // The caller has heard nothing of it: it can still be told what became of it.
        (entry.record.status, entry.ended_ns) = (0, 0);
        return Came::before_reply(outcome_of(end));
    }
    Came::cut(outcome_of(end))
}

/// What a head comes to that could not be written.
fn unwritten(entry: &mut Entry<'_>, end: SinkEnd) -> Came {
    if end != SinkEnd::TooLarge {
        return Came::cut(Outcome::ClientClosed);
    }
    // The caller may still take one of ours.
    (entry.detail, entry.record.status, entry.tunnel) = (OVER_THE_CALLERS_LIMIT, 0, false);
    Came::before_reply(Outcome::UpstreamHeadTooLarge)
}

/// How the reply's body is framed towards the caller.
fn framing_down(job: &Job<'_>, reply: &ResponseHead, framing: Framing) -> (Framing, Coding) {
    match framing {
        // A reply of HTTP/2 that ends with its head says nothing of a length; over HTTP/1 that would be content until we close.
        Framing::Empty
            if job.head.version() < Version::Http2
                && job.head.method() != Method::Head
                && reply.announced_length().is_none()
                && !matches!(reply.status(), ..200 | 204 | 304) =>
        {
            (Framing::Length(0), Coding::None)
        }
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
        entry.record.status = 200;
    }
    let version = job.head.version();
    let extra = ResponseExtra { version, close: false, upgrade: job.extra.upgrade, date: None };
    if let Err(end) = sink.reply(&reply, job.reply_overlay, Framing::Empty, Coding::None, &extra) {
        return unwritten(entry, end);
    }
    // Nothing of the head is needed any more: its 16 KiB are not held for the hours of a tunnel.
    let first_down = reply.rest().to_vec();
    drop(reply);
    if let Err(end) = sink.flush().await {
        return Came::cut(outcome_of(RelayEnd::Sink(end)));
    }
    let _open = job.connection.worker.gauge(Metric::TunnelsOpen);
    let idle_ns_max = job.timeouts.tunnel_idle_ns_max;
    let joined_ns = ringway_rt::now().mono_ns;
    let tunnelled = match (sink.connection(), job.receiver.take()) {
        (Some(down), _) => tunnel::join(down, up, job.head.rest(), &first_down, idle_ns_max).await,
        (None, Some(mut receiver)) => match sink.sender() {
            Some(sender) => tunnel::join_stream(&mut receiver, sender, up, &first_down, idle_ns_max).await,
            None => return Came::cut(Outcome::Internal),
        },
        (None, None) => return Came::cut(Outcome::Internal),
    };
    // What moving its bytes took is not counted: a clock read for each message would cost more than that.
    entry.waited_since(joined_ns);
    entry.record.body_in_bytes = tunnelled.up_bytes;
    entry.record.body_out_bytes = tunnelled.down_bytes;
    let outcome = match tunnelled.end {
        TunnelEnd::Closed => Outcome::TunnelClosed,
        TunnelEnd::Idle if job.connection.worker.draining() => Outcome::DrainCut,
        TunnelEnd::Broken if job.connection.worker.cutting() => Outcome::DrainCut,
        TunnelEnd::Idle => Outcome::TunnelIdle,
        TunnelEnd::Broken => Outcome::TunnelCut,
    };
    let reply = if outcome == Outcome::TunnelClosed { Reply::Last } else { Reply::Cut };
    Came { ended: Ended { outcome, reply }, repeat: Repeat::Never, reusable: false }
}

/// How a reply that was cut short ended.
pub(super) fn outcome_of(end: RelayEnd) -> Outcome {
    match end {
        RelayEnd::Source(SourceEnd::Malformed(_) | SourceEnd::TooLarge) => Outcome::UpstreamChunkMalformed,
        RelayEnd::Source(SourceEnd::Timeout) => Outcome::UpstreamIdleTimeout,
        RelayEnd::Source(SourceEnd::Short | SourceEnd::Reset) => Outcome::UpstreamBodyShort,
        RelayEnd::Sink(SinkEnd::Closed) => Outcome::ClientClosed,
        RelayEnd::Sink(SinkEnd::Stalled) => Outcome::ClientStalled,
        RelayEnd::Sink(SinkEnd::TooLarge) => Outcome::UpstreamHeadTooLarge,
    }
}
