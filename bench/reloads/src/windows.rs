//! Latencies in windows of 100 ms: a step shows there which a percentile of the whole would hide.

/// Length of a window.
pub(crate) const WINDOW_MS: u64 = 100;

/// The 99th percentile of each window, in microseconds.
pub(crate) struct Windows {
    p99_us: Vec<u64>,
    count: usize,
}

impl Windows {
    /// From latencies with the millisecond at which each was measured, in order of time.
    pub(crate) fn of(samples: &[(u64, u64)]) -> Self {
        let mut p99_us = Vec::new();
        let mut window: Vec<u64> = Vec::new();
        let mut at = samples.first().map_or(0, |(ms, _)| ms / WINDOW_MS);
        for (ms, us) in samples {
            if ms / WINDOW_MS != at {
                p99_us.extend(percentile(&mut window, 99));
                window.clear();
                at = ms / WINDOW_MS;
            }
            window.push(*us);
        }
        p99_us.extend(percentile(&mut window, 99));
        Self { p99_us, count: samples.len() }
    }

    /// Median, 99th percentile and largest of the windows.
    pub(crate) fn told(&self) -> String {
        let mut sorted = self.p99_us.clone();
        let [p50, p99, most] = [50, 99, 100].map(|rank| percentile(&mut sorted, rank).unwrap_or(0));
        format!(
            "{p50} / {p99} / {most} us (median / p99 / max of {} windows, {} requests)",
            sorted.len(),
            self.count
        )
    }
}

/// The value at this rank in per cent, of those that are there.
pub(crate) fn percentile(values: &mut [u64], rank: usize) -> Option<u64> {
    values.sort_unstable();
    values.get((values.len() * rank / 100).min(values.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::{Windows, percentile};

    #[test]
    fn a_step_shows_in_its_window_alone() {
        let mut samples: Vec<(u64, u64)> = (0..1000).map(|at| (at, 100)).collect();
        samples.iter_mut().filter(|(at, _)| (500..600).contains(at)).for_each(|sample| sample.1 = 9000);
        let windows = Windows::of(&samples);
        assert_eq!(windows.p99_us, [100, 100, 100, 100, 100, 9000, 100, 100, 100, 100]);
        assert_eq!(percentile(&mut [], 50), None);
        assert_eq!(percentile(&mut [3, 1, 2], 100), Some(3));
    }
}
