//! The closed table of works: what a proxy is made to do.

/// How a work is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CPU for each request, rate and latency in three phases.
    Requests,
    /// CPU for each MiB of large replies, saturated.
    Downloads,
    /// Memory of connections that wait.
    Idle,
    /// Requests while the configuration is loaded anew.
    Reload,
    /// Load generators against one endpoint: their own CPU for each request, and what they say of latencies that are known.
    Generators,
}

/// What the load speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http3,
    WebSocket,
}

impl Protocol {
    /// Its name in ALPN.
    pub(crate) const fn alpn(self) -> &'static str {
        match self {
            Self::Http1 | Self::WebSocket => "http/1.1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The endpoint, with so many bytes.
    Endpoint(usize),
    /// The proxy itself, with 128 bytes.
    Proxy,
}

/// A work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Name on the command line and in results.
    pub(crate) name: &'static str,
    /// What it is, for tables.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    pub(crate) protocol: Protocol,
    pub(crate) answer: Answer,
    /// Bytes of the request's body.
    pub(crate) body_bytes: usize,
    pub(crate) tls: bool,
    /// A connection and a full handshake for each request.
    pub(crate) fresh: bool,
    /// Routes that are configured; one for everything where it is 0.
    pub(crate) routes: u32,
    /// A key out of ten thousand is asked for, and a limit counted for it.
    pub(crate) key_and_limit: bool,
    /// Requests a second of the phase that is the same for all.
    pub(crate) common_rate: f64,
    /// The access log is on, into a file.
    pub(crate) access_log: bool,
    /// All of `ringway up`, control included, is on the proxy's core.
    pub(crate) all_of_up: bool,
    /// How it is loaded anew, and what else goes on meanwhile.
    pub(crate) reloading: Reloading,
    /// What Ringway's CPU over a peer's must not exceed, where a bar is set.
    pub(crate) bars: &'static [(&'static str, f64)],
    /// What an idle connection may weigh, in KiB, where a bar is set.
    pub(crate) idle_kib_max: Option<f64>,
    /// Whether `--quick` measures it.
    pub(crate) quick: bool,
}

/// Reloads under load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reloading {
    /// Seconds of requests before the first one, and altogether.
    pub(crate) before_s: f64,
    pub(crate) seconds: f64,
    /// From one to the next; or so many a second, each counted from when it was due.
    pub(crate) pace: Pace,
    /// WebSockets that are open throughout.
    pub(crate) tunnels: usize,
    /// Endless bodies that are open throughout.
    pub(crate) streams: usize,
}

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many seconds after the last one ended.
    After(f64),
    /// So many a second.
    Rate(f64),
}

const EACH_SECOND: Reloading =
    Reloading { before_s: 3.0, seconds: 10.0, pace: Pace::After(1.0), tunnels: 0, streams: 0 };

const PLAIN: Work = Work {
    name: "h1-128",
    title: "HTTP/1.1 keep-alive, 128-byte reply",
    kind: Kind::Requests,
    protocol: Protocol::Http1,
    answer: Answer::Endpoint(128),
    body_bytes: 0,
    tls: false,
    fresh: false,
    routes: 0,
    key_and_limit: false,
    common_rate: 8000.0,
    access_log: false,
    all_of_up: false,
    reloading: EACH_SECOND,
    bars: &[],
    idle_kib_max: None,
    quick: false,
};

