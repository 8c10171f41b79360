//! The generic cell rate algorithm in exact integers: no clock, no cell, no rounding that adds up.
//!
//! A rate of `count` per `per` has the interval per ÷ count, which is seldom a whole number of nanoseconds. So time
//! is counted in *units*, the largest that divides both a tick of the clock and the interval: a tick is `scale`
//! units and a request costs `step` units, whole numbers both (count and per, reduced). The state of a cell is its
//! theoretical arrival time (TAT) in units since the cell's own base; a request is admitted when
//! `max(TAT, now) + step - now <= burst * step`, and that sum is then the new TAT.
//!
//! Measured against a real-valued bucket there is no error at all while a tick is a nanosecond. It is a microsecond
//! or a millisecond only where `burst * step` would not fit, which takes rates over days; the error is then at most
//! one tick, once, and does not add up.

use crate::limits::{RATE_COUNT_MAX, RATE_WINDOW_MS_MAX};

/// A cell's TAT stays below this many units, so that sums of two never wrap.
const HORIZON_UNITS: u64 = 1 << 62;
/// Deepest bucket in units.
const DEPTH_UNITS_MAX: u128 = 1 << 60;
/// Ticks that are tried, finest first, in nanoseconds.
const TICKS_NS: [u64; 3] = [1, 1_000, 1_000_000];

/// How the units of a cell relate to time and to requests. Cells of equal pace can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    tick_ns: u64,
    scale: u64,
    step: u64,
}

/// A rate with its burst, ready to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    pace: Pace,
    depth: u64,
    horizon_ns: u64,
}

/// What a definition says of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per window, 1..=[`RATE_COUNT_MAX`].
    pub count: u64,
    /// The window in milliseconds, 1..=[`RATE_WINDOW_MS_MAX`].
    pub per_ms: u64,
    /// Requests that may come at once, at least 1.
    pub burst: u64,
}

/// Why a rate cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Nothing would ever be admitted.
    #[error("a rate needs a count of at least 1")]
    CountZero,
    /// Beyond [`RATE_COUNT_MAX`].
    #[error("a rate's count is at most {RATE_COUNT_MAX}")]
    CountTooGreat,
    /// The window has no length.
    #[error("a rate's window is at least a millisecond")]
    WindowZero,
    /// Beyond [`RATE_WINDOW_MS_MAX`].
    #[error("a rate's window is at most 366 days")]
    WindowTooLong,
    /// Nothing would ever be admitted.
    #[error("a burst is at least 1")]
    BurstZero,
    /// The bucket would take ages to fill.
    #[error("the burst would take too long to refill at this rate")]
    BurstTooDeep,
}

/// A decision on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may pass; the cell's state becomes this.
    Admit {
        /// New TAT.
        state: u64,
        /// What is used of the bucket after it.
        debt: Debt,
    },
    /// It may not; the state stays.
    Refuse {
        /// What is used of the bucket.
        debt: Debt,
    },
}

/// How far a cell's TAT is ahead of now, in units of its pace: what is used of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Debt(u64);

impl Rate {
    /// The rate, kept by one of `workers` that share it evenly: interval × workers, burst ÷ workers (at least 1).
    ///
    /// # Errors
    /// What cannot be kept.
    pub fn prepare(self, workers: u32) -> Result<Gcra, RateError> {
        match self {
            Self { count: 0, .. } => return Err(RateError::CountZero),
            Self { per_ms: 0, .. } => return Err(RateError::WindowZero),
            Self { burst: 0, .. } => return Err(RateError::BurstZero),
            Self { count, .. } if count > RATE_COUNT_MAX => return Err(RateError::CountTooGreat),
            Self { per_ms, .. } if per_ms > RATE_WINDOW_MS_MAX => return Err(RateError::WindowTooLong),
            Self { .. } => {}
        }
        let workers = u64::from(workers.max(1));
        let burst = (self.burst / workers).max(1);
        TICKS_NS
            .iter()
            .find_map(|&tick_ns| {
                Gcra::with_tick(tick_ns, self.count, u128::from(self.per_ms) * u128::from(workers), burst)
            })
            .ok_or(RateError::BurstTooDeep)
    }
}

