//! How a command fails: what is said, and with which exit code.

use std::io;
use std::path::PathBuf;

use crate::api::problem::ProblemKind;
use crate::api::views::ProblemView;

/// Exit code of every failure that has no code of its own.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code of `plan` when applying would change something.
pub(crate) const EXIT_CHANGES: u8 = 2;
/// Exit code when another generation came first.
pub(crate) const EXIT_LOST_RACE: u8 = 4;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The control daemon said no.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemView>),
    /// Diagnostics were printed already.
    #[error("the configuration has mistakes")]
    Invalid {
        /// Rendered for a terminal.
        rendered: String,
        /// For programs.
        diagnostics: serde_json::Value,
    },
    /// A test of the configuration, or a node, did not do what was expected.
    #[error("{0}")]
    Refused(String),
    /// Nobody listens.
    #[error("no control daemon answers at {at}")]
    Unreachable {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The state directory knows no daemon.
    #[error("no control daemon has run in {}", state.display())]
    NoDaemon {
        /// The state directory.
        state: PathBuf,
    },
    /// What came back makes no sense.
    #[error("the control daemon's answer cannot be read: {0}")]
    Answer(String),
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A part of ours could not start or go on.
    #[error("{what}")]
    Daemon {
        /// What failed, in words.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: Option<String>,
    },
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Problem(problem) if problem.status == ProblemKind::LostRace.status().as_u16() => {
                EXIT_LOST_RACE
            }
            _ => EXIT_FAILED,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => problem.hint.clone(),
            Self::Unreachable { .. } | Self::NoDaemon { .. } => {
                Some("start one with `ringway up`, or name its state directory with --state".to_owned())
            }
            Self::Daemon { hint, .. } => hint.clone(),
            Self::State { .. } => {
                Some("it is a folder that this user can write: name another one with --state".to_owned())
            }
            Self::Invalid { .. }
            | Self::Refused(_)
            | Self::Answer(_)
            | Self::File { .. }
            | Self::Usage(_) => None,
        }
    }

    /// Diagnostics for a terminal, where a configuration is at fault.
    pub fn rendered(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.rendered.as_deref(),
            Self::Invalid { rendered, .. } => Some(rendered),
            _ => None,
        }
    }

    /// Diagnostics for programs.
    pub fn diagnostics(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Problem(problem) if !problem.diagnostics.is_null() => Some(&problem.diagnostics),
            Self::Invalid { diagnostics, .. } => Some(diagnostics),
            _ => None,
        }
    }
}
