//! The report of a run, as a value that is written as JSON and read again for comparisons. Times are nanoseconds, rates
//! per second, shares from 0 to 1.

pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod html;
mod svg;
pub(crate) mod text;
mod verdict;

use std::time::UNIX_EPOCH;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::base64::base64;
use crate::failure::Failure;
use crate::knee::Knee;
use crate::plan::{Load, Plan};
use crate::quantity::show_rate;
use crate::run::{Point, Run};
use crate::schedule::Arrivals;
use crate::tally::Share;
use crate::threshold::{Condition, Metric};

/// Name and version of this form. It changes when a member changes its meaning or goes.
pub(crate) const SCHEMA: &str = "ringway-load/1";

/// A run, told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: String,
    pub(crate) tool: String,
    pub(crate) name: String,
    /// Seconds since 1970-01-01 UTC at which the measurement began.
    pub(crate) began_unix_s: f64,
    pub(crate) elapsed_s: f64,
    pub(crate) interrupted: bool,
    pub(crate) settings: Settings,
    pub(crate) requests: Requests,
    pub(crate) rates: Rates,
    /// From the intended time of each request to the end of its reply.
    pub(crate) latency: Latency,
    /// From when it was sent. None in a closed loop, where both are one.
    pub(crate) service: Option<Latency>,
    pub(crate) statuses: Vec<StatusCount>,
    pub(crate) failures: Vec<FailureCount>,
    pub(crate) connections: Connections,
    /// By target, where there are several.
    pub(crate) targets: Vec<Part>,
    /// By step of the rate, where there are several.
    pub(crate) steps: Vec<Part>,
    pub(crate) series: Vec<Sample>,
    pub(crate) generator: Generator,
    /// What `--fail-if` asked.
    pub(crate) conditions: Vec<Judged>,
    /// What `--find-knee` found; the rest of the report is of the largest rate at which it held.
    #[serde(default)]
    pub(crate) knee: Option<Knee>,
}

/// How it was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) loop_kind: String,
    pub(crate) rate: Option<String>,
    pub(crate) arrivals: Option<String>,
    pub(crate) protocol: String,
    pub(crate) tls: bool,
    pub(crate) targets: Vec<String>,
    pub(crate) connections: usize,
    /// Requests at once on each.
    pub(crate) streams: usize,
    pub(crate) idle_connections: usize,
    pub(crate) requests_per_connection: Option<u64>,
    pub(crate) threads: usize,
    pub(crate) duration_s: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) timeout_s: f64,
    pub(crate) seed: u64,
}

/// How many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// Due by the schedule; in a closed loop, sent.
    pub(crate) due: u64,
    pub(crate) sent: u64,
    /// With a whole reply.
    pub(crate) answered: u64,
    /// Failed in one of the ways of the list.
    pub(crate) failed: u64,
    /// Failed as a share of those due.
    pub(crate) failed_share: f64,
    /// Were due while no connection was free.
    pub(crate) waited: u64,
    pub(crate) resent: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
}

/// How fast.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rates {
    /// Due per second; none in a closed loop.
    pub(crate) due: Option<f64>,
    pub(crate) answered: f64,
    pub(crate) bytes_in: f64,
}

/// How long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean_ns: f64,
    pub(crate) deviation_ns: f64,
    pub(crate) min_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) percentiles: Vec<Percentile>,
    /// More percentiles, for the plot.
    pub(crate) curve: Vec<Percentile>,
    /// HdrHistogram, V2 with deflate, base64; values in nanoseconds.
    pub(crate) histogram: String,
}

/// A percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentile {
    pub(crate) percentile: f64,
    pub(crate) ns: u64,
}

/// How often a status came.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StatusCount {
    pub(crate) status: u16,
    pub(crate) count: u64,
}

/// How often requests failed in a way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailureCount {
    pub(crate) class: String,
    pub(crate) count: u64,
    pub(crate) meaning: String,
}

/// What became of connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Opened before the run.
    pub(crate) opened_before: usize,
    /// Could not be, before the run.
    pub(crate) failed_before: usize,
    /// Opened during the run.
    pub(crate) opened: u64,
    /// Median and 99th percentile of opening one, during the run.
    pub(crate) connect_p50_ns: u64,
    pub(crate) connect_p99_ns: u64,
    /// Held without a request.
    pub(crate) idle: usize,
    /// Of these, closed by the peer before the end.
    pub(crate) idle_lost: usize,
}

/// A target, or a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) rate: f64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

/// A moment of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Replies by the first digit of their status: 1xx to 5xx.
    pub(crate) classes: [u64; 5],
    /// Requests without a whole reply.
    pub(crate) broken: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

