//! The cells: one shard a worker, one of the node's helper threads, and their sum.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BUCKETS, HistogramSums, WideHistogram, WideSums, add, bucket};
use super::routes::{Routes, SLOTS};
use super::{Metric, MetricKind};
use crate::outcome::Outcome;
use crate::record::{Method, Protocol, Record};

/// Classes of a status: none was sent, then 1xx to 5xx.
pub(super) const CLASSES: usize = 6;
/// Their labels.
pub(super) const CLASS_NAMES: [&str; CLASSES] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const PROTOCOLS: usize = Protocol::ALL.len();
const CUBE: usize = Outcome::COUNT * CLASSES * PROTOCOLS;

/// All metrics of a node.
#[derive(Debug)]
pub struct Metrics {
    routes: Routes,
    shards: Box<[ShardCells]>,
    node: Node,
}

impl Metrics {
    /// For this many workers.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self {
            routes: Routes::default(),
            shards: (0..workers).map(|_| ShardCells::default()).collect(),
            node: Node::default(),
        }
    }

    /// The shard of a worker; none for a number that [`Self::new`] was not told. Only the thread of that worker may
    /// write it (another writer would lose counts, nothing worse). A restarted worker goes on with the same one.
    #[must_use]
    pub fn shard(&self, worker: u16) -> Option<Shard<'_>> {
        Some(Shard { cells: self.shards.get(usize::from(worker))?, routes: &self.routes })
    }

    /// The cells of the node as a whole, for its helper threads and supervisor.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Adds up all shards by loads alone.
    #[must_use]
    pub fn merge(&self) -> Merged {
        let mut merged = Merged::default();
        for (sum, cell) in merged.cells.iter_mut().zip(&self.node.cells) {
            *sum = cell.load(Ordering::Relaxed);
        }
        for shard in &self.shards {
            shard.add_to(&mut merged, &self.routes);
        }
        merged
    }
}

/// Counters and gauges that any thread of the node may write: rare ones.
#[derive(Debug)]
pub struct Node {
    cells: [AtomicU64; Metric::COUNT],
}

impl Default for Node {
    fn default() -> Self {
        Self { cells: [const { AtomicU64::new(0) }; Metric::COUNT] }
    }
}

