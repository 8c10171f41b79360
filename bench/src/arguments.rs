//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

/// Measures Ringway and its peers side by side.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-peers", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Other things than measuring.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the tables and plots of docs/performance.md from the results.
    Report,
    /// Make the profile anew that release builds are optimised by (`cargo bench-profile`).
    Profile,
    /// List works and peers.
    List,
    /// Install the peers and say what is missing.
    Install,
}

/// What is measured, and how long.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Works, by comma, or the beginning of several (`load`, `reload`); all without (`list` names them).
    #[arg(long, value_delimiter = ',')]
    pub(crate) work: Vec<String>,
    /// Peers beside Ringway, by comma; all that are there without.
    #[arg(long, value_delimiter = ',')]
    pub(crate) peer: Vec<String>,
    /// Rounds, each with every peer in alternating order.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Seconds of each phase, after a warm-up; 2 without. Of reloads: seconds before the first, and of them.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// The most important works against nginx and HAProxy, in at most 12 minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The gateway's binary; without, `cargo build --release` makes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) ringway: Option<PathBuf>,
    /// The load generator's binary; without, it is built where load generators are measured.
    #[arg(long, value_name = "FILE")]
    pub(crate) ringway_load: Option<PathBuf>,
    /// Do not install anything: measure with the peers that are there.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Take no precedence over others on this machine: to see that it works, not to measure.
    #[arg(long)]
    pub(crate) polite: bool,
    /// Measure here and now: the outer process has prepared everything.
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

impl Run {
    /// The words that make the inner process do the same with this gateway, and this load generator.
    pub(crate) fn inner(&self, ringway: &Path, ringway_load: Option<&Path>) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["--inside", "--offline", "--ringway"].map(OsString::from).into();
        words.push(ringway.into());
        if let Some(path) = ringway_load {
            words.extend(["--ringway-load".into(), path.into()]);
        }
        for (name, value) in [
            ("--work", self.work.join(",")),
            ("--peer", self.peer.join(",")),
            ("--rounds", self.rounds.to_string()),
            ("--seconds", self.seconds.map_or_else(String::new, |seconds| seconds.to_string())),
        ] {
            if !value.is_empty() {
                words.extend([OsString::from(name), OsString::from(value)]);
            }
        }
        if self.quick {
            words.push("--quick".into());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_process_is_told_the_same() {
        let line = ["bench-peers", "--work", "tls,h2", "--rounds", "7", "--quick"];
        let outer = Arguments::try_parse_from(line).unwrap().run;
        let words = [OsString::from("bench-peers")]
            .into_iter()
            .chain(outer.inner(Path::new("/x/ringway"), Some(Path::new("/x/l"))));
        let inner = Arguments::try_parse_from(words).unwrap().run;
        assert!(inner.inside && inner.offline && inner.quick);
        assert_eq!((inner.work, inner.peer, inner.rounds), (outer.work, outer.peer, 7));
        assert_eq!(inner.ringway, Some(PathBuf::from("/x/ringway")));
        assert_eq!((inner.ringway_load, inner.seconds), (Some(PathBuf::from("/x/l")), None));
    }
}
