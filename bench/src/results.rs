//! What was measured, as it lies in files: `<target>/bench-peers/results/<work>.json`, the newest run of each work.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::install;
use crate::statistics::{PAIRS_MIN, Spread};

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
    /// Share of the machine's cores that others took during the round, from 0 to 1; 0 where no group tells it, 1 in files
    /// that do not say.
    #[serde(default = "all")]
    pub(crate) others: f64,
    pub(crate) idle: Option<Idle>,
    pub(crate) reload: Option<Reload>,
}

fn all() -> f64 {
    1.0
}

/// A phase of a round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// `saturation`, `sixty` or `common`; of load generators `saturation`, `spread` and `stall`.
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
    /// Windows from the first reload on, and how many of them have a higher p99 than any before.
    #[serde(default)]
    pub(crate) windows: u64,
    #[serde(default)]
    pub(crate) windows_above: u64,
    /// Reloads that the node said it serves; all of them where it cannot say.
    #[serde(default)]
    pub(crate) live: u64,
    /// From when a reload was due to its answer, in milliseconds: median, p99, longest.
    #[serde(default)]
    pub(crate) apply_ms: [f64; 3],
    /// WebSockets and endless bodies that did not live through it.
    #[serde(default)]
    pub(crate) cut: u64,
    /// Resident memory before, the most that was seen, and at the end.
    pub(crate) memory_before_mib: f64,
    pub(crate) memory_most_mib: f64,
    #[serde(default)]
    pub(crate) memory_after_mib: f64,
}

impl Round {
    pub(crate) fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

/// Rounds of which fewer are a trial: five pairs are the least that anything is claimed from.
const TRIAL_ROUNDS: usize = PAIRS_MIN - 1;
/// The share of the machine's cores that others may take in the median round.
const OTHERS_MAX: f64 = 0.05;

impl WorkResult {
    /// Why no report may show this; none where one may.
    pub(crate) fn unfit(&self) -> Option<String> {
        let most = self.rounds.values().map(Vec::len).max().unwrap_or(0);
        if most <= TRIAL_ROUNDS {
            return Some(format!("a trial of {most} rounds"));
        }
        let rounds = self.rounds.iter().filter(|(name, _)| *name != TRUTH).flat_map(|(_, rounds)| rounds);
        let others = Spread::of(rounds.map(|round| round.others)).map_or(1.0, |spread| spread.median);
        (others > OTHERS_MAX).then(|| format!("others took {:.0} % of the machine meanwhile", others * 100.0))
    }
}

/// Name of the row that says what was to be measured.
pub(crate) const TRUTH: &str = "truth";

/// Writes a result over the last one of its work; one that no report may show is kept apart, so that a look at how things go
/// costs no figure.
pub(crate) fn write(result: &WorkResult) -> Result<PathBuf, String> {
    let folder = install::folder().join(if result.unfit().is_some() { "trials" } else { "results" });
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = folder.join(format!("{}.json", result.work));
    let text = serde_json::to_string_pretty(result).map_err(|error| error.to_string())?;
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The newest result of a work that a report may show; or why there is none.
pub(crate) fn read(work: &str) -> Result<WorkResult, String> {
    let path = install::folder().join("results").join(format!("{work}.json"));
    let text = fs::read_to_string(path).map_err(|_| "not measured".to_owned())?;
    let result: WorkResult = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    result.unfit().map_or(Ok(result), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(rounds: usize, others: f64) -> WorkResult {
        let rounds = vec![Round { others, ..Round::default() }; rounds];
        WorkResult {
            work: "w".to_owned(),
            machine: String::new(),
            commit: String::new(),
            command: String::new(),
            meter: String::new(),
            unix_s: 0,
            versions: BTreeMap::new(),
            rounds: [("ringway".to_owned(), rounds)].into(),
            errors: Vec::new(),
        }
    }

    #[test]
    fn trials_and_busy_machines_get_into_no_report() {
        assert_eq!(result(5, 0.01).unfit(), None);
        assert!(result(1, 0.01).unfit().is_some());
        assert!(result(5, 0.3).unfit().is_some());
        // A file of before this was looked at says nothing of others.
        let text = "{\"round\":0,\"phases\":[],\"memory_mib\":1.0,\"load_average\":0.1,\"idle\":null,\"reload\":null}";
        assert_eq!(serde_json::from_str::<Round>(text).unwrap().others, 1.0);
    }
}
