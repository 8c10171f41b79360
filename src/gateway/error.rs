//! Errors of the gateway's shell. Each says its own level; sources say the rest; `hint` says what to do.

use std::io;
use std::path::PathBuf;

use ringway_policy::prepare::PrepareError;
use ringway_policy::route::ExpressionError;
use ringway_snapshot::current::CurrentError;
use ringway_snapshot::error::SnapshotError;
use ringway_snapshot::keys::KeyFileError;
use ringway_snapshot::seal::SealError;
use ringway_transport::TlsConfigError;

/// Why the gateway could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A file of the state directory.
    #[error("{what} {path}")]
    State {
        /// What was to be done with it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A key file.
    #[error("key file {path}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: KeyFileError,
    },
    /// The state directory has no keys.
    #[error("there are no keys in {path}")]
    NoTrust {
        /// Where they would be.
        path: PathBuf,
    },
    /// Another gateway has the state directory.
    #[error("another gateway runs on the state directory {path}")]
    Occupied {
        /// Which directory.
        path: PathBuf,
    },
    /// `--control` is neither a socket nor the URL of a control daemon.
    #[error("`{0}` is no address of a control daemon")]
    ControlUrl(String),
    /// The token is none.
    #[error("this is no join token")]
    JoinToken,
    /// The node has no certificate for a control daemon of another host.
    #[error("this node is not enrolled at the control daemon at {at}")]
    NotEnrolled {
        /// `host:port`.
        at: String,
    },
    /// The enrolment failed.
    #[error("enrol at the control daemon at {at}")]
    Enrolment {
        /// `host:port`.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address could not be bound.
    #[error("bind {address}")]
    Bind {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
    /// No driver could be had.
    #[error("start the I/O driver")]
    Driver(#[source] ringway_rt::StartError),
    /// The driver is not the one that was asked for.
    #[error("the I/O driver is {got}, not the one that was asked for")]
    WrongDriver {
        /// What it became.
        got: String,
    },
    /// Signals could not be set up.
    #[error("set up signals")]
    Signals(#[source] io::Error),
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Random,
}

impl GatewayError {
    /// The error and its sources, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// What the person on call should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State { .. } => "check that the state directory exists and belongs to this user",
            Self::Key { source, .. } => source.hint(),
            Self::NoTrust { .. } => {
                "start `ringway control` on this state directory first, which makes them; or enrol the node at one of another host \
                 with --control and --join"
            }
            Self::ControlUrl(_) => "write the path of a socket, or https://host:port",
            Self::JoinToken => "copy the whole line that `ringway join-token` prints",
            Self::NotEnrolled { .. } => {
                "start it once with `--join` and a token that `ringway join-token` prints where control runs"
            }
            Self::Enrolment { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "make a new token with `ringway join-token` where control runs: each is good once, for an hour"
            }
            Self::Enrolment { source, .. } => crate::control_link::hint(source),
            Self::Occupied { .. } => "end it first, or give this one a state directory of its own",
            Self::Bind { .. } => {
                "is another process listening there, or is the port below 1024 without CAP_NET_BIND_SERVICE?"
            }
            Self::Thread(_) => "check the limits on processes and memory of this user",
            Self::Driver(_) => {
                "check the limits on locked memory and descriptors; `--driver epoll` needs no io_uring"
            }
            Self::WrongDriver { .. } => {
                "io_uring is refused here (kernel before 6.0, seccomp or sysctl kernel.io_uring_disabled)"
            }
            Self::Signals(_) => "report this as a defect",
            Self::Random => "getrandom(2) must be allowed by the sandbox",
        }
    }
}

/// Why a snapshot was not made live. The one before goes on serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerationError {
    /// The file.
    #[error("read snapshot {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The pointer to it.
    #[error("read the pointer to the current snapshot")]
    Pointer(#[source] CurrentError),
    /// Its content.
    #[error("open the snapshot")]
    Snapshot(#[from] SnapshotError),
    /// The file's content is another than its name says.
    #[error("the snapshot's content does not have the hash that names it")]
    Hash,
    /// A policy.
    #[error("prepare the policies")]
    Policy(#[from] PrepareError),
    /// An expression.
    #[error("prepare the expressions")]
    Expression(#[from] ExpressionError),
    /// A sealed secret.
    #[error("open a sealed secret")]
    Seal(#[from] SealError),
    /// TLS.
    #[error("prepare TLS")]
    Tls(#[from] TlsConfigError),
    /// A listener names a TLS profile that does not exist.
    #[error("TLS profile {0} does not exist")]
    NoProfile(u32),
    /// A listener could not be bound.
    #[error("bind listener {address}")]
    Bind {
        /// Which.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Too many generations are still held by requests.
    #[error("{0} generations are still held by requests")]
    Crowded(usize),
}

impl GenerationError {
    /// Whether the same snapshot may be good a moment later.
    #[must_use]
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::Crowded(_)) || self.is_of_the_file()
    }

    /// Whether the file is missing or damaged, and another copy of it would do.
    #[must_use]
    pub(crate) fn is_of_the_file(&self) -> bool {
        match self {
            Self::File { .. } | Self::Hash => true,
            Self::Snapshot(source) => !matches!(source, SnapshotError::Newer(_) | SnapshotError::Older(_)),
            _ => false,
        }
    }

    /// What the person on call should do.
    #[must_use]
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "the snapshot is fetched again from control when it answers",
            Self::Pointer(source) => source.hint(),
            Self::Snapshot(source) => source.hint(),
            Self::Hash => "it is fetched again from control when it answers",
            Self::Policy(_) | Self::Expression(_) | Self::NoProfile(_) => {
                "control compiled what this gateway cannot carry out: are their versions the same?"
            }
            Self::Seal(source) => source.hint(),
            Self::Tls(_) => "check the certificates of the listener",
            Self::Bind { .. } => "is another process listening there?",
            Self::Crowded(_) => "some requests do not end: see ringway_requests_in_flight",
        }
    }
}

/// The chain of an error and its sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
