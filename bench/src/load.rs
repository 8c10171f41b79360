//! Load and endpoint as one busy-polling thread.
//!
//! The proxy under test runs on its core alone and sends to a thread that never sleeps: no send of its wakes a sleeper on
//! the other core, which on a virtual machine costs more than the rest of a small request. Open loop by Poisson arrivals,
//! latency counted from the intended instant of sending (no coordinated omission), or a closed loop for saturation.

mod client;
mod content;
pub(crate) mod delay;
mod endpoint;
mod histogram;
mod reply;
mod requests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};

pub(crate) use client::ClientTls;
use client::{Client, Progress};
pub(crate) use endpoint::{Endpoint, Rest, serve_until};
pub(crate) use histogram::Histogram;
pub(crate) use requests::Requests;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Tokens from here on are the endpoint's.
const ENDPOINT_TOKENS: u64 = 1 << 32;
/// Intended requests that may wait for a free connection: beyond it the load is not open any more and says so.
const DUE_MAX: usize = 1 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// Each connection sends its next request when its reply is there.
    Closed,
    /// So many a second, at instants of a Poisson process.
    Poisson(f64),
}

/// What is sent to whom, and for how long.
pub(crate) struct Load<'a> {
    /// Port of the proxy on loopback.
    pub(crate) port: u16,
    pub(crate) requests: &'a Requests,
    pub(crate) connections: usize,
    pub(crate) arrivals: Arrivals,
    pub(crate) warm: Duration,
    pub(crate) length: Duration,
    pub(crate) tls: Option<&'a ClientTls>,
    /// A connection of its own for each request.
    pub(crate) fresh: bool,
    /// Never sleep. Without it the thread leaves its core to others between events.
    pub(crate) spin: bool,
    /// Compare content with what it should be; else it is counted alone.
    pub(crate) compare: bool,
    pub(crate) seed: u64,
}

/// What came of it, after the warm-up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub(crate) completed: u64,
    pub(crate) seconds: f64,
    /// What the meter said at the end less what it said at the start.
    pub(crate) cpu_ns: u64,
    pub(crate) latency: Histogram,
    /// Latency by the 100 ms in which the request was due.
    pub(crate) windows: Vec<Histogram>,
    /// Replies that were not 2xx.
    pub(crate) refused: u64,
    /// Requests that got no whole reply.
    pub(crate) failed: u64,
    /// Requests sent again, because the connection was closed while it was idle.
    pub(crate) retried: u64,
    /// Connections that the proxy closed while nothing was under way.
    pub(crate) closed: u64,
    /// Requests that were due and not sent at the end.
    pub(crate) unsent: u64,
}

/// Width of a window of [`Measured::windows`].
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// The thread's state: connections to the proxy, and the endpoint behind it.
pub(crate) struct Engine<'e> {
    poller: OwnedFd,
    clients: Vec<Client>,
    free: VecDeque<usize>,
    due: VecDeque<u64>,
    endpoint: Option<&'e mut Endpoint>,
    buffer: Vec<u8>,
    started: Instant,
    warm_ns: u64,
    end_ns: u64,
    measuring: bool,
    measured: Measured,
}