impl Gcra {
    fn with_tick(tick_ns: u64, count: u64, per_ms: u128, burst: u64) -> Option<Self> {
        let per_ticks = per_ms * u128::from(1_000_000 / tick_ns);
        let shared = greatest_common_divisor(per_ticks, u128::from(count));
        let step = per_ticks / shared;
        let depth = step.checked_mul(u128::from(burst)).filter(|depth| *depth <= DEPTH_UNITS_MAX)?;
        let scale = u64::try_from(u128::from(count) / shared).ok()?;
        Some(Self {
            pace: Pace { tick_ns, scale, step: u64::try_from(step).ok()? },
            depth: u64::try_from(depth).ok()?,
            horizon_ns: (HORIZON_UNITS / scale).saturating_mul(tick_ns),
        })
    }

    /// The units that cells of this rate count in.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// How old a cell's base may become before the cell has to be rebased.
    #[must_use]
    pub fn horizon_ns(&self) -> u64 {
        self.horizon_ns
    }

    /// Decides on one request at `at` units after the base of a cell in this `state`.
    #[must_use]
    pub fn decide(&self, state: u64, at: u64) -> Decision {
        let start = state.max(at);
        let next = start + self.pace.step;
        if next - at <= self.depth {
            Decision::Admit { state: next, debt: Debt(next - at) }
        } else {
            Decision::Refuse { debt: Debt(start - at) }
        }
    }

    /// The state after one admitted request is taken back at `at`; the same when there is nothing to take.
    #[must_use]
    pub fn take_back(&self, state: u64, at: u64) -> u64 {
        if state >= at.saturating_add(self.pace.step) { state - self.pace.step } else { state }
    }

    /// Debt of a cell of another pace, in requests carried over into this one, never more than the burst.
    #[must_use]
    pub fn convert(&self, debt: Debt, from: Pace) -> Debt {
        if from == self.pace {
            return Debt(debt.0.min(self.depth));
        }
        let units = (u128::from(debt.0) * u128::from(self.pace.step)).div_ceil(u128::from(from.step.max(1)));
        Debt(u64::try_from(units).unwrap_or(u64::MAX).min(self.depth))
    }

    /// Requests that could come at once now.
    #[must_use]
    pub fn remaining(&self, debt: Debt) -> u64 {
        self.depth.saturating_sub(debt.0) / self.pace.step
    }

    /// Nanoseconds until one more request is admitted; 0 when it is now.
    #[must_use]
    pub fn next_after_ns(&self, debt: Debt) -> u64 {
        self.pace.ns(debt.0.saturating_add(self.pace.step).saturating_sub(self.depth))
    }

    /// Nanoseconds until the whole burst is there again.
    #[must_use]
    pub fn full_after_ns(&self, debt: Debt) -> u64 {
        self.pace.ns(debt.0)
    }

    /// Requests that may come at once after a long silence.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.depth / self.pace.step
    }
}

impl Pace {
    /// Units in this many nanoseconds, counted in whole ticks; saturates.
    #[must_use]
    pub fn units(&self, ns: u64) -> u64 {
        let ticks = if self.tick_ns == 1 { ns } else { ns / self.tick_ns };
        ticks.saturating_mul(self.scale)
    }

    /// Nanoseconds in which at least these units pass; saturates.
    fn ns(&self, units: u64) -> u64 {
        units.div_ceil(self.scale).saturating_mul(self.tick_ns)
    }
}

impl Debt {
    /// How far `state` is ahead of `at`.
    #[must_use]
    pub fn of(state: u64, at: u64) -> Self {
        Self(state.saturating_sub(at))
    }

