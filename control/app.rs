//! What can be done: apply, plan, roll back, look at the history, explain, and ask for the state.
//!
//! One pipeline: changes are decided, committed and published one after the other, in the order of
//! their numbers; parsing and compiling before it, and waiting for nodes after it, overlap.
//!
//! INVARIANT: a generation is committed to the store before `current` names it, and its snapshot is
//! whole on disk before that. After a crash at any point the next start makes `current` say what
//! the store says ([`App::start`]).

mod apply;
mod enrolment;
mod explain;
mod history;
mod pipeline;
mod references;
mod snapshots;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use crate::authority::{Authority, AuthorityError};
use crate::config::Definitions;
use crate::domain::{Generation, GenerationNumber, Identities, Identity};
use crate::keys::Keys;
use crate::outside::Outside;
use crate::publish::{Nodes, Publisher};
use crate::store::{Store, StoreError};

pub use apply::{Applied, ApplyInput, Outcome, When};
pub use enrolment::Enrolled;
pub use explain::ExplainInput;
pub use history::{Plan, RollbackInput};
pub use snapshots::PinInput;
pub use status::Status;

/// The control plane's one entry for all that speak to it.
#[derive(Debug)]
pub struct App {
    store: Store,
    keys: Arc<Keys>,
    outside: Arc<Outside>,
    publisher: Arc<Publisher>,
    nodes: Arc<Nodes>,
    pipeline: tokio::sync::Mutex<pipeline::Pipeline>,
    /// Held while a damaged snapshot is compiled again.
    mending: tokio::sync::Mutex<()>,
    words: words::Words,
    references: references::References,
    authority: Authority,
    enrolments: enrolment::Enrolments,
}

/// The newest generation with its definitions.
#[derive(Debug, Clone)]
struct Head {
    generation: Generation,
    definitions: Arc<Definitions>,
    identities: Arc<Identities>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration has mistakes.
    #[error("the configuration has mistakes")]
    Invalid(Box<crate::config::Diagnostics>),
    /// The newest generation is not the one that the caller built on.
    #[error("generation {expected} is no longer the newest: {newest} is")]
    LostRace {
        /// What the caller built on.
        expected: u64,
        /// What is there.
        newest: u64,
    },
    /// There is no such generation, or none at all.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The model could not be turned into a snapshot.
    #[error("the snapshot cannot be built")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A snapshot could not be written, or read back.
    #[error("cannot {doing}")]
    Files {
        /// Infinitive phrase.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The keys cannot be used.
    #[error("the keys cannot be used")]
    Keys(#[source] crate::keys::KeysError),
    /// The authority of nodes' certificates cannot be used.
    #[error("the authority of nodes' certificates cannot be used")]
    Authority(#[source] AuthorityError),
    /// Whoever asks may not.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A task of ours died.
    #[error("a task of the control daemon failed")]
    Task,
}

impl AppError {
    /// What the person on call should do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(source) => source.hint(),
            Self::Keys(source) => Some(source.hint()),
            Self::LostRace { .. } => Some("look at `ringway diff`, then apply again on top of it"),
            Self::Refused { hint, .. } => Some(hint),
            Self::Authority(_) => Some(
                "restore trust/authority.key and authority.pem from a backup: without them nodes are enrolled again",
            ),
            Self::Files { .. } => {
                Some("check space and permissions of the state directory, then do the same again")
            }
            Self::NotFound(what) if what.starts_with("node ") => Some("`ringway status` lists the nodes"),
            Self::NotFound(_) => Some("`ringway history` lists the generations"),
            Self::Task => Some("the control daemon's log says why"),
            Self::Invalid(_) | Self::Malformed(_) | Self::Build(_) => None,
        }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoGeneration(number) => Self::NotFound(format!("there is no generation {number}")),
            StoreError::LostRace { expected, actual } => Self::LostRace { expected, newest: actual },
            other => Self::Store(other),
        }
    }
}

impl App {
    /// What nodes are told, and a way to wait for it.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// The nodes.
    pub fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// One generation.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; the store failed.
    pub async fn generation(&self, number: GenerationNumber) -> Result<Generation, AppError> {
        Ok(self.store.generation(number).await?)
    }
}

impl App {
    /// Whose an id was, in whatever generation it was given.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; the store failed.
    pub async fn identity(&self, id: u128) -> Result<Identity, AppError> {
        let found = self.store.identity(id).await?;
        found.ok_or_else(|| AppError::NotFound("this id was never given to anything".to_owned()))
    }
}

/// Runs what blocks or computes on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AppError::Task)
}
