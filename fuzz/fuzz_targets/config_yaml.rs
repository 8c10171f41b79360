//! A configuration: whatever the text, the compiler says what is wrong or gives a model; what it accepts, it exports
//! as a text that reads as the same definitions.
#![no_main]

// The compiler is taken from control's files rather than from its crate, which brings a runtime and a database along.
#[path = "../../control"]
#[allow(dead_code, unused_imports, reason = "not all of it is fuzzed")]
mod control {
    pub mod compile;
    pub mod config;
}

use std::path::Path;

use control::config::{CompileEnvironment, Document, export, render_json};
pub(crate) use control::{compile, config};
use libfuzzer_sys::fuzz_target;
use ringway_snapshot::keys::Pepper;
use ringway_snapshot::seal::SealKey;

fn with<T>(run: impl FnOnce(&CompileEnvironment<'_>) -> T) -> Option<T> {
    let seal_key = SealKey::from_bytes([7; 32])?;
    let pepper = Pepper::of(&seal_key)?;
    Some(run(&CompileEnvironment {
        read_file: &|_: &Path| Ok(b"rw_live_ab12cd34ef56gh78ij90klmn".to_vec()),
        read_variable: &|_| Some("rw_live_ab12cd34ef56gh78ij90klmo".to_owned()),
        seal_key: &seal_key,
        pepper: &pepper,
        self_signed: &|_| Err("not here".to_owned()),
        now_unix_ms: 1_793_491_200_000,
    }))
}

fn document(text: String) -> Vec<Document> {
    vec![Document { name: "ringway.yaml".to_owned(), text }]
}

fuzz_target!(|text: &str| {
    with(|environment| match config::compile(document(text.to_owned()), environment) {
        Err(diagnostics) => {
            assert!(!diagnostics.to_string().is_empty());
            assert!(render_json(&diagnostics).is_array());
        }
        Ok(compiled) => {
            let exported = export(&compiled.definitions);
            let again = config::parse(document(exported.clone()), environment);
            let (definitions, _) = again.unwrap_or_else(|said| panic!("{said}\n{exported}"));
            assert!(definitions == compiled.definitions, "{exported}");
            let stored = compile::from_definitions(&definitions, environment);
            let (model, _, _) = stored.unwrap_or_else(|said| panic!("{said}"));
            assert!(model == compiled.model);
        }
    });
});
