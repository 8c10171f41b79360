//! The audit trail: one line for every change that somebody asked for.

use super::generation::GenerationNumber;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditVerb {
    /// Documents were applied.
    Apply,
    /// An older generation was brought back.
    Rollback,
    /// A generation's snapshot is kept from being pruned.
    Pin,
    /// It may be pruned again.
    Release,
}

impl AuditVerb {
    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Pin => "pin",
            Self::Release => "release",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Apply, Self::Rollback, Self::Pin, Self::Release].into_iter().find(|verb| verb.name() == name)
    }
}

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Who.
    pub author: String,
    /// What.
    pub verb: AuditVerb,
    /// What came of it.
    pub generation: GenerationNumber,
    /// In words.
    pub detail: String,
}
