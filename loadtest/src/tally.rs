//! What one thread counts, cheaply: plain numbers and histograms, given away at every tick.

use hdrhistogram::Histogram;

use crate::failure::{FAILURES, Failure};

/// Latencies are nanoseconds between these, with three significant figures.
pub(crate) const LATENCY_NS_MIN: u64 = 1;
/// One hour: what takes longer counts as this.
pub(crate) const LATENCY_NS_MAX: u64 = 3_600 * 1_000_000_000;
/// Statuses 100 to 999.
const STATUSES: usize = 900;

/// A histogram of latencies in nanoseconds with three significant figures.
pub(crate) fn latencies() -> Histogram<u64> {
    with_figures(3)
}

/// The same with two: for those of which there are many.
pub(crate) fn rough_latencies() -> Histogram<u64> {
    with_figures(2)
}

fn with_figures(figures: u8) -> Histogram<u64> {
    // These bounds are valid, and where they were not a histogram that grows would do as well.
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, figures).unwrap_or_else(|_| growing(figures))
}

#[expect(
    clippy::expect_used,
    reason = "two and three significant figures are valid, and nothing else is asked for"
)]
fn growing(figures: u8) -> Histogram<u64> {
    Histogram::new(figures).expect("one to five figures are valid")
}

/// Counts and latencies of some time.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// From the intended time to the end of the reply. In a closed loop the intended time is when it was sent.
    pub(crate) corrected: Histogram<u64>,
    /// From when it was sent (a connection opened for it included) to the end of the reply. Empty in a closed loop.
    pub(crate) service: Histogram<u64>,
    /// How much later than intended requests were sent although a connection was free: the generator's own fault.
    pub(crate) lateness: Histogram<u64>,
    /// Time that it took to open a connection, handshakes included.
    pub(crate) connecting: Histogram<u64>,
    /// Requests sent.
    pub(crate) sent: u64,
    /// Whole replies received, checks that failed included.
    pub(crate) answered: u64,
    /// Requests that waited for a free connection.
    pub(crate) waited: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Requests sent again because a kept connection had been closed before a byte of the reply.
    pub(crate) resent: u64,
    /// Bytes sent, heads included, before TLS.
    pub(crate) bytes_out: u64,
    /// Bytes received.
    pub(crate) bytes_in: u64,
    failures: [u64; FAILURES],
    statuses: Box<[u64; STATUSES]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            corrected: latencies(),
            service: latencies(),
            lateness: rough_latencies(),
            connecting: rough_latencies(),
            sent: 0,
            answered: 0,
            waited: 0,
            opened: 0,
            resent: 0,
            bytes_out: 0,
            bytes_in: 0,
            failures: [0; FAILURES],
            statuses: Box::new([0; STATUSES]),
        }
    }
}

impl Tally {
    /// Counts a failure.
    #[inline]
    pub(crate) fn fail(&mut self, failure: Failure) {
        if let Some(count) = self.failures.get_mut(failure.index()) {
            *count += 1;
        }
    }

    /// Counts a whole reply of this status.
    #[inline]
    pub(crate) fn answer(&mut self, status: u16) {
        self.answered += 1;
        if let Some(count) = self.statuses.get_mut(usize::from(status).wrapping_sub(100)) {
            *count += 1;
        }
    }

    /// How many failures of this kind there were.
    pub(crate) fn failed(&self, failure: Failure) -> u64 {
        self.failures.get(failure.index()).copied().unwrap_or(0)
    }

    /// How many failures there were.
    pub(crate) fn failed_in_all(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Statuses that were received, with how often.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        self.statuses
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (at as u16 + 100, *count))
    }

    /// Requests that came to an end, good or bad.
    pub(crate) fn ended(&self) -> u64 {
        let of_checks: u64 = Failure::ALL.iter().filter(|f| f.is_of_check()).map(|f| self.failed(*f)).sum();
        self.answered + self.failed_in_all() - of_checks
    }

    /// Adds another tally to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        // Same bounds everywhere, so that adding cannot fail.
        let _ = self.corrected.add(&other.corrected);
        let _ = self.service.add(&other.service);
        let _ = self.lateness.add(&other.lateness);
        let _ = self.connecting.add(&other.connecting);
        self.sent += other.sent;
        self.answered += other.answered;
        self.waited += other.waited;
        self.opened += other.opened;
        self.resent += other.resent;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.failures.iter_mut().zip(&other.failures).for_each(|(sum, count)| *sum += count);
        self.statuses.iter_mut().zip(other.statuses.iter()).for_each(|(sum, count)| *sum += count);
    }

    /// Forgets all of it, keeping the memory.
    pub(crate) fn clear(&mut self) {
        self.corrected.reset();
        self.service.reset();
        self.lateness.reset();
        self.connecting.reset();
        (self.sent, self.answered, self.waited, self.opened, self.resent) = (0, 0, 0, 0, 0);
        (self.bytes_out, self.bytes_in) = (0, 0);
        self.failures.fill(0);
        self.statuses.fill(0);
    }
}

/// What is kept of each target and each step of a run apart.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    /// As [`Tally::corrected`], with two figures.
    pub(crate) latency: Histogram<u64>,
    /// Whole replies.
    pub(crate) answered: u64,
    /// Failures of all kinds.
    pub(crate) failed: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self { latency: rough_latencies(), answered: 0, failed: 0 }
    }
}

impl Share {
    /// Adds another share to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        let _ = self.latency.add(&other.latency);
        self.answered += other.answered;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::{Share, Tally};
    use crate::failure::Failure;

    #[test]
    fn tallies_add_up_and_are_cleared() {
        let mut one = Tally::default();
        one.corrected.saturating_record(1_000_000);
        one.sent = 3;
        one.answer(200);
        one.answer(404);
        one.fail(Failure::Status);
        one.fail(Failure::Reset);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.sent, sum.answered, sum.corrected.len()), (6, 4, 2));
        assert_eq!(sum.statuses().collect::<Vec<_>>(), [(200, 2), (404, 2)]);
        assert_eq!((sum.failed_in_all(), sum.failed(Failure::Reset), sum.ended()), (4, 2, 6));
        sum.clear();
        assert_eq!((sum.sent, sum.ended(), sum.corrected.len(), sum.statuses().count()), (0, 0, 0, 0));
    }

    #[test]
    fn latencies_hold_from_nanoseconds_to_an_hour() {
        let mut tally = Tally::default();
        for ns in [0, 100, 31_234, 7_200_000_000_000] {
            tally.corrected.saturating_record(ns);
        }
        let half = tally.corrected.value_at_quantile(0.75);
        assert!(half.abs_diff(31_234) * 1000 <= 31_234, "{half}");
        let mut share = Share::default();
        share.latency.saturating_record(5_000_000);
        share.add(&share.clone());
        assert_eq!(share.latency.len(), 2);
    }
}
