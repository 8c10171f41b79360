//! A run: works one after the other, in each the peers round by round in alternating order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::arguments::Run;
use crate::generators::{Generator, Target};
use crate::host::{self, LOAD_CORE, Meter};
use crate::install::{self, Generators, Tools};
use crate::load::Endpoint;
use crate::loaders::Loader;
use crate::note;
use crate::peer::{Certificate, Peer, Place};
use crate::process::{self, free_port};
use crate::report;
use crate::results::{self, Round, TRUTH, WorkResult};
use crate::rounds::{self, Bench, Contender};
use crate::works::{Kind, Protocol, WORKS, Work, named};
use crate::{generators, idle, reload};

/// Seconds of a phase.
const SECONDS: f64 = 2.0;
/// The same of `--quick`, with which eight works in five rounds take some ten minutes.
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
    text.push_str("load generators:\n");
    for generator in Generator::ALL {
        let can =
            WORKS.iter().filter(|work| work.kind == Kind::Generators && generator.speaks(work.protocol));
        let can: Vec<&str> = can.map(|work| work.name).collect();
        let _ = writeln!(text, "  {:17} {}", generator.name(), can.join(" "));
    }
    text
}

/// Prepares, and measures in a process of its own.
pub(crate) fn run(arguments: &Run) -> Result<String, String> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 && !arguments.inside {
        return Err("two cores are wanted: one for the proxy, one for load and endpoint".to_owned());
    }
    let works = chosen(arguments)?;
    let wanted = wanted(arguments)?;
    if arguments.inside {
        return inside(arguments, &works, wanted);
    }
    let generators = match works.iter().any(|work| work.kind == Kind::Generators) {
        true => Generators::Wanted,
        false => Generators::Unwanted,
    };
    let tools = if arguments.offline { install::find() } else { install::install(&wanted, generators)? };
    let own = |given: &Option<PathBuf>, package: &str| match given {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display())),
        None => install::build_own(package),
    };
    let ringway = own(&arguments.ringway, "ringway")?;
    let ringway_load = match generators {
        Generators::Wanted => Some(own(&arguments.ringway_load, "ringway-load")?),
        Generators::Unwanted => None,
    };
    note(&tools.summary());
    // Precedence and core are a session's own: those of the shell that this was typed into stay as they are.
    let polite = arguments.polite.then_some((host::POLITE, "1"));
    let status = process::in_a_child(LOAD_CORE, arguments.inner(&ringway, ringway_load.as_deref()), polite)?;
    if status.success() { Ok(String::new()) } else { Err(format!("measuring ended: {status}")) }
}

/// Measures; the tables, and where the results lie.
fn inside(arguments: &Run, works: &[&'static Work], wanted: Vec<Peer>) -> Result<String, String> {
    let tools = Tools {
        ringway: arguments.ringway.clone(),
        ringway_load: arguments.ringway_load.clone(),
        ..install::find()
    };
    let peers: Vec<Peer> = wanted.into_iter().filter(|peer| peer.program(&tools).is_some()).collect();
    let mut text = String::new();
    for work in works {
        let result = measure(work, arguments, &tools, &peers)?;
        let path = results::write(&result)?;
        let table = report::table(work, &result);
        note(&table);
        let _ = writeln!(text, "{}\n{table}\n{}", work.title, path.display());
        if let Some(why) = result.unfit() {
            let _ = writeln!(text, "No report shows it: {why}.");
        }
        text.push('\n');
    }
    Ok(format!("{text}cargo bench-peers report writes docs/performance.md from these."))
}

fn chosen(arguments: &Run) -> Result<Vec<&'static Work>, String> {
    if arguments.work.is_empty() {
        return Ok(WORKS.iter().filter(|work| work.quick || !arguments.quick).collect());
    }
    let mut chosen: Vec<&'static Work> = Vec::new();
    for name in &arguments.work {
        let found = named(name);
        if found.is_empty() {
            return Err(format!("no work {name}\n{}", list()));
        }
        chosen.extend(found);
    }
    Ok(chosen)
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
        (true, true) => [Peer::Nginx, Peer::Haproxy, Peer::Quinn].contains(peer),
        (true, false) => true,
        (false, _) => arguments.peer.iter().any(|name| name == peer.name()),
    };
    Ok(Peer::ALL.into_iter().filter(wanted).collect())
}

