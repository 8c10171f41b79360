//! The one place where a generation comes to be: snapshot to disk, commit, pointer, in this order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ringway_snapshot::builder::{self, BuildOptions};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::header::Header;
use ringway_snapshot::model::Model;
use tokio::time::Instant;

use super::{App, AppError, Head, blocking};
use crate::config::Definitions;
use crate::domain::{AuditVerb, Generation, GenerationNumber, GenerationState, Identities};
use crate::keys::Keys;
use crate::limits::{LIVE_WAIT_MS_MAX, SNAPSHOT_FILES_KEPT};
use crate::publish::LiveReport;
use crate::store::{Appended, changes_between};

/// What the pipeline knows between two changes; whoever holds its lock may make the next one.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub(super) head: Option<Head>,
    /// Snapshots of the newest generations, newest first; older files are pruned.
    pub(super) recent: VecDeque<ContentHash>,
}

impl Pipeline {
    /// Number of the newest generation, 0 for none.
    pub(super) fn newest(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.generation.number.0)
    }

    /// Whether the caller built on the newest generation.
    pub(super) fn expect(&self, if_match: Option<u64>) -> Result<(), AppError> {
        match if_match {
            Some(expected) if expected != self.newest() => {
                Err(AppError::LostRace { expected, newest: self.newest() })
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, hash: ContentHash) {
        self.recent.retain(|other| *other != hash);
        self.recent.push_front(hash);
    }
}

/// A snapshot in memory.
pub(super) struct Built {
    pub(super) bytes: Vec<u8>,
    pub(super) hash: ContentHash,
    pub(super) routes: u64,
}

/// Builds the snapshot of a model. Computes for as long as it takes.
pub(super) fn build(
    model: &Model,
    number: GenerationNumber,
    parent_hash: ContentHash,
    keys: &Keys,
) -> Result<Built, AppError> {
    let options = BuildOptions { generation: number.0, parent_hash, signing: &keys.signing };
    let bytes = builder::build(model, &options).map_err(|error| AppError::Build(Box::new(error)))?;
    let header = Header::read(&bytes).map_err(|error| AppError::Build(Box::new(error)))?;
    let routes = model.hosts.iter().map(|host| host.routes.len() as u64).sum();
    Ok(Built { hash: header.hash, bytes, routes })
}

/// A generation that is about to be.
pub(super) struct Candidate {
    pub(super) definitions: Arc<Definitions>,
    pub(super) identities: Arc<Identities>,
    pub(super) hash: ContentHash,
    /// Without when the file is on disk already.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) snapshot_bytes: u64,
    pub(super) routes: u64,
    pub(super) restores: Option<GenerationNumber>,
    pub(super) pinned: bool,
    pub(super) author: String,
    pub(super) message: String,
    pub(super) source: Option<(String, ContentHash)>,
    pub(super) verb: AuditVerb,
    pub(super) compile_ms: u64,
    pub(super) now_unix_ms: u64,
}

/// A published generation, and whom to wait for.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) generation: Generation,
    pub(super) asked: Vec<String>,
    pub(super) since: Instant,
}

