//! Checks of the network: queues and buffers of sockets, what UDP may do, where packets arrive.

use super::Finding;
use super::cpu::listed;
use super::host::Host;

/// Ports below which connections to one endpoint run out under churn.
const PORTS_WANTED: u64 = 50_000;
const PORTS_MIN: u64 = 10_000;
/// The backlog that listeners ask for.
const BACKLOG: u64 = 4096;
/// A path of 1 Gbit/s and 30 ms holds this much.
const BUFFER_BYTES_WANTED: u64 = 4 << 20;
/// Connections that a table of the kernel's packet filter should hold.
const TRACKED_WANTED: u64 = 262_144;

pub(super) fn ports(host: &Host) -> Finding {
    let text = host.text("proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(from)), Some(Ok(to))) = (ends.next(), ends.next()) else {
        return Finding::unknown("net.ipv4.ip_local_port_range");
    };
    let ports = (to + 1).saturating_sub(from);
    let found = format!("{from} to {to}: {ports} ports");
    match ports {
        PORTS_WANTED.. => Finding::ok(found),
        PORTS_MIN.. => Finding::note(found),
        _ => Finding::warning(found),
    }
}

/// A sysctl that should be at least so much; `below` says how grave less is.
fn at_least(host: &Host, sysctl: &str, wanted: u64, below: fn(String) -> Finding) -> Finding {
    match host.sysctl(sysctl) {
        Some(value) if value >= wanted => Finding::ok(value.to_string()),
        Some(value) => below(value.to_string()),
        None => Finding::unknown(sysctl),
    }
}

pub(super) fn backlog(host: &Host) -> Finding {
    at_least(host, "net.core.somaxconn", BACKLOG, Finding::warning)
}

pub(super) fn half_open(host: &Host) -> Finding {
    at_least(host, "net.ipv4.tcp_max_syn_backlog", BACKLOG, Finding::note)
}

pub(super) fn syn_cookies(host: &Host) -> Finding {
    at_least(host, "net.ipv4.tcp_syncookies", 1, Finding::warning)
}

pub(super) fn reused_ports(host: &Host) -> Finding {
    match host.sysctl("net.ipv4.tcp_tw_reuse") {
        Some(1) => Finding::ok("1, for every destination"),
        Some(2) => Finding::note("2, on loopback alone"),
        Some(_) => Finding::note("0, never"),
        None => Finding::unknown("net.ipv4.tcp_tw_reuse"),
    }
}

pub(super) fn slow_start(host: &Host) -> Finding {
    match host.sysctl("net.ipv4.tcp_slow_start_after_idle") {
        Some(0) => Finding::ok("0"),
        Some(_) => Finding::note("1: a connection that rested begins anew with ten packets"),
        None => Finding::unknown("net.ipv4.tcp_slow_start_after_idle"),
    }
}

pub(super) fn receive_buffer(host: &Host) -> Finding {
    at_least(host, "net.core.rmem_max", BUFFER_BYTES_WANTED, Finding::warning)
}

pub(super) fn send_buffer(host: &Host) -> Finding {
    at_least(host, "net.core.wmem_max", BUFFER_BYTES_WANTED, Finding::warning)
}

fn granted(answer: &std::io::Result<()>, without: &str) -> Finding {
    match answer {
        Ok(()) => Finding::ok("granted"),
        Err(error) => Finding::warning(format!("refused ({error}): {without}")),
    }
}

pub(super) fn segmentation(host: &Host) -> Finding {
    granted(&host.answers.udp_segmentation, "each QUIC packet is a system call's worth of its own")
}

pub(super) fn coalescing(host: &Host) -> Finding {
    granted(&host.answers.udp_coalescing, "QUIC packets are received one by one")
}

pub(super) fn steering(host: &Host) -> Finding {
    granted(&host.answers.steering, "QUIC connections that change their address may lose their worker")
}

