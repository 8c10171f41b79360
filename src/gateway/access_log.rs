//! The helper that reads records: the access log is printed from them, nothing else is.

use std::fs::File;
use std::io::{self, Write};

use ringway_record::Record;
use ringway_record::access_log::{AddressPolicy, write_line};
use ringway_snapshot::model::AccessLog;

use crate::names::KnownNames;
use crate::node::Node;

/// Between two looks for cells of limits that nobody needs.
const SWEEP_NS: u64 = 1_000_000_000;
/// Lines are written together up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Runs the records helper until the node ends.
pub(crate) fn run(node: &Node) {
    let mut log = Log {
        node,
        turn: 0,
        since: 0,
        swept_ns: 0,
        reopened: 0,
        kind: AccessLog::Off,
        out: None,
        lines: Vec::new(),
        names: KnownNames::default(),
    };
    node.depot.run(&mut log);
    log.flush();
}

/// Where the lines go, as the current generation says.
pub(crate) struct Log<'n> {
    node: &'n Node,
    turn: u64,
    /// Records of generations before this one are not wanted: the log was off.
    since: u64,
    swept_ns: u64,
    reopened: u64,
    kind: AccessLog,
    out: Option<Box<dyn Write>>,
    lines: Vec<u8>,
    names: KnownNames,
}

impl Log<'_> {
    /// Frees what the workers are done with: generations, and cells of limits. Here, because the reload thread waits for
    /// control for most of its life.
    pub(crate) fn keep_house(&mut self) {
        self.node.published.prune();
        let now_ns = ringway_rt::now().mono_ns;
        if now_ns.saturating_sub(self.swept_ns) >= SWEEP_NS {
            self.node.limits.sweep(now_ns);
            self.swept_ns = now_ns;
        }
    }

    /// Looks whether the log was turned on, off or elsewhere, or is to be reopened. `true`: records are wanted; and in which
    /// publication that was seen.
    pub(crate) fn follow(&mut self) -> (bool, u64) {
        let (turn, reopened) = (self.node.published.turn(), self.node.reopen_asked());
        if turn != self.turn || reopened != self.reopened {
            let current = self.node.published.current();
            let wanted = current.map_or(AccessLog::Off, |current| current.settings.access_log.clone());
            if wanted != self.kind || reopened != self.reopened {
                self.flush();
                let fresh = open(&wanted);
                if self.out.is_none() {
                    self.since = self.node.published.log_since();
                }
                // One that cannot be opened again goes on as it was.
                if fresh.is_some() || wanted != self.kind {
                    self.out = fresh;
                }
                self.kind = wanted;
            }
            (self.turn, self.reopened) = (turn, reopened);
        }
        (self.out.is_some(), self.turn)
    }

    /// Takes one record.
    pub(crate) fn write(&mut self, record: &Record<'_>) {
        if record.generation != 0 && record.generation < self.since {
            return;
        }
        if !self.names.knows_route(record.route_id)
            && let Some(generation) = self.node.published.current()
        {
            self.names.learn_met(&generation, record.route_id);
        }
        write_line(&mut self.lines, record, &self.names, AddressPolicy::Whole);
        if self.lines.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Writes the lines out.
    pub(crate) fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_all(&self.lines).and_then(|()| out.flush())
        {
            tracing::warn!(%error, "access log not written; the records are kept in their segments");
        }
        self.lines.clear();
    }
}

fn open(kind: &AccessLog) -> Option<Box<dyn Write>> {
    match kind {
        AccessLog::Off => None,
        AccessLog::Stdout => Some(Box::new(io::stdout())),
        AccessLog::File(path) => match File::options().append(true).create(true).open(path) {
            Ok(file) => Some(Box::new(file)),
            Err(error) => {
                tracing::error!(%error, path, "access log not opened");
                None
            }
        },
    }
}
