//! Apply: documents become the newest generation, unless they are it already or somebody was faster.

use std::sync::Arc;

use ringway_snapshot::current::ContentHash;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::pipeline::{Candidate, InFlight, Pipeline, build};
use super::{App, AppError, blocking};
use crate::config::{self, Compiled, Diagnostics, Document};
use crate::domain::{AuditVerb, Generation, GenerationNumber};
use crate::limits::DOCUMENTS_MAX;
use crate::outside::FilesRead;
use crate::publish::LiveReport;

/// When documents are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whatever was there before.
    Always,
    /// Only if they differ from those last applied from the same source, or another source was applied since.
    SourceChanged,
}

/// What to apply.
#[derive(Debug, Clone)]
pub struct ApplyInput {
    /// The documents, merged by key.
    pub documents: Vec<Document>,
    /// Who asks.
    pub author: String,
    /// Why.
    pub message: String,
    /// File or directory that they come from.
    pub source: Option<String>,
    /// When.
    pub when: When,
    /// Only if this is the newest generation; 0 for none.
    pub if_match: Option<u64>,
    /// How long to wait for the nodes.
    pub wait_ms: u64,
    /// Now.
    pub now_unix_ms: u64,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a new generation, or the newest is published that could not be when it was made.
    Applied,
    /// The definitions are those of the newest generation.
    Unchanged,
    /// The source is as it was when it was last applied, and the store stands.
    SourceUnchanged,
}

/// What came of it.
#[derive(Debug)]
pub struct Applied {
    /// In a word.
    pub outcome: Outcome,
    /// The newest generation now.
    pub generation: Generation,
    /// How it fares on the nodes.
    pub live: LiveReport,
    /// From publishing to the last word of a node.
    pub live_ms: u64,
    /// Warnings of the compiler.
    pub warnings: Diagnostics,
}

impl App {
    /// Compiles documents, commits, publishes, and waits until the nodes have spoken.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with all mistakes, [`AppError::LostRace`], or what failed.
    pub async fn apply(&self, input: ApplyInput) -> Result<Applied, AppError> {
        let started = Instant::now();
        bounded(&input.documents)?;
        let source = input.source.clone().map(|source| (source, hash_of(&input.documents)));
        if let (When::SourceChanged, Some(source)) = (input.when, &source)
            && let Some((pipeline, generation)) = self.standing(source).await?
        {
            let unchanged = Applied::unchanged(Outcome::SourceUnchanged, generation, Diagnostics::default());
            return self.settled(pipeline, unchanged, input.wait_ms).await;
        }
        let (compiled, files) = self.compile(input.documents.clone(), input.now_unix_ms).await?;
        let mut pipeline = self.pipeline.lock().await;
        pipeline.expect(input.if_match)?;
        let root = ContentHash(compiled.definitions.root_hash().0);
        if let Some(head) = pipeline.head.as_ref().filter(|head| head.generation.root == root) {
            let generation = head.generation.clone();
            if let Some((source, hash)) = &source {
                self.store.note_source(source, *hash, &generation, input.now_unix_ms).await?;
            }
            self.references.note(generation.number, &input, files);
            let unchanged = Applied::unchanged(Outcome::Unchanged, generation, compiled.warnings);
            return self.settled(pipeline, unchanged, input.wait_ms).await;
        }
        let warnings = compiled.warnings.clone();
        let in_flight = self.commit(&mut pipeline, compiled, input.clone(), source, started).await?;
        self.references.note(in_flight.generation.number, &input, files);
        drop(pipeline);
        let (live, live_ms) = self.live(&in_flight, input.wait_ms).await;
        Ok(Applied { outcome: Outcome::Applied, generation: in_flight.generation, live, live_ms, warnings })
    }