impl Node {
    /// Sets a gauge. The page shows the sum of this and of what the workers count.
    pub fn set(&self, metric: Metric, value: u64) {
        if let Some(cell) = self.cells.get(metric as usize) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to a counter or gauge.
    pub fn add(&self, metric: Metric, count: u64) {
        if let Some(cell) = self.cells.get(metric as usize) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The shard of one worker.
#[derive(Debug, Clone, Copy)]
pub struct Shard<'m> {
    cells: &'m ShardCells,
    routes: &'m Routes,
}

impl Shard<'_> {
    /// Counts one record: some twenty loads and stores.
    #[inline]
    pub fn fold(&self, record: &Record<'_>) {
        let cells = self.cells;
        let class = class(record.status);
        let bytes_in = record.body_in_bytes.saturating_add(u64::from(record.head_in_bytes));
        let bytes_out = record.body_out_bytes.saturating_add(u64::from(record.head_out_bytes));
        if let Some(cell) = cells.cube.get(cube_index(record.outcome, class, record.protocol)) {
            add(cell, 1);
        }
        if let Some(cell) = cells.methods.get(record.method as usize) {
            add(cell, 1);
        }
        cells.total.record(record.total_us);
        cells.own.record(u64::from(record.own_us));
        self.add(Metric::RequestBytesIn, bytes_in);
        self.add(Metric::RequestBytesOut, bytes_out);
        if record.shadow != 0 {
            self.add(Metric::RequestsShadow, 1);
        }
        if let Some(route) = cells.routes.get(self.routes.slot(record.route_id)) {
            route.get_or_init(Box::default).fold(record, class, bytes_in, bytes_out);
        }
    }

    /// Adds to a counter or gauge.
    #[inline]
    pub fn add(&self, metric: Metric, count: u64) {
        if let Some(cell) = self.cells.cells.get(metric as usize) {
            add(cell, count);
        }
    }

    /// Takes from a gauge.
    #[inline]
    pub fn sub(&self, metric: Metric, count: u64) {
        self.add(metric, count.wrapping_neg());
    }

    /// Sets this worker's part of a gauge.
    #[inline]
    pub fn set(&self, metric: Metric, value: u64) {
        if let Some(cell) = self.cells.cells.get(metric as usize) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Sets all gauges of the worker to 0: what a panic left open is gone when the worker is started again.
    pub fn reset_gauges(&self) {
        for metric in Metric::ALL.iter().filter(|metric| metric.row().kind == MetricKind::Gauge) {
            self.set(*metric, 0);
        }
    }
}

#[derive(Debug)]
struct ShardCells {
    cube: Box<[AtomicU64]>,
    methods: [AtomicU64; Method::ALL.len()],
    cells: [AtomicU64; Metric::COUNT],
    total: WideHistogram,
    own: WideHistogram,
    /// By slot; made when the worker first serves the route.
    routes: Box<[OnceLock<Box<RouteCells>>]>,
}

impl Default for ShardCells {
    fn default() -> Self {
        Self {
            cube: (0..CUBE).map(|_| AtomicU64::new(0)).collect(),
            methods: Default::default(),
            cells: [const { AtomicU64::new(0) }; Metric::COUNT],
            total: WideHistogram::default(),
            own: WideHistogram::default(),
            routes: (0..SLOTS).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl ShardCells {
    fn add_to(&self, merged: &mut Merged, routes: &Routes) {
        for (sum, cell) in merged.cube.iter_mut().zip(&self.cube) {
            *sum += cell.load(Ordering::Relaxed);
        }
        for (sum, cell) in merged.methods.iter_mut().zip(&self.methods) {
            *sum += cell.load(Ordering::Relaxed);
        }
        for (sum, cell) in merged.cells.iter_mut().zip(&self.cells) {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.total.add_to(&mut merged.total);
        self.own.add_to(&mut merged.own);
        for (slot, cells) in self.routes.iter().enumerate() {
            if let Some(cells) = cells.get() {
                let key = match routes.route_id(slot) {
                    Some(id) => RouteKey::Route(id),
                    None if slot == super::routes::SLOT_NONE => RouteKey::None,
                    None => RouteKey::Other,
                };
                cells.add_to(merged.routes.entry(key).or_default());
            }
        }
    }
}

/// What is counted of a route, by one worker: what one request changes stands in as few lines of the cache as may be. With a series for
/// each of many routes they are seldom in the cache, and each line is then waited for.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct RouteCells {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    total_sum_us: AtomicU64,
    own_sum_us: AtomicU64,
    upstream_sum_us: AtomicU64,
    /// By [`class_place`], so that those of replies are on the line of the sums.
    classes: [AtomicU64; CLASSES],
    /// The three durations' counts for each bucket side by side: the whole and the upstream's part of it are mostly alike.
    buckets: [BucketCells; BUCKETS],
}

/// One bucket of each of a route's histograms.
#[derive(Debug, Default)]
struct BucketCells {
    upstream: AtomicU64,
    total: AtomicU64,
    own: AtomicU64,
}

/// Where a class of status is counted: 2xx, 4xx and 3xx first, which most requests are of.
const fn class_place(class: usize) -> usize {
    match class {
        2 => 0,
        4 => 1,
        3 => 2,
        5 => 3,
        1 => 4,
        _ => 5,
    }
}

impl RouteCells {
    #[inline]
    fn fold(&self, record: &Record<'_>, class: usize, bytes_in: u64, bytes_out: u64) {
        if let Some(cell) = self.classes.get(class_place(class)) {
            add(cell, 1);
        }
        add(&self.bytes_in, bytes_in);
        add(&self.bytes_out, bytes_out);
        let own_us = u64::from(record.own_us);
        add(&self.total_sum_us, record.total_us);
        add(&self.own_sum_us, own_us);
        if let Some(cells) = self.buckets.get(bucket(record.total_us)) {
            add(&cells.total, 1);
        }
        if let Some(cells) = self.buckets.get(bucket(own_us)) {
            add(&cells.own, 1);
        }
        if record.attempts > 0 {
            let upstream_us = u64::from(record.upstream_head_us);
            add(&self.upstream_sum_us, upstream_us);
            if let Some(cells) = self.buckets.get(bucket(upstream_us)) {
                add(&cells.upstream, 1);
            }
        }
    }

    fn add_to(&self, sums: &mut RouteSums) {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        for (class, sum) in sums.classes.iter_mut().enumerate() {
            *sum += self.classes.get(class_place(class)).map_or(0, load);
        }
        sums.bytes_in = sums.bytes_in.wrapping_add(load(&self.bytes_in));
        sums.bytes_out = sums.bytes_out.wrapping_add(load(&self.bytes_out));
        for (at, cells) in self.buckets.iter().enumerate() {
            sums.total.add(at, load(&cells.total));
            sums.own.add(at, load(&cells.own));
            sums.upstream.add(at, load(&cells.upstream));
        }
        sums.total.add_sum_us(load(&self.total_sum_us));
        sums.own.add_sum_us(load(&self.own_sum_us));
        sums.upstream.add_sum_us(load(&self.upstream_sum_us));
    }
}

/// Whose series it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RouteKey {
    /// A route's, by its stable id.
    Route(u64),
    /// That of requests without a route.
    None,
    /// That of the routes beyond the bound.
    Other,
}

/// What was counted of a route, by all workers.
#[derive(Debug, Default, Clone)]
pub struct RouteSums {
    pub(super) classes: [u64; CLASSES],
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) total: HistogramSums,
    pub(super) own: HistogramSums,
    pub(super) upstream: HistogramSums,
}

/// All shards added up.
#[derive(Debug, Clone)]
pub struct Merged {
    pub(super) cube: Vec<u64>,
    pub(super) methods: [u64; Method::ALL.len()],
    pub(super) cells: [u64; Metric::COUNT],
    pub(super) total: WideSums,
    pub(super) own: WideSums,
    pub(super) routes: std::collections::BTreeMap<RouteKey, RouteSums>,
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            cube: vec![0; CUBE],
            methods: [0; Method::ALL.len()],
            cells: [0; Metric::COUNT],
            total: WideSums::default(),
            own: WideSums::default(),
            routes: std::collections::BTreeMap::new(),
        }
    }
}

impl Merged {
    /// Stable ids of the routes that have figures of their own.
    #[must_use]
    pub fn route_ids(&self) -> Vec<u64> {
        let ids = self.routes.keys().filter_map(|key| match key {
            RouteKey::Route(id) => Some(*id),
            RouteKey::None | RouteKey::Other => None,
        });
        ids.collect()
    }

    /// Requests that ended so.
    #[must_use]
    pub fn requests(&self, outcome: Outcome) -> u64 {
        let start = cube_index(outcome, 0, Protocol::Unknown);
        self.cube.get(start..start + CLASSES * PROTOCOLS).map_or(0, |part| part.iter().sum())
    }

    /// Requests that ended.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.cube.iter().sum()
    }

    /// A counter or gauge that the gateway sets.
    #[must_use]
    pub fn cell(&self, metric: Metric) -> u64 {
        self.cells.get(metric as usize).copied().unwrap_or(0)
    }

    /// The whole duration in microseconds below which this part (0 to 1) of all requests stayed since the start.
    #[must_use]
    pub fn duration_us(&self, part: f64) -> u64 {
        self.total.quantile_us(part)
    }
}

const fn class(status: u16) -> usize {
    match status / 100 {
        hundreds @ 1..=5 => hundreds as usize,
        _ => 0,
    }
}

pub(super) const fn cube_index(outcome: Outcome, class: usize, protocol: Protocol) -> usize {
    (outcome as usize * CLASSES + class) * PROTOCOLS + protocol as usize
}
