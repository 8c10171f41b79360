//! How a request ended: one closed table. Log name, metric label, status, problem type, `Proxy-Status` and what
//! to do about it stand here and nowhere else; `docs/reference/outcomes.md` is printed from it.

use std::fmt;

/// Whose doing an outcome was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reply went out whole, whatever its status was.
    Served,
    /// Policy, or a rule of HTTP that the caller broke, said no.
    Refusal,
    /// We, or the upstream, could not.
    Failure,
    /// The caller went away, or stopped taking part.
    Client,
}

impl Kind {
    /// Name for the log and for the metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refusal => "refusal",
            Self::Failure => "failure",
            Self::Client => "client",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which outcome this is.
    pub outcome: Outcome,
    /// Name in the log and in metrics, snake case; never changes its meaning.
    pub name: &'static str,
    /// Whose doing.
    pub kind: Kind,
    /// Status of the reply that we make ourselves; none where the upstream's reply was (being) sent or where
    /// nobody is left to read one.
    pub status: Option<u16>,
    /// Problem type (RFC 9457 §3.1.1), where we make a reply.
    pub problem: Option<&'static str>,
    /// Title of the problem, and the outcome in a few words.
    pub title: &'static str,
    /// `error` of `Proxy-Status` (RFC 9209 §2.3), where one says it.
    pub proxy_error: Option<&'static str>,
    /// What happened.
    pub meaning: &'static str,
    /// What the person on call should do.
    pub hint: &'static str,
}

/// Builds the problem type of a row: `ours` is below our own prefix, `iana` in IANA's registry.
macro_rules! problem {
    (none) => {
        None
    };
    (ours $suffix:literal) => {
        Some(concat!("urn:ringway:problem/", $suffix))
    };
    (iana $suffix:literal) => {
        Some(concat!("https://iana.org/assignments/http-problem-types#", $suffix))
    };
}

/// One row each: number, variant, name, kind, status, problem type, title, `Proxy-Status` error, meaning, hint.
macro_rules! outcomes {
    ($($number:literal $variant:ident $name:literal $kind:ident $status:expr, ($($problem:tt)+),
       $title:literal, $proxy_error:expr, $meaning:literal, $hint:literal;)+) => {
        /// How a request ended.
        ///
        /// INVARIANT: numbers are dense, stable and never reused (they stand in record segments and in control's
        /// store); a new row goes to the end with the next number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Outcome {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        outcome: Self::$variant,
                        name: $name,
                        kind: Kind::$kind,
                        status: $status,
                        problem: problem!($($problem)+),
                        title: $title,
                        proxy_error: $proxy_error,
                        meaning: $meaning,
                        hint: $hint,
                    },)+
                }
            }

            /// The outcome of this number; none for one that this version does not know.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

const MALFORMED: &str = "http_request_error";

