//! One address of an upstream as one worker sees it: its idle connections, its load, its penalty.
//!
//! Keyed by address and the fingerprint of TLS and protocol, not by generation: a reload keeps the
//! connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use ringway_transport::Stream;

use super::streams::Streams;

/// Most idle connections that one worker keeps to one endpoint.
const IDLE_MAX: usize = 1024;
/// How long an endpoint that refused or failed a connection is passed over.
pub(crate) const PENALTY_NS: u64 = 10_000_000_000;

/// What makes two upstreams' connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EndpointKey {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Of TLS and protocol settings, server name included; 0 in plain HTTP/1.1.
    pub(crate) fingerprint: u64,
}

/// An idle connection that may carry another request.
struct Idle {
    stream: Box<Stream>,
    since_ns: u64,
}

/// One address as one worker sees it.
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) key: EndpointKey,
    idle: RefCell<VecDeque<Idle>>,
    /// Its HTTP/2 connections.
    pub(crate) streams: Streams,
    in_flight: Cell<u32>,
    leased: Cell<u32>,
    penalty_until_ns: Cell<u64>,
    /// How long its idle connections are kept: as the upstream says that was the last to name it.
    idle_ns_max: Cell<u64>,
    /// Requests sent, for `/upstreams`.
    pub(crate) requests: Cell<u64>,
    /// Failures before a reply, for `/upstreams`.
    pub(crate) failures: Cell<u64>,
}

impl Endpoint {
    /// An endpoint that nothing has been sent to.
    pub(crate) fn new(key: EndpointKey) -> Self {
        Self {
            key,
            idle: RefCell::new(VecDeque::new()),
            streams: Streams::default(),
            in_flight: Cell::new(0),
            leased: Cell::new(0),
            penalty_until_ns: Cell::new(0),
            idle_ns_max: Cell::new(u64::MAX),
            requests: Cell::new(0),
            failures: Cell::new(0),
        }
    }

    /// Requests that wait for it or are being answered.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Connections open to it, idle ones included.
    pub(crate) fn connections(&self) -> u32 {
        let more = self.idle.borrow().len() + self.streams.connections();
        self.leased.get() + u32::try_from(more).unwrap_or(u32::MAX)
    }

    /// Idle connections.
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len() + self.streams.idle()
    }

    /// Whether it failed lately.
    pub(crate) fn penalised(&self, now_ns: u64) -> bool {
        self.penalty_until_ns.get() > now_ns
    }

    /// Passes it over for a while.
    pub(crate) fn penalise(&self, now_ns: u64) {
        self.penalty_until_ns.set(now_ns + PENALTY_NS);
        self.failures.set(self.failures.get() + 1);
    }

    /// It answered: a penalty ends.
    pub(crate) fn absolve(&self) {
        self.penalty_until_ns.set(0);
    }

    /// The idle connection used last, on which no byte and no end is waiting (an unsolicited byte
    /// would be read as the reply to the next request: response desynchronisation).
    pub(crate) fn take_idle(self: &Rc<Self>) -> Option<Leased> {
        loop {
            let idle = self.idle.borrow_mut().pop_back()?;
            if idle.stream.is_quiet() {
                return Some(Leased { lease: Lease::new(self), stream: idle.stream, pooled: true });
            }
        }
    }

    /// Whether another connection may be made: there are fewer than `connections_max`. Those that are being made count, so
    /// that a slow endpoint does not get as many as there are requests.
    pub(crate) fn has_room(&self, connections_max: u32) -> bool {
        self.connections() < connections_max
    }

    /// A place for a connection that is about to be made, if there is room for it.
    pub(crate) fn reserve(self: &Rc<Self>, connections_max: u32) -> Option<Lease> {
        self.has_room(connections_max).then(|| Lease::new(self))
    }

    /// Says how long its idle connections are kept.
    pub(crate) fn keep_idle(&self, idle_ns_max: u64) {
        self.idle_ns_max.set(idle_ns_max);
    }

    /// Closes what has been idle for too long, oldest first.
    pub(crate) fn close_stale(&self, now_ns: u64) {
        let before_ns = now_ns.saturating_sub(self.idle_ns_max.get());
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|oldest| oldest.since_ns < before_ns) {
            idle.pop_front();
        }
        self.streams.close_idle(before_ns);
    }

    /// Closes all idle connections.
    pub(crate) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.streams.close_idle(u64::MAX);
    }

    /// Counts a request in flight until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        InFlight(self)
    }
}

/// A request that counts towards its endpoint's load.
pub(crate) struct InFlight<'e>(&'e Endpoint);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// Counts a connection as in use until it is dropped.
pub(crate) struct Lease(Rc<Endpoint>);

impl Lease {
    fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.leased.set(endpoint.leased.get() + 1);
        Self(Rc::clone(endpoint))
    }

    /// Takes charge of the connection that was just made.
    pub(crate) fn opened(self, stream: Stream) -> Leased {
        Leased { lease: self, stream: Box::new(stream), pooled: false }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leased.set(self.0.leased.get().saturating_sub(1));
    }
}

/// A connection to an endpoint that one request holds. Dropped, it is closed; only
/// [`Leased::give_back`] keeps it.
pub(crate) struct Leased {
    lease: Lease,
    /// Boxed once, and then not copied from hand to hand with each request.
    stream: Box<Stream>,
    pooled: bool,
}

impl Leased {
    /// The connection.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether it has served a request before, and so may have been closed meanwhile.
    pub(crate) fn pooled(&self) -> bool {
        self.pooled
    }

    /// Keeps the connection for another request.
    ///
    /// INVARIANT: only after a self-delimiting reply, with both bodies complete and no byte left over.
    pub(crate) fn give_back(self, now_ns: u64) {
        let Self { lease, stream, .. } = self;
        let mut idle = lease.0.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push_back(Idle { stream, since_ns: now_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_being_made_counts_towards_the_most() {
        let key = EndpointKey { address: "192.0.2.1:80".parse().unwrap(), fingerprint: 0 };
        let endpoint = Rc::new(Endpoint::new(key));
        let places = [endpoint.reserve(2), endpoint.reserve(2)];
        assert!(places.iter().all(Option::is_some));
        assert!(endpoint.reserve(2).is_none());
        drop(places);
        assert!(endpoint.reserve(2).is_some(), "one that failed leaves its place");
    }
}
