//! Load generators against one endpoint: what each takes of its own core for a request, and what each says of latencies that
//! are known beforehand.
//!
//! HTTP/1.1 goes straight to the endpoint, which spins on core 0. HTTP/2 and HTTP/3 go through `ringway gateway` on core 0: in
//! the closed loop it answers by itself, at the fixed rate the endpoint behind it does. Each generator has one thread on core 1,
//! and its CPU time is that of a control group of its own, from its start to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::host::{LOAD_CORE, Meter, PROXY_CORE, load_average};
use crate::install::Tools;
use crate::load::delay::{self, truth};
use crate::load::{Arrivals, Endpoint, Measured, Rest};
use crate::loaders::{
    CONNECTIONS, Demand, Loader, STREAMS_HTTP2, STREAMS_HTTP3, beside, of_percentiles, quinn_arguments,
    read_h2load, read_quinn,
};
use crate::process::{Launch, Running};
use crate::results::{Phase, Round};
use crate::rounds::{READY, described};
use crate::works::{Protocol, Work};

/// Requests a second of the phases whose latencies are known.
const RATE: f64 = 1000.0;
/// Seconds of each of them: some whole periods of the stall.
const SECONDS: f64 = 6.0;
/// Requests at once in them.
const AT_ONCE: u32 = 16;
/// Connections of a closed loop over HTTP/1.1.
const CONNECTIONS_HTTP1: u32 = 64;
/// How long a phase may take beyond its length.
const PATIENCE: Duration = Duration::from_secs(30);
/// Makes wrk say what is to be read; its requests stay those that it has prepared.
const WRK_SCRIPT: &str = "done = function(summary, latency, requests)\n\
    local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout\n\
    io.write(string.format('said %d %d %d %d %d %d\\n', summary.requests, bad, summary.duration,\n\
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))\nend\n";

/// A load generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generator {
    RingwayLoad,
    Wrk,
    H2load,
    Oha,
    QuinnLoad,
}

/// What a generator is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    /// As fast as it can, for so many seconds.
    Closed(f64),
    /// At the fixed rate, answered by this law.
    Fixed(delay::Kind),
}

impl Task {
    const fn name(self) -> &'static str {
        match self {
            Self::Closed(_) => "saturation",
            Self::Fixed(kind) => kind.name(),
        }
    }

    const fn seconds(self) -> f64 {
        match self {
            Self::Closed(seconds) => seconds,
            Self::Fixed(_) => SECONDS,
        }
    }
}

/// Where it goes to.
pub(crate) struct Target<'a> {
    pub(crate) work: &'a Work,
    pub(crate) port: u16,
    pub(crate) folder: &'a Path,
    /// The certificate that is shown there.
    pub(crate) chain: &'a Path,
    /// The gateway before the endpoint, where there is one.
    pub(crate) gateway: Option<&'a Launch>,
}

impl Generator {
    /// Ours first: the others are compared with it.
    pub(crate) const ALL: [Self; 5] =
        [Self::RingwayLoad, Self::Wrk, Self::H2load, Self::Oha, Self::QuinnLoad];

