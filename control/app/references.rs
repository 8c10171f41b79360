//! Files that definitions refer to (certificates, keys, secrets): a change of one is applied as if the documents were applied again.
//!
//! The documents of the newest generation are remembered with the content that each file had. What changes while they are the
//! newest is compiled from them again; what cannot be (half of a pair was replaced, a file is no certificate) leaves everything
//! as it is, and `status` says so until it can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::apply::{Applied, ApplyInput, Outcome, When};
use super::{App, AppError, blocking};
use crate::config::{Document, Severity};
use crate::domain::GenerationNumber;
use crate::limits::{REFERENCES_BYTES_MAX, REFERENCES_GATHER_MS, REFERENCES_GATHER_MS_MAX};
use crate::outside::FilesRead;
use crate::state::write_whole;

/// What is followed, and what is wrong with it.
#[derive(Debug)]
pub(super) struct References {
    /// Where it is kept for the next start.
    path: PathBuf,
    followed: watch::Sender<Option<Arc<Followed>>>,
    /// What was tried last and failed, with what to say about it.
    failed: Mutex<Option<(FilesRead, String)>>,
}

/// The documents of a generation, and what the files that they refer to held.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    generation: GenerationNumber,
    documents: Vec<Document>,
    source: Option<String>,
    files: FilesRead,
}

/// The same on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    generation: GenerationNumber,
    documents: Vec<(String, String)>,
    source: Option<String>,
    files: FilesRead,
}

impl References {
    /// What the last process followed.
    pub(super) fn open(state: &Path) -> Self {
        let path = state.join("references.json");
        let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let followed = kept.map(|kept| {
            let document = |(name, text)| Document { name, text };
            let documents = kept.documents.into_iter().map(document).collect();
            Arc::new(Followed {
                generation: kept.generation,
                documents,
                source: kept.source,
                files: kept.files,
            })
        });
        Self { path, followed: watch::Sender::new(followed), failed: Mutex::default() }
    }

    /// Notes that these documents are what a generation says. Documents that refer to nothing are not followed.
    pub(super) fn note(&self, generation: GenerationNumber, input: &ApplyInput, files: FilesRead) {
        *self.failed() = None;
        let followed = (!files.is_empty()).then(|| {
            let (documents, source) = (input.documents.clone(), input.source.clone());
            Arc::new(Followed { generation, documents, source, files })
        });
        self.followed.send_if_modified(|now| {
            let other = *now != followed;
            *now = followed;
            other
        });
    }

    /// What `status` says, if files have changed and cannot be applied.
    pub(super) fn complaint(&self) -> Option<String> {
        self.failed().as_ref().map(|(_, words)| words.clone())
    }

    fn failed(&self) -> MutexGuard<'_, Option<(FilesRead, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self) {
        let kept = self.followed.borrow().as_ref().map(|followed| Kept {
            generation: followed.generation,
            documents: followed.documents.iter().map(|one| (one.name.clone(), one.text.clone())).collect(),
            source: followed.source.clone(),
            files: followed.files.clone(),
        });
        // Of documents that are larger than that, changes are followed until the daemon ends.
        let fits = |kept: &Kept| {
            kept.documents.iter().map(|(_, text)| text.len()).sum::<usize>() <= REFERENCES_BYTES_MAX
        };
        let done = match kept.filter(fits) {
            Some(kept) => serde_json::to_vec(&kept)
                .map_err(Into::into)
                .and_then(|text| write_whole(&self.path, 0o600, &text)),
            None => std::fs::remove_file(&self.path),
        };
        if let Err(error) = done
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            tracing::warn!(%error, "changes of files are followed until control ends, but not noticed at its next start");
        }
    }
}

impl App {
    /// Follows the files until `ending` says so.
    pub async fn follow_files(self: Arc<Self>, mut ending: watch::Receiver<bool>, now_unix_ms: fn() -> u64) {
        let (noticed, mut notices) = mpsc::channel(1);
        let mut followed = self.references.followed.subscribe();
        let mut watching: Option<(BTreeSet<PathBuf>, RecommendedWatcher)> = None;
        // What changed while nobody looked counts as well.
        noticed.try_send(()).ok();
        loop {
            let folders = folders(followed.borrow_and_update().as_deref());
            if watching.as_ref().is_none_or(|(watched, _)| *watched != folders) {
                watching = watch_all(&folders, noticed.clone()).map(|watcher| (folders, watcher));
            }
            let app = Arc::clone(&self);
            // A task that ends early leaves the file of before, which names an older generation and is not used.
            blocking(move || app.references.keep()).await.ok();
            tokio::select! {
                () = ended(&mut ending) => return,
                changed = followed.changed() => if changed.is_err() { return },
                _ = notices.recv() => {
                    gather(&mut notices).await;
                    self.refresh(now_unix_ms()).await;
                }
            }
        }
    }

