//! Applications and their credentials.

use std::collections::HashMap;

use ringway_snapshot::model::{Application, Credential};

use super::Compiler;
use crate::config::limits::CREDENTIALS_MAX;
use crate::config::scalar::parse_date;
use crate::config::{Class, Diagnostic, Digest, Kind, Place, Value};

/// Compiles `applications:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    let mut keys: HashMap<Digest, Place> = HashMap::new();
    for (name, value) in compiler.resources(Kind::Application) {
        let id = derived_id("application", name.as_bytes());
        let written = value.find("credentials").map(Value::elements).unwrap_or_default();
        let mut credentials = Vec::new();
        for (index, credential) in written.iter().enumerate() {
            let place = Place::new(Kind::Application, name).key("credentials").index(index);
            let Some(key) = credential.find("api_key").and_then(Value::referred) else { continue };
            if let Some(other) = keys.insert(key.digest, place.clone()) {
                let message = "the same API key stands twice: nobody could say who calls";
                let diagnostic = Diagnostic::error(Class::Conflict, place, message)
                    .saying("again here")
                    .and(other, "first here");
                compiler.found.push(diagnostic);
                continue;
            }
            let not_after_unix_ms =
                credential.find("expires").and_then(Value::text).and_then(|text| parse_date(text).ok());
            if not_after_unix_ms.is_some_and(|end| end <= compiler.environment.now_unix_ms) {
                let diagnostic = Diagnostic::warning(
                    Class::Unreachable,
                    place.key("expires"),
                    "the credential has expired",
                );
                compiler.found.push(diagnostic.hint("requests with it are refused; take it out"));
            }
            let id = derived_id("credential", &[name.as_bytes(), &[0], &key.digest.0].concat());
            credentials.push(Credential {
                id,
                pepper_id: key.key_id,
                digest: key.digest.0,
                prefix: key.shown.clone(),
                not_after_unix_ms,
            });
        }
        if written.len() > CREDENTIALS_MAX {
            let place = Place::new(Kind::Application, name).key("credentials").index(CREDENTIALS_MAX);
            let message = format!("an application has at most {CREDENTIALS_MAX} credentials");
            let hint =
                "two are enough to replace one without a gap; for another caller define another application";
            compiler.found.push(Diagnostic::error(Class::Conflict, place, message).hint(hint));
        }
        compiler.model.applications.push(Application { name: name.to_owned(), id, credentials });
    }
}

/// A UUID (version 8, RFC 9562 §5.8) of a name, for where no store gives one: `check`, and trying out.
fn derived_id(kind: &str, name: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(name);
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    let id = u128::from_be_bytes(bytes);
    (id & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62)
}