    async fn commit(
        &self,
        pipeline: &mut Pipeline,
        compiled: Compiled,
        input: ApplyInput,
        source: Option<(String, ContentHash)>,
        started: Instant,
    ) -> Result<InFlight, AppError> {
        let Compiled { definitions, mut model, .. } = compiled;
        // Under the pipeline's lock: nobody else gives an id to the same application meanwhile.
        let before = pipeline.head.as_ref().map(|head| Arc::clone(&head.identities)).unwrap_or_default();
        let identities = before.assign(&mut model, || uuid::Uuid::new_v4().as_u128());
        let number = GenerationNumber(pipeline.newest()).next();
        let parent =
            pipeline.head.as_ref().map_or_else(ContentHash::default, |head| head.generation.snapshot);
        let keys = Arc::clone(&self.keys);
        let built = blocking(move || build(&model, number, parent, &keys)).await??;
        let candidate = Candidate {
            definitions: Arc::new(definitions),
            identities: Arc::new(identities),
            hash: built.hash,
            snapshot_bytes: built.bytes.len() as u64,
            bytes: Some(built.bytes),
            routes: built.routes,
            restores: None,
            pinned: false,
            author: input.author,
            message: input.message,
            source,
            verb: AuditVerb::Apply,
            compile_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            now_unix_ms: input.now_unix_ms,
        };
        self.publish(pipeline, candidate).await
    }

    /// Documents to a model, on a thread for it; and the files that they refer to.
    pub(super) async fn compile(
        &self,
        documents: Vec<Document>,
        now_unix_ms: u64,
    ) -> Result<(Compiled, FilesRead), AppError> {
        let outside = Arc::clone(&self.outside);
        let compile =
            move || outside.with_files(now_unix_ms, |environment| config::compile(documents, environment));
        let (compiled, files) = blocking(compile).await?.map_err(AppError::Keys)?;
        Ok((compiled.map_err(|diagnostics| AppError::Invalid(Box::new(diagnostics)))?, files))
    }

    /// The newest generation under the pipeline's lock, if the source was applied last of all sources and is as it was then.
    async fn standing(
        &self,
        source: &(String, ContentHash),
    ) -> Result<Option<(MutexGuard<'_, Pipeline>, Generation)>, AppError> {
        let sources = self.store.sources().await?;
        let last = sources.first().filter(|last| (&last.source, &last.hash) == (&source.0, &source.1));
        let pipeline = self.pipeline.lock().await;
        let generation =
            pipeline.head.as_ref().filter(|_| last.is_some()).map(|head| head.generation.clone());
        Ok(generation.map(|generation| (pipeline, generation)))
    }

    /// The answer to who asks for what the newest generation says already. One that was committed and could not be pointed
    /// at, as on a full disk, is published now: nodes do not serve it yet.
    pub(super) async fn settled(
        &self,
        mut pipeline: MutexGuard<'_, Pipeline>,
        unchanged: Applied,
        wait_ms: u64,
    ) -> Result<Applied, AppError> {
        if self.publisher.published() == Some(unchanged.generation.number) {
            return Ok(unchanged);
        }
        let in_flight = self.point(&mut pipeline, unchanged.generation).await?;
        drop(pipeline);
        let (live, live_ms) = self.live(&in_flight, wait_ms).await;
        let (generation, warnings) = (in_flight.generation, unchanged.warnings);
        Ok(Applied { outcome: Outcome::Applied, generation, live, live_ms, warnings })
    }
}

impl Applied {
    pub(super) fn unchanged(outcome: Outcome, generation: Generation, warnings: Diagnostics) -> Self {
        Self { outcome, generation, live: LiveReport::default(), live_ms: 0, warnings }
    }
}

/// Refuses what nobody writes by hand or machine.
pub(super) fn bounded(documents: &[Document]) -> Result<(), AppError> {
    match documents.len() {
        0 => Err(AppError::Malformed("there are no documents to apply".to_owned())),
        count if count > DOCUMENTS_MAX => {
            Err(AppError::Malformed(format!("{count} documents are more than {DOCUMENTS_MAX}")))
        }
        _ => Ok(()),
    }
}

/// Names and texts of documents, whatever order they come in.
fn hash_of(documents: &[Document]) -> ContentHash {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    for document in sorted {
        for part in [&document.name, &document.text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    ContentHash(*hasher.finalize().as_bytes())
}
