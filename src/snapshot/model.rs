//! The model: what control compiles definitions into, before it is archived as a snapshot.
//!
//! Plain data, fully resolved: every reference is an index that exists, every default is filled in,
//! every secret is sealed. [`crate::builder`] turns it into bytes; small sections come back as these
//! very types on the gateway's reload thread.

use std::net::{IpAddr, SocketAddr};

use rkyv::{Archive, Deserialize, Serialize};

use crate::seal::Sealed;

/// A whole generation's content. Indices in it point into its own vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// Limits, timeouts and identity of the gateway.
    pub settings: Settings,
    /// Addresses that the gateway accepts on.
    pub listeners: Vec<Listener>,
    /// Certificates and TLS parameters, named.
    pub tls: Vec<TlsProfile>,
    /// Named groups of endpoints.
    pub upstreams: Vec<Upstream>,
    /// Ways of proving who calls.
    pub authenticators: Vec<Authenticator>,
    /// Named rates.
    pub limits: Vec<Limit>,
    /// Ordered policies; index 0 is always the empty chain.
    pub chains: Vec<Chain>,
    /// Hosts and their routes.
    pub hosts: Vec<Host>,
    /// Who calls, and how it is proved.
    pub applications: Vec<Application>,
}

/// Boot-independent settings of the data plane. All times in milliseconds, all sizes in bytes.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Settings {
    /// The name in `Via` and in `Proxy-Status`, a token (RFC 9110 §7.6.3).
    pub name: String,
    /// A TLS handshake takes at most this long.
    pub tls_handshake_ms_max: u32,
    /// A whole request head takes at most this long, from its first byte.
    pub head_read_ms_max: u32,
    /// Largest head, request line included.
    pub head_bytes_max: u32,
    /// Most fields in a head.
    pub head_fields_max: u16,
    /// Largest request target.
    pub target_bytes_max: u32,
    /// Largest request body unless the route says otherwise; `u64::MAX` is none.
    pub body_bytes_max: u64,
    /// Least rate of a request body in bytes a second, measured after the grace.
    pub body_rate_min: u32,
    /// Grace before `body_rate_min` applies.
    pub body_rate_grace_ms: u32,
    /// An idle keep-alive connection is closed after this long.
    pub keep_alive_ms: u32,
    /// A write to the peer that makes no progress for this long ends the connection.
    pub write_stall_ms_max: u32,
    /// How long a drain waits before it cuts connections.
    pub drain_ms_max: u32,
    /// Most connections that one worker holds.
    pub connections_max: u32,
    /// Most bytes of buffers that one worker holds; beyond it connections are turned away and requests get 503.
    pub memory_bytes_max: u64,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed, as networks.
    pub trusted: Vec<Network>,
    /// Whether `traceparent` of an untrusted peer is continued.
    pub trace: TraceTrust,
    /// JSON access log.
    pub access_log: AccessLog,
    /// Address of the admin listener (metrics, readiness); loopback unless told otherwise.
    pub admin_address: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "ringway".to_owned(),
            tls_handshake_ms_max: 10_000,
            head_read_ms_max: 10_000,
            head_bytes_max: 32 * 1024,
            head_fields_max: 100,
            target_bytes_max: 8 * 1024,
            body_bytes_max: 10 << 30,
            body_rate_min: 240,
            body_rate_grace_ms: 5_000,
            keep_alive_ms: 60_000,
            write_stall_ms_max: 30_000,
            drain_ms_max: 30_000,
            connections_max: 100_000,
            memory_bytes_max: 512 << 20,
            trusted: Vec::new(),
            trace: TraceTrust::Trusted,
            access_log: AccessLog::Off,
            admin_address: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090),
        }
    }
}

/// An address block: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Network {
    /// First address of the block.
    pub address: IpAddr,
    /// Leading bits that count, 0..=32 or 0..=128.
    pub prefix_bits: u8,
}

/// Whose trace context is continued rather than restarted (W3C Trace Context §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum TraceTrust {
    /// Only that of trusted addresses; others get a new trace with the old one as a link in the record.
    Trusted,
    /// Everybody's.
    All,
    /// Nobody's.
    None,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// One JSON object a line on standard output.
    Stdout,
    /// One JSON object a line appended to this file; reopened on SIGHUP.
    File(String),
}

