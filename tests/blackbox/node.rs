//! A gateway and its control daemon as processes of their own, on a state directory of their own.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::raw::Raw;
use crate::site::Site;

const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");
/// How long anything may take before its test fails; less than what the gateway waits for by default where nothing moves.
const PATIENCE: Duration = Duration::from_secs(50);

thread_local! {
    static DRIVER: Cell<&'static str> = const { Cell::new("uring") };
}

/// Runs a law with gateways on epoll, unless `RINGWAY_TEST_DRIVER` says otherwise.
pub(crate) fn on_epoll(law: fn()) {
    DRIVER.set("epoll");
    law();
}

/// The same laws once more on the epoll driver.
macro_rules! also_on_epoll {
    ($($law:ident)*) => {
        mod epoll {
            $(#[test]
            fn $law() {
                crate::node::on_epoll(super::$law);
            })*
        }
    };
}
pub(crate) use also_on_epoll;

/// An address of the loopback that no other test has: a port of it that is given back and taken again is nobody else's meanwhile.
pub(crate) fn own_address() -> std::net::Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    std::net::Ipv4Addr::new(127, 100 | high & 0x1f, middle, low)
}

/// Both processes. Dropped, the gateway is told to drain and control is killed.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    control: Mutex<Option<Child>>,
    gateway: Mutex<Child>,
    workers: u16,
    /// What the gateway logs.
    pub(crate) log: Lines,
    /// Its access log.
    pub(crate) records: Lines,
    /// Where its first listener is bound.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    /// Starts both and waits until this configuration is served, by one worker.
    pub(crate) fn start(site: &Site) -> Self {
        Self::start_with(site, 1)
    }

    /// As [`Node::start`], with so many workers.
    pub(crate) fn start_with(site: &Site, workers: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = start_control(folder.path());
        apply(folder.path(), site);
        let (gateway, log, records) = start_gateway(folder.path(), workers);
        let admin = log.find("admin listening", admin);
        let address = log.find("a listener", |line| value(line, " listening configured", "address"));
        let (control, gateway) = (Mutex::new(Some(control)), Mutex::new(gateway));
        Self { folder, control, gateway, workers, log, records, address, admin }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        self.folder.path()
    }

    /// Where the listener with this configured address is bound.
    pub(crate) fn listener(&self, configured: &str) -> SocketAddr {
        let wanted = format!(" listening configured={configured} ");
        self.log.find(&wanted, |line| value(line, &wanted, "address"))
    }

    /// Applies another configuration; it is live when this returns.
    pub(crate) fn apply(&self, site: &Site) -> u64 {
        let applied = apply(self.folder.path(), site);
        let generation = applied["generation"]["number"].as_u64().unwrap();
        let wanted = format!("generation is live generation={generation} ");
        self.log.find(&wanted, |line| line.contains(&wanted).then_some(()));
        generation
    }

    /// A new connection to the first listener.
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.address)
    }

    /// The next record, as the access log shows it.
    pub(crate) fn record(&self) -> Value {
        serde_json::from_str(&self.records.next()).unwrap()
    }

    /// Fails unless the next record has this outcome; returns it.
    #[track_caller]
    pub(crate) fn assert_outcome(&self, outcome: &str) -> Value {
        let record = self.record();
        assert_eq!(record["outcome"], outcome, "{record}");
        record
    }

    /// A new connection to the admin listener.
    pub(crate) fn connect_to_admin(&self) -> Raw {
        Raw::connect(self.admin)
    }

    /// How often threads of the gateway with this name have gone to sleep by themselves.
    pub(crate) fn sleeps_of(&self, thread: &str) -> u64 {
        let gateway = self.gateway.lock().unwrap().id();
        let tasks = std::fs::read_dir(format!("/proc/{gateway}/task")).unwrap();
        let named = tasks.map(|task| task.unwrap().path()).filter(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread)
        });
        let sleeps = named.map(|task| {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        });
        sleeps.sum()
    }

    /// A page of the admin listener.
    pub(crate) fn admin(&self, path: &str) -> crate::raw::Reply {
        Raw::connect(self.admin)
            .ask(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
    }

    /// The value of a metric; `labels` as they are printed, braces included, or empty.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = self.admin("/metrics");
        let wanted = format!("{name}{labels} ");
        let line = page.text().lines().find_map(|line| line.strip_prefix(&wanted).map(str::to_owned));
        line.map_or(0.0, |line| line.trim().parse().unwrap())
    }

    /// Asks for a metric until it is as it should be.
    #[track_caller]
    pub(crate) fn wait_metric(&self, name: &str, labels: &str, good: impl Fn(f64) -> bool) {
        let began = Instant::now();
        loop {
            let is = self.metric(name, labels);
            if good(is) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{name}{labels} stays {is}");
        }
    }

    /// The gateway's process.
    pub(crate) fn gateway_id(&self) -> u32 {
        self.gateway.lock().unwrap().id()
    }

    /// Sends the gateway a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = self.gateway_id();
        let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits for the gateway to end; returns its exit code.
    pub(crate) fn wait(&self) -> Option<i32> {
        self.gateway.lock().unwrap().wait().unwrap().code()
    }

    /// Ends control without warning.
    pub(crate) fn kill_control(&self) {
        if let Some(mut control) = self.control.lock().unwrap().take() {
            control.kill().unwrap();
            control.wait().unwrap();
        }
    }

    /// Starts control again.
    pub(crate) fn start_control(&self) {
        *self.control.lock().unwrap() = Some(start_control(self.folder.path()));
    }

    /// Ends the gateway in order, unless it has ended already, and starts another one on the same state.
    pub(crate) fn restart_gateway(&mut self) {
        let running = matches!(self.gateway.lock().unwrap().try_wait(), Ok(None));
        if running {
            self.signal(rustix::process::Signal::TERM);
            self.wait();
        }
        let (gateway, log, records) = start_gateway(self.folder.path(), self.workers);
        (self.log, self.records) = (log, records);
        self.gateway = Mutex::new(gateway);
        self.admin = self.log.find("admin listening", admin);
        self.address = self.log.find("a listener", |line| value(line, " listening configured", "address"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.records.dump(Duration::from_secs(1));
        }
        let mut gateway = self.gateway.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if matches!(gateway.try_wait(), Ok(None)) {
            // Most tests leave connections open: there is nothing to drain for.
            let _ = gateway.kill();
            let _ = gateway.wait();
        }
        if let Some(mut control) =
            self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        {
            let _ = control.kill();
            let _ = control.wait();
        }
        if let Ok(id) = std::fs::read_to_string(self.folder.path().join("node.id")) {
            let _ = std::fs::remove_dir_all(format!("/dev/shm/ringway-{}", id.trim()));
        }
        if std::thread::panicking() {
            self.log.dump(Duration::ZERO);
        }
    }
}

