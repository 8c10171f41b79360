//! Tells when the source may have changed and nobody is writing it any more: the system's notifications, and a look now
//! and then for what they do not tell of (a link further up the path, a network file system, a folder made anew).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Event;
use super::source::Source;

/// An editor writes, renames and syncs in one go: what comes within this time is one change.
const GATHER: Duration = Duration::from_millis(30);
/// Between two looks without notification; a change that only they find is taken once two of them agree.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Whoever writes a file is waited for until it is closed: the beginning of a configuration often is one too, without the
/// rest of its routes. Without a close, so long after the last write. Writers that the system does not tell of (on another host
/// of a network file system, without a watch) are not known: for them two looks agree, or do not.
const UNCLOSED_MAX: Duration = Duration::from_secs(10);

/// Watches the source for as long as `events` is read.
pub(super) fn start(source: &Source, events: mpsc::Sender<Event>) {
    let Some(path) = source.path() else { return };
    let path = path.to_owned();
    let (writers, mut known) = (source.writers().clone(), source.first_look().clone());
    // One place: however many notifications come, one is enough to look.
    let (noticed, mut notices) = mpsc::channel(1);
    let mut folders = Folders::new(&writers, &noticed);
    folders.follow(&path);
    tokio::spawn(async move {
        // Kept, so that the notices go on where there is no watcher.
        let _noticed = noticed;
        let (mut before, mut told) = (None, false);
        loop {
            tokio::select! {
                _ = notices.recv() => {
                    tokio::time::sleep(GATHER).await;
                    // What came while we gathered is part of this change.
                    notices.try_recv().ok();
                    told = true;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            folders.follow(&path);
            if writers.go_on() {
                continue;
            }
            let now = look(&path);
            let settled = before.as_ref() == Some(&now);
            if told || (settled && now != known) {
                told = false;
                known = now.clone();
                if events.send(Event::Changed).await.is_err() {
                    return;
                }
            }
            before = Some(now);
        }
    });
}

/// The folders that the source lies in, by name and by links, and who watches them.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    /// With device and inode: a folder that was made anew under its name is another.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    complained: bool,
}

impl Folders {
    fn new(writers: &Writers, noticed: &mpsc::Sender<()>) -> Self {
        let (writers, noticed) = (writers.clone(), noticed.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error means that notifications were lost: then something changed for sure.
            if event.map_or(true, |event| writers.take(&event)) {
                // Full means that it is noticed already.
                noticed.try_send(()).ok();
            }
        });
        let mut folders = Self { watcher: None, watched: BTreeMap::new(), complained: false };
        match watcher {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.complain(&error),
        }
        folders
    }

    /// Watches the folders as they are now.
    fn follow(&mut self, path: &Path) {
        let folder = |path: &Path| {
            if path.is_dir() { Some(path.to_owned()) } else { path.parent().map(Path::to_owned) }
        };
        let linked = fs::canonicalize(path).ok().and_then(|path| folder(&path));
        let wanted = [folder(path), linked].into_iter().flatten();
        let wanted: BTreeMap<_, _> = wanted
            .filter_map(|folder| {
                let metadata = fs::metadata(&folder).ok()?;
                Some((folder, (metadata.dev(), metadata.ino())))
            })
            .collect();
        if wanted == self.watched {
            return;
        }
        let mut failed = None;
        if let Some(watcher) = &mut self.watcher {
            for (folder, id) in &self.watched {
                if wanted.get(folder) != Some(id) {
                    // One that is gone is not watched any more.
                    watcher.unwatch(folder).ok();
                }
            }
            for (folder, id) in &wanted {
                if self.watched.get(folder) != Some(id) {
                    failed = failed.or(watcher.watch(folder, RecursiveMode::NonRecursive).err());
                }
            }
        }
        self.watched = wanted;
        if let Some(error) = failed {
            self.complain(&error);
        }
    }

    fn complain(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(
                %error,
                "the system does not tell of changes (fs.inotify.max_user_watches and max_user_instances bound that); \
                 the configuration is looked at every {} ms",
                LOOK_EVERY.as_millis()
            );
        }
    }
}

/// Who writes the source, as far as the system tells of it; shared by the watcher and whoever reads the source.
#[derive(Debug, Clone)]
pub(super) struct Writers(Arc<Mutex<Writing>>);

impl Writers {
    /// Of this file or folder.
    pub(super) fn new(source: &Path) -> Self {
        Self(Arc::new(Mutex::new(Writing::new(source))))
    }

    /// Takes a notification: `true` if the source is to be looked at.
    pub(super) fn take(&self, event: &notify::Event) -> bool {
        self.lock().take(event, Instant::now())
    }

