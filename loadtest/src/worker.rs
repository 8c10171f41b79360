//! One thread of the generator: opens its connections, waits for the common start, keeps the pace, gives away what was
//! counted at every tick, and ends.

mod gate;
mod lane;
mod pace;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use ringway_rt::{self as rt, Doorbell, Driver, Ended, Options, now, sleep_until_ns, spawn, turn};

use crate::connection::{Callers, Link, Place};
use crate::failure::Failure;
use crate::limits::{INTERRUPT_DRAIN_NS_MAX, OPENING_MAX, RING_ENTRIES};
use crate::plan::{Load, Plan, SharedPlan};
use crate::schedule::Schedule;
use crate::tally::{Share, Tally};
use crate::template::Values;
use crate::usage::Usage;

use gate::Gate;
use lane::Lane;
use pace::Pace;

/// What a thread says to the one that collects.
#[derive(Debug)]
pub(crate) enum Word {
    /// Its connections stand, or as many as would; it waits for the start.
    Ready(Opened),
    /// What the thread of this number has counted since the last time, and which tick has just ended.
    Tick(usize, u64, Box<Tally>),
    /// It has ended.
    Ended(Box<End>),
    /// It could not run.
    Failed(String),
}

/// How opening went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opened {
    /// Connections that stand.
    pub(crate) good: usize,
    /// Connections that do not.
    pub(crate) bad: usize,
    /// Idle connections that stand.
    pub(crate) idle: usize,
    /// Why the first bad one does not.
    pub(crate) reason: Option<String>,
}

/// What a thread has to say at its end.
#[derive(Debug)]
pub(crate) struct End {
    /// Which thread.
    pub(crate) thread: usize,
    /// The driver of its runtime.
    pub(crate) driver: Driver,
    /// Per target; empty where there is one.
    pub(crate) targets: Vec<Share>,
    /// Per step of the rate; empty where there is one.
    pub(crate) steps: Vec<Share>,
    /// What it used from the beginning of the measurement to the last reply.
    pub(crate) usage: Usage,
    /// Monotonic time of the last reply that counts.
    pub(crate) last_ns: u64,
    /// Idle connections that the peer had closed by the end.
    pub(crate) idle_lost: usize,
}

/// What the collecting thread and a worker share.
pub(crate) struct Signals {
    /// Monotonic time at which load begins; 0 until it is known.
    begin_ns: AtomicU64,
    /// The run is to end now.
    stop: AtomicBool,
    /// One a thread: rung when either has changed. Made on the worker, because only it waits there.
    bells: Mutex<Vec<Doorbell>>,
}

impl Signals {
    /// Neither begun nor stopped.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begin_ns: AtomicU64::new(0), stop: AtomicBool::new(false), bells: Mutex::default() })
    }

    /// Forgets the run before this one, but not that it was told to end.
    pub(crate) fn renew(&self) {
        self.begin_ns.store(0, Ordering::Release);
        if let Ok(mut bells) = self.bells.lock() {
            bells.clear();
        }
    }

    /// Load begins at this time.
    pub(crate) fn begin(&self, at_ns: u64) {
        self.begin_ns.store(at_ns, Ordering::Release);
        self.ring();
    }

    /// The run ends now.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether it was told to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn ring(&self) {
        if let Ok(bells) = self.bells.lock() {
            bells.iter().for_each(Doorbell::ring);
        }
    }

    fn add(&self, bell: Doorbell) {
        if let Ok(mut bells) = self.bells.lock() {
            bells.push(bell);
        }
    }
}

/// Everything that a worker is given.
pub(crate) struct Assignment {
    /// Which thread it is.
    pub(crate) thread: usize,
    /// What is to be done.
    pub(crate) plan: SharedPlan,
    /// Start and stop.
    pub(crate) signals: Arc<Signals>,
    /// Where its words go.
    pub(crate) words: Sender<Word>,
    /// Tallies that have been read and may be used again.
    pub(crate) spares: Receiver<Box<Tally>>,
}

/// Does the work of one thread, on the calling thread.
pub(crate) fn work(assignment: Assignment) {
    let plan = assignment.plan.clone();
    let words = assignment.words.clone();
    if let Some(core) = plan.cores.get(assignment.thread % plan.cores.len().max(1))
        && let Err(error) = rt::pin_to_core(*core)
    {
        let _ = words.send(Word::Failed(format!("cannot run on core {core}: {error}")));
        return;
    }
    let options = Options { driver: plan.driver, entries: RING_ENTRIES, on_panic: |_| {} };
    let failed = match rt::run(&options, |driver| live(assignment, driver)) {
        Ok(Ended::Finished(Ok(()))) => return,
        Ok(Ended::Finished(Err(error))) => format!("a thread could not start: {error}"),
        Ok(Ended::Panicked(panic)) => format!("a thread panicked: {panic}"),
        Err(error) => {
            format!("{error}: {}", std::error::Error::source(&error).map_or(String::new(), |e| e.to_string()))
        }
    };
    // Nobody listens only when the collecting thread has gone, and the process with it.
    let _ = words.send(Word::Failed(failed));
}

