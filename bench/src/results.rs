//! What was measured, as it lies in files: `<target>/bench-peers/results/<work>.json`, the newest run of each work.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::install;

/// Everything of one work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkResult {
    pub(crate) work: String,
    pub(crate) machine: String,
    pub(crate) commit: String,
    /// The command that measured it.
    pub(crate) command: String,
    /// Where CPU time was read.
    pub(crate) meter: String,
    pub(crate) unix_s: u64,
    /// By peer: what the program says of its version.
    pub(crate) versions: BTreeMap<String, String>,
    /// By peer, in the order of rounds; a round that failed has no entry in any later one.
    pub(crate) rounds: BTreeMap<String, Vec<Round>>,
    /// What went wrong, peer by peer.
    pub(crate) errors: Vec<String>,
}

/// What one peer did in one round; what a work does not measure is 0 or empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) round: u32,
    pub(crate) phases: Vec<Phase>,
    pub(crate) memory_mib: f64,
    /// Load average of the machine, to see who else was there.
    pub(crate) load_average: f64,
    pub(crate) idle: Option<Idle>,
    pub(crate) reload: Option<Reload>,
}

/// A phase of a round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// `saturation`, `sixty` or `common`.
    pub(crate) name: String,
    /// Requests a second that were asked for; 0 at saturation.
    pub(crate) rate: f64,
    pub(crate) cpu_us: f64,
    pub(crate) per_second: f64,
    /// CPU time of the proxy over wall time: how busy its core was with it.
    pub(crate) busy: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) failed: u64,
    /// Due, and not sent by the end: the proxy or the load could not keep up.
    pub(crate) unsent: u64,
    pub(crate) refused: u64,
    pub(crate) retried: u64,
    pub(crate) closed: u64,
}

/// What idle connections weigh.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) connections: u64,
    pub(crate) kib_each: f64,
}

/// Requests while the configuration was loaded anew.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reload {
    pub(crate) reloads: u64,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Connections that the proxy closed, and requests sent again because of it.
    pub(crate) closed: u64,
    /// From the command to its answer, in seconds; the median.
    pub(crate) apply_s: f64,
    /// p99 of windows of 100 ms: the worst before the first reload, and from it on.
    pub(crate) p99_before_us: f64,
    pub(crate) p99_after_us: f64,
    /// Resident memory before, and the most that was seen.
    pub(crate) memory_before_mib: f64,
    pub(crate) memory_most_mib: f64,
}

impl Round {
    pub(crate) fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

fn folder() -> PathBuf {
    install::folder().join("results")
}

/// Writes a result over the last one of its work.
pub(crate) fn write(result: &WorkResult) -> Result<PathBuf, String> {
    let folder = folder();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = folder.join(format!("{}.json", result.work));
    let text = serde_json::to_string_pretty(result).map_err(|error| error.to_string())?;
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The newest result of a work.
pub(crate) fn read(work: &str) -> Option<WorkResult> {
    let text = fs::read_to_string(folder().join(format!("{work}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}
