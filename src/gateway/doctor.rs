//! `ringway doctor`: looks at the host that a gateway is to run on, says what holds it back, why, and what to type.
//!
//! The checks are one closed table (`doctor/table.rs`), from which `docs/reference/doctor.md` is printed. Each row looks
//! at a [`Host`]: files below a root, and what the kernel answered when it was asked. Nothing is changed on the host.

mod cpu;
mod host;
mod kernel;
mod memory;
mod network;
mod print;
mod table;

use std::path::Path;

use host::{Answers, Host};
use table::{ROWS, Row};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As recommended.
    Ok,
    /// Worth knowing: it costs something in some uses.
    Note,
    /// It costs throughput, latency or connections.
    Warning,
    /// A gateway does not work as it should here.
    Problem,
}

impl Level {
    /// All of them, from the least.
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Note, Self::Warning, Self::Problem];

    /// Name in the text and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    level: Level,
    found: String,
    /// What to type here, where the row's own text is not the best answer.
    fix: Option<String>,
}

impl Finding {
    fn new(level: Level, found: impl Into<String>) -> Self {
        Self { level, found: found.into(), fix: None }
    }

    fn ok(found: impl Into<String>) -> Self {
        Self::new(Level::Ok, found)
    }

    fn note(found: impl Into<String>) -> Self {
        Self::new(Level::Note, found)
    }

    fn warning(found: impl Into<String>) -> Self {
        Self::new(Level::Warning, found)
    }

    fn problem(found: impl Into<String>) -> Self {
        Self::new(Level::Problem, found)
    }

    /// The host does not say; that alone is no fault.
    fn unknown(what: &str) -> Self {
        Self::new(Level::Ok, format!("not to be seen here ({what})"))
    }

    fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What was found, row by row.
#[derive(Debug)]
pub struct Report {
    title: String,
    findings: Vec<(&'static Row, Finding)>,
}

impl Report {
    /// Looks at this host. Takes some milliseconds; makes a ring and three sockets, and closes them again.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::of(&Host::new(Path::new("/"), Answers::ask()))
    }

    fn of(host: &Host) -> Self {
        let findings = ROWS.iter().map(|row| (row, (row.look)(host))).collect();
        Self { title: host.title(), findings }
    }

    /// The gravest finding.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|(_, finding)| finding.level).max().unwrap_or(Level::Ok)
    }

    /// For people: one line for each check, and for those that are not as recommended what to do. With `colour` for a
    /// terminal.
    #[must_use]
    pub fn text(&self, colour: Colour) -> String {
        print::text(self, colour)
    }

    /// For programs: `{host, worst, counts, checks: [{group, name, level, found, recommended, why, fix}]}`.
    #[must_use]
    pub fn json(&self) -> String {
        print::json(self)
    }
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With escape sequences of a terminal.
    Always,
    /// As plain text.
    Never,
}

#[cfg(test)]
mod tests;
