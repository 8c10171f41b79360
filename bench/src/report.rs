//! Tables of results, and the part of `docs/performance.md` that is made of them.

mod plot;

use std::fmt::Write;
use std::fs;

use crate::generators::{Generator, off};
use crate::install::repository;
use crate::load::delay;
use crate::peer::{Peer, finish};
use crate::process::Launch;
use crate::results::{self, Phase, Round, TRUTH, WorkResult};
use crate::statistics::{Claim, PAIRS_MIN, Spread, claim};
use crate::works::{Kind, Protocol, WORKS, Work};

/// The core must have been this busy with the proxy for a round to count as saturation: else the load was what was slow, or
/// somebody else ran there.
const BUSY_MIN: f64 = 0.90;

/// The part of the page that is written by the report.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The commit that is measured; with a mark where the tree differs from it.
pub(crate) fn commit() -> String {
    let root = repository().display().to_string();
    let git = |arguments: &[&str]| finish(&Launch::new("git", &[&["-C", &root], arguments].concat()));
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default().trim().to_owned();
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Ok(changes) if changes.trim().is_empty() => hash,
        _ => format!("{hash} with changes"),
    }
}

/// A phase of a round, where it counts. Of load generators, whose endpoint may be what is slow, it always does.
fn counted<'a>(round: &'a Round, phase: &str) -> Option<&'a Phase> {
    let generator = round.phase(delay::Kind::Spread.name()).is_some();
    round.phase(phase).filter(|found| generator || phase != "saturation" || found.busy >= BUSY_MIN)
}

fn spread(rounds: &[Round], phase: &str, value: impl Fn(&Phase) -> f64) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(|round| counted(round, phase)).map(value))
}

/// The name of ours in the rows of a work.
fn own(result: &WorkResult) -> &'static str {
    let generator = Generator::RingwayLoad.name();
    if result.rounds.contains_key(generator) { generator } else { Peer::Ringway.name() }
}

/// Our CPU over a peer's, for each round in which both count.
pub(crate) fn ratios(result: &WorkResult, peer: &str, phase: &str) -> Vec<f64> {
    let of = |name: &str| result.rounds.get(name).map_or(&[][..], Vec::as_slice);
    of(own(result))
        .iter()
        .filter_map(|own| {
            let other = of(peer).iter().find(|round| round.round == own.round)?;
            Some(counted(own, phase)?.cpu_us / counted(other, phase)?.cpu_us.max(1e-9))
        })
        .collect()
}

fn range(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
    }
}

/// The peers of a result in the order of the table of peers.
pub(crate) fn peers(result: &WorkResult) -> impl Iterator<Item = (&'static str, &[Round])> {
    Peer::ALL.iter().filter_map(|peer| Some((peer.name(), result.rounds.get(peer.name())?.as_slice())))
}

/// The table of one work.
pub(crate) fn table(work: &Work, result: &WorkResult) -> String {
    let mut text = match work.kind {
        Kind::Requests => requests_table(result) + &handshakes(work, result),
        Kind::Downloads => downloads_table(result),
        Kind::Idle => idle_table(work, result),
        Kind::Reload => reload_table(result),
        Kind::Generators => generators_table(result),
    };
    for error in &result.errors {
        let _ = writeln!(text, "\nLeft out: {}", error.lines().next().unwrap_or_default());
    }
    text
}