/// The generator's own account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) threads: Vec<Thread>,
    /// Of all threads.
    pub(crate) cpu_s: f64,
    pub(crate) answered_per_cpu_s: f64,
    pub(crate) lateness: Option<Lateness>,
    /// Whether the generator, and not the target, was the bottleneck.
    pub(crate) limited: bool,
    /// What speaks for and against the figures.
    pub(crate) findings: Vec<String>,
}

/// A thread of the generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Thread {
    pub(crate) thread: usize,
    pub(crate) driver: String,
    /// Share of a core.
    pub(crate) cpu_share: f64,
    /// Share of the time that it waited for a core.
    pub(crate) starved_share: f64,
}

/// How much later than intended requests were sent although a connection was free.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lateness {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// A condition that was asked for, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) condition: String,
    pub(crate) value: f64,
    pub(crate) shown: String,
    /// It is so: the run has failed.
    pub(crate) fulfilled: bool,
}

/// Percentiles that every report shows.
pub(crate) const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999];

impl Latency {
    /// What a histogram says.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile: f64| Percentile { percentile, ns: histogram.value_at_percentile(percentile) };
        let mut encoded = Vec::new();
        // Writing into memory cannot fail, and the histogram is within the form's bounds.
        let _ = V2DeflateSerializer::new().serialize(histogram, &mut encoded);
        Self {
            count: histogram.len(),
            mean_ns: histogram.mean(),
            deviation_ns: histogram.stdev(),
            min_ns: histogram.min(),
            max_ns: histogram.max(),
            percentiles: PERCENTILES.into_iter().map(at).collect(),
            curve: curve(histogram),
            histogram: base64(&encoded),
        }
    }

    /// A percentile that is shown in every report.
    pub(crate) fn at(&self, percentile: f64) -> u64 {
        self.percentiles.iter().find(|known| known.percentile == percentile).map_or(0, |known| known.ns)
    }
}

/// Percentiles ever closer to 100, as far as there are values that tell them apart.
fn curve(histogram: &Histogram<u64>) -> Vec<Percentile> {
    let mut points: Vec<Percentile> = Vec::new();
    if histogram.is_empty() {
        return points;
    }
    for step in 0..=56u32 {
        // Eight points for each factor of ten in what is left above.
        let left = 10f64.powf(-f64::from(step) / 8.0);
        if left * (histogram.len() as f64) < 0.5 {
            break;
        }
        let quantile = 1.0 - left;
        points.push(Percentile { percentile: quantile * 100.0, ns: histogram.value_at_quantile(quantile) });
    }
    points
}

impl Report {
    /// Tells a run.
    pub(crate) fn of(run: &Run, name: &str, conditions: &[Condition]) -> Self {
        let (plan, total) = (&*run.plan, &run.total);
        let elapsed_s = run.elapsed_ns as f64 / 1e9;
        let due = total.ended();
        let failed = total.failed_in_all();
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            tool: concat!("ringway-load ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: name.to_owned(),
            began_unix_s: run.began.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            elapsed_s,
            interrupted: run.interrupted,
            settings: Settings::of(plan),
            requests: Requests {
                due,
                sent: total.sent,
                answered: total.answered,
                failed,
                failed_share: failed as f64 / due.max(1) as f64,
                waited: total.waited,
                resent: total.resent,
                bytes_out: total.bytes_out,
                bytes_in: total.bytes_in,
            },
            rates: Rates {
                due: plan.is_open().then(|| due as f64 / plan_seconds(run)),
                answered: total.answered as f64 / elapsed_s,
                bytes_in: total.bytes_in as f64 / elapsed_s,
            },
            latency: Latency::of(&total.corrected),
            service: plan.is_open().then(|| Latency::of(&total.service)),
            statuses: total.statuses().map(|(status, count)| StatusCount { status, count }).collect(),
            failures: failures(run),
            connections: connections(run),
            targets: plan
                .targets
                .iter()
                .zip(&run.targets)
                .map(|(t, share)| part(&t.name, share, elapsed_s))
                .collect(),
            steps: steps(run),
            series: run.points.iter().map(Sample::of).collect(),
            generator: verdict::generator(run),
            conditions: Vec::new(),
            knee: None,
        };
        report.conditions = conditions.iter().map(|condition| report.judge(condition)).collect();
        report
    }

    /// The value of a figure.
    pub(crate) fn value(&self, metric: Metric) -> f64 {
        let at = |latency: &Latency, quantile: f64| {
            let known = latency.percentiles.iter().chain(&latency.curve);
            let exact =
                known.filter(|known| (known.percentile - quantile * 100.0).abs() < 1e-9).map(|p| p.ns).next();
            exact.unwrap_or_else(|| from_curve(&latency.curve, quantile)) as f64
        };
        let lateness = self.generator.lateness.as_ref();
        match metric {
            Metric::Percentile(quantile) => at(&self.latency, quantile),
            Metric::ServicePercentile(quantile) => {
                at(self.service.as_ref().unwrap_or(&self.latency), quantile)
            }
            Metric::LatenessPercentile(quantile) => {
                lateness.map_or(0.0, |late| if quantile > 0.5 { late.p99_ns } else { late.p50_ns } as f64)
            }
            Metric::Mean => self.latency.mean_ns,
            Metric::Max => self.latency.max_ns as f64,
            Metric::Errors => self.requests.failed_share,
            Metric::Rate => self.rates.answered,
            Metric::GeneratorCpu => self.generator.threads.iter().map(|t| t.cpu_share).fold(0.0, f64::max),
        }
    }

