//! The command line.

use std::path::PathBuf;

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
    /// List works and peers.
    List,
    /// Install the peers and say what is missing.
    Install,
}

/// What is measured, and how long.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Works, by comma; all without (`list` names them).
    #[arg(long, value_delimiter = ',')]
    pub(crate) work: Vec<String>,
    /// Peers beside Ringway, by comma; all that are there without.
    #[arg(long, value_delimiter = ',')]
    pub(crate) peer: Vec<String>,
    /// Rounds, each with every peer in alternating order.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Seconds of each phase, after a warm-up.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// The most important works against nginx and HAProxy, in at most 12 minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The gateway's binary; without, `cargo build --release` makes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) ringway: Option<PathBuf>,
    /// Do not install anything: measure with the peers that are there.
    #[arg(long)]
    pub(crate) offline: bool,
}