fn requests_table(result: &WorkResult) -> String {
    let mut text = String::from(
        "| | CPU µs a request, saturated | Ringway's over it | at 60 % | at the common rate | | requests/s, saturated | p50 · p99 µs at 60 % | p50 · p99 µs at the common rate | MiB | failed |\n|-|-|-|-|-|-|-|-|-|-|-|\n",
    );
    for (peer, rounds) in peers(result) {
        let (saturated, sixty) = (ratios(result, peer, "saturation"), ratios(result, peer, "sixty"));
        let own = peer == Peer::Ringway.name();
        let said = match claim(&saturated) {
            _ if own => "",
            claim => claim.name(),
        };
        let ratio = |ratios: &[f64]| match own {
            true => String::new(),
            false => range(Spread::of(ratios.iter().copied()), 2),
        };
        let latency = |phase: &str| {
            let of =
                |value: fn(&Phase) -> f64| spread(rounds, phase, value).map_or(0.0, |spread| spread.median);
            format!("{:.0} · {:.0}", of(|phase| phase.p50_us), of(|phase| phase.p99_us))
        };
        let memory =
            Spread::of(rounds.iter().map(|round| round.memory_mib)).map_or(0.0, |spread| spread.median);
        let failed: u64 =
            rounds.iter().flat_map(|round| &round.phases).map(|phase| phase.failed + phase.refused).sum();
        let _ = writeln!(
            text,
            "| {peer} | {} | {} | {} | {} | {said} | {} | {} | {} | {memory:.0} | {failed} |",
            range(spread(rounds, "saturation", |phase| phase.cpu_us), 2),
            ratio(&saturated),
            ratio(&sixty),
            ratio(&ratios(result, peer, "common")),
            range(spread(rounds, "saturation", |phase| phase.per_second), 0),
            latency("sixty"),
            latency("common"),
        );
    }
    text
}

/// Handshakes a second that one core has the time for, where each request makes one: at saturation, or else as at 60 %.
fn handshakes(work: &Work, result: &WorkResult) -> String {
    if !work.fresh {
        return String::new();
    }
    let each = peers(result).filter_map(|(peer, rounds)| {
        let cpu = |phase: &str| spread(rounds, phase, |phase| phase.cpu_us);
        Some(format!("{peer} {:.0}", 1e6 / cpu("saturation").or_else(|| cpu("sixty"))?.median))
    });
    format!("\nHandshakes for each second of CPU: {}.\n", each.collect::<Vec<_>>().join(", "))
}

fn downloads_table(result: &WorkResult) -> String {
    let mut text = String::from(
        "| | CPU µs for each MiB, saturated | Ringway's over it | | MiB/s, saturated | busy | MiB | failed |\n|-|-|-|-|-|-|-|-|\n",
    );
    for (peer, rounds) in peers(result) {
        let saturated = ratios(result, peer, "saturation");
        let own = peer == Peer::Ringway.name();
        let failed: u64 = rounds.iter().flat_map(|round| &round.phases).map(|phase| phase.failed).sum();
        let _ = writeln!(
            text,
            "| {peer} | {} | {} | {} | {} | {} | {} | {failed} |",
            range(spread(rounds, "saturation", |phase| phase.cpu_us), 1),
            if own { String::new() } else { range(Spread::of(saturated.iter().copied()), 2) },
            if own { "" } else { claim(&saturated).name() },
            range(spread(rounds, "saturation", |phase| phase.per_second), 0),
            range(Spread::of(rounds.iter().filter_map(|round| Some(round.phase("saturation")?.busy))), 2),
            range(Spread::of(rounds.iter().map(|round| round.memory_mib)), 0),
        );
    }
    text
}

