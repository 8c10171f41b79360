//! Applies at a steady rate, each timed from the moment at which it was due.

use std::time::{Duration, Instant};

use crate::node::Control;
use crate::windows::percentile;

/// What became of the applies.
pub(crate) struct Applies {
    began: Instant,
    every: Duration,
    took_us: Vec<u64>,
    live: usize,
}

impl Applies {
    pub(crate) fn new(rate: u64) -> Self {
        let every = Duration::from_nanos(1_000_000_000 / rate.max(1));
        Self { began: Instant::now(), every, took_us: Vec::new(), live: 0 }
    }

    /// Waits until the next one is due, applies, and notes how long it took since it was due.
    pub(crate) fn one(&mut self, control: &mut Control, text: &str) -> Result<(), String> {
        let nth = u32::try_from(self.took_us.len()).unwrap_or(u32::MAX);
        let due = self.began + self.every * nth;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let live = control.apply(text)?;
        self.live += usize::from(live);
        self.took_us.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.took_us.len()
    }

    /// Of how many the node said that it serves them.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Median, 99th percentile and longest.
    pub(crate) fn latency_ms(&self) -> (f64, f64, f64) {
        let mut sorted = self.took_us.clone();
        let [p50, p99, most] = [50, 99, 100].map(|rank| percentile(&mut sorted, rank).unwrap_or(0));
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        (ms(p50), ms(p99), ms(most))
    }
}