    /// Applies the documents of the newest generation again, if files that they refer to have changed since.
    pub(super) async fn refresh(&self, now_unix_ms: u64) -> Option<Applied> {
        let followed = self.references.followed.borrow().clone()?;
        let paths: Vec<PathBuf> = followed.files.keys().cloned().collect();
        let now = blocking(move || FilesRead::of(&paths)).await.ok()?;
        if now == followed.files {
            *self.references.failed() = None;
            return None;
        }
        if self.references.failed().as_ref().is_some_and(|(tried, _)| *tried == now) {
            return None;
        }
        let changed = followed.files.changed(&now);
        let input = ApplyInput {
            documents: followed.documents.clone(),
            author: "ringway".to_owned(),
            message: format!("{} changed", changed.display()),
            source: followed.source.clone(),
            when: When::Always,
            // Whoever applied something else meanwhile has read the files as they are.
            if_match: Some(followed.generation.0),
            wait_ms: 0,
            now_unix_ms,
        };
        match self.apply(input).await {
            Ok(applied) => {
                if applied.outcome == Outcome::Applied {
                    tracing::info!(generation = applied.generation.number.0, file = %changed.display(), "a changed file was applied");
                }
                Some(applied)
            }
            Err(AppError::LostRace { .. }) => None,
            Err(error) => {
                let words = words(&changed, &error);
                tracing::error!(
                    error = words,
                    hint = error.hint(),
                    "a changed file is not applied; what was served goes on"
                );
                *self.references.failed() = Some((now, words));
                None
            }
        }
    }
}

async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end too.
    ending.wait_for(|ending| *ending).await.ok();
}

/// What changed, and what is wrong with it, on one line.
fn words(changed: &Path, error: &AppError) -> String {
    let what = match error {
        AppError::Invalid(diagnostics) => {
            let first = diagnostics.entries().iter().find(|entry| entry.severity == Severity::Error);
            let label = first.and_then(|entry| entry.labels.first()).map(|label| label.text.as_str());
            let label =
                label.filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default();
            first.map(|entry| format!("{}{label}", entry.message)).unwrap_or_default()
        }
        other => other.to_string(),
    };
    format!("{} has changed and is not applied: {what}", changed.display())
}

fn folders(followed: Option<&Followed>) -> BTreeSet<PathBuf> {
    let files = followed.into_iter().flat_map(|followed| followed.files.keys());
    files.filter_map(|path| path.parent().map(Path::to_owned)).collect()
}

fn watch_all(folders: &BTreeSet<PathBuf>, noticed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    if folders.is_empty() {
        return None;
    }
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that notifications were lost: then something changed for sure.
        if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
            // Full means that it is noticed already.
            noticed.try_send(()).ok();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "changes of files that the configuration refers to are not noticed");
            return None;
        }
    };
    for folder in folders {
        // The folder, not the file: whoever replaces a file by renaming leaves the old one watched.
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, folder = %folder.display(), "changes of files in it are not noticed");
        }
    }
    Some(watcher)
}

/// Waits until it is quiet for a moment, but not for ever: certificate and key are two files.
async fn gather(notices: &mut mpsc::Receiver<()>) {
    let until = tokio::time::Instant::now() + Duration::from_millis(REFERENCES_GATHER_MS_MAX);
    let quiet = Duration::from_millis(REFERENCES_GATHER_MS);
    while tokio::time::Instant::now() < until
        && matches!(tokio::time::timeout(quiet, notices.recv()).await, Ok(Some(())))
    {}
}

/// Contents by path, for comparison.
impl FilesRead {
    /// The first path whose content is another there.
    fn changed(&self, now: &Self) -> PathBuf {
        let other = |(path, content): &(&PathBuf, &Option<String>)| now.0.get(*path) != Some(*content);
        self.0.iter().find(other).map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// What these files hold now.
    fn of(paths: &[PathBuf]) -> Self {
        let read = |path: &PathBuf| (path.clone(), crate::outside::digest_of_file(path));
        Self(paths.iter().map(read).collect::<BTreeMap<_, _>>())
    }
}
