//! One worker: one thread, one core, nothing shared on the request's way but the generation.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, UdpSocket};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringway_policy::memory::Memory;
use ringway_record::metrics::{Metric, Shard};
use ringway_wire::buffer::memory;
use ringway_wire::date::{DateCache, FixDate};

use crate::connection::Connection;
use crate::limits::QUIC_CLOSE_NS_MAX;
use crate::listener;
use crate::mailbox::{Command, Mailbox};
use crate::node::Node;
use crate::pinned::Pinned;
use crate::quic::{self, QuicListener};
use crate::records::Ledger;
use crate::upstream::Endpoints;

/// Between two rounds of housekeeping: idle upstream connections, gauges.
const HOUSEKEEPING_NS: u64 = 1_000_000_000;
/// How long a connection that is silent after a request keeps its buffer, looked at with each housekeeping.
const WARM_NS_MAX: u64 = 500_000_000;
/// Between two warnings about upstreams.
const WARN_NS: u64 = 1_000_000_000;
/// Between two looks into the mailbox while the bell cannot be heard.
const MAILBOX_LOOK_NS: u64 = 100_000_000;
/// Between two looks at what a drain waits for.
const DRAIN_LOOK_NS: u64 = 20_000_000;

/// A worker's own state. Lives on its thread.
pub(crate) struct Worker {
    /// Its number, from 0.
    pub(crate) index: u16,
    /// The process.
    pub(crate) node: Arc<Node>,
    /// Connections to upstreams.
    pub(crate) endpoints: Endpoints,
    /// Its open record segment.
    pub(crate) ledger: Ledger,
    /// Limiter cells that it has found, API keys that it has proved.
    pub(crate) memory: RefCell<Memory>,
    /// Connections that wait with a buffer.
    pub(crate) warm: Cell<u32>,
    pinned: RefCell<Option<Rc<Pinned>>>,
    turn: Cell<u64>,
    connections: RefCell<Connections>,
    listeners: RefCell<Vec<(SocketAddr, Rc<ringway_rt::Listener>)>>,
    quic: RefCell<Vec<Rc<QuicListener>>>,
    random: Cell<u64>,
    dates: RefCell<DateCache>,
    /// When a warning about an upstream was logged last, and how many were not since.
    warned: Cell<(u64, u32)>,
    draining: Cell<bool>,
    cutting: Cell<bool>,
}

/// The connections that are open, so that a drain can reach the idle ones.
#[derive(Default)]
struct Connections {
    slots: Vec<Weak<Connection>>,
    free: Vec<usize>,
    open: u32,
}

