//! Why bytes are no snapshot.

use thiserror::Error;

use crate::header::{SCHEMA, Section};

/// Why a file is refused. The last good snapshot goes on serving.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Fewer bytes than a header, or than the header announces.
    #[error("the snapshot is cut off: {have} of {need} bytes")]
    Truncated {
        /// Bytes that are there.
        have: u64,
        /// Bytes that there should be.
        need: u64,
    },
    /// More bytes than the header announces.
    #[error("the snapshot has {have} bytes where its header announces {need}")]
    Trailing {
        /// Bytes that are there.
        have: u64,
        /// Bytes that there should be.
        need: u64,
    },
    /// The bytes do not start at a multiple of 16.
    #[error("the snapshot is not aligned in memory")]
    Misaligned,
    /// It does not begin as a snapshot does.
    #[error("the file is no snapshot")]
    Foreign,
    /// A later release wrote it.
    #[error("the snapshot has schema version {0}, newer than {SCHEMA}")]
    Newer(u32),
    /// An earlier release wrote it.
    #[error("the snapshot has schema version {0}, older than {SCHEMA}")]
    Older(u32),
    /// The checksum differs.
    #[error("the snapshot is corrupt: its checksum differs")]
    Corrupt,
    /// It carries no signature.
    #[error("the snapshot is not signed")]
    Unsigned,
    /// No trusted key made its signature.
    #[error("the snapshot is not signed by a trusted key")]
    Untrusted,
    /// A section does not stand where it must.
    #[error("section {0:?} of the snapshot is not where it must be")]
    Layout(Section),
    /// An archived section does not pass rkyv's check.
    #[error("section {0:?} of the snapshot is malformed")]
    Archive(Section),
    /// A row means nothing.
    #[error("the snapshot contradicts itself")]
    Semantic(#[from] SemanticError),
}

impl SnapshotError {
    /// What the person on call should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Truncated { .. } | Self::Trailing { .. } | Self::Corrupt => {
                "remove the file: it is fetched again; if it happens twice, check the disk and the network"
            }
            Self::Misaligned => "this is a defect of the program that opened it: report it",
            Self::Foreign => "check that the path names a file under snapshots/",
            Self::Newer(_) => "upgrade this gateway before the control daemon",
            Self::Older(_) => "let a control daemon of this release compile the generation again",
            Self::Unsigned | Self::Untrusted => {
                "compare trust/signing.pub of this node with that of the control daemon"
            }
            Self::Layout(_) | Self::Archive(_) | Self::Semantic(_) => {
                "this is a defect of the control daemon that compiled it: roll back and report it"
            }
        }
    }
}

/// A row whose indices lead nowhere, or whose numbers mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("row {row} of section {section:?}: {what}")]
pub struct SemanticError {
    /// Which section.
    pub section: Section,
    /// Which row of it, from 0.
    pub row: u32,
    /// What is wrong with it.
    pub what: &'static str,
}
