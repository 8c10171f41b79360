//! Metrics: a closed table of them, cells that workers fold records into, and the page in Prometheus text.
//!
//! `docs/reference/metrics.md` is printed from the table. Each worker writes its own [`Shard`] and nobody else's;
//! a scrape only loads from them, so it never stalls a worker.

mod histogram;
mod page;
mod routes;
mod shard;

pub use histogram::{BOUNDS_US, BUCKETS};
pub use page::{CONTENT_TYPE, Info, Nameless, Names};
pub use routes::ROUTES_MAX;
pub use shard::{Merged, Metrics, Node, RouteSums, Shard};

/// Type of a metric in Prometheus text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises; starts at 0 with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets by upper bound.
    Histogram,
    /// Quantiles.
    Summary,
}

impl MetricKind {
    /// As in a `# TYPE` line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Who makes the numbers of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Folded from records.
    Record,
    /// Set or added to by the gateway, one number without labels.
    Cell,
    /// A constant 1 whose labels are the information.
    Info,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct MetricRow {
    /// Which one.
    pub metric: Metric,
    /// Whole name.
    pub name: &'static str,
    /// Type.
    pub kind: MetricKind,
    /// Who makes its numbers.
    pub source: Source,
    /// Labels, each from a closed set or bounded.
    pub labels: &'static [&'static str],
    /// What it says; also the `# HELP` text.
    pub meaning: &'static str,
    /// What to do when it is not as it should be.
    pub hint: &'static str,
}

/// One row each: variant, name, kind, source, labels, meaning, hint.
macro_rules! metrics {
    ($($variant:ident $name:literal $kind:ident $source:ident [$($label:literal),*], $meaning:literal, $hint:literal;)+) => {
        /// A metric of the closed table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Metric {
            $(#[doc = $meaning] $variant,)+
        }

        impl Metric {
            /// All of them, in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> &'static MetricRow {
                match self {
                    $(Self::$variant => &MetricRow {
                        metric: Self::$variant,
                        name: $name,
                        kind: MetricKind::$kind,
                        source: Source::$source,
                        labels: &[$($label),*],
                        meaning: $meaning,
                        hint: $hint,
                    },)+
                }
            }
        }
    };
}