pub(super) fn tracking(host: &Host) -> Finding {
    let folder = "proc/sys/net/netfilter";
    let Some(max) = host.number(&format!("{folder}/nf_conntrack_max")) else {
        return Finding::ok("connections are not tracked");
    };
    let now = host.number(&format!("{folder}/nf_conntrack_count")).unwrap_or(0);
    let found = format!("{now} of {max} connections");
    match (now.saturating_mul(5) >= max.saturating_mul(4), max < TRACKED_WANTED) {
        (true, _) => Finding::problem(found),
        (false, true) => Finding::warning(found),
        (false, false) => Finding::ok(found),
    }
}

pub(super) fn queues(host: &Host) -> Finding {
    let cores = host.answers.cores;
    let mut said = Vec::new();
    let mut short = None;
    for interface in host.interfaces() {
        let folder = format!("sys/class/net/{interface}/queues");
        let queues: Vec<String> =
            host.names(&folder).into_iter().filter(|name| name.starts_with("rx-")).collect();
        // A mask of zeroes: the core that takes the interrupt carries the packet up itself.
        let spread = queues.iter().any(|queue| {
            let mask = host.text(&format!("{folder}/{queue}/rps_cpus")).unwrap_or_default();
            mask.chars().any(|c| c.is_ascii_hexdigit() && c != '0')
        });
        said.push(format!("{interface} has {}{}", queues.len(), if spread { " and RPS" } else { "" }));
        if queues.len() < cores && !spread {
            short.get_or_insert((interface, queues.len()));
        }
    }
    let found = said.join(", ");
    match short {
        None if found.is_empty() => Finding::ok("no interface with a device"),
        None => Finding::ok(found),
        Some((interface, queues)) => Finding::note(format!("{found}, for {cores} cores")).with_fix(format!(
            "ethtool -L {interface} combined {cores}   # or, where it has only {queues}: \
             echo {} | tee /sys/class/net/{interface}/queues/rx-*/rps_cpus",
            mask(cores)
        )),
    }
}

/// The mask of the first `cores` cores, as the kernel writes it: groups of 32 bits with commas.
pub(super) fn mask(cores: usize) -> String {
    let groups = cores.div_ceil(32);
    let first = if cores.is_multiple_of(32) { u32::MAX } else { (1u32 << (cores % 32)) - 1 };
    let rest = (1..groups).map(|_| ",ffffffff".to_owned());
    std::iter::once(format!("{first:x}")).chain(rest).collect()
}

pub(super) fn interrupts(host: &Host) -> Finding {
    let mut crowded = None;
    let mut said = Vec::new();
    for interface in host.interfaces() {
        let numbers = interrupts_of(host, &interface);
        let mut cores: Vec<String> = numbers
            .iter()
            .filter_map(|number| host.text(&format!("proc/irq/{number}/effective_affinity_list")))
            .collect();
        let handled = cores.len();
        cores.sort();
        cores.dedup();
        let distinct: u64 = cores.iter().map(|list| listed(list)).sum();
        if handled > 0 {
            said.push(format!("{interface}: {handled} on {distinct} of {} cores", host.answers.cores));
        }
        if handled > 2 && distinct == 1 && host.answers.cores > 1 {
            crowded = Some(interface);
        }
    }
    match (crowded, said.is_empty()) {
        (_, true) => Finding::unknown("no interrupts of an interface"),
        (None, false) => Finding::ok(said.join(", ")),
        (Some(_), false) => Finding::warning(said.join(", ")),
    }
}

/// Numbers of an interface's interrupts: its device's, or its bus device's where virtio stands between.
fn interrupts_of(host: &Host, interface: &str) -> Vec<String> {
    let device = format!("sys/class/net/{interface}/device");
    let own = host.names(&format!("{device}/msi_irqs"));
    if own.is_empty() { host.names(&format!("{device}/../msi_irqs")) } else { own }
}

pub(super) fn balancing(host: &Host) -> Finding {
    if host.runs("irqbalance") {
        Finding::note("irqbalance runs")
    } else {
        Finding::ok("irqbalance does not run")
    }
}