/// Lines that a process prints, as they come.
pub(crate) struct Lines {
    seen: Mutex<Vec<String>>,
    coming: Mutex<Receiver<String>>,
}

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, coming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { seen: Mutex::default(), coming: Mutex::new(coming) }
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let line = self.coming.lock().unwrap().recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("no further line came"))
    }

    /// What the first line yields, seen or to come, that yields something.
    #[track_caller]
    pub(crate) fn find<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let mut seen = self.seen.lock().unwrap();
        if let Some(found) = seen.iter().find_map(|line| look(line)) {
            return found;
        }
        loop {
            let Ok(line) = self.coming.lock().unwrap().recv_timeout(PATIENCE) else {
                panic!("{what:?} never came; instead:\n{}", seen.join("\n"));
            };
            let found = look(&line);
            seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Prints all, for whoever looks for the cause of a failure; what comes within so long included.
    fn dump(&self, patience: Duration) {
        let Ok(mut seen) = self.seen.lock() else { return };
        let Ok(coming) = self.coming.lock() else { return };
        seen.extend(coming.recv_timeout(patience));
        seen.extend(coming.try_iter());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), (seen.join("\n") + "\n").as_bytes());
    }
}

/// Where a configured admin listener is bound: the default one is for gateways that have no configuration yet.
fn admin(line: &str) -> Option<SocketAddr> {
    value(line, "admin listening", "address").filter(|address| address.port() != 9090)
}

