//! Checks of the processors: how many, how fast they may run, who else runs on them.

use super::Finding;
use super::host::Host;

const CPUS: &str = "sys/devices/system/cpu";

/// Share of all time since boot that the hypervisor took away, in thousandths, beyond which it shows in percentiles.
const STOLEN_THOUSANDTHS_MAX: u64 = 10;

pub(super) fn cores(host: &Host) -> Finding {
    let online = host.text(&format!("{CPUS}/online")).map_or(0, |list| listed(&list));
    let usable = host.answers.cores as u64;
    let found = format!("{usable} of {online} that are online");
    match usable {
        1 => Finding::note(format!("{found}: the worker shares it with control and every helper")),
        usable if usable < online => Finding::note(found),
        _ => Finding::ok(found),
    }
}

/// How many a list such as `0-3,8` names.
pub(super) fn listed(list: &str) -> u64 {
    let count = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        to.checked_sub(from)?.checked_add(1)
    };
    list.split(',').filter_map(count).sum()
}

pub(super) fn quota(host: &Host) -> Finding {
    for group in host.control_groups("cpu") {
        let unified = host.text(&format!("{group}/cpu.max"));
        let quota = unified.as_deref().and_then(|text| text.split_whitespace().next()).map(str::to_owned);
        let quota = quota.or_else(|| host.text(&format!("{group}/cpu.cfs_quota_us")));
        let period = unified.as_deref().and_then(|text| text.split_whitespace().nth(1)).map(str::to_owned);
        let period = period.or_else(|| host.text(&format!("{group}/cpu.cfs_period_us")));
        if let (Some(Ok(quota)), Some(Ok(period))) =
            (quota.map(|text| text.parse::<u64>()), period.map(|text| text.parse::<u64>()))
        {
            return Finding::warning(format!("{quota} µs in each {period} µs, in /{group}"));
        }
    }
    Finding::ok("none")
}

pub(super) fn governor(host: &Host) -> Finding {
    let Some(governor) = host.text(&format!("{CPUS}/cpu0/cpufreq/scaling_governor")) else {
        return Finding::ok("the frequency is not set by this kernel (a virtual machine, or firmware)");
    };
    match governor.as_str() {
        "performance" => Finding::ok(governor),
        "schedutil" => Finding::note(governor),
        _ => Finding::warning(governor),
    }
}

pub(super) fn idle_states(host: &Host) -> Finding {
    let folder = format!("{CPUS}/cpu0/cpuidle");
    let states: Vec<(String, u64)> = host
        .names(&folder)
        .iter()
        .filter(|state| host.number(&format!("{folder}/{state}/disable")) == Some(0))
        .filter_map(|state| {
            let name = host.text(&format!("{folder}/{state}/name"))?;
            Some((name, host.number(&format!("{folder}/{state}/latency"))?))
        })
        .collect();
    match states.into_iter().max_by_key(|(_, latency_us)| *latency_us) {
        None => Finding::ok("not this kernel's matter"),
        Some((name, latency_us)) if latency_us > 50 => {
            Finding::note(format!("{name}, which takes {latency_us} µs to leave"))
        }
        Some((name, latency_us)) => Finding::ok(format!("{name} at the deepest, {latency_us} µs")),
    }
}

pub(super) fn siblings(host: &Host) -> Finding {
    match host.number(&format!("{CPUS}/smt/active")) {
        Some(1) => {
            let pair = host.text(&format!("{CPUS}/cpu0/topology/thread_siblings_list")).unwrap_or_default();
            Finding::note(format!("on: {pair} are one core"))
        }
        Some(_) => Finding::ok("off, or none"),
        None => Finding::unknown("/sys/devices/system/cpu/smt"),
    }
}

pub(super) fn memory_nodes(host: &Host) -> Finding {
    match host.text("sys/devices/system/node/online").map(|list| listed(&list)) {
        None | Some(0 | 1) => Finding::ok("one"),
        Some(nodes) => Finding::note(format!("{nodes}")),
    }
}

pub(super) fn stolen(host: &Host) -> Finding {
    let stat = host.text("proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|time| time.parse().ok()).collect();
    let Some(stolen) = times.get(7) else { return Finding::unknown("/proc/stat") };
    let thousandths = stolen * 1000 / times.iter().sum::<u64>().max(1);
    let found = format!("{}.{} % since boot", thousandths / 10, thousandths % 10);
    if thousandths > STOLEN_THOUSANDTHS_MAX { Finding::warning(found) } else { Finding::ok(found) }
}

pub(super) fn cryptography(host: &Host) -> Finding {
    let info = host.text("proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let Some(flags) = flags else { return Finding::unknown("/proc/cpuinfo") };
    let has = |flag: &str| flags.split_whitespace().any(|given| given == flag);
    match (has("aes"), has("vaes")) {
        (true, true) => Finding::ok("AES instructions, four blocks at once"),
        (true, false) => Finding::ok("AES instructions"),
        (false, _) => Finding::warning("no AES instructions: ChaCha20 is left, and each byte costs more"),
    }
}
