//! The history, differences between its generations, and going back in it.

use std::sync::Arc;

use ringway_snapshot::current::ContentHash;
use ringway_snapshot::reader::{AlignedBytes, Snapshot};
use tokio::time::Instant;

use super::apply::{Applied, Outcome, bounded};
use super::pipeline::{Candidate, InFlight, Pipeline, build};
use super::{App, AppError, Head, blocking};
use crate::compile;
use crate::config::{Compiled, Definitions, Diagnostics, Document};
use crate::domain::{AuditVerb, Generation, GenerationNumber, Identities};
use crate::limits::HISTORY_ROWS_MAX;

/// What to go back to.
#[derive(Debug, Clone)]
pub struct RollbackInput {
    /// Which generation; without, the newest that differs, before what is live.
    pub to: Option<GenerationNumber>,
    /// Who asks.
    pub author: String,
    /// Why.
    pub message: String,
    /// Only if this is the newest generation.
    pub if_match: Option<u64>,
    /// Its snapshot is kept from being pruned.
    pub pinned: bool,
    /// How long to wait for the nodes.
    pub wait_ms: u64,
    /// Now.
    pub now_unix_ms: u64,
}

/// What applying documents would change.
#[derive(Debug)]
pub struct Plan {
    /// What they are compared with; none where there is no generation yet.
    pub against: Option<GenerationNumber>,
    /// Definitions of that.
    pub before: Arc<Definitions>,
    /// What the documents define.
    pub after: Definitions,
    /// Size of the snapshot.
    pub snapshot_bytes: u64,
    /// Warnings of the compiler.
    pub warnings: Diagnostics,
}

