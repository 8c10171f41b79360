//! Latencies in buckets of at most 1.6 % width.

/// Buckets for each power of two.
const PER_POWER: usize = 64;
const BUCKETS: usize = 42 * PER_POWER;

/// Counts by size, of nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max_ns: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, value_ns: u64) {
        let bucket = bucket(value_ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// The value that the share `part` (0 to 1) of all values does not exceed, in microseconds; 0 when empty.
    pub(crate) fn quantile_us(&self, part: f64) -> f64 {
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return upper(bucket).min(self.max_ns) as f64 / 1e3;
            }
        }
        self.max_ns as f64 / 1e3
    }
}

fn bucket(value: u64) -> usize {
    let power = (64 - value.leading_zeros() as usize).saturating_sub(7);
    let bucket = (power * PER_POWER).saturating_add((value >> power) as usize);
    bucket.min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    // From 128 on, each power has the buckets 64 to 127 of its own width.
    let power = (bucket / PER_POWER).saturating_sub(1);
    let place = (bucket - power * PER_POWER) as u64;
    ((place + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_value_within_its_width() {
        for value in [0, 1, 63, 64, 127, 128, 129, 1000, 12_345, 999_999, 7_000_000_000] {
            let upper = upper(bucket(value));
            assert!(upper >= value && upper <= value + value / 60, "{value}: {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        let near = |part, wanted: f64| (histogram.quantile_us(part) / wanted - 1.0).abs() < 0.02;
        assert!(near(0.5, 500.0) && near(0.99, 990.0) && near(1.0, 1000.0));
        assert_eq!(Histogram::default().quantile_us(0.5), 0.0);
    }
}
