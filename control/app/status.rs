//! Where things stand.

use super::{App, AppError};
use crate::domain::{Acknowledgement, Generation, GenerationState, NodeVerdict};
use crate::publish::NodeView;
use crate::store::SourceState;

/// Where things stand.
#[derive(Debug)]
pub struct Status {
    /// The newest generation.
    pub newest: Option<Generation>,
    /// In words: where what is live comes from, and which source no longer agrees with it.
    pub standing: String,
    /// What changed on disk and cannot be applied.
    pub complaint: Option<String>,
    /// All nodes.
    pub nodes: Vec<NodeView>,
    /// All sources, the one applied last first.
    pub sources: Vec<SourceState>,
}

impl App {
    /// Where things stand.
    ///
    /// # Errors
    /// The store failed.
    pub async fn status(&self) -> Result<Status, AppError> {
        let newest = self.store.head().await?;
        let sources = self.store.sources().await?;
        let standing = standing(newest.as_ref(), &sources);
        let complaint = self.references.complaint();
        Ok(Status { newest, standing, complaint, nodes: self.nodes.list(), sources })
    }

    /// Keeps what a node said about a generation.
    ///
    /// # Errors
    /// [`AppError::Malformed`] when there are too many nodes.
    pub fn acknowledge(&self, said: Acknowledgement) -> Result<(), AppError> {
        self.nodes.acknowledge(&said).map_err(|error| AppError::Malformed(error.to_string()))?;
        let (generation, live) = (said.generation, matches!(said.verdict, NodeVerdict::Live { .. }));
        self.words.said(said);
        // A node that joins after publishing is waited for by nobody.
        if live && self.nodes.all_serve(generation) {
            self.words.state(generation, GenerationState::Live);
        }
        Ok(())
    }
}

fn standing(newest: Option<&Generation>, sources: &[SourceState]) -> String {
    let Some(newest) = newest else { return "nothing was applied yet".to_owned() };
    let number = newest.number;
    match (newest.restores, sources.first()) {
        (None, Some(last)) if last.generation == number => {
            format!("generation {number} is what {} says", last.source)
        }
        (restores, last) => {
            let origin = match restores {
                Some(restored) => format!("a rollback to generation {restored}"),
                None => format!("an apply by {}", shown(&newest.author)),
            };
            let stands = last.map(|last| {
                format!(
                    "; {} was applied last as generation {}, and waits for its next change",
                    last.source, last.generation
                )
            });
            format!("generation {number} comes from {origin}{}", stands.unwrap_or_default())
        }
    }
}

fn shown(author: &str) -> &str {
    if author.is_empty() { "somebody" } else { author }
}
