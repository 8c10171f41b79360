//! Delays by a known law, and what a tool that measures rightly must say of them.
//!
//! *Spread*: 1 ms and an exponential part of 2 ms on average. The parts are not drawn but taken in turn from the law's own
//! quantiles by the golden ratio, so that any thousand of them in a row have its percentiles: what a tool says differently is
//! not chance. *Stall*: 1 ms, but nothing is sent for the last 200 ms of every two seconds, as by a proxy that collects garbage
//! or loads anew.

use super::histogram::Histogram;

/// The constant part of both.
const LEAST_NS: u64 = 1_000_000;
/// Mean of the exponential part.
const MEAN_NS: f64 = 2_000_000.0;
/// The share of it beyond which it grows no more: one in ten thousand, 18.4 ms.
const SHARE_MAX: f64 = 0.9999;
/// How long nothing is sent, and how often.
const STALL_NS: u64 = 200_000_000;
pub(crate) const PERIOD_NS: u64 = 2_000_000_000;
/// The fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// Which law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spread,
    Stall,
}

impl Kind {
    /// The path that asks for it.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Spread => "/spread?b=128",
            Self::Stall => "/stall?b=128",
        }
    }

    /// Name of the phase.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Stall => "stall",
        }
    }
}

/// When replies are sent.
#[derive(Debug, Default)]
pub(crate) struct Law {
    turn: u32,
}

impl Law {
    /// When a request of the first law that came at `now_ns` is answered.
    pub(super) fn spread(&mut self, now_ns: u64) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        let share = (f64::from(self.turn) * GOLDEN).fract().min(SHARE_MAX);
        now_ns + LEAST_NS + (-(1.0 - share).ln() * MEAN_NS) as u64
    }

    /// When a request of the second law that came at `now_ns` is answered.
    pub(super) fn stall(&self, now_ns: u64) -> u64 {
        let in_period = now_ns % PERIOD_NS;
        let ready_ns = match in_period < PERIOD_NS - STALL_NS {
            true => now_ns,
            false => now_ns - in_period + PERIOD_NS,
        };
        // The reply to one that came just before is held back as well.
        let due_ns = ready_ns + LEAST_NS;
        if due_ns % PERIOD_NS < PERIOD_NS - STALL_NS {
            due_ns
        } else {
            due_ns - due_ns % PERIOD_NS + PERIOD_NS
        }
    }
}

/// Latency from the intended instants of a steady rate over so many connections, each with one request at a time: by carrying
/// the law out on paper, without a network.
pub(crate) fn truth(kind: Kind, rate: f64, connections: usize, seconds: f64) -> Histogram {
    let mut law = Law::default();
    let mut latency = Histogram::default();
    let mut free: Vec<u64> = vec![0; connections];
    for number in 0..(rate * seconds) as u64 {
        let due_ns = (number as f64 * 1e9 / rate) as u64;
        let Some(first) = free.iter_mut().min() else { break };
        let sent_ns = due_ns.max(*first);
        *first = match kind {
            Kind::Spread => law.spread(sent_ns),
            Kind::Stall => law.stall(sent_ns),
        };
        latency.add(*first - due_ns);
    }
    latency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_has_the_percentiles_of_its_law() {
        let latency = truth(Kind::Spread, 1000.0, 64, 6.0);
        for part in [0.5, 0.99, 0.999] {
            let wanted = 1000.0 - (1.0f64 - part).ln() * 2000.0;
            let found = latency.quantile_us(part);
            assert!((found / wanted - 1.0).abs() < 0.02, "{part}: {found} for {wanted}");
        }
    }

    #[test]
    fn a_stall_shows_in_the_tenth_of_the_requests_that_were_due_in_it() {
        let latency = truth(Kind::Stall, 1000.0, 16, 6.0);
        assert!(latency.quantile_us(0.5) < 1_100.0 && latency.quantile_us(0.85) < 1_100.0);
        // The slowest hundredth are the first tenth of those that waited.
        let p99 = latency.quantile_us(0.99);
        assert!((170_000.0..195_000.0).contains(&p99), "{p99}");
    }
}
