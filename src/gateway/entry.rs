//! The record of a request while it is being served. It files itself when it is dropped, on every path:
//! a reply, a refusal, a peer that went away, a panic.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ringway_record::metrics::Metric;
use ringway_record::{Kind, Method, Outcome, Protocol, Record, Text};
use ringway_rt::Now;
use ringway_wire::field::FieldId;
use ringway_wire::head::{RequestHead, Version};

use crate::connection::Connection;
use crate::worker::Worker;

/// What is known so far.
pub(crate) struct Entry<'h> {
    worker: Rc<Worker>,
    /// None when no head could be parsed.
    head: Option<&'h RequestHead>,
    peer: SocketAddr,
    tls: bool,
    started: Now,
    forgotten: bool,
    /// What was spoken where no head could be parsed.
    pub(crate) protocol: Protocol,
    /// How it ended; `Internal` until somebody says otherwise, which is what a panic leaves.
    pub(crate) outcome: Outcome,
    /// Status that was sent.
    pub(crate) status: u16,
    /// UUIDv7.
    pub(crate) request_id: [u8; 16],
    /// W3C trace id.
    pub(crate) trace_id: [u8; 16],
    /// Our span.
    pub(crate) span_id: [u8; 8],
    /// Trace id of an untrusted caller.
    pub(crate) linked_trace_id: [u8; 16],
    /// The caller as trusted peers tell it.
    pub(crate) client: IpAddr,
    /// Generation that decided.
    pub(crate) generation: u64,
    /// Stable id of the route.
    pub(crate) route_id: u64,
    /// Stable id of the upstream.
    pub(crate) upstream_id: u64,
    /// Endpoint of the last attempt.
    pub(crate) endpoint: Option<SocketAddr>,
    /// UUID of the application.
    pub(crate) application_id: u128,
    /// UUID of the credential.
    pub(crate) credential_id: u128,
    /// What exactly, where the outcome covers several things.
    pub(crate) detail: &'static str,
    /// Stable id of the limit that refused.
    pub(crate) limit_id: u64,
    /// A pooled upstream connection was used.
    pub(crate) reused: bool,
    /// Attempts at the upstream.
    pub(crate) attempts: u8,
    /// Stage that refused.
    pub(crate) stage: u8,
    /// Stages that would have refused.
    pub(crate) shadow: u32,
    /// It became a tunnel.
    pub(crate) tunnel: bool,
    /// Bytes of the reply's head.
    pub(crate) head_out_bytes: u32,
    /// Bytes of the request's body.
    pub(crate) body_in_bytes: u64,
    /// Bytes of the reply's body.
    pub(crate) body_out_bytes: u64,
    /// Waited for the reply's head.
    pub(crate) upstream_head_ns: u64,
    /// Waited for either peer, the upstream's head included.
    pub(crate) waited_ns: u64,
    /// What of the caller's own waits, those of its content and of what it was sent, stands in `waited_ns` already.
    pub(crate) overlapped_ns: u64,
    /// When it ended, if the clock was read already.
    pub(crate) ended_ns: u64,
}

impl<'h> Entry<'h> {
    /// Begins a record. `head` is none when it could not be parsed.
    #[inline(always)]
    pub(crate) fn begin(connection: &Connection, head: Option<&'h RequestHead>, started: Now) -> Self {
        connection.worker.count(Metric::RequestsInFlight);
        Self {
            worker: Rc::clone(&connection.worker),
            head,
            peer: connection.peer,
            tls: connection.tls,
            started,
            forgotten: false,
            protocol: Protocol::Unknown,
            outcome: Outcome::Internal,
            status: 0,
            request_id: [0; 16],
            trace_id: [0; 16],
            span_id: [0; 8],
            linked_trace_id: [0; 16],
            client: connection.peer.ip(),
            generation: 0,
            route_id: 0,
            upstream_id: 0,
            endpoint: None,
            application_id: 0,
            credential_id: 0,
            detail: "",
            limit_id: 0,
            reused: false,
            attempts: 0,
            stage: ringway_record::record::NO_STAGE,
            shadow: 0,
            tunnel: false,
            head_out_bytes: 0,
            body_in_bytes: 0,
            body_out_bytes: 0,
            upstream_head_ns: 0,
            waited_ns: 0,
            overlapped_ns: 0,
            ended_ns: 0,
        }
    }

