//! Requests at a steady rate while the configuration is loaded anew: what fails, what is closed, what is cut, what waits.
//!
//! Ringway is told by its control daemon's API, and an answer says that the node serves the new definitions; other proxies get
//! their signal. Where so many reloads a second are asked for, each counts from when it was due: one that waits for the one
//! before is not forgiven.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bystanders::Bystanders;
use crate::host::{PROXY_CORE, load_average};
use crate::load::{Arrivals, Endpoint, Engine, Histogram, Load, Measured, Rest, WINDOW, serve_until};
use crate::peer::{Control, Reload as Way};
use crate::process::Running;
use crate::results::{Reload, Round};
use crate::rounds::{Bench, Contender, READY, requests};
use crate::works::{Pace, Reloading};

/// Requests a second, and connections.
const RATE: f64 = 2000.0;
const CONNECTIONS: usize = 32;
/// Before anything is measured: connections are opened, and the first reloads grow what is kept.
const WARM: Duration = Duration::from_secs(1);
const WARM_WITH_BYSTANDERS: Duration = Duration::from_secs(12);
const WARM_RELOADS: u64 = 50;
/// How long memory may take to come back.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// What a reload may wait for its node.
const WAIT_MS: u32 = 60_000;

pub(crate) fn round(
    bench: &Bench<'_>,
    contender: &Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    endpoint.close_all();
    let plan = planned(bench);
    let control = match &contender.setup.reload {
        Way::Control(site) => Some(Control::start(site)?),
        _ => None,
    };
    let launch = &contender.setup.launch;
    let mut running = Running::start(launch, PROXY_CORE, Some(bench.meter), &contender.folder)?;
    running.wait_for_port(contender.port, READY)?;
    let requests = requests(bench.work);
    let load = Load {
        port: contender.port,
        requests: &requests,
        connections: CONNECTIONS,
        arrivals: Arrivals::Poisson(RATE),
        warm: if plan.tunnels > 0 { WARM_WITH_BYSTANDERS } else { WARM },
        length: Duration::from_secs_f64(plan.seconds),
        tls: None,
        fresh: false,
        spin: false,
        compare: false,
        seed: u64::from(number),
    };
    let reloader = Reloader {
        way: &contender.setup.reload,
        running: &running,
        plan,
        port: contender.port,
        begin: Instant::now() + load.warm,
        most_kib: AtomicU64::new(0),
    };
    let ended = AtomicBool::new(false);
    let ended = &ended;
    let (measured, done) = std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let done = reloader.work(control);
            ended.store(true, Ordering::Relaxed);
            done
        });
        let mut engine = Engine::new(Some(&mut *endpoint)).map_err(|error| error.to_string())?;
        let measured = engine.run(&load, &|| 0);
        drop(engine);
        // The endpoint goes on until all that is open beside the load has been looked at.
        let served = serve_until(endpoint, ended, Rest::Sleep).map_err(|error| error.to_string());
        let done = reloading.join().map_err(|_| "the thread that reloads panicked".to_owned())?;
        served?;
        Ok::<_, String>((measured.map_err(|error| error.to_string())?, done?))
    })?;
    let reload = judged(&measured, plan.before_s, done);
    Ok(Round { round: number, load_average: load_average(), reload: Some(reload), ..Round::default() })
}

/// With what the load saw, in windows before the first reload and from it on.
fn judged(measured: &Measured, before_s: f64, done: Reload) -> Reload {
    let split = usize::try_from((before_s * 1000.0) as u128 / WINDOW.as_millis()).unwrap_or(0);
    let (before, after) = measured.windows.split_at(split.min(measured.windows.len()));
    let p99 = |windows: &[Histogram]| -> Vec<f64> {
        windows.iter().map(|window| window.quantile_us(0.99)).collect()
    };
    let (before, after) = (p99(before), p99(after));
    let worst = |windows: &[f64]| windows.iter().copied().fold(0.0, f64::max);
    Reload {
        sent: measured.completed,
        failed: measured.failed + measured.refused,
        closed: measured.closed + measured.retried,
        p99_before_us: worst(&before),
        p99_after_us: worst(&after),
        windows: after.len() as u64,
        windows_above: after.iter().filter(|p99| **p99 > worst(&before)).count() as u64,
        ..done
    }
}

