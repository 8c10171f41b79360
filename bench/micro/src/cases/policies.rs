//! Cases of `policy`, `snapshot` and `record`: routes, a chain, a snapshot, a record.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ringway_policy::chain::{Decisions, run_request, run_response};
use ringway_policy::facts::Facts;
use ringway_policy::limit::{HashKey, NodeCells};
use ringway_policy::memory::Memory;
use ringway_policy::prepare::Prepared;
use ringway_policy::route::{RouteExpressions, RouteMatch, RouteQuery, match_route};
use ringway_record::access_log::{AddressPolicy, write_line};
use ringway_record::metrics::Names;
use ringway_record::record::NO_STAGE;
use ringway_record::segment::SEGMENT_BYTES;
use ringway_record::{Method, Outcome, Protocol, Record, SegmentHeader, SegmentKey, SegmentWriter, Text};
use ringway_snapshot::Snapshot;
use ringway_snapshot::keys::Trust;
use ringway_wire::http1::{Parse, parse_request};
use ringway_wire::{Buffer, HeadLimits, Overlay, RequestHead};

use super::Operation;
use crate::world::{self, MILLION, Size, TEN, TEN_THOUSAND};

/// Different requests that a case goes round.
const REQUESTS: u32 = 256;
const UNIX_MS: u64 = 1_800_000_000_000;

fn head(host: &str, path: &str, key: &str) -> Result<RequestHead, String> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n");
    match parse_request(Buffer::copied_from(text.as_bytes()), &HeadLimits::DEFAULT) {
        Parse::Complete(head) => Ok(head),
        other => Err(format!("no request head: {other:?}")),
    }
}

/// Heads spread over all hosts, prefixes and keys of a world, the same ones each time.
fn heads(size: Size) -> Result<Vec<RequestHead>, String> {
    let spread = |number: u32| number.wrapping_mul(2_654_435_761);
    (0..REQUESTS)
        .map(|number| {
            let host = world::host_name(spread(number) % size.hosts);
            let path = format!("/svc{}/item", spread(number) / 7 % size.prefixes);
            head(&host, &path, &world::api_key(spread(number) % size.applications.max(1)))
        })
        .collect()
}