/// Address, protocols and TLS that the gateway accepts on.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Listener {
    /// Where to bind.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocols: Protocols,
    /// Index into [`Model::tls`]; plain text without.
    pub tls: Option<u32>,
    /// Answer every request with a redirect to this HTTPS port.
    pub redirect_https_port: Option<u16>,
}

/// Protocols of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Protocols {
    /// HTTP/1.1 (and 1.0).
    pub http1: bool,
    /// HTTP/2, by ALPN over TLS and by prior knowledge in plain text.
    pub http2: bool,
    /// HTTP/3 on the UDP port of the same number.
    pub http3: bool,
}

/// Certificates and parameters of TLS on a listener.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct TlsProfile {
    /// Name in the definition.
    pub name: String,
    /// In order of preference; the first is no default: an unknown name gets `unrecognized_name`.
    pub certificates: Vec<Certificate>,
    /// Serve clients that send no SNI with the first certificate.
    pub serve_without_sni: bool,
    /// Oldest protocol.
    pub minimum: TlsVersion,
    /// Whether the client shows a certificate.
    pub client: ClientAuth,
    /// DER certificates that sign client certificates.
    pub client_ca: Vec<Vec<u8>>,
    /// DER revocation lists.
    pub client_crls: Vec<Vec<u8>>,
}

/// A chain and its sealed key.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Certificate {
    /// DNS names and one-label wildcards (`*.example.com`) of the leaf, lower case.
    pub names: Vec<String>,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8, PKCS#1 or SEC1 DER, sealed.
    pub key: Sealed,
    /// End of the leaf's validity.
    pub not_after_unix_ms: u64,
}

/// Oldest TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// Whether a client certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ClientAuth {
    /// Not asked for.
    None,
    /// Asked for; if shown it must verify.
    Optional,
    /// Demanded.
    Require,
}

/// A named group of endpoints.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Upstream {
    /// Name in the definition.
    pub name: String,
    /// Stable across generations.
    pub id: u64,
    /// Where it is reached; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
    /// TLS to it.
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// To a connection.
    pub connect_ms_max: u32,
    /// From the request's end of head to the reply's head.
    pub request_ms_max: u32,
    /// Longest silence inside a reply's body.
    pub idle_ms_max: u32,
    /// Longest silence in a tunnel.
    pub tunnel_idle_ms_max: u32,
    /// How long an idle pooled connection is kept.
    pub pool_idle_ms_max: u32,
    /// Most connections of one worker to one endpoint.
    pub connections_max: u32,
    /// Most requests at once on one HTTP/2 connection.
    pub streams_max: u32,
}

impl Upstream {
    /// One endpoint over HTTP/1.1 in plain text, with the limits that a configuration has which says nothing of them.
    #[must_use]
    pub fn plain(name: &str, address: EndpointAddress) -> Self {
        Self {
            name: name.to_owned(),
            id: crate::id::upstream(name).0,
            endpoints: vec![Endpoint { address, weight: 1, priority: 0 }],
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::LeastRequest,
            connect_ms_max: 1000,
            request_ms_max: 15_000,
            idle_ms_max: 60_000,
            tunnel_idle_ms_max: 3_600_000,
            pool_idle_ms_max: 60_000,
            connections_max: 1024,
            streams_max: 100,
        }
    }
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where.
    pub address: EndpointAddress,
    /// Share of the load among its priority, 1..=1000.
    pub weight: u16,
    /// Lower is used first.
    pub priority: u8,
}

/// Address or name with a port.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum EndpointAddress {
    /// Used as it is.
    Socket(SocketAddr),
    /// Resolved by a helper thread at load and every 30 s; the last good set is kept.
    Name {
        /// DNS name, or `localhost`.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Protocol to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge or ALPN.
    Http2,
    /// By ALPN; HTTP/1.1 without TLS.
    Auto,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// Name to send and to verify; the endpoint's own name without.
    pub server_name: Option<String>,
    /// DER roots; Mozilla's when empty.
    pub ca: Vec<Vec<u8>>,
    /// Our certificate towards it: chain and sealed key.
    pub certificate: Option<Certificate>,
    /// Skip verification (never a default; `check` warns).
    pub insecure: bool,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Balance {
    /// The better of two random ones by requests in flight.
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
}

/// A way of proving who calls.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Authenticator {
    /// Name in the definition, and the realm in `WWW-Authenticate`.
    pub name: String,
    /// How.
    pub kind: AuthenticatorKind,
}

