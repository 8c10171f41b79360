//! The rows of the key table, in the order in which a canonical document is printed.

mod chains;
mod hosts;
mod settings;
mod upstreams;

use super::{Fallback, Form, Row, Stage};
use crate::config::scalar::{DURATION_MS_MAX, Referent, Scalar};

use Fallback::{Absent, Value};

const fn row(
    path: &'static str,
    form: Form,
    fallback: Fallback,
    meaning: &'static str,
    example: &'static str,
) -> Row {
    Row { path, form, fallback, meaning, example, stage: Stage::Now }
}

const fn later(path: &'static str, meaning: &'static str) -> Row {
    Row { path, form: Form::KEYS, fallback: Absent, meaning, example: "", stage: Stage::Later }
}

const fn one(scalar: Scalar) -> Form {
    Form::one(scalar)
}

/// From one millisecond up.
const fn time() -> Form {
    Form::one(Scalar::Duration(1, DURATION_MS_MAX))
}

const fn size(min: u64, max: u64) -> Form {
    Form::one(Scalar::Size(min, max))
}

const fn refers(referent: Referent) -> Form {
    Form::one(Scalar::Reference(referent))
}

/// The document itself.
pub(crate) const ROOT: Row =
    row("", Form::KEYS, Absent, "A configuration: one file, or all `*.yaml` of a folder, merged by key.", "");

/// One row a key, in parts that follow each other.
pub(crate) static PARTS: [&[Row]; 5] = [&TOP, settings::ROWS, upstreams::ROWS, chains::ROWS, hosts::ROWS];

static TOP: [Row; 2] =
    [ROOT, row("version", one(Scalar::Integer(1, 1)), Value("1"), "Version of this grammar.", "1")];