    /// Whether somebody is still writing.
    pub(super) fn go_on(&self) -> bool {
        self.lock().goes_on(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody has begun to write and not closed yet, with the time of the last write.
#[derive(Debug)]
struct Writing {
    source: PathBuf,
    open: HashMap<PathBuf, Instant>,
}

impl Writing {
    fn new(source: &Path) -> Self {
        Self { source: source.to_owned(), open: HashMap::new() }
    }

    /// Takes a notification: `true` if the source is to be looked at.
    fn take(&mut self, event: &notify::Event, now: Instant) -> bool {
        let empty = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == 0);
        let (begins, ends) = match event.kind {
            // Opened with nothing in it; a link or a whole file that gets a name is not.
            EventKind::Create(CreateKind::File | CreateKind::Any) => (event.paths.iter().any(empty), false),
            EventKind::Modify(ModifyKind::Data(_)) => (true, false),
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => (false, true),
            EventKind::Access(_) => return false,
            // Whose mode or times change may be written on.
            _ => (false, false),
        };
        for path in &event.paths {
            if begins && self.is_part(path) {
                self.open.insert(path.clone(), now);
            } else if ends {
                self.open.remove(path);
            }
        }
        // Logs and stores may lie in the same folder. What is renamed may be a link to what is ours.
        let named = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)) | EventKind::Other);
        named || event.need_rescan() || event.paths.iter().any(|path| self.is_part(path))
    }

    fn is_part(&self, path: &Path) -> bool {
        if self.source.is_dir() {
            return super::documents::is_document(path);
        }
        let name = path.file_name();
        let linked = || fs::canonicalize(&self.source).ok().is_some_and(|linked| linked.file_name() == name);
        self.source.file_name() == name || linked()
    }

    /// Whether somebody is still writing.
    fn goes_on(&mut self, now: Instant) -> bool {
        self.open.retain(|_, last| now.saturating_duration_since(*last) < UNCLOSED_MAX);
        !self.open.is_empty()
    }
}

/// What tells a file from itself after a change, without reading it.
pub(super) type Look = Vec<(PathBuf, Option<[i64; 6]>)>;

/// The source's files as they are now.
pub(super) fn look(path: &Path) -> Look {
    let files = super::documents::files(path).unwrap_or_default();
    let state = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some([
            metadata.dev().cast_signed(),
            metadata.ino().cast_signed(),
            metadata.size().cast_signed(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime_nsec(),
        ])
    };
    files.into_iter().map(|file| (file.clone(), state(&file))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use notify::event::{DataChange, MetadataKind, RemoveKind, RenameMode};

    use super::*;

    fn event(kind: EventKind, path: &str) -> notify::Event {
        notify::Event::new(kind).add_path(PathBuf::from(path))
    }

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    // The clock goes as fast as the looks.
    #[tokio::test(start_paused = true)]
    async fn what_changes_between_the_first_read_and_the_watch_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yaml");
        fs::write(&path, "version: 1").unwrap();
        let source = Source::new(Some(&path), Ipv4Addr::LOCALHOST).unwrap();
        fs::write(&path, "version: 1 # changed").unwrap();
        let (sender, mut events) = mpsc::channel(1);
        start(&source, sender);
        let told = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        assert!(matches!(told, Ok(Some(Event::Changed))), "{told:?}");
    }

    #[test]
    fn what_is_written_is_waited_for_until_it_is_closed() {
        let (mut writing, began) = (Writing::new(Path::new("/etc/ringway/site.yaml")), Instant::now());
        assert!(writing.take(&event(WRITTEN, "/etc/ringway/site.yaml"), began));
        assert!(writing.goes_on(began + Duration::from_secs(9)));
        assert!(writing.take(&event(CLOSED, "/etc/ringway/site.yaml"), began));
        assert!(!writing.goes_on(began));
    }

    #[test]
    fn what_is_written_is_ended_by_a_close_a_name_or_a_removal_alone() {
        let (mut writing, now) = (Writing::new(Path::new("/etc/ringway/site.yaml")), Instant::now());
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for end in [CLOSED, renamed, EventKind::Remove(RemoveKind::File)] {
            writing.take(&event(WRITTEN, "/etc/ringway/site.yaml"), now);
            let touched = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
            assert!(writing.take(&event(touched, "/etc/ringway/site.yaml"), now) && writing.goes_on(now));
            assert!(writing.take(&event(end, "/etc/ringway/site.yaml"), now) && !writing.goes_on(now));
        }
    }

    #[test]
    fn a_file_that_is_never_closed_is_waited_for_as_long_as_it_is_written_and_a_little_longer() {
        let (mut writing, began) = (Writing::new(Path::new("/etc/ringway/site.yaml")), Instant::now());
        writing.take(&event(WRITTEN, "/etc/ringway/site.yaml"), began);
        let later = began + Duration::from_secs(8);
        writing.take(&event(WRITTEN, "/etc/ringway/site.yaml"), later);
        assert!(writing.goes_on(later + Duration::from_secs(9)));
        assert!(!writing.goes_on(later + UNCLOSED_MAX));
    }

    #[test]
    fn a_file_that_takes_the_name_is_there_at_once_and_other_files_are_none_of_ours() {
        let (mut writing, now) = (Writing::new(Path::new("/etc/ringway/site.yaml")), Instant::now());
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert!(writing.take(&event(renamed, "/etc/ringway/site.yaml"), now) && !writing.goes_on(now));
        assert!(!writing.take(&event(WRITTEN, "/etc/ringway/access.log"), now) && !writing.goes_on(now));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!writing.take(&event(opened, "/etc/ringway/site.yaml"), now));
        let touched = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert!(writing.take(&event(touched, "/etc/ringway/site.yaml"), now) && !writing.goes_on(now));
    }
}
