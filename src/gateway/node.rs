//! The process: workers and helper threads, what they share, and how they end.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringway_policy::limit::{HashKey, NodeCells};
use ringway_record::metrics::{Metric, Metrics};
use ringway_rt::{BindOptions, Doorbell, Driver, DriverChoice, Ended};
use ringway_snapshot::model::AccessLog;

use crate::admin;
use crate::control_link::Address;
use crate::datagrams::{Datagrams, Group};
use crate::enrolment::way_to_control;
use crate::error::{GatewayError, GenerationError};
use crate::generation::Generation;
use crate::limits::RETIRED_LISTENERS_MAX;
use crate::mailbox::{Command, Mailbox};
use crate::published::Published;
use crate::records::Depot;
use crate::records::claim::{self, Claim};
use crate::reload;
use crate::resolver::Resolver;
use crate::signals::{Signal, Signals};
use crate::state::State;
use crate::worker::Worker;

/// Most cells of rate limits on a node.
const LIMIT_CELLS_MAX: usize = 1 << 20;
/// Waiting connections that the kernel keeps for one listener of one worker.
pub(crate) const BACKLOG: u32 = 4096;
/// How long an address in use is tried again before its generation is refused.
const BIND_PATIENCE: Duration = Duration::from_millis(500);
/// Before a worker that ended is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How to run a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The state directory.
    pub state: PathBuf,
    /// Control's socket, or `https://host:port` of one on another host; `control.sock` of the state directory without.
    pub control: Option<String>,
    /// Token with which the node is enrolled at a control daemon of another host, if it is not yet.
    pub join: Option<String>,
    /// Worker threads; one per core without.
    pub workers: Option<u16>,
    /// The cores to pin them to, in order; the first ones that this process may use without. Empty: not pinned.
    pub cores: Option<Vec<usize>>,
    /// The I/O driver.
    pub driver: DriverChoice,
}

/// What all threads share.
pub(crate) struct Node {
    /// Keys, pointer, snapshots.
    pub(crate) state: State,
    /// How it was started.
    pub(crate) options: GatewayOptions,
    /// The way to control.
    pub(crate) control: Address,
    /// The generation that is served.
    pub(crate) published: Published,
    /// Names of endpoints.
    pub(crate) resolver: Resolver,
    /// Record segments.
    pub(crate) depot: Arc<Depot>,
    /// Cells of limits of node scope.
    pub(crate) limits: Arc<NodeCells>,
    /// What workers hash the API keys under that they remember.
    pub(crate) known_keys: HashKey,
    /// All metrics.
    pub(crate) metrics: Metrics,
    /// What the upstreams' endpoints are doing, as the workers report it.
    pub(crate) upstreams: crate::health::Board,
    mailboxes: Vec<Arc<Mailbox>>,
    /// INVARIANT: holds every UDP socket until the process ends, so that no group is reordered while one of its members is served.
    datagrams: Datagrams,
    /// INVARIANT: holds every listening socket, so that they survive a worker's panic.
    listening: Mutex<BTreeMap<SocketAddr, Listening>>,
    /// Wakes the thread of the admin listener.
    pub(crate) admin_bell: Doorbell,
    admin: Mutex<Option<SocketAddr>>,
    /// Why there is no admin listener.
    admin_problem: Mutex<Option<String>>,
    /// Listeners that were removed while connections may live, and where they redirected to. See [`Node::retired_redirect`].
    retired: Mutex<BTreeMap<SocketAddr, Option<u16>>>,
    driver: Mutex<String>,
    draining: AtomicBool,
    reloads_asked: AtomicU64,
    drain_ns_max: AtomicU64,
}

/// A listener's sockets, one per worker.
struct Listening {
    bound: SocketAddr,
    sockets: Vec<TcpListener>,
}

/// A listener that was just bound: as configured, what the node keeps, what the workers get.
type Bound = (SocketAddr, Listening, Vec<TcpListener>);

