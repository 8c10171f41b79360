//! The stage `limit`: a named rate, whose requests share it, and what callers are told of it.

pub mod gcra;
pub mod key;
pub mod node;
pub mod worker;

mod counts;
mod fields;
#[cfg(test)]
mod tests;

pub use counts::{Count, Counts};
pub use fields::{rate_limit, retry_after_s};
pub use key::HashKey;
pub use node::NodeCells;
pub use worker::WorkerLimits;

use ringway_snapshot::model::{self, LimitKey, LimitScope, OnMissing};

use self::gcra::{Gcra, Rate, RateError};
use self::key::{CellKey, Subject, network};
use self::worker::Counted;
use crate::api_key::Identity;
use crate::facts::Facts;
use crate::headers::{self, EditError};
use crate::memory::Memory;

/// Networks that share a cell where a limit falls back on addresses.
const MISSING_V4_BITS: u8 = 32;
/// As [`MISSING_V4_BITS`]: one subscriber usually has a whole /64.
const MISSING_V6_BITS: u8 = 64;

/// A limit, ready to count.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Name in the definition.
    pub name: String,
    /// Stable across generations: cells and records go by it.
    pub id: u64,
    gcra: Gcra,
    by: LimitKey,
    on_missing: OnMissing,
    scope: LimitScope,
    /// The name as a structured-field string.
    item: Vec<u8>,
    /// Its item of `RateLimit-Policy`.
    policy: Vec<u8>,
}

/// Why a limit cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Its numbers.
    #[error("the rate cannot be kept")]
    Rate(#[source] RateError),
    /// The field that it goes by.
    #[error("the limit cannot go by this field")]
    Field(#[source] EditError),
    /// It has to be told to callers as ASCII.
    #[error("the name of a limit is printable ASCII")]
    Name,
    /// More bits than the address has.
    #[error("an IPv4 prefix has at most 32 bits, an IPv6 prefix at most 128")]
    Prefix,
}

/// What a limit decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// The request has no such key, and the limit lets such requests pass.
    Skipped,
    /// The request has no such key, and the limit refuses such requests.
    KeyMissing,
    /// Counted, or refused for lack of room.
    Counted(Counted),
}

impl Limit {
    /// Checks and lays out one limit for one of `workers` workers.
    ///
    /// # Errors
    /// What cannot be carried out.
    pub fn prepare(limit: &model::Limit, workers: u32) -> Result<Self, LimitError> {
        if limit.name.is_empty() || !limit.name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(LimitError::Name);
        }
        match &limit.by {
            LimitKey::Header(name) => headers::check_readable(name).map_err(LimitError::Field)?,
            LimitKey::Ip { v4_bits, v6_bits } if *v4_bits > 32 || *v6_bits > 128 => {
                return Err(LimitError::Prefix);
            }
            _ => {}
        }
        let share = match limit.scope {
            LimitScope::Core => workers,
            LimitScope::Node => 1,
        };
        let rate = Rate { count: limit.count, per_ms: limit.per_ms, burst: limit.burst };
        let mut item = Vec::new();
        crate::problem::write_string(&mut item, &limit.name);
        Ok(Self {
            name: limit.name.clone(),
            id: limit.id,
            gcra: rate.prepare(share).map_err(LimitError::Rate)?,
            by: limit.by.clone(),
            on_missing: limit.on_missing,
            scope: limit.scope,
            policy: fields::policy_item(&item, rate),
            item,
        })
    }

    /// Decides on one request, and counts it if it may pass.
    #[must_use]
    pub fn take(&self, facts: &Facts<'_>, identity: Option<&Identity>, memory: &mut Memory) -> Decided {
        let Memory { limits, keys } = memory;
        let subject = match self.subject(facts, identity) {
            Ok(subject) => subject,
            Err(decided) => return decided,
        };
        let counted = match (self.scope, subject, identity.and_then(|identity| keys.near(identity))) {
            (LimitScope::Node, Subject::Application(_) | Subject::Credential(_), Some(near)) => {
                let key = |secret: &HashKey| CellKey::new(secret, self.id, subject);
                limits.take_near(near, self.id, key, &self.gcra, facts.mono_ns)
            }
            (LimitScope::Node, ..) => {
                let key = limits.key(self.id, subject);
                limits.take_node(self.id, key, &self.gcra, facts.mono_ns)
            }
            (LimitScope::Core, ..) => {
                let key = limits.key(self.id, subject);
                limits.take_core(self.id, key, &self.gcra, facts.mono_ns)
            }
        };
        Decided::Counted(counted)
    }

    /// Takes a counted request back: a later limit refused it, and refused requests do not consume. `overflow` is [`Counted::overflow`].
    pub fn take_back(
        &self,
        overflow: bool,
        facts: &Facts<'_>,
        identity: Option<&Identity>,
        limits: &mut WorkerLimits,
    ) {
        let subject = if overflow { Ok(Subject::Overflow) } else { self.subject(facts, identity) };
        let Ok(subject) = subject else { return };
        let cell = limits.key(self.id, subject);
        match self.scope {
            LimitScope::Core => limits.take_back_core(cell, &self.gcra, facts.mono_ns),
            LimitScope::Node => limits.take_back_node(cell, &self.gcra, facts.mono_ns),
        }
    }

    /// Whose request it is, or what is decided on one that nobody's key is in.
    fn subject<'a>(&self, facts: &Facts<'a>, identity: Option<&Identity>) -> Result<Subject<'a>, Decided> {
        match (self.subject_named(facts, identity), self.on_missing) {
            (Some(subject), _) => Ok(subject),
            (None, OnMissing::Ip) => {
                Ok(Subject::Network(network(facts.client, MISSING_V4_BITS, MISSING_V6_BITS)))
            }
            (None, OnMissing::Reject) => Err(Decided::KeyMissing),
            (None, OnMissing::Skip) => Err(Decided::Skipped),
        }
    }

    fn subject_named<'a>(&self, facts: &Facts<'a>, identity: Option<&Identity>) -> Option<Subject<'a>> {
        match &self.by {
            LimitKey::Application => identity.map(|identity| Subject::Application(identity.application_id)),
            LimitKey::Credential => identity.map(|identity| Subject::Credential(identity.credential_id)),
            LimitKey::Ip { v4_bits, v6_bits } => {
                Some(Subject::Network(network(facts.client, *v4_bits, *v6_bits)))
            }
            LimitKey::Header(name) => facts.head.field_named(name.as_bytes()).map(Subject::Field),
            LimitKey::Route => Some(Subject::Route(facts.route_id)),
            LimitKey::All => Some(Subject::All),
        }
    }

    /// The rate as this worker or node keeps it.
    #[must_use]
    pub fn gcra(&self) -> &Gcra {
        &self.gcra
    }

    /// Who shares a cell.
    #[must_use]
    pub fn scope(&self) -> LimitScope {
        self.scope
    }

    /// Its item of `RateLimit-Policy`: `"name";q=100;w=1`.
    #[must_use]
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }
}
