//! Chains, limits and authenticators of a generation, checked and laid out for the request's way.
//!
//! It is made on the reload thread, beside the snapshot; workers only read it. Plain data: a chain is a vector of
//! steps that [`crate::chain`] matches on.

use std::sync::atomic::{AtomicU64, Ordering};

use ringway_snapshot::Snapshot;
use ringway_snapshot::keys::Pepper;
use ringway_snapshot::model::{self, Mode};

use crate::api_key::{Authenticator, Hides, Under};
use crate::headers::{self, EditError};
use crate::limit::{Limit, LimitError};
use crate::limits::{CHAIN_LIMITS_MAX, CHALLENGES_MAX};
use crate::stage::Stage;

/// The next number of policies.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What the policies of one generation need beside the snapshot. Its number tells it from all others of the process.
#[derive(Debug, Clone)]
pub struct Prepared {
    number: u64,
    chains: Vec<Chain>,
    limits: Vec<Limit>,
    authenticators: Vec<Authenticator>,
    peppers: Vec<Pepper>,
}

/// A chain, ready to run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chain {
    /// Name in the definition; empty for one written in place.
    pub name: String,
    /// In order. Steps that are off stay in, for `explain`.
    pub(crate) steps: Vec<Step>,
    /// The value of `RateLimit-Policy`: all enforced limits; empty where there is none.
    pub(crate) rate_policy: Vec<u8>,
    /// Whether a reply is edited at all.
    pub(crate) edits_replies: bool,
}

impl Chain {
    /// Whether it has no steps: it decides nothing.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One policy of a chain.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) mode: Mode,
    pub(crate) act: Act,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Indices of authenticators, their challenges, who may pass (indices of applications, ascending; empty: all), and what is taken
    /// out of a request that passes.
    ///
    /// INVARIANT: the first enforced step of a chain hides for all of them, and no other hides anything: cookies are
    /// rewritten once.
    Authenticate { any_of: Vec<u32>, challenges: Vec<Vec<u8>>, applications: Vec<u32>, hides: Hides },
    /// Index of a limit.
    Limit(u32),
    /// Checked edits.
    Headers { request: Vec<model::FieldEdit>, response: Vec<model::FieldEdit> },
}

/// What is prepared.
#[derive(Debug, Clone, Copy)]
pub struct Definitions<'a> {
    /// Ordered policies; index 0 is the empty chain.
    pub chains: &'a [model::Chain],
    /// Named rates.
    pub limits: &'a [model::Limit],
    /// Ways of proving who calls.
    pub authenticators: &'a [model::Authenticator],
    /// Peppers of the credentials, those of the newest seal key first.
    pub peppers: &'a [Pepper],
}

/// Why policies cannot be carried out. Control finds it before publishing; a gateway that meets it refuses the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// A limit's numbers or names.
    #[error("limit {name:?} cannot be kept")]
    Limit {
        /// Of the limit.
        name: String,
        /// Why.
        #[source]
        source: LimitError,
    },
    /// An authenticator's place.
    #[error("authenticator {name:?} cannot look where it is told to")]
    Authenticator {
        /// Of the authenticator.
        name: String,
        /// Why.
        #[source]
        source: EditError,
    },
    /// An edit of a `headers` step.
    #[error("chain {chain:?} holds an edit that cannot be made")]
    Edit {
        /// Of the chain.
        chain: String,
        /// Why.
        #[source]
        source: EditError,
    },
    /// Steps have an order.
    #[error("chain {chain:?} has {stage} before a step that comes ahead of it")]
    Order {
        /// Of the chain.
        chain: String,
        /// The step that stands too early.
        stage: &'static str,
    },
    /// Too many limits, or authenticators in one step.
    #[error("chain {chain:?} has more than {max} {what}")]
    TooMany {
        /// Of the chain.
        chain: String,
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// Credentials were digested under a key that is not here: nobody who shows one could be known.
    #[error("the seal key {id:08x}, which API keys were digested under, is not here")]
    Pepper {
        /// Of the seal key.
        id: u32,
    },
    /// A step names a limit or an authenticator that does not exist, or no authenticator at all.
    #[error("chain {chain:?} names {what} that does not exist")]
    Dangling {
        /// Of the chain.
        chain: String,
        /// Of what.
        what: &'static str,
    },
}

impl Prepared {
    /// Checks and lays out the policies of a snapshot: the one way on a gateway, in `explain` and in `tests`.
    ///
    /// `peppers` are those of all seal keys at hand, newest first; those that no credential derives from are left out.
    ///
    /// # Errors
    /// The first thing that cannot be carried out.
    pub fn from(snapshot: &Snapshot, peppers: &[Pepper], workers: u32) -> Result<Self, PrepareError> {
        let wanted = snapshot.tables().pepper_ids();
        if let Some(id) = wanted.iter().find(|id| peppers.iter().all(|pepper| pepper.id() != **id)) {
            return Err(PrepareError::Pepper { id: *id });
        }
        let peppers: Vec<Pepper> =
            peppers.iter().filter(|pepper| wanted.contains(&pepper.id())).cloned().collect();
        let definitions = Definitions {
            chains: snapshot.chains(),
            limits: snapshot.limits(),
            authenticators: snapshot.authenticators(),
            peppers: &peppers,
        };
        Self::new(definitions, workers)
    }

