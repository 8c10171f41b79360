//! A whole run: starts the threads, lets them begin together, adds up what they count, and waits for their end.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::failure::Failure;
use crate::plan::SharedPlan;
use crate::tally::{Share, Tally};
use crate::usage::Usage;
use crate::worker::{Assignment, End, Opened, Signals, Word, work};

/// What happened within one tick of all threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Point {
    /// Seconds after the beginning of the measurement.
    pub(crate) at_s: f64,
    /// How long it was, in seconds.
    pub(crate) seconds: f64,
    /// Whole replies.
    pub(crate) answered: u64,
    /// Failures of all kinds.
    pub(crate) failed: u64,
    /// Replies by the first digit of their status, 1 to 5; others with the last.
    pub(crate) classes: [u64; 5],
    /// Requests without a whole reply.
    pub(crate) broken: u64,
    /// Latency from the intended time, in nanoseconds: 50th, 90th, 99th and 99.9th percentile, and the largest.
    pub(crate) latency_ns: [u64; 5],
}

impl Point {
    fn of(tally: &Tally, at_s: f64, seconds: f64) -> Self {
        let mut classes = [0; 5];
        for (status, count) in tally.statuses() {
            if let Some(class) = classes.get_mut((usize::from(status) / 100).clamp(1, 5) - 1) {
                *class += count;
            }
        }
        let at = |quantile| tally.corrected.value_at_quantile(quantile);
        Self {
            at_s,
            seconds,
            answered: tally.answered,
            failed: tally.failed_in_all(),
            classes,
            broken: Failure::ALL.iter().filter(|f| !f.is_of_check()).map(|f| tally.failed(*f)).sum(),
            latency_ns: [at(0.5), at(0.9), at(0.99), at(0.999), tally.corrected.max()],
        }
    }
}

