//! The machine: cores, the meter of CPU time, what stands in reports about it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::process::tree;

/// The proxy's core, and the one of load and endpoint.
pub(crate) const PROXY_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// A variable of the environment that all processes of a polite run have.
pub(crate) const POLITE: &str = "RINGWAY_BENCH_POLITE";

/// Pins the calling thread, and what it starts from now on.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("core {core}: {error}"))
}

/// Takes precedence over other work on the machine, where that is allowed: the scheduler weighs sessions first (autogroup),
/// so a nice value alone does nothing against other sessions. Not where a run is to be polite.
pub(crate) fn take_precedence() {
    if std::env::var_os(POLITE).is_some() {
        return;
    }
    fs::write("/proc/self/autogroup", "-20").ok();
    rustix::process::setpriority_process(None, -20).ok();
}

/// Raises the limit of descriptors as far as it goes; what holds then.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).ok();
    limit.maximum.unwrap_or(u64::MAX)
}

/// Where CPU time is read, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A control group of our own: every thread and every kernel worker in it, to the nanosecond.
    Accounting,
    /// The same in the unified hierarchy, to the microsecond.
    Unified,
    /// The sum over the threads of the processes; kernel workers that are no thread of theirs are missing.
    Threads,
}

/// The meter of CPU time: a group of the whole run, and in it one of what is measured.
#[derive(Debug)]
pub(crate) struct Meter {
    source: Source,
    /// Of all that this run started, and of itself.
    run: PathBuf,
    measured: PathBuf,
    /// The group that this process came from, and goes back to.
    home: PathBuf,
}

impl Meter {
    /// The best that is to be had here. This process enters its group, and so does all that it starts.
    pub(crate) fn new() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path_of = |is: fn(&str) -> bool| {
            own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                is(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let accounting = path_of(|controllers| controllers.split(',').any(|name| name == "cpuacct"));
        let unified = path_of(str::is_empty);
        let candidates = [
            (Source::Accounting, "/sys/fs/cgroup/cpuacct", accounting, "cpuacct.usage"),
            (Source::Unified, "/sys/fs/cgroup", unified, "cpu.stat"),
        ];
        for (source, root, path, file) in candidates {
            let Some(path) = path else { continue };
            let run = Path::new(root).join(format!("ringway-bench-{}", std::process::id()));
            let meter =
                Self { source, measured: run.join("measured"), run, home: Path::new(root).join(path) };
            let made = fs::create_dir(&meter.run).is_ok() && fs::create_dir(&meter.measured).is_ok();
            if made
                && meter.measured.join(file).is_file()
                && fs::write(meter.run.join("cgroup.procs"), "0").is_ok()
            {
                return meter;
            }
        }
        Self { source: Source::Threads, run: PathBuf::new(), measured: PathBuf::new(), home: PathBuf::new() }
    }

    /// The file that a process enters the measured group by.
    pub(crate) fn entrance(&self) -> Option<PathBuf> {
        (self.source != Source::Threads).then(|| self.measured.join("cgroup.procs"))
    }

    /// CPU nanoseconds so far, of the measured group, or of a process and all below it.
    pub(crate) fn read_ns(&self, process: u32) -> u64 {
        match self.source {
            Source::Threads => tree(process).into_iter().map(threads_ns).sum(),
            _ => self.group_ns(&self.measured),
        }
    }

    fn group_ns(&self, folder: &Path) -> u64 {
        if self.source == Source::Accounting {
            return number(&folder.join("cpuacct.usage")).unwrap_or(0);
        }
        let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        usage.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1000
    }

    /// CPU nanoseconds so far of everybody on this machine who is not part of this run: what they take is noise.
    pub(crate) fn others_ns(&self) -> u64 {
        if self.source == Source::Threads {
            return 0;
        }
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.filter_map(|word| word.parse().ok()).collect();
        // Columns 4 and 5 are idle; from the ninth on they are counted before already (proc_stat(5)).
        let busy = |(column, _): &(usize, &u64)| !matches!(column, 3 | 4 | 8..);
        let busy: u64 = ticks.iter().enumerate().filter(busy).map(|(_, ticks)| ticks).sum();
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        (busy * tick_ns).saturating_sub(self.group_ns(&self.run))
    }

    /// For the report.
    pub(crate) fn name(&self) -> &'static str {
        match self.source {
            Source::Accounting => "cpuacct control group",
            Source::Unified => "cpu.stat of a control group",
            Source::Threads => "sum over threads (kernel workers outside the process are missing)",
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.source != Source::Threads {
            fs::write(self.home.join("cgroup.procs"), "0").ok();
            fs::remove_dir(&self.measured).ok();
            fs::remove_dir(&self.run).ok();
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

fn threads_ns(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| number(&thread.path().join("schedstat"))).sum()
}

/// Cores of the machine.
pub(crate) fn cores() -> usize {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// One line about the machine: processor, kernel, cores.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = cores();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

/// Load average over a minute: what else ran.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
