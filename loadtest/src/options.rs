//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringway_rt::DriverChoice;

use crate::quantity::{count, duration_ns};
use crate::schedule::Arrivals;
use crate::threshold::Condition;

const EXAMPLES: &str = "\
Examples:
  ringway-load -c 64 http://127.0.0.1:8080/                      as fast as 64 connections can
  ringway-load -r 20k -d 30s -c 100 http://127.0.0.1:8080/       20,000 requests a second, come what may
  ringway-load -r 1k:20k/60s -d 90s --html out.html URL          a ramp, then its end, with a report to look at
  ringway-load --find-knee 'p99<5ms' -c 200 URL                  the largest rate at which p99 stays below 5 ms
  ringway-load -r 500 --fail-if 'p99>20ms' --fail-if 'errors>0.1%' URL     for CI: exit code 3 when a bound is broken
  ringway-load compare before.json after.json -o compare.html    two runs in one page

Exit codes: 0 done; 1 could not run; 2 wrong usage; 3 a --fail-if condition is fulfilled; 130 interrupted.";

/// Makes HTTP load and measures it without coordinated omission.
///
/// With --rate or --steps the loop is open: requests are due by a schedule whatever the replies do, and latency counts from
/// when a request was due. Without, it is closed: each connection sends its next request when it has a reply.
#[derive(Debug, Parser)]
#[command(name = "ringway-load", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    /// What else to do.
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    /// A run.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What there is to do beside a run.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Draws the reports of several runs (--json) into one page
    Compare {
        /// JSON reports; the first is what the others are compared with
        #[arg(required = true, value_name = "REPORT")]
        reports: Vec<PathBuf>,
        /// Where the page goes
        #[arg(short, long, value_name = "FILE", default_value = "compare.html")]
        output: PathBuf,
    },
}

/// A run's options.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to: http, https, ws or wss; path and query may hold places such as {{seq}} (see --data)
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) request: RequestOptions,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    #[command(flatten)]
    pub(crate) generator: GeneratorOptions,
}

/// How much.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadOptions {
    /// Requests per second: 20k, or a ramp 1k:10k, or a ramp over some time and then its end 1k:10k/30s
    #[arg(short, long, value_name = "RATE", conflicts_with_all = ["steps", "closed", "find_knee", "requests"])]
    pub(crate) rate: Option<String>,
    /// Rates one after the other, each held for the time given: 1k,2k,4k/10s
    #[arg(long, value_name = "RATES/TIME", conflicts_with_all = ["closed", "duration", "find_knee", "requests"])]
    pub(crate) steps: Option<String>,
    /// How requests of an open loop are spread
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) arrivals: Arrivals,
    /// Each connection sends when it has a reply; so it is anyway when no rate is given
    #[arg(long)]
    pub(crate) closed: bool,
    /// How long
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration_ns)]
    pub(crate) duration: u64,
    /// Ends a closed loop after so many requests (or after --duration, whichever is first)
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count)]
    pub(crate) requests: Option<u64>,
    /// Time before the run that is not counted
    #[arg(short, long, value_name = "TIME", default_value = "0s", value_parser = duration_ns)]
    pub(crate) warm_up: u64,
    /// Searches the largest rate at which this holds, such as 'p99<5ms'
    #[arg(long, value_name = "CONDITION", value_parser = Condition::parse, conflicts_with = "closed")]
    pub(crate) find_knee: Option<Condition>,
    /// The rate at which that search begins
    #[arg(long, value_name = "RATE", default_value = "1k", requires = "find_knee", value_parser = crate::quantity::rate)]
    pub(crate) knee_from: f64,
}

/// What is asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestOptions {
    /// Method; POST where there is a body
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// A field, 'Name: value'; may be repeated
    #[arg(short = 'H', long, value_name = "FIELD")]
    pub(crate) header: Vec<String>,
    /// The body
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// The body, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    pub(crate) body_file: Option<PathBuf>,
    /// Values for places {{NAME:COLUMN}} (a .csv file) or {{NAME}} (lines); others are {{seq}}, {{rand}}, {{rand:1:6}}, {{uuid}}
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) data: Vec<String>,
    /// Many targets with weights, from a file (see docs/load.md)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "method", "header", "body", "body_file"])]
    pub(crate) scenario: Option<PathBuf>,
    /// gRPC calls over HTTP/2: --body or --body-file is the message, without its five bytes of length
    #[arg(long, conflicts_with_all = ["scenario", "websocket", "method"])]
    pub(crate) grpc: bool,
    /// Messages that are echoed instead of requests; also with a ws or wss address
    #[arg(long, conflicts_with = "scenario")]
    pub(crate) websocket: bool,
    /// Payload of such a message
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = count)]
    pub(crate) message_bytes: u64,
}

