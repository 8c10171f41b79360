//! What a connection weighs that waits: resident memory over thousands that have each served one request.

use std::time::Duration;

use crate::host::{LOAD_CORE, PROXY_CORE, load_average, raise_descriptors};
use crate::load::{Arrivals, ClientTls, Endpoint, Engine, Load, Rest};
use crate::loaders::{Demand, beside, quinn_arguments};
use crate::peer::HOST;
use crate::process::{Launch, Running};
use crate::results::{Idle, Round};
use crate::rounds::{Bench, Contender, READY, ready, requests};
use crate::works::Protocol;

/// Connections, where descriptors suffice; each takes one here, and up to two in the proxy.
const CONNECTIONS: u64 = 9_000;
/// How long opening them may take.
const OPENING: Duration = Duration::from_secs(30);
/// Until the proxy has given back what it took while it opened them.
const REST: Duration = Duration::from_secs(3);

/// Connections over HTTP/3: each is a socket of its own in the load, and a handshake.
const CONNECTIONS_HTTP3: u64 = 2_000;

pub(crate) fn round(
    bench: &Bench<'_>,
    contender: &Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    let (work, meter) = (bench.work, bench.meter);
    if work.protocol == Protocol::Http3 {
        return round_http3(bench, contender, endpoint, number);
    }
    endpoint.close_all();
    let descriptors = raise_descriptors();
    let connections = usize::try_from(CONNECTIONS.min(descriptors.saturating_sub(600) / 2)).unwrap_or(0);
    let mut running = Running::start(&contender.setup.launch, PROXY_CORE, Some(meter), &contender.folder)?;
    running.wait_for_port(contender.port, READY)?;
    let tls = if work.tls { Some(ClientTls::new(HOST, work.protocol.alpn())?) } else { None };
    let requests = requests(work);
    let load = |connections| Load {
        port: contender.port,
        requests: &requests,
        connections,
        arrivals: Arrivals::Closed,
        warm: Duration::ZERO,
        length: OPENING,
        tls: tls.as_ref(),
        fresh: false,
        spin: false,
        compare: false,
        seed: 1,
    };
    // Some first, so that pools and code are there before the first look.
    let failure = |error: std::io::Error| error.to_string();
    Engine::new(Some(endpoint)).map_err(failure)?.one_each(&load(64)).map_err(failure)?;
    std::thread::sleep(REST);
    let before = running.resident_kib();
    endpoint.close_all();
    let mut engine = Engine::new(Some(endpoint)).map_err(failure)?;
    let answered = engine.one_each(&load(connections)).map_err(failure)?;
    if answered < connections as u64 * 9 / 10 {
        return Err(format!("{answered} of {connections} connections were answered"));
    }
    std::thread::sleep(REST);
    let after = running.resident_kib();
    let open = engine.still_open(&load(connections)).map_err(failure)?;
    if open < answered {
        return Err(format!("{} of {answered} connections were closed while they waited", answered - open));
    }
    Ok(weighed(number, answered, before, after))
}

fn weighed(number: u32, connections: u64, before: u64, after: u64) -> Round {
    let kib_each = after.saturating_sub(before) as f64 / connections.max(1) as f64;
    Round {
        round: number,
        memory_mib: after as f64 / 1024.0,
        load_average: load_average(),
        idle: Some(Idle { connections, kib_each }),
        ..Round::default()
    }
}

/// The same over HTTP/3, whose connections another program holds.
fn round_http3(
    bench: &Bench<'_>,
    contender: &Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    endpoint.close_all();
    let loader = bench.loader.as_ref().ok_or("the HTTP/3 load is not there")?;
    let mut running =
        Running::start(&contender.setup.launch, PROXY_CORE, Some(bench.meter), &contender.folder)?;
    ready(bench.work, contender, &mut running)?;
    let hold = |connections: u64, name: &str| {
        let folder = contender.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let demand = Demand {
            work: bench.work,
            target: "/x?b=128".to_owned(),
            loader,
            port: contender.port,
            folder: &folder,
            arrivals: Arrivals::Closed,
            seconds: 60.0,
            expected: 0.0,
        };
        let connections = u32::try_from(connections).unwrap_or(0);
        let arguments = quinn_arguments(&demand, (connections, 1), 0.0, "hold");
        let launch = Launch { program: loader.program.clone(), arguments, environment: Vec::new() };
        let mut load = Running::start(&launch, LOAD_CORE, None, &folder)?;
        load.wait_for_words(&format!("ready {connections}"), OPENING)?;
        Ok::<Running, String>(load)
    };
    beside(endpoint, Rest::Sleep, None, || {
        drop(hold(16, "first")?);
        std::thread::sleep(REST);
        let before = running.resident_kib();
        let load = hold(CONNECTIONS_HTTP3, "second")?;
        std::thread::sleep(REST);
        let after = running.resident_kib();
        drop(load);
        Ok(weighed(number, CONNECTIONS_HTTP3, before, after))
    })
}
