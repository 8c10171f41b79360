//! Processes under test: started on a core of their own, measured, and ended with all that they started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::host::{self, Meter};

/// First argument of this program when it is to become another one.
pub(crate) const CHILD: &str = "become-child";

/// How a program is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Launch {
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program: program.into(), arguments, environment: Vec::new() }
    }

    /// With a variable of the environment.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A program that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it on a core, in a session of its own, and in the meter's group where there is one.
    pub(crate) fn start(
        launch: &Launch,
        core: usize,
        meter: Option<&Meter>,
        folder: &Path,
    ) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let entrance = meter.and_then(Meter::entrance).unwrap_or_else(|| PathBuf::from("-"));
        let name = launch.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        fs::remove_file(&log).ok();
        let open = || File::options().create(true).append(true).open(&log).map_err(|error| error.to_string());
        let child = Command::new(own)
            .arg(CHILD)
            .arg(core.to_string())
            .arg(entrance)
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .map_err(|error| format!("{}: {error}", launch.program.display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody listens on the port, or the program has ended.
    pub(crate) fn wait_for_port(&mut self, port: u16, limit: Duration) -> Result<(), String> {
        self.wait_until(limit, |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Waits until its log holds these words; all that it has said by then.
    pub(crate) fn wait_for_words(&mut self, words: &str, limit: Duration) -> Result<String, String> {
        let mut said = String::new();
        self.wait_until(limit, |log| {
            said = fs::read_to_string(log).unwrap_or_default();
            said.contains(words)
        })?;
        Ok(said)
    }

    fn wait_until(&mut self, limit: Duration, mut there: impl FnMut(&Path) -> bool) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if there(&self.log) {
                return Ok(());
            }
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Err(format!("it ended: {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("it was not ready within {} s: {}", limit.as_secs(), self.last_words()))
    }

    /// Waits for its end; what it said.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<String, String> {
        let started = Instant::now();
        while started.elapsed() < limit {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    return fs::read_to_string(&self.log).map_err(|error| error.to_string());
                }
                Ok(Some(status)) => return Err(format!("{status}: {}", self.last_words())),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Err(format!("it had not ended after {} s: {}", limit.as_secs(), self.last_words()))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let start = text.char_indices().rev().nth(400).map_or(0, |(at, _)| at);
        text.get(start..).unwrap_or_default().trim().to_owned()
    }

    /// Resident memory of it and all below it, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let of = |process: u32| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        tree(self.id()).into_iter().filter_map(of).sum()
    }

    /// The same but for the segments of Ringway's records, which are kept on purpose and bounded in number.
    pub(crate) fn resident_but_records_kib(&self) -> u64 {
        let of = |process: u32| {
            let maps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap_or_default();
            let (mut kib, mut segment) = (0, false);
            for line in maps.lines() {
                if let Some(resident) = line.strip_prefix("Rss:") {
                    let resident = resident.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
                    kib += resident.filter(|_| !segment).unwrap_or(0);
                } else if line.split_whitespace().next().is_some_and(|range| range.contains('-')) {
                    segment = line.contains("/dev/shm/ringway-");
                }
            }
            kib
        };
        tree(self.id()).into_iter().map(of).sum()
    }

    /// Sends a signal to the program itself.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = pid(self.id()) {
            rustix::process::kill_process(pid, signal).ok();
        }
    }
}

impl Drop for Running {
    /// Asks it and all that it started to end, and then makes them.
    fn drop(&mut self) {
        let processes = tree(self.id());
        for (signal, limit) in [(Signal::TERM, 1500), (Signal::KILL, 2000)] {
            for process in processes.iter().filter(|process| lives(**process)) {
                if let Some(pid) = pid(*process) {
                    rustix::process::kill_process(pid, signal).ok();
                }
            }
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(limit) {
                let ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
                if ended && !processes.iter().any(|process| *process != self.id() && lives(*process)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

/// Whether it is there and no zombie.
fn lives(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process.
fn stat(process: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// A process and all below it.
pub(crate) fn tree(process: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok())
            && let Some((_, parent)) = stat(id)
        {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = vec![process];
    let mut at = 0;
    while let Some(next) = found.get(at) {
        found.extend(children.get(next).into_iter().flatten().copied().collect::<Vec<_>>());
        at += 1;
    }
    found
}

/// A port of loopback that nobody listens on.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Runs this very program with these words in a session of its own on a core, and waits for its end.
pub(crate) fn in_a_child(
    core: usize,
    words: Vec<OsString>,
    environment: Option<(&str, &str)>,
) -> Result<ExitStatus, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(&own);
    command.arg(CHILD).arg(core.to_string()).arg("-").arg(&own).args(words).stdin(Stdio::null());
    command.envs(environment);
    command.status().map_err(|error| error.to_string())
}

/// Sets core, group, session and limits of this process, and becomes the program that the words name.
pub(crate) fn become_child(mut words: impl Iterator<Item = OsString>) -> Result<String, String> {
    let (Some(core), Some(entrance), Some(program)) = (words.next(), words.next(), words.next()) else {
        return Err("core, group and program are wanted".to_owned());
    };
    rustix::process::setsid().map_err(|error| error.to_string())?;
    // In a session of its own it hears nothing of the terminal: it ends with whoever started it.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| error.to_string())?;
    if entrance != "-" {
        fs::write(&entrance, "0").map_err(|error| format!("{}: {error}", entrance.display()))?;
    }
    let core = core.to_str().and_then(|core| core.parse().ok()).ok_or("a core is a number")?;
    host::pin(core)?;
    host::take_precedence();
    host::raise_descriptors();
    Err(Command::new(&program).args(words).exec().to_string())
}
