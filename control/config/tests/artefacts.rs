//! Files in the tree that are printed from the key table, or that must compile.

use std::path::{Path, PathBuf};

use super::{World, document};
use crate::config::{Colour, QUICKSTART, compile, explain, json_schema, reference, render_text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a file with what is printed; `UPDATE_REFERENCE=1` writes it.
fn printed(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let stands = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stands == text, "{path} differs from the key table: run the tests with UPDATE_REFERENCE=1");
}

#[test]
fn the_reference_is_printed_from_the_table() {
    printed("docs/reference/config.md", &reference());
}

#[test]
fn the_json_schema_is_printed_from_the_table() {
    let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    printed("config/schema.json", &text);
}

#[test]
fn the_quick_start_and_the_example_compile_without_a_warning() {
    let example = std::fs::read_to_string(root().join("config/ringway.yaml")).unwrap();
    for text in [QUICKSTART, &example] {
        let compiled =
            World::new(&[]).with(|environment| compile(vec![document("ringway.yaml", text)], environment));
        let said = match &compiled {
            Ok(compiled) => render_text(&compiled.warnings, Colour::Never),
            Err(diagnostics) => render_text(diagnostics, Colour::Never),
        };
        assert_eq!(said, "");
    }
}

#[test]
fn every_example_and_default_of_the_table_is_taken_by_its_own_key() {
    use crate::config::key::{Fallback, Schema, Stage};
    use crate::config::scalar::Scalar;
    let schema = Schema::table();
    for row in schema.rows().filter(|row| row.stage == Stage::Now) {
        let Some(kind) = row.form.scalar.filter(|kind| !matches!(kind, Scalar::Reference(_))) else {
            continue;
        };
        let mut texts = vec![row.example];
        if let Fallback::Value(text) = row.fallback {
            texts.push(text);
        }
        for text in texts.into_iter().filter(|text| !text.is_empty() && !text.starts_with(['{', '['])) {
            let quoted = text.starts_with('"');
            let read = kind.read(text.trim_matches('"'), quoted);
            assert!(read.is_ok(), "{}: {text}: {read:?}", row.path);
        }
    }
}

#[test]
fn a_key_is_explained_by_its_written_path() {
    let rate = explain("limits.per_application.rate").unwrap();
    assert!(rate.starts_with("limits.*.rate\n"), "{rate}");
    let route = explain("hosts.\"api.example.com\"./orders/v2/*.rewrite.prefix").unwrap();
    assert!(route.starts_with("hosts.*.*.rewrite.prefix\n"), "{route}");
    assert!(explain("upstreams.orders.timeout.request").unwrap().contains("default: `15s`"));
    assert!(explain("chains.x[0].limit").is_ok());
    assert!(explain("upstream.*.endpoints").unwrap_err().contains("did you mean `upstreams.*.endpoints`?"));
}
