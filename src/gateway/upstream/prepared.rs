//! An upstream of a generation, prepared on the reload thread: settings, TLS, resolved names.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_snapshot::model::{
    Balance, EndpointAddress, RouteTimeout, Upstream as Definition, UpstreamProtocol,
};
use ringway_transport::ClientTls;

use crate::resolver::{Resolved, Resolver};

/// An upstream, ready for workers. Times in nanoseconds.
pub(crate) struct PreparedUpstream {
    /// Name in the definition.
    pub(crate) name: String,
    /// Stable across generations.
    pub(crate) id: u64,
    /// How an endpoint is chosen.
    pub(crate) balance: Balance,
    /// Where a route has none of its own.
    pub(crate) timeouts: Timeouts,
    /// How long an idle connection is kept.
    pub(crate) pool_idle_ns_max: u64,
    /// Most connections of one worker to one endpoint.
    pub(crate) connections_max: u32,
    /// Most requests at once on one HTTP/2 connection.
    pub(crate) streams_max: u32,
    /// What is spoken to it.
    pub(crate) protocol: UpstreamProtocol,
    /// TLS to it.
    pub(crate) tls: Option<ClientTls>,
    /// The same for what can be done over HTTP/1.1 alone, where the other offers HTTP/2.
    tls_http1: Option<ClientTls>,
    server_name: Option<String>,
    has_names: bool,
    endpoints: Vec<PreparedEndpoint>,
}

/// How long is waited for what, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// To a connection.
    pub(crate) connect_ns_max: u64,
    /// To the reply's head.
    pub(crate) request_ns_max: u64,
    /// Silence inside a reply.
    pub(crate) idle_ns_max: u64,
    /// Silence in a tunnel.
    pub(crate) tunnel_idle_ns_max: u64,
}

impl Timeouts {
    /// Those of a route where it has some, these where it has none.
    #[inline]
    pub(crate) fn under(&self, route: &RouteTimeout) -> Self {
        let one = |route: Option<u32>, own| route.map_or(own, ns);
        Self {
            connect_ns_max: one(route.connect_ms_max, self.connect_ns_max),
            request_ns_max: one(route.request_ms_max, self.request_ns_max),
            idle_ns_max: one(route.idle_ms_max, self.idle_ns_max),
            tunnel_idle_ns_max: one(route.tunnel_idle_ms_max, self.tunnel_idle_ns_max),
        }
    }
}

fn ns(ms: u32) -> u64 {
    u64::from(ms) * 1_000_000
}

struct PreparedEndpoint {
    at: At,
    weight: u16,
    priority: u8,
    fingerprint: u64,
}

enum At {
    Socket(SocketAddr),
    Name { host: String, resolved: Arc<Resolved> },
}

/// One address of the moment.
pub(crate) struct Address {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Of protocol, TLS and server name.
    pub(crate) fingerprint: u64,
    /// Share of the load.
    pub(crate) weight: u16,
    /// Lower is used first.
    pub(crate) priority: u8,
    /// Index of the endpoint in the definition.
    pub(crate) defined: u32,
}

impl PreparedUpstream {
    /// Prepares a definition. TLS was built from it by the caller; `tls_http1` offers HTTP/1.1 alone, where `tls` offers more.
    pub(crate) fn new(
        definition: &Definition,
        tls: Option<ClientTls>,
        tls_http1: Option<ClientTls>,
        resolver: &Resolver,
    ) -> Self {
        let fingerprint = fingerprint(definition);
        let server_name = definition.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let endpoints = definition.endpoints.iter().map(|endpoint| PreparedEndpoint {
            weight: endpoint.weight,
            priority: endpoint.priority,
            fingerprint: match (&endpoint.address, fingerprint) {
                (_, 0) | (EndpointAddress::Socket(_), _) => fingerprint,
                (EndpointAddress::Name { host, .. }, _) => fingerprint ^ short_hash(host.as_bytes()),
            },
            at: match &endpoint.address {
                EndpointAddress::Socket(address) => At::Socket(*address),
                EndpointAddress::Name { host, port } => {
                    At::Name { host: host.clone(), resolved: resolver.name(host, *port) }
                }
            },
        });
        Self {
            name: definition.name.clone(),
            id: definition.id,
            balance: definition.balance,
            timeouts: Timeouts {
                connect_ns_max: ns(definition.connect_ms_max),
                request_ns_max: ns(definition.request_ms_max),
                idle_ns_max: ns(definition.idle_ms_max),
                tunnel_idle_ns_max: ns(definition.tunnel_idle_ms_max),
            },
            pool_idle_ns_max: ns(definition.pool_idle_ms_max),
            connections_max: definition.connections_max,
            streams_max: definition.streams_max,
            protocol: definition.protocol,
            tls,
            tls_http1,
            server_name,
            has_names: definition
                .endpoints
                .iter()
                .any(|endpoint| matches!(endpoint.address, EndpointAddress::Name { .. })),
            endpoints: endpoints.collect(),
        }
    }

    /// TLS for a tunnel, which is HTTP/1.1's.
    pub(crate) fn tunnel_tls(&self) -> Option<&ClientTls> {
        self.tls_http1.as_ref().or(self.tls.as_ref())
    }

    /// Whether any endpoint is given by name.
    #[inline]
    pub(crate) fn has_names(&self) -> bool {
        self.has_names
    }

    /// Changes when any name resolves to other addresses.
    pub(crate) fn resolved_version(&self) -> u64 {
        self.endpoints
            .iter()
            .map(|endpoint| match &endpoint.at {
                At::Socket(_) => 0,
                At::Name { resolved, .. } => resolved.version(),
            })
            .sum()
    }

    /// The addresses of the moment, in the definition's order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.endpoints.iter().zip(0u32..).flat_map(|(endpoint, defined)| {
            let of = move |address: SocketAddr| Address {
                address,
                fingerprint: endpoint.fingerprint,
                weight: endpoint.weight,
                priority: endpoint.priority,
                defined,
            };
            let found: Vec<Address> = match &endpoint.at {
                At::Socket(address) => vec![of(*address)],
                At::Name { resolved, .. } => resolved.addresses().iter().copied().map(of).collect(),
            };
            found
        })
    }

    /// The name to send and verify in TLS towards the endpoint of this index.
    pub(crate) fn tls_name(&self, defined: u32, address: SocketAddr) -> String {
        if let Some(name) = &self.server_name {
            return name.clone();
        }
        match self.endpoints.get(defined as usize).map(|endpoint| &endpoint.at) {
            Some(At::Name { host, .. }) => host.clone(),
            _ => address.ip().to_string(),
        }
    }
}

/// What connections of two definitions must agree on to be shared; 0 in plain HTTP/1.1.
fn fingerprint(definition: &Definition) -> u64 {
    if definition.tls.is_none() && definition.protocol != UpstreamProtocol::Http2 {
        return 0;
    }
    // The debug form holds every TLS setting; sealed keys print as their key id, so chains stand for them.
    short_hash(format!("{:?} {:?}", definition.protocol, definition.tls).as_bytes()) | 1
}

fn short_hash(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    hash.as_bytes().first_chunk::<8>().map_or(1, |first| u64::from_le_bytes(*first))
}