/// The address after `key=` in a line that holds `marker`.
pub(crate) fn value(line: &str, marker: &str, key: &str) -> Option<SocketAddr> {
    let (_, rest) = line.contains(marker).then_some(line)?.split_once(&format!(" {key}="))?;
    rest.split(' ').next()?.parse().ok()
}

fn start_control(state: &Path) -> Child {
    start_control_with(state, &[]).0
}

/// A control daemon with further arguments, and its ready line.
pub(crate) fn start_control_with(state: &Path, more: &[&str]) -> (Child, String) {
    let mut control = Command::new(RINGWAY)
        .args(["control", "--api", "127.0.0.1:0", "--state"])
        .arg(state)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(control.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("control is ready"), "{line}");
    (control, line)
}

fn start_gateway(state: &Path, workers: u16) -> (Child, Lines, Lines) {
    let (gateway, log, records) = start_gateway_with(state, workers, &[]);
    let driver = driver();
    let expected = if driver == "epoll" { "driver=\"epoll\"" } else { "driver=\"io_uring_" };
    let started = log.find("workers started", |line| {
        (line.contains("workers started") || line.contains("ERROR")).then(|| line.to_owned())
    });
    assert!(started.contains(expected), "not on {driver}: {started}");
    (gateway, log, records)
}

fn driver() -> String {
    std::env::var("RINGWAY_TEST_DRIVER").unwrap_or_else(|_| DRIVER.get().to_owned())
}

/// A gateway with further arguments, its log and its access log, wherever it has got to.
pub(crate) fn start_gateway_with(state: &Path, workers: u16, more: &[&str]) -> (Child, Lines, Lines) {
    // Each test process on a core of its own, as far as they reach: one worker would always be pinned to the first.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let first = usize::try_from(std::process::id()).unwrap();
    let pinned: Vec<String> =
        (0..usize::from(workers)).map(|index| ((first + index) % cores).to_string()).collect();
    let mut gateway = Command::new(RINGWAY)
        .args(["gateway", "--driver", &driver(), "--workers", &workers.to_string()])
        .args(["--cores", &pinned.join(","), "--state"])
        .arg(state)
        .args(more)
        .env("NO_COLOR", "1")
        .env_remove("RINGWAY_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = Lines::of(gateway.stderr.take().unwrap());
    let records = Lines::of(gateway.stdout.take().unwrap());
    (gateway, log, records)
}

/// Applies a configuration at the control daemon of this state directory.
pub(crate) fn apply(state: &Path, site: &Site) -> Value {
    let (applied, output) = try_apply(state, site);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{applied}\n{said}", site.yaml());
    applied
}

/// The same where nodes may refuse it: what was printed first, and how the command ended.
pub(crate) fn try_apply(state: &Path, site: &Site) -> (Value, std::process::Output) {
    for (name, content) in site.files() {
        std::fs::write(state.join(name), content).unwrap();
    }
    let file: PathBuf = state.join("site.yaml");
    std::fs::write(&file, site.yaml()).unwrap();
    let output = Command::new(RINGWAY)
        .args(["apply", "--wait-ms", "60000", "--output", "json", "--state"])
        .arg(state)
        .arg(&file)
        .env_remove("RINGWAY_LOG")
        .output()
        .unwrap();
    let first = serde_json::Deserializer::from_slice(&output.stdout).into_iter().next();
    let first = first.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (first.unwrap(), output)
}