/// Each generator's own CPU, and what it says of latencies that are known.
fn generators_table(result: &WorkResult) -> String {
    let mut text = String::from(
        "| | CPU µs a request | ringway-load's over it | | requests for each CPU second | spread: p50 · p99 · p99.9 µs | off by | stall: p50 · p99 · p99.9 µs | off by | failed |\n|-|-|-|-|-|-|-|-|-|-|\n",
    );
    let of = |name: &str| result.rounds.get(name).map_or(&[][..], Vec::as_slice);
    let percentiles = |rounds: &[Round], phase: &str| {
        let of = |value: fn(&Phase) -> f64| spread(rounds, phase, value).map_or(0.0, |spread| spread.median);
        [of(|phase| phase.p50_us), of(|phase| phase.p99_us), of(|phase| phase.p999_us)]
    };
    let shown = |[p50, p99, p999]: [f64; 3]| format!("{p50:.0} · {p99:.0} · {p999:.0}");
    let laws = [delay::Kind::Spread, delay::Kind::Stall].map(delay::Kind::name);
    let [spread_so, stall_so] = laws.map(|law| percentiles(of(TRUTH), law));
    let _ = writeln!(text, "| *{TRUTH}* | | | | | {} | | {} | | |", shown(spread_so), shown(stall_so));
    for generator in Generator::ALL {
        let (name, rounds) = (generator.name(), of(generator.name()));
        if rounds.is_empty() {
            continue;
        }
        let own = generator == Generator::RingwayLoad;
        let over = ratios(result, name, "saturation");
        let [spread_said, stall_said] = laws.map(|law| percentiles(rounds, law));
        let failed: u64 = rounds.iter().flat_map(|round| &round.phases).map(|phase| phase.failed).sum();
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {:.0} % | {} | {:.0} % | {failed} |",
            range(spread(rounds, "saturation", |phase| phase.cpu_us), 2),
            if own { String::new() } else { range(Spread::of(over.iter().copied()), 2) },
            if own { "" } else { claim(&over).name() },
            range(spread(rounds, "saturation", |phase| 1e6 / phase.cpu_us), 0),
            shown(spread_said),
            off(spread_said, spread_so) * 100.0,
            shown(stall_said),
            off(stall_said, stall_so) * 100.0,
        );
    }
    text
}

fn idle_table(work: &Work, result: &WorkResult) -> String {
    let mut text = String::from("| | connections | KiB of resident memory each |\n|-|-|-|\n");
    if let Some(most) = work.idle_kib_max {
        let _ = writeln!(text, "| *must reach* | | ≤ {most:.0} |");
    }
    for (peer, rounds) in peers(result) {
        let idle: Vec<_> = rounds.iter().filter_map(|round| round.idle.as_ref()).collect();
        let connections = idle.first().map_or(0, |idle| idle.connections);
        let each = Spread::of(idle.iter().map(|idle| idle.kib_each));
        let _ = writeln!(text, "| {peer} | {connections} | {} |", range(each, 1));
    }
    text
}

fn reload_table(result: &WorkResult) -> String {
    let mut text = String::from(
        "| | reloads | of them live | due to live: p50 · p99 · longest ms | requests | failed | connections closed | tunnels and bodies cut | worst p99 of 100 ms, before · after, ms | windows above | MiB before · most · after |\n|-|-|-|-|-|-|-|-|-|-|-|\n",
    );
    for (peer, rounds) in peers(result) {
        let all: Vec<_> = rounds.iter().filter_map(|round| round.reload.as_ref()).collect();
        let sum = |value: fn(&results::Reload) -> u64| all.iter().map(|reload| value(reload)).sum::<u64>();
        let median = |value: fn(&results::Reload) -> f64| {
            Spread::of(all.iter().map(|reload| value(reload))).map_or(0.0, |spread| spread.median)
        };
        // A signal is sent, and nobody answers it.
        let told = peer == Peer::Ringway.name();
        let apply = match told {
            true => format!(
                "{:.1} · {:.1} · {:.1}",
                median(|reload| reload.apply_ms[0]),
                median(|reload| reload.apply_ms[1]),
                median(|reload| reload.apply_ms[2])
            ),
            false => "not told".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {peer} | {} | {} | {apply} | {} | {} | {} | {} | {:.1} · {:.1} | {} of {} | {:.0} · {:.0} · {:.0} |",
            sum(|reload| reload.reloads),
            if told { sum(|reload| reload.live).to_string() } else { "not told".to_owned() },
            sum(|reload| reload.sent),
            sum(|reload| reload.failed),
            sum(|reload| reload.closed),
            sum(|reload| reload.cut),
            median(|reload| reload.p99_before_us) / 1e3,
            median(|reload| reload.p99_after_us) / 1e3,
            sum(|reload| reload.windows_above),
            sum(|reload| reload.windows),
            median(|reload| reload.memory_before_mib),
            median(|reload| reload.memory_most_mib),
            median(|reload| reload.memory_after_mib),
        );
    }
    text
}