impl Worker {
    /// A worker with nothing open.
    pub(crate) fn new(index: u16, node: Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            index,
            endpoints: Endpoints::default(),
            ledger: Ledger::new(Arc::clone(&node.depot), index),
            memory: RefCell::new(Memory::new(Arc::clone(&node.limits), node.known_keys)),
            warm: Cell::new(0),
            pinned: RefCell::new(None),
            turn: Cell::new(0),
            connections: RefCell::default(),
            listeners: RefCell::default(),
            quic: RefCell::default(),
            random: Cell::new(seed()),
            dates: RefCell::new(DateCache::new()),
            warned: Cell::new((0, 0)),
            draining: Cell::new(false),
            cutting: Cell::new(false),
            node,
        })
    }

    /// The generation that a head parsed now is decided by. One atomic load when nothing has changed.
    #[inline]
    pub(crate) fn pinned(&self) -> Option<Rc<Pinned>> {
        let turn = self.node.published.turn();
        if turn != self.turn.get() {
            self.turn.set(turn);
            let fresh = self.node.published.current().map(|generation| Rc::new(Pinned::new(generation)));
            if let Some(fresh) = &fresh {
                let bytes = fresh.generation.settings.memory_bytes_max;
                memory::set_in_use_bytes_max(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
            *self.pinned.borrow_mut() = fresh;
        }
        self.pinned.borrow().clone()
    }

    /// Sixty-four random bits: not for secrets (wyrand).
    #[inline]
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
        let folded = (product >> 64) as u64 ^ product as u64;
        folded
    }

    /// Its share of the metrics.
    #[inline]
    pub(crate) fn shard(&self) -> Option<Shard<'_>> {
        self.node.metrics.shard(self.index)
    }

    /// Counts one.
    pub(crate) fn count(&self, metric: Metric) {
        if let Some(shard) = self.shard() {
            shard.add(metric, 1);
        }
    }

    /// Whether a warning about an upstream may be logged: one a second. How many were not since the last one.
    pub(crate) fn may_warn(&self) -> Option<u32> {
        let now_ns = ringway_rt::now().mono_ns;
        let (last_ns, more) = self.warned.get();
        if last_ns != 0 && now_ns.saturating_sub(last_ns) < WARN_NS {
            self.warned.set((last_ns, more.saturating_add(1)));
            return None;
        }
        self.warned.set((now_ns, 0));
        Some(more)
    }

    /// Counts one of a gauge until the guard is dropped.
    pub(crate) fn gauge(self: &Rc<Self>, metric: Metric) -> Gauge {
        self.count(metric);
        Gauge { worker: Rc::clone(self), metric }
    }

    /// The date of the moment, for `Date`.
    pub(crate) fn date(&self, unix_ms: u64) -> FixDate {
        *self.dates.borrow_mut().at(unix_ms)
    }

    /// Whether it is on its way out.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether the drain's deadline has come: what ends now was cut by us.
    pub(crate) fn cutting(&self) -> bool {
        self.cutting.get()
    }

    /// Whether its buffers weigh so much that nothing new can be taken on.
    #[inline]
    pub(crate) fn memory_is_full(&self) -> bool {
        memory::is_full()
    }

    /// Counts a connection as open until the guard is dropped, from before its handshake.
    pub(crate) fn admit(self: &Rc<Self>) -> Admitted {
        self.connections.borrow_mut().open += 1;
        Admitted(Rc::clone(self))
    }

    /// Connections open downstream, those in their handshake included.
    pub(crate) fn open_connections(&self) -> u32 {
        self.connections.borrow().open
    }

    /// Enters a connection; [`Worker::leave`] must follow.
    pub(crate) fn enter(&self, connection: &Rc<Connection>) -> usize {
        let mut connections = self.connections.borrow_mut();
        let weak = Rc::downgrade(connection);
        match connections.free.pop() {
            Some(slot) => {
                if let Some(place) = connections.slots.get_mut(slot) {
                    *place = weak;
                }
                slot
            }
            None => {
                connections.slots.push(weak);
                connections.slots.len() - 1
            }
        }
    }

    /// Strikes a connection out.
    pub(crate) fn leave(&self, slot: usize) {
        let mut connections = self.connections.borrow_mut();
        if let Some(place) = connections.slots.get_mut(slot) {
            *place = Weak::new();
            connections.free.push(slot);
        }
    }

    /// Calls `see` with each open connection.
    fn each_connection(&self, see: impl Fn(&Connection)) {
        for connection in self.connections.borrow().slots.iter().filter_map(Weak::upgrade) {
            see(&connection);
        }
    }

    /// Runs until the node drains: accepts, attends to the mailbox, keeps house.
    pub(crate) async fn run(self: Rc<Self>) {
        ringway_rt::spawn(housekeeping(Rc::clone(&self)));
        let Some(mailbox) = self.node.mailbox(self.index) else { return };
        loop {
            self.attend(&mailbox);
            if self.node.draining() {
                break;
            }
            if let Err(error) = mailbox.bell.heard().await {
                // No descriptor is left to wait with: the mailbox is looked at until there is one.
                tracing::warn!(worker = self.index, %error, "the worker's doorbell is not heard");
                ringway_rt::sleep_until_ns(ringway_rt::now().mono_ns + MAILBOX_LOOK_NS).await;
            }
        }
        self.drain().await;
    }

    /// Does what the node asks: listeners come and go, the generation is let go of.
    fn attend(self: &Rc<Self>, mailbox: &Mailbox) {
        // Let go of the generation before: an idle worker must not keep it alive.
        drop(self.pinned());
        self.each_quic(|listener| listener.refresh(self));
        for command in mailbox.take() {
            match command {
                Command::Listen { configured, socket } => match ringway_rt::Listener::from_std(socket) {
                    Ok(listener) => {
                        let listener = Rc::new(listener);
                        self.listeners.borrow_mut().push((configured, Rc::clone(&listener)));
                        ringway_rt::spawn(listener::accept(Rc::clone(self), listener, configured));
                    }
                    Err(error) => tracing::error!(%configured, %error, "listener not taken over"),
                },
                Command::ListenQuic { configured, socket, held } => {
                    self.listen_quic(configured, socket, held)
                }
                Command::StopQuic { configured } => self.each_quic(|listener| {
                    if listener.configured == configured {
                        listener.stop();
                    }
                }),
                Command::Stop { configured } => {
                    self.listeners.borrow_mut().retain(|(address, listener)| {
                        if *address == configured {
                            listener.stop();
                        }
                        *address != configured
                    });
                }
            }
        }
    }

    /// Serves HTTP/3 on a socket, or takes newcomers in again where its endpoint still lives.
    fn listen_quic(self: &Rc<Self>, configured: SocketAddr, socket: UdpSocket, held: Arc<()>) {
        let known = self.quic.borrow().iter().find(|listener| listener.configured == configured).cloned();
        if let Some(listener) = known {
            listener.refresh(self);
            return listener.resume();
        }
        if let Some(listener) = QuicListener::open(self, configured, socket, held) {
            self.quic.borrow_mut().push(Rc::clone(&listener));
            ringway_rt::spawn(quic::accept(Rc::clone(self), listener));
        }
    }

    /// Calls `see` with each endpoint of HTTP/3.
    pub(crate) fn each_quic(&self, see: impl Fn(&Rc<QuicListener>)) {
        let listeners = self.quic.borrow().clone();
        listeners.iter().for_each(see);
    }

    /// Strikes an endpoint out that is closed.
    pub(crate) fn forget_quic(&self, gone: &Rc<QuicListener>) {
        self.quic.borrow_mut().retain(|listener| !Rc::ptr_eq(listener, gone));
    }

    /// Stops accepting, ends idle connections at once and waits for the others until the deadline.
    async fn drain(&self) {
        self.draining.set(true);
        for (_, listener) in self.listeners.borrow_mut().drain(..) {
            listener.stop();
        }
        self.each_quic(QuicListener::stop);
        // Those who accept take in whom the kernel has taken in for them, and close.
        ringway_rt::turn().await;
        let until_ns = ringway_rt::now().mono_ns.saturating_add(self.node.drain_ns_max());
        while self.open_connections() > 0 {
            let now_ns = ringway_rt::now().mono_ns;
            self.each_connection(|connection| connection.end_if_idle(now_ns));
            if now_ns >= until_ns {
                tracing::warn!(
                    worker = self.index,
                    open = self.open_connections(),
                    "drain deadline: connections cut"
                );
                self.cutting.set(true);
                self.each_connection(|connection| connection.cut(now_ns));
                // One more sweep of the deadlines, so that cut requests file their records.
                ringway_rt::sleep_until_ns(now_ns + 10 * DRAIN_LOOK_NS).await;
                break;
            }
            ringway_rt::sleep_until_ns(now_ns + DRAIN_LOOK_NS).await;
        }
        self.endpoints.close_idle();
        let closing = self.quic.take();
        for listener in closing {
            listener.close(ringway_rt::now().mono_ns + QUIC_CLOSE_NS_MAX).await;
        }
    }
}

/// An accepted connection, counted until it is dropped.
pub(crate) struct Admitted(Rc<Worker>);

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connections = self.0.connections.borrow_mut();
        connections.open = connections.open.saturating_sub(1);
    }
}

/// One of what a gauge counts, until it is dropped.
pub(crate) struct Gauge {
    worker: Rc<Worker>,
    metric: Metric,
}

impl Drop for Gauge {
    fn drop(&mut self) {
        if let Some(shard) = self.worker.shard() {
            shard.sub(self.metric, 1);
        }
    }
}

async fn housekeeping(worker: Rc<Worker>) {
    loop {
        let now_ns = ringway_rt::now().mono_ns;
        worker.endpoints.sweep(now_ns);
        worker.each_connection(|connection| connection.cool(now_ns.saturating_sub(WARM_NS_MAX)));
        ringway_wire::buffer::memory::give_back_surplus();
        worker.node.report(&worker);
        ringway_rt::sleep_until_ns(now_ns + HOUSEKEEPING_NS).await;
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the system's randomness the address of a local still differs between threads and starts.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return std::ptr::from_ref(&bytes) as u64 | 1;
    }
    u64::from_le_bytes(bytes)
}
