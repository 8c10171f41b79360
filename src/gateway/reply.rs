//! Replies that the gateway makes itself: problems (RFC 9457), redirects, fixed responses.

use std::borrow::Cow;

use ringway_policy::chain::{self, Decisions};
use ringway_policy::problem::{self, Problem, ProxyStatus};
use ringway_record::{Kind, Outcome};
use ringway_transport::Code;
use ringway_wire::head::{Framing, RequestHead, Version};
use ringway_wire::http1::ResponseExtra;
use ringway_wire::message::OwnField;
use ringway_wire::method::Method;
use ringway_wire::overlay::Overlay;
use ringway_wire::request_id::RequestId;

use crate::body::{Coding, Own, Sink, SinkEnd};
use crate::connection::{Channel, Connection};
use crate::entry::Entry;
use crate::pinned::Pinned;

/// Name and value of a field of ours.
pub(crate) type Field<'a> = (&'a str, Cow<'a, [u8]>);

/// What a record says of a reply whose head or trailers are larger than the caller's SETTINGS_MAX_FIELD_SECTION_SIZE.
pub(crate) const OVER_THE_CALLERS_LIMIT: &str = "over-the-callers-limit";

/// A reply of ours, before it is written.
pub(crate) struct Answer<'a> {
    /// Status.
    pub(crate) status: u16,
    /// Fields, in order.
    pub(crate) fields: Vec<Field<'a>>,
    /// Body.
    pub(crate) body: Cow<'a, [u8]>,
}

impl<'a> Answer<'a> {
    /// The problem of an outcome. `members` and further fields are added by who knows them.
    pub(crate) fn problem(
        outcome: Outcome,
        problem: &Problem<'_>,
        name: &str,
        next_hop: Option<&str>,
    ) -> Self {
        let mut body = Vec::with_capacity(512);
        problem.write(&mut body);
        let mut answer =
            Self { status: problem.status, fields: Vec::with_capacity(6), body: Cow::Owned(body) };
        answer.add("Content-Type", problem::CONTENT_TYPE.as_bytes());
        answer.add("Cache-Control", &b"no-store"[..]);
        answer.proxy_status(outcome, name, next_hop);
        answer
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: &'a str, value: impl Into<Cow<'a, [u8]>>) {
        self.fields.push((name, value.into()));
    }

    /// Says whose fault it was (RFC 9209).
    pub(crate) fn proxy_status(&mut self, outcome: Outcome, name: &str, next_hop: Option<&str>) {
        let mut value = Vec::with_capacity(96);
        ProxyStatus { next_hop, received_status: None, outcome: Some(outcome) }.write(name, &mut value);
        self.add("Proxy-Status", value);
    }
}

/// Applies the reply's half of the chain to an overlay.
pub(crate) fn reply_edits(pinned: &Pinned, chain: u32, decisions: &Decisions, overlay: &mut Overlay) {
    let policies = &pinned.generation.policies;
    let Some(steps) = policies.chain(chain) else { return };
    if let Err(bad) = chain::run_response(policies, steps, decisions, overlay) {
        // Prepared edits were checked when they were compiled: this is a defect, and no caller's doing.
        tracing::error!(error = %bad, chain = steps.name, "a prepared edit could not be made");
    }
}

/// Tells a caller that HTTP/3 is spoken at this address as well (RFC 7838, RFC 9114 §3.1.1): at the port that it named, because
/// what maps that of TCP to us is to map that of UDP, too. Policies that edit the reply's fields come after and may say otherwise.
pub(crate) fn offer_http3(head: &RequestHead, overlay: &mut Overlay) {
    let port = head.port().unwrap_or(HTTPS_PORT);
    let told = overlay.set_with(b"Alt-Svc", |out| {
        out.extend_from_slice(format!("h3=\":{port}\"; ma=86400").as_bytes());
    });
    debug_assert!(told.is_ok(), "a name and digits");
}

/// The port of a host that names none.
const HTTPS_PORT: u16 = 443;

/// What the head of a reply of ours says of content of this length.
pub(crate) fn own_framing(status: u16, length: u64) -> Framing {
    if status == 204 || status == 304 { Framing::Empty } else { Framing::Length(length) }
}

/// Writes an answer and flushes it. `head` is none when no request could be parsed.
///
/// # Errors
/// The caller closed or stalled.
pub(crate) async fn send(
    connection: &Connection,
    head: Option<&RequestHead>,
    entry: &mut Entry<'_>,
    sink: &mut Sink<'_>,
    answer: &Answer<'_>,
    overlay: &Overlay,
    close: bool,
) -> Result<(), SinkEnd> {
    let length = answer.body.len() as u64;
    let framing = own_framing(answer.status, length);
    let silent =
        framing == Framing::Empty || length == 0 || head.is_some_and(|head| head.method() == Method::Head);
    let coding = if silent { Coding::None } else { Coding::Length(length) };
    let date = connection.worker.date(entry.started_unix_ms());
    let version = head.map_or(Version::Http11, RequestHead::version);
    let extra = ResponseExtra { version, close, upgrade: None, date: Some(&date) };
    let fields: Vec<OwnField<'_>> =
        answer.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_ref())).collect();
    let Ok(written) =
        sink.own(Own { status: answer.status, fields: &fields, overlay, framing }, coding, &extra)
    else {
        // A fixed response's field that cannot be written was refused when it was compiled.
        tracing::error!(status = answer.status, "a reply of ours holds a field that cannot be written");
        return Err(SinkEnd::Closed);
    };
    entry.record.head_out_bytes = u32::try_from(written?).unwrap_or(u32::MAX);
    entry.record.status = answer.status;
    sink.data(&answer.body).await?;
    sink.end(None).await
}

/// Answers what was no request. An HTTP/1 connection is closed after it.
pub(crate) async fn refuse_unparsed(
    connection: &Connection,
    channel: Channel<'_>,
    entry: &mut Entry<'_>,
    detail: Option<&'static str>,
) {
    let Some(pinned) = connection.worker.pinned() else { return };
    let settings = &pinned.generation.settings;
    let stall_ns_max = u64::from(settings.write_stall_ms_max) * 1_000_000;
    entry.detail = detail.unwrap_or_default();
    let id =
        RequestId::new(entry.started_unix_ms(), [connection.worker.random(), connection.worker.random()]);
    entry.record.request_id = id.bytes();
    let problem = Problem { detail, request_id: Some(id.as_str()), ..Problem::of(entry.record.outcome) };
    let mut answer = Answer::problem(entry.record.outcome, &problem, &settings.name, None);
    answer.add("X-Request-Id", &id.as_bytes()[..]);
    drop(pinned);
    let (mut sink, receiver) = match channel {
        Channel::Http1(stream) => (Sink::http1(stream, stall_ns_max, 0), None),
        Channel::Message(receiver, sender) => (Sink::message(sender, stall_ns_max, 0), Some(receiver)),
    };
    // Whether the caller still hears it changes nothing: it is closed either way.
    let _ = send(connection, None, entry, &mut sink, &answer, &Overlay::take(), true).await;
    entry.record.body_out_bytes = sink.body_bytes;
    if let Some(mut receiver) = receiver {
        receiver.stop(Code::NoError);
    }
}

/// Whether the outcome of a request that got no reply can still be told to the caller.
pub(crate) fn can_be_told(outcome: Outcome) -> bool {
    outcome.row().status.is_some() && outcome.kind() != Kind::Client
}