/// Writes the measured part of `docs/performance.md`, and its plots.
pub(crate) fn write() -> Result<String, String> {
    let (mut measured, mut left_out) = (Vec::new(), Vec::new());
    for work in WORKS {
        match results::read(work.name) {
            Ok(result) => measured.push((work, result)),
            Err(why) => left_out.push((work, why)),
        }
    }
    if measured.is_empty() {
        return Err("nothing is measured yet that a report may show: cargo bench-peers".to_owned());
    }
    let docs = repository().join("docs");
    let path = docs.join("performance.md");
    let page = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let page = replaced(&page, &part(&measured, &left_out))
        .ok_or_else(|| format!("{} has no line {BEGIN} before a line {END}", path.display()))?;
    let plots = docs.join("performance");
    fs::create_dir_all(&plots).map_err(|error| format!("{}: {error}", plots.display()))?;
    for (name, plot) in [("ratio.svg", plot::ratios(&measured)), ("cpu.svg", plot::cpu(&measured))] {
        fs::write(plots.join(name), plot).map_err(|error| format!("{name}: {error}"))?;
    }
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = format!("{} of {} works are in {}", measured.len(), WORKS.len(), path.display());
    for (work, why) in left_out {
        let _ = write!(text, "\nleft out: {}: {why}", work.name);
    }
    Ok(text)
}

fn replaced(page: &str, part: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{part}{END}{after}"))
}

fn part(measured: &[(&Work, WorkResult)], left_out: &[(&Work, String)]) -> String {
    let mut text = String::new();
    preface(&mut text, measured);
    summary(&mut text, measured);
    text.push_str(
        "\n![Ringway's CPU for each request over each peer's](performance/ratio.svg)\n\n![CPU for each request, all peers](performance/cpu.svg)\n",
    );
    behind(&mut text, measured);
    for (work, result) in measured {
        let _ = writeln!(text, "\n### {}\n\n`{}`, at {}\n", work.title, result.command, result.commit);
        text.push_str(&table(work, result));
    }
    if !left_out.is_empty() {
        let names: Vec<String> =
            left_out.iter().map(|(work, why)| format!("{} ({why})", work.name)).collect();
        let _ = writeln!(text, "\nNot in this report: {}.", names.join(", "));
    }
    text
}

fn preface(text: &mut String, measured: &[(&Work, WorkResult)]) {
    let Some((_, first)) = measured.first() else { return };
    let loads = measured.iter().flat_map(|(_, result)| result.rounds.values().flatten());
    let most = loads.map(|round| round.load_average).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "Machine: {}. CPU time from: {}. Load average of the machine, the measurement included, at most {most:.1}. At least five \
         rounds each, in which others took at most 5 % of the machine.\n",
        first.machine, first.meter
    );
    let mut versions: Vec<String> = Vec::new();
    for (name, version) in measured.iter().flat_map(|(_, result)| &result.versions) {
        let line = format!("{name}: {version}");
        if !versions.contains(&line) && !version.is_empty() {
            versions.push(line);
        }
    }
    let _ = writeln!(text, "{}.\n", versions.join("; "));
}

/// With whom a work is compared in the summary: by its bars, or else with nginx, and over HTTP/3 with quinn.
fn compared(work: &Work) -> Vec<(&'static str, Option<f64>)> {
    match work.bars {
        [] if work.protocol == Protocol::Http3 => vec![("quinn", None)],
        [] => vec![("nginx", None)],
        bars => bars.iter().map(|(peer, bar)| (*peer, Some(*bar))).collect(),
    }
}

/// These ratios, or none: fewer pairs than a claim needs show what went wrong in one round, and nothing else.
fn enough(ratios: Vec<f64>) -> Vec<f64> {
    if ratios.len() < PAIRS_MIN { Vec::new() } else { ratios }
}