/// How it is connected.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionOptions {
    /// Connections that carry requests
    #[arg(short, long, value_name = "COUNT", default_value = "64", value_parser = count)]
    pub(crate) connections: u64,
    /// What is spoken: HTTP/2 is taken up by ALPN, or at once where there is no TLS; HTTP/3 needs https
    #[arg(long, value_enum, value_name = "VERSION")]
    pub(crate) http: Option<HttpVersion>,
    /// Requests at once on a connection of HTTP/2 or HTTP/3
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: u16,
    /// Opens a new connection after so many requests; 1 for one each
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests_per_connection: Option<u64>,
    /// Connections to hold beside them that carry nothing
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = count)]
    pub(crate) idle: u64,
    /// For a whole reply
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration_ns)]
    pub(crate) timeout: u64,
    /// For a connection, TLS included
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration_ns)]
    pub(crate) connect_timeout: u64,
    /// Connects here, whatever the address says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) connect: Option<SocketAddr>,
    /// Does not verify certificates
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Certificates to trust (PEM) instead of Mozilla's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) cacert: Option<PathBuf>,
}

/// What is expected.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub(crate) struct CheckOptions {
    /// Statuses: 200, 2xx, 200-204, and lists of these; any below 400 unless told
    #[arg(long, value_name = "STATUSES", conflicts_with = "scenario")]
    pub(crate) expect_status: Option<String>,
    /// Length of each body in bytes
    #[arg(long, value_name = "BYTES", conflicts_with = "scenario")]
    pub(crate) expect_length: Option<u64>,
    /// SHA-256 of each body
    #[arg(long, value_name = "HEX", conflicts_with = "scenario")]
    pub(crate) expect_sha256: Option<String>,
    /// Text that each body contains
    #[arg(long, value_name = "TEXT", conflicts_with = "scenario")]
    pub(crate) expect_body: Option<String>,
    /// Fails (exit code 3) when this is so: 'p99>10ms', 'errors>0.1%', 'rate<19k', 'max>1s'; may be repeated
    #[arg(long, value_name = "CONDITION", value_parser = Condition::parse)]
    pub(crate) fail_if: Vec<Condition>,
}

/// What comes out.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// The report as JSON; - for standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Figures over time as CSV; - for standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// The report as one page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// HdrHistogram interval log (V2), for HistogramLogAnalyzer and its kin
    #[arg(long, value_name = "FILE")]
    pub(crate) histogram_log: Option<PathBuf>,
    /// What the run is called in reports
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Shows nothing while it runs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The generator itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generator")]
pub(crate) struct GeneratorOptions {
    /// Threads; as many as there are cores, and not more than connections
    #[arg(short, long, value_name = "COUNT", value_parser = count)]
    pub(crate) threads: Option<u64>,
    /// Cores to pin them to: 1,2,3
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Threads of an open loop poll without sleeping: sends are on time to the microsecond, and the cores are full
    #[arg(long)]
    pub(crate) busy: bool,
    /// Driver of the runtime
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) driver: DriverOption,
    /// Of all random numbers: the same gives the same arrivals and values
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) seed: u64,
    /// How long replies are waited for after the end; --timeout unless told
    #[arg(long, value_name = "TIME", value_parser = duration_ns)]
    pub(crate) drain: Option<u64>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1.
    #[value(name = "1.1")]
    One,
    /// HTTP/2.
    #[value(name = "2")]
    Two,
    /// HTTP/3.
    #[value(name = "3")]
    Three,
}

/// Which driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverOption {
    /// io_uring, else epoll.
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

impl From<DriverOption> for DriverChoice {
    fn from(option: DriverOption) -> Self {
        match option {
            DriverOption::Auto => Self::Auto,
            DriverOption::Uring => Self::Uring,
            DriverOption::Epoll => Self::Epoll,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::CommandLine;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for bad in [
            "ringway-load -r 1k --closed http://a",
            "ringway-load -r 1k --steps 1k/1s http://a",
            "ringway-load --scenario x http://a",
            "ringway-load --fail-if p99 http://a",
            "ringway-load -d soon http://a",
        ] {
            assert!(CommandLine::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
        assert!(CommandLine::try_parse_from(["ringway-load", "compare", "a.json", "b.json"]).is_ok());
    }
}
