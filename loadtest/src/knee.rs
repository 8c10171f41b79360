//! The search for the knee: the largest rate at which a condition holds. The search itself is a pure core.

use serde::{Deserialize, Serialize};

/// Rates this close together are one: the search ends.
const CLOSE: f64 = 1.04;
/// Trials of one search.
const TRIALS_MAX: usize = 40;
/// Failed requests that a trial may have, as a share.
pub(crate) const FAILED_SHARE_MAX: f64 = 0.001;
/// Replies that a trial must have, as a share of what was due.
pub(crate) const ANSWERED_SHARE_MIN: f64 = 0.99;

/// Rates double until one is too high, halve until one is not, and then close in between.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    from: f64,
    good: Option<f64>,
    bad: Option<f64>,
    trials: usize,
}

impl Search {
    /// A search that begins at this rate.
    pub(crate) fn new(from: f64) -> Self {
        Self { from, good: None, bad: None, trials: 0 }
    }

    /// The next rate to try. None: found, or not to be found.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        if self.trials >= TRIALS_MAX {
            return None;
        }
        match (self.good, self.bad) {
            (None, None) => Some(self.from),
            (Some(good), None) => Some(good * 2.0),
            (None, Some(bad)) => (bad > 1.0).then_some(bad / 2.0),
            (Some(good), Some(bad)) => (bad / good > CLOSE).then(|| rounded((good * bad).sqrt())),
        }
    }

    /// What came of a rate.
    pub(crate) fn tell(&mut self, rate: f64, held: Held) {
        self.trials += 1;
        match held {
            Held::Yes => self.good = Some(self.good.map_or(rate, |good| good.max(rate))),
            Held::No => self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate))),
        }
    }
}

/// Whether the condition held at a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It did.
    Yes,
    /// It did not.
    No,
}

/// To three figures: nobody needs more of a rate, and reports are easier to read.
fn rounded(rate: f64) -> f64 {
    let grain = 10f64.powf(rate.log10().floor() - 2.0);
    (rate / grain).round() * grain
}

/// A search, told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Knee {
    pub(crate) condition: String,
    /// The largest rate at which it held; none where it held at none.
    pub(crate) rate: Option<f64>,
    /// The search ended because the generator could do no more.
    pub(crate) generator_limited: bool,
    pub(crate) trials: Vec<Trial>,
}

/// One trial.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) rate: f64,
    pub(crate) held: bool,
    pub(crate) value: f64,
    pub(crate) shown: String,
    pub(crate) answered_rate: f64,
    pub(crate) failed_share: f64,
}

#[cfg(test)]
mod tests {
    use super::{Held, Search};

    fn find(from: f64, capacity: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(from);
        let mut trials = 0;
        while let Some(rate) = search.next_rate() {
            search.tell(rate, if rate <= capacity { Held::Yes } else { Held::No });
            trials += 1;
        }
        (search.good, trials)
    }

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        for (from, capacity) in [(1000.0, 18_345.0), (1000.0, 77.0), (1000.0, 1000.0), (10.0, 2_000_000.0)] {
            let (found, trials) = find(from, capacity);
            let found = found.unwrap();
            assert!(found <= capacity && found * 1.05 > capacity, "{from} {capacity}: {found}");
            assert!(trials < 30, "{trials}");
        }
    }

    #[test]
    fn a_search_for_nothing_ends() {
        assert_eq!(find(1000.0, 0.0).0, None);
        assert!(find(1000.0, f64::INFINITY).1 <= 40);
    }
}
