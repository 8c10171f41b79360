//! The scenario file: many targets with weights, fields, bodies and expectations, a line each.
//!
//! ```text
//! # anything after a hash at the beginning of a line is a comment
//! data users users.csv
//!
//! target GET http://127.0.0.1:8080/users/{{users:id}}
//!   weight 3
//!   header Authorization: Bearer {{users:token}}
//!   expect-status 200
//!
//! target POST http://127.0.0.1:8080/orders
//!   name new order
//!   header Content-Type: application/json
//!   body {"id": "{{uuid}}", "n": {{seq}}}
//!   expect-body created
//! ```

use std::path::{Path, PathBuf};

use crate::check::{BadCheck, Checks, parse_sha256, parse_statuses};
use crate::data::{DataError, Table};
use crate::request::RequestText;

/// A target as it is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct TargetText {
    /// Name in reports; method and address where none is given.
    pub(crate) name: Option<String>,
    /// Address, with places.
    pub(crate) url: String,
    /// Weight.
    pub(crate) weight: u32,
    /// Method, fields and body.
    pub(crate) request: RequestText,
    /// What is expected of replies.
    pub(crate) checks: Checks,
}

/// What a scenario file says.
#[derive(Debug, Default)]
pub(crate) struct Scenario {
    /// Its data files.
    pub(crate) tables: Vec<Table>,
    /// Its targets, in order; never empty.
    pub(crate) targets: Vec<TargetText>,
}

/// Why a scenario file is refused: always with its line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is not understood.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: LineFault,
    },
    /// It names no target.
    #[error("{} names no target", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineFault {
    /// The first word is not known.
    #[error(
        "`{0}` is not known; there are data, target, name, weight, header, body, body-file and expect-status, -length, -sha256, -body"
    )]
    Word(String),
    /// A word that belongs to a target, before any.
    #[error("`{0}` stands before the first target")]
    NoTarget(String),
    /// Too little on the line.
    #[error("write `{0}`")]
    Form(&'static str),
    /// A data file.
    #[error("{}", Chain(.0))]
    Data(#[from] DataError),
    /// A check.
    #[error(transparent)]
    Check(#[from] BadCheck),
    /// A body file.
    #[error("cannot read {}: {source}", path.display())]
    Body {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// An error with what caused it, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

/// Reads a scenario file. Files that it names are looked for beside it.
pub(crate) fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
    let mut scenario = Scenario::default();
    for (place, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with('#') {
            continue;
        }
        let beside = path.parent().unwrap_or(Path::new(""));
        take_line(&mut scenario, line_text, beside).map_err(|what| ScenarioError::Line {
            path: path.to_owned(),
            line: place + 1,
            what,
        })?;
    }
    if scenario.targets.is_empty() {
        return Err(ScenarioError::Empty { path: path.to_owned() });
    }
    Ok(scenario)
}

fn take_line(scenario: &mut Scenario, line: &str, beside: &Path) -> Result<(), LineFault> {
    let (word, rest) =
        line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
    match word {
        "data" => {
            let (name, file) =
                rest.split_once(char::is_whitespace).ok_or(LineFault::Form("data NAME FILE"))?;
            scenario.tables.push(Table::read(name, &beside.join(file.trim()))?);
            return Ok(());
        }
        "target" => {
            let form = LineFault::Form("target METHOD URL");
            let (method, url) = rest.split_once(char::is_whitespace).ok_or(form)?;
            let request = RequestText { method: method.to_owned(), ..RequestText::default() };
            let url = url.trim().to_owned();
            scenario.targets.push(TargetText { url, weight: 1, request, ..TargetText::default() });
            return Ok(());
        }
        _ => {}
    }
    let known =
        ["name", "weight", "header", "body", "body-file"].contains(&word) || word.starts_with("expect-");
    if !known {
        return Err(LineFault::Word(word.to_owned()));
    }
    let target = scenario.targets.last_mut().ok_or_else(|| LineFault::NoTarget(word.to_owned()))?;
    match word {
        "name" => target.name = Some(rest.to_owned()),
        "weight" => {
            let weight = rest.parse().ok().filter(|weight| *weight > 0);
            target.weight = weight.ok_or(LineFault::Form("weight NUMBER, at least 1"))?;
        }
        "header" => target.request.fields.push(rest.to_owned()),
        "body" => target.request.body = Some(rest.as_bytes().to_vec()),
        "body-file" => {
            let path = beside.join(rest);
            let body = std::fs::read(&path).map_err(|source| LineFault::Body { path, source })?;
            target.request.body = Some(body);
        }
        "expect-status" => target.checks.statuses = parse_statuses(rest)?,
        "expect-length" => {
            let length = rest.parse().map_err(|_| LineFault::Form("expect-length BYTES"))?;
            target.checks.length = Some(length);
        }
        "expect-sha256" => target.checks.sha256 = Some(parse_sha256(rest)?),
        "expect-body" => target.checks.contains = Some(rest.as_bytes().into()),
        _ => return Err(LineFault::Word(word.to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Scenario, ScenarioError, read};

    fn of(text: &str) -> Result<Scenario, ScenarioError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("users.csv"), "id\n1\n").unwrap();
        std::fs::write(folder.path().join("order.json"), "{}\n").unwrap();
        let path = folder.path().join("x.scenario");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_scenario_has_targets_with_all_their_parts() {
        let scenario = of("# c\ndata users users.csv\n\ntarget GET http://a/{{users:id}}\n  weight 3\n  header A: b: c\n\
             target POST http://a/orders\n name new order\n body-file order.json\n expect-status 201\n expect-length 3\n \
             expect-body x  y\n")
        .unwrap();
        let [first, second] = scenario.targets.as_slice() else { panic!("two targets") };
        assert_eq!(
            (scenario.tables[0].name(), first.url.as_str(), first.weight),
            ("users", "http://a/{{users:id}}", 3)
        );
        assert_eq!(
            (first.request.method.as_str(), first.request.fields.as_slice()),
            ("GET", &["A: b: c".to_owned()][..])
        );
        assert_eq!(
            (second.name.as_deref(), second.request.body.as_deref()),
            (Some("new order"), Some(&b"{}\n"[..]))
        );
        assert_eq!(second.checks.statuses, [(201, 201)]);
        assert_eq!((second.checks.length, second.checks.contains.as_deref()), (Some(3), Some(&b"x  y"[..])));
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, says) in [
            ("target GET http://a\n wieght 3", ":2: `wieght` is not known"),
            ("weight 3", ":1: `weight` stands before the first target"),
            ("target http://a", ":1: write `target METHOD URL`"),
            ("target GET http://a\n weight 0", ":2: write `weight NUMBER"),
            ("data users none.csv", ":1: cannot read"),
            ("target GET http://a\n expect-status x", ":2: `x` is no status"),
            ("# nothing", "names no target"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
