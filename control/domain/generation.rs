//! A generation: one numbered state of all definitions, and the snapshot compiled from it.

use std::fmt;

use ringway_snapshot::current::ContentHash;

/// Counts up from 1 and is never reused, not by a rollback either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct GenerationNumber(pub u64);

impl GenerationNumber {
    /// The first one.
    pub const FIRST: Self = Self(1);

    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for GenerationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How far a generation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// Committed to the store; a crash here is made good by publishing it at the next start.
    Compiled,
    /// `current` names its snapshot.
    Published,
    /// Every node that was connected has acknowledged it.
    Live,
}

impl GenerationState {
    /// The name in the store and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::Published => "published",
            Self::Live => "live",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Compiled, Self::Published, Self::Live].into_iter().find(|state| state.name() == name)
    }
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: GenerationNumber,
    /// The one before it; none for the first.
    pub parent: Option<GenerationNumber>,
    /// The one whose definitions a rollback brought back.
    pub restores: Option<GenerationNumber>,
    /// Names the snapshot file.
    pub snapshot: ContentHash,
    /// Size of the snapshot file in bytes.
    pub snapshot_bytes: u64,
    /// Root over the definitions: equal definitions, equal roots.
    pub root: ContentHash,
    /// How many resources changed against the parent.
    pub changes: u64,
    /// How many routes it has.
    pub routes: u64,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub message: String,
    /// The file or directory that it was applied from, where there was one.
    pub source: Option<String>,
    /// When it was committed, Unix milliseconds.
    pub created_unix_ms: u64,
    /// How long compiling took.
    pub compile_ms: u64,
    /// How far it got.
    pub state: GenerationState,
    /// Its snapshot file is never pruned.
    pub pinned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_from_its_name() {
        for state in [GenerationState::Compiled, GenerationState::Published, GenerationState::Live] {
            assert_eq!(GenerationState::from_name(state.name()), Some(state));
        }
        assert_eq!(GenerationState::from_name("deployed"), None);
    }
}