impl Node {
    fn new(options: GatewayOptions) -> Result<Arc<Self>, GatewayError> {
        let (control, join) = (options.control.as_deref(), options.join.as_deref());
        let control = way_to_control(&options.state, control, join, ringway_rt::now().unix_ms)?;
        let state = State::open(&options.state)?;
        let workers = options.workers.unwrap_or_else(cores_available).max(1);
        let depot = open_depot(&state)?;
        let mailboxes = (0..workers)
            .map(|_| Mailbox::new().map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(GatewayError::Thread)?;
        let secret = || {
            let mut secret = [0; 16];
            aws_lc_rs::rand::fill(&mut secret).map(|()| HashKey(secret)).map_err(|_| GatewayError::Random)
        };
        Ok(Arc::new(Self {
            state,
            control,
            published: Published::default(),
            resolver: Resolver::start().map_err(GatewayError::Thread)?,
            depot,
            limits: Arc::new(NodeCells::new(secret()?, LIMIT_CELLS_MAX)),
            known_keys: secret()?,
            metrics: Metrics::new(workers),
            upstreams: crate::health::Board::new(workers),
            mailboxes,
            datagrams: Datagrams::default(),
            listening: Mutex::default(),
            admin_bell: Doorbell::new().map_err(GatewayError::Thread)?,
            admin: Mutex::default(),
            admin_problem: Mutex::default(),
            retired: Mutex::default(),
            driver: Mutex::default(),
            draining: AtomicBool::new(false),
            reloads_asked: AtomicU64::new(0),
            drain_ns_max: AtomicU64::new(30_000_000_000),
            options,
        }))
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> u16 {
        u16::try_from(self.mailboxes.len()).unwrap_or(u16::MAX)
    }

    /// A worker's mailbox.
    pub(crate) fn mailbox(&self, worker: u16) -> Option<Arc<Mailbox>> {
        self.mailboxes.get(usize::from(worker)).cloned()
    }

    /// Whether the process is on its way out.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// How long a drain may take.
    pub(crate) fn drain_ns_max(&self) -> u64 {
        self.drain_ns_max.load(Ordering::Relaxed)
    }

    /// How often SIGHUP has come: the access log is reopened and the pointer read when it changes.
    pub(crate) fn reopen_asked(&self) -> u64 {
        self.reloads_asked.load(Ordering::Acquire)
    }

    /// The I/O driver that the workers run on.
    pub(crate) fn driver(&self) -> String {
        lock(&self.driver).clone()
    }

    /// Configured and bound address of each listener.
    pub(crate) fn listening(&self) -> Vec<(SocketAddr, SocketAddr)> {
        lock(&self.listening).iter().map(|(configured, listening)| (*configured, listening.bound)).collect()
    }

    /// Where the admin listener is bound.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        *lock(&self.admin)
    }

    /// Notes where the admin listener is bound, or why it is not.
    pub(crate) fn set_admin(&self, bound: Result<SocketAddr, String>) {
        *lock(&self.admin) = bound.as_ref().ok().copied();
        *lock(&self.admin_problem) = bound.err();
    }

    /// What is wrong with the node and does not keep it from serving, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.admin_problem).iter().cloned().collect()
    }

    /// Where a listener redirected to that was removed: connections that it had accepted live on under its terms.
    pub(crate) fn retired_redirect(&self, configured: SocketAddr) -> Option<u16> {
        lock(&self.retired).get(&configured).copied().flatten()
    }

    /// Notes how the listeners that go away with a generation redirect.
    fn retire(&self, wanted: &[SocketAddr]) {
        let mut retired = lock(&self.retired);
        retired.retain(|address, _| !wanted.contains(address));
        let Some(before) = self.published.current() else { return };
        for listener in before.snapshot.listeners() {
            if !wanted.contains(&listener.address) && retired.len() < RETIRED_LISTENERS_MAX {
                retired.insert(listener.address, listener.redirect_https_port);
            }
        }
    }

