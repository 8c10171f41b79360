//! A configuration on disk: one file, or a directory of `*.yaml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::api::views::DocumentView;
use crate::config::Document;

/// Reads a file, or all `*.yaml` and `*.yml` directly in a directory, sorted by name. Names of the documents are
/// absolute, so that references in them mean the same to the control daemon.
pub(crate) fn read(path: &Path) -> Result<Vec<Document>, Failure> {
    let failed = |path: &Path, source| Failure::File { path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
    let metadata = fs::metadata(&path).map_err(|source| failed(&path, source))?;
    let mut files = if metadata.is_dir() {
        let entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|source| failed(&path, source))?;
        entries.into_iter().map(|entry| entry.path()).filter(|path| is_document(path)).collect()
    } else {
        vec![path.clone()]
    };
    if files.is_empty() {
        return Err(Failure::Usage(format!("there is no *.yaml in {}", path.display())));
    }
    files.sort();
    let document = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(|source| failed(&file, source))?;
        Ok(Document { name: file.display().to_string(), text })
    };
    files.into_iter().map(document).collect()
}

/// Editors leave `.x.yaml.swp` and `#x.yaml#` beside what they edit.
pub(crate) fn is_document(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '#']));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml"))
}

/// For the API.
pub(crate) fn views(documents: Vec<Document>) -> Vec<DocumentView> {
    let view = |document: Document| DocumentView { name: document.name, text: document.text };
    documents.into_iter().map(view).collect()
}

/// How a file or directory is named as a source: its absolute path.
pub(crate) fn source(path: &Path) -> String {
    let absolute = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    absolute.unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// `user@host` of whoever runs the command, for the history.
pub(crate) fn author() -> String {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) => format!("{user}@{}", host.trim()),
        Err(_) => user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_documents_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".a.yaml.swp", ".hidden.yaml", "notes.txt"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let texts: Vec<_> = read(folder.path()).unwrap().into_iter().map(|document| document.text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn a_directory_without_documents_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(Failure::Usage(_))));
        assert!(matches!(read(&folder.path().join("none.yaml")), Err(Failure::File { .. })));
    }
}