/// As the work says, or for as long as was asked for: so long before the first reload, and so long after it.
fn planned(bench: &Bench<'_>) -> Reloading {
    let plan = bench.work.reloading;
    match bench.asked_seconds {
        Some(seconds) => Reloading { before_s: seconds, seconds: 2.0 * seconds, ..plan },
        None => plan,
    }
}

/// The thread that reloads, beside the load.
struct Reloader<'a> {
    way: &'a Way,
    running: &'a Running,
    plan: Reloading,
    port: u16,
    /// When measuring begins.
    begin: Instant,
    most_kib: AtomicU64,
}

impl Reloader<'_> {
    /// Opens what is to live through it, reloads, and looks what has become of it. What the load measures is left empty.
    fn work(&self, mut control: Option<Control>) -> Result<Reload, String> {
        let mut number = 0;
        let mut bystanders = None;
        if self.plan.tunnels > 0 {
            while number < WARM_RELOADS {
                number += 1;
                self.reload(control.as_mut(), number)?;
            }
            bystanders = Some(Bystanders::open(self.port, self.plan.tunnels, self.plan.streams)?);
        }
        self.wait_until(self.begin + Duration::from_secs_f64(self.plan.before_s));
        let before_kib = self.look();
        let end = self.begin + Duration::from_secs_f64(self.plan.seconds);
        let (mut took, mut live) = (Vec::new(), 0);
        let mut due = Instant::now();
        while due < end {
            number += 1;
            live += u64::from(self.reload(control.as_mut(), number)?);
            took.push(due.elapsed().as_secs_f64());
            due = match self.plan.pace {
                Pace::After(seconds) => Instant::now() + Duration::from_secs_f64(seconds),
                Pace::Rate(rate) => due + Duration::from_secs_f64(1.0 / rate),
            };
            match self.plan.pace {
                Pace::After(_) => self.wait_until(due.min(end)),
                Pace::Rate(_) => std::thread::sleep(due.saturating_duration_since(Instant::now())),
            }
        }
        let cut = bystanders.map_or(0, Bystanders::cut);
        let settled = Instant::now() + SETTLE_MAX;
        let mut after_kib = self.look();
        while after_kib * 20 > before_kib * 21 && Instant::now() < settled {
            std::thread::sleep(Duration::from_millis(100));
            after_kib = self.look();
        }
        took.sort_by(f64::total_cmp);
        let at =
            |part: f64| took.get(((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1)));
        let mib = |kib: u64| kib as f64 / 1024.0;
        Ok(Reload {
            reloads: took.len() as u64,
            live,
            cut,
            apply_s: at(0.5).copied().unwrap_or(0.0),
            apply_ms: [0.5, 0.99, 1.0].map(|part| at(part).map_or(0.0, |seconds| seconds * 1e3)),
            memory_before_mib: mib(before_kib),
            memory_most_mib: mib(self.most_kib.load(Ordering::Relaxed)),
            memory_after_mib: mib(after_kib),
            ..Reload::default()
        })
    }

    /// Loads it anew; whether it is live, as far as the proxy can tell.
    fn reload(&self, control: Option<&mut Control>, number: u64) -> Result<bool, String> {
        match (self.way, control) {
            (Way::Signal(signal), _) => self.running.signal(*signal),
            (Way::Control(site), Some(control)) => {
                return Ok(control.apply(&site.edition(number), WAIT_MS)? > 0);
            }
            _ => {}
        }
        Ok(true)
    }

    fn look(&self) -> u64 {
        let kib = self.running.resident_but_records_kib();
        self.most_kib.fetch_max(kib, Ordering::Relaxed);
        kib
    }

    /// Waits, and looks at memory meanwhile.
    fn wait_until(&self, until: Instant) {
        while Instant::now() < until {
            self.look();
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}