/// Works that are counted in CPU, each beside those that it has a bar against.
fn summary(text: &mut String, measured: &[(&Work, WorkResult)]) {
    text.push_str(
        "| work | beside | its µs | ours µs | ratio, saturated | at 60 % | at the common rate | must reach | |\n|-|-|-|-|-|-|-|-|-|\n",
    );
    for (work, result) in measured.iter().filter(|(work, _)| !matches!(work.kind, Kind::Idle | Kind::Reload))
    {
        for (peer, bar) in compared(work).into_iter().filter(|(peer, _)| result.rounds.contains_key(*peer)) {
            let [saturated, sixty, common] =
                ["saturation", "sixty", "common"].map(|phase| enough(ratios(result, peer, phase)));
            // What did not keep its core busy is shown by what it cost at 60 %.
            let phase = if saturated.is_empty() { "sixty" } else { "saturation" };
            let cpu = |peer: &str| {
                let rounds = result.rounds.get(peer).map_or(&[][..], Vec::as_slice);
                range(spread(rounds, phase, |phase| phase.cpu_us), 2)
            };
            let _ = writeln!(
                text,
                "| {} | {peer} | {} | {} | {} | {} | {} | {} | {} |",
                work.title,
                cpu(peer),
                cpu(own(result)),
                range(Spread::of(saturated.iter().copied()), 2),
                range(Spread::of(sixty.iter().copied()), 2),
                range(Spread::of(common.iter().copied()), 2),
                bar.map_or(String::new(), |bar| format!("≤ {bar:.2}")),
                verdict(work.kind, bar, [&saturated, &sixty, &common]),
            );
        }
    }
}

/// What is said of a bar: only what the pairs allow. Where the load could not saturate the proxy, the other two phases
/// decide.
fn verdict(kind: Kind, bar: Option<f64>, [saturated, sixty, common]: [&[f64]; 3]) -> String {
    let (phases, remark) = match (kind, saturated.len() >= PAIRS_MIN) {
        // These have no other phase whose CPU is counted.
        (Kind::Downloads | Kind::Generators, _) => ([saturated, saturated], ""),
        (_, true) => ([saturated, sixty], ""),
        (_, false) => ([sixty, common], ", not saturated"),
    };
    if phases.iter().any(|ratios| ratios.len() < PAIRS_MIN) {
        return "too few pairs".to_owned();
    }
    let median = |ratios: &[f64]| Spread::of(ratios.iter().copied()).map_or(f64::NAN, |spread| spread.median);
    let [first, second] = phases;
    let word = match bar {
        Some(bar) if median(first) <= bar && median(second) <= bar => "reached",
        Some(_) => "not reached",
        None => claim(first).name(),
    };
    format!("{word}{remark}")
}

/// Where a peer takes less, in plain words.
fn behind(text: &mut String, measured: &[(&Work, WorkResult)]) {
    text.push_str(
        "\n**Where peers are better** (by the rule of claims in [bench/README.md](../bench/README.md)):\n\n",
    );
    let mut any = false;
    for (work, result) in measured {
        let ours = own(result);
        let name = if ours == Peer::Ringway.name() { "Ringway" } else { ours };
        let others = result.rounds.keys().filter(|peer| *peer != ours && *peer != TRUTH);
        for peer in others {
            let phases =
                [("saturation", "saturated"), ("sixty", "at 60 %"), ("common", "at the common rate")];
            let more: Vec<String> = phases
                .iter()
                .filter_map(|(phase, when)| {
                    let ratios = ratios(result, peer, phase);
                    let more = claim(&ratios) == Claim::More;
                    more.then(|| format!("{} {when}", range(Spread::of(ratios), 2)))
                })
                .collect();
            if !more.is_empty() {
                let more = more.join(", ");
                let _ =
                    writeln!(text, "- {}: of the CPU that {peer} takes, {name} takes {more}.", work.title);
                any = true;
            }
            let weights = idle_ratios(result, peer);
            if claim(&weights) == Claim::More {
                let ratio = range(Spread::of(weights), 2);
                let _ = writeln!(
                    text,
                    "- {}: {name} takes {ratio} times the memory that {peer} takes.",
                    work.title
                );
                any = true;
            }
        }
    }
    if !any {
        text.push_str("- In no work of this run can it be claimed.\n");
    }
}

