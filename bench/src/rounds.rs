//! One peer in one round: three phases of requests.

use std::time::Duration;

use crate::host::{Meter, PROXY_CORE, load_average};
use crate::load::{Arrivals, ClientTls, Endpoint, Engine, Load, Measured, Requests};
use crate::loaders::{self, Demand, Loader};
use crate::peer::{HOST, Peer, Setup};
use crate::process::Running;
use crate::results::{Phase, Round};
use crate::works::{self, Answer, Kind, Protocol, Work, dimensions};

/// Connections of the load.
const CONNECTIONS: usize = 64;
/// Before each phase.
const WARM: Duration = Duration::from_millis(400);
/// The same where bodies are long: before the first, and before the others. The kernel's stock of pages for socket buffers
/// grows to what such a peer needs only after a second or two; until then each page is a new one, which on a virtual machine
/// the host may have to find first.
const WARM_LONG: [Duration; 2] = [Duration::from_millis(3000), Duration::from_millis(1500)];
/// Bodies from here on are long, in bytes.
const LONG: usize = 64 << 10;
/// Requests of the round in which content is compared, each on a connection of its own, and how long they may take.
const COMPARED: usize = 8;
const COMPARING: Duration = Duration::from_secs(20);
/// Share of a peer's own capacity in the second phase; and of what the load could carry, where that is less.
const SHARE: f64 = 0.6;
const SHARE_OF_CARRIED: f64 = 0.7;
/// How long a peer may take until it listens.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// Requests that go round over the routes of a work.
const TARGETS: u32 = 10_000;

/// What is the same for all rounds of a work.
pub(crate) struct Bench<'a> {
    pub(crate) work: &'a Work,
    pub(crate) meter: &'a Meter,
    pub(crate) seconds: f64,
    /// What was asked for, where something was.
    pub(crate) asked_seconds: Option<f64>,
    /// The program that loads, where it is not this one.
    pub(crate) loader: Option<Loader>,
}

/// A peer, set up for the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) port: u16,
    pub(crate) setup: Setup,
    /// Requests a second at 60 % of its capacity, once the first round has shown it; the same in all rounds.
    pub(crate) sixty: Option<f64>,
    /// Requests a second at saturation, as far as known.
    pub(crate) most: f64,
}

fn reply_bytes(work: &Work) -> usize {
    match work.answer {
        Answer::Endpoint(bytes) => bytes,
        Answer::Proxy => 128,
    }
}

/// The requests of a work.
pub(crate) fn requests(work: &Work) -> Requests {
    let bytes = reply_bytes(work);
    if work.protocol == Protocol::WebSocket {
        return Requests::websocket(HOST, 64);
    }
    // Of requests as such, h2load makes its own.
    if work.protocol == Protocol::Http2 {
        return Requests::http2_once(HOST, &format!("/x?b={bytes}"));
    }
    if work.routes == 0 {
        let one = (HOST.to_owned(), format!("/x?b={bytes}"), String::new());
        return Requests::all([one], work.body_bytes);
    }
    let (hosts, prefixes) = dimensions(work.routes);
    // A stride that is prime to everything here spreads them in no order that a cache could follow.
    let targets = (0..work.routes.min(TARGETS)).map(move |number| {
        let spread = number.wrapping_mul(2_654_435_761);
        let (host, prefix) = (works::host(spread % hosts), works::prefix(spread / hosts % prefixes));
        let key = match work.key_and_limit {
            true => format!("X-Api-Key: key-{:05}-0123456789abcdef\r\n", spread % 10_000),
            false => String::new(),
        };
        (host, format!("{prefix}item?b={bytes}"), key)
    });
    Requests::all(targets, work.body_bytes)
}

/// Starts the contender, lets it do the three phases, and ends it.
pub(crate) fn round(
    bench: &Bench<'_>,
    contender: &mut Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    endpoint.close_all();
    let launch = &contender.setup.launch;
    let mut running = Running::start(launch, PROXY_CORE, Some(bench.meter), &contender.folder)?;
    ready(bench.work, contender, &mut running)?;
    let id = running.id();
    let requests = match contender.name == Peer::RingwayTenRoutes.name() {
        true => requests(&Work { routes: 10, ..*bench.work }),
        false => requests(bench.work),
    };
    compare(bench, contender, endpoint, &requests)?;
    let mut phases = Vec::new();
    let mut phase = |name: &str, arrivals, contender: &Contender| -> Result<Phase, String> {
        let seed = u64::from(number) << 8 | phases.len() as u64;
        let warm = warm(bench.work, phases.is_empty());
        let measured = measure(bench, contender, endpoint, &requests, (arrivals, warm), (seed, id))?;
        let phase = described(name, arrivals, &measured);
        if phase.completed_nothing() {
            return Err(format!("{name}: no request was answered"));
        }
        phases.push(phase.clone());
        Ok(phase)
    };
    let saturation = phase("saturation", Arrivals::Closed, contender)?;
    contender.most = saturation.per_second;
    if bench.work.kind == Kind::Downloads {
        let memory_mib = running.resident_kib() as f64 / 1024.0;
        return Ok(Round {
            round: number,
            phases,
            memory_mib,
            load_average: load_average(),
            ..Round::default()
        });
    }
    let sixty = *contender.sixty.get_or_insert(sixty_rate(&saturation));
    phase("sixty", Arrivals::Poisson(sixty), contender)?;
    phase("common", Arrivals::Poisson(bench.work.common_rate), contender)?;
    let memory_mib = running.resident_kib() as f64 / 1024.0;
    Ok(Round { round: number, phases, memory_mib, load_average: load_average(), ..Round::default() })
}

