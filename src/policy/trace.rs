//! What each stage decided, in words: for `ringway explain` and failing `tests`. The gateway passes none and pays nothing.

use ringway_snapshot::model::Mode;

use crate::stage::Stage;

/// The decisions of one run of a chain, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// One for each step that was met.
    pub entries: Vec<Entry>,
}

/// One step's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which stage.
    pub stage: Stage,
    /// Whether it acts.
    pub mode: Mode,
    /// What it decided.
    pub decided: Decided,
    /// Why, and what it did.
    pub words: String,
}

/// What a step decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// The request goes on.
    Passes,
    /// The request is refused; in shadow mode it would be.
    Refuses,
    /// The step is off.
    Skipped,
}

impl Trace {
    /// The decisions as lines of text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.entries.iter().map(Entry::line).collect()
    }
}

impl Entry {
    fn line(&self) -> String {
        let name = self.stage.name();
        match (self.mode, self.decided) {
            (Mode::Off, _) | (_, Decided::Skipped) => format!("{name} (off): skipped"),
            (Mode::Shadow, Decided::Passes) => format!("{name} (shadow): would pass: {}", self.words),
            (Mode::Shadow, Decided::Refuses) => format!("{name} (shadow): would refuse: {}", self.words),
            (Mode::Enforce, Decided::Passes) => format!("{name}: passes: {}", self.words),
            (Mode::Enforce, Decided::Refuses) => format!("{name}: refuses: {}", self.words),
        }
    }
}