    /// In results and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RingwayLoad => "ringway-load",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Oha => "oha",
            Self::QuinnLoad => "quinn-load",
        }
    }

    /// Whether it speaks this.
    pub(crate) fn speaks(self, protocol: Protocol) -> bool {
        match self {
            Self::RingwayLoad => protocol != Protocol::WebSocket,
            Self::Wrk => protocol == Protocol::Http1,
            Self::H2load | Self::Oha => matches!(protocol, Protocol::Http1 | Protocol::Http2),
            Self::QuinnLoad => protocol == Protocol::Http3,
        }
    }

    /// The program, where it is there.
    pub(crate) fn program(self, tools: &Tools) -> Option<&PathBuf> {
        match self {
            Self::RingwayLoad => tools.ringway_load.as_ref(),
            Self::Wrk => tools.wrk.as_ref(),
            Self::H2load => tools.h2load.as_ref(),
            Self::Oha => tools.oha.as_ref(),
            Self::QuinnLoad => tools.quinn_load.as_ref(),
        }
    }

    /// One round: the closed loop, and both laws.
    pub(crate) fn round(
        self,
        target: &Target<'_>,
        loader: &Loader,
        meter: &Meter,
        endpoint: &mut Endpoint,
        (number, seconds): (u32, f64),
    ) -> Result<Round, String> {
        endpoint.close_all();
        let gateway = match target.gateway {
            Some(launch) => {
                let mut gateway = Running::start(launch, PROXY_CORE, None, target.folder)?;
                gateway.wait_for_port(target.port, READY)?;
                Some(gateway)
            }
            None => None,
        };
        // Without a gateway core 0 is the endpoint's own.
        let (rest, core) = match gateway {
            Some(_) => (Rest::Sleep, None),
            None => (Rest::Spin, Some(PROXY_CORE)),
        };
        let mut phases = Vec::new();
        let kinds = [delay::Kind::Spread, delay::Kind::Stall].map(Task::Fixed);
        for task in [Task::Closed(seconds)].into_iter().chain(kinds) {
            // wrk has no rate: what it says of a stall is what coordinated omission is.
            let measured = beside(endpoint, rest, core, || self.measure(target, loader, meter, task))
                .map_err(|error| format!("{}: {error}", task.name()))?;
            phases.push(described(task.name(), Arrivals::Closed, &measured));
        }
        Ok(Round { round: number, phases, load_average: load_average(), ..Round::default() })
    }

    fn measure(
        self,
        target: &Target<'_>,
        loader: &Loader,
        meter: &Meter,
        task: Task,
    ) -> Result<Measured, String> {
        let said = target.folder.join("said");
        fs::remove_file(&said).ok();
        let arguments = match self {
            Self::RingwayLoad => ringway_load(target, task, &said),
            Self::Wrk => wrk(target, task)?,
            Self::H2load => h2load(target, task, &said),
            Self::Oha => oha(target, task, &said),
            Self::QuinnLoad => quinn_load(target, task, loader),
        };
        let launch =
            Launch { program: loader.program.clone(), arguments, environment: loader.environment.clone() };
        let running = Running::start(&launch, LOAD_CORE, Some(meter), target.folder)?;
        let id = running.id();
        let before = meter.read_ns(id);
        let text = running.finish(Duration::from_secs_f64(task.seconds()) + PATIENCE)?;
        let cpu_ns = meter.read_ns(id).saturating_sub(before);
        let read = || fs::read_to_string(&said).map_err(|error| error.to_string());
        let measured = match self {
            Self::RingwayLoad => read_ringway_load(&read()?),
            Self::Wrk => read_wrk(&text),
            Self::H2load => read_h2load(&text, &said),
            Self::Oha => read_oha(&read()?, task),
            Self::QuinnLoad => read_quinn(&text).map(|(measured, _)| measured),
        }?;
        match measured.completed {
            0 => Err(format!("no request was answered: {text}")),
            _ => Ok(Measured { cpu_ns, ..measured }),
        }
    }
}

/// What a tool that measures rightly says.
pub(crate) fn true_round() -> Round {
    let phases = [delay::Kind::Spread, delay::Kind::Stall].map(|kind| {
        let latency = truth(kind, RATE, AT_ONCE as usize, SECONDS);
        Phase {
            name: kind.name().to_owned(),
            rate: RATE,
            p50_us: latency.quantile_us(0.5),
            p99_us: latency.quantile_us(0.99),
            p999_us: latency.quantile_us(0.999),
            ..Phase::default()
        }
    });
    Round { phases: phases.into(), ..Round::default() }
}