fn match_in(folder: &Path, size: Size) -> Result<Operation, String> {
    let snapshot = world::open(folder, size)?;
    let expressions = RouteExpressions::prepare(&snapshot).map_err(|error| error.to_string())?;
    let mut heads = Round::of(size)?;
    Ok(Box::new(move || {
        let head = heads.next()?;
        match match_route(&snapshot, &expressions, &RouteQuery::of(black_box(head))) {
            RouteMatch::Found(found) => {
                black_box(found);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    }))
}

pub(super) fn match_in_10(folder: &Path) -> Result<Operation, String> {
    match_in(folder, TEN)
}

pub(super) fn match_in_10_000(folder: &Path) -> Result<Operation, String> {
    match_in(folder, TEN_THOUSAND)
}

pub(super) fn match_in_1_000_000(folder: &Path) -> Result<Operation, String> {
    match_in(folder, MILLION)
}

/// Goes round a list.
struct Round {
    heads: Vec<RequestHead>,
    at: usize,
}

impl Round {
    fn of(size: Size) -> Result<Self, String> {
        Ok(Self { heads: heads(size)?, at: 0 })
    }

    fn next(&mut self) -> Result<&RequestHead, String> {
        self.at = (self.at + 1) % self.heads.len().max(1);
        self.heads.get(self.at).ok_or_else(|| "no heads".to_owned())
    }
}

/// A key out of ten thousand, a limit by application, edits both ways.
pub(super) fn run_chain(folder: &Path) -> Result<Operation, String> {
    let snapshot = world::open(folder, TEN_THOUSAND)?;
    let prepared = Prepared::from(&snapshot, &[world::pepper()?], 1).map_err(|error| error.to_string())?;
    let cells = Arc::new(NodeCells::new(HashKey([5; 16]), 100_000));
    let mut memory = Memory::new(cells, HashKey([6; 16]));
    let mut heads = Round::of(TEN_THOUSAND)?;
    let mut mono_ns = 1_000_000_000;
    Ok(Box::new(move || {
        mono_ns += 10_000;
        let tables = snapshot.tables();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let head = heads.next()?;
        let facts = Facts { head, tables, client, route_id: 77, mono_ns, unix_ms: UNIX_MS, assumed: None };
        let chain = prepared.chain(1).ok_or("no chain")?;
        let (mut overlay, mut decisions) = (Overlay::take(), Decisions::default());
        run_request(&prepared, chain, &facts, &mut memory, &mut overlay, &mut decisions, None)
            .map_err(|refused| format!("{refused:?}"))?;
        let mut reply = Overlay::take();
        run_response(&prepared, chain, &decisions, &mut reply).map_err(|bad| format!("{bad:?}"))?;
        black_box((overlay, reply));
        Ok(())
    }))
}

pub(super) fn open_snapshot(folder: &Path) -> Result<Operation, String> {
    let folder = folder.to_owned();
    let trust = Trust::of(&world::signing_key()?);
    // What is read before counting is opened while counting; the warm-up takes the first.
    let mut ready = vec![world::bytes(&folder, TEN_THOUSAND)?, world::bytes(&folder, TEN_THOUSAND)?];
    Ok(Box::new(move || {
        let bytes = ready.pop().ok_or("opened already")?;
        let snapshot = Snapshot::open(bytes, &trust).map_err(|error| error.to_string())?;
        black_box(&snapshot);
        Ok(())
    }))
}

fn record(number: u64) -> Record<'static> {
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
    Record {
        request_id: [7; 16],
        trace_id: [8; 16],
        span_id: [9; 8],
        linked_trace_id: [0; 16],
        started_unix_ms: UNIX_MS,
        total_us: 1200 + number,
        own_us: 40,
        upstream_head_us: 1100,
        generation: 42,
        route_id: 77,
        upstream_id: 78,
        endpoint: Some(peer),
        application_id: 1,
        credential_id: 2,
        limit_id: 0,
        status: 200,
        outcome: Outcome::Served,
        method: Method::Get,
        protocol: Protocol::Http11,
        tls: true,
        reused: true,
        attempts: 1,
        stage: NO_STAGE,
        worker: 0,
        shadow: 0,
        head_in_bytes: 700,
        head_out_bytes: 300,
        body_in_bytes: 0,
        body_out_bytes: 128,
        peer,
        client: peer.ip(),
        query_bytes: 12,
        host: Text::new(b"api.example.com"),
        detail: Text::new(b""),
        path: Text::new(b"/orders/v2/4711/lines/12"),
        user_agent: Text::new(b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        referer: Text::new(b"https://app.example.com/orders"),
    }
}

pub(super) fn write_record(_folder: &Path) -> Result<Operation, String> {
    let header = SegmentHeader {
        key: SegmentKey { node: [3; 16], segment: 1 },
        worker: 0,
        created_unix_ms: UNIX_MS,
        capacity_bytes: 0,
    };
    // Touched here, as a gateway's are pre-faulted.
    let region = vec![1u8; SEGMENT_BYTES];
    let mut writer = SegmentWriter::create(region, header).map_err(|error| error.to_string())?;
    let mut number = 0;
    Ok(Box::new(move || {
        number += 1;
        writer.append(black_box(&record(number))).map(drop).map_err(|error| error.to_string())
    }))
}

/// Names as a gateway knows them.
struct Known;

impl Names for Known {
    fn route(&self, _route_id: u64) -> Option<&str> {
        Some("api.example.com /orders/{order}/lines/*")
    }

    fn upstream(&self, _upstream_id: u64) -> Option<&str> {
        Some("orders")
    }

    fn limit(&self, _limit_id: u64) -> Option<&str> {
        None
    }

    fn stage(&self, _stage: u8) -> Option<&str> {
        None
    }
}

pub(super) fn write_log_line(_folder: &Path) -> Result<Operation, String> {
    let mut lines = Vec::with_capacity(64 << 10);
    let mut number = 0;
    Ok(Box::new(move || {
        number += 1;
        lines.clear();
        write_line(&mut lines, black_box(&record(number)), &Known, AddressPolicy::Whole);
        if black_box(&lines).len() > 600 { Ok(()) } else { Err("the line is short".to_owned()) }
    }))
}
