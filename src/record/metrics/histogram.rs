//! Latency histograms: few fixed buckets for a route, many for the node.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of a route's buckets in microseconds: 10 µs to a minute. One more bucket holds the rest.
pub const BOUNDS_US: [u32; 21] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Buckets of a route's histogram.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;
const _: () = assert!(BUCKETS <= 40, "decisions 19");

/// Adds in a cell that only this thread writes: a load and a store, so that no bus is locked.
#[inline]
pub(super) fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The bucket of a route's histogram that holds a value.
#[inline]
pub(super) fn bucket(value_us: u64) -> usize {
    // Halved five times, without a branch that has to be guessed.
    let clamped = u32::try_from(value_us).unwrap_or(u32::MAX);
    BOUNDS_US.partition_point(|bound| clamped > *bound)
}

/// Histograms of several workers added up.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct HistogramSums {
    /// Not cumulative.
    pub(super) buckets: [u64; BUCKETS],
    pub(super) sum_us: u64,
}

impl HistogramSums {
    /// Adds what one worker counted in a bucket.
    pub(super) fn add(&mut self, bucket: usize, count: u64) {
        if let Some(sum) = self.buckets.get_mut(bucket) {
            *sum += count;
        }
    }

    /// Adds one worker's sum of all values.
    pub(super) fn add_sum_us(&mut self, sum_us: u64) {
        self.sum_us = self.sum_us.wrapping_add(sum_us);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Each power of two is divided into this many buckets: 1.6 % wide, so two significant digits hold.
const STEPS: u64 = 64;
const STEPS_BITS: u32 = STEPS.ilog2();
/// Longest duration that is told apart, 2^36 µs or 19 hours.
const VALUE_BITS_MAX: u32 = 36;
const WIDE_BUCKETS: usize = ((VALUE_BITS_MAX - STEPS_BITS + 1) as usize) * STEPS as usize;

/// The node's histogram as one worker writes it: log-linear like HdrHistogram, into which it is poured when somebody
/// asks; its own counters are not atomic.
#[derive(Debug)]
pub(super) struct WideHistogram {
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Default for WideHistogram {
    fn default() -> Self {
        Self { buckets: (0..WIDE_BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_us: AtomicU64::new(0) }
    }
}

/// The bucket of a value: its own below twice [`STEPS`], then [`STEPS`] for each power of two.
#[inline]
fn wide_bucket(value_us: u64) -> usize {
    let value = value_us.min((1 << VALUE_BITS_MAX) - 1);
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The middle of a bucket.
fn wide_value(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / STEPS).checked_sub(1) {
        None | Some(0) => bucket,
        Some(shift) => ((bucket % STEPS + STEPS) << shift) + (1 << (shift - 1)),
    }
}

impl WideHistogram {
    #[inline]
    pub(super) fn record(&self, value_us: u64) {
        if let Some(bucket) = self.buckets.get(wide_bucket(value_us)) {
            add(bucket, 1);
        }
        add(&self.sum_us, value_us);
    }

    pub(super) fn add_to(&self, sums: &mut WideSums) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            if let (count @ 1.., Some(values)) = (bucket.load(Ordering::Relaxed), &mut sums.values) {
                values.saturating_record_n(wide_value(index), count);
            }
        }
        sums.sum_us = sums.sum_us.wrapping_add(self.sum_us.load(Ordering::Relaxed));
    }
}

/// The node's histograms added up.
#[derive(Debug, Clone)]
pub(super) struct WideSums {
    /// None only if HdrHistogram refused its constant bounds; a test holds that it takes them.
    pub(super) values: Option<hdrhistogram::Histogram<u64>>,
    pub(super) sum_us: u64,
}

impl Default for WideSums {
    fn default() -> Self {
        Self { values: hdrhistogram::Histogram::new_with_bounds(1, 1 << VALUE_BITS_MAX, 2).ok(), sum_us: 0 }
    }
}

impl WideSums {
    /// The value in microseconds below which this part (0 to 1) of all values lies.
    pub(super) fn quantile_us(&self, part: f64) -> u64 {
        self.values.as_ref().map_or(0, |values| values.value_at_quantile(part))
    }

    pub(super) fn count(&self) -> u64 {
        self.values.as_ref().map_or(0, hdrhistogram::Histogram::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wide_bucket_is_at_most_two_hundredths_off(value in 0u64..1 << VALUE_BITS_MAX) {
            let middle = wide_value(wide_bucket(value));
            prop_assert!(middle.abs_diff(value) * 50 <= value, "{value} stands as {middle}");
        }

        #[test]
        fn a_value_stands_in_the_first_bucket_that_holds_it(value in 0u64..100_000_000) {
            let first = BOUNDS_US.iter().position(|bound| value <= u64::from(*bound)).unwrap_or(BOUNDS_US.len());
            prop_assert_eq!(bucket(value), first);
        }
    }

    #[test]
    fn the_longest_duration_has_the_last_bucket() {
        assert_eq!(wide_bucket(u64::MAX), WIDE_BUCKETS - 1);
        assert_eq!(wide_bucket(0), 0);
        let (histogram, mut sums) = (WideHistogram::default(), WideSums::default());
        for value in [0, 100, 200, u64::MAX] {
            histogram.record(value);
        }
        histogram.add_to(&mut sums);
        assert_eq!((sums.count(), sums.quantile_us(0.5)), (4, 100));
    }
}
