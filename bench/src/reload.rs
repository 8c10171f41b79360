//! Requests at a steady rate while the configuration is loaded anew: what fails, what is closed, what waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Meter, PROXY_CORE, load_average};
use crate::load::{Arrivals, Endpoint, Engine, Histogram, Load, WINDOW};
use crate::peer::{Reload as Way, control, finish};
use crate::process::Running;
use crate::results::{Reload, Round};
use crate::rounds::{Contender, READY, requests};
use crate::statistics::Spread;
use crate::works::Work;

/// Requests a second, and connections.
const RATE: f64 = 2000.0;
const CONNECTIONS: usize = 32;
/// How long before the first reload; how long altogether.
const BEFORE: Duration = Duration::from_secs(3);
const LENGTH: Duration = Duration::from_secs(10);
/// A million routes take longer.
const LENGTH_LARGE: Duration = Duration::from_secs(40);
/// From one reload to the next.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn round(
    work: &Work,
    meter: &Meter,
    contender: &Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    endpoint.close_all();
    let daemon = match &contender.setup.reload {
        Way::Control { daemon, .. } => Some(control(daemon, &contender.folder)?),
        _ => None,
    };
    let launch = &contender.setup.launch;
    let mut running = Running::start(launch, PROXY_CORE, Some(meter), &contender.folder)?;
    running.wait_for_port(contender.port, READY)?;
    let length = if work.routes > 10_000 { LENGTH_LARGE } else { LENGTH };
    let requests = requests(work);
    let load = Load {
        port: contender.port,
        requests: &requests,
        connections: CONNECTIONS,
        arrivals: Arrivals::Poisson(RATE),
        warm: Duration::from_secs(1),
        length,
        tls: None,
        fresh: false,
        spin: false,
        seed: u64::from(number),
    };
    let mut engine = Engine::new(Some(endpoint)).map_err(|error| error.to_string())?;
    let reloading = Reloading::new(running.resident_kib());
    let measured = std::thread::scope(|scope| {
        scope.spawn(|| reloading.keep_on(&contender.setup.reload, &running, load.warm));
        let measured = engine.run(&load, &|| 0);
        reloading.stop.store(true, Ordering::Relaxed);
        measured
    });
    drop(daemon);
    let measured = measured.map_err(|error| error.to_string())?;
    let (applies, errors) = reloading.ended();
    if let Some(error) = errors.first() {
        return Err(format!("a reload failed: {error}"));
    }
    let split = usize::try_from(BEFORE.as_millis() / WINDOW.as_millis()).unwrap_or(0);
    let (before, after) = measured.windows.split_at(split.min(measured.windows.len()));
    let worst =
        |windows: &[Histogram]| windows.iter().map(|window| window.quantile_us(0.99)).fold(0.0, f64::max);
    let reload = Reload {
        reloads: applies.len() as u64,
        sent: measured.completed,
        failed: measured.failed + measured.refused,
        closed: measured.closed + measured.retried,
        apply_s: Spread::of(applies).map_or(0.0, |spread| spread.median),
        p99_before_us: worst(before),
        p99_after_us: worst(after),
        memory_before_mib: reloading.before_kib as f64 / 1024.0,
        memory_most_mib: reloading.most_kib.load(Ordering::Relaxed) as f64 / 1024.0,
    };
    Ok(Round { round: number, load_average: load_average(), reload: Some(reload), ..Round::default() })
}

/// The thread that reloads, beside the load.
struct Reloading {
    stop: AtomicBool,
    before_kib: u64,
    most_kib: AtomicU64,
    /// Seconds of each, and what went wrong.
    done: Mutex<(Vec<f64>, Vec<String>)>,
}

impl Reloading {
    fn new(before_kib: u64) -> Self {
        Self {
            stop: AtomicBool::new(false),
            before_kib,
            most_kib: AtomicU64::new(before_kib),
            done: Mutex::new((Vec::new(), Vec::new())),
        }
    }

    fn ended(&self) -> (Vec<f64>, Vec<String>) {
        let mut done = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *done)
    }

    /// Waits, and looks at memory meanwhile.
    fn wait(&self, running: &Running, pause: Duration) {
        let started = Instant::now();
        while started.elapsed() < pause && !self.stop.load(Ordering::Relaxed) {
            self.most_kib.fetch_max(running.resident_kib(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn keep_on(&self, way: &Way, running: &Running, warm: Duration) {
        self.wait(running, warm + BEFORE);
        let mut number = 1;
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let done = match way {
                Way::Never => Ok(String::new()),
                Way::Signal(signal) => {
                    running.signal(*signal);
                    Ok(String::new())
                }
                Way::Control { applies, .. } => applies.get(number % 2).map_or(Ok(String::new()), finish),
            };
            number += 1;
            let mut log = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match done {
                Ok(_) => log.0.push(started.elapsed().as_secs_f64()),
                Err(error) => log.1.push(error),
            }
            drop(log);
            self.wait(running, PAUSE);
        }
    }
}