/// What the tasks of one worker share.
struct Shared {
    plan: SharedPlan,
    signals: Arc<Signals>,
    pace: Pace,
    values: RefCell<Values>,
    tally: RefCell<Box<Tally>>,
    targets: RefCell<Vec<Share>>,
    steps: RefCell<Vec<Share>>,
    /// Requests that are intended earlier do not count.
    measure_ns: Cell<u64>,
    /// When the schedule, or the closed loop, ends.
    end_ns: Cell<u64>,
    last_ns: Cell<u64>,
    /// Requests that a closed loop may still send.
    budget: Cell<u64>,
    lanes: Gate,
}

async fn live(assignment: Assignment, driver: Driver) -> std::io::Result<()> {
    let Assignment { thread, plan, signals, words, spares } = assignment;
    let bell = Doorbell::new()?;
    signals.add(bell.clone());
    let shared = Rc::new(Shared::new(&plan, signals.clone(), thread));
    let (links, idle, opened) = open_all(&shared, thread).await;
    let _ = words.send(Word::Ready(opened));
    let begin_ns = loop {
        let begin_ns = signals.begin_ns.load(Ordering::Acquire);
        if begin_ns > 0 || signals.is_stopped() {
            break begin_ns.max(now().mono_ns);
        }
        bell.heard().await?;
    };
    shared.begin(begin_ns);
    let measured = start_usage(&shared).await;
    spawn_lanes(&shared, links);
    spawn(pace::keep(shared.clone()));
    spawn(tick(shared.clone(), thread, words.clone(), spares));
    let interrupt = shared.clone();
    spawn(async move {
        while bell.heard().await.is_ok() {
            if interrupt.signals.is_stopped() {
                interrupt.pace.stop();
                interrupt.lanes.hurry(now().mono_ns + INTERRUPT_DRAIN_NS_MAX);
            }
        }
    });
    shared.lanes.closed(shared.end_ns.get().saturating_add(plan.drain_ns)).await;
    let usage = measured.take().map_or_else(Usage::default, |start| Usage::now().since(&start));
    shared.give_up(now().mono_ns);
    let idle_lost = idle.iter().filter(|link| !link.is_quiet()).count();
    let _ =
        words.send(Word::Tick(thread, shared.tick_number(), std::mem::take(&mut *shared.tally.borrow_mut())));
    let (targets, steps) = (shared.targets.take(), shared.steps.take());
    let last_ns = shared.last_ns.get();
    let end = End { thread, driver, targets, steps, usage, last_ns, idle_lost };
    let _ = words.send(Word::Ended(Box::new(end)));
    Ok(())
}

/// Takes the first reading of what the thread uses when the measurement begins.
async fn start_usage(shared: &Rc<Shared>) -> Rc<Cell<Option<Usage>>> {
    let start = Rc::new(Cell::new(None));
    let (kept, measure_ns) = (start.clone(), shared.measure_ns.get());
    spawn(async move {
        sleep_until_ns(measure_ns).await;
        kept.set(Some(Usage::now()));
    });
    start
}

fn spawn_lanes(shared: &Rc<Shared>, links: Vec<Vec<Link>>) {
    for (number, links) in links.into_iter().enumerate() {
        shared.lanes.enter();
        let lane = Lane::new(shared.clone(), number, links);
        spawn(async move {
            lane.run().await;
        });
    }
}

/// Opens every connection of this thread, some at a time: one lane's links each, and the idle ones.
async fn open_all(shared: &Rc<Shared>, thread: usize) -> (Vec<Vec<Link>>, Vec<Link>, Opened) {
    let plan = &shared.plan;
    let connections = plan.share_of(plan.connections, thread);
    let idle_wanted = plan.share_of(plan.idle, thread);
    let links: Rc<RefCell<Vec<Vec<Link>>>> = Rc::new(RefCell::new(Vec::with_capacity(connections)));
    let idle: Rc<RefCell<Vec<Link>>> = Rc::default();
    let opened: Rc<RefCell<Opened>> = Rc::default();
    let left = Rc::new(Cell::new((connections, idle_wanted)));
    let openers = Rc::new(Gate::default());
    let callers: Rc<Callers> = Rc::default();
    for _ in 0..OPENING_MAX.min(connections + idle_wanted) {
        openers.enter();
        let (shared, links, idle) = (shared.clone(), links.clone(), idle.clone());
        let (opened, left, openers) = (opened.clone(), left.clone(), openers.clone());
        let callers = callers.clone();
        spawn(async move {
            loop {
                let (connections_left, idle_left) = left.get();
                if connections_left > 0 {
                    left.set((connections_left - 1, idle_left));
                    let mut lanes = lanes_of_connection(&shared.plan, &callers);
                    for link in lanes.first_mut().into_iter().flatten() {
                        open_one(&shared, link, &opened).await;
                    }
                    links.borrow_mut().append(&mut lanes);
                } else if idle_left > 0 {
                    left.set((0, idle_left - 1));
                    let mut link = one_link(&shared.plan, 0, &callers);
                    open_one(&shared, &mut link, &opened).await;
                    if link.is_open() {
                        opened.borrow_mut().idle += 1;
                        idle.borrow_mut().push(link);
                    }
                } else {
                    break;
                }
                if shared.signals.is_stopped() {
                    break;
                }
            }
            openers.leave();
        });
    }
    openers.closed(u64::MAX).await;
    (links.take(), idle.take(), opened.take())
}

