//! The record of a request while it is being served. It files itself when it is dropped, on every path:
//! a reply, a refusal, a peer that went away, a panic.

use std::net::IpAddr;
use std::rc::Rc;

use ringway_record::metrics::Metric;
use ringway_record::{Kind, Method, Outcome, Protocol, Record, Text};
use ringway_rt::Now;
use ringway_wire::field::FieldId;
use ringway_wire::head::{RequestHead, Version};

use crate::connection::Connection;
use crate::forwarding::Identified;
use crate::worker::Worker;

/// What is known so far.
pub(crate) struct Entry<'h> {
    worker: Rc<Worker>,
    started: Now,
    forgotten: bool,
    /// What is filed, but for the durations. Its outcome is `Internal` until somebody says otherwise, which is what a panic leaves.
    pub(crate) record: Record<'h>,
    /// What exactly, where the outcome covers several things.
    pub(crate) detail: &'static str,
    /// It became a tunnel.
    pub(crate) tunnel: bool,
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
    /// Begins a record where no head could be parsed; what was spoken is unknown until somebody says it.
    pub(crate) fn begin(connection: &Connection, started: Now) -> Self {
        let worker = &connection.worker;
        // What is no request is nobody's to decide: it is of the generation that would have.
        let generation = worker.pinned().map_or(0, |pinned| pinned.generation.current.generation);
        let record = Record { generation, ..Record::default() };
        Self::new(connection, started, connection.peer.ip(), record)
    }

    /// Begins the record of a request whose path is normalised.
    #[inline(always)]
    pub(crate) fn of_request(
        connection: &Connection,
        head: &'h RequestHead,
        started: Now,
        generation: u64,
        identified: &Identified,
    ) -> Self {
        let text = |bytes: Option<&'h [u8]>| Text::new(bytes.unwrap_or_default());
        let record = Record {
            request_id: identified.id,
            generation,
            method: method(head.method()),
            protocol: protocol(head.version()),
            head_in_bytes: u32::try_from(head.head_len()).unwrap_or(u32::MAX),
            query_bytes: head.query().map_or(0, |query| u32::try_from(query.len()).unwrap_or(u32::MAX)),
            host: Text::new(head.host()),
            path: Text::new(head.path()),
            user_agent: text(head.field(FieldId::UserAgent)),
            referer: text(head.field(FieldId::Referer)),
            ..Record::default()
        };
        Self::new(connection, started, identified.client, record)
    }

    #[inline(always)]
    fn new(connection: &Connection, started: Now, client: IpAddr, record: Record<'h>) -> Self {
        connection.worker.count(Metric::RequestsInFlight);
        Self {
            worker: Rc::clone(&connection.worker),
            started,
            forgotten: false,
            record: Record {
                started_unix_ms: started.unix_ms,
                tls: connection.tls,
                worker: connection.worker.index,
                peer: connection.peer,
                client,
                ..record
            },
            detail: "",
            tunnel: false,
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
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(shard) = self.worker.shard() {
            shard.sub(Metric::RequestsInFlight, 1);
        }
        if self.forgotten {
            return;
        }
        let record = &mut self.record;
        if self.worker.cutting()
            && (record.outcome == Outcome::Internal || record.outcome.kind() == Kind::Client)
        {
            record.outcome = Outcome::DrainCut;
        }
        if self.tunnel {
            record.protocol = Protocol::WebSocket;
        }
        record.detail = Text::new(self.detail.as_bytes());
        let ended_ns = if self.ended_ns == 0 { ringway_rt::now().mono_ns } else { self.ended_ns };
        let total_ns = ended_ns.saturating_sub(self.started.mono_ns);
        record.total_us = total_ns / 1000;
        record.own_us = micros(total_ns.saturating_sub(self.waited_ns));
        record.upstream_head_us = micros(self.upstream_head_ns);
        self.worker.ledger.append(record);
        if let Some(shard) = self.worker.shard() {
            shard.fold(record);
        }
    }
}

fn micros(ns: u64) -> u32 {
    u32::try_from(ns / 1000).unwrap_or(u32::MAX)
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
        Version::Http2 => Protocol::Http2,
        Version::Http3 => Protocol::Http3,
    }
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