/// What a work runs in.
struct Scene<'a> {
    work: &'a Work,
    tools: &'a Tools,
    folder: &'a Path,
    certificate: &'a Certificate,
    /// Where the endpoint listens.
    endpoint: u16,
}

fn measure(work: &Work, arguments: &Run, tools: &Tools, peers: &[Peer]) -> Result<WorkResult, String> {
    let folder = tools.folder.join("run").join(work.name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let certificate = Certificate::new(&folder)?;
    let mut endpoint = Endpoint::new().map_err(|error| error.to_string())?;
    let port = endpoint.port().map_err(|error| error.to_string())?;
    let scene = Scene { work, tools, folder: &folder, certificate: &certificate, endpoint: port };
    let mut result = empty(work, arguments);
    let meter = Meter::new();
    meter.name().clone_into(&mut result.meter);
    if work.kind == Kind::Generators {
        generators(&scene, arguments, &meter, &mut endpoint, &mut result)?;
    } else {
        proxies(&scene, arguments, peers, &meter, &mut endpoint, &mut result);
    }
    fs::remove_dir_all(&folder).ok();
    Ok(result)
}

/// Peer by peer.
fn proxies(
    scene: &Scene<'_>,
    arguments: &Run,
    peers: &[Peer],
    meter: &Meter,
    endpoint: &mut Endpoint,
    result: &mut WorkResult,
) {
    let work = scene.work;
    let mut contenders = Vec::new();
    for peer in peers.iter().filter(|peer| peer.can(work)) {
        if let Some(program) = peer.program(scene.tools) {
            result.versions.insert(peer.name().to_owned(), install::version(program, scene.tools));
        }
        match contender(scene, *peer) {
            Ok(contender) => contenders.push(contender),
            Err(error) => result.errors.push(format!("{}: {error}", peer.name())),
        }
    }
    let loader = |program: &Option<PathBuf>, environment| {
        let program = program.clone()?;
        Some(Loader { program, environment, chain: scene.certificate.chain.clone() })
    };
    let loader = match work.protocol {
        Protocol::Http2 => loader(&scene.tools.h2load, scene.tools.library_path()),
        Protocol::Http3 => loader(&scene.tools.quinn_load, Vec::new()),
        Protocol::Http1 | Protocol::WebSocket => None,
    };
    let most = if arguments.quick { QUICK_SECONDS } else { f64::INFINITY };
    let seconds = arguments.seconds.unwrap_or(SECONDS).min(most);
    let bench = Bench { work, meter, seconds, asked_seconds: arguments.seconds, loader };
    let name = |contender: &Contender| contender.name;
    go_round(work, (arguments.rounds, meter), &mut contenders, result, name, |contender, number| {
        one(&bench, contender, endpoint, number)
    });
}

fn contender(scene: &Scene<'_>, peer: Peer) -> Result<Contender, String> {
    let folder = scene.folder.join(peer.name());
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let place = Place {
        folder: &folder,
        port: free_port()?,
        endpoint: scene.endpoint,
        work: scene.work,
        tools: scene.tools,
        certificate: scene.certificate,
    };
    let setup = peer.set_up(&place)?;
    Ok(Contender {
        name: peer.name(),
        port: place.port,
        folder: folder.clone(),
        setup,
        sixty: None,
        most: 0.0,
    })
}

/// Load generator by load generator.
fn generators(
    scene: &Scene<'_>,
    arguments: &Run,
    meter: &Meter,
    endpoint: &mut Endpoint,
    result: &mut WorkResult,
) -> Result<(), String> {
    // HTTP/1.1 is what the endpoint itself speaks.
    let gateway = match scene.work.protocol {
        Protocol::Http1 => None,
        _ => Some(contender(scene, Peer::Ringway)?),
    };
    let target = Target {
        work: scene.work,
        port: gateway.as_ref().map_or(scene.endpoint, |gateway| gateway.port),
        folder: gateway.as_ref().map_or(scene.folder, |gateway| &gateway.folder),
        chain: &scene.certificate.chain,
        gateway: gateway.as_ref().map(|gateway| &gateway.setup.launch),
    };
    let mut present = Vec::new();
    for generator in Generator::ALL.into_iter().filter(|generator| generator.speaks(scene.work.protocol)) {
        match generator.program(scene.tools) {
            Some(program) => {
                let name = generator.name().to_owned();
                result.versions.insert(name, install::version(program, scene.tools));
                present.push((generator, program.clone()));
            }
            None => result.errors.push(format!("{}: it is not there", generator.name())),
        }
    }
    result.rounds.insert(TRUTH.to_owned(), vec![generators::true_round()]);
    // Twice as long as others: what a generator takes to start is in its figure.
    let seconds = arguments.seconds.unwrap_or(2.0 * SECONDS);
    let name = |present: &(Generator, PathBuf)| present.0.name();
    go_round(
        scene.work,
        (arguments.rounds, meter),
        &mut present,
        result,
        name,
        |(generator, program), number| {
            let loader = Loader {
                program: program.clone(),
                environment: scene.tools.library_path(),
                chain: target.chain.to_owned(),
            };
            generator.round(&target, &loader, meter, endpoint, (number, seconds))
        },
    );
    Ok(())
}

fn empty(work: &Work, arguments: &Run) -> WorkResult {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut command = String::from("cargo bench-peers");
    match arguments.quick {
        true => command.push_str(" --quick"),
        false => {
            let _ = write!(command, " --work {}", work.name);
        }
    }
    if let Some(seconds) = arguments.seconds {
        let _ = write!(command, " --seconds {seconds}");
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

/// A B C, C B A, and so on: what drifts, drifts for all. One that fails a round is left out of the later ones.
fn go_round<T>(
    work: &Work,
    (rounds, meter): (u32, &Meter),
    contenders: &mut Vec<T>,
    result: &mut WorkResult,
    name: impl Fn(&T) -> &'static str,
    mut one: impl FnMut(&mut T, u32) -> Result<Round, String>,
) {
    let cores = host::cores() as f64;
    for number in 0..rounds {
        let mut out = Vec::new();
        for contender in contenders.iter_mut() {
            let name = name(contender);
            note(&format!("{} round {} of {rounds}: {name}", work.name, number + 1));
            let (started, others_ns) = (Instant::now(), meter.others_ns());
            match one(contender, number) {
                Ok(mut round) => {
                    let others_ns = meter.others_ns().saturating_sub(others_ns);
                    round.others = others_ns as f64 / started.elapsed().as_nanos() as f64 / cores;
                    note(&brief(&round));
                    result.rounds.entry(name.to_owned()).or_default().push(round);
                }
                Err(error) => {
                    note(&format!("  {error}"));
                    result.errors.push(format!("{name}: {error}"));
                    out.push(name);
                }
            }
        }
        contenders.retain(|contender| !out.contains(&name(contender)));
        contenders.reverse();
    }
}

fn one(
    bench: &Bench<'_>,
    contender: &mut Contender,
    endpoint: &mut Endpoint,
    number: u32,
) -> Result<Round, String> {
    let outside = matches!(bench.work.protocol, Protocol::Http2 | Protocol::Http3);
    if outside && matches!(bench.work.kind, Kind::Requests | Kind::Downloads) && bench.loader.is_none() {
        return Err("its load generator is not there".to_owned());
    }
    match bench.work.kind {
        Kind::Requests | Kind::Downloads => rounds::round(bench, contender, endpoint, number),
        Kind::Idle => idle::round(bench, contender, endpoint, number),
        Kind::Reload => reload::round(bench, contender, endpoint, number),
        Kind::Generators => Err("a proxy generates no load".to_owned()),
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
            "  {} reloads ({} live) in {:.3} s each, {} sent, {} failed, {} closed, {} cut, worst p99 {:.1} then {:.1} ms",
            reload.reloads,
            reload.live,
            reload.apply_s,
            reload.sent,
            reload.failed,
            reload.closed,
            reload.cut,
            reload.p99_before_us / 1e3,
            reload.p99_after_us / 1e3
        )
    });
    let others = format!("  others took {:.1} % of the machine", round.others * 100.0);
    phases.chain(idle).chain(reload).chain([others]).collect::<Vec<_>>().join("\n")
}
