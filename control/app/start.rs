//! The start: keys and store are opened, and `current` is made to say what the store says.

use std::collections::VecDeque;
use std::sync::Arc;

use ringway_snapshot::current::Current;
use tokio::time::Instant;

use super::enrolment::Enrolments;
use super::history::RollbackInput;
use super::pipeline::Pipeline;
use super::references::References;
use super::words::Words;
use super::{App, AppError, Head, blocking};
use crate::authority::Authority;
use crate::domain::{Generation, GenerationState};
use crate::keys::Keys;
use crate::limits::SNAPSHOT_FILES_KEPT;
use crate::outside::Outside;
use crate::publish::{Nodes, Publisher};
use crate::state::StateDir;
use crate::store::Store;

impl App {
    /// Opens the control plane over a state directory that the caller has locked.
    ///
    /// If the last process ended between committing a generation and pointing at it, or its snapshot is gone or
    /// no longer of this version, the newest generation is published again; a snapshot that comes out different is a
    /// new generation.
    ///
    /// # Errors
    /// Store or keys cannot be used; the newest generation can neither be read nor compiled again.
    pub async fn start(
        state: &StateDir,
        keys: Arc<Keys>,
        outside: Arc<Outside>,
        now_unix_ms: u64,
    ) -> Result<Arc<Self>, AppError> {
        let store = Store::open(&state.store()).await?;
        let words = Words::start(store.clone());
        let app = Self {
            publisher: Arc::new(Publisher::new(state)),
            nodes: Arc::new(Nodes::default()),
            pipeline: tokio::sync::Mutex::default(),
            mending: tokio::sync::Mutex::default(),
            words,
            outside,
            keys,
            authority: Authority::load_or_make(state, now_unix_ms).map_err(AppError::Authority)?,
            references: References::open(state.root()),
            enrolments: Enrolments::of(store.enrolled().await?),
            store,
        };
        app.converge(now_unix_ms).await?;
        Ok(Arc::new(app))
    }

    /// Waits until the change under way is through and everything is noted, then closes the store.
    pub async fn stop(&self) {
        let _pipeline = self.pipeline.lock().await;
        self.words.flush().await;
        self.store.close().await;
    }

    async fn converge(&self, now_unix_ms: u64) -> Result<(), AppError> {
        let mut pipeline = self.pipeline.lock().await;
        let newest =
            self.store.generations(None, u32::try_from(SNAPSHOT_FILES_KEPT).unwrap_or(u32::MAX)).await?;
        let Some(generation) = newest.first().cloned() else { return Ok(()) };
        let mut recent = VecDeque::new();
        for generation in &newest {
            if !recent.contains(&generation.snapshot) {
                recent.push_back(generation.snapshot);
            }
        }
        let (publisher, keys) = (Arc::clone(&self.publisher), Arc::clone(&self.keys));
        let history = newest.clone();
        blocking(move || publisher.retrace(&history, &keys.signing))
            .await?
            .map_err(|source| AppError::Files { doing: "note what was published", source })?;
        let definitions = Arc::new(self.store.definitions(generation.number).await?);
        let identities = Arc::new(self.store.identities(generation.number).await?);
        let head = Head { generation: generation.clone(), definitions, identities };
        *pipeline = Pipeline { head: Some(head), recent };
        if self.usable(&generation).await? {
            if !self.points_at(&generation) {
                tracing::warn!(
                    generation = generation.number.0,
                    "published again: the last process ended before it could"
                );
            }
            self.point(&mut pipeline, generation).await?;
        } else {
            self.republish(&mut pipeline, generation, now_unix_ms).await?;
        }
        self.prune(&mut pipeline).await
    }

    fn points_at(&self, generation: &Generation) -> bool {
        let current = Current { generation: generation.number.0, hash: generation.snapshot };
        generation.state != GenerationState::Compiled
            && self.publisher.pointer_on_disk() == Some(current.encode(&self.keys.signing))
    }

    /// The snapshot is gone or of another version: compile again. Equal bytes keep the number.
    async fn republish(
        &self,
        pipeline: &mut Pipeline,
        generation: Generation,
        now_unix_ms: u64,
    ) -> Result<(), AppError> {
        let head = pipeline.head.as_ref();
        let definitions = head.map(|head| Arc::clone(&head.definitions)).unwrap_or_default();
        let identities = head.map(|head| Arc::clone(&head.identities)).unwrap_or_default();
        let built = self.rebuild(definitions, identities, generation.number, now_unix_ms).await?;
        tracing::warn!(
            generation = generation.number.0,
            "its snapshot is gone or of another version: compiled again"
        );
        if built.hash == generation.snapshot {
            let publisher = Arc::clone(&self.publisher);
            blocking(move || publisher.keep(built.hash, &built.bytes))
                .await?
                .map_err(|source| AppError::Files { doing: "write the snapshot", source })?;
            self.point(pipeline, generation).await?;
            return Ok(());
        }
        let input = RollbackInput {
            to: None,
            author: "ringway".to_owned(),
            message: "compiled again at the start".to_owned(),
            if_match: None,
            pinned: generation.pinned,
            wait_ms: 0,
            now_unix_ms,
        };
        self.restore(pipeline, &generation, input, Instant::now()).await.map(drop)
    }
}