    /// Makes a generation live: binds what is new, publishes, stops what is gone, rings every worker.
    ///
    /// # Errors
    /// A new listener cannot be bound; nothing has changed then.
    pub(crate) fn make_live(&self, generation: Generation) -> Result<(), GenerationError> {
        let of = |http3: bool| -> Vec<SocketAddr> {
            let listeners = generation.snapshot.listeners().iter();
            listeners
                .filter(|listener| listener.protocols.http3 || !http3)
                .map(|listener| listener.address)
                .collect()
        };
        let (wanted, http3) = (of(false), of(true));
        let fresh = self.bind_new(&wanted)?;
        let groups = self.bind_groups(&http3, &fresh)?;
        self.drain_ns_max.store(u64::from(generation.settings.drain_ms_max) * 1_000_000, Ordering::Relaxed);
        self.metrics.node().set(Metric::Generation, generation.current.generation);
        self.retire(&wanted);
        if generation.settings.access_log != AccessLog::Off {
            self.depot.want_from(self.published.turn() + 1);
        }
        self.published.publish(Arc::new(generation));
        self.admin_bell.ring();
        let mut listening = lock(&self.listening);
        for (configured, new, handles) in fresh {
            tracing::info!(%configured, address = %new.bound, "listening");
            for (mailbox, socket) in self.mailboxes.iter().zip(handles) {
                mailbox.put(Command::Listen { configured, socket });
            }
            listening.insert(configured, new);
        }
        let gone: Vec<SocketAddr> =
            listening.keys().filter(|address| !wanted.contains(address)).copied().collect();
        listening.retain(|address, _| wanted.contains(address));
        drop(listening);
        self.datagrams.make_live(groups, &http3, &self.mailboxes);
        for mailbox in &self.mailboxes {
            for configured in &gone {
                mailbox.put(Command::Stop { configured: *configured });
            }
            mailbox.bell.ring();
        }
        Ok(())
    }

    /// Binds a socket per worker for each address that is not listened on yet, with the handle that its worker gets: no
    /// descriptor for one would leave a share of the connections unanswered.
    fn bind_new(&self, wanted: &[SocketAddr]) -> Result<Vec<Bound>, GenerationError> {
        let known: Vec<SocketAddr> = lock(&self.listening).keys().copied().collect();
        let mut fresh = Vec::new();
        for configured in wanted.iter().filter(|address| !known.contains(address)) {
            let failed = |source| GenerationError::Bind { address: *configured, source };
            let options = BindOptions { reuseport: true, backlog: BACKLOG, v6only: configured.is_ipv6() };
            let mut bound = *configured;
            if configured.port() != 0 {
                // A process of this user that listens there with SO_REUSEPORT would silently share the
                // connections: binding without it first finds out. Who connects in that moment is refused, as before.
                drop(hold(bound, options.v6only).map_err(failed)?);
            }
            let (mut sockets, mut handles) = (Vec::new(), Vec::new());
            for _ in 0..self.mailboxes.len() {
                let socket = ringway_rt::Listener::bind(bound, options).map_err(failed)?;
                bound = socket.local_addr().map_err(failed)?;
                handles.push(socket.try_clone().map_err(failed)?);
                sockets.push(socket);
            }
            fresh.push((*configured, Listening { bound, sockets }, handles));
        }
        Ok(fresh)
    }

    /// Binds a steered group of UDP sockets for each listener with HTTP/3 that has none, to the address of its TCP sockets.
    fn bind_groups(
        &self,
        http3: &[SocketAddr],
        fresh: &[Bound],
    ) -> Result<Vec<(SocketAddr, Group)>, GenerationError> {
        let mut groups = Vec::new();
        for configured in http3.iter().copied().filter(|address| !self.datagrams.has(*address)) {
            let new = fresh.iter().find(|(address, ..)| *address == configured).map(|(_, new, _)| new.bound);
            let known = || lock(&self.listening).get(&configured).map(|listening| listening.bound);
            let address = new.or_else(known).unwrap_or(configured);
            let group = Group::bind(address, self.workers());
            let group = group.map_err(|source| GenerationError::Bind { address: configured, source })?;
            tracing::info!(%configured, %address, "serving HTTP/3");
            groups.push((configured, group));
        }
        Ok(groups)
    }

    /// Hands a worker its UDP sockets again.
    pub(crate) fn hand_over_datagrams(&self, worker: u16) {
        if let Some(mailbox) = self.mailbox(worker) {
            self.datagrams.hand_over(worker, &mailbox);
        }
    }

    /// Hands a worker that was started again its listening sockets.
    fn hand_over_all(&self, worker: u16) {
        self.hand_over_datagrams(worker);
        let Some(mailbox) = self.mailbox(worker) else { return };
        for (configured, listening) in lock(&self.listening).iter() {
            if let Some(socket) = listening.sockets.get(usize::from(worker)) {
                hand_over(&mailbox, *configured, socket);
            }
        }
    }

