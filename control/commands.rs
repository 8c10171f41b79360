//! The command line: what a person can ask for, and how each command ends.
//!
//! Commands other than `gateway` are carried out here; most of them are clients of a running control
//! daemon. Results go to standard output, in words or as JSON; diagnostics, progress and errors go to
//! standard error, progress only on a terminal.

mod change;
mod check;
mod client;
mod control;
mod documents;
mod explain;
mod failure;
mod look;
mod nodes;
mod terminal;
mod up;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

#[cfg(test)]
pub(crate) use client::Client;
pub use failure::Failure;
use terminal::Terminal;

/// An edge API gateway on io_uring with the API-management layer in the same binary.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, max_term_width = 100)]
pub struct Cli {
    /// In words, or as one JSON value on standard output.
    #[arg(long, value_enum, global = true, default_value_t = OutputFormat::Text)]
    pub output: OutputFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start control and gateway, print their addresses, and reload when the file changes.
    Up(UpArgs),
    /// Run the data plane alone.
    Gateway(GatewayArgs),
    /// Run the control plane alone.
    Control(ControlArgs),
    /// Check a configuration and run its tests; needs no daemon. Exit 0 or 1.
    Check(CheckArgs),
    /// Show what applying a configuration would change. Exit 0 without changes, 2 with, 1 on errors.
    Plan(PlanArgs),
    /// Compile a configuration and bring it live. Exit 0, or 4 if another apply came first.
    Apply(ApplyArgs),
    /// Bring an older generation back, as a new generation.
    Rollback(RollbackArgs),
    /// Make a token that enrols one gateway of another host. It is good once, for an hour.
    JoinToken(StatusArgs),
    /// Remove a gateway of another host: its certificate is worth nothing any more.
    RemoveNode(RemoveNodeArgs),
    /// Keep a generation's snapshot for good: as a known-good one to go back to. Or let it go.
    Pin(PinArgs),
    /// List the generations: who, when, why, and how long each was live.
    History(HistoryArgs),
    /// Show what changed between two generations.
    Diff(DiffArgs),
    /// Show which route a request takes and what each policy decides, or the meaning of a configuration key.
    Explain(ExplainArgs),
    /// Show nodes, their generations, and where the configuration comes from.
    Status(StatusArgs),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the definitions of a generation as one canonical YAML file.
    Export(ExportArgs),
    /// Check this host and say what to tune. Exit 1 when there is a problem.
    Doctor,
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where the state lies.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// State directory [default: $XDG_STATE_HOME/ringway, then ~/.local/state/ringway, then ./.ringway].
    #[arg(long, value_name = "DIR", env = "RINGWAY_STATE")]
    pub state: Option<PathBuf>,
}

impl StateArgs {
    /// The directory: as given, or where the user's state lies.
    pub fn directory(&self) -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match (&self.state, variable("XDG_STATE_HOME"), variable("HOME")) {
            (Some(given), ..) => given.clone(),
            (None, Some(state), _) => state.join("ringway"),
            (None, None, Some(home)) => home.join(".local/state/ringway"),
            (None, None, None) => Path::new(".ringway").to_owned(),
        }
    }
}

/// How to reach a control daemon.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// Where the state lies: the daemon's address and token are found in it.
    #[command(flatten)]
    pub state: StateArgs,
    /// Address of the control daemon's API instead of the one in the state directory.
    #[arg(long, value_name = "URL", env = "RINGWAY_API")]
    pub api: Option<String>,
    /// File with the API's token instead of the one in the state directory.
    #[arg(long, value_name = "FILE", env = "RINGWAY_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// `ringway up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Configuration file, or directory of *.yaml; the quick start without.
    pub file: Option<PathBuf>,
    /// Where the state lies.
    #[command(flatten)]
    pub state: StateArgs,
    /// Address of the control daemon's API.
    #[arg(long, value_name = "ADDRESS", default_value = crate::limits::API_ADDRESS)]
    pub api: String,
    /// Loopback address of the quick start, for when its ports are taken on this one.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", conflicts_with = "file")]
    pub address: std::net::Ipv4Addr,
    /// Worker threads of the gateway; one for each core without.
    #[arg(long)]
    pub workers: Option<u16>,
    /// I/O driver of the gateway.
    #[arg(long, value_name = "auto|uring|uring-coop|epoll")]
    pub driver: Option<String>,
}

