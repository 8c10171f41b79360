//! What a connection weighs that waits: resident memory over thousands that have each served one request.

use std::time::Duration;

use crate::host::{Meter, PROXY_CORE, load_average, raise_descriptors};
use crate::load::{Arrivals, ClientTls, Endpoint, Engine, Load};
use crate::peer::HOST;
use crate::process::Running;
use crate::results::{Idle, Round};
use crate::rounds::{Contender, READY, requests};
use crate::works::Work;

/// Connections, where descriptors suffice; each takes one here, and up to two in the proxy.
const CONNECTIONS: u64 = 9_000;
/// How long opening them may take.
const OPENING: Duration = Duration::from_secs(30);
/// Until the proxy has given back what it took while it opened them.
const REST: Duration = Duration::from_secs(3);

pub(crate) fn round(
    work: &Work,
    meter: &Meter,
    contender: &Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    endpoint.close_all();
    let descriptors = raise_descriptors();
    let connections = usize::try_from(CONNECTIONS.min(descriptors.saturating_sub(600) / 2)).unwrap_or(0);
    let mut running = Running::start(&contender.setup.launch, PROXY_CORE, Some(meter), &contender.folder)?;
    running.wait_for_port(contender.port, READY)?;
    let tls = if work.tls { Some(ClientTls::new(HOST)?) } else { None };
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
    let kib_each = after.saturating_sub(before) as f64 / answered as f64;
    Ok(Round {
        round: number,
        memory_mib: after as f64 / 1024.0,
        load_average: load_average(),
        idle: Some(Idle { connections: answered, kib_each }),
        ..Round::default()
    })
}