    /// Whether a condition is fulfilled.
    pub(crate) fn judge(&self, condition: &Condition) -> Judged {
        let value = self.value(condition.metric);
        Judged {
            condition: condition.text().to_owned(),
            value,
            shown: condition.show(value),
            fulfilled: condition.holds(value),
        }
    }
}

/// The first point of the curve at or beyond a quantile: never less than what the histogram would say.
fn from_curve(curve: &[Percentile], quantile: f64) -> u64 {
    let beyond = curve.iter().find(|point| point.percentile >= quantile * 100.0 - 1e-9);
    beyond.or(curve.last()).map_or(0, |point| point.ns)
}

/// Seconds in which requests were due.
fn plan_seconds(run: &Run) -> f64 {
    if run.interrupted { run.elapsed_ns as f64 / 1e9 } else { run.plan.duration_ns as f64 / 1e9 }
}

impl Settings {
    fn of(plan: &Plan) -> Self {
        let arrivals = match &plan.load {
            Load::Closed => None,
            Load::Open { arrivals: Arrivals::Constant, .. } => Some("constant".to_owned()),
            Load::Open { arrivals: Arrivals::Poisson, .. } => Some("poisson".to_owned()),
        };
        let rate = plan.steps().iter().map(|piece| {
            let (from, to) = (show_rate(piece.from), show_rate(piece.to));
            if piece.from == piece.to { from } else { format!("{from} to {to}") }
        });
        let rate = rate.collect::<Vec<_>>().join(", then ");
        Self {
            loop_kind: if plan.is_open() { "open" } else { "closed" }.to_owned(),
            rate: plan.is_open().then_some(rate),
            arrivals,
            protocol: if plan.grpc { "gRPC over HTTP/2" } else { plan.protocol.name() }.to_owned(),
            tls: plan.endpoints.iter().any(|endpoint| endpoint.tls.is_some()),
            targets: plan.targets.iter().map(|target| target.name.clone()).collect(),
            connections: plan.connections,
            streams: plan.streams,
            idle_connections: plan.idle,
            requests_per_connection: plan.requests_per_connection,
            threads: plan.threads,
            duration_s: plan.duration_ns as f64 / 1e9,
            warm_up_s: plan.warm_up_ns as f64 / 1e9,
            timeout_s: plan.timeout_ns as f64 / 1e9,
            seed: plan.seed,
        }
    }
}

fn failures(run: &Run) -> Vec<FailureCount> {
    let count = |failure: &Failure| (*failure, run.total.failed(*failure));
    let row = |(failure, count): (Failure, u64)| FailureCount {
        class: failure.name().to_owned(),
        count,
        meaning: failure.meaning().to_owned(),
    };
    Failure::ALL.iter().map(count).filter(|(_, count)| *count > 0).map(row).collect()
}

fn connections(run: &Run) -> Connections {
    let connecting = &run.total.connecting;
    Connections {
        opened_before: run.opened.good,
        failed_before: run.opened.bad,
        opened: run.total.opened,
        connect_p50_ns: connecting.value_at_quantile(0.5),
        connect_p99_ns: connecting.value_at_quantile(0.99),
        idle: run.opened.idle,
        idle_lost: run.idle_lost,
    }
}

fn part(name: &str, share: &Share, seconds: f64) -> Part {
    let at = |quantile| share.latency.value_at_quantile(quantile);
    Part {
        name: name.to_owned(),
        answered: share.answered,
        failed: share.failed,
        rate: share.answered as f64 / seconds,
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        max_ns: share.latency.max(),
    }
}

fn steps(run: &Run) -> Vec<Part> {
    let name = |piece: &crate::schedule::Piece| {
        let (from, to) = (show_rate(piece.from), show_rate(piece.to));
        if piece.from == piece.to { format!("{from}/s") } else { format!("{from} to {to}/s") }
    };
    let steps = run.plan.steps().iter().zip(&run.steps);
    steps.map(|(piece, share)| part(&name(piece), share, piece.seconds)).collect()
}

impl Sample {
    fn of(point: &Point) -> Self {
        let [p50_ns, p90_ns, p99_ns, p999_ns, max_ns] = point.latency_ns;
        Self {
            at_s: point.at_s,
            seconds: point.seconds,
            answered: point.answered,
            failed: point.failed,
            classes: point.classes,
            broken: point.broken,
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            max_ns,
        }
    }
}