/// `ringway gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Where the state lies.
    #[command(flatten)]
    pub state: StateArgs,
    /// Socket of the control daemon, or https://host:port of one on another host [default: control.sock in the state directory].
    #[arg(long, value_name = "SOCKET|URL")]
    pub control: Option<String>,
    /// Token of `ringway join-token`, to be enrolled at a control daemon of another host. Used once; better given by the
    /// environment than on the command line, where others on the host can read it.
    #[arg(long, value_name = "TOKEN", env = "RINGWAY_JOIN", hide_env_values = true)]
    pub join: Option<String>,
    /// Worker threads; one for each core without.
    #[arg(long)]
    pub workers: Option<u16>,
    /// Cores to pin the workers to, such as 0,2,3.
    #[arg(long, value_delimiter = ',')]
    pub cores: Option<Vec<usize>>,
    /// I/O driver: auto (io_uring as this kernel has it, else epoll), uring (or none), uring-coop (without DEFER_TASKRUN, or none), epoll.
    #[arg(long, value_name = "auto|uring|uring-coop|epoll", default_value = "auto")]
    pub driver: String,
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `ringway control`.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// Where the state lies.
    #[command(flatten)]
    pub state: StateArgs,
    /// Loopback address of the API; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = crate::limits::API_ADDRESS)]
    pub api: String,
    /// Address that gateways of other hosts reach this daemon at, over mutual TLS; not without.
    #[arg(long, value_name = "ADDRESS")]
    pub nodes: Option<std::net::SocketAddr>,
    /// How long the certificate of such a gateway is good; it renews it in time by itself.
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    pub node_life: String,
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `ringway check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration file, or directory of *.yaml.
    pub file: PathBuf,
}

/// `ringway plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Configuration file, or directory of *.yaml.
    pub file: PathBuf,
    /// What to compare with: `live` or the number of a generation.
    #[arg(long, default_value = "live", value_name = "live|GENERATION")]
    pub against: String,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Configuration file, or directory of *.yaml.
    pub file: PathBuf,
    /// Only if this is still the newest generation; 0 for an empty history.
    #[arg(long, value_name = "GENERATION")]
    pub if_match: Option<u64>,
    /// Why, for the history.
    #[arg(long, short, default_value = "")]
    pub message: String,
    /// How long to wait for the nodes, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = crate::limits::LIVE_WAIT_MS)]
    pub wait_ms: u64,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Which generation to bring back; without, the newest one that differs, before what is live.
    pub generation: Option<u64>,
    /// Keep its snapshot from being pruned from now on.
    #[arg(long)]
    pub pin: bool,
    /// Only if this is still the newest generation.
    #[arg(long, value_name = "GENERATION")]
    pub if_match: Option<u64>,
    /// Why, for the history.
    #[arg(long, short, default_value = "")]
    pub message: String,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway remove-node`.
#[derive(Debug, Args)]
pub struct RemoveNodeArgs {
    /// Its id, as `ringway status` shows it.
    pub node: String,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Which generation.
    pub generation: u64,
    /// Let it be pruned again.
    #[arg(long)]
    pub release: bool,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Only those before this one.
    #[arg(long, value_name = "GENERATION")]
    pub before: Option<u64>,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// From this generation.
    pub from: u64,
    /// To this one.
    pub to: u64,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// `'GET https://host/path'`; or `config` and a key such as `upstreams.*.timeout`.
    #[arg(required = true, num_args = 1..=2, value_name = "REQUEST")]
    pub request: Vec<String>,
    /// A field of the request: `'Name: value'`.
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub headers: Vec<String>,
    /// Address that the request comes from.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub peer: std::net::IpAddr,
    /// In this generation rather than the live one.
    #[arg(long, value_name = "GENERATION")]
    pub generation: Option<u64>,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `ringway export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Of this generation rather than the newest.
    #[arg(long, value_name = "GENERATION")]
    pub generation: Option<u64>,
    /// The daemon.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Carries a command out and says how the process ends. `gateway`, `doctor` and `completions` are the caller's: the
/// first two are another crate's, the last needs the whole grammar of the caller.
pub fn run(cli: &Cli) -> u8 {
    let terminal = Terminal::new(cli.output);
    let done = match &cli.command {
        Command::Up(args) => up::run(args, terminal),
        Command::Control(args) => control::run(args, terminal),
        Command::Plan(args) => change::plan(args, terminal),
        Command::Apply(args) => change::apply(args, terminal),
        Command::Rollback(args) => change::rollback(args, terminal),
        Command::JoinToken(args) => nodes::join_token(args, terminal),
        Command::RemoveNode(args) => nodes::remove(args, terminal),
        Command::Pin(args) => change::pin(args, terminal),
        Command::History(args) => look::history(args, terminal),
        Command::Diff(args) => look::diff(args, terminal),
        Command::Status(args) => look::status(args, terminal),
        Command::Check(args) => check::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Schema => Ok(look::schema(terminal)),
        Command::Export(args) => look::export(args, terminal),
        Command::Gateway(_) | Command::Doctor | Command::Completions { .. } => {
            Err(Failure::Usage("this command is carried out by the binary itself".to_owned()))
        }
    };
    done.unwrap_or_else(|failure| {
        terminal.failure(&failure);
        failure.code()
    })
}

/// Asks the kernel to end this process when the one that started it ends, however it does.
pub fn end_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        tracing::warn!(%error, "this process may outlive the one that started it");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_reference_parses() {
        for line in [
            "up",
            "up site.yaml --output json",
            "up --address 127.0.0.2",
            "gateway --state s --control s/control.sock --cores 0,1",
            "control --state s --api 127.0.0.1:0",
            "control --nodes 0.0.0.0:9443 --node-life 7d",
            "gateway --control https://control.example.com:9443 --join rwjoin1-00-00",
            "join-token",
            "remove-node 0a1b",
            "check site.yaml",
            "plan site.yaml --against 7",
            "apply site.yaml --if-match 3 --message why",
            "rollback",
            "rollback 3 --pin",
            "pin 3",
            "pin 3 --release",
            "history -n 5",
            "diff 1 2",
            "explain config listeners",
            "status --output json",
            "schema",
            "export --generation 2",
            "doctor --output json",
            "completions bash",
        ] {
            let parsed = Cli::try_parse_from(std::iter::once("ringway").chain(line.split(' ')));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        let explain = ["ringway", "explain", "GET https://a.example/x", "-H", "X-API-Key: k"];
        assert!(Cli::try_parse_from(explain).is_ok());
    }
}
