//! Laws of folding and of the page; the page is read by a parser that knows nothing of the printer.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::outcome::Outcome;
use crate::record::{Protocol, Record};

const INFO: Info<'_> = Info { driver: "uring", version: "0.1.0" };

fn record(route_id: u64, status: u16) -> Record<'static> {
    Record {
        route_id,
        status,
        outcome: Outcome::Served,
        protocol: Protocol::Http11,
        attempts: 1,
        total_us: 1_200,
        own_us: 30,
        upstream_head_us: 1_000,
        head_in_bytes: 100,
        body_out_bytes: 128,
        ..Record::default()
    }
}

/// A sample as Prometheus reads it.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads one sample line by the grammar of the text format 0.0.4.
fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let name = line[..end].to_owned();
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty(), "{line}");
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (end, '"') => break end,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("unknown escape {c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            inner = &after[end + 1..];
            match inner.strip_prefix(',') {
                Some(more) => inner = more,
                None => break,
            }
        }
        rest = inner.strip_prefix('}').unwrap();
    }
    Sample { name, labels, value: rest.strip_prefix(' ').unwrap().parse().unwrap() }
}

/// Reads a page: every sample stands below its HELP and TYPE, nothing stands twice.
fn parse(page: &str) -> Vec<Sample> {
    assert!(page.ends_with('\n'));
    let (mut samples, mut types, mut seen) = (Vec::new(), HashMap::new(), HashSet::new());
    let mut current = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().unwrap().to_owned();
            assert!(!types.contains_key(&current), "{current} stands twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            types.insert(name.to_owned(), kind.to_owned());
        } else {
            let sample = parse_sample(line);
            let base = match types[&current].as_str() {
                "histogram" | "summary" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| sample.name.strip_suffix(suffix))
                    .unwrap_or(&sample.name),
                _ => &sample.name,
            };
            assert_eq!(base, current, "{line}");
            assert!(seen.insert(format!("{}{:?}", sample.name, sample.labels)), "{line} stands twice");
            samples.push(sample);
        }
    }
    samples
}

fn find<'s>(samples: &'s [Sample], name: &str, labels: &[(&str, &str)]) -> Option<&'s Sample> {
    let has = |sample: &Sample, (name, value): &(&str, &str)| {
        sample.labels.iter().any(|(n, v)| n == name && v == value)
    };
    samples.iter().find(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)))
}