/// What one thread used.
#[derive(Debug, Clone)]
pub(crate) struct ThreadUsage {
    /// Which thread.
    pub(crate) thread: usize,
    /// The driver of its runtime.
    pub(crate) driver: String,
    /// What it used.
    pub(crate) usage: Usage,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// What was to be done.
    pub(crate) plan: SharedPlan,
    /// All that was counted.
    pub(crate) total: Tally,
    /// The same over time.
    pub(crate) points: Vec<Point>,
    /// Per target; empty where there is one.
    pub(crate) targets: Vec<Share>,
    /// Per step; empty where there is one.
    pub(crate) steps: Vec<Share>,
    /// What the threads used.
    pub(crate) threads: Vec<ThreadUsage>,
    /// How opening went.
    pub(crate) opened: Opened,
    /// Idle connections that were lost by the end.
    pub(crate) idle_lost: usize,
    /// From the beginning of the measurement to the last reply, or to the end of the schedule.
    pub(crate) elapsed_ns: u64,
    /// When the measurement began.
    pub(crate) began: SystemTime,
    /// It was told to end early.
    pub(crate) interrupted: bool,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Not one connection could be opened.
    #[error("no connection could be opened: {0}")]
    NoConnection(String),
    /// A thread could not do its work.
    #[error("{0}")]
    Thread(String),
    /// A thread could not be started.
    #[error("a thread cannot be started")]
    Spawn(#[source] io::Error),
    /// It was interrupted before it began.
    #[error("interrupted before the run began")]
    Interrupted,
    /// The interval log cannot be written.
    #[error("the histogram log cannot be written")]
    Log(#[source] io::Error),
}

/// Told of a run as it goes on.
pub(crate) trait Observer {
    /// The measurement begins, after the warm-up, at this time.
    fn begins(&mut self, plan: &SharedPlan, at: SystemTime);

    /// One more tick of all threads: what it counted, as it is drawn, and all so far.
    fn tick(&mut self, tally: &Tally, point: &Point, total: &Tally) -> io::Result<()>;
}

/// Carries `plan` out. `signals` may stop it at any time.
pub(crate) fn run(
    plan: &SharedPlan,
    signals: &Arc<Signals>,
    observer: &mut dyn Observer,
) -> Result<Run, RunError> {
    raise_descriptors();
    signals.renew();
    let (words, heard) = channel();
    let mut spares = Vec::new();
    let mut handles = Vec::new();
    for thread in 0..plan.threads {
        let (spare, spares_heard) = channel();
        spares.push(spare);
        let assignment = Assignment {
            thread,
            plan: plan.clone(),
            signals: signals.clone(),
            words: words.clone(),
            spares: spares_heard,
        };
        let builder = thread::Builder::new().name(format!("load-{thread}"));
        handles.push(builder.spawn(move || work(assignment)).map_err(RunError::Spawn)?);
    }
    drop(words);
    let ran = conduct(plan, signals, observer, &heard, &spares);
    if ran.is_err() {
        signals.stop();
    }
    for handle in handles {
        // A thread catches its own panics and tells them.
        let _ = handle.join();
    }
    ran
}

/// As many descriptors as we may have: the hard limit.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused the soft limit stays, and connections beyond it fail and are counted.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn conduct(
    plan: &SharedPlan,
    signals: &Arc<Signals>,
    observer: &mut dyn Observer,
    heard: &Receiver<Word>,
    spares: &[Sender<Box<Tally>>],
) -> Result<Run, RunError> {
    let opened = all_ready(plan, heard)?;
    if signals.is_stopped() {
        return Err(RunError::Interrupted);
    }
    if opened.good == 0 {
        return Err(RunError::NoConnection(opened.reason.unwrap_or_default()));
    }
    let begin_ns = ringway_rt::now().mono_ns + 1_000_000;
    signals.begin(begin_ns);
    let measure_ns = begin_ns + plan.warm_up_ns;
    let began = SystemTime::now() + std::time::Duration::from_nanos(plan.warm_up_ns + 1_000_000);
    observer.begins(plan, began);
    let mut ticks = Ticks::new(plan);
    let mut ends: Vec<End> = Vec::new();
    while ends.len() < plan.threads {
        match heard.recv() {
            Ok(Word::Tick(thread, number, tally)) => {
                ticks.take(thread, number as usize, &tally, observer)?;
                // A thread that has ended wants no spare.
                let _ = spares.get(thread).map(|spare| spare.send(tally));
            }
            Ok(Word::Ended(end)) => {
                ticks.end(end.thread, observer)?;
                ends.push(*end);
            }
            Ok(Word::Ready(_)) => {}
            Ok(Word::Failed(why)) => return Err(RunError::Thread(why)),
            Err(_) => return Err(RunError::Thread("a thread ended without a word".to_owned())),
        }
    }
    let last_ns = ends.iter().map(|end| end.last_ns).max().unwrap_or(measure_ns);
    let interrupted = signals.is_stopped();
    let least_ns = if plan.is_open() && !interrupted { plan.duration_ns } else { 1 };
    let elapsed_ns = last_ns.saturating_sub(measure_ns).max(least_ns);
    ticks.flush(elapsed_ns, observer)?;
    ends.sort_unstable_by_key(|end| end.thread);
    Ok(Run {
        plan: plan.clone(),
        total: ticks.total,
        points: ticks.points,
        targets: sum_shares(ends.iter().map(|end| end.targets.as_slice())),
        steps: sum_shares(ends.iter().map(|end| end.steps.as_slice())),
        idle_lost: ends.iter().map(|end| end.idle_lost).sum(),
        threads: ends
            .iter()
            .map(|end| ThreadUsage { thread: end.thread, driver: end.driver.to_string(), usage: end.usage })
            .collect(),
        opened,
        elapsed_ns,
        began,
        interrupted,
    })
}

/// Waits until all threads have opened what they could.
fn all_ready(plan: &SharedPlan, heard: &Receiver<Word>) -> Result<Opened, RunError> {
    let mut all = Opened::default();
    for _ in 0..plan.threads {
        match heard.recv() {
            Ok(Word::Ready(opened)) => {
                all.good += opened.good;
                all.bad += opened.bad;
                all.idle += opened.idle;
                all.reason = all.reason.or(opened.reason);
            }
            Ok(Word::Failed(why)) => return Err(RunError::Thread(why)),
            _ => return Err(RunError::Thread("a thread ended before it began".to_owned())),
        }
    }
    Ok(all)
}

fn sum_shares<'a>(threads: impl Iterator<Item = &'a [Share]>) -> Vec<Share> {
    let mut sums: Vec<Share> = Vec::new();
    for shares in threads {
        sums.resize_with(shares.len().max(sums.len()), Share::default);
        sums.iter_mut().zip(shares).for_each(|(sum, share)| sum.add(share));
    }
    sums
}

