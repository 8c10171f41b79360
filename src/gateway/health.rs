//! What `/upstreams` shows: each worker reports its endpoints once a second.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::worker::Worker;

/// One endpoint, summed over workers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Requests sent.
    pub(crate) requests: u64,
    /// Failed attempts.
    pub(crate) failures: u64,
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// Connections open.
    pub(crate) connections: u64,
    /// Idle connections.
    pub(crate) idle: u64,
    /// Workers that pass it over at the moment.
    pub(crate) penalised: u64,
}

/// The last report of each worker.
#[derive(Debug)]
pub(crate) struct Board {
    reports: Vec<Mutex<BTreeMap<SocketAddr, Seen>>>,
}

impl Board {
    /// For so many workers.
    pub(crate) fn new(workers: u16) -> Self {
        Self { reports: (0..workers).map(|_| Mutex::default()).collect() }
    }

    /// Takes a worker's report.
    pub(crate) fn report(&self, worker: &Worker) {
        let now_ns = ringway_rt::now().mono_ns;
        let mut fresh: BTreeMap<SocketAddr, Seen> = BTreeMap::new();
        worker.endpoints.each(|endpoint| {
            let seen = fresh.entry(endpoint.key.address).or_default();
            seen.requests += endpoint.requests.get();
            seen.failures += endpoint.failures.get();
            seen.in_flight += u64::from(endpoint.in_flight());
            seen.connections += u64::from(endpoint.connections());
            seen.idle += endpoint.idle() as u64;
            seen.penalised += u64::from(endpoint.penalised(now_ns));
        });
        if let Some(report) = self.reports.get(usize::from(worker.index)) {
            *report.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    /// All endpoints, summed over workers.
    pub(crate) fn seen(&self) -> BTreeMap<SocketAddr, Seen> {
        let mut all: BTreeMap<SocketAddr, Seen> = BTreeMap::new();
        for report in &self.reports {
            for (address, one) in report.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let sum = all.entry(*address).or_default();
                sum.requests += one.requests;
                sum.failures += one.failures;
                sum.in_flight += one.in_flight;
                sum.connections += one.connections;
                sum.idle += one.idle;
                sum.penalised += one.penalised;
            }
        }
        all
    }
}