/// The kinds of authenticators.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum AuthenticatorKind {
    /// A secret string, looked up by digest.
    ApiKey {
        /// Where it stands in the request.
        place: CredentialPlace,
        /// Take it out of what is forwarded.
        hide: bool,
    },
}

/// Where a credential stands.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum CredentialPlace {
    /// Value of this field, lower-case name.
    Header(String),
    /// This query parameter.
    Query(String),
    /// This cookie.
    Cookie(String),
}

/// A named rate (GCRA).
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Limit {
    /// Name in the definition, and in `RateLimit-Policy`.
    pub name: String,
    /// Stable across generations.
    pub id: u64,
    /// Requests per `per_ms`.
    pub count: u64,
    /// The window in milliseconds.
    pub per_ms: u64,
    /// How many may come at once, at least 1.
    pub burst: u64,
    /// Whose requests share a cell.
    pub by: LimitKey,
    /// When the request has no such key.
    pub on_missing: OnMissing,
    /// Who shares a cell.
    pub scope: LimitScope,
}

/// Whose requests share a cell.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum LimitKey {
    /// The application of the credential.
    Application,
    /// The credential itself.
    Credential,
    /// The peer's address, cut to these prefixes.
    Ip {
        /// Of IPv4, 0..=32.
        v4_bits: u8,
        /// Of IPv6, 0..=128.
        v6_bits: u8,
    },
    /// The value of this field, lower-case name.
    Header(String),
    /// The route.
    Route,
    /// Everybody shares one.
    All,
}

/// When a limit's key is not in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum OnMissing {
    /// Use the peer's address.
    Ip,
    /// Refuse as over the limit.
    Reject,
    /// Let it pass uncounted.
    Skip,
}

/// Who shares a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum LimitScope {
    /// Each worker alone with its share of the rate.
    Core,
    /// All workers of the node.
    Node,
}

/// An ordered list of policies.
#[derive(Debug, Clone, PartialEq, Default, Archive, Serialize, Deserialize)]
pub struct Chain {
    /// Name in the definition; empty for one written in place.
    pub name: String,
    /// In the order of the stage table.
    pub steps: Vec<Step>,
}

/// One policy of a chain.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Step {
    /// Whether it acts.
    pub mode: Mode,
    /// What it does.
    pub policy: Policy,
}

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It decides, counts and records, but does not act.
    Shadow,
    /// It is skipped.
    Off,
}

/// The policies.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub enum Policy {
    /// One of these authenticators (indices) must know the caller.
    Authenticate {
        /// Tried in order.
        any_of: Vec<u32>,
        /// Who of those known may pass (indices), ascending and each once; empty: all of them.
        applications: Vec<u32>,
    },
    /// This limit (index).
    Limit(u32),
    /// Edits of fields.
    Headers {
        /// To the upstream.
        request: Vec<FieldEdit>,
        /// To the client.
        response: Vec<FieldEdit>,
    },
}

/// One edit of a head. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum FieldEdit {
    /// Replace all of that name by this one.
    Set {
        /// Field name.
        name: String,
        /// Field value.
        value: String,
    },
    /// Add one more.
    Append {
        /// Field name.
        name: String,
        /// Field value.
        value: String,
    },
    /// Take all of that name out.
    Remove {
        /// Field name.
        name: String,
    },
    /// Give all of that name another.
    Rename {
        /// Present name.
        from: String,
        /// New name.
        to: String,
    },
}

/// A host and its routes.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Which names.
    pub pattern: HostPattern,
    /// How its paths are normalised.
    pub path_policy: PathPolicy,
    /// In declaration order, which breaks ties.
    pub routes: Vec<Route>,
}