/// Ticks of all threads, brought together by their number.
struct Ticks {
    tick_s: f64,
    /// Up to which each thread has given its own.
    given: Vec<usize>,
    /// Those that some thread may still add to.
    open: BTreeMap<usize, Tally>,
    /// How many are complete.
    complete: usize,
    total: Tally,
    points: Vec<Point>,
}

impl Ticks {
    fn new(plan: &SharedPlan) -> Self {
        Self {
            tick_s: plan.tick_ns as f64 / 1e9,
            given: vec![0; plan.threads],
            open: BTreeMap::new(),
            complete: 0,
            total: Tally::default(),
            points: Vec::new(),
        }
    }

    fn take(
        &mut self,
        thread: usize,
        number: usize,
        tally: &Tally,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let Some(given) = self.given.get_mut(thread) else { return Ok(()) };
        // A thread's last tick may be the one that it has given part of already.
        let number = number.max(self.complete);
        *given = number + 1;
        self.open.entry(number).or_default().add(tally);
        self.close_complete(observer)
    }

    /// Nothing more comes from this thread.
    fn end(&mut self, thread: usize, observer: &mut dyn Observer) -> Result<(), RunError> {
        if let Some(given) = self.given.get_mut(thread) {
            *given = usize::MAX;
        }
        if self.given.iter().all(|given| *given == usize::MAX) {
            // The last ones are closed when it is known how long they were.
            return Ok(());
        }
        self.close_complete(observer)
    }

    fn close_complete(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let given = self.given.iter().copied().min().unwrap_or(0);
        while self.open.first_key_value().is_some_and(|(number, _)| *number < given) {
            self.close_first(f64::INFINITY, observer)?;
        }
        Ok(())
    }

    /// Closes the first that is open; ticks before it that no thread gave are part of it.
    fn close_first(&mut self, seconds_max: f64, observer: &mut dyn Observer) -> Result<(), RunError> {
        let Some((number, tally)) = self.open.pop_first() else { return Ok(()) };
        let seconds = (number + 1 - self.complete) as f64 * self.tick_s;
        let point = Point::of(&tally, self.complete as f64 * self.tick_s, seconds.min(seconds_max));
        self.complete = number + 1;
        self.total.add(&tally);
        observer.tick(&tally, &point, &self.total).map_err(RunError::Log)?;
        self.points.push(point);
        Ok(())
    }

    /// Closes what is open: threads end at different times.
    fn flush(&mut self, elapsed_ns: u64, observer: &mut dyn Observer) -> Result<(), RunError> {
        while !self.open.is_empty() {
            let left_s = elapsed_ns as f64 / 1e9 - self.complete as f64 * self.tick_s;
            self.close_first(left_s.max(self.tick_s / 1000.0), observer)?;
        }
        // The last tick of each thread may be a sliver, in which a rate means nothing.
        let elapsed_s = elapsed_ns as f64 / 1e9;
        for point in &mut self.points {
            point.seconds = point.seconds.min((elapsed_s - point.at_s).max(0.0));
        }
        let least = self.tick_s / 2.0;
        let any_long = self.points.iter().any(|point| point.seconds >= least);
        self.points.retain(|point| !any_long || point.seconds >= least);
        Ok(())
    }
}