impl Target<'_> {
    fn path(&self, task: Task) -> &'static str {
        match (task, self.gateway.is_some()) {
            (Task::Fixed(kind), _) => kind.path(),
            (Task::Closed(_), true) => "/static",
            (Task::Closed(_), false) => "/x?b=128",
        }
    }

    fn url(&self, task: Task) -> String {
        let scheme = if self.work.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{}", self.port, self.path(task))
    }

    /// Connections, and requests at once on each.
    fn shape(&self, task: Task) -> (u32, u32) {
        match (self.work.protocol, task) {
            (Protocol::Http2, Task::Closed(_)) => (CONNECTIONS, STREAMS_HTTP2),
            (Protocol::Http3, Task::Closed(_)) => (CONNECTIONS, STREAMS_HTTP3),
            (Protocol::Http2 | Protocol::Http3, Task::Fixed(_)) => (CONNECTIONS, AT_ONCE / CONNECTIONS),
            (_, Task::Closed(_)) => (CONNECTIONS_HTTP1, 1),
            (_, Task::Fixed(_)) => (AT_ONCE, 1),
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn ringway_load(target: &Target<'_>, task: Task, said: &Path) -> Vec<String> {
    let (connections, streams) = target.shape(task);
    let version = match target.work.protocol {
        Protocol::Http2 => "2",
        Protocol::Http3 => "3",
        Protocol::Http1 | Protocol::WebSocket => "1.1",
    };
    let (connections, streams) = (connections.to_string(), streams.to_string());
    let duration = format!("{}ms", (task.seconds() * 1e3) as u64);
    let mut all = words(&["-q", "-k", "--threads", "1", "--http", version, "-c", &connections]);
    all.extend(words(&["--streams", &streams, "-d", &duration, "--json", &said.display().to_string()]));
    if let Task::Fixed(_) = task {
        all.extend(words(&["--rate", &RATE.to_string()]));
    }
    all.push(target.url(task));
    all
}

fn wrk(target: &Target<'_>, task: Task) -> Result<Vec<String>, String> {
    let script = target.folder.join("say.lua");
    crate::peer::write(&script, WRK_SCRIPT)?;
    let connections = format!("-c{}", target.shape(task).0);
    let duration = format!("-d{}s", task.seconds().ceil());
    Ok(words(&["-t1", &connections, &duration, "-s", &script.display().to_string(), &target.url(task)]))
}

fn h2load(target: &Target<'_>, task: Task, log: &Path) -> Vec<String> {
    let (connections, streams) = target.shape(task);
    let mut all = words(&["--threads=1"]);
    all.push(format!("--clients={connections}"));
    all.push(format!("--max-concurrent-streams={streams}"));
    all.push(format!("--duration={}", task.seconds().ceil()));
    all.push(format!("--log-file={}", log.display()));
    match target.work.protocol {
        Protocol::Http2 => all.push("--npn-list=h2".to_owned()),
        _ => all.push("--h1".to_owned()),
    }
    if let Task::Fixed(_) = task {
        all.push(format!("--rps={}", RATE / f64::from(connections)));
    }
    all.push(target.url(task));
    all
}

fn oha(target: &Target<'_>, task: Task, said: &Path) -> Vec<String> {
    let (connections, streams) = target.shape(task);
    let (connections, streams) = (connections.to_string(), streams.to_string());
    let duration = format!("{}ms", (task.seconds() * 1e3) as u64);
    let said = said.display().to_string();
    let mut all = words(&["--no-tui", "--no-color", "--insecure", "--output-format", "json", "-o", &said]);
    all.extend(words(&["-c", &connections, "-z", &duration]));
    if target.work.protocol == Protocol::Http2 {
        all.extend(words(&["--http2", "-p", &streams]));
    }
    if let Task::Fixed(_) = task {
        all.extend(words(&["-q", &RATE.to_string(), "--latency-correction"]));
    }
    all.push(target.url(task));
    all
}

fn quinn_load(target: &Target<'_>, task: Task, loader: &Loader) -> Vec<String> {
    let demand = Demand {
        work: target.work,
        target: target.path(task).to_owned(),
        loader,
        port: target.port,
        folder: target.folder,
        arrivals: Arrivals::Closed,
        seconds: task.seconds(),
        expected: 0.0,
    };
    let rate = if let Task::Fixed(_) = task { RATE } else { 0.0 };
    quinn_arguments(&demand, target.shape(task), rate, "keep")
}

fn read_ringway_load(said: &str) -> Result<Measured, String> {
    let report: Value = serde_json::from_str(said).map_err(|error| error.to_string())?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let percentiles = report.pointer("/latency/percentiles").and_then(Value::as_array);
    let at = |wanted: f64| {
        let found =
            percentiles?.iter().find(|one| one.get("percentile").and_then(Value::as_f64) == Some(wanted))?;
        Some(found.get("ns")?.as_f64()? / 1e3)
    };
    let read = || {
        Some(Measured {
            completed: number("/requests/answered")? as u64,
            failed: number("/requests/failed")? as u64,
            seconds: number("/elapsed_s")?,
            latency: of_percentiles([at(50.0)?, at(99.0)?, at(99.9)?]),
            ..Measured::default()
        })
    };
    read().ok_or_else(|| "ringway-load says nothing that is understood".to_owned())
}

fn read_wrk(said: &str) -> Result<Measured, String> {
    let line = said.lines().find_map(|line| line.strip_prefix("said "));
    let figures: Vec<f64> =
        line.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [completed, failed, us, p50, p99, p999] = figures.as_slice() else {
        return Err(format!("wrk says nothing that is understood: {said}"));
    };
    Ok(Measured {
        completed: *completed as u64,
        failed: *failed as u64,
        seconds: us / 1e6,
        latency: of_percentiles([*p50, *p99, *p999]),
        ..Measured::default()
    })
}

fn read_oha(said: &str, task: Task) -> Result<Measured, String> {
    let report: Value = serde_json::from_str(said).map_err(|error| error.to_string())?;
    let counts = |path: &str| report.pointer(path).and_then(Value::as_object);
    let sum = |path: &str, skip: &str| {
        let counts = counts(path).into_iter().flatten().filter(|(name, _)| name.as_str() != skip);
        counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
    };
    let at = |name: &str| Some(counts("/latencyPercentiles")?.get(name)?.as_f64()? * 1e6);
    let Some(percentiles) =
        at("p50").zip(at("p99")).zip(at("p99.9")).map(|((p50, p99), p999)| [p50, p99, p999])
    else {
        return Err("oha says nothing that is understood".to_owned());
    };
    Ok(Measured {
        completed: sum("/statusCodeDistribution", ""),
        // What the end of the run cut off is no failure of anybody's.
        failed: sum("/errorDistribution", "aborted due to deadline"),
        seconds: report.pointer("/summary/total").and_then(Value::as_f64).unwrap_or(task.seconds()),
        latency: of_percentiles(percentiles),
        ..Measured::default()
    })
}

/// How far what it says lies from what is so: the largest share by which a percentile is off.
pub(crate) fn off(said: [f64; 3], so: [f64; 3]) -> f64 {
    said.iter().zip(so).map(|(said, so)| (said / so.max(1e-9) - 1.0).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Histogram;

    fn quantiles(latency: &Histogram) -> [u64; 3] {
        [0.5, 0.99, 0.999].map(|part| (latency.quantile_us(part) / 10.0).round() as u64)
    }

    #[test]
    fn what_generators_say_is_read() {
        let json = r#"{"elapsed_s": 2.0, "requests": {"answered": 10, "failed": 1}, "latency": {"percentiles": [
            {"percentile": 50.0, "ns": 1000000}, {"percentile": 99.0, "ns": 2000000}, {"percentile": 99.9, "ns": 3000000}]}}"#;
        let wrk = "Running\nsaid 10 1 2000000 1000 2000 3000\n";
        let oha = r#"{"summary": {"total": 2.0}, "latencyPercentiles": {"p50": 0.001, "p99": 0.002, "p99.9": 0.003},
            "statusCodeDistribution": {"200": 10}, "errorDistribution": {"aborted due to deadline": 16, "refused": 1}}"#;
        for measured in [read_ringway_load(json), read_wrk(wrk), read_oha(oha, Task::Closed(2.0))] {
            let measured = measured.unwrap();
            assert_eq!((measured.completed, measured.failed, measured.seconds), (10, 1, 2.0));
            let near = quantiles(&measured.latency);
            assert!(
                near.iter().zip([100, 200, 300]).all(|(found, wanted)| found.abs_diff(wanted) <= 4),
                "{near:?}"
            );
        }
        assert!(
            read_wrk("").is_err()
                && read_ringway_load("{}").is_err()
                && read_oha("{}", Task::Closed(1.0)).is_err()
        );
    }

    #[test]
    fn the_worst_percentile_says_how_far_it_is_off() {
        assert!((off([1.0, 2.2, 3.0], [1.0, 2.0, 3.0]) - 0.1).abs() < 1e-9);
    }
}
