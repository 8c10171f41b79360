//! Checks of memory: limits of the process, pages, swap, the room for records.

use ringway_rt::probe::ProcessLimit;

use super::Finding;
use super::host::Host;

/// Descriptors with which 30,000 proxied connections fit, each with one to its upstream.
const DESCRIPTORS_WANTED: u64 = 65_536;
/// Below this a gateway cannot carry the load of a test.
const DESCRIPTORS_MIN: u64 = 4_096;
/// Kernels before it count ring memory against RLIMIT_MEMLOCK.
const RINGS_ARE_NOT_LOCKED_FROM: (u32, u32) = (5, 12);
/// What one worker's ring takes, with its completion queue of 32,768 entries.
const RING_BYTES: u64 = 1 << 20;
/// Record segments of a node beside those of its workers, those of one worker, and the bytes of one (`gateway/records.rs`).
const SEGMENTS: u64 = 96;
const SEGMENTS_OF_WORKER: u64 = 4;
const SEGMENT_BYTES: u64 = 256 << 10;

pub(super) fn descriptors(host: &Host) -> Finding {
    let ProcessLimit { soft, hard } = match &host.answers.descriptors {
        Ok(limit) => *limit,
        Err(error) => return Finding::unknown(&error.to_string()),
    };
    let found = format!("{} (may be raised to {})", amount(soft), amount(hard));
    match soft {
        soft if soft >= DESCRIPTORS_WANTED => Finding::ok(found),
        soft if soft >= DESCRIPTORS_MIN => Finding::warning(found),
        _ => Finding::problem(found),
    }
}

fn amount(limit: u64) -> String {
    if limit == u64::MAX { "no limit".to_owned() } else { limit.to_string() }
}

pub(super) fn locked_memory(host: &Host) -> Finding {
    let ProcessLimit { soft, .. } = match &host.answers.locked_memory {
        Ok(limit) => *limit,
        Err(error) => return Finding::unknown(&error.to_string()),
    };
    let found = if soft == u64::MAX { "no limit".to_owned() } else { format!("{} KiB", soft >> 10) };
    let old = host.kernel_version().is_some_and(|version| version < RINGS_ARE_NOT_LOCKED_FROM);
    let wanted = RING_BYTES.saturating_mul(host.answers.cores as u64);
    match (old, soft < wanted) {
        (true, true) => Finding::problem(format!("{found}; the rings need {} KiB", wanted >> 10)),
        (true, false) => Finding::ok(found),
        (false, _) => Finding::ok(format!("{found}; this kernel does not count rings against it")),
    }
}

pub(super) fn large_pages(host: &Host) -> Finding {
    let Some(text) = host.text("sys/kernel/mm/transparent_hugepage/enabled") else {
        return Finding::ok("this kernel has none");
    };
    let chosen = text.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
    match chosen.as_str() {
        "madvise" | "never" => Finding::ok(chosen),
        _ => Finding::warning(chosen),
    }
}

pub(super) fn reserved_pages(host: &Host) -> Finding {
    let info = host.text("proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    match kib("HugePages_Free:") {
        Some(0) => Finding::ok("none"),
        Some(free) => {
            let mib = free.saturating_mul(kib("Hugepagesize:").unwrap_or(0)) >> 10;
            Finding::note(format!("{free} free, {mib} MiB that nobody uses"))
        }
        None => Finding::unknown("/proc/meminfo"),
    }
}

pub(super) fn swap(host: &Host) -> Finding {
    let swaps = host.text("proc/swaps").unwrap_or_default();
    let used: u64 =
        swaps.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok()).sum();
    let swappiness = host.sysctl("vm.swappiness").unwrap_or(60);
    match (swaps.lines().count() > 1, used) {
        (false, _) => Finding::ok("none"),
        (true, 0) if swappiness <= 10 => Finding::ok(format!("unused, swappiness {swappiness}")),
        (true, 0) => Finding::note(format!("unused, swappiness {swappiness}")),
        (true, used) => Finding::warning(format!("{} MiB are swapped out", used >> 10)),
    }
}

pub(super) fn shared_memory(host: &Host) -> Finding {
    let mounts = host.text("proc/self/mounts").unwrap_or_default();
    let kind = mounts.lines().rev().find_map(|line| {
        let mut parts = line.split(' ').skip(1);
        (parts.next()? == "/dev/shm").then(|| parts.next().unwrap_or_default().to_owned())
    });
    let free = match &host.answers.shared_memory_free_bytes {
        Ok(free) => *free,
        Err(error) => {
            return Finding::warning(format!("no /dev/shm ({error}): records go to the state directory"));
        }
    };
    let wanted = SEGMENT_BYTES.saturating_mul(SEGMENTS + SEGMENTS_OF_WORKER * host.answers.cores as u64);
    let found = format!("{} MiB free; records take up to {} MiB", free >> 20, wanted >> 20);
    match (kind.as_deref(), free < wanted) {
        (Some("tmpfs"), false) => Finding::ok(found),
        (_, true) => Finding::problem(found),
        (kind, false) => {
            Finding::warning(format!("{found}; it is {}", kind.unwrap_or("no mount of its own")))
        }
    }
}
