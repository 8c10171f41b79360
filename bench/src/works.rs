//! The closed table of works: what a proxy is made to do.

/// How a work is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CPU for each request, rate and latency in three phases.
    Requests,
    /// Memory of connections that wait.
    Idle,
    /// Requests while the configuration is loaded anew.
    Reload,
}

/// What the load speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http3,
    WebSocket,
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
    /// What Ringway's CPU over nginx's must not exceed, where a bar is set.
    pub(crate) bar: Option<f64>,
    /// Whether `--quick` measures it.
    pub(crate) quick: bool,
}

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
    bar: None,
    quick: false,
};

/// All works, in the order of tables.
pub(crate) const WORKS: &[Work] = &[
    Work { bar: Some(0.85), quick: true, ..PLAIN },
    Work {
        name: "h1-64k",
        title: "64 KiB replies",
        answer: Answer::Endpoint(64 << 10),
        common_rate: 2000.0,
        bar: Some(0.95),
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
        bar: Some(1.0),
        quick: true,
        ..PLAIN
    },
    Work {
        name: "tls",
        title: "TLS 1.3 keep-alive, ECDSA",
        tls: true,
        common_rate: 6000.0,
        bar: Some(0.95),
        quick: true,
        ..PLAIN
    },
    Work {
        name: "handshake",
        title: "full TLS 1.3 handshake and one request, ECDSA",
        tls: true,
        fresh: true,
        common_rate: 300.0,
        bar: Some(0.65),
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h2",
        title: "HTTP/2, 8 connections × 16 streams, 128-byte reply",
        protocol: Protocol::Http2,
        tls: true,
        common_rate: 4000.0,
        bar: Some(1.0),
        quick: true,
        ..PLAIN
    },
    Work {
        name: "h3",
        title: "HTTP/3, 8 connections × 8 streams, 128-byte reply",
        protocol: Protocol::Http3,
        tls: true,
        common_rate: 1500.0,
        ..PLAIN
    },
    Work {
        name: "h3-16m",
        title: "HTTP/3 downloads of 16 MiB",
        protocol: Protocol::Http3,
        answer: Answer::Endpoint(16 << 20),
        tls: true,
        common_rate: 1.0,
        ..PLAIN
    },
    Work { name: "routes-10k", title: "10,000 routes", routes: 10_000, common_rate: 5000.0, ..PLAIN },
    Work {
        name: "gateway",
        title: "API key + rate limit + 10,000 routes + 10,000 keys",
        routes: 10_000,
        key_and_limit: true,
        common_rate: 4000.0,
        bar: Some(0.70),
        quick: true,
        ..PLAIN
    },
    Work {
        name: "websocket",
        title: "WebSocket messages of 64 bytes, echoed",
        protocol: Protocol::WebSocket,
        ..PLAIN
    },
    Work { name: "reload-10", title: "reload, 10 routes", kind: Kind::Reload, routes: 10, ..PLAIN },
    Work { name: "reload-10k", title: "reload, 10,000 routes", kind: Kind::Reload, routes: 10_000, ..PLAIN },
    Work {
        name: "reload-1m",
        title: "reload, 1,000,000 routes",
        kind: Kind::Reload,
        routes: 1_000_000,
        ..PLAIN
    },
    Work { name: "idle", title: "idle keep-alive connections", kind: Kind::Idle, ..PLAIN },
    Work { name: "idle-tls", title: "idle TLS connections", kind: Kind::Idle, tls: true, ..PLAIN },
];

/// Hosts and prefixes of so many routes.
pub(crate) fn dimensions(routes: u32) -> (u32, u32) {
    let hosts = match routes {
        0..100 => 1,
        100..=10_000 => 100,
        _ => 100_000,
    };
    (hosts, (routes / hosts).max(1))
}

/// Hosts by name with their prefixes (`/svc0/`).
pub(crate) fn hosts(routes: u32) -> impl Iterator<Item = (String, Vec<String>)> {
    let (hosts, prefixes) = dimensions(routes);
    (0..hosts).map(move |host| {
        (format!("h{host}.example.com"), (0..prefixes).map(|prefix| format!("/svc{prefix}/")).collect())
    })
}

/// API keys.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("key-{number:05}-0123456789abcdef"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
