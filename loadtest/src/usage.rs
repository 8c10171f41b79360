//! What a thread uses of its core: its own account of being the bottleneck.

use rustix::time::{ClockId, clock_gettime};

/// One reading, or the difference of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Time on a core.
    pub(crate) cpu_ns: u64,
    /// Time ready to run and without a core: somebody else had it. 0 where the kernel does not say.
    pub(crate) starved_ns: u64,
    /// When the reading was taken, or how long lies between two.
    pub(crate) wall_ns: u64,
}

impl Usage {
    /// The calling thread's, now.
    pub(crate) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu_ns = (cpu.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(cpu.tv_nsec as u64);
        // Three numbers: time on a core, time waiting for one, turns (Documentation/scheduler/sched-stats.rst).
        let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let starved_ns = schedule.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
        Self { cpu_ns, starved_ns, wall_ns: ringway_rt::now().mono_ns }
    }

    /// What was used since an earlier reading of the same thread.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            starved_ns: self.starved_ns.saturating_sub(earlier.starved_ns),
            wall_ns: self.wall_ns.saturating_sub(earlier.wall_ns),
        }
    }

    /// Share of a core.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / self.wall_ns.max(1) as f64
    }

    /// Share of the time that it waited for a core.
    pub(crate) fn starved_share(&self) -> f64 {
        self.starved_ns as f64 / self.wall_ns.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn work_shows_as_time_on_a_core() {
        let before = Usage::now();
        let mut sum = 0u64;
        while Usage::now().since(&before).cpu_ns < 5_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let used = Usage::now().since(&before);
        // The clock of a thread and that of the wall are read one after the other, and on a virtual machine they differ.
        assert!(used.wall_ns >= 2_500_000 && used.cpu_share() <= 2.0, "{used:?}");
    }
}
