//! The helper that reads records: the access log is printed from them, nothing else is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use ringway_record::Record;
use ringway_record::access_log::{AddressPolicy, write_line};
use ringway_snapshot::model::AccessLog;

use crate::names::KnownNames;
use crate::node::Node;
use crate::outlet::{PIECE_BYTES, write_soon};

/// Between two looks for cells of limits that nobody needs.
const SWEEP_NS: u64 = 1_000_000_000;
/// Lines are written together up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How long one attempt waits for whoever reads the lines: the helper has other work too.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long lines wait before that is said, and how long it is not said again.
const COMPLAIN_AFTER: Duration = Duration::from_secs(1);
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

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
        broken: false,
        behind: None,
        complained: None,
        names: KnownNames::default(),
    };
    node.depot.run(&mut log);
    if !log.flush() {
        tracing::warn!("nobody takes the access log: its last lines are lost");
    }
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
    out: Option<Out>,
    /// Not written yet.
    lines: Vec<u8>,
    /// The first of them is the rest of one whose beginning was written.
    broken: bool,
    /// Since when whoever reads the log has taken nothing.
    behind: Option<Instant>,
    complained: Option<Instant>,
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
                    self.begin_with_a_line();
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

    /// Whether lines wait for whoever reads the log. Records are not read meanwhile: they wait in their segments, and those
    /// that find none are counted as lost.
    pub(crate) fn is_behind(&self) -> bool {
        self.lines.len() >= BATCH_BYTES
    }

    /// Writes the lines out, as far as they are taken. `true`: all of them.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(out) = &self.out else {
            self.lines.clear();
            return true;
        };
        let (mut taken, mut failed) = (0, None);
        while let Some(rest) = self.lines.get(taken..).filter(|rest| !rest.is_empty()) {
            match write_soon(&out.file, rest, out.piece_bytes, PATIENCE) {
                Ok(0) => break,
                Ok(count) => taken += count,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(last) = self.lines.get(..taken).and_then(<[u8]>::last) {
            self.broken = *last != b'\n';
        }
        self.lines.drain(..taken);
        if self.lines.is_empty() || (taken > 0 && failed.is_none()) {
            self.behind = None;
        } else {
            self.complain(failed);
        }
        self.lines.is_empty()
    }

    /// A file that is begun anew does not begin with the rest of a line.
    fn begin_with_a_line(&mut self) {
        if std::mem::take(&mut self.broken) {
            let end = self.lines.iter().position(|byte| *byte == b'\n').map_or(self.lines.len(), |at| at + 1);
            self.lines.drain(..end);
        }
    }

    fn complain(&mut self, failed: Option<io::Error>) {
        let now = Instant::now();
        let since = *self.behind.get_or_insert(now);
        let patient = failed.is_none() && now.duration_since(since) < COMPLAIN_AFTER;
        if patient || self.complained.is_some_and(|at| now.duration_since(at) < COMPLAIN_EVERY) {
            return;
        }
        self.complained = Some(now);
        let error = failed.map_or_else(|| "nobody reads it".to_owned(), |error| error.to_string());
        tracing::warn!(
            error,
            "access log not written: the records wait in their segments; those that find no room are lost, and counted by \
             ringway_records_lost_total"
        );
    }
}

/// Where lines are written, and how many bytes at a time.
struct Out {
    file: File,
    piece_bytes: usize,
}

fn open(kind: &AccessLog) -> Option<Out> {
    let opened = match kind {
        AccessLog::Off => return None,
        AccessLog::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        AccessLog::File(path) => open_file(path),
    };
    let file = opened.inspect_err(|error| tracing::error!(%error, ?kind, "access log not opened")).ok()?;
    let waits_for_nobody = file.metadata().is_ok_and(|metadata| metadata.is_file());
    Some(Out { file, piece_bytes: if waits_for_nobody { BATCH_BYTES } else { PIECE_BYTES } })
}

fn open_file(path: &str) -> io::Result<File> {
    let mut how = File::options();
    // Whoever opens a named pipe that nobody reads waits without this.
    how.append(true).create(true).custom_flags(libc::O_NONBLOCK);
    match how.open(path) {
        // Nobody reads the pipe: as a reader of it, too, one may open it, and its lines lie in it until somebody comes (fifo(7)).
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => how.read(true).open(path),
        opened => opened,
    }
}