outcomes! {
    0 Served "served" Served None, (none), "Served", None,
        "The whole reply was sent, whatever its status: the upstream's, a redirect or a fixed response.",
        "Nothing.";
    1 TunnelClosed "tunnel_closed" Served None, (none), "Tunnel closed", None,
        "A WebSocket or other tunnel was open and one of its ends closed it in order.",
        "Nothing.";
    2 UpgradeDeclined "upgrade_declined" Served None, (none), "Upgrade declined by the upstream", None,
        "The caller asked for an upgrade and the upstream answered with an ordinary reply, which was sent.",
        "Nothing, unless WebSockets are expected to work here: ask the upstream's owner.";

    3 MalformedHead "malformed_head" Refusal Some(400), (ours "malformed-head"), "Malformed head", Some(MALFORMED),
        "The request line or a field broke the grammar of RFC 9112: a bare CR or LF, a control byte, an obsolete fold, a name that is no token.",
        "Look at the peer: a broken client, a scanner, or an attempt at request smuggling.";
    4 MalformedTarget "malformed_target" Refusal Some(400), (ours "malformed-target"), "Malformed request target", Some(MALFORMED),
        "The request target has none of the four forms of RFC 9112 §3.2, or holds a fragment, a control byte or a byte above 0x7e.",
        "Look at the peer; a client that forgets to percent-encode is the usual cause.";
    5 InvalidHost "invalid_host" Refusal Some(400), (ours "invalid-host"), "Missing, repeated or invalid Host", Some(MALFORMED),
        "HTTP/1.1 without exactly one valid Host field, or a Host that differs from :authority.",
        "Look at the peer; HTTP/1.1 demands one Host (RFC 9112 §3.2).";
    6 FramingConflict "framing_conflict" Refusal Some(400), (ours "framing-conflict"), "Conflicting or invalid message framing", Some(MALFORMED),
        "Transfer-Encoding together with Content-Length or in HTTP/1.0, a transfer coding that is not exactly chunked, or a Content-Length that is no number or is repeated with another value.",
        "Treat as an attempt at request smuggling until the peer is known; a proxy in front of us may be rewriting badly.";
    7 MalformedChunk "malformed_chunk" Refusal Some(400), (ours "malformed-chunk"), "Malformed chunked body", Some(MALFORMED),
        "A chunk's size line, extension or closing CRLF broke RFC 9112 §7.1, or chunk overhead passed its cap.",
        "Treat as an attempt at request smuggling until the peer is known.";
    8 MalformedTrailer "malformed_trailer" Refusal Some(400), (ours "malformed-trailer"), "Malformed or oversized trailers", Some(MALFORMED),
        "The trailer section of a chunked request body broke the grammar, or was larger than its limits.",
        "Look at the peer.";
    9 ForbiddenPath "forbidden_path" Refusal Some(400), (ours "forbidden-path"), "Ambiguous path", Some(MALFORMED),
        "The path holds an encoded slash, backslash or NUL, or dot segments that leave the root: two readers could take it for two paths.",
        "Allow encoded slashes on the route if the API needs them; otherwise look at the peer.";
    10 ForbiddenNomination "forbidden_nomination" Refusal Some(400), (ours "forbidden-nomination"), "Connection nominates a field it may not", Some(MALFORMED),
        "Connection nominates Host, Content-Length, Authorization, Cookie, X-Forwarded-* or the like, which would strip it from the request.",
        "Treat as an attack on what stands behind the gateway.";
    11 UpgradeNotAllowed "upgrade_not_allowed" Refusal Some(400), (ours "upgrade-not-allowed"), "Upgrade not allowed here", Some(MALFORMED),
        "An upgrade with another method than GET, with a body, or on a route that does not allow it.",
        "Set websocket: true on the route if it should take WebSockets.";
    12 VersionUnsupported "version_unsupported" Refusal Some(505), (ours "version-unsupported"), "HTTP version not supported", Some(MALFORMED),
        "The request line names another major version than HTTP/1, or HTTP/2's preface came to a listener without http2.",
        "Add the protocol to the listener if it is meant to be spoken there.";
    13 TargetTooLong "target_too_long" Refusal Some(414), (ours "target-too-long"), "Request target too long", Some(MALFORMED),
        "The request target is longer than its limit.",
        "Raise `settings.head.target` if the API really needs it.";
    14 HeadTooLarge "head_too_large" Refusal Some(431), (ours "head-too-large"), "Request head too large", Some(MALFORMED),
        "The head has more bytes or more fields than the limits.",
        "Usually cookies that grow without end; raise `settings.head.size` or `settings.head.fields` only if they are meant to.";
    15 BodyTooLarge "body_too_large" Refusal Some(413), (ours "body-too-large"), "Request body too large", Some(MALFORMED),
        "The body is announced or turned out to be larger than the route's limit.",
        "Raise the route's `hosts.*.*.body`, or `settings.body.size`, if the API takes such bodies.";
    16 ExpectationFailed "expectation_failed" Refusal Some(417), (ours "expectation-failed"), "Expectation not supported", Some(MALFORMED),
        "Expect holds something else than 100-continue.",
        "Look at the peer.";
    17 ConnectNotAllowed "connect_not_allowed" Refusal Some(501), (ours "connect-not-allowed"), "CONNECT not allowed", Some(MALFORMED),
        "CONNECT came to a gateway, which is no forward proxy.",
        "Look at the peer: somebody searches for open proxies.";
    18 HeadTimeout "head_timeout" Refusal Some(408), (ours "head-timeout"), "Request head took too long", Some(MALFORMED),
        "The head was not complete in its time, counted from its first byte.",
        "Many at once from few addresses are a slow-head attack; otherwise a bad network.";
    19 BodyTimeout "body_timeout" Refusal Some(408), (ours "body-timeout"), "Request body too slow", Some(MALFORMED),
        "The body came slower than the least rate after its grace.",
        "Many at once from few addresses are a slow-body attack; lower `settings.body.rate` for callers on bad networks.";

    20 UnknownHost "unknown_host" Refusal Some(404), (ours "unknown-host"), "No such host", Some("destination_not_found"),
        "No host of the snapshot matches the request's.",
        "Is the host in the live generation? `ringway explain` with the request says what matched.";
    21 NoRoute "no_route" Refusal Some(404), (ours "no-route"), "No route", Some("destination_not_found"),
        "The host is known; none of its routes matches.",
        "`ringway explain` with the request says why each route did not match.";
    22 MethodNotAllowed "method_not_allowed" Refusal Some(405), (ours "method-not-allowed"), "Method not allowed", Some("http_request_denied"),
        "The path is known, with other methods; Allow lists them.",
        "`ringway explain` with the request lists the methods of the path.";
    23 Misdirected "misdirected" Refusal Some(421), (ours "misdirected"), "Misdirected request", Some("http_request_denied"),
        "On HTTP/2 or 3 the host selects another certificate or client policy than the connection was made for.",
        "Nothing: clients repeat the request on a connection of its own.";
    24 CredentialMissing "credential_missing" Refusal Some(401), (ours "credential-missing"), "Credential missing", Some("http_request_denied"),
        "The chain demands a credential and the request has none in any of the accepted places.",
        "A sudden rise means that a caller lost its key or looks for it in the wrong place.";
    25 CredentialInvalid "credential_invalid" Refusal Some(401), (ours "credential-invalid"), "Credential invalid", Some("http_request_denied"),
        "The credential is unknown, revoked or malformed.",
        "Many from one address are somebody guessing; from a known application, a rotation that went wrong.";
    26 CredentialExpired "credential_expired" Refusal Some(401), (ours "credential-expired"), "Credential expired", Some("http_request_denied"),
        "The credential is known and past its expiry.",
        "Tell the application's owner to rotate; two credentials may be active at once.";
    27 Forbidden "forbidden" Refusal Some(403), (ours "forbidden"), "Forbidden", Some("http_request_denied"),
        "The credential is good, and its application is not among those that the chain allows (`authenticate.applications`).",
        "The record names the application: list it in the chain if it should pass.";
    28 RateLimited "rate_limited" Refusal Some(429), (iana "quota-exceeded"), "Quota exceeded", Some("http_request_denied"),
        "A limit of the chain is used up; Retry-After says for how long.",
        "See which limit and which key in the record; raise it, or talk to the caller.";

    29 Overload "overload" Failure Some(503), (iana "temporary-reduced-capacity"), "Temporarily reduced capacity", Some("connection_limit_reached"),
        "The worker is at its limit of memory, connections or descriptors and took no more work.",
        "See ringway_memory_in_use_bytes and ringway_connections_open; add capacity, or find who holds them.";
    30 Draining "draining" Failure Some(503), (iana "temporary-reduced-capacity"), "Shutting down", Some("proxy_internal_response"),
        "A WebSocket was asked for while the node drains: it would be cut at the drain's deadline. Other requests are still answered.",
        "Nothing during a restart: the caller repeats it at a node that stays; otherwise find out who sent SIGTERM.";
    31 DrainCut "drain_cut" Failure None, (none), "Cut at the end of the drain", None,
        "The request or tunnel was still going when the drain's deadline came, and was cut.",
        "Raise `settings.timeouts.drain` if such requests are normal.";
    32 NoEndpoint "no_endpoint" Failure Some(503), (ours "no-endpoint"), "No endpoint available", Some("destination_unavailable"),
        "The upstream has no endpoint that could be tried: all are down or set aside.",
        "See /upstreams on the admin listener, then the endpoints themselves.";
    33 UpstreamSaturated "upstream_saturated" Failure Some(503), (iana "temporary-reduced-capacity"), "Upstream at its connection limit", Some("connection_limit_reached"),
        "The endpoint already has `upstreams.*.pool.connections` connections of this worker, all in use.",
        "The upstream is slow or the limit is low: compare its latency with its usual one before raising it.";
    34 NameUnresolved "name_unresolved" Failure Some(503), (ours "name-unresolved"), "Upstream name not resolved", Some("dns_error"),
        "The endpoint is a name that never resolved, so there is no address to try.",
        "Resolve the name on this node; a last good answer would have been kept.";
    35 ConnectRefused "connect_refused" Failure Some(502), (ours "connect-refused"), "Upstream refused the connection", Some("connection_refused"),
        "Each endpoint that was tried refused the connection.",
        "Nothing listens there: is the upstream running, on that port?";
    36 ConnectTimeout "connect_timeout" Failure Some(504), (ours "connect-timeout"), "Upstream connect timed out", Some("connection_timeout"),
        "No connection within `upstreams.*.timeout.connect`.",
        "A firewall that drops, a host that is gone, or an upstream whose backlog is full.";
    37 ConnectFailed "connect_failed" Failure Some(502), (ours "connect-failed"), "Upstream not reachable", Some("destination_ip_unroutable"),
        "The connection failed otherwise: no route to the host, network down, no free local port.",
        "The record has the endpoint; try it from this node.";
    38 UpstreamTlsFailed "upstream_tls_failed" Failure Some(502), (ours "upstream-tls-failed"), "TLS to the upstream failed", Some("tls_protocol_error"),
        "The handshake with the endpoint failed: certificate, name, protocol or its own alert.",
        "The gateway's log has the reason once a minute for each endpoint; usually an expired certificate or a wrong tls.name.";
    39 UpstreamReset "upstream_reset" Failure Some(502), (ours "upstream-reset"), "Upstream closed before its reply", Some("connection_terminated"),
        "The endpoint closed or reset the connection before a whole reply head, and the request could not be repeated.",
        "Look at the upstream's own log at that time: a crash, a restart, or a keep-alive timeout shorter than ours.";
    40 UpstreamHeadTimeout "upstream_head_timeout" Failure Some(504), (ours "upstream-head-timeout"), "Upstream reply timed out", Some("http_response_timeout"),
        "No reply head within `upstreams.*.timeout.request`.",
        "The upstream is slow: see its latency before and at the time.";
    41 UpstreamMalformed "upstream_malformed" Failure Some(502), (ours "upstream-malformed"), "Upstream sent a malformed reply", Some("http_protocol_error"),
        "What came was no HTTP reply, or its head broke the grammar, or it had too many interim replies.",
        "Is the port right, and is TLS spoken there? Otherwise the upstream is at fault.";
    42 UpstreamFraming "upstream_framing" Failure Some(502), (ours "upstream-framing"), "Upstream reply has conflicting framing", Some("http_protocol_error"),
        "The reply's Content-Length is no number or conflicts with itself, or its transfer coding is unknown.",
        "The upstream, or a proxy before it, is at fault; such replies are how responses are smuggled.";
    43 UpstreamHeadTooLarge "upstream_head_too_large" Failure Some(502), (ours "upstream-head-too-large"), "Upstream reply head too large", Some("http_response_header_section_size"),
        "The reply's head has more bytes or fields than the limits, or a caller over HTTP/2 or HTTP/3 takes none of its size (detail `over-the-callers-limit`).",
        "Usually cookies set without end: at most 60 KiB and 256 fields are taken.";
    44 UpgradeFailed "upgrade_failed" Failure Some(502), (ours "upgrade-failed"), "Upstream upgraded wrongly", Some("http_upgrade_failed"),
        "The upstream sent 101 unasked, or for another protocol than the one asked for.",
        "The upstream is at fault.";

    45 UpstreamBodyShort "upstream_body_short" Failure Some(502), (ours "upstream-body-short"), "Upstream reply cut short", Some("http_response_incomplete"),
        "After the head the endpoint closed or reset before the announced end. Where anything of the reply had gone out, the caller's connection was reset, so that it cannot take a part for the whole.",
        "Look at the upstream's own log at that time.";
    46 UpstreamIdleTimeout "upstream_idle_timeout" Failure None, (none), "Upstream fell silent", Some("connection_read_timeout"),
        "After the head the endpoint sent nothing for `upstreams.*.timeout.idle`.",
        "Raise `upstreams.*.timeout.idle` for event streams that are silent longer; otherwise the upstream hangs.";
    47 UpstreamChunkMalformed "upstream_chunk_malformed" Failure Some(502), (ours "upstream-chunk-malformed"), "Upstream sent a malformed chunk", Some("http_response_transfer_coding"),
        "After the head the chunked coding of the reply broke. Where anything of the reply had gone out, the caller's connection was reset.",
        "The upstream is at fault.";
    48 UpstreamWriteTimeout "upstream_write_timeout" Failure Some(504), (ours "upstream-write-timeout"), "Upstream took no request bytes", Some("connection_write_timeout"),
        "The endpoint read none of the request for the write stall's time, before its reply.",
        "The upstream hangs or is overloaded.";
    49 TunnelIdle "tunnel_idle" Failure None, (none), "Tunnel idle", None,
        "Nothing moved in a tunnel in either direction for `upstreams.*.timeout.tunnel_idle`.",
        "Raise `upstreams.*.timeout.tunnel_idle`, or let the peers send pings.";
    50 TunnelCut "tunnel_cut" Failure None, (none), "Tunnel broken by the upstream", Some("connection_terminated"),
        "The upstream's side of a tunnel was reset.",
        "Look at the upstream's own log at that time.";

    51 ClientClosed "client_closed" Client None, (none), "Caller went away before the reply", None,
        "The caller closed its connection before the reply's head was sent.",
        "Callers with timeouts shorter than the upstream's latency look like this.";
    52 ClientReset "client_reset" Client None, (none), "Caller went away during the reply", None,
        "The caller's connection broke while the reply, or a tunnel, was being sent.",
        "Normal in small numbers: closed browser tabs, mobile networks.";
    53 ClientStalled "client_stalled" Client None, (none), "Caller stopped reading", None,
        "The caller took nothing, or less than the least rate, for the write stall's time while bytes waited for it.",
        "Many at once from few addresses are a slow-read attack.";
    54 ClientBodyShort "client_body_short" Client None, (none), "Request body cut short", None,
        "The caller closed before the end of the body that it announced.",
        "Normal in small numbers.";

    55 Internal "internal" Failure Some(500), (ours "internal"), "Internal error", Some("proxy_internal_error"),
        "A defect of ours: a task panicked, or an invariant did not hold.",
        "Report it with the log line of the same request id; the other requests were not touched.";

    56 DeadlineExceeded "deadline_exceeded" Failure Some(504), (ours "deadline-exceeded"), "Deadline exceeded", Some("http_response_timeout"),
        "The caller's own deadline (`grpc-timeout`) came before the reply was complete.",
        "The upstream is slower than its callers allow: see its latency, or ask them for more time.";

    57 LoopDetected "loop_detected" Failure Some(502), (ours "loop-detected"), "Requests go round in a circle", Some("proxy_loop_detected"),
        "`Via` says that the request has passed gateways of this name many times already (RFC 9110 §7.6).",
        "An upstream leads back to the gateway: look at the route's upstream, and at what its names resolve to. Gateways that follow one another need a `settings.name` each.";
}