impl<'e> Engine<'e> {
    /// An engine without connections. With an endpoint it serves that as well.
    pub(crate) fn new(endpoint: Option<&'e mut Endpoint>) -> io::Result<Self> {
        let poller = epoll::create(CreateFlags::CLOEXEC)?;
        let mut endpoint = endpoint;
        if let Some(endpoint) = endpoint.as_deref_mut() {
            endpoint.watch(&poller, ENDPOINT_TOKENS)?;
        }
        Ok(Self {
            poller,
            clients: Vec::new(),
            free: VecDeque::new(),
            due: VecDeque::new(),
            endpoint,
            buffer: vec![0; READ_BYTES],
            started: Instant::now(),
            warm_ns: 0,
            end_ns: 0,
            measuring: false,
            measured: Measured::default(),
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Sends the load; `meter` is read at the start and at the end of what is measured, in nanoseconds of CPU.
    pub(crate) fn run(&mut self, load: &Load<'_>, meter: &dyn Fn() -> u64) -> io::Result<Measured> {
        self.add_clients(load.connections);
        self.warm_ns = u64::try_from(load.warm.as_nanos()).unwrap_or(0);
        self.end_ns = self.warm_ns + u64::try_from(load.length.as_nanos()).unwrap_or(0);
        self.started = Instant::now();
        let mut arrivals = Instants::new(load.arrivals, load.seed);
        let mut cpu_ns = 0;
        let mut sent = 0;
        loop {
            let now_ns = self.now_ns();
            if !self.measuring && now_ns >= self.warm_ns {
                self.measuring = true;
                cpu_ns = meter();
            }
            if now_ns >= self.end_ns {
                break;
            }
            while let Some(due_ns) = arrivals.next_until(now_ns) {
                if self.due.len() < DUE_MAX {
                    self.due.push_back(due_ns);
                }
            }
            self.dispatch(load, &mut sent)?;
            let wait = if load.spin { 0 } else { arrivals.next_ns.min(self.end_ns).saturating_sub(now_ns) };
            self.turn(load, wait)?;
        }
        self.measured.cpu_ns = meter().saturating_sub(cpu_ns);
        self.measured.seconds = self.now_ns().saturating_sub(self.warm_ns) as f64 / 1e9;
        self.measured.unsent = self.due.len() as u64;
        Ok(std::mem::take(&mut self.measured))
    }

    /// Opens all connections, sends one request on each, and leaves them open; how many got a good reply.
    pub(crate) fn one_each(&mut self, load: &Load<'_>) -> io::Result<u64> {
        self.add_clients(load.connections);
        self.measuring = true;
        (self.warm_ns, self.end_ns) = (0, u64::MAX);
        self.started = Instant::now();
        let limit_ns = u64::try_from(load.length.as_nanos()).unwrap_or(0);
        let (mut sent, mut answered_before) = (0, 0);
        while self.measured.completed + self.measured.failed < load.connections as u64 {
            // A few at a time: a backlog that runs over would be the test's own fault.
            while sent < load.connections && (sent as u64) < answered_before + 16 {
                let now_ns = self.now_ns();
                self.send(load, sent, now_ns, sent)?;
                sent += 1;
            }
            self.turn(load, 1_000_000)?;
            answered_before = self.measured.completed + self.measured.failed;
            if self.now_ns() > limit_ns {
                break;
            }
        }
        self.free.clear();
        let measured = std::mem::take(&mut self.measured);
        Ok(measured.completed - measured.refused)
    }

    /// How many connections the proxy has left open so far.
    pub(crate) fn still_open(&mut self, load: &Load<'_>) -> io::Result<u64> {
        // Each turn takes a bounded number of events; more than that many have not come together.
        for _ in 0..=self.clients.len() / EVENTS {
            self.turn(load, 0)?;
        }
        Ok(self.clients.iter().filter(|client| client.is_open()).count() as u64)
    }

    fn add_clients(&mut self, connections: usize) {
        while self.clients.len() < connections {
            self.free.push_back(self.clients.len());
            self.clients.push(Client::default());
        }
    }

    /// Sends what is due on the connections that are free.
    fn dispatch(&mut self, load: &Load<'_>, sent: &mut usize) -> io::Result<()> {
        while !self.free.is_empty() {
            let due_ns = match load.arrivals {
                Arrivals::Closed => self.now_ns(),
                Arrivals::Poisson(_) => match self.due.pop_front() {
                    Some(due_ns) => due_ns,
                    None => return Ok(()),
                },
            };
            let Some(index) = self.free.pop_front() else { return Ok(()) };
            self.send(load, index, due_ns, *sent)?;
            *sent = sent.wrapping_add(1);
        }
        Ok(())
    }

    /// Sends request number `number` on a connection, which is opened where it is not.
    fn send(&mut self, load: &Load<'_>, index: usize, due_ns: u64, number: usize) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        let open = |client: &mut Client, poller: &OwnedFd| {
            let opened = client.open(load.port, load.tls, poller, index as u64).is_ok();
            if load.compare {
                client.compare();
            }
            opened
        };
        let opened = client.is_open() || open(client, &self.poller);
        if opened && client.send(load.requests, number, due_ns).is_ok() {
            return Ok(());
        }
        // A kept-alive connection that was closed at this very moment: once more on a new one.
        let again = opened && client.was_used();
        client.close();
        let good = again && open(client, &self.poller) && client.send(load.requests, number, due_ns).is_ok();
        self.measured.retried += u64::from(again && self.measuring);
        if !good {
            client.close();
            self.measured.failed += u64::from(self.measuring);
            self.free.push_back(index);
        }
        Ok(())
    }

    /// Waits for events, up to `wait_ns`, and handles them.
    fn turn(&mut self, load: &Load<'_>, wait_ns: u64) -> io::Result<()> {
        let endless_ns =
            self.endpoint.as_ref().and_then(|endpoint| endpoint.next_in_ns()).unwrap_or(u64::MAX);
        let wait_ns = i64::try_from(wait_ns.min(endless_ns).min(100_000_000)).unwrap_or(0);
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait_ns };
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.poller, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(endpoint) = self.endpoint.as_deref_mut() {
            endpoint.send_due();
        }
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            match (token.checked_sub(ENDPOINT_TOKENS), self.endpoint.as_deref_mut()) {
                (Some(own), Some(endpoint)) => endpoint.handle(&self.poller, own, flags, &mut self.buffer)?,
                _ => self.handle(load, usize::try_from(token).unwrap_or(usize::MAX), flags)?,
            }
        }
        Ok(())
    }

