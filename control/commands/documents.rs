//! A configuration on disk: one file, or a directory of `*.yaml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use crate::api::views::DocumentView;
use crate::config::{
    Class, Colour, Diagnostic, Diagnostics, Document, Sources, Span, render_json, render_text,
};

/// Reads a file, or all `*.yaml` and `*.yml` directly in a directory, sorted by name. Names of the documents are
/// absolute, so that references in them mean the same to the control daemon.
pub(crate) fn read(path: &Path) -> Result<Vec<Document>, Failure> {
    let files = files(path)?;
    if files.is_empty() {
        return Err(Failure::Usage(format!("there is no *.yaml in {}", path.display())));
    }
    let document = |file: PathBuf| {
        let bytes = fs::read(&file).map_err(|source| Failure::File { path: file.clone(), source })?;
        let name = file.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Document { name, text }),
            Err(error) => Err(not_utf8(name, &error)),
        }
    };
    files.into_iter().map(document).collect()
}

/// The files that [`read`] reads, by absolute paths.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path, source| Failure::File { path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
    let metadata = fs::metadata(&path).map_err(|source| failed(&path, source))?;
    if !metadata.is_dir() {
        return Ok(vec![path]);
    }
    let entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| failed(&path, source))?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| is_document(path)).collect();
    files.sort();
    Ok(files)
}

/// A mistake with its place, as those in what the text says.
fn not_utf8(name: String, error: &std::string::FromUtf8Error) -> Failure {
    let bytes = error.as_bytes();
    let valid = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let start = u32::try_from(String::from_utf8_lossy(valid).chars().count()).unwrap_or(u32::MAX);
    let span = Span { document: 0, start, end: start.saturating_add(1) };
    let hint = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: save it as UTF-8",
        _ => "save it as UTF-8, as `iconv -f latin1 -t utf-8` does for a text in Latin-1",
    };
    let mistake = Diagnostic::error(Class::Syntax, span, "the document is not UTF-8").hint(hint);
    let document = Document { name, text: String::from_utf8_lossy(bytes).into_owned() };
    let mistakes = Diagnostics::new(vec![mistake], Arc::new(Sources::new(vec![document])));
    let (rendered, diagnostics) = (render_text(&mistakes, Colour::Never), render_json(&mistakes));
    Failure::Invalid { rendered, diagnostics }
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