    /// A worker's gauges, once a second.
    pub(crate) fn report(&self, worker: &Worker) {
        let Some(shard) = worker.shard() else { return };
        shard.set(Metric::ConnectionsOpen, u64::from(worker.open_connections()));
        shard.set(Metric::MemoryInUse, ringway_wire::buffer::memory::in_use() as u64);
        let mut open = 0;
        worker.endpoints.each(|endpoint| open += u64::from(endpoint.connections()));
        shard.set(Metric::UpstreamConnectionsOpen, open);
        worker.each_quic(|listener| listener.report(worker));
        if worker.index == 0 {
            self.datagrams.sweep();
        }
        self.upstreams.report(worker);
    }

    /// The node's own gauges, before a page of metrics is printed.
    pub(crate) fn refresh_gauges(&self) {
        let node = self.metrics.node();
        node.set(Metric::TasksPanicked, ringway_rt::counters().tasks_panicked);
        node.set(Metric::AcceptDescriptorsExhausted, ringway_rt::counters().accepts_backed_off);
        node.set(Metric::RecordsLost, self.depot.lost());
        node.set(Metric::LimitCells, self.limits.live() as u64);
        node.set(Metric::LimitCellsOverflowed, self.limits.overflowed());
        node.set(Metric::GenerationsLive, self.published.live() as u64);
        node.set(Metric::Draining, u64::from(self.draining()));
    }

    fn start_drain(&self) {
        self.draining.store(true, Ordering::Release);
        // The workers' own handles go when they have emptied their backlogs; with ours the kernel would go on accepting.
        lock(&self.listening).clear();
        for mailbox in &self.mailboxes {
            mailbox.bell.ring();
        }
    }
}