/// All works, in the order of tables.
pub(crate) const WORKS: &[Work] = &[
    Work { bars: &[("nginx", 0.85)], quick: true, ..PLAIN },
    Work {
        name: "h1-64k",
        title: "64 KiB replies",
        answer: Answer::Endpoint(64 << 10),
        common_rate: 2000.0,
        bars: &[("nginx", 0.95)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h1-1m",
        title: "1 MiB replies",
        answer: Answer::Endpoint(1 << 20),
        common_rate: 200.0,
        ..PLAIN
    },
    Work { name: "post-4k", title: "POST of 4 KiB", body_bytes: 4 << 10, common_rate: 6000.0, ..PLAIN },
    Work { name: "post-64k", title: "POST of 64 KiB", body_bytes: 64 << 10, common_rate: 2000.0, ..PLAIN },
    Work {
        name: "static",
        title: "static reply",
        answer: Answer::Proxy,
        bars: &[("nginx", 1.0)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "tls",
        title: "TLS 1.3 keep-alive, ECDSA",
        tls: true,
        common_rate: 6000.0,
        bars: &[("nginx", 0.95)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "handshake",
        title: "full TLS 1.3 handshake and one request, ECDSA",
        tls: true,
        fresh: true,
        common_rate: 300.0,
        bars: &[("nginx", 0.65)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h2",
        title: "HTTP/2, 8 connections × 16 streams, 128-byte reply",
        protocol: Protocol::Http2,
        tls: true,
        common_rate: 4000.0,
        bars: &[("nginx", 1.0)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h3",
        title: "HTTP/3, 8 connections × 8 streams, 128-byte reply",
        protocol: Protocol::Http3,
        tls: true,
        common_rate: 1500.0,
        bars: &[("quinn", 0.75), ("caddy", 0.15)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h3-16m",
        title: "HTTP/3 downloads of 16 MiB, for each MiB",
        kind: Kind::Downloads,
        protocol: Protocol::Http3,
        answer: Answer::Endpoint(16 << 20),
        tls: true,
        ..PLAIN
    },
    Work {
        name: "h3-100m",
        title: "HTTP/3 downloads of 100 MiB, for each MiB",
        kind: Kind::Downloads,
        protocol: Protocol::Http3,
        answer: Answer::Endpoint(100 << 20),
        tls: true,
        bars: &[("quinn", 0.9)],
        ..PLAIN
    },
    Work {
        name: "h3-handshake",
        title: "QUIC handshake and one request, ECDSA",
        protocol: Protocol::Http3,
        tls: true,
        fresh: true,
        common_rate: 200.0,
        ..PLAIN
    },
    Work {
        name: "routes-10k",
        title: "10,000 routes",
        routes: 10_000,
        common_rate: 5000.0,
        bars: &[("ringway-10-routes", 1.03)],
        ..PLAIN
    },
    Work {
        name: "gateway",
        title: "API key + rate limit + 10,000 routes + 10,000 keys",
        routes: 10_000,
        key_and_limit: true,
        common_rate: 4000.0,
        bars: &[("nginx", 0.70)],
        quick: true,
        ..PLAIN
    },
    Work {
        name: "websocket",
        title: "WebSocket messages of 64 bytes, echoed",
        protocol: Protocol::WebSocket,
        ..PLAIN
    },
    Work { name: "access-log", title: "access log on both sides, 128-byte reply", access_log: true, ..PLAIN },
    Work { name: "up", title: "all of `ringway up` on one core, 128-byte reply", all_of_up: true, ..PLAIN },
    Work { name: "reload-10", title: "reload, 10 routes", kind: Kind::Reload, routes: 10, ..PLAIN },
    Work { name: "reload-10k", title: "reload, 10,000 routes", kind: Kind::Reload, routes: 10_000, ..PLAIN },
    Work {
        name: "reload-1m",
        title: "reload, 1,000,000 routes",
        kind: Kind::Reload,
        routes: 1_000_000,
        reloading: Reloading { seconds: 40.0, ..EACH_SECOND },
        ..PLAIN
    },
    Work {
        name: "reload-50",
        title: "50 reloads a second, 1,000 routes, 1,000 WebSockets, 10 endless bodies",
        kind: Kind::Reload,
        routes: 1000,
        reloading: Reloading {
            before_s: 20.0,
            seconds: 80.0,
            pace: Pace::Rate(50.0),
            tunnels: 1000,
            streams: 10,
        },
        ..PLAIN
    },
    Work {
        name: "idle",
        title: "idle keep-alive connections",
        kind: Kind::Idle,
        idle_kib_max: Some(2.0),
        ..PLAIN
    },
    Work {
        name: "idle-tls",
        title: "idle TLS connections",
        kind: Kind::Idle,
        tls: true,
        idle_kib_max: Some(8.0),
        ..PLAIN
    },
    Work {
        name: "idle-h2",
        title: "idle HTTP/2 connections",
        kind: Kind::Idle,
        protocol: Protocol::Http2,
        tls: true,
        idle_kib_max: Some(40.0),
        ..PLAIN
    },
    Work {
        name: "idle-h3",
        title: "idle HTTP/3 connections",
        kind: Kind::Idle,
        protocol: Protocol::Http3,
        tls: true,
        idle_kib_max: Some(40.0),
        ..PLAIN
    },
    Work {
        name: "load-h1",
        title: "load generators over HTTP/1.1",
        kind: Kind::Generators,
        bars: &[("wrk", 1.0)],
        ..PLAIN
    },
    Work {
        name: "load-h2",
        title: "load generators over HTTP/2 with TLS, 8 connections × 16 streams",
        kind: Kind::Generators,
        protocol: Protocol::Http2,
        tls: true,
        ..PLAIN
    },
    Work {
        name: "load-h3",
        title: "load generators over HTTP/3, 8 connections × 8 streams",
        kind: Kind::Generators,
        protocol: Protocol::Http3,
        tls: true,
        ..PLAIN
    },
];

/// The work of this name, or all of which it is the beginning: `load` for `load-h1`, `load-h2` and `load-h3`.
pub(crate) fn named(name: &str) -> Vec<&'static Work> {
    let exact: Vec<_> = WORKS.iter().filter(|work| work.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    let begins = |work: &&Work| work.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    WORKS.iter().filter(begins).collect()
}

/// Hosts and prefixes of so many routes.
pub(crate) fn dimensions(routes: u32) -> (u32, u32) {
    let hosts = match routes {
        0..100 => 1,
        100..=10_000 => 100,
        _ => 100_000,
    };
    (hosts, (routes / hosts).max(1))
}

/// Hosts by name with their prefixes (`/svc00/`).
pub(crate) fn hosts(routes: u32) -> impl Iterator<Item = (String, Vec<String>)> {
    let (hosts, prefixes) = dimensions(routes);
    (0..hosts).map(move |number| (host(number), (0..prefixes).map(prefix).collect()))
}

/// A host's name: as long with ten routes as with ten thousand, so that the two differ in nothing but their number.
pub(crate) fn host(number: u32) -> String {
    format!("h{number:02}.example.com")
}

/// A prefix, of which the same is true.
pub(crate) fn prefix(number: u32) -> String {
    format!("/svc{number:02}/")
}

/// API keys.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("key-{number:05}-0123456789abcdef"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_routes_have_names_as_long_as_ten_thousand() {
        let lengths = |routes| {
            let names = hosts(routes).flat_map(|(host, prefixes)| std::iter::once(host).chain(prefixes));
            names.map(|name| name.len()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(lengths(10), lengths(10_000));
    }

    #[test]
    fn names_are_unique_and_routes_add_up() {
        let mut names: Vec<_> = WORKS.iter().map(|work| work.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKS.len());
        for routes in [10, 10_000, 1_000_000] {
            let (hosts, prefixes) = dimensions(routes);
            assert_eq!(hosts * prefixes, routes);
        }
    }
}
