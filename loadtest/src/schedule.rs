//! When requests are due: a rate over time, and arrivals by it. A pure core: no clock is read here.
//!
//! The rate is a line of pieces, each straight from one rate to another. The number of requests due by a time is the area
//! below it; the time of the k-th request is where that area reaches k. For Poisson arrivals k advances by exponential
//! steps instead of by one: so the law holds on ramps as well (time rescaling).

use crate::quantity::{self, NoQuantity};
use crate::random::Random;

/// How the rate goes over some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    /// How long.
    pub(crate) seconds: f64,
    /// Requests per second at its beginning.
    pub(crate) from: f64,
    /// Requests per second at its end.
    pub(crate) to: f64,
}

impl Piece {
    /// Requests due in all of it.
    pub(crate) fn area(&self) -> f64 {
        self.seconds * (self.from + self.to) / 2.0
    }

    /// Seconds after its beginning at which `count` requests are due, for a count within its area.
    fn time_of(&self, count: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        if slope == 0.0 {
            return count / self.from;
        }
        // The stable form of the quadratic's root: it has no difference of nearly equal numbers.
        let root = (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt();
        2.0 * count / (self.from + root)
    }
}

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly, as a metronome.
    Constant,
    /// Independently of each other, as many callers do (a Poisson process).
    Poisson,
}

/// A rate that makes no load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRate {
    /// Not written as a rate.
    #[error(transparent)]
    Number(#[from] NoQuantity),
    /// Never above zero.
    #[error("a rate must be above 0 somewhere")]
    Zero,
    /// Steps need their duration.
    #[error("steps are written as RATE,RATE,.../DURATION, such as 1k,2k,4k/10s")]
    Steps,
}

/// The rate of `--rate` over `seconds`: `20k`, `1k:10k` (a ramp over all the time) or `1k:10k/30s` (a ramp, then its end).
pub(crate) fn parse_rate(text: &str, seconds: f64) -> Result<Vec<Piece>, BadRate> {
    let (rates, ramp_seconds) = match text.rsplit_once('/').filter(|(_, unit)| *unit != "s") {
        Some((rates, time)) => (rates, quantity::duration_ns(time)? as f64 / 1e9),
        None => (text, seconds),
    };
    let (from, to) = match rates.split_once(':') {
        Some((from, to)) => (quantity::rate(from)?, quantity::rate(to)?),
        None => (quantity::rate(rates)?, quantity::rate(rates)?),
    };
    let ramp_seconds = ramp_seconds.min(seconds);
    let pieces =
        [Piece { seconds: ramp_seconds, from, to }, Piece { seconds: seconds - ramp_seconds, from: to, to }];
    checked(pieces.into_iter().filter(|piece| piece.seconds > 0.0).collect())
}

/// The steps of `--steps`: `1k,2k,4k/10s` holds each for ten seconds.
pub(crate) fn parse_steps(text: &str) -> Result<Vec<Piece>, BadRate> {
    let (rates, time) = text.split_once('/').ok_or(BadRate::Steps)?;
    let seconds = quantity::duration_ns(time)? as f64 / 1e9;
    if seconds <= 0.0 {
        return Err(BadRate::Steps);
    }
    let piece = |rate: &str| quantity::rate(rate).map(|rate| Piece { seconds, from: rate, to: rate });
    checked(rates.split(',').map(piece).collect::<Result<_, _>>()?)
}

fn checked(pieces: Vec<Piece>) -> Result<Vec<Piece>, BadRate> {
    if pieces.iter().all(|piece| piece.area() <= 0.0) { Err(BadRate::Zero) } else { Ok(pieces) }
}

/// One request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Nanoseconds after the beginning of the schedule.
    pub(crate) at_ns: u64,
    /// Which piece it belongs to.
    pub(crate) piece: u16,
}

/// One thread's part of the arrivals.
#[derive(Debug)]
pub(crate) struct Schedule {
    pieces: Vec<Piece>,
    arrivals: Arrivals,
    random: Random,
    /// Threads that share the schedule.
    threads: f64,
    /// The area up to the next arrival.
    count: f64,
    piece: usize,
    /// Time and area at the beginning of the piece.
    piece_start: (f64, f64),
    next: Option<Arrival>,
}

impl Schedule {
    /// The part of thread `thread` of `threads`: each threads-th arrival, or a Poisson process of its share of the rate.
    pub(crate) fn new(
        pieces: &[Piece],
        arrivals: Arrivals,
        thread: usize,
        threads: usize,
        seed: u64,
    ) -> Self {
        let mut schedule = Self {
            pieces: pieces.to_vec(),
            arrivals,
            random: Random::new(seed, thread as u64),
            threads: threads as f64,
            count: thread as f64,
            piece: 0,
            piece_start: (0.0, 0.0),
            next: None,
        };
        if arrivals == Arrivals::Poisson {
            schedule.count = schedule.random.exponential() * schedule.threads;
        }
        schedule.next = schedule.locate();
        schedule
    }

    /// The next arrival; none when the schedule has ended.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Arrival> {
        self.next
    }

    /// Goes on to the arrival after it.
    #[inline]
    pub(crate) fn advance(&mut self) {
        let step = match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.random.exponential(),
        };
        self.count += step * self.threads;
        self.next = self.locate();
    }

    /// Ends it: nothing more is due.
    pub(crate) fn end(&mut self) {
        self.next = None;
        self.piece = self.pieces.len();
    }

    fn locate(&mut self) -> Option<Arrival> {
        loop {
            let piece = self.pieces.get(self.piece)?;
            let (start, area) = self.piece_start;
            if self.count - area < piece.area() {
                let at_ns = (start + piece.time_of(self.count - area)) * 1e9;
                return Some(Arrival {
                    at_ns: at_ns as u64,
                    piece: u16::try_from(self.piece).unwrap_or(u16::MAX),
                });
            }
            self.piece_start = (start + piece.seconds, area + piece.area());
            self.piece += 1;
        }
    }
}

#[cfg(test)]
mod tests;
