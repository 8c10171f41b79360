//! Load by other programs, which share the load's core with the endpoint: HTTP/2 by nghttp2's h2load, which others wrote;
//! HTTP/3 by a small client on quinn and h3 (`bench/peers/quinn`).

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::LOAD_CORE;
use crate::load::{Arrivals, Endpoint, Histogram, Measured, serve_until};
use crate::peer::{HOST, finish};
use crate::process::{CHILD, Launch};
use crate::works::Protocol;

/// Connections, and streams of each.
const CONNECTIONS: u32 = 8;
const STREAMS: u32 = 16;

/// What is asked of it.
pub(crate) struct Demand<'a> {
    pub(crate) protocol: Protocol,
    /// Path and query that are asked for.
    pub(crate) target: String,
    pub(crate) program: &'a Path,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) port: u16,
    pub(crate) folder: &'a Path,
    pub(crate) arrivals: Arrivals,
    pub(crate) seconds: f64,
    /// Requests a second that a first run has shown, for how many make a phase at saturation.
    pub(crate) expected: f64,
}

/// Runs one phase; the meter is read around the whole of it, eight handshakes included.
pub(crate) fn run(
    demand: &Demand<'_>,
    endpoint: &mut Endpoint,
    meter: &(dyn Fn() -> u64 + Sync),
) -> Result<Measured, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve_until(endpoint, &stop));
        let measured = match demand.protocol {
            Protocol::Http3 => http3(demand, meter),
            _ => http2(demand, meter),
        };
        stop.store(true, Ordering::Relaxed);
        match serving.join() {
            Ok(Ok(())) => measured,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the endpoint panicked".to_owned()),
        }
    })
}

fn http2(demand: &Demand<'_>, meter: &(dyn Fn() -> u64 + Sync)) -> Result<Measured, String> {
    let log = demand.folder.join("h2load.log");
    fs::remove_file(&log).ok();
    let rate = match demand.arrivals {
        Arrivals::Closed => demand.expected,
        Arrivals::Poisson(rate) => rate,
    };
    let count = ((rate * demand.seconds) as u64).max(u64::from(CONNECTIONS) * 50);
    let mut arguments = vec![
        format!("--clients={CONNECTIONS}"),
        format!("--max-concurrent-streams={STREAMS}"),
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
    let before = meter();
    let said = on_its_core(demand, arguments)?;
    let cpu_ns = meter().saturating_sub(before);
    let log = fs::read_to_string(&log).unwrap_or_default();
    read(&said, &log).map(|measured| Measured { cpu_ns, ..measured })
}

/// Runs the generator to its end, on the load's core.
fn on_its_core(demand: &Demand<'_>, arguments: Vec<String>) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let own = [CHILD.to_owned(), LOAD_CORE.to_string(), "-".to_owned(), demand.program.display().to_string()];
    let arguments = own.into_iter().chain(arguments).collect();
    finish(&Launch { program, arguments, environment: demand.environment.clone() })
}

/// Streams of each connection over HTTP/3.
const STREAMS_HTTP3: u32 = 8;

fn http3(demand: &Demand<'_>, meter: &(dyn Fn() -> u64 + Sync)) -> Result<Measured, String> {
    let rate = match demand.arrivals {
        Arrivals::Closed => 0.0,
        Arrivals::Poisson(rate) => rate,
    };
    let arguments = vec![
        demand.port.to_string(),
        demand.target.clone(),
        CONNECTIONS.to_string(),
        STREAMS_HTTP3.to_string(),
        rate.to_string(),
        "0".to_owned(),
        demand.seconds.to_string(),
        "-".to_owned(),
    ];
    let before = meter();
    let said = on_its_core(demand, arguments)?;
    let cpu_ns = meter().saturating_sub(before);
    let figures: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [completed, failed, seconds, _, p50, p99, p999] = figures.as_slice() else {
        return Err(format!("the HTTP/3 load says nothing that is understood: {said}"));
    };
    // Of the percentiles alone: as many values as make them so.
    let mut latency = Histogram::default();
    for (count, us) in [(500, p50), (490, p99), (9, p999)] {
        (0..count).for_each(|_| latency.add((us * 1e3) as u64));
    }
    Ok(Measured {
        completed: *completed as u64,
        failed: *failed as u64,
        seconds: *seconds,
        cpu_ns,
        latency,
        ..Measured::default()
    })
}

/// Reads the summary and the log of requests (start, status, microseconds).
fn read(said: &str, log: &str) -> Result<Measured, String> {
    if !said.contains("Application protocol: h2") {
        return Err(format!("h2load did not speak HTTP/2: {}", said.lines().last().unwrap_or_default()));
    }
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
    for line in log.lines() {
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
        let measured = read(said, "1\t200\t300\n2\t200\t500\n").unwrap();
        assert_eq!((measured.completed, measured.failed), (5990, 10));
        assert!((measured.seconds - 1.5).abs() < 1e-9);
        assert!((measured.latency.quantile_us(1.0) - 500.0).abs() < 1.0);
        assert!(read("Application protocol: http/1.1", "").is_err());
        assert_eq!([duration_s("250ms"), duration_s("2us")], [Some(0.25), Some(2e-6)]);
    }
}
