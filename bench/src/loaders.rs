//! Load by other programs, on the load's core: HTTP/2 by nghttp2's h2load, which others wrote; HTTP/3 by a small client on
//! quinn and h3 (`bench/peers/quinn`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::host::LOAD_CORE;
use crate::load::{Arrivals, Endpoint, Histogram, Measured, Rest, serve_until};
use crate::peer::HOST;
use crate::process::{Launch, Running};
use crate::works::{Answer, Kind, Protocol, Work};

/// Connections, and streams of each over HTTP/2 and HTTP/3.
pub(crate) const CONNECTIONS: u32 = 8;
pub(crate) const STREAMS_HTTP2: u32 = 16;
pub(crate) const STREAMS_HTTP3: u32 = 8;
/// Downloads at once, each on a connection of its own.
const DOWNLOADS: u32 = 4;
/// Handshakes at once.
const HANDSHAKES: u32 = 16;
/// How long a phase may take beyond its length.
const PATIENCE: Duration = Duration::from_secs(60);
/// In what downloads are counted.
const MEBIBYTE: u64 = 1 << 20;

/// The program that loads, where it is not this one, and its environment.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// The certificate to trust.
    pub(crate) chain: PathBuf,
}

/// What is asked of it.
pub(crate) struct Demand<'a> {
    pub(crate) work: &'a Work,
    /// Path and query that are asked for.
    pub(crate) target: String,
    pub(crate) loader: &'a Loader,
    pub(crate) port: u16,
    pub(crate) folder: &'a Path,
    pub(crate) arrivals: Arrivals,
    pub(crate) seconds: f64,
    /// Requests a second that a first run has shown, for how many make a phase at saturation.
    pub(crate) expected: f64,
}

/// Runs one phase; the meter is read around the whole of it, handshakes included.
pub(crate) fn run(
    demand: &Demand<'_>,
    endpoint: &mut Endpoint,
    meter: &(dyn Fn() -> u64 + Sync),
) -> Result<Measured, String> {
    beside(endpoint, Rest::Sleep, None, || match demand.work.protocol {
        Protocol::Http3 => http3(demand, meter),
        _ => http2(demand, meter),
    })
}

/// Serves from a thread of its own (on this core, where one is named) while something else is done.
pub(crate) fn beside<T>(
    endpoint: &mut Endpoint,
    rest: Rest,
    core: Option<usize>,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            core.map_or(Ok(()), crate::host::pin)?;
            serve_until(endpoint, &stop, rest).map_err(|error| error.to_string())
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        match serving.join() {
            Ok(served) => served.and(done),
            Err(_) => Err("the endpoint panicked".to_owned()),
        }
    })
}

/// Runs the generator to its end, on the load's core.
fn on_its_core(demand: &Demand<'_>, arguments: Vec<String>) -> Result<String, String> {
    let loader = demand.loader.clone();
    let launch = Launch { program: loader.program, arguments, environment: loader.environment };
    let running = Running::start(&launch, LOAD_CORE, None, demand.folder)?;
    running.finish(Duration::from_secs_f64(demand.seconds) + PATIENCE)
}

fn http2(demand: &Demand<'_>, meter: &(dyn Fn() -> u64 + Sync)) -> Result<Measured, String> {
    let log = demand.folder.join("requests.log");
    let rate = match demand.arrivals {
        Arrivals::Closed => demand.expected,
        Arrivals::Poisson(rate) => rate,
    };
    let count = ((rate * demand.seconds) as u64).max(u64::from(CONNECTIONS) * 50);
    let mut arguments = vec![
        format!("--clients={CONNECTIONS}"),
        format!("--max-concurrent-streams={STREAMS_HTTP2}"),
        "--threads=1".to_owned(),
        format!("--requests={count}"),
        format!("--connect-to=127.0.0.1:{}", demand.port),
        "--npn-list=h2".to_owned(),
        format!("--log-file={}", log.display()),
    ];
    if let Arrivals::Poisson(rate) = demand.arrivals {
        arguments.push(format!("--rps={:.2}", rate / f64::from(CONNECTIONS)));
    }
    arguments.push(format!("https://{HOST}:{}{}", demand.port, demand.target));
    fs::remove_file(&log).ok();
    let before = meter();
    let said = on_its_core(demand, arguments)?;
    let cpu_ns = meter().saturating_sub(before);
    if !said.contains("Application protocol: h2") {
        return Err(format!("h2load did not speak HTTP/2: {}", said.lines().last().unwrap_or_default()));
    }
    read_h2load(&said, &log).map(|measured| Measured { cpu_ns, ..measured })
}

