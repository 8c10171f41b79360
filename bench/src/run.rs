//! A run: works one after the other, in each the peers round by round in alternating order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arguments::Run;
use crate::host::{self, LOAD_CORE, Meter};
use crate::install::{self, Tools};
use crate::load::Endpoint;
use crate::note;
use crate::peer::{Certificate, Peer, Place};
use crate::process::free_port;
use crate::report;
use crate::results::{self, Round, WorkResult};
use crate::rounds::{self, Bench, Contender};
use crate::works::{Kind, Protocol, WORKS, Work};
use crate::{idle, reload};

/// Seconds of a phase of `--quick`, with which eight works of three peers in five rounds take twelve minutes.
const QUICK_SECONDS: f64 = 1.2;

/// Works and peers by name.
pub(crate) fn list() -> String {
    let mut text = String::from("works:\n");
    for work in WORKS {
        let _ =
            writeln!(text, "  {:12} {}{}", work.name, work.title, if work.quick { " (quick)" } else { "" });
    }
    text.push_str("peers:\n");
    for peer in Peer::ALL {
        let can: Vec<&str> = WORKS.iter().filter(|work| peer.can(work)).map(|work| work.name).collect();
        let _ = writeln!(text, "  {:17} {}", peer.name(), can.join(" "));
    }
    text
}

/// Measures; the tables, and where the results lie.
pub(crate) fn run(arguments: &Run) -> Result<String, String> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return Err("two cores are wanted: one for the proxy, one for load and endpoint".to_owned());
    }
    let works = chosen(arguments)?;
    let wanted = wanted(arguments)?;
    let mut tools = if arguments.offline { install::find() } else { install::install(&wanted)? };
    tools.ringway = Some(match &arguments.ringway {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => install::build_ringway()?,
    });
    note(&tools.summary());
    let peers: Vec<Peer> = wanted.into_iter().filter(|peer| peer.program(&tools).is_some()).collect();
    host::raise_descriptors();
    host::pin(LOAD_CORE)?;
    host::take_precedence();
    let mut text = String::new();
    for work in works {
        let result = measure(work, arguments, &tools, &peers)?;
        let path = results::write(&result)?;
        let table = report::table(work, &result);
        note(&table);
        let _ = writeln!(text, "{table}\n{}\n", path.display());
    }
    Ok(format!("{text}cargo bench-peers report writes docs/performance.md from these."))
}

fn chosen(arguments: &Run) -> Result<Vec<&'static Work>, String> {
    if let Some(unknown) = arguments.work.iter().find(|name| !WORKS.iter().any(|work| work.name == **name)) {
        return Err(format!("no work {unknown}\n{}", list()));
    }
    let wanted = |work: &&Work| match (arguments.work.is_empty(), arguments.quick) {
        (true, quick) => work.quick || !quick,
        (false, _) => arguments.work.iter().any(|name| name == work.name),
    };
    Ok(WORKS.iter().filter(wanted).collect())
}

/// The peers that are asked for; Ringway is always there.
fn wanted(arguments: &Run) -> Result<Vec<Peer>, String> {
    if let Some(unknown) =
        arguments.peer.iter().find(|name| !Peer::ALL.iter().any(|peer| peer.name() == **name))
    {
        return Err(format!("no peer {unknown}\n{}", list()));
    }
    let own = [Peer::Ringway, Peer::RingwayTenRoutes];
    let wanted = |peer: &Peer| match (arguments.peer.is_empty(), arguments.quick) {
        _ if own.contains(peer) => true,
        (true, true) => [Peer::Nginx, Peer::Haproxy].contains(peer),
        (true, false) => true,
        (false, _) => arguments.peer.iter().any(|name| name == peer.name()),
    };
    Ok(Peer::ALL.into_iter().filter(wanted).collect())
}