/// Binds, and waits a moment where the address is in use: a listener that was just removed is still being emptied.
fn hold(address: SocketAddr, v6only: bool) -> std::io::Result<OwnedFd> {
    let until = Instant::now() + BIND_PATIENCE;
    loop {
        match ringway_rt::Listener::hold(address, v6only) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Runs a gateway until it is told to end, and drains it.
///
/// # Errors
/// It could not start.
pub fn run(options: GatewayOptions) -> Result<(), GatewayError> {
    let signals = Signals::block().map_err(GatewayError::Signals)?;
    let cores = options.cores.clone();
    let node = Node::new(options)?;
    let ended = serve(&node, cores.as_deref(), &signals);
    // All was read, or nothing was ever recorded.
    node.depot.remove();
    ended
}

fn serve(node: &Arc<Node>, cores: Option<&[usize]>, signals: &Signals) -> Result<(), GatewayError> {
    node.metrics.node().set(Metric::StartTime, ringway_rt::now().unix_ms / 1000);
    let workers = start_workers(node, cores)?;
    let records = {
        let node = Arc::clone(node);
        thread("records", move || crate::access_log::run(&node))?
    };
    {
        let node = Arc::clone(node);
        thread("reload", move || reload::run(&node))?;
    }
    {
        let node = Arc::clone(node);
        thread("heartbeat", move || reload::run_heartbeat(&node))?;
    }
    {
        let node = Arc::clone(node);
        thread("admin", move || admin::run(&node))?;
    }
    loop {
        match signals.wait().map_err(GatewayError::Signals)? {
            Signal::Drain => break,
            Signal::Reload => {
                node.reloads_asked.fetch_add(1, Ordering::AcqRel);
            }
            Signal::Upgrade => {
                tracing::warn!("SIGUSR2: handing sockets to a new binary is not available in this version")
            }
        }
    }
    tracing::info!("draining");
    node.start_drain();
    for worker in workers {
        let _ = worker.join();
    }
    node.datagrams.leave();
    node.depot.stop();
    let _ = records.join();
    tracing::info!("drained");
    Ok(())
}

/// Starts all workers. They must agree on the driver: a mixture would make every figure meaningless.
fn start_workers(
    node: &Arc<Node>,
    cores: Option<&[usize]>,
) -> Result<Vec<std::thread::JoinHandle<()>>, GatewayError> {
    let mut handles = Vec::new();
    for index in 0..node.workers() {
        let core = match cores {
            Some(cores) => cores.get(usize::from(index)).copied(),
            None => Some(usize::from(index)),
        };
        let (handle, driver) = start_worker(node, index, core)?;
        handles.push(handle);
        let name = driver.to_string();
        if index == 0 {
            tracing::info!(driver = name, workers = node.workers(), "workers started");
            *lock(&node.driver) = name;
        } else if *lock(&node.driver) != name {
            return Err(GatewayError::WrongDriver { got: name });
        }
    }
    node.metrics.node().set(Metric::Workers, u64::from(node.workers()));
    Ok(handles)
}

fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, GatewayError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(GatewayError::Thread)
}

/// Starts a worker's thread and waits until its driver stands. A panic outside a task leaves the runtime
/// and starts anew, on the listening sockets that the node holds.
fn start_worker(
    node: &Arc<Node>,
    index: u16,
    core: Option<usize>,
) -> Result<(std::thread::JoinHandle<()>, Driver), GatewayError> {
    let (sender, started) = std::sync::mpsc::channel();
    let node = Arc::clone(node);
    let handle = thread(&format!("worker-{index}"), move || {
        if let Some(core) = core
            && let Err(error) = ringway_rt::pin_to_core(core)
        {
            tracing::warn!(worker = index, core, %error, "not pinned");
        }
        let options = ringway_rt::Options { driver: node.options.driver, entries: 1024, on_panic: log_panic };
        loop {
            let ended = ringway_rt::run(&options, |driver| {
                let _ = sender.send(Ok(driver));
                Worker::new(index, Arc::clone(&node)).run()
            });
            match ended {
                Ok(Ended::Finished(())) => return,
                Ok(Ended::Panicked(message)) => {
                    tracing::error!(worker = index, message, "worker panicked; it is started again");
                    node.metrics.node().add(Metric::WorkersRestarted, 1);
                    node.depot.take_over(index);
                    if let Some(shard) = node.metrics.shard(index) {
                        // Its tunnels went with it, and nobody counts them out.
                        shard.set(Metric::TunnelsOpen, 0);
                    }
                    node.hand_over_all(index);
                }
                Err(error) => {
                    // Once it has run, it is started again until it runs: the kernel goes on giving its sockets connections.
                    tracing::error!(worker = index, %error, "worker not started");
                    if sender.send(Err(error)).is_ok() || node.draining() {
                        return;
                    }
                }
            }
            std::thread::sleep(RESTART_PAUSE);
        }
    })?;
    match started.recv() {
        Ok(Ok(driver)) => Ok((handle, driver)),
        Ok(Err(error)) => Err(GatewayError::Driver(error)),
        Err(_) => Err(GatewayError::Thread(std::io::Error::other("the worker ended before it began"))),
    }
}

/// Leaves a clone of the socket in the worker's mailbox.
fn hand_over(mailbox: &Mailbox, configured: SocketAddr, socket: &TcpListener) {
    match socket.try_clone() {
        Ok(socket) => mailbox.put(Command::Listen { configured, socket }),
        Err(error) => tracing::error!(%configured, %error, "no descriptor for a listening socket"),
    }
}

fn log_panic(message: &str) {
    tracing::error!(message, "a connection ended by a panic; the others go on");
}

/// Claims the node's directory of segments, and takes away what gateways left that are gone.
fn open_depot(state: &State) -> Result<Arc<Depot>, GatewayError> {
    let directory = records_directory(state);
    let failed =
        |source| GatewayError::State { what: "make record segments in", path: directory.clone(), source };
    let claim = Claim::take(&directory, state.root(), claim::PATIENCE).map_err(failed)?;
    let claim = claim.ok_or_else(|| GatewayError::Occupied { path: state.root().to_owned() })?;
    match claim::sweep(&directory, std::time::SystemTime::now()) {
        Ok(swept) if swept.directories > 0 => {
            let claim::Swept { directories, bytes } = swept;
            tracing::info!(directories, bytes, "record segments of gateways that are gone were removed");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "record segments of gateways that are gone are not looked for"),
    }
    Depot::open(claim, state.root(), state.node).map_err(failed)
}

/// Records lie on tmpfs, so that appending never waits for a disk.
fn records_directory(state: &State) -> PathBuf {
    let name = format!("{}{:032x}", claim::NAME, u128::from_be_bytes(state.node));
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory.join(name) } else { state.root().join("records") }
}

fn cores_available() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