fn http3(demand: &Demand<'_>, meter: &(dyn Fn() -> u64 + Sync)) -> Result<Measured, String> {
    let rate = match demand.arrivals {
        Arrivals::Closed => 0.0,
        Arrivals::Poisson(rate) => rate,
    };
    let (connections, streams, mode) = match (demand.work.kind, demand.work.fresh) {
        (Kind::Downloads, _) => (DOWNLOADS, 1, "keep"),
        (_, true) => (HANDSHAKES, 1, "fresh"),
        (_, false) => (CONNECTIONS, STREAMS_HTTP3, "keep"),
    };
    let arguments = quinn_arguments(demand, (connections, streams), rate, mode);
    let before = meter();
    let said = on_its_core(demand, arguments)?;
    let cpu_ns = meter().saturating_sub(before);
    let (measured, bytes) = read_quinn(&said)?;
    // Few of them end within a phase: what was carried is what counts.
    let completed = match (demand.work.kind, demand.work.answer) {
        (Kind::Downloads, Answer::Endpoint(_)) => bytes / MEBIBYTE,
        _ => measured.completed,
    };
    Ok(Measured { completed, cpu_ns, ..measured })
}

/// What `bench-quinn-load` is told.
pub(crate) fn quinn_arguments(
    demand: &Demand<'_>,
    (connections, streams): (u32, u32),
    rate: f64,
    mode: &str,
) -> Vec<String> {
    vec![
        demand.port.to_string(),
        demand.target.clone(),
        connections.to_string(),
        streams.to_string(),
        rate.to_string(),
        demand.seconds.to_string(),
        demand.loader.chain.display().to_string(),
        mode.to_owned(),
    ]
}

/// What it says: figures, and bytes of bodies.
pub(crate) fn read_quinn(said: &str) -> Result<(Measured, u64), String> {
    let figures: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [completed, failed, seconds, bytes, p50, p99, p999] = figures.as_slice() else {
        return Err(format!("the HTTP/3 load says nothing that is understood: {said}"));
    };
    let measured = Measured {
        completed: *completed as u64,
        failed: *failed as u64,
        seconds: *seconds,
        latency: of_percentiles([*p50, *p99, *p999]),
        ..Measured::default()
    };
    Ok((measured, *bytes as u64))
}

/// Of the percentiles 50, 99 and 99.9 (in microseconds) alone: as many values as make them so.
pub(crate) fn of_percentiles([p50, p99, p999]: [f64; 3]) -> Histogram {
    let mut latency = Histogram::default();
    for (count, us) in [(500, p50), (490, p99), (9, p999)] {
        (0..count).for_each(|_| latency.add((us * 1e3) as u64));
    }
    latency
}

/// Reads the summary and the log of requests (start, status, microseconds).
pub(crate) fn read_h2load(said: &str, log: &Path) -> Result<Measured, String> {
    let finished = said.lines().find_map(|line| line.strip_prefix("finished in "));
    let seconds = finished.and_then(|line| duration_s(line.split(',').next()?));
    let requests = said.lines().find_map(|line| line.strip_prefix("requests: "));
    let figure = |name: &str| {
        let part = requests?.split(", ").find_map(|part| part.strip_suffix(name))?;
        part.trim().parse::<u64>().ok()
    };
    let (Some(seconds), Some(completed)) = (seconds, figure("succeeded")) else {
        return Err(format!("h2load says nothing that is understood: {said}"));
    };
    let mut latency = Histogram::default();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        if let Some(Ok(us)) = line.split_whitespace().nth(2).map(str::parse::<u64>) {
            latency.add(us * 1000);
        }
    }
    let failed = figure("failed").unwrap_or(0) + figure("errored").unwrap_or(0);
    Ok(Measured { completed, seconds, latency, failed, ..Measured::default() })
}

/// `1.23s`, `456.7ms`, `89us`.
fn duration_s(text: &str) -> Option<f64> {
    let text = text.trim();
    let scaled = |unit: &str, scale: f64| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale);
    scaled("us", 1e-6).or_else(|| scaled("ms", 1e-3)).or_else(|| scaled("s", 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_h2load_is_read() {
        let said = "Application protocol: h2\n\nfinished in 1.50s, 4000.00 req/s, 1MB/s\n\
            requests: 6000 total, 6000 started, 6000 done, 5990 succeeded, 7 failed, 3 errored, 0 timeout\n";
        let log = std::env::temp_dir().join(format!("h2load-{}.log", std::process::id()));
        fs::write(&log, "1\t200\t300\n2\t200\t500\n").unwrap();
        let measured = read_h2load(said, &log);
        fs::remove_file(&log).unwrap();
        let measured = measured.unwrap();
        assert_eq!((measured.completed, measured.failed), (5990, 10));
        assert!((measured.seconds - 1.5).abs() < 1e-9);
        assert!((measured.latency.quantile_us(1.0) - 500.0).abs() < 1.0);
        assert!(read_h2load("nothing", &log).is_err());
        assert_eq!([duration_s("250ms"), duration_s("2us")], [Some(0.25), Some(2e-6)]);
    }

    #[test]
    fn the_line_of_the_http3_load_is_read() {
        let (measured, bytes) = read_quinn("100 2 1.5 4096 10 20 30\n").unwrap();
        assert_eq!((measured.completed, measured.failed, bytes), (100, 2, 4096));
        let near = |part: f64, wanted: f64| (measured.latency.quantile_us(part) / wanted - 1.0).abs() < 0.02;
        assert!(near(0.5, 10.0) && near(0.99, 20.0) && near(0.999, 30.0));
        assert!(read_quinn("error").is_err());
    }
}
