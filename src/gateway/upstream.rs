//! A named group of endpoints as one worker sees it, and the choice among them.
//!
//! Everything here belongs to one worker: counts are plain cells, and balancing sees this worker's
//! load alone. What outlives a generation (connections, penalties) is in [`endpoint::Endpoint`].

pub(crate) mod endpoint;
pub(crate) mod prepared;
pub(crate) mod streams;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_snapshot::model::Balance;

use self::endpoint::{Endpoint, EndpointKey};
use self::prepared::PreparedUpstream;

/// All endpoints of a worker, by what makes their connections interchangeable.
#[derive(Default)]
pub(crate) struct Endpoints {
    by_key: RefCell<HashMap<EndpointKey, Rc<Endpoint>>>,
}

impl Endpoints {
    fn of(&self, key: EndpointKey) -> Rc<Endpoint> {
        let mut by_key = self.by_key.borrow_mut();
        Rc::clone(by_key.entry(key.clone()).or_insert_with(|| Rc::new(Endpoint::new(key))))
    }

    /// Closes connections that were idle for longer than their upstream keeps them, and forgets endpoints that no generation
    /// in use names any more. Called by the worker's ticker.
    pub(crate) fn sweep(&self, now_ns: u64) {
        let mut by_key = self.by_key.borrow_mut();
        by_key.retain(|_, endpoint| {
            endpoint.close_stale(now_ns);
            Rc::strong_count(endpoint) > 1 || endpoint.connections() > 0
        });
    }

    /// Closes all idle connections: the worker drains.
    pub(crate) fn close_idle(&self) {
        for endpoint in self.by_key.borrow().values() {
            endpoint.close_idle();
        }
    }

    /// Calls `see` with each endpoint.
    pub(crate) fn each(&self, mut see: impl FnMut(&Endpoint)) {
        for endpoint in self.by_key.borrow().values() {
            see(endpoint);
        }
    }
}

/// One upstream of one generation as one worker sees it.
pub(crate) struct Upstream {
    /// Settings, shared by all workers.
    pub(crate) prepared: Arc<PreparedUpstream>,
    members: RefCell<Vec<Member>>,
    resolved_version: Cell<u64>,
    cursor: Cell<u32>,
}

#[derive(Clone)]
struct Member {
    endpoint: Rc<Endpoint>,
    /// The TLS name of an endpoint given by name; the configured one else.
    name: u32,
    weight: u32,
    priority: u8,
}

/// An endpoint that was chosen.
pub(crate) struct Choice {
    /// Where to.
    pub(crate) endpoint: Rc<Endpoint>,
    /// Index of the definition's endpoint, for its TLS name.
    pub(crate) defined: u32,
}

impl Upstream {
    /// Joins a prepared upstream with this worker's endpoints.
    pub(crate) fn new(prepared: Arc<PreparedUpstream>, endpoints: &Endpoints) -> Self {
        let upstream = Self {
            resolved_version: Cell::new(0),
            members: RefCell::new(Vec::new()),
            cursor: Cell::new(0),
            prepared,
        };
        upstream.join(endpoints);
        upstream
    }

    fn join(&self, endpoints: &Endpoints) {
        let version = self.prepared.resolved_version();
        let members = self.prepared.addresses().map(|at| {
            let endpoint = endpoints.of(EndpointKey { address: at.address, fingerprint: at.fingerprint });
            endpoint.keep_idle(self.prepared.pool_idle_ns_max);
            Member { endpoint, name: at.defined, weight: u32::from(at.weight.max(1)), priority: at.priority }
        });
        *self.members.borrow_mut() = members.collect();
        self.resolved_version.set(version);
    }

    /// Chooses an endpoint, passing over `not` and those under a penalty unless nothing else is left.
    /// `None` when the upstream has no address at all.
    pub(crate) fn choose(
        &self,
        endpoints: &Endpoints,
        now_ns: u64,
        random: u64,
        not: Option<SocketAddr>,
    ) -> Option<Choice> {
        if self.prepared.has_names() && self.resolved_version.get() != self.prepared.resolved_version() {
            self.join(endpoints);
        }
        let members = self.members.borrow();
        if let [only] = members.as_slice() {
            return Some(only.chosen());
        }
        let usable =
            |member: &Member| !member.endpoint.penalised(now_ns) && not != Some(member.endpoint.key.address);
        let Some(priority) =
            members.iter().filter(|member| usable(member)).map(|member| member.priority).min()
        else {
            // All are under a penalty: any is better than none, but not the one that just failed.
            let others = || members.iter().filter(|member| not != Some(member.endpoint.key.address));
            let count = others().count();
            if count == 0 {
                return members.first().map(Member::chosen);
            }
            return others().nth(below(random, count)).map(Member::chosen);
        };
        let candidate = |member: &&Member| member.priority == priority && usable(member);
        let weight: u32 = members.iter().filter(candidate).map(|member| member.weight).sum();
        let at = |mut point: u32| {
            members.iter().filter(candidate).find(|member| {
                let here = point < member.weight;
                point = point.saturating_sub(member.weight);
                here
            })
        };
        let chosen = match self.prepared.balance {
            Balance::RoundRobin => {
                let turn = self.cursor.get();
                self.cursor.set(turn.wrapping_add(1));
                at(spread(turn, weight))
            }
            Balance::Random => at(scaled(random, weight)),
            Balance::LeastRequest => {
                let (first, second) =
                    (at(scaled(random, weight)), at(scaled(random.rotate_left(32), weight)));
                match (first, second) {
                    (Some(first), Some(second)) if second.load() < first.load() => Some(second),
                    (first, _) => first,
                }
            }
        };
        chosen.map(Member::chosen)
    }
}

impl Member {
    fn chosen(&self) -> Choice {
        Choice { endpoint: Rc::clone(&self.endpoint), defined: self.name }
    }

    /// Requests in flight per weight, in 1/1024.
    fn load(&self) -> u32 {
        self.endpoint.in_flight().saturating_mul(1024) / self.weight
    }
}

/// A number below `bound` from 64 random bits.
fn below(random: u64, bound: usize) -> usize {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX);
    scaled(random, bound) as usize
}

/// A number below `bound` from the upper half of 64 random bits (Lemire's multiplication).
fn scaled(random: u64, bound: u32) -> u32 {
    let product = (random >> 32) * u64::from(bound);
    u32::try_from(product >> 32).unwrap_or(0)
}

/// The turn's place on a wheel of `weight` slots, in strides that are coprime with it, so that a
/// heavy endpoint's turns are spread over the round rather than bunched.
fn spread(turn: u32, weight: u32) -> u32 {
    if weight < 3 {
        return turn % weight.max(1);
    }
    let mut stride = weight * 5 / 8;
    while greatest_common_divisor(stride, weight) != 1 {
        stride += 1;
    }
    u32::try_from(u64::from(turn) * u64::from(stride) % u64::from(weight)).unwrap_or(0)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