impl Outcome {
    /// Its number in records.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Name in the log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whose doing it was.
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.row().kind
    }

    /// Status of the reply that we make ourselves, if we make one.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        self.row().status
    }

    /// Problem type (RFC 9457) of the reply that we make ourselves.
    #[must_use]
    pub const fn problem(self) -> Option<&'static str> {
        self.row().problem
    }

    /// Title of the problem.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// `error` of `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub const fn proxy_error(self) -> Option<&'static str> {
        self.row().proxy_error
    }

    /// What the person on call should do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        self.row().hint
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Prints `docs/reference/outcomes.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Outcomes\n\nHow a request ended: the value of `outcome` in the access log and in metrics. Printed from\n\
         `src/record/outcome.rs`; do not edit. A status in brackets is the reply that the gateway makes itself;\n\
         without one the upstream's reply was sent, or nobody was left to read one.\n",
    );
    for (kind, about) in [
        (Kind::Served, "The reply went out whole."),
        (Kind::Refusal, "Policy, or a rule of HTTP that the caller broke, said no."),
        (Kind::Failure, "We, or the upstream, could not."),
        (Kind::Client, "The caller went away, or stopped taking part."),
    ] {
        page.push_str(&format!("\n## {}\n\n{about}\n", kind.name()));
        for row in Outcome::ALL.iter().map(|outcome| outcome.row()).filter(|row| row.kind == kind) {
            let status = row.status.map(|status| format!(" ({status})")).unwrap_or_default();
            page.push_str(&format!("\n### `{}`{status}\n\n", row.name));
            page.push_str(&format!(
                "{} {}\n\n- What to do: {}\n",
                row.title.to_owned() + ".",
                row.meaning,
                row.hint
            ));
            if let Some(problem) = row.problem {
                page.push_str(&format!("- Problem type: `{problem}`\n"));
            }
            if let Some(error) = row.proxy_error {
                page.push_str(&format!("- Proxy-Status error: `{error}`\n"));
            }
            page.push_str(&format!("- Number in records: {}\n", row.outcome.number()));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_are_dense_and_come_back() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(usize::from(outcome.number()), index, "{outcome}");
            assert_eq!(Outcome::from_number(outcome.number()), Some(*outcome));
        }
        assert_eq!(Outcome::from_number(u8::try_from(Outcome::COUNT).unwrap()), None);
    }

    #[test]
    fn names_are_snake_case_and_unique() {
        let mut seen = HashSet::new();
        for outcome in Outcome::ALL {
            let name = outcome.name();
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name, snake(&format!("{outcome:?}")));
        }
    }

    #[test]
    fn a_reply_of_ours_has_a_status_of_its_kind_and_a_problem_type() {
        for outcome in Outcome::ALL {
            let row = outcome.row();
            assert_eq!(row.status.is_some(), row.problem.is_some(), "{outcome}");
            match (row.kind, row.status) {
                (Kind::Served | Kind::Client, status) => assert_eq!(status, None, "{outcome}"),
                (Kind::Refusal, status) => {
                    assert!(matches!(status, Some(400..=499 | 501 | 505)), "{outcome}")
                }
                (Kind::Failure, status) => assert!(matches!(status, None | Some(500..=599)), "{outcome}"),
            }
            if let Some(suffix) = row.problem.and_then(|uri| uri.strip_prefix("urn:ringway:problem/")) {
                assert_eq!(suffix, row.name.replace('_', "-"));
            }
        }
    }

    #[test]
    fn proxy_status_errors_are_those_of_rfc_9209() {
        const REGISTERED: &[&str] = &[
            "dns_timeout",
            "dns_error",
            "destination_not_found",
            "destination_unavailable",
            "destination_ip_prohibited",
            "destination_ip_unroutable",
            "connection_refused",
            "connection_terminated",
            "connection_timeout",
            "connection_read_timeout",
            "connection_write_timeout",
            "connection_limit_reached",
            "tls_protocol_error",
            "tls_certificate_error",
            "tls_alert_received",
            "http_request_error",
            "http_request_denied",
            "http_response_incomplete",
            "http_response_header_section_size",
            "http_response_header_size",
            "http_response_body_size",
            "http_response_trailer_section_size",
            "http_response_trailer_size",
            "http_response_transfer_coding",
            "http_response_content_coding",
            "http_response_timeout",
            "http_upgrade_failed",
            "http_protocol_error",
            "proxy_internal_response",
            "proxy_internal_error",
            "proxy_configuration_error",
            "proxy_loop_detected",
        ];
        for outcome in Outcome::ALL {
            if let Some(error) = outcome.proxy_error() {
                assert!(REGISTERED.contains(&error), "{outcome}: {error}");
            }
        }
    }

    #[test]
    fn the_reference_page_is_printed_from_the_table() {
        crate::reference::check("outcomes.md", &reference());
    }

    fn snake(variant: &str) -> String {
        let mut out = String::new();
        for (index, c) in variant.chars().enumerate() {
            if c.is_ascii_uppercase() && index > 0 {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    }
}
