//! Regular expressions of routes, prepared beside the snapshot on the reload thread.
//!
//! Linear time whatever the input: no back-references, no look-around. Bytes, not characters: `.` is any byte, and classes are
//! ASCII. An expression has to match the whole value.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use ringway_snapshot::Snapshot;
use ringway_snapshot::limits::EXPRESSION_BYTES_MAX;
use thiserror::Error;

/// Why an expression cannot be used.
#[derive(Debug, Clone, Error)]
#[error("the regular expression {pattern:?} cannot be used")]
pub struct ExpressionError {
    /// The expression.
    pub pattern: String,
    /// What the engine says.
    #[source]
    pub source: Box<regex_automata::meta::BuildError>,
}

impl ExpressionError {
    /// What the person who wrote it should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "back-references and look-around are not supported, and repetitions are bounded in size"
    }
}

/// Compiles an expression as the match uses it: anchored at both ends.
///
/// # Errors
/// [`ExpressionError`] where it is malformed or too large.
pub fn compile_expression(pattern: &str) -> Result<Regex, ExpressionError> {
    let syntax = syntax::Config::new().utf8(false).unicode(false);
    // A pattern that is malformed by itself could be well-formed inside a group: `a)|(b`.
    let alone = syntax::parse_with(pattern, &syntax).is_err();
    let anchored = if alone { pattern.to_owned() } else { format!("^(?:{pattern})$") };
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(EXPRESSION_BYTES_MAX))
        .onepass_size_limit(Some(EXPRESSION_BYTES_MAX))
        .hybrid_cache_capacity(EXPRESSION_BYTES_MAX);
    Regex::builder()
        .configure(config)
        .syntax(syntax)
        .build(&anchored)
        .map_err(|source| ExpressionError { pattern: pattern.to_owned(), source: Box::new(source) })
}

/// All expressions of a snapshot, by index.
#[derive(Debug, Default)]
pub struct RouteExpressions(Vec<Regex>);

impl RouteExpressions {
    /// Compiles those of a snapshot.
    ///
    /// # Errors
    /// [`ExpressionError`] of the first that cannot be used.
    pub fn prepare(snapshot: &Snapshot) -> Result<Self, ExpressionError> {
        snapshot.tables().regexes().map(compile_expression).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the expression matches all of the value. One that does not exist matches nothing.
    #[must_use]
    pub fn is_match(&self, index: u32, value: &[u8]) -> bool {
        self.0.get(index as usize).is_some_and(|regex| regex.is_match(value))
    }
}
