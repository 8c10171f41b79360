//! The configuration: documents in YAML to [`Definitions`], with everything that is wrong said at once.
//!
//! [`compile`] leads from documents to a [`Model`]; [`parse`] to definitions alone, which the store keeps and
//! [`crate::compile::compile`] turns into a model later. Nothing here touches a file, a variable, a clock or a socket: what is
//! needed comes in through [`CompileEnvironment`].

mod check;
mod definitions;
mod diagnostic;
mod diff;
mod environment;
mod export;
mod json_schema;
pub(crate) mod key;
pub(crate) mod limits;
mod load;
mod manual;
pub(crate) mod path;
pub(crate) mod reference;
mod render;
pub(crate) mod scalar;
mod source;
mod suggest;
mod value;
mod yaml;

use std::sync::Arc;

use ringway_snapshot::model::Model;

pub use definitions::{Definitions, Kind, Material, Resource, ResourceKey};
pub use diagnostic::{At, Class, Diagnostic, Diagnostics, Label, Part, Place, Severity, Span, Step};
pub use diff::{Difference, Sign, diff};
pub use environment::{CompileEnvironment, SelfSigned};
pub use export::export;
pub use json_schema::json_schema;
pub use manual::{explain, reference};
pub use render::{Colour, json as render_json, text as render_text};
pub use source::{Document, Sources};
pub use value::{Digest, Referred, Value};

pub(crate) use suggest::nearest;

use crate::compile::{TestCase, compile as compile_definitions};

/// What `ringway up` serves without an argument; it stands in `config/quickstart/` too. Its upstream is the echo service that
/// `up` starts on [`ECHO_ADDRESS`].
pub const QUICKSTART: &str = include_str!("../config/quickstart/ringway.yaml");
/// Where the quick start's echo service listens.
pub const ECHO_ADDRESS: &str = "127.0.0.1:9080";

/// All that comes of a set of documents.
#[derive(Debug)]
pub struct Compiled {
    /// What the store keeps.
    pub definitions: Definitions,
    /// What a snapshot is built from.
    pub model: Model,
    /// What `check` and `plan` try.
    pub tests: Vec<TestCase>,
    /// What does not stop, but should be looked at; also the way to the documents.
    pub warnings: Diagnostics,
}

/// Documents to definitions.
///
/// # Errors
/// Everything that is wrong in them, but for what only [`compile`] sees (references, conflicts, unreachable routes).
pub fn parse(
    documents: Vec<Document>,
    environment: &CompileEnvironment<'_>,
) -> Result<(Definitions, Arc<Sources>), Diagnostics> {
    let loaded = load::load(documents, environment);
    let sources = Arc::new(loaded.sources);
    let diagnostics = Diagnostics::new(loaded.found, Arc::clone(&sources));
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((loaded.definitions, sources)) }
}

/// Documents to a model.
///
/// # Errors
/// Everything that is wrong in them.
pub fn compile(
    documents: Vec<Document>,
    environment: &CompileEnvironment<'_>,
) -> Result<Compiled, Diagnostics> {
    let loaded = load::load(documents, environment);
    let outcome = compile_definitions(&loaded.definitions, environment);
    let mut found = loaded.found;
    found.extend(outcome.found);
    let diagnostics = Diagnostics::new(found, Arc::new(loaded.sources));
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    Ok(Compiled {
        definitions: loaded.definitions,
        model: outcome.model,
        tests: outcome.tests,
        warnings: diagnostics,
    })
}

#[cfg(test)]
mod tests;