metrics! {
    Requests "ringway_requests_total" Counter Record ["outcome", "kind", "status_class", "protocol"],
        "Requests that ended, by how they ended, the class of the status that was sent and the protocol of the caller.",
        "Look the outcome up in outcomes.md: each says what to do.";
    RequestsByMethod "ringway_requests_method_total" Counter Record ["method"],
        "Requests that ended, by method.",
        "Nothing by itself.";
    RequestsShadow "ringway_requests_shadow_refused_total" Counter Record [],
        "Requests that a policy in shadow mode would have refused.",
        "Before switching the policy to enforce, find their callers in the records.";
    RequestDuration "ringway_request_duration_seconds" Summary Record [],
        "Whole duration of all requests of the node since its start, to two significant digits.",
        "Compare with ringway_request_own_seconds: the difference is the peers'.";
    RequestOwn "ringway_request_own_seconds" Summary Record [],
        "The gateway's own share of the duration of all requests of the node since its start, to two significant digits.",
        "If it rises, the workers are short of CPU: see ringway_workers and the machine's load.";
    RequestBytesIn "ringway_request_received_bytes_total" Counter Record [],
        "Bytes of request heads and bodies that were received.",
        "Nothing by itself.";
    RequestBytesOut "ringway_request_sent_bytes_total" Counter Record [],
        "Bytes of reply heads and bodies that were sent.",
        "Nothing by itself.";
    RouteRequests "ringway_route_requests_total" Counter Record ["route", "status_class"],
        "Requests that ended, by route (at most 2,000; later ones count under _other, those without a route under _none) and class of the status.",
        "`ringway explain` says what a route does.";
    RouteBytesIn "ringway_route_received_bytes_total" Counter Record ["route"],
        "Bytes of request heads and bodies that were received, by route.",
        "Nothing by itself.";
    RouteBytesOut "ringway_route_sent_bytes_total" Counter Record ["route"],
        "Bytes of reply heads and bodies that were sent, by route.",
        "Nothing by itself.";
    RouteDuration "ringway_route_duration_seconds" Histogram Record ["route"],
        "Whole duration of requests, by route.",
        "See whether ringway_route_upstream_seconds has it too: then it is the upstream's.";
    RouteOwn "ringway_route_own_seconds" Histogram Record ["route"],
        "The gateway's own share of the duration, by route.",
        "A route that stands out has a dear chain: a regex, many limits.";
    RouteUpstream "ringway_route_upstream_seconds" Histogram Record ["route"],
        "Wait from the request being sent to the upstream's reply head, by route; requests that reached an upstream only.",
        "Talk to the upstream's owner.";

    ConnectionsOpen "ringway_connections_open" Gauge Cell [],
        "Downstream connections that are open.",
        "Near connections_max new ones are refused: raise it, or find who holds them.";
    ConnectionsAccepted "ringway_connections_accepted_total" Counter Cell [],
        "Downstream connections that were accepted.",
        "Many more than requests means that callers do not keep connections alive.";
    ConnectionsRefused "ringway_connections_refused_total" Counter Cell [],
        "Downstream connections that were closed at once because a limit was reached.",
        "See ringway_connections_open and ringway_memory_in_use_bytes.";
    Http2ConnectionsOpen "ringway_http2_connections_open" Gauge Cell [],
        "Those of ringway_connections_open that speak HTTP/2.",
        "Nothing by itself.";
    StreamsOpen "ringway_streams_open" Gauge Cell [],
        "Streams of HTTP/2 and HTTP/3 whose request is being served.",
        "Compare it with ringway_requests_in_flight: the rest is HTTP/1.";
    Http2Floods "ringway_http2_floods_total" Counter Cell [],
        "HTTP/2 connections that were ended with ENHANCE_YOUR_CALM: more resets, pings, settings or other frames than work.",
        "Steady growth is an attack, or a broken client: the debug log names address and frame.";
    Http2Malformed "ringway_http2_malformed_total" Counter Cell [],
        "HTTP/2 connections that were ended because their frames broke the protocol.",
        "A few are scanners. Many are a client or a middlebox that is broken.";
    Http3ConnectionsOpen "ringway_http3_connections_open" Gauge Cell [],
        "Those of ringway_connections_open that speak HTTP/3.",
        "Nothing by itself.";
    Http3Floods "ringway_http3_floods_total" Counter Cell [],
        "HTTP/3 connections that were ended with H3_EXCESSIVE_LOAD: more cancelled requests or frames than work.",
        "Steady growth is an attack, or a broken client: the debug log names the address.";
    Http3Malformed "ringway_http3_malformed_total" Counter Cell [],
        "HTTP/3 connections that were ended because the client broke the protocol.",
        "A few are scanners. Many are a client that is broken: the debug log names address and code.";
    AcceptDescriptorsExhausted "ringway_accept_descriptors_exhausted_total" Counter Cell [],
        "Times that accepting paused because the process or the system was out of descriptors.",
        "Raise the open-files limit of the service (LimitNOFILE).";
    TunnelsOpen "ringway_tunnels_open" Gauge Cell [],
        "WebSockets and other tunnels that are open.",
        "Nothing by itself.";
    RequestsInFlight "ringway_requests_in_flight" Gauge Cell [],
        "Requests that have begun and not ended.",
        "A steady rise at a steady rate of requests means that an upstream hangs.";
    TlsHandshakes "ringway_tls_handshakes_total" Counter Cell [],
        "TLS handshakes with callers that were completed.",
        "Nothing by itself.";
    TlsHandshakesResumed "ringway_tls_handshakes_resumed_total" Counter Cell [],
        "Those that resumed a session by its ticket.",
        "Nothing by itself.";
    TlsHandshakesFailed "ringway_tls_handshakes_failed_total" Counter Cell [],
        "TLS handshakes with callers that failed or took too long.",
        "Scanners cause a few; many at once after a change of certificates means that the chain is wrong.";
    QuicRetries "ringway_quic_retries_total" Counter Cell [],
        "HTTP/3 clients that were asked to prove their address before a handshake, because many handshakes were in progress.",
        "A few come with a burst of clients; many mean a flood of forged packets, which costs little as long as this rises.";
    UpstreamConnectionsOpen "ringway_upstream_connections_open" Gauge Cell [],
        "Upstream connections that are open, idle ones included.",
        "Nothing by itself.";
    UpstreamConnectionsOpened "ringway_upstream_connections_opened_total" Counter Cell [],
        "Upstream connections that were opened.",
        "As many as requests means that an upstream does not keep connections alive.";
    UpstreamConnectionsFailed "ringway_upstream_connections_failed_total" Counter Cell [],
        "Attempts at an upstream connection that failed, TLS included.",
        "See the outcomes connect_* and upstream_tls_failed, and /upstreams on the admin listener.";
    UpstreamRetries "ringway_upstream_retries_total" Counter Cell [],
        "Requests that were sent again after a failed connect or a stale pooled connection.",
        "A steady rate means that an upstream's keep-alive timeout is shorter than pool_idle.";
    ResolveFailed "ringway_resolve_failed_total" Counter Cell [],
        "Look-ups of endpoint names that failed; the last good answer was kept.",
        "Resolve the names on this node.";
    LimitCells "ringway_limit_cells" Gauge Cell [],
        "Cells of rate limits that are held.",
        "Near the bound, callers share an overflow cell: use a coarser key.";
    LimitCellsOverflowed "ringway_limit_cells_overflowed_total" Counter Cell [],
        "Requests that were counted in the shared overflow cell because all cells were taken.",
        "Use a coarser key for the limit, such as a shorter address prefix.";
    MemoryInUse "ringway_memory_in_use_bytes" Gauge Cell [],
        "Bytes of pooled buffers that are in use.",
        "Near ringway_memory_budget_bytes replies become 503 with outcome overload: find slow readers, or raise the budget.";
    MemoryBudget "ringway_memory_budget_bytes" Gauge Cell [],
        "Bytes of pooled buffers that may be in use.",
        "Nothing by itself.";
    Workers "ringway_workers" Gauge Cell [],
        "Workers that are serving.",
        "Fewer than configured means that one could not be started: see the log.";
    WorkersRestarted "ringway_workers_restarted_total" Counter Cell [],
        "Workers that were started again after a panic outside a task.",
        "A defect of ours: report it with the log.";
    TasksPanicked "ringway_tasks_panicked_total" Counter Cell [],
        "Connections that ended by a panic; the others were not touched.",
        "A defect of ours: report it with the log.";
    RecordsLost "ringway_records_lost_total" Counter Cell [],
        "Records that could not be kept because no segment could be opened.",
        "The file system of records is full, or nobody takes the access log: records are missing from then on.";
    SegmentsOpen "ringway_record_segments" Gauge Cell [],
        "Record segments that are not shipped yet, those being written included.",
        "A rise means that control is away or slow; the records wait.";
    Generation "ringway_generation" Gauge Cell [],
        "Generation that new requests are served by.",
        "Differs from control's: see ringway_generations_rejected_total and `ringway status`.";
    GenerationsLive "ringway_generations_live" Gauge Cell [],
        "Generations that some request still holds.",
        "At 8 publishing waits: some request does not end.";
    GenerationsLoaded "ringway_generations_loaded_total" Counter Cell [],
        "Snapshots that were loaded and made live.",
        "Nothing by itself.";
    GenerationsRejected "ringway_generations_rejected_total" Counter Cell [],
        "Snapshots that were refused (damaged, unsigned, newer schema) while the last good one went on serving.",
        "The log names file and reason.";
    ControlReachable "ringway_control_reachable" Gauge Cell [],
        "1 while the control daemon answers, 0 while it does not and the last snapshot serves on.",
        "Start control again; nothing is lost meanwhile.";
    Draining "ringway_draining" Gauge Cell [],
        "1 from SIGTERM to the end.",
        "Nothing by itself.";
    StartTime "ringway_start_time_seconds" Gauge Cell [],
        "When the process started, Unix time.",
        "Changes without a deployment are crashes: see the log and the supervisor.";
    DriverInfo "ringway_driver_info" Gauge Info ["driver"],
        "1, with the I/O driver that the workers run on.",
        "epoll where io_uring is expected means that the kernel or a seccomp profile refuses io_uring.";
    BuildInfo "ringway_build_info" Gauge Info ["version"],
        "1, with the version of the gateway.",
        "Nothing by itself.";
}

/// Prints `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nWhat `/metrics` on the admin listener shows, in Prometheus text. Printed from\n\
         `src/record/metrics.rs`; do not edit. Labels come from closed sets; a route's label is bounded.\n",
    );
    for row in Metric::ALL.iter().map(|metric| metric.row()) {
        page.push_str(&format!("\n## `{}`\n\n{}\n\n- Type: {}\n", row.name, row.meaning, row.kind.name()));
        if !row.labels.is_empty() {
            page.push_str(&format!("- Labels: `{}`\n", row.labels.join("`, `")));
        }
        page.push_str(&format!("- What to do: {}\n", row.hint));
    }
    page
}

#[cfg(test)]
mod tests;