    /// When its first byte was there.
    pub(crate) fn started(&self) -> Now {
        self.started
    }

    /// When its first byte was there, Unix time.
    pub(crate) fn started_unix_ms(&self) -> u64 {
        self.started.unix_ms
    }

    /// When its first byte was there, monotonic.
    pub(crate) fn started_ns(&self) -> u64 {
        self.started.mono_ns
    }

    /// A peer was waited for since this instant.
    pub(crate) fn waited_since(&mut self, mono_ns: u64) {
        self.waited_ns += ringway_rt::now().mono_ns.saturating_sub(mono_ns);
    }

    /// Nothing came that was a request: no record.
    pub(crate) fn forget(&mut self) {
        self.forgotten = true;
    }

    fn protocol(&self) -> Protocol {
        match self.head.map(RequestHead::version) {
            Some(_) if self.tunnel => Protocol::WebSocket,
            Some(Version::Http10) => Protocol::Http10,
            Some(Version::Http11) => Protocol::Http11,
            Some(Version::Http2) => Protocol::Http2,
            Some(Version::Http3) => Protocol::Http3,
            None => self.protocol,
        }
    }

    fn record(&self, ended_ns: u64) -> Record<'_> {
        let total_ns = ended_ns.saturating_sub(self.started.mono_ns);
        let head = self.head;
        let text = |bytes: Option<&'h [u8]>| Text::new(bytes.unwrap_or_default());
        Record {
            request_id: self.request_id,
            trace_id: self.trace_id,
            span_id: self.span_id,
            linked_trace_id: self.linked_trace_id,
            started_unix_ms: self.started.unix_ms,
            total_us: total_ns / 1000,
            own_us: micros(total_ns.saturating_sub(self.waited_ns)),
            upstream_head_us: micros(self.upstream_head_ns),
            generation: self.generation,
            route_id: self.route_id,
            upstream_id: self.upstream_id,
            endpoint: self.endpoint,
            application_id: self.application_id,
            credential_id: self.credential_id,
            limit_id: self.limit_id,
            status: self.status,
            outcome: self.outcome,
            method: head.map_or(Method::Other, |head| method(head.method())),
            protocol: self.protocol(),
            tls: self.tls,
            reused: self.reused,
            attempts: self.attempts,
            stage: self.stage,
            worker: self.worker.index,
            shadow: self.shadow,
            head_in_bytes: head.map_or(0, |head| u32::try_from(head.head_len()).unwrap_or(u32::MAX)),
            head_out_bytes: self.head_out_bytes,
            body_in_bytes: self.body_in_bytes,
            body_out_bytes: self.body_out_bytes,
            peer: self.peer,
            client: self.client,
            query_bytes: head
                .and_then(RequestHead::query)
                .map_or(0, |query| u32::try_from(query.len()).unwrap_or(u32::MAX)),
            detail: Text::new(self.detail.as_bytes()),
            host: text(head.map(RequestHead::host)),
            path: text(head.map(RequestHead::path)),
            user_agent: text(head.and_then(|head| head.field(FieldId::UserAgent))),
            referer: text(head.and_then(|head| head.field(FieldId::Referer))),
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(shard) = self.worker.shard() {
            shard.sub(Metric::RequestsInFlight, 1);
        }
        if self.forgotten {
            return;
        }
        if self.worker.cutting() && (self.outcome == Outcome::Internal || self.outcome.kind() == Kind::Client)
        {
            self.outcome = Outcome::DrainCut;
        }
        let ended_ns = if self.ended_ns == 0 { ringway_rt::now().mono_ns } else { self.ended_ns };
        let record = self.record(ended_ns);
        self.worker.ledger.append(&record);
        if let Some(shard) = self.worker.shard() {
            shard.fold(&record);
        }
    }
}

fn micros(ns: u64) -> u32 {
    u32::try_from(ns / 1000).unwrap_or(u32::MAX)
}

fn method(method: ringway_wire::method::Method) -> Method {
    use ringway_wire::method::Method as Wire;
    match method {
        Wire::Other => Method::Other,
        Wire::Get => Method::Get,
        Wire::Head => Method::Head,
        Wire::Post => Method::Post,
        Wire::Put => Method::Put,
        Wire::Delete => Method::Delete,
        Wire::Connect => Method::Connect,
        Wire::Options => Method::Options,
        Wire::Trace => Method::Trace,
        Wire::Patch => Method::Patch,
    }
}