fn measure(work: &Work, arguments: &Run, tools: &Tools, peers: &[Peer]) -> Result<WorkResult, String> {
    let folder = tools.folder.join("run").join(work.name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let certificate = Certificate::new(&folder)?;
    let mut endpoint = Endpoint::new().map_err(|error| error.to_string())?;
    let port = endpoint.port().map_err(|error| error.to_string())?;
    let mut result = empty(work, arguments);
    let mut contenders = Vec::new();
    for peer in peers.iter().filter(|peer| peer.can(work)) {
        let folder = folder.join(peer.name());
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let place = Place {
            folder: &folder,
            port: free_port()?,
            endpoint: port,
            work,
            tools,
            certificate: &certificate,
        };
        if let Some(program) = peer.program(tools) {
            result.versions.insert(peer.name().to_owned(), install::version(program));
        }
        match peer.set_up(&place) {
            Ok(setup) => contenders.push(Contender {
                name: peer.name(),
                port: place.port,
                folder: folder.clone(),
                setup,
                sixty: None,
                most: 0.0,
            }),
            Err(error) => result.errors.push(format!("{}: {error}", peer.name())),
        }
    }
    let meter = Meter::new();
    meter.name().clone_into(&mut result.meter);
    let loader = match work.protocol {
        Protocol::Http2 => tools.h2load.clone().map(|path| (path, tools.library_path())),
        Protocol::Http3 => tools.quinn_load.clone().map(|path| (path, Vec::new())),
        Protocol::Http1 | Protocol::WebSocket => None,
    };
    let seconds = if arguments.quick { QUICK_SECONDS.min(arguments.seconds) } else { arguments.seconds };
    let bench = Bench { work, meter: &meter, seconds, loader };
    go_round(&bench, arguments.rounds, &mut contenders, &mut endpoint, &mut result);
    fs::remove_dir_all(&folder).ok();
    Ok(result)
}

fn empty(work: &Work, arguments: &Run) -> WorkResult {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut command = String::from("cargo bench-peers");
    match arguments.quick {
        true => command.push_str(" --quick"),
        false => {
            let _ = write!(command, " --work {} --seconds {}", work.name, arguments.seconds);
        }
    }
    let _ = write!(command, " --rounds {}", arguments.rounds);
    WorkResult {
        work: work.name.to_owned(),
        machine: host::machine(),
        commit: report::commit(),
        command,
        meter: String::new(),
        unix_s,
        versions: BTreeMap::new(),
        rounds: BTreeMap::new(),
        errors: Vec::new(),
    }
}

/// A B C, C B A, and so on: what drifts, drifts for all. A peer that fails a round is left out of the later ones.
fn go_round(
    bench: &Bench<'_>,
    rounds: u32,
    contenders: &mut Vec<Contender>,
    endpoint: &mut Endpoint,
    result: &mut WorkResult,
) {
    for number in 0..rounds {
        let mut out = Vec::new();
        for contender in contenders.iter_mut() {
            note(&format!("{} round {} of {rounds}: {}", bench.work.name, number + 1, contender.name));
            match one(bench, contender, endpoint, number) {
                Ok(round) => {
                    note(&brief(&round));
                    result.rounds.entry(contender.name.to_owned()).or_default().push(round);
                }
                Err(error) => {
                    note(&format!("  {error}"));
                    result.errors.push(format!("{}: {error}", contender.name));
                    out.push(contender.name);
                }
            }
        }
        contenders.retain(|contender| !out.contains(&contender.name));
        contenders.reverse();
    }
}

fn one(
    bench: &Bench<'_>,
    contender: &mut Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    if matches!(bench.work.protocol, Protocol::Http2 | Protocol::Http3) && bench.loader.is_none() {
        return Err("its load generator is not there".to_owned());
    }
    match bench.work.kind {
        Kind::Requests => rounds::round(bench, contender, endpoint, number),
        Kind::Idle => idle::round(bench.work, bench.meter, contender, endpoint, number),
        Kind::Reload => reload::round(bench.work, bench.meter, contender, endpoint, number),
    }
}

fn brief(round: &Round) -> String {
    let phases = round.phases.iter().map(|phase| {
        format!(
            "  {:10} {:8.0}/s  {:7.2} µs CPU  busy {:.2}  p50 {:.0} p99 {:.0} µs  failed {}",
            phase.name,
            phase.per_second,
            phase.cpu_us,
            phase.busy,
            phase.p50_us,
            phase.p99_us,
            phase.failed + phase.refused
        )
    });
    let idle = round
        .idle
        .iter()
        .map(|idle| format!("  {} connections, {:.2} KiB each", idle.connections, idle.kib_each));
    let reload = round.reload.iter().map(|reload| {
        format!(
            "  {} reloads in {:.3} s each, {} sent, {} failed, {} closed, worst p99 {:.1} then {:.1} ms",
            reload.reloads,
            reload.apply_s,
            reload.sent,
            reload.failed,
            reload.closed,
            reload.p99_before_us / 1e3,
            reload.p99_after_us / 1e3
        )
    });
    phases.chain(idle).chain(reload).collect::<Vec<_>>().join("\n")
}
