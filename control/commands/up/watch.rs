//! Tells when the source may have changed: the system's notifications, gathered for an instant.

use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::super::failure::Failure;
use super::source::Source;
use super::{Event, failed};

/// An editor writes, renames and syncs in one go: what comes within this time is one change.
const GATHER: Duration = Duration::from_millis(30);

/// Watches the folder of the source until it is dropped.
pub(super) fn start(
    source: &Source,
    events: mpsc::Sender<Event>,
) -> Result<Option<RecommendedWatcher>, Failure> {
    let Some(folder) = source.folder() else { return Ok(None) };
    // One place: however many notifications come, one is enough to look.
    let (noticed, mut notices) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that notifications were lost: then something changed for sure.
        if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
            // Full means that it is noticed already.
            noticed.try_send(()).ok();
        }
    })
    .map_err(|source| failed("cannot watch for changes", source))?;
    watcher
        .watch(&folder, RecursiveMode::NonRecursive)
        .map_err(|source| failed(&format!("cannot watch {}", folder.display()), source))?;
    tokio::spawn(async move {
        while notices.recv().await.is_some() {
            tokio::time::sleep(GATHER).await;
            // What came while we gathered is part of this change.
            notices.try_recv().ok();
            if events.send(Event::Changed).await.is_err() {
                return;
            }
        }
    });
    Ok(Some(watcher))
}