impl App {
    /// Brings a candidate to disk, commits it, and points `current` at it. The caller holds the pipeline.
    pub(super) async fn publish(
        &self,
        pipeline: &mut Pipeline,
        candidate: Candidate,
    ) -> Result<InFlight, AppError> {
        let parent = pipeline.head.as_ref();
        let empty = Definitions::default();
        let before = parent.map_or(&empty, |head| &*head.definitions);
        let changes = changes_between(before, &candidate.definitions);
        let new = |digest| !before.materials.contains_key(digest);
        let materials = &candidate.definitions.materials;
        let materials = materials.iter().filter(|(digest, _)| new(*digest));
        let materials = materials.map(|(digest, material)| (*digest, material.clone())).collect();
        let known = parent.map(|head| Arc::clone(&head.identities)).unwrap_or_default();
        let identities = known.changes(&candidate.identities);
        let parent = parent.map(|head| head.generation.number);
        let generation = Generation {
            number: parent.map_or(GenerationNumber::FIRST, GenerationNumber::next),
            parent,
            restores: candidate.restores,
            snapshot: candidate.hash,
            snapshot_bytes: candidate.snapshot_bytes,
            root: ContentHash(candidate.definitions.root_hash().0),
            changes: changes.len() as u64,
            routes: candidate.routes,
            author: candidate.author,
            message: candidate.message,
            source: candidate.source.as_ref().map(|(source, _)| source.clone()),
            created_unix_ms: candidate.now_unix_ms,
            compile_ms: candidate.compile_ms,
            state: GenerationState::Compiled,
            pinned: candidate.pinned,
        };
        let mut written = false;
        if let Some(bytes) = candidate.bytes {
            let publisher = Arc::clone(&self.publisher);
            written = blocking(move || publisher.keep(candidate.hash, &bytes))
                .await?
                .map_err(|source| AppError::Files { doing: "write the snapshot", source })?;
        }
        let Candidate { source, verb, .. } = candidate;
        let appended = Appended { generation, changes, materials, identities, source, verb };
        let committed = match self.store.append(appended).await {
            Ok(committed) => committed,
            Err(error) => {
                // A gateway without pointer may take the newest that lies there, and this is none. Were it committed all
                // the same, the next start would compile it again.
                if written {
                    let path = self.publisher.path(candidate.hash);
                    blocking(move || std::fs::remove_file(path).ok()).await?;
                }
                return Err(error.into());
            }
        };
        let generation = committed.generation().clone();
        pipeline.head = Some(Head {
            generation: generation.clone(),
            definitions: candidate.definitions,
            identities: candidate.identities,
        });
        self.point(pipeline, generation).await
    }

    /// Points `current` at a committed generation, tells the nodes, and prunes.
    pub(super) async fn point(
        &self,
        pipeline: &mut Pipeline,
        generation: Generation,
    ) -> Result<InFlight, AppError> {
        let asked = self.nodes.connected();
        let since = Instant::now();
        let (publisher, keys) = (Arc::clone(&self.publisher), Arc::clone(&self.keys));
        let pointed = generation.clone();
        blocking(move || publisher.point(&pointed, &keys.signing))
            .await?
            .map_err(|source| AppError::Files { doing: "point at the snapshot", source })?;
        self.words.state(generation.number, GenerationState::Published);
        pipeline.remember(generation.snapshot);
        // Pruning lists the folder: done in batches, so that it costs little per generation.
        if pipeline.recent.len() >= 2 * SNAPSHOT_FILES_KEPT {
            self.prune(pipeline).await?;
        }
        Ok(InFlight { generation, asked, since })
    }

    /// Removes snapshots but for the newest and the pinned ones.
    pub(super) async fn prune(&self, pipeline: &mut Pipeline) -> Result<(), AppError> {
        pipeline.recent.truncate(SNAPSHOT_FILES_KEPT);
        let mut kept: HashSet<ContentHash> = pipeline.recent.iter().copied().collect();
        kept.extend(self.store.pinned_snapshots().await?);
        let publisher = Arc::clone(&self.publisher);
        if let Err(error) = blocking(move || publisher.prune(&kept)).await? {
            tracing::warn!(%error, "old snapshots cannot be pruned");
        }
        Ok(())
    }

    /// Waits for the nodes' words on a published generation. The pipeline is free meanwhile.
    pub(super) async fn live(&self, in_flight: &InFlight, wait_ms: u64) -> (LiveReport, u64) {
        let at_most = Duration::from_millis(wait_ms.min(LIVE_WAIT_MS_MAX));
        let report = self.nodes.wait(&in_flight.asked, in_flight.generation.number, at_most).await;
        let ms = u64::try_from(in_flight.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        (report, ms)
    }
}