/// What an idle connection weighs in ours, over what it weighs in a peer, round by round.
fn idle_ratios(result: &WorkResult, peer: &str) -> Vec<f64> {
    let of = |name: &str| {
        let rounds = result.rounds.get(name).map_or(&[][..], Vec::as_slice);
        rounds
            .iter()
            .filter_map(|round| Some((round.round, round.idle.as_ref()?.kib_each)))
            .collect::<Vec<_>>()
    };
    let theirs = of(peer);
    let pairs = of(own(result)).into_iter().filter_map(|(number, ours)| {
        let (_, other) = theirs.iter().find(|(theirs, _)| *theirs == number)?;
        (*other > 0.0).then(|| ours / other)
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u32, cpu_us: f64, busy: f64) -> Round {
        let phase = |name: &str| Phase { name: name.to_owned(), cpu_us, busy, ..Phase::default() };
        Round { round: number, phases: vec![phase("saturation"), phase("sixty")], ..Round::default() }
    }

    fn result() -> WorkResult {
        let rounds = |cpu: f64| {
            (0..6).map(|number| round(number, cpu, if number == 5 { 0.5 } else { 0.97 })).collect()
        };
        WorkResult {
            work: "h1-128".to_owned(),
            machine: "m".to_owned(),
            commit: "c".to_owned(),
            command: "cargo bench-peers".to_owned(),
            meter: "t".to_owned(),
            unix_s: 0,
            versions: [("nginx".to_owned(), "1".to_owned())].into(),
            rounds: [("ringway".to_owned(), rounds(11.0)), ("nginx".to_owned(), rounds(10.0))].into(),
            errors: Vec::new(),
        }
    }

    #[test]
    fn rounds_on_a_core_that_was_not_busy_do_not_count_as_saturation() {
        assert_eq!(ratios(&result(), "nginx", "saturation").len(), 5);
        assert_eq!(ratios(&result(), "nginx", "sixty").len(), 6);
    }

    #[test]
    fn the_page_says_where_a_peer_is_better() {
        let measured = [(&WORKS[0], result())];
        let page = replaced(&format!("a\n{BEGIN}\nold\n{END}\nb"), &part(&measured, &[])).unwrap();
        assert!(page.starts_with("a\n") && page.ends_with("\nb") && !page.contains("old"));
        assert!(page.contains("of the CPU that nginx takes, Ringway takes 1.10 (1.10–1.10) saturated, 1.10 (1.10–1.10) at 60 %."), "{page}");
        assert!(page.contains("not reached"));
        assert!(plot::cpu(&measured).contains("nginx") && plot::ratios(&measured).contains("1.10"));
    }

    #[test]
    fn a_ratio_of_few_pairs_is_neither_in_the_summary_nor_in_the_plot() {
        let mut few = result();
        for (number, round) in few.rounds.get_mut("nginx").unwrap().iter_mut().enumerate() {
            round.phases[0].busy = if number == 0 { 0.97 } else { 0.5 };
        }
        assert_eq!(ratios(&few, "nginx", "saturation").len(), 1);
        let measured = [(&WORKS[0], few)];
        assert!(!plot::ratios(&measured).contains("1.10"));
        let mut page = String::new();
        summary(&mut page, &measured);
        assert!(
            page.contains("| 10.00 (10.00–10.00) | 11.00 (11.00–11.00) | – | 1.10 (1.10–1.10) |"),
            "{page}"
        );
        assert!(page.contains("too few pairs"), "{page}");
    }
}