/// The lanes of one connection to each endpoint: one, or as many as it carries requests at once.
fn lanes_of_connection(plan: &Plan, callers: &Rc<Callers>) -> Vec<Vec<Link>> {
    let endpoints = 0..plan.endpoints.len();
    if !plan.protocol.is_multiplexed() {
        return vec![endpoints.map(Link::new).collect()];
    }
    let places: Vec<Rc<Place>> = endpoints.map(|endpoint| Place::new(endpoint, callers.clone())).collect();
    let lane = || {
        places.iter().enumerate().map(|(endpoint, place)| Link::sharing(endpoint, place.clone())).collect()
    };
    std::iter::repeat_with(lane).take(plan.streams).collect()
}

fn one_link(plan: &Plan, endpoint: usize, callers: &Rc<Callers>) -> Link {
    if plan.protocol.is_multiplexed() {
        Link::sharing(endpoint, Place::new(endpoint, callers.clone()))
    } else {
        Link::new(endpoint)
    }
}

async fn open_one(shared: &Rc<Shared>, link: &mut Link, opened: &RefCell<Opened>) {
    let (result, _) = link.open(&shared.plan).await;
    let mut opened = opened.borrow_mut();
    match result {
        Ok(()) => opened.good += 1,
        Err(why) => {
            opened.bad += 1;
            opened.reason.get_or_insert(why.text);
        }
    }
}

/// Gives the tally away at every tick of the measurement. A tick that was missed, because the thread had no core, is not made
/// up for: what it would have held is in the next.
async fn tick(shared: Rc<Shared>, thread: usize, words: Sender<Word>, spares: Receiver<Box<Tally>>) {
    loop {
        let boundary_ns = (shared.tick_number() + 1).saturating_mul(shared.plan.tick_ns);
        sleep_until_ns(shared.measure_ns.get().saturating_add(boundary_ns)).await;
        let mut spare = spares.try_recv().unwrap_or_default();
        spare.clear();
        let number = shared.tick_number().saturating_sub(1);
        let full = shared.tally.replace(spare);
        if words.send(Word::Tick(thread, number, full)).is_err() {
            return;
        }
        turn().await;
    }
}

impl Shared {
    fn new(plan: &SharedPlan, signals: Arc<Signals>, thread: usize) -> Self {
        let lanes = plan.share_of(plan.connections, thread) * plan.streams;
        let schedule = match &plan.load {
            Load::Closed => None,
            Load::Open { pieces, arrivals } => {
                Some(Schedule::new(pieces, *arrivals, thread, plan.threads, plan.seed))
            }
        };
        let shares = |count: usize| if count > 1 { vec![Share::default(); count] } else { Vec::new() };
        let budget = plan.requests.map_or(u64::MAX, |all| plan.share_of(all as usize, thread) as u64);
        Self {
            plan: plan.clone(),
            signals,
            pace: Pace::new(schedule, lanes),
            values: RefCell::new(Values::new(plan.tables.clone(), plan.seed, thread, plan.threads)),
            tally: RefCell::default(),
            targets: RefCell::new(shares(plan.targets.len())),
            steps: RefCell::new(shares(plan.steps().len())),
            measure_ns: Cell::new(0),
            end_ns: Cell::new(0),
            last_ns: Cell::new(0),
            budget: Cell::new(budget),
            lanes: Gate::default(),
        }
    }

    /// How many ticks of the measurement are over.
    fn tick_number(&self) -> u64 {
        now().mono_ns.saturating_sub(self.measure_ns.get()) / self.plan.tick_ns.max(1)
    }

    fn begin(&self, begin_ns: u64) {
        let measure_ns = begin_ns + self.plan.warm_up_ns;
        self.pace.begin(begin_ns);
        self.measure_ns.set(measure_ns);
        self.end_ns.set(measure_ns.saturating_add(self.plan.duration_ns));
        self.last_ns.set(measure_ns);
    }

    /// Counts what is still on its way, or was never sent, when nothing is waited for any more. Without this the slowest
    /// requests of all would be the ones that nobody sees.
    fn give_up(&self, now_ns: u64) {
        if self.signals.is_stopped() {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        let measure_ns = self.measure_ns.get();
        let mut count = |intended_ns: u64, failure: Failure| {
            if intended_ns >= measure_ns {
                tally.fail(failure);
                tally.corrected.saturating_record(now_ns.saturating_sub(intended_ns));
            }
        };
        self.pace.in_flight().for_each(|due| count(due.intended_ns, Failure::Unfinished));
        self.pace.never_sent().for_each(|due| count(due.intended_ns, Failure::Unsent));
    }
}