#[test]
fn names_are_as_the_house_wants_them() {
    let mut seen = HashSet::new();
    for row in Metric::ALL.iter().map(|metric| metric.row()) {
        assert!(seen.insert(row.name));
        assert!(row.name.starts_with("ringway_"), "{}", row.name);
        assert_eq!(row.name.ends_with("_total"), row.kind == MetricKind::Counter, "{}", row.name);
        assert!(row.meaning.ends_with('.') && row.hint.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn the_reference_page_is_printed_from_the_table() {
    crate::reference::check("metrics.md", &reference());
}

#[test]
fn what_workers_fold_is_summed_on_the_page() {
    let metrics = Metrics::new(2);
    for worker in [0, 1, 1] {
        metrics.shard(worker).unwrap().fold(&record(7, 200));
    }
    metrics.shard(0).unwrap().fold(&Record { outcome: Outcome::NoRoute, status: 404, ..Record::default() });
    metrics.shard(1).unwrap().add(Metric::ConnectionsOpen, 5);
    metrics.shard(0).unwrap().sub(Metric::ConnectionsOpen, 1);
    metrics.node().set(Metric::Generation, 41);
    let merged = metrics.merge();
    assert_eq!((merged.requests(Outcome::Served), merged.requests_total()), (3, 4));
    assert_eq!(merged.cell(Metric::ConnectionsOpen), 4);

    let samples = parse(&merged.print(&Nameless, INFO));
    let value = |name, labels: &[_]| find(&samples, name, labels).map(|sample| sample.value);
    let served =
        [("outcome", "served"), ("kind", "served"), ("status_class", "2xx"), ("protocol", "http/1.1")];
    assert_eq!(value("ringway_requests_total", &served), Some(3.0));
    assert_eq!(
        value("ringway_requests_total", &[("outcome", "no_route"), ("status_class", "4xx")]),
        Some(1.0)
    );
    let route = ("route", "0000000000000007");
    assert_eq!(value("ringway_route_requests_total", &[route]), Some(3.0));
    assert_eq!(value("ringway_route_requests_total", &[("route", "_none")]), Some(1.0));
    assert_eq!(value("ringway_route_upstream_seconds_bucket", &[route, ("le", "0.0005")]), Some(0.0));
    assert_eq!(value("ringway_route_upstream_seconds_bucket", &[route, ("le", "0.001")]), Some(3.0));
    assert_eq!(value("ringway_route_upstream_seconds_count", &[("route", "_none")]), Some(0.0));
    assert_eq!(value("ringway_request_sent_bytes_total", &[]), Some(384.0));
    assert_eq!(value("ringway_generation", &[]), Some(41.0));
    assert_eq!(value("ringway_driver_info", &[("driver", "uring")]), Some(1.0));
    let slowest = value("ringway_request_duration_seconds", &[("quantile", "0.5")]).unwrap();
    assert!((slowest - 0.0012).abs() < 0.000_03, "{slowest}");
}

#[test]
fn every_metric_of_the_table_has_a_head_and_its_buckets_rise() {
    let metrics = Metrics::new(1);
    metrics.shard(0).unwrap().fold(&record(9, 500));
    let page = metrics.merge().print(&Nameless, INFO);
    for row in Metric::ALL.iter().map(|metric| metric.row()) {
        assert!(page.contains(&format!("# TYPE {} {}\n", row.name, row.kind.name())), "{}", row.name);
    }
    let samples = parse(&page);
    for sample in &samples {
        for (label, _) in &sample.labels {
            let row =
                Metric::ALL.iter().map(|metric| metric.row()).find(|row| sample.name.starts_with(row.name));
            let known = row.is_some_and(|row| row.labels.contains(&label.as_str()));
            assert!(known || label == "le" || label == "quantile", "{label} of {}", sample.name);
        }
    }
    let buckets: Vec<_> = samples.iter().filter(|s| s.name == "ringway_route_own_seconds_bucket").collect();
    assert_eq!(buckets.len(), BUCKETS);
    assert!(buckets.is_sorted_by(|a, b| a.value <= b.value));
    assert_eq!(buckets.last().unwrap().labels[1].1, "+Inf");
}

struct Awkward;

impl Names for Awkward {
    fn route(&self, _: u64) -> Option<&str> {
        Some("a\\b \"c\"\nd é")
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

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new(1);
    metrics.shard(0).unwrap().fold(&record(1, 200));
    let samples = parse(&metrics.merge().print(&Awkward, INFO));
    assert!(find(&samples, "ringway_route_requests_total", &[("route", "a\\b \"c\"\nd é")]).is_some());
}

#[test]
fn routes_beyond_the_bound_share_one_series_and_those_within_keep_theirs() {
    let metrics = Metrics::new(2);
    for route in 1..=5_000u64 {
        metrics.shard((route % 2) as u16).unwrap().fold(&record(route << 40 | 1, 200));
        metrics.shard(0).unwrap().fold(&record(1 << 40 | 1, 200));
    }
    let samples = parse(&metrics.merge().print(&Nameless, INFO));
    let of_routes: Vec<_> = samples.iter().filter(|s| s.name == "ringway_route_requests_total").collect();
    assert_eq!(of_routes.len(), ROUTES_MAX + 1);
    assert_eq!(of_routes.iter().map(|sample| sample.value).sum::<f64>(), 10_000.0);
    let other = find(&samples, "ringway_route_requests_total", &[("route", "_other")]).unwrap();
    assert_eq!(other.value, 3_000.0);
    let first = find(&samples, "ringway_route_requests_total", &[("route", "0000010000000001")]).unwrap();
    assert_eq!(first.value, 5_001.0);
}

#[test]
fn two_workers_that_meet_a_route_at_once_count_it_under_one_label() {
    let metrics = Metrics::new(2);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let shard = metrics.shard(worker).unwrap();
            scope.spawn(move || (1..=1_000).for_each(|route| shard.fold(&record(route, 200))));
        }
    });
    let samples = parse(&metrics.merge().print(&Nameless, INFO));
    let of_routes: Vec<_> = samples.iter().filter(|s| s.name == "ringway_route_requests_total").collect();
    assert_eq!((of_routes.len(), of_routes.iter().all(|sample| sample.value == 2.0)), (1_000, true));
}

#[test]
fn a_restarted_worker_starts_with_empty_gauges_and_keeps_its_counters() {
    let metrics = Metrics::new(1);
    let shard = metrics.shard(0).unwrap();
    shard.add(Metric::ConnectionsOpen, 3);
    shard.add(Metric::ConnectionsAccepted, 3);
    shard.reset_gauges();
    let merged = metrics.merge();
    assert_eq!((merged.cell(Metric::ConnectionsOpen), merged.cell(Metric::ConnectionsAccepted)), (0, 3));
}

#[test]
fn numbers_beyond_all_measure_neither_panic_nor_touch_other_series() {
    let metrics = Metrics::new(2);
    let most = Record {
        total_us: u64::MAX,
        own_us: u32::MAX,
        upstream_head_us: u32::MAX,
        head_in_bytes: u32::MAX,
        head_out_bytes: u32::MAX,
        body_in_bytes: u64::MAX,
        body_out_bytes: u64::MAX,
        status: u16::MAX,
        ..record(u64::MAX, 200)
    };
    for worker in [0, 0, 1] {
        metrics.shard(worker).unwrap().fold(&most);
        metrics.shard(worker).unwrap().fold(&record(1, 200));
    }
    let samples = parse(&metrics.merge().print(&Nameless, INFO));
    let value = |labels: &[_]| find(&samples, "ringway_route_requests_total", labels).unwrap().value;
    assert_eq!(value(&[("route", "ffffffffffffffff"), ("status_class", "none")]), 3.0);
    assert_eq!(value(&[("route", "0000000000000001"), ("status_class", "2xx")]), 3.0);
}
