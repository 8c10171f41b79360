//! What the tests of the configuration share: an environment without files, variables or a clock.

mod artefacts;
mod diagnostics;
mod differences;
mod laws;
mod meaning;
mod model;
mod size;

use std::collections::HashMap;
use std::path::Path;

use ringway_snapshot::keys::Pepper;
use ringway_snapshot::seal::SealKey;

use super::*;

/// 1 November 2026.
pub(super) const NOW_UNIX_MS: u64 = 1_793_491_200_000;

type ReadFile = dyn Fn(&Path) -> Result<Vec<u8>, String>;

/// Keys and files that a test refers to.
pub(super) struct World {
    seal_key: SealKey,
    pepper: Pepper,
    files: HashMap<String, Vec<u8>>,
    read_file: Box<ReadFile>,
}

impl World {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let seal_key = SealKey::from_bytes([7; 32]).unwrap();
        let pepper = Pepper::of(&seal_key).unwrap();
        let files: HashMap<String, Vec<u8>> =
            files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let known = files.clone();
        let read_file = Box::new(move |path: &Path| {
            known.get(&path.display().to_string()).cloned().ok_or_else(|| "no such file".to_owned())
        });
        Self { seal_key, pepper, files, read_file }
    }

    pub(super) fn with<T>(&self, run: impl FnOnce(&CompileEnvironment<'_>) -> T) -> T {
        assert!(self.files.len() < 100);
        run(&CompileEnvironment {
            read_file: &*self.read_file,
            read_variable: &|name| {
                (name == "ACME_KEY").then(|| "rw_live_ab12cd34ef56gh78ij90klmn".to_owned())
            },
            seal_key: &self.seal_key,
            pepper: &self.pepper,
            self_signed: &self_signed,
            now_unix_ms: NOW_UNIX_MS,
        })
    }
}

/// A fixed key, so that only the serial number differs between calls.
fn self_signed(names: &[String]) -> Result<SelfSigned, String> {
    let (certificate, key) =
        certificate(names.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), 2036);
    Ok(SelfSigned { certificate: certificate.der().to_vec(), key: key.serialize_der() })
}

/// A certificate for names, valid from 2025 to a year.
pub(super) fn certificate(names: &[&str], until: i32) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap(), key)
}

pub(super) fn document(name: &str, text: &str) -> Document {
    Document { name: name.to_owned(), text: text.to_owned() }
}

/// Compiles one document without files.
pub(super) fn compile_text(text: &str) -> Result<Compiled, Diagnostics> {
    World::new(&[("keys/acme", "rw_live_ab12cd34ef56gh78ij90klmn\n")])
        .with(|environment| compile(vec![document("ringway.yaml", text)], environment))
}

/// What is said about a document: errors and warnings, and nothing where all is well.
pub(super) fn said(text: &str) -> String {
    match compile_text(text) {
        Ok(compiled) => render_text(&compiled.warnings, Colour::Never),
        Err(diagnostics) => render_text(&diagnostics, Colour::Never),
    }
}
