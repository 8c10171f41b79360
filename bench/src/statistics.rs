//! What may be said of rounds: medians, ratios pair by pair, and when a difference is a difference.

use serde::{Deserialize, Serialize};

/// Pairs below which nothing is claimed.
pub(crate) const PAIRS_MIN: usize = 5;

/// Median, least and most of some values.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = values.get(middle)?;
        let median = match values.len() % 2 {
            0 => (values.get(middle.wrapping_sub(1))? + upper) / 2.0,
            _ => *upper,
        };
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// What the pairs allow to say about Ringway beside a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Ringway takes less.
    Less,
    /// Ringway takes more.
    More,
    /// The noise is larger than the difference, or there are too few pairs.
    Nothing,
}

impl Claim {
    /// For tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Less => "less",
            Self::More => "more",
            Self::Nothing => "no claim",
        }
    }
}

/// The rule: at least five pairs, all (of eight and more: all but one) on one side of 1, and the median further from 1 than
/// half of what lies between the least and the greatest ratio, the odd one of eight left out.
///
/// With five pairs, chance alone puts all on one side once in sixteen times, and half of those also pass the second
/// condition at most.
pub(crate) fn claim(ratios: &[f64]) -> Claim {
    let Some(spread) = Spread::of(ratios.iter().copied()) else { return Claim::Nothing };
    let below = ratios.iter().filter(|ratio| **ratio < 1.0).count();
    let above = ratios.len() - below;
    let odd = usize::from(ratios.len() >= 8);
    let mut kept: Vec<f64> = ratios.to_vec();
    kept.sort_by(f64::total_cmp);
    if odd == 1 {
        // The one that speaks most against the median's side.
        if spread.median < 1.0 {
            kept.pop();
        } else {
            kept.remove(0);
        }
    }
    let width = kept.last().unwrap_or(&1.0) - kept.first().unwrap_or(&1.0);
    let clear = (spread.median - 1.0).abs() > width / 2.0;
    match () {
        () if ratios.len() < PAIRS_MIN || !clear => Claim::Nothing,
        () if above <= odd => Claim::Less,
        () if below <= odd => Claim::More,
        () => Claim::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_even_and_odd_counts() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn a_claim_needs_pairs_and_a_difference_larger_than_the_noise() {
        assert_eq!(claim(&[0.8; 5]), Claim::Less);
        assert_eq!(claim(&[0.8; 4]), Claim::Nothing);
        assert_eq!(claim(&[1.1, 1.12, 1.09, 1.1, 1.11]), Claim::More);
        assert_eq!(claim(&[0.99, 0.98, 1.01, 0.97, 0.99]), Claim::Nothing);
        // All on one side, but spread wider than they are away from 1.
        assert_eq!(claim(&[0.99, 0.98, 0.99, 0.70, 0.99]), Claim::Nothing);
        assert_eq!(claim(&[0.8, 0.81, 0.8, 0.79, 0.8, 0.8, 0.8, 1.2]), Claim::Less);
        assert_eq!(claim(&[0.8, 0.81, 0.8, 0.79, 0.8, 0.8, 1.2, 1.2]), Claim::Nothing);
    }
}
