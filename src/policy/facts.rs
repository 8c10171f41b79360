//! What the chain is told of a request: all of it comes in, nothing is looked up outside.

use std::net::IpAddr;

use ringway_snapshot::tables::Tables;
use ringway_wire::RequestHead;

use crate::api_key::Identity;

/// One request, as policies see it. No protocol, no socket.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its head, the path normalised.
    pub head: &'a RequestHead,
    /// Tables of the generation that decides, the one that the policies were prepared from.
    pub tables: &'a Tables<'a>,
    /// Address of the caller, as far as trusted peers say.
    pub client: IpAddr,
    /// Stable id of the route.
    pub route_id: u64,
    /// Monotonic clock: limits.
    pub mono_ns: u64,
    /// Unix time: expiry of credentials.
    pub unix_ms: u64,
    /// An identity that `explain` and `tests` take as proved; never set on the gateway.
    pub assumed: Option<Identity>,
}
