//! Checks of the kernel: its version, the ring, the clocks.

use ringway_rt::Driver;

use super::Finding;
use super::host::Host;

/// What one reading of both clocks may cost before it shows: each request takes up to four.
const CLOCK_READING_NS_MAX: u64 = 250;

pub(super) fn version(host: &Host) -> Finding {
    let release = host.text("proc/sys/kernel/osrelease").unwrap_or_default();
    match host.kernel_version() {
        Some(version) if version >= (6, 1) => Finding::ok(release),
        Some((6, 0)) => Finding::note(format!("{release}: a ring that is a little dearer than from 6.1 on")),
        Some(version) if version >= (5, 10) => {
            Finding::warning(format!("{release}: epoll at best, or a dearer ring"))
        }
        Some(_) => Finding::problem(release),
        None => Finding::unknown("/proc/sys/kernel/osrelease"),
    }
}

pub(super) fn ring(host: &Host) -> Finding {
    let given = host.answers.drivers.iter().find(|(_, refused)| refused.is_none()).map(|(driver, _)| *driver);
    match given {
        Some(Driver::UringSingleIssuerDefer) => Finding::ok("granted, with SINGLE_ISSUER and DEFER_TASKRUN"),
        Some(Driver::UringSingleIssuerCoop) => {
            Finding::note("granted without DEFER_TASKRUN, which needs kernel 6.1")
        }
        Some(Driver::UringCoop) => Finding::note("granted without SINGLE_ISSUER, which needs kernel 6.0"),
        _ => ring_refused(host),
    }
}

/// Who refuses it decides what to type.
fn ring_refused(host: &Host) -> Finding {
    let refused = host.answers.drivers.first().and_then(|(_, refused)| refused.as_ref());
    let why = refused.map(ToString::to_string).unwrap_or_default();
    match host.sysctl("kernel.io_uring_disabled") {
        Some(2) => Finding::warning(format!("refused: kernel.io_uring_disabled is 2, nobody may ({why})")),
        Some(1) => {
            let group = host.text("proc/sys/kernel/io_uring_group").unwrap_or_default();
            Finding::warning(format!(
                "refused: kernel.io_uring_disabled is 1, group {group} alone may ({why})"
            ))
            .with_fix("sysctl -w kernel.io_uring_group=$(id -g ringway)")
        }
        _ => {
            Finding::warning(format!("refused, though no sysctl forbids it: a seccomp profile does ({why})"))
                .with_fix(
                    "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile: \
                 docker run --security-opt seccomp=PROFILE.json",
                )
        }
    }
}

pub(super) fn clock_source(host: &Host) -> Finding {
    let folder = "sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.text(&format!("{folder}/current_clocksource")) else {
        return Finding::unknown("/sys/devices/system/clocksource");
    };
    let cost = host.answers.clock_reading_ns;
    let found = format!("{current}, both clocks read in {cost} ns");
    let quick =
        matches!(current.as_str(), "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page");
    if quick && cost <= CLOCK_READING_NS_MAX {
        return Finding::ok(found);
    }
    let offered = host.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let finding = Finding::warning(format!("{found}; offered: {offered}"));
    if offered.split_whitespace().any(|name| name == "tsc") {
        return finding;
    }
    finding.with_fix("boot with tsc=reliable where the machine's counters are known to run in step")
}

pub(super) fn time_is_kept(host: &Host) -> Finding {
    match &host.answers.clock_is_synchronised {
        Ok(true) => Finding::ok("synchronised"),
        Ok(false) => Finding::warning("the kernel's clock is not synchronised"),
        Err(error) => Finding::unknown(&error.to_string()),
    }
}