    fn handle(&mut self, load: &Load<'_>, index: usize, flags: EventFlags) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        if flags.contains(EventFlags::OUT) {
            client.flush();
        }
        if !flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        match client.receive(&mut self.buffer) {
            Progress::Waiting => {}
            Progress::Answered { good } => {
                let due_ns = client.due_ns();
                if load.fresh || client.must_close() {
                    client.close();
                }
                self.answered(due_ns, good);
                self.free.push_back(index);
            }
            Progress::ClosedIdle => {
                client.close();
                self.measured.closed += u64::from(self.measuring);
            }
            Progress::ClosedBefore => {
                let (due_ns, number) = client.pending();
                client.close();
                self.measured.retried += u64::from(self.measuring);
                self.send(load, index, due_ns, number)?;
            }
            Progress::Failed => {
                client.close();
                self.measured.failed += u64::from(self.measuring);
                self.free.push_back(index);
            }
        }
        Ok(())
    }

    fn answered(&mut self, due_ns: u64, good: bool) {
        if !self.measuring {
            return;
        }
        self.measured.completed += 1;
        self.measured.refused += u64::from(!good);
        if due_ns < self.warm_ns {
            return;
        }
        let latency_ns = self.now_ns().saturating_sub(due_ns);
        self.measured.latency.add(latency_ns);
        let window = usize::try_from((due_ns - self.warm_ns) / WINDOW.as_nanos() as u64).unwrap_or(0);
        if window >= self.measured.windows.len() {
            self.measured.windows.resize_with(window + 1, Histogram::default);
        }
        if let Some(window) = self.measured.windows.get_mut(window) {
            window.add(latency_ns);
        }
    }
}

/// Instants at which requests are due.
struct Instants {
    gap_ns: f64,
    next: f64,
    next_ns: u64,
    random: u64,
}

impl Instants {
    fn new(arrivals: Arrivals, seed: u64) -> Self {
        let gap_ns = match arrivals {
            Arrivals::Closed => f64::INFINITY,
            Arrivals::Poisson(per_second) => 1e9 / per_second.max(0.001),
        };
        let (next, next_ns) = if gap_ns.is_finite() { (0.0, 0) } else { (f64::INFINITY, u64::MAX) };
        Self { gap_ns, next, next_ns, random: seed | 1 }
    }

    /// The next instant, where it is not after `now_ns`.
    fn next_until(&mut self, now_ns: u64) -> Option<u64> {
        if self.next_ns > now_ns || self.next.is_infinite() {
            return None;
        }
        let due_ns = self.next_ns;
        // xorshift64: good enough for gaps, and the same ones for the same seed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let uniform = ((self.random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        self.next += -uniform.min(1.0).ln() * self.gap_ns;
        self.next_ns = self.next as u64;
        Some(due_ns)
    }
}

#[cfg(test)]
mod tests;
