//! Definitions to the model that a snapshot is built from: references become indices, defaults are filled in, and what
//! cannot be carried out is refused.

mod application;
mod certificate;
mod endpoint;
mod host;
mod policy;
mod route;
mod settings;
mod shadow;
mod test_case;
mod tls;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use ringway_snapshot::model::{Chain, Model};

use crate::config::{
    Class, CompileEnvironment, Definitions, Diagnostic, Diagnostics, Kind, Place, Sources, Value,
};

pub use test_case::TestCase;

/// The model as far as it could be made, and what is wrong.
pub(crate) struct Outcome {
    pub(crate) model: Model,
    pub(crate) tests: Vec<TestCase>,
    pub(crate) found: Vec<Diagnostic>,
}

/// Definitions from the store to a model and the tests among them, beside warnings.
///
/// # Errors
/// Everything that is wrong; places are named by their paths, because there is no document.
pub fn from_definitions(
    definitions: &Definitions,
    environment: &CompileEnvironment<'_>,
) -> Result<(Model, Vec<TestCase>, Diagnostics), Diagnostics> {
    let outcome = compile(definitions, environment);
    let diagnostics = Diagnostics::new(outcome.found, Arc::new(Sources::default()));
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((outcome.model, outcome.tests, diagnostics)) }
}

/// Compiles as much as can be, for all diagnostics at once.
pub(crate) fn compile(definitions: &Definitions, environment: &CompileEnvironment<'_>) -> Outcome {
    let mut compiler = Compiler {
        definitions,
        environment,
        names: Names::of(definitions),
        model: Model::default(),
        found: Vec::new(),
    };
    settings::compile(&mut compiler);
    tls::compile(&mut compiler);
    tls::listeners(&mut compiler);
    endpoint::compile(&mut compiler);
    policy::compile(&mut compiler);
    host::compile(&mut compiler);
    application::compile(&mut compiler);
    let tests = test_case::compile(&mut compiler);
    Outcome { model: compiler.model, tests, found: compiler.found }
}

/// What the parts of the compiler share.
struct Compiler<'a> {
    definitions: &'a Definitions,
    environment: &'a CompileEnvironment<'a>,
    names: Names<'a>,
    model: Model,
    found: Vec<Diagnostic>,
}

/// Indices of named resources.
struct Names<'a>(HashMap<Kind, HashMap<&'a str, u32>>);

impl<'a> Names<'a> {
    fn of(definitions: &'a Definitions) -> Self {
        let referable =
            [Kind::Tls, Kind::Upstream, Kind::Authenticator, Kind::Limit, Kind::Chain, Kind::Application];
        let index =
            |(index, (name, _)): (usize, (&'a str, _))| (name, u32::try_from(index).unwrap_or(u32::MAX));
        let of_kind = |kind: Kind| (kind, definitions.of_kind(kind).enumerate().map(index).collect());
        Self(referable.into_iter().map(of_kind).collect())
    }

    /// The index of a name, or what to say where it is referred to.
    fn find(&self, kind: Kind, name: &str, place: impl FnOnce() -> Place) -> Result<u32, Box<Diagnostic>> {
        let known = self.0.get(&kind);
        if let Some(index) = known.and_then(|names| names.get(name)) {
            return Ok(*index);
        }
        let message = format!("there is no {} `{name}`", kind.one());
        let diagnostic = Diagnostic::error(Class::UnknownReference, place(), message);
        let mut names: Vec<&str> = known.map(|names| names.keys().copied().collect()).unwrap_or_default();
        names.sort_unstable();
        Err(Box::new(match crate::config::nearest(name, names.iter().copied()) {
            Some(word) => diagnostic.saying(format!("did you mean `{word}`?")),
            None if names.is_empty() => diagnostic.hint(format!("define it under `{}:`", kind.section())),
            None => diagnostic.hint(format!("under `{}:` there are {}", kind.section(), some_of(&names))),
        }))
    }
}

fn some_of(names: &[&str]) -> String {
    let shown = names.get(..names.len().min(8)).unwrap_or_default().join(", ");
    if names.len() > 8 { format!("{shown}, …") } else { shown }
}

impl<'a> Compiler<'a> {
    /// Each resource of a kind with its value; what is damaged is reported and comes as an empty map.
    fn resources(&mut self, kind: Kind) -> Vec<(&'a str, Value)> {
        let mut out = Vec::new();
        for (name, resource) in self.definitions.of_kind(kind) {
            let value = resource.value().unwrap_or_else(|error| {
                self.found.push(damaged(kind, name, &error.to_string()));
                Value::Map(Vec::new())
            });
            out.push((name, value));
        }
        out
    }

    /// The index of what a place refers to; a reference to nothing is reported.
    fn find(&mut self, kind: Kind, name: &str, place: impl FnOnce() -> Place) -> Option<u32> {
        self.names.find(kind, name, place).map_err(|diagnostic| self.found.push(*diagnostic)).ok()
    }
}

fn damaged(kind: Kind, name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(
        Class::Damaged,
        Place::new(kind, name),
        format!("a stored {} cannot be read: {why}", kind.one()),
    )
    .hint("apply the configuration again from its file")
}

/// The chain that does nothing, always at index 0.
fn empty_chain() -> Chain {
    Chain::default()
}
