//! `cargo bench-reloads`: applies definitions at a steady rate while requests, WebSockets and endless bodies go through the
//! gateway, and says what that did to each of them.
//!
//! Real processes, real sockets, loopback only; it ends what it started. Latency of an apply runs from the moment at which it was
//! due to the answer that says that the node serves it: an apply that waits for the one before is not forgiven.

mod applies;
mod callers;
mod node;
mod upstream;
mod windows;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::applies::Applies;
use crate::callers::{Requests, Streams, Tunnels};
use crate::node::{Node, Site};
use crate::upstream::Upstream;
use crate::windows::Windows;

/// How the command is called.
const USAGE: &str = "\
cargo bench-reloads [--routes N] [--rate N] [--seconds N] [--baseline N] [--tunnels N] [--streams N] [--ringway FILE]

  --routes N      routes of each generation (1000)
  --rate N        applies a second (50)
  --seconds N     for so long (60)
  --baseline N    seconds of requests alone before (20)
  --tunnels N     WebSockets open throughout (1000)
  --streams N     endless bodies open throughout (10)
  --ringway FILE  the binary (target/release/ringway)
";

/// Applies before anything is measured: the first ones grow what is kept.
const WARM_UP_APPLIES: u64 = 50;
/// Memory is looked at until it has come back, for so long.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// What to do.
struct Plan {
    routes: u64,
    rate: u64,
    seconds: u64,
    baseline: u64,
    tunnels: usize,
    streams: usize,
    ringway: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Plan::parse(&arguments).and_then(|plan| run(&plan)) {
        Ok((text, held)) => {
            // A reader that went away is not an error.
            writeln!(std::io::stdout(), "{text}").ok();
            if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(text) => {
            writeln!(std::io::stderr(), "{}", text.trim_end()).ok();
            ExitCode::from(2)
        }
    }
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut plan = Self {
            routes: 1000,
            rate: 50,
            seconds: 60,
            baseline: 20,
            tunnels: 1000,
            streams: 10,
            ringway: "target/release/ringway".to_owned(),
        };
        let mut left = arguments.iter();
        while let Some(key) = left.next() {
            let value = left.next().ok_or(USAGE)?;
            let number = || value.parse::<u64>().map_err(|_| USAGE.to_owned());
            match key.as_str() {
                "--routes" => plan.routes = number()?.max(1),
                "--rate" => plan.rate = number()?.max(1),
                "--seconds" => plan.seconds = number()?.clamp(1, 600),
                "--baseline" => plan.baseline = number()?.clamp(1, 600),
                "--tunnels" => plan.tunnels = usize::try_from(number()?.min(10_000)).unwrap_or(0),
                "--streams" => plan.streams = usize::try_from(number()?.min(1_000)).unwrap_or(0),
                "--ringway" => plan.ringway.clone_from(value),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(plan)
    }
}

/// Everything that went on while generations came and went.
struct Outcome {
    applies: Applies,
    baseline: Windows,
    during: Windows,
    failed: u64,
    tunnels_cut: usize,
    streams_cut: usize,
    before_kib: u64,
    after_kib: u64,
}

fn run(plan: &Plan) -> Result<(String, bool), String> {
    let upstream = Upstream::start()?;
    let site = Site::new(plan.routes, upstream.address)?;
    let node = Node::start(&plan.ringway, &site)?;
    let mut control = node.control()?;
    for edition in 0..WARM_UP_APPLIES {
        control.apply(&site.edition(edition))?;
    }
    let mut tunnels = Tunnels::open(plan.tunnels, site.address)?;
    let streams = Streams::open(plan.streams, site.address)?;
    let requests = Requests::start(site.address);
    let baseline_until = Instant::now() + Duration::from_secs(plan.baseline);
    while Instant::now() < baseline_until {
        tunnels.check_next()?;
    }
    let baseline = requests.windows();
    let before_kib = node.memory_kib()?;

    let mut applies = Applies::new(plan.rate);
    let until = Instant::now() + Duration::from_secs(plan.seconds);
    let mut edition = WARM_UP_APPLIES;
    while Instant::now() < until {
        applies.one(&mut control, &site.edition(edition))?;
        edition += 1;
    }
    let during = requests.windows();

    let settle_until = Instant::now() + SETTLE_MAX;
    let mut after_kib = node.memory_kib()?;
    while after_kib * 20 > before_kib * 21 && Instant::now() < settle_until {
        std::thread::sleep(Duration::from_millis(100));
        after_kib = node.memory_kib()?;
    }
    let outcome = Outcome {
        applies,
        baseline,
        during,
        failed: requests.stop(),
        tunnels_cut: tunnels.cut(),
        streams_cut: streams.cut(),
        before_kib,
        after_kib,
    };
    // Open tunnels would make its drain wait for its deadline.
    drop(tunnels);
    node.stop()?;
    Ok(outcome.told(plan))
}

impl Outcome {
    /// As a table, and whether every bar was reached.
    fn told(&self, plan: &Plan) -> (String, bool) {
        let mut text = format!(
            "{} routes, {} applies a second for {} s, {} WebSockets, {} endless bodies\n",
            plan.routes, plan.rate, plan.seconds, plan.tunnels, plan.streams
        );
        let mut held = true;
        let mut row = |what: &str, found: String, good: bool| {
            held &= good;
            text.push_str(&format!("{:<4} {what:<34} {found}\n", if good { "ok" } else { "NO" }));
        };
        let applied = &self.applies;
        row(
            "applies answered, live on the node",
            format!("{} of {}", applied.live(), applied.count()),
            applied.live() == applied.count(),
        );
        let (p50, p99, most) = applied.latency_ms();
        row("due to live, p50 / p99 / max", format!("{p50:.1} / {p99:.1} / {most:.1} ms"), p99 <= 100.0);
        row("requests failed, connections closed", self.failed.to_string(), self.failed == 0);
        let (before, during) = (self.baseline.told(), self.during.told());
        row("p99 of 100 ms windows, before", before, true);
        row("p99 of 100 ms windows, during", during, true);
        row("WebSockets cut", format!("{} of {}", self.tunnels_cut, plan.tunnels), self.tunnels_cut == 0);
        row("endless bodies cut", format!("{} of {}", self.streams_cut, plan.streams), self.streams_cut == 0);
        row(
            "memory but records, before / after",
            format!("{} / {} KiB", self.before_kib, self.after_kib),
            self.after_kib * 20 <= self.before_kib * 21,
        );
        (text.trim_end().to_owned(), held)
    }
}
