//! Snapshot files: given to nodes, made good where the disk has damaged them, and pinned.

use std::sync::Arc;

use ringway_snapshot::current::ContentHash;
use ringway_snapshot::keys::Trust;
use ringway_snapshot::reader::{AlignedBytes, Snapshot};

use super::{App, AppError, blocking};
use crate::domain::{Generation, GenerationNumber};
use crate::limits::PINS_MAX;
use crate::store::Pin;

/// What becomes of a generation's pin, and who asks.
#[derive(Debug, Clone)]
pub struct PinInput {
    /// Which generation.
    pub number: GenerationNumber,
    /// Kept from now on, or let go of.
    pub pin: Pin,
    /// Who asks.
    pub author: String,
    /// Now.
    pub now_unix_ms: u64,
}

impl App {
    /// The file of a snapshot, whole: one that is gone or damaged is compiled again from the store.
    ///
    /// # Errors
    /// [`AppError::NotFound`] where no generation has it or it comes out different today; what failed.
    pub async fn snapshot(&self, hash: ContentHash, now_unix_ms: u64) -> Result<Vec<u8>, AppError> {
        if let Some(bytes) = self.whole(hash).await? {
            return Ok(bytes);
        }
        // One at a time: compiling a million routes for each node that asks would be the end of control.
        let _mending = self.mending.lock().await;
        if let Some(bytes) = self.whole(hash).await? {
            return Ok(bytes);
        }
        let gone = || AppError::NotFound("no such snapshot is kept".to_owned());
        let generation = self.store.generation_of(hash).await?.ok_or_else(gone)?;
        let definitions = Arc::new(self.store.definitions(generation.number).await?);
        let identities = Arc::new(self.store.identities(generation.number).await?);
        let built = self.rebuild(definitions, identities, generation.number, now_unix_ms).await?;
        if built.hash != hash {
            return Err(gone());
        }
        tracing::warn!(generation = generation.number.0, "its snapshot is gone or damaged: compiled again");
        let (publisher, bytes) = (Arc::clone(&self.publisher), built.bytes.clone());
        let written = blocking(move || publisher.replace(hash, &bytes)).await?;
        written.map_err(|source| AppError::Files { doing: "write the snapshot", source })?;
        Ok(built.bytes)
    }

    /// The file of a snapshot, if it is there and is what its name says.
    async fn whole(&self, hash: ContentHash) -> Result<Option<Vec<u8>>, AppError> {
        let (path, keys) = (self.publisher.path(hash), Arc::clone(&self.keys));
        blocking(move || std::fs::read(path).ok().filter(|bytes| is_whole(bytes, hash, &keys.trust))).await
    }

    /// Keeps a generation's snapshot from being pruned, or lets it go.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Malformed`] beyond [`PINS_MAX`] pins; its snapshot is gone and comes out
    /// different today.
    pub async fn pin(&self, input: PinInput) -> Result<Generation, AppError> {
        let PinInput { number, pin, author, now_unix_ms } = input;
        // Whoever prunes holds it, too.
        let mut pipeline = self.pipeline.lock().await;
        let generation = self.store.generation(number).await?;
        if pin == Pin::Keep && !generation.pinned {
            if self.store.pinned_snapshots().await?.len() >= PINS_MAX {
                return Err(AppError::Malformed(format!(
                    "{PINS_MAX} generations are pinned already: release one"
                )));
            }
            self.snapshot(generation.snapshot, now_unix_ms).await?;
        }
        self.store.pin(number, pin, &author, now_unix_ms).await?;
        if let Some(head) = pipeline.head.as_mut().filter(|head| head.generation.number == number) {
            head.generation.pinned = pin == Pin::Keep;
        }
        Ok(self.store.generation(number).await?)
    }
}

fn is_whole(bytes: &[u8], hash: ContentHash, trust: &Trust) -> bool {
    Snapshot::open(AlignedBytes::copy(bytes), trust).is_ok_and(|snapshot| snapshot.header().hash == hash)
}
