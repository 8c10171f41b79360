//! Whose figures these are: the generator's own limits, measured, and said plainly.

use super::{Generator, Lateness, Thread};
use crate::failure::Failure;
use crate::limits::{LATE_NS, THREAD_BUSY_SHARE, THREAD_STARVED_SHARE};
use crate::quantity::{show_ns, show_share};
use crate::run::Run;

/// The generator's account of a run.
pub(super) fn generator(run: &Run) -> Generator {
    let threads: Vec<Thread> = run
        .threads
        .iter()
        .map(|thread| Thread {
            thread: thread.thread,
            driver: thread.driver.clone(),
            cpu_share: thread.usage.cpu_share(),
            starved_share: thread.usage.starved_share(),
        })
        .collect();
    let cpu_s = run.threads.iter().map(|thread| thread.usage.cpu_ns).sum::<u64>() as f64 / 1e9;
    let lateness = run.plan.is_open().then(|| Lateness {
        p50_ns: run.total.lateness.value_at_quantile(0.5),
        p99_ns: run.total.lateness.value_at_quantile(0.99),
        max_ns: run.total.lateness.max(),
    });
    let faults = faults(run, &threads, lateness.as_ref());
    let limited = !faults.is_empty();
    let mut findings = faults;
    if !limited {
        findings.push("The generator had room: the figures are the target's.".to_owned());
    }
    findings.extend(about_the_target(run));
    let answered_per_cpu_s = if cpu_s > 0.0 { run.total.answered as f64 / cpu_s } else { 0.0 };
    Generator { threads, cpu_s, answered_per_cpu_s, lateness, limited, findings }
}

/// What makes the generator the bottleneck.
fn faults(run: &Run, threads: &[Thread], lateness: Option<&Lateness>) -> Vec<String> {
    let mut faults = Vec::new();
    let most = |share: fn(&Thread) -> f64| threads.iter().map(share).fold(0.0, f64::max);
    let (cpu, starved) = (most(|thread| thread.cpu_share), most(|thread| thread.starved_share));
    if cpu >= THREAD_BUSY_SHARE && !run.plan.busy {
        faults.push(format!(
            "The generator was the bottleneck: a thread used {} of its core. The target may do better with more --threads, \
             or with the generator on a machine of its own.",
            show_share(cpu)
        ));
    }
    if starved >= THREAD_STARVED_SHARE {
        faults.push(format!(
            "The generator was disturbed: a thread was ready to run and had no core for {} of the time. Something else ran \
             there; give the generator cores of its own (--cores).",
            show_share(starved)
        ));
    }
    let median_ns = run.total.corrected.value_at_quantile(0.5);
    if let Some(late) = lateness
        && late.p99_ns > LATE_NS
        && late.p99_ns > median_ns / 10
    {
        faults.push(format!(
            "The generator was late: one send in a hundred came {} or more after its time although a connection was free. \
             Latencies include that.",
            show_ns(late.p99_ns)
        ));
    }
    faults
}

/// What is to be known of the target before its figures are read.
fn about_the_target(run: &Run) -> Vec<String> {
    let mut findings = Vec::new();
    let total = &run.total;
    let waited = total.waited as f64 / total.sent.max(1) as f64;
    if waited > 0.01 {
        findings.push(format!(
            "{} of the requests were due while every connection was busy and waited for one: the target was slower than the \
             rate asks, or there are too few connections (-c). Their latency includes that wait, as it would for users.",
            show_share(waited)
        ));
    }
    let left = total.failed(Failure::Unsent) + total.failed(Failure::Unfinished);
    if left > 0 {
        findings.push(format!(
            "{left} requests had no reply when waiting for them ended; they count in the latencies with the time that they \
             had had, which is less than what they needed."
        ));
    }
    findings
}
