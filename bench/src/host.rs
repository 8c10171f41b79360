//! The machine: cores, the meter of CPU time, what stands in reports about it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::process::tree;

/// The proxy's core, and the one of load and endpoint.
pub(crate) const PROXY_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// Pins the calling thread, and what it starts from now on.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("core {core}: {error}"))
}

/// Takes precedence over other work on the machine, where that is allowed: the scheduler weighs sessions first (autogroup),
/// so a nice value alone does nothing against other sessions.
pub(crate) fn take_precedence() {
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
#[derive(Debug, Clone)]
pub(crate) enum Meter {
    /// A control group of our own: every thread and every kernel worker in it, to the nanosecond.
    Accounting(PathBuf),
    /// The same in the unified hierarchy, to the microsecond.
    Unified(PathBuf),
    /// The sum over the threads of the processes; kernel workers that are no thread of theirs are missing.
    Threads,
}

impl Meter {
    /// The best that is to be had here.
    pub(crate) fn new() -> Self {
        let name = format!("ringway-bench-{}", std::process::id());
        let accounting = Path::new("/sys/fs/cgroup/cpuacct").join(&name);
        if fs::create_dir(&accounting).is_ok() {
            return Self::Accounting(accounting);
        }
        let unified = Path::new("/sys/fs/cgroup").join(&name);
        if Path::new("/sys/fs/cgroup/cgroup.controllers").is_file() && fs::create_dir(&unified).is_ok() {
            if unified.join("cpu.stat").is_file() {
                return Self::Unified(unified);
            }
            fs::remove_dir(&unified).ok();
        }
        Self::Threads
    }

    /// The file that a process enters the group by.
    pub(crate) fn entrance(&self) -> Option<PathBuf> {
        match self {
            Self::Accounting(folder) | Self::Unified(folder) => Some(folder.join("cgroup.procs")),
            Self::Threads => None,
        }
    }

    /// CPU nanoseconds so far, of the group, or of a process and all below it.
    pub(crate) fn read_ns(&self, process: u32) -> u64 {
        match self {
            Self::Accounting(folder) => number(&folder.join("cpuacct.usage")).unwrap_or(0),
            Self::Unified(folder) => {
                let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
                let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
                usage.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1000
            }
            Self::Threads => tree(process).into_iter().map(threads_ns).sum(),
        }
    }

    /// For the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Accounting(_) => "cpuacct control group",
            Self::Unified(_) => "cpu.stat of a control group",
            Self::Threads => "sum over threads (kernel workers outside the process are missing)",
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Self::Accounting(folder) | Self::Unified(folder) = self {
            fs::remove_dir(folder).ok();
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

/// One line about the machine: processor, kernel, cores.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

/// Load average over a minute: what else ran.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
