//! What `up` serves: a file, a directory, or the quick start that is in the binary.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::documents;
use super::super::failure::Failure;
use super::watch::{self, Look, Writers};
use crate::config::{Document, QUICKSTART};
use crate::echo;

/// How it is named as a source.
const QUICK_START_NAME: &str = "the quick start";
/// What to do where one of its ports is another program's.
const TAKEN: &str = "another program has the port: choose another loopback address, as in `ringway up --address 127.0.0.2`, \
     or serve a file of your own";

/// Where the documents come from.
#[derive(Debug)]
pub(super) struct Source {
    path: Option<PathBuf>,
    /// Where the quick start listens.
    address: Ipv4Addr,
    /// What was read last; mistakes in reading are no content.
    seen: Option<Vec<Document>>,
    /// Why it could not be read, as that was said.
    unreadable: Option<String>,
    writers: Writers,
    first_look: Look,
}

impl Source {
    /// A file or directory, or the quick start at this address without.
    pub(super) fn new(path: Option<&Path>, address: Ipv4Addr) -> Result<Self, Failure> {
        if !address.is_loopback() {
            return Err(Failure::Usage(format!(
                "--address takes a loopback address: the quick start is for trying out, and {address} is open to others"
            )));
        }
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|source| Failure::File { path: path.to_owned(), source })
        };
        let path = path.map(absolute).transpose()?;
        let writers = Writers::new(path.as_deref().unwrap_or_else(|| Path::new("")));
        // Before the first read: what changes from here on is told.
        let first_look = path.as_deref().map(watch::look).unwrap_or_default();
        let mut source = Self { path, address, seen: None, unreadable: None, writers, first_look };
        source.seen = source.read().ok();
        Ok(source)
    }

    /// Its name in the history and in `status`.
    pub(super) fn name(&self) -> String {
        self.path.as_deref().map_or_else(|| QUICK_START_NAME.to_owned(), documents::source)
    }

    /// What to try, where that is known.
    pub(super) fn hint(&self) -> Option<String> {
        self.path.is_none().then(|| format!("try      curl -i http://{}:8080/hello", self.address))
    }

    /// What makes a change live.
    pub(super) const fn follows(&self) -> &'static str {
        match self.path {
            Some(_) => "it reloads when that changes",
            None => "`ringway apply FILE` brings a file of yours live",
        }
    }

    /// The file or directory; the quick start has none.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Who writes the file or directory.
    pub(super) const fn writers(&self) -> &Writers {
        &self.writers
    }

    /// The files as they were before they were read for the first time.
    pub(super) const fn first_look(&self) -> &Look {
        &self.first_look
    }

    /// The documents as they are now.
    pub(super) fn read(&self) -> Result<Vec<Document>, Failure> {
        match &self.path {
            Some(path) => documents::read(path),
            None => {
                let text = QUICKSTART.replace(&echo::ADDRESS.ip().to_string(), &self.address.to_string());
                Ok(vec![Document { name: "quickstart.yaml".to_owned(), text }])
            }
        }
    }

    /// The documents as they were when they were last found whole.
    pub(super) fn seen(&self) -> Option<Vec<Document>> {
        self.seen.clone()
    }

    /// Reads the documents as they are now, whatever they were.
    pub(super) fn read_anew(&mut self) -> Result<Vec<Document>, Failure> {
        let documents = self.read()?;
        self.seen = Some(documents.clone());
        Ok(documents)
    }

    /// Whether the documents are others than when this was asked last. A file that is away for a moment, while it
    /// is being replaced, is no change, and neither is one that is being written: its writer is heard of again.
    ///
    /// # Errors
    /// It is there and cannot be read; said once for each reason.
    pub(super) fn changed(&mut self) -> Result<bool, Failure> {
        let Some(path) = &self.path else { return Ok(false) };
        let before = watch::look(path);
        let now = self.read();
        // Asked behind the read: by then the system has told who began before it, also since the watcher told us.
        if watch::look(path) != before || self.writers.go_on() {
            return Ok(false);
        }
        match now {
            Ok(now) => {
                self.unreadable = None;
                let changed = self.seen.as_ref() != Some(&now);
                self.seen = Some(now);
                Ok(changed)
            }
            Err(Failure::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(failure) => {
                let reason = Some(crate::api::chain(&failure));
                if self.unreadable == reason {
                    return Ok(false);
                }
                self.unreadable = reason;
                Err(failure)
            }
        }
    }

    /// Starts the quick start's upstream; it ends with the handle's process.
    pub(super) async fn start_upstream(&self) -> Result<Option<JoinHandle<()>>, Failure> {
        if self.path.is_some() {
            return Ok(None);
        }
        let address = SocketAddr::new(self.address.into(), echo::ADDRESS.port());
        let listener = TcpListener::bind(address).await.map_err(|source| Failure::Daemon {
            what: format!("cannot start the quick start's echo service on {address}"),
            source: Box::new(source),
            hint: Some(TAKEN.to_owned()),
        })?;
        Ok(Some(tokio::spawn(async move {
            if let Err(error) = echo::serve(listener).await {
                tracing::error!(%error, "the echo service ended");
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::event::{AccessKind, AccessMode, DataChange, EventKind, ModifyKind};

    use super::*;

    #[test]
    fn a_replaced_file_is_a_change_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yaml");
        fs::write(&path, "version: 1").unwrap();
        let mut source = Source::new(Some(&path), Ipv4Addr::LOCALHOST).unwrap();
        assert!(!source.changed().unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!source.changed().unwrap());
        fs::write(folder.path().join("new"), "version: 1 # changed").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(source.changed().unwrap());
        assert!(!source.changed().unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_said_once_and_is_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yaml");
        fs::write(&path, "version: 1").unwrap();
        let mut source = Source::new(Some(&path), Ipv4Addr::LOCALHOST).unwrap();
        fs::write(&path, b"version: 1 # caf\xe9").unwrap();
        assert!(source.changed().is_err());
        assert!(!source.changed().unwrap());
        assert_eq!(source.seen().unwrap()[0].text, "version: 1");
        fs::write(&path, "version: 1 # mended").unwrap();
        assert!(source.changed().unwrap());
    }

    #[test]
    fn a_file_that_is_written_on_since_its_change_was_told_is_no_change_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yaml");
        fs::write(&path, "version: 1").unwrap();
        let mut source = Source::new(Some(&path), Ipv4Addr::LOCALHOST).unwrap();
        fs::write(&path, "version: 1 # hal").unwrap();
        let event = |kind| notify::Event::new(kind).add_path(path.clone());
        source.writers().take(&event(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(!source.changed().unwrap());
        assert_eq!(source.seen().unwrap()[0].text, "version: 1");
        source.writers().take(&event(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(source.changed().unwrap());
    }

    #[test]
    fn the_quick_start_moves_as_a_whole_and_to_loopback_only() {
        let text = Source::new(None, Ipv4Addr::new(127, 0, 0, 2)).unwrap().read().unwrap().remove(0).text;
        assert_eq!((text.contains("127.0.0.1"), text.contains("127.0.0.2:9090")), (false, true));
        assert!(Source::new(None, Ipv4Addr::UNSPECIFIED).is_err());
    }

    #[test]
    fn the_quick_start_compiles_and_names_the_echo_service() {
        let outside = crate::outside::Outside::ephemeral().unwrap();
        let documents = Source::new(None, Ipv4Addr::LOCALHOST).unwrap().read().unwrap();
        let compiled = outside.with(0, |environment| crate::config::compile(documents, environment)).unwrap();
        let compiled = compiled.unwrap();
        assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
        let endpoint = &compiled.model.upstreams[0].endpoints[0].address;
        assert_eq!(*endpoint, ringway_snapshot::model::EndpointAddress::Socket(echo::ADDRESS));
    }
}