/// Requests a second of the second phase. Where the load was what was slow, it cannot bring more than it did.
fn sixty_rate(saturation: &Phase) -> f64 {
    (SHARE * 1e6 / saturation.cpu_us).min(SHARE_OF_CARRIED * saturation.per_second)
}

/// Waits until it listens. One that speaks HTTP/3 alone has no port to connect to: it gets a moment instead.
pub(crate) fn ready(work: &Work, contender: &Contender, running: &mut Running) -> Result<(), String> {
    if work.protocol == Protocol::Http3 && contender.name == Peer::Quinn.name() {
        std::thread::sleep(Duration::from_millis(500));
        return Ok(());
    }
    running.wait_for_port(contender.port, READY)
}

fn warm(work: &Work, first: bool) -> Duration {
    let [before_first, before_others] = WARM_LONG;
    match (reply_bytes(work).max(work.body_bytes) >= LONG, first) {
        (false, _) => WARM,
        (true, true) => before_first,
        (true, false) => before_others,
    }
}

/// Some requests of which the content is compared, byte by byte and both ways: what is measured only counts it.
fn compare(
    bench: &Bench<'_>,
    contender: &Contender,
    endpoint: &mut Endpoint,
    requests: &Requests,
) -> Result<(), String> {
    let work = bench.work;
    let own = matches!((work.protocol, work.answer), (Protocol::Http1, Answer::Endpoint(_)));
    if bench.loader.is_some() || !own {
        return Ok(());
    }
    let tls = if work.tls { Some(ClientTls::new(HOST, work.protocol.alpn())?) } else { None };
    let load = Load {
        port: contender.port,
        requests,
        connections: COMPARED,
        arrivals: Arrivals::Closed,
        warm: Duration::ZERO,
        length: COMPARING,
        tls: tls.as_ref(),
        fresh: work.fresh,
        spin: true,
        compare: true,
        seed: 1,
    };
    endpoint.compare(true);
    let engine = Engine::new(Some(&mut *endpoint));
    let good = engine.and_then(|mut engine| engine.one_each(&load)).map_err(|error| error.to_string());
    endpoint.compare(false);
    match good? {
        good if good == COMPARED as u64 => Ok(()),
        good => Err(format!("{good} of {COMPARED} requests and replies arrived as they were sent")),
    }
}

fn measure(
    bench: &Bench<'_>,
    contender: &Contender,
    endpoint: &mut Endpoint,
    requests: &Requests,
    (arrivals, warm): (Arrivals, Duration),
    (seed, id): (u64, u32),
) -> Result<Measured, String> {
    let meter = || bench.meter.read_ns(id);
    if let Some(loader) = &bench.loader {
        let demand = Demand {
            work: bench.work,
            target: format!("/x?b={}", reply_bytes(bench.work)),
            loader,
            port: contender.port,
            folder: &contender.folder,
            arrivals,
            seconds: bench.seconds,
            expected: contender.most.max(3000.0),
        };
        return loaders::run(&demand, endpoint, &meter);
    }
    let tls = if bench.work.tls { Some(ClientTls::new(HOST, bench.work.protocol.alpn())?) } else { None };
    let load = Load {
        port: contender.port,
        requests,
        connections: CONNECTIONS,
        arrivals,
        warm,
        length: Duration::from_secs_f64(bench.seconds),
        tls: tls.as_ref(),
        fresh: bench.work.fresh,
        spin: true,
        compare: false,
        seed,
    };
    let mut engine = Engine::new(Some(endpoint)).map_err(|error| error.to_string())?;
    engine.run(&load, &meter).map_err(|error| error.to_string())
}

/// As it stands in results.
pub(crate) fn described(name: &str, arrivals: Arrivals, measured: &Measured) -> Phase {
    let rate = match arrivals {
        Arrivals::Closed => 0.0,
        Arrivals::Poisson(rate) => rate,
    };
    Phase {
        name: name.to_owned(),
        rate,
        cpu_us: measured.cpu_ns as f64 / 1e3 / measured.completed.max(1) as f64,
        per_second: measured.completed as f64 / measured.seconds.max(1e-9),
        busy: measured.cpu_ns as f64 / 1e9 / measured.seconds.max(1e-9),
        p50_us: measured.latency.quantile_us(0.5),
        p99_us: measured.latency.quantile_us(0.99),
        p999_us: measured.latency.quantile_us(0.999),
        failed: measured.failed,
        unsent: measured.unsent,
        refused: measured.refused,
        retried: measured.retried,
        closed: measured.closed,
    }
}

impl Phase {
    fn completed_nothing(&self) -> bool {
        self.per_second <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_per_cent_is_not_more_than_the_load_can_bring() {
        let phase = |cpu_us, per_second| Phase { cpu_us, per_second, ..Phase::default() };
        assert!((sixty_rate(&phase(10.0, 98_000.0)) - 60_000.0).abs() < 1.0);
        assert!((sixty_rate(&phase(200.0, 1_700.0)) - 1_190.0).abs() < 1.0);
    }
}