    /// Checks and lays out what a generation holds, for one of `workers` workers (all of them alike).
    ///
    /// # Errors
    /// The first thing that cannot be carried out.
    pub fn new(definitions: Definitions<'_>, workers: u32) -> Result<Self, PrepareError> {
        let limits = definitions.limits.iter().map(|limit| {
            let named = |source| PrepareError::Limit { name: limit.name.clone(), source };
            Limit::prepare(limit, workers).map_err(named)
        });
        let authenticators = definitions.authenticators.iter().map(|authenticator| {
            let named = |source| PrepareError::Authenticator { name: authenticator.name.clone(), source };
            Authenticator::prepare(authenticator).map_err(named)
        });
        let mut prepared = Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            chains: Vec::with_capacity(definitions.chains.len()),
            limits: limits.collect::<Result<_, _>>()?,
            authenticators: authenticators.collect::<Result<_, _>>()?,
            peppers: definitions.peppers.to_vec(),
        };
        for chain in definitions.chains {
            let chain = prepared.chain_of(chain)?;
            prepared.chains.push(chain);
        }
        Ok(prepared)
    }

    fn chain_of(&self, chain: &model::Chain) -> Result<Chain, PrepareError> {
        let stages = || chain.steps.iter().map(|step| Stage::of(&step.policy));
        if let Some((early, _)) = stages().zip(stages().skip(1)).find(|(first, second)| first > second) {
            return Err(PrepareError::Order { chain: chain.name.clone(), stage: early.name() });
        }
        let mut steps =
            chain.steps.iter().map(|step| self.step_of(&chain.name, step)).collect::<Result<Vec<_>, _>>()?;
        self.hide(&mut steps);
        let rates = || steps.iter().filter(|step| step.mode != Mode::Off).filter_map(Step::limit);
        if rates().count() > CHAIN_LIMITS_MAX {
            let (chain, what) = (chain.name.clone(), "limits");
            return Err(PrepareError::TooMany { chain, what, max: CHAIN_LIMITS_MAX });
        }
        let enforced = || steps.iter().filter(|step| step.mode == Mode::Enforce);
        let policies =
            enforced().filter_map(Step::limit).filter_map(|limit| self.limit(limit)).map(Limit::policy);
        let rate_policy = policies.collect::<Vec<_>>().join(b", ".as_slice());
        let answers =
            |step: &Step| matches!(&step.act, Act::Headers { response, .. } if !response.is_empty());
        let edits_replies = !rate_policy.is_empty() || enforced().any(answers);
        Ok(Chain { name: chain.name.clone(), steps, rate_policy, edits_replies })
    }

    fn hide(&self, steps: &mut [Step]) {
        let mut all = Hides::default();
        let mut first = None;
        for step in steps.iter_mut().filter(|step| step.mode == Mode::Enforce) {
            if let Act::Authenticate { any_of, hides, .. } = &mut step.act {
                any_of.iter().filter_map(|index| self.authenticator(*index)).for_each(|named| all.add(named));
                first = first.or(Some(hides));
            }
        }
        if let Some(first) = first {
            *first = all;
        }
    }

    fn step_of(&self, chain: &str, step: &model::Step) -> Result<Step, PrepareError> {
        let dangling = |what| PrepareError::Dangling { chain: chain.to_owned(), what };
        let act = match &step.policy {
            model::Policy::Authenticate { any_of, applications } => {
                if any_of.len() > CHALLENGES_MAX {
                    let (chain, what) = (chain.to_owned(), "authenticators in one step");
                    return Err(PrepareError::TooMany { chain, what, max: CHALLENGES_MAX });
                }
                let challenge = |index: &u32| self.authenticator(*index).map(Authenticator::challenge);
                let challenges: Option<Vec<_>> = any_of.iter().map(challenge).collect();
                let challenges = challenges.filter(|all| !all.is_empty());
                let challenges = challenges.ok_or_else(|| dangling("an authenticator"))?;
                let (any_of, applications) = (any_of.clone(), applications.clone());
                Act::Authenticate { any_of, challenges, applications, hides: Hides::default() }
            }
            model::Policy::Limit(index) => {
                self.limit(*index).ok_or_else(|| dangling("a limit"))?;
                Act::Limit(*index)
            }
            model::Policy::Headers { request, response } => {
                let named = |source| PrepareError::Edit { chain: chain.to_owned(), source };
                request.iter().chain(response).try_for_each(headers::check_edit).map_err(named)?;
                Act::Headers { request: request.clone(), response: response.clone() }
            }
        };
        Ok(Step { mode: step.mode, act })
    }

    /// The chain of this index.
    #[must_use]
    pub fn chain(&self, index: u32) -> Option<&Chain> {
        self.chains.get(index as usize)
    }

    /// The limit of this index.
    #[must_use]
    pub fn limit(&self, index: u32) -> Option<&Limit> {
        self.limits.get(index as usize)
    }

    /// All limits.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    pub(crate) fn under(&self) -> Under<'_> {
        Under { peppers: &self.peppers, policies: self.number }
    }

    /// The authenticator of this index.
    #[must_use]
    pub fn authenticator(&self, index: u32) -> Option<&Authenticator> {
        self.authenticators.get(index as usize)
    }
}

impl Step {
    pub(crate) fn stage(&self) -> Stage {
        match self.act {
            Act::Authenticate { .. } => Stage::Authenticate,
            Act::Limit(_) => Stage::Limit,
            Act::Headers { .. } => Stage::Headers,
        }
    }

    pub(crate) fn limit(&self) -> Option<u32> {
        match self.act {
            Act::Limit(index) => Some(index),
            _ => None,
        }
    }
}
