//! Test support: compares a page that a table prints with the one that is checked in.

use std::path::Path;

/// Fails when `docs/reference/<name>` differs from `printed`; `UPDATE_REFERENCE=1` rewrites it instead.
pub(crate) fn check(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, printed).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == printed, "{} is out of date: run the tests with UPDATE_REFERENCE=1", path.display());
}