/// Which host names. Lower case, no port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// `*.` and this suffix (`shop.example.com`): one or more labels in front of it (Gateway API).
    Wildcard(String),
    /// Any other.
    Any,
}

/// How a path is normalised before it is matched and forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPolicy {
    /// Unreserved decoded, dot segments resolved; encoded `/`, `\` and NUL refused.
    Strict,
    /// As strict, and `//` becomes `/`.
    Merge,
    /// Left as it came; a dot segment in any spelling is refused.
    AsIs,
}

/// A match and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// As declared: `/orders/v2/*`, `GET /status`.
    pub name: String,
    /// Stable across generations: [`crate::id::route`] of host, path and match.
    pub id: u64,
    /// Which paths.
    pub path: PathPattern,
    /// Empty: all.
    pub methods: Vec<String>,
    /// All must hold.
    pub headers: Vec<FieldMatch>,
    /// All must hold.
    pub query: Vec<FieldMatch>,
    /// Index into [`Model::chains`].
    pub chain: u32,
    /// What is done.
    pub action: Action,
    /// Upgrade to WebSocket is allowed.
    pub websocket: bool,
    /// `%2F` in the path is allowed and stays as it is.
    pub encoded_slash: bool,
    /// gRPC-Web is translated into gRPC.
    pub grpc_web: bool,
    /// Largest request body; the settings' without.
    pub body_bytes_max: Option<u64>,
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// This one.
    Exact(String),
    /// `/a/*` is kept as `/a`: matches `/a` and all below it, never `/ab`; `/*` is kept as the empty string.
    Prefix(String),
    /// Segments of which some are variables; `rest`: it ends in `/*`.
    Template {
        /// In order.
        segments: Vec<Segment>,
        /// Whether more may follow.
        rest: bool,
    },
    /// The whole path, anchored at both ends; after all others.
    Regex(String),
}

/// A segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Literal(String),
    /// Any one non-empty segment, with its variable's name.
    Variable(String),
}

/// A condition on a field or query parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldMatch {
    /// Lower case for fields, as written for parameters.
    pub name: String,
    /// Condition.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// Equal bytes.
    Exact(String),
    /// There, whatever it is.
    Present,
    /// Matches, anchored at both ends.
    Regex(String),
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum Action {
    /// Forward.
    Proxy {
        /// Index into [`Model::upstreams`].
        upstream: u32,
        /// Edits of path and host.
        rewrite: Rewrite,
        /// Timeouts of its own.
        timeout: RouteTimeout,
    },
    /// Send elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// `https` or `http`; that of the request without.
        scheme: Option<String>,
        /// Host and optional port; that of the request without.
        authority: Option<String>,
        /// Path; that of the request without.
        path: Option<String>,
    },
    /// Answer at once.
    Respond {
        /// 200..=599.
        status: u16,
        /// Field lines, lower-case names.
        fields: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
}

/// Edits of the request line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Rewrite {
    /// The matched prefix (or exact path) becomes this.
    pub prefix: Option<String>,
    /// The whole path becomes this.
    pub path: Option<String>,
    /// `Host` towards the upstream becomes this; kept without.
    pub host: Option<String>,
}

/// Timeouts of a route, in milliseconds; without, its upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct RouteTimeout {
    /// To a connection, TLS included.
    pub connect_ms_max: Option<u32>,
    /// From the sent head to the reply's head.
    pub request_ms_max: Option<u32>,
    /// Longest silence inside a reply's body.
    pub idle_ms_max: Option<u32>,
    /// Longest silence in a tunnel.
    pub tunnel_idle_ms_max: Option<u32>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Name in the definition.
    pub name: String,
    /// UUID from the store.
    pub id: u128,
    /// At most two active ones.
    pub credentials: Vec<Credential>,
}

/// How an application proves itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// UUID from the store.
    pub id: u128,
    /// Which seal key the pepper derives from: [`crate::keys::Pepper::id`].
    pub pepper_id: u32,
    /// HMAC-SHA-256 of the key under the pepper: [`crate::keys::api_key_digest`].
    pub digest: [u8; 32],
    /// Shown, never looked up.
    pub prefix: String,
    /// After this it is refused.
    pub not_after_unix_ms: Option<u64>,
}
