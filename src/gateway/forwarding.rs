//! What the gateway tells the upstream about the caller: request id, trace, `Forwarded`, `X-Forwarded-*`, `Via`.
//!
//! What an untrusted peer says of these is replaced, what a trusted one says is continued.

use std::net::IpAddr;

use ringway_rt::Now;
use ringway_snapshot::model::{Network, Settings, TraceTrust};
use ringway_wire::field::FieldId;
use ringway_wire::forwarded::{client_address, via_count};
use ringway_wire::head::RequestHead;
use ringway_wire::method::Method;
use ringway_wire::overlay::BadEdit;
use ringway_wire::request_id::{self, RequestId};
use ringway_wire::syntax::decimal;
use ringway_wire::told::Told;
use ringway_wire::trace_context::TraceParent;

use crate::connection::Connection;
use crate::entry::Entry;
use crate::limits::PASSES_MAX;
use crate::turn::Turn;

/// A longer `Max-Forwards` is passed on as it is.
const HOPS_DIGITS_MAX: usize = 9;

/// The id that the request is known by: a trusted peer's, or ours.
pub(crate) enum KnownAs {
    /// Ours, a UUIDv7.
    Ours(RequestId),
    /// A trusted peer's.
    Theirs(Vec<u8>),
}

impl KnownAs {
    /// Its text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ours(id) => id.as_bytes(),
            Self::Theirs(id) => id,
        }
    }
}

/// Whether a peer is believed.
pub(crate) fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| contains(network, address))
}

fn contains(network: &Network, address: IpAddr) -> bool {
    let (network_bits, address_bits, width) = match (network.address, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let ignored = u32::saturating_sub(width, u32::from(network.prefix_bits));
    ignored >= width || (network_bits ^ address_bits) >> ignored == 0
}

/// Who asks, and under which name.
pub(crate) struct Identified {
    /// Our id of the request.
    pub(crate) id: [u8; 16],
    /// The id that it is known by.
    pub(crate) known_as: KnownAs,
    /// The caller's address, as trusted peers tell it.
    pub(crate) client: IpAddr,
}

/// Gives the request its id and finds the caller's address.
#[inline]
pub(crate) fn identify(
    connection: &Connection,
    settings: &Settings,
    head: &RequestHead,
    started: Now,
) -> Identified {
    let worker = &connection.worker;
    let id = RequestId::new(started.unix_ms, [worker.random(), worker.random()]);
    let peer = connection.peer.ip();
    let ours = Identified { id: id.bytes(), known_as: KnownAs::Ours(id), client: peer };
    if settings.trusted.is_empty() || !is_trusted(&settings.trusted, peer) {
        return ours;
    }
    told_by_peer(peer, settings, head, ours)
}

/// The same of a peer that is believed.
#[cold]
#[inline(never)]
fn told_by_peer(peer: IpAddr, settings: &Settings, head: &RequestHead, ours: Identified) -> Identified {
    let client = client_address(peer, head.values(FieldId::XForwardedFor), |address| {
        is_trusted(&settings.trusted, address)
    });
    let known_as = match head.field(FieldId::XRequestId) {
        Some(theirs) if request_id::is_acceptable(theirs) => KnownAs::Theirs(theirs.to_vec()),
        _ => ours.known_as,
    };
    Identified { client, known_as, ..ours }
}

/// Adds the fields to what is sent to the upstream.
///
/// # Errors
/// None with the values made here; it is the overlay's own check.
pub(crate) fn tell(turn: &mut Turn<'_>) -> Result<(), BadEdit> {
    let Some(pinned) = turn.pinned.as_deref() else { return Ok(()) };
    let Turn { connection, head, entry, known_as, overlay, .. } = turn;
    let settings = &pinned.generation.settings;
    let peer = connection.peer.ip();
    let trusted = !settings.trusted.is_empty() && is_trusted(&settings.trusted, peer);
    let (trace, continued) = trace(connection, settings, head, entry, trusted);
    let told = Told {
        request_id: known_as.as_bytes(),
        trace,
        keeps_tracestate: continued,
        peer,
        trusted,
        scheme: connection.scheme(),
        pseudonym: &settings.name,
    };
    if let Some(left) = hops_left(head).and_then(|hops| hops.checked_sub(1)) {
        overlay.set(b"Max-Forwards", left.to_string().as_bytes())?;
    }
    told.add_to(head, overlay, connection.standing.borrow_mut().get_or_insert_default())
}

/// Whether a request comes round again (RFC 9110 §7.6): forwarding it would only end at the limit of its head, some hundred hops later.
pub(crate) fn has_looped(head: &RequestHead, pseudonym: &str) -> bool {
    head.field(FieldId::Via).is_some() && via_count(head.values(FieldId::Via), pseudonym) >= PASSES_MAX
}

/// Over how many hops a TRACE or OPTIONS may still go (RFC 9110 §7.6.2), if it says so. With 0 it is answered here.
pub(crate) fn hops_left(head: &RequestHead) -> Option<u64> {
    if !matches!(head.method(), Method::Options | Method::Trace) {
        return None;
    }
    decimal(head.field(FieldId::MaxForwards)?, HOPS_DIGITS_MAX)
}

/// Continues or begins a trace (W3C Trace Context §4). Whether it is the caller's that goes on.
fn trace(
    connection: &Connection,
    settings: &Settings,
    head: &RequestHead,
    entry: &mut Entry<'_>,
    trusted: bool,
) -> (TraceParent, bool) {
    let worker = &connection.worker;
    let theirs = head.field(FieldId::Traceparent).and_then(TraceParent::parse);
    let believed = match settings.trace {
        TraceTrust::All => true,
        TraceTrust::Trusted => trusted,
        TraceTrust::None => false,
    };
    let (ours, continued) = match theirs {
        Some(theirs) if believed => (theirs.child(worker.random()), true),
        other => {
            entry.record.linked_trace_id = other.map_or([0; 16], |theirs| theirs.trace_id.to_be_bytes());
            (TraceParent::root([worker.random(), worker.random(), worker.random()], false), false)
        }
    };
    entry.record.trace_id = ours.trace_id.to_be_bytes();
    entry.record.span_id = ours.parent_id.to_be_bytes();
    (ours, continued)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix_bits: u8) -> Network {
        Network { address: address.parse().unwrap(), prefix_bits }
    }

    #[test]
    fn an_address_is_trusted_only_inside_a_network_of_its_family() {
        let trusted = [network("10.0.0.0", 8), network("2001:db8::", 32), network("192.0.2.7", 32)];
        let check = |address: &str| is_trusted(&trusted, address.parse().unwrap());
        assert!(check("10.255.0.1"));
        assert!(!check("11.0.0.1"));
        assert!(check("2001:db8::1"));
        assert!(!check("2001:db9::1"));
        assert!(check("192.0.2.7"));
        assert!(!check("192.0.2.6"));
        assert!(check("::ffff:10.1.2.3"), "a mapped address is the IPv4 one");
        assert!(is_trusted(&[network("0.0.0.0", 0)], "198.51.100.1".parse().unwrap()));
        assert!(!is_trusted(&[network("0.0.0.0", 0)], "::1".parse().unwrap()));
    }
}
