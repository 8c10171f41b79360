//! The page of `/metrics`: Prometheus text exposition format 0.0.4.

use std::fmt::{Display, Write as _};

use super::histogram::{BOUNDS_US, HistogramSums, WideSums};
use super::shard::{CLASS_NAMES, Merged, RouteKey, RouteSums, cube_index};
use super::{Metric, MetricKind, MetricRow, Source};
use crate::outcome::Outcome;
use crate::record::{Method, Protocol};

/// `Content-Type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names of what records know by number, out of the snapshot.
pub trait Names {
    /// A route, such as `api.example.com /orders/*`.
    fn route(&self, route_id: u64) -> Option<&str>;
    /// An upstream.
    fn upstream(&self, upstream_id: u64) -> Option<&str>;
    /// A limit.
    fn limit(&self, limit_id: u64) -> Option<&str>;
    /// A stage of the policy chain.
    fn stage(&self, stage: u8) -> Option<&str>;
}

/// Knows no names: ids stand for themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nameless;

impl Names for Nameless {
    fn route(&self, _: u64) -> Option<&str> {
        None
    }
    fn upstream(&self, _: u64) -> Option<&str> {
        None
    }
    fn limit(&self, _: u64) -> Option<&str> {
        None
    }
    fn stage(&self, _: u8) -> Option<&str> {
        None
    }
}

/// Information that is printed as labels.
#[derive(Debug, Clone, Copy)]
pub struct Info<'a> {
    /// The I/O driver that the workers run on.
    pub driver: &'a str,
    /// Version of the gateway.
    pub version: &'a str,
}

impl Merged {
    /// Prints the page.
    #[must_use]
    pub fn print(&self, names: &dyn Names, info: Info<'_>) -> String {
        let mut page = Page { text: String::new(), name: "" };
        let labels: Vec<(String, &RouteSums)> =
            self.routes.iter().map(|(key, sums)| (label(*key, names), sums)).collect();
        for metric in Metric::ALL {
            let row = metric.row();
            page.head(row);
            match row.source {
                Source::Cell => page.sample("", &[], self.cell(*metric)),
                Source::Info => page.info(*metric, info),
                Source::Record => self.print_folded(*metric, &mut page, &labels),
            }
        }
        page.text
    }

    fn print_folded(&self, metric: Metric, page: &mut Page, routes: &[(String, &RouteSums)]) {
        match metric {
            Metric::Requests => self.print_cube(page),
            Metric::RequestsByMethod => {
                for (method, count) in Method::ALL.iter().zip(self.methods) {
                    page.sample("", &[("method", method.name())], count);
                }
            }
            Metric::RequestDuration => page.summary(&self.total),
            Metric::RequestOwn => page.summary(&self.own),
            _ => {}
        }
        for (route, sums) in routes {
            let label = ("route", route.as_str());
            match metric {
                Metric::RouteRequests => {
                    for (class, count) in CLASS_NAMES.iter().zip(sums.classes).filter(|(_, count)| *count > 0)
                    {
                        page.sample("", &[label, ("status_class", class)], count);
                    }
                }
                Metric::RouteBytesIn => page.sample("", &[label], sums.bytes_in),
                Metric::RouteBytesOut => page.sample("", &[label], sums.bytes_out),
                Metric::RouteDuration => page.histogram(label, &sums.total),
                Metric::RouteOwn => page.histogram(label, &sums.own),
                Metric::RouteUpstream => page.histogram(label, &sums.upstream),
                _ => {}
            }
        }
        if matches!(metric, Metric::RequestsShadow | Metric::RequestBytesIn | Metric::RequestBytesOut) {
            page.sample("", &[], self.cell(metric));
        }
    }

    /// Only what happened: the product of all labels is large and mostly 0.
    fn print_cube(&self, page: &mut Page) {
        for outcome in Outcome::ALL {
            for (class, class_name) in CLASS_NAMES.iter().enumerate() {
                for protocol in Protocol::ALL {
                    let count = self.cube.get(cube_index(*outcome, class, *protocol)).copied().unwrap_or(0);
                    if count > 0 {
                        let labels = [
                            ("outcome", outcome.name()),
                            ("kind", outcome.kind().name()),
                            ("status_class", class_name),
                            ("protocol", protocol.name()),
                        ];
                        page.sample("", &labels, count);
                    }
                }
            }
        }
    }
}

fn label(key: RouteKey, names: &dyn Names) -> String {
    match key {
        RouteKey::Route(id) => names.route(id).map_or_else(|| format!("{id:016x}"), str::to_owned),
        RouteKey::None => "_none".to_owned(),
        RouteKey::Other => "_other".to_owned(),
    }
}

struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn head(&mut self, row: &MetricRow) {
        self.name = row.name;
        let help = row.meaning.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {} {help}", row.name));
        self.line(format_args!("# TYPE {} {}", row.name, row.kind.name()));
        debug_assert!(row.kind != MetricKind::Counter || row.name.ends_with("_total"));
    }

    /// One sample; `suffix` is `_bucket` and the like.
    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
        }
        self.line(format_args!("{} {value}", if labels.is_empty() { "" } else { "}" }));
    }

    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }

    fn info(&mut self, metric: Metric, info: Info<'_>) {
        let value = if metric == Metric::DriverInfo { info.driver } else { info.version };
        for name in metric.row().labels {
            self.sample("", &[(name, value)], 1);
        }
    }

    fn histogram(&mut self, label: (&str, &str), sums: &HistogramSums) {
        let mut below = 0;
        let bounds = BOUNDS_US.iter().map(|bound| seconds(u64::from(*bound)).to_string());
        for (bound, count) in bounds.chain(std::iter::once("+Inf".to_owned())).zip(sums.buckets) {
            below += count;
            self.sample("_bucket", &[label, ("le", &bound)], below);
        }
        self.sample("_sum", &[label], seconds(sums.sum_us));
        self.sample("_count", &[label], sums.count());
    }

    fn summary(&mut self, sums: &WideSums) {
        for (name, part) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999), ("1", 1.0)] {
            self.sample("", &[("quantile", name)], seconds(sums.quantile_us(part)));
        }
        self.sample("_sum", &[], seconds(sums.sum_us));
        self.sample("_count", &[], sums.count());
    }

    fn line(&mut self, end: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(end);
        self.text.push('\n');
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