impl App {
    /// Generations before `before`, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn history(
        &self,
        before: Option<GenerationNumber>,
        count: u32,
    ) -> Result<Vec<Generation>, AppError> {
        Ok(self.store.generations(before, count.min(HISTORY_ROWS_MAX)).await?)
    }

    /// The generation after this one, which ended its time as the newest.
    ///
    /// # Errors
    /// The store failed.
    pub async fn successor(&self, number: GenerationNumber) -> Result<Option<Generation>, AppError> {
        match self.store.generation(number.next()).await {
            Ok(next) => Ok(Some(next)),
            Err(crate::store::StoreError::NoGeneration(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Definitions of a generation, or of the newest.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; the store failed.
    pub async fn definitions(
        &self,
        number: Option<GenerationNumber>,
    ) -> Result<(GenerationNumber, Arc<Definitions>), AppError> {
        let head = self.pipeline.lock().await.head.clone();
        match (number, head) {
            (None, None) => Err(AppError::NotFound("there is no generation yet".to_owned())),
            (None, Some(head)) => Ok((head.generation.number, head.definitions)),
            (Some(number), Some(head)) if head.generation.number == number => Ok((number, head.definitions)),
            (Some(number), _) => {
                self.store.generation(number).await?;
                Ok((number, Arc::new(self.store.definitions(number).await?)))
            }
        }
    }

    /// Compiles documents without applying them.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with all mistakes; [`AppError::NotFound`].
    pub async fn plan(
        &self,
        documents: Vec<Document>,
        against: Option<GenerationNumber>,
        now_unix_ms: u64,
    ) -> Result<Plan, AppError> {
        bounded(&documents)?;
        let (compiled, _) = self.compile(documents, now_unix_ms).await?;
        let Compiled { definitions, model, warnings, .. } = compiled;
        let (against, before) = match self.definitions(against).await {
            Ok((number, before)) => (Some(number), before),
            Err(AppError::NotFound(_)) if against.is_none() => (None, Arc::default()),
            Err(error) => return Err(error),
        };
        let keys = Arc::clone(&self.keys);
        let number = against.map_or(GenerationNumber::FIRST, GenerationNumber::next);
        let built = blocking(move || build(&model, number, ContentHash::default(), &keys)).await??;
        let snapshot_bytes = built.bytes.len() as u64;
        Ok(Plan { against, before, after: definitions, snapshot_bytes, warnings })
    }

    /// Brings an older generation's definitions back, as a new generation with the old snapshot.
    ///
    /// # Errors
    /// [`AppError::NotFound`] without an older one, [`AppError::LostRace`], or what failed.
    pub async fn rollback(&self, input: RollbackInput) -> Result<Applied, AppError> {
        let started = Instant::now();
        let mut pipeline = self.pipeline.lock().await;
        pipeline.expect(input.if_match)?;
        let Some(head) = pipeline.head.clone() else {
            return Err(AppError::NotFound("there is no generation yet".to_owned()));
        };
        let target = self.target(&head, input.to).await?;
        if target.root == head.generation.root && target.snapshot == head.generation.snapshot {
            let unchanged = Applied::unchanged(Outcome::Unchanged, head.generation, Diagnostics::default());
            return self.settled(pipeline, unchanged, input.wait_ms).await;
        }
        let in_flight = self.restore(&mut pipeline, &target, input.clone(), started).await?;
        drop(pipeline);
        let (live, live_ms) = self.live(&in_flight, input.wait_ms).await;
        let generation = in_flight.generation;
        Ok(Applied { outcome: Outcome::Applied, generation, live, live_ms, warnings: Diagnostics::default() })
    }

    async fn target(&self, head: &Head, to: Option<GenerationNumber>) -> Result<Generation, AppError> {
        if let Some(number) = to {
            return Ok(self.store.generation(number).await?);
        }
        // One that was committed and could not be pointed at is what the caller wants when asking again.
        if head.generation.restores.is_some() && self.publisher.published() != Some(head.generation.number) {
            return Ok(head.generation.clone());
        }
        // A second rollback goes on backwards instead of returning to what the first one left.
        let from = head.generation.restores.unwrap_or(head.generation.number);
        let older = self.store.newest_different(from, head.generation.root).await?;
        older.ok_or_else(|| AppError::NotFound("there is no older generation that differs".to_owned()))
    }

    /// Publishes a generation's definitions again under a new number.
    pub(super) async fn restore(
        &self,
        pipeline: &mut Pipeline,
        target: &Generation,
        input: RollbackInput,
        started: Instant,
    ) -> Result<InFlight, AppError> {
        let definitions = Arc::new(self.store.definitions(target.number).await?);
        let identities = Arc::new(self.store.identities(target.number).await?);
        let (hash, bytes, snapshot_bytes) = if self.usable(target).await? {
            (target.snapshot, None, target.snapshot_bytes)
        } else {
            let number = GenerationNumber(pipeline.newest()).next();
            let known = Arc::clone(&identities);
            let built = self.rebuild(Arc::clone(&definitions), known, number, input.now_unix_ms).await?;
            (built.hash, Some(built.bytes), 0)
        };
        let snapshot_bytes = bytes.as_ref().map_or(snapshot_bytes, |bytes| bytes.len() as u64);
        let candidate = Candidate {
            definitions,
            identities,
            hash,
            bytes,
            snapshot_bytes,
            routes: target.routes,
            restores: Some(target.number),
            pinned: input.pinned,
            author: input.author,
            message: input.message,
            source: None,
            verb: AuditVerb::Rollback,
            compile_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            now_unix_ms: input.now_unix_ms,
        };
        self.publish(pipeline, candidate).await
    }

    /// Whether a generation's snapshot is on disk and one that nodes of this version accept.
    pub(super) async fn usable(&self, generation: &Generation) -> Result<bool, AppError> {
        let path = self.publisher.path(generation.snapshot);
        let keys = Arc::clone(&self.keys);
        blocking(move || {
            let Ok(bytes) = std::fs::read(path) else { return false };
            Snapshot::open(AlignedBytes::copy(&bytes), &keys.trust).is_ok()
        })
        .await
    }

    /// Compiles definitions from the store, under the ids that they had.
    pub(super) async fn rebuild(
        &self,
        definitions: Arc<Definitions>,
        identities: Arc<Identities>,
        number: GenerationNumber,
        now_unix_ms: u64,
    ) -> Result<super::pipeline::Built, AppError> {
        let (outside, keys) = (Arc::clone(&self.outside), Arc::clone(&self.keys));
        blocking(move || {
            let compiled =
                outside.with(now_unix_ms, |environment| compile::from_definitions(&definitions, environment));
            let compiled = compiled.map_err(AppError::Keys)?;
            let (mut model, ..) = compiled.map_err(|diagnostics| AppError::Invalid(Box::new(diagnostics)))?;
            identities.restore(&mut model);
            build(&model, number, ContentHash::default(), &keys)
        })
        .await?
    }
}
