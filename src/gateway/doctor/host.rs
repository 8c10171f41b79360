//! What a check looks at: files of the host below a root, and the kernel's answers to what was tried.

use std::io;
use std::path::{Path, PathBuf};

use ringway_rt::Driver;
use ringway_rt::probe::{self, ProcessLimit};

/// Readings of the clock whose time is taken together.
const CLOCK_READINGS: u64 = 2_000;

/// What the kernel answered when it was asked by system calls.
#[derive(Debug)]
pub(super) struct Answers {
    /// The drivers from the best, each with why it is refused.
    pub(super) drivers: Vec<(Driver, Option<io::Error>)>,
    pub(super) clock_reading_ns: u64,
    pub(super) clock_is_synchronised: io::Result<bool>,
    pub(super) descriptors: io::Result<ProcessLimit>,
    pub(super) locked_memory: io::Result<ProcessLimit>,
    pub(super) udp_segmentation: io::Result<()>,
    pub(super) udp_coalescing: io::Result<()>,
    pub(super) steering: io::Result<()>,
    pub(super) shared_memory_free_bytes: io::Result<u64>,
    pub(super) cores: usize,
}

impl Answers {
    /// Asks this host.
    pub(super) fn ask() -> Self {
        let drivers =
            [Driver::UringSingleIssuerDefer, Driver::UringSingleIssuerCoop, Driver::UringCoop, Driver::Epoll];
        Self {
            drivers: drivers.into_iter().map(|driver| (driver, probe::try_driver(driver).err())).collect(),
            clock_reading_ns: clock_reading_ns(),
            clock_is_synchronised: probe::clock_is_synchronised(),
            descriptors: probe::descriptors_limit(),
            locked_memory: probe::locked_memory_limit(),
            udp_segmentation: probe::udp_segmentation(),
            udp_coalescing: probe::udp_coalescing(),
            steering: probe::steering(),
            shared_memory_free_bytes: probe::free_bytes(Path::new("/dev/shm")),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// What one reading of both clocks costs: the least of some tries, so that a preemption does not count.
fn clock_reading_ns() -> u64 {
    let once = || {
        let started = ringway_rt::now().mono_ns;
        let mut last = started;
        for _ in 0..CLOCK_READINGS {
            last = ringway_rt::now().mono_ns;
        }
        last.saturating_sub(started) / CLOCK_READINGS
    };
    (0..5).map(|_| once()).min().unwrap_or(0)
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
    pub(super) answers: Answers,
}

impl Host {
    pub(super) fn new(root: &Path, answers: Answers) -> Self {
        Self { root: root.to_owned(), answers }
    }

    /// The trimmed text of a file, named from the root without a slash; none where it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// The first number of a file.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// The sysctl `net.core.somaxconn`, as a number.
    pub(super) fn sysctl(&self, name: &str) -> Option<u64> {
        self.number(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// Names in a directory, in order; none where there is no such directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether a process of this name is seen.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.names("proc")
            .iter()
            .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
            .any(|pid| self.text(&format!("proc/{pid}/comm")).as_deref() == Some(name))
    }

    /// Major and minor version of the kernel.
    pub(super) fn kernel_version(&self) -> Option<(u32, u32)> {
        let release = self.text("proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Directories of the control groups of this process for a controller, its own first; empty for `v2` means the
    /// unified hierarchy.
    pub(super) fn control_groups(&self, controller: &str) -> Vec<String> {
        let mine = self.text("proc/self/cgroup").unwrap_or_default();
        let mut found = Vec::new();
        for line in mine.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let holds = controllers.split(',').any(|name| name == controller);
            let base = match (controllers.is_empty(), holds) {
                (true, _) => "sys/fs/cgroup".to_owned(),
                (false, true) => format!("sys/fs/cgroup/{controller}"),
                (false, false) => continue,
            };
            found.extend(Path::new(path).ancestors().map(|group| format!("{base}{}", group.display())));
        }
        found
    }

    /// Network interfaces with a device behind them: not loopback, bridges or tunnels.
    pub(super) fn interfaces(&self) -> Vec<String> {
        let mut names = self.names("sys/class/net");
        names.retain(|name| self.root.join("sys/class/net").join(name).join("device").exists());
        names
    }

    /// One line about the host.
    pub(super) fn title(&self) -> String {
        let text = |path| self.text(path).unwrap_or_default();
        let cores = self.answers.cores;
        format!(
            "{}: Linux {}, {cores} {} to run on",
            text("proc/sys/kernel/hostname"),
            text("proc/sys/kernel/osrelease"),
            if cores == 1 { "core" } else { "cores" },
        )
    }
}
