//! Figures over time as CSV (RFC 4180): one row a tick, times in seconds, latencies in microseconds.

use std::fmt::Write;

use super::Report;

/// The rows, the first of them names.
pub(crate) fn csv(report: &Report) -> String {
    let mut out = String::from(
        "at_s,seconds,answered,failed,answered_per_s,status_1xx,status_2xx,status_3xx,status_4xx,status_5xx,no_reply,\
         p50_us,p90_us,p99_us,p999_us,max_us\r\n",
    );
    for sample in &report.series {
        let rate = sample.answered as f64 / sample.seconds.max(1e-9);
        let (at_s, seconds) = (sample.at_s, sample.seconds);
        // Writing into a string cannot fail.
        let _ = write!(out, "{at_s:.3},{seconds:.3},{},{},{rate:.1}", sample.answered, sample.failed);
        for class in sample.classes {
            let _ = write!(out, ",{class}");
        }
        let _ = write!(out, ",{}", sample.broken);
        for ns in [sample.p50_ns, sample.p90_ns, sample.p99_ns, sample.p999_ns, sample.max_ns] {
            let _ = write!(out, ",{:.1}", ns as f64 / 1e3);
        }
        out.push_str("\r\n");
    }
    out
}