    /// The state that owes this at `at`.
    #[must_use]
    pub fn state(self, at: u64) -> u64 {
        at.saturating_add(self.0)
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A bucket over exact fractions: level in requests × (per_ms × 10^6), refilled by count a nanosecond.
    struct Bucket {
        rate: Rate,
        level: u128,
        last_ns: u64,
    }

    impl Bucket {
        fn new(rate: Rate) -> Self {
            Self { rate, level: Self::request(rate) * u128::from(rate.burst), last_ns: 0 }
        }

        fn request(rate: Rate) -> u128 {
            u128::from(rate.per_ms) * 1_000_000
        }

        fn admits(&mut self, now_ns: u64) -> bool {
            let full = Self::request(self.rate) * u128::from(self.rate.burst);
            let refill = u128::from(now_ns - self.last_ns) * u128::from(self.rate.count);
            self.level = full.min(self.level + refill);
            self.last_ns = now_ns;
            let admitted = self.level >= Self::request(self.rate);
            if admitted {
                self.level -= Self::request(self.rate);
            }
            admitted
        }
    }

    fn admitted_times(gcra: &Gcra, times_ns: &[u64]) -> Vec<u64> {
        let mut state = 0;
        let mut admitted = Vec::new();
        for &now in times_ns {
            if let Decision::Admit { state: next, .. } = gcra.decide(state, gcra.pace().units(now)) {
                state = next;
                admitted.push(now);
            }
        }
        admitted
    }

    fn rates() -> impl Strategy<Value = Rate> {
        let per = prop_oneof![Just(1), Just(1_000), Just(60_000), Just(3_600_000), 1_u64..100_000];
        (1_u64..20_000, per, 1_u64..500).prop_map(|(count, per_ms, burst)| Rate { count, per_ms, burst })
    }

    fn arrivals() -> impl Strategy<Value = Vec<u64>> {
        let gap = prop_oneof![3 => 0_u64..1_000, 3 => 0_u64..1_000_000, 1 => 0_u64..2_000_000_000];
        proptest::collection::vec(gap, 1..400).prop_map(|gaps| {
            gaps.iter()
                .scan(0_u64, |now, gap| {
                    *now += gap;
                    Some(*now)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_burst_and_rate_times_its_length(rate in rates(), times in arrivals()) {
            let gcra = rate.prepare(1).unwrap();
            let admitted = admitted_times(&gcra, &times);
            for first in 0..admitted.len() {
                for last in first..admitted.len() {
                    let window_ns = u128::from(admitted[last] - admitted[first]);
                    let spent = u128::try_from(last - first + 1).unwrap() - 1;
                    let per_ns = u128::from(rate.per_ms) * 1_000_000;
                    // The first of the window is a whole request; what came after it was refilled or burst.
                    prop_assert!(
                        (spent + 1) * per_ns <= u128::from(rate.burst) * per_ns + window_ns * u128::from(rate.count)
                    );
                }
            }
        }

        #[test]
        fn it_decides_as_an_exact_bucket_does(rate in rates(), times in arrivals()) {
            let gcra = rate.prepare(1).unwrap();
            let mut bucket = Bucket::new(rate);
            let mut state = 0;
            for now in times {
                let decision = gcra.decide(state, gcra.pace().units(now));
                let expected = bucket.admits(now);
                prop_assert_eq!(matches!(decision, Decision::Admit { .. }), expected, "at {}", now);
                let debt = match decision {
                    Decision::Admit { state: next, debt } => { state = next; debt }
                    Decision::Refuse { debt } => debt,
                };
                prop_assert_eq!(u128::from(gcra.remaining(debt)), bucket.level / Bucket::request(rate));
            }
        }

        #[test]
        fn who_waits_as_told_is_admitted_and_not_a_tick_before(rate in rates(), times in arrivals()) {
            let gcra = rate.prepare(1).unwrap();
            let mut state = 0;
            for now in times {
                match gcra.decide(state, gcra.pace().units(now)) {
                    Decision::Admit { state: next, .. } => state = next,
                    Decision::Refuse { debt } => {
                        let wait = gcra.next_after_ns(debt);
                        prop_assert!(wait > 0);
                        let then = gcra.decide(state, gcra.pace().units(now + wait));
                        prop_assert!(matches!(then, Decision::Admit { .. }), "not admitted at its time");
                        let before = gcra.decide(state, gcra.pace().units(now + wait - 1));
                        prop_assert!(matches!(before, Decision::Refuse { .. }), "admitted before its time");
                    }
                }
            }
        }

        #[test]
        fn a_request_taken_back_was_never_there(rate in rates(), times in arrivals()) {
            let gcra = rate.prepare(1).unwrap();
            let mut state = 0;
            for now in times {
                let at = gcra.pace().units(now);
                if let Decision::Admit { state: next, .. } = gcra.decide(state, at) {
                    prop_assert_eq!(gcra.take_back(next, at), state.max(at));
                    state = next;
                }
            }
        }

        #[test]
        fn workers_together_admit_no_more_than_the_rate(count in 1_u64..1_000, workers in 1_u32..17) {
            let rate = Rate { count, per_ms: 1_000, burst: u64::from(workers) };
            let one = rate.prepare(workers).unwrap();
            let steady = admitted_times(&one, &(0..4_000).map(|i| i * 1_000_000 + 10_000_000_000).collect::<Vec<_>>());
            let bound = 1 + 4 * count / u64::from(workers) + 1;
            prop_assert!(u64::try_from(steady.len()).unwrap() <= bound);
        }
    }

    #[test]
    fn nothing_is_lost_or_won_in_ten_million_requests_at_a_third() {
        // 3 a second has an interval of 333,333,333⅓ ns. Arrivals are at most ⅔ ns late, so one request of the burst
        // is left over and must still be there at the end, and not a second one.
        let gcra = Rate { count: 3, per_ms: 1_000, burst: 2 }.prepare(1).unwrap();
        let (mut state, mut ahead) = (0, 0);
        for index in 0..10_000_000_u64 {
            let at = gcra.pace().units((index * 1_000_000_000).div_ceil(3));
            let decision = gcra.decide(state, at);
            let Decision::Admit { state: next, debt } = decision else { panic!("refused at {index}") };
            (state, ahead) = (next, debt.0 - gcra.pace().step);
        }
        assert!(ahead <= 2, "{ahead} thirds of a nanosecond added up");
    }

    #[test]
    fn rates_that_cannot_be_kept_are_refused() {
        let rate = Rate { count: 10, per_ms: 1_000, burst: 10 };
        assert_eq!(Rate { count: 0, ..rate }.prepare(1), Err(RateError::CountZero));
        assert_eq!(Rate { per_ms: 0, ..rate }.prepare(1), Err(RateError::WindowZero));
        assert_eq!(Rate { burst: 0, ..rate }.prepare(1), Err(RateError::BurstZero));
        assert_eq!(Rate { count: RATE_COUNT_MAX + 1, ..rate }.prepare(1), Err(RateError::CountTooGreat));
        assert_eq!(Rate { per_ms: RATE_WINDOW_MS_MAX + 1, ..rate }.prepare(1), Err(RateError::WindowTooLong));
        let ages = Rate { count: 1, per_ms: RATE_WINDOW_MS_MAX, burst: u64::MAX };
        assert_eq!(ages.prepare(1), Err(RateError::BurstTooDeep));
    }

    #[test]
    fn large_and_slow_rates_fit() {
        for (count, per_ms, burst) in [
            (1_000_003, 86_400_000, 1_000_003),
            (RATE_COUNT_MAX, 1_000, RATE_COUNT_MAX),
            (999_999_937, 86_400_000, 999_999_937),
            (1, RATE_WINDOW_MS_MAX, 1),
            (1_000_000, 30 * 86_400_000, 1_000_000),
        ] {
            let gcra = Rate { count, per_ms, burst }.prepare(64).unwrap();
            assert_eq!(gcra.burst(), (burst / 64).max(1));
            assert!(gcra.horizon_ns() > 1_000_000_000, "{count} per {per_ms} ms is rebased all the time");
        }
    }

    #[test]
    fn debt_is_carried_over_in_requests_and_never_beyond_the_burst() {
        let slow = Rate { count: 10, per_ms: 3_600_000, burst: 10 }.prepare(1).unwrap();
        let fast = Rate { count: 1_000, per_ms: 1_000, burst: 1_000 }.prepare(1).unwrap();
        let mut state = 0;
        for _ in 0..10 {
            let Decision::Admit { state: next, .. } = slow.decide(state, 0) else { panic!("refused") };
            state = next;
        }
        let carried = fast.convert(Debt::of(state, 0), slow.pace());
        assert_eq!(fast.remaining(carried), 990);
        let back = slow.convert(Debt(fast.pace().step * 700), fast.pace());
        assert_eq!(slow.remaining(back), 0);
        assert_eq!(slow.next_after_ns(back), 360 * 1_000_000_000);
    }
}
