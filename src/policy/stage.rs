//! The stages of the policy chain: one closed table, in the order in which a request meets them.
//!
//! A stage's number is its place in the order, its bit in a record's shadow set and its mark in a refusal; it never
//! changes its meaning. Gaps are room for stages to come (cross-origin rules, authorisation, validation,
//! transformation, the cache). `docs/reference/stages.md` is printed from this table.

use ringway_snapshot::model::Policy;

/// When a stage acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the request goes to the upstream.
    Request,
    /// Before the request goes to the upstream and again before the reply goes to the caller.
    Both,
}

/// What happens to the request when a stage cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    Closes,
    /// It goes on.
    Opens,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which stage.
    pub stage: Stage,
    /// Name in definitions, in `explain` and in the reference.
    pub name: &'static str,
    /// When it acts.
    pub phase: Phase,
    /// What its own failure does.
    pub on_failure: OnFailure,
    /// What it does.
    pub text: &'static str,
}

/// One row each: number, variant, name, phase, failure, text.
macro_rules! stages {
    ($($number:literal $variant:ident $name:literal $phase:ident $on_failure:ident $text:literal;)+) => {
        /// A kind of policy, and its place in the order.
        ///
        /// INVARIANT: numbers rise in the order of the chain, are below 32 and are never reused: they stand in records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Stage {
            $(#[doc = $text] $variant = $number,)+
        }

        impl Stage {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        stage: Self::$variant,
                        name: $name,
                        phase: Phase::$phase,
                        on_failure: OnFailure::$on_failure,
                        text: $text,
                    },)+
                }
            }

            /// The stage of this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

stages! {
    6 Authenticate "authenticate" Request Closes
        "One of the listed authenticators must know the caller, or the request is refused with 401 and all their challenges; where applications are listed, the caller must be one of them, or it is refused with 403.";
    12 Limit "limit" Request Closes
        "Counts the request against a named rate and refuses it with 429 when the rate is used up. A table that is full shares one cell among newcomers: they stay limited.";
    20 Headers "headers" Both Closes
        "Sets, appends, removes and renames fields of the request on its way to the upstream and of the reply on its way back.";
}

impl Stage {
    /// The stage at which a policy stands.
    #[must_use]
    pub const fn of(policy: &Policy) -> Self {
        match policy {
            Policy::Authenticate { .. } => Self::Authenticate,
            Policy::Limit(_) => Self::Limit,
            Policy::Headers { .. } => Self::Headers,
        }
    }

    /// Its number in records.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in definitions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}

/// A set of stages: those that would have refused, had they not stood in shadow mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageSet(u32);

impl StageSet {
    /// Adds one.
    pub const fn insert(&mut self, stage: Stage) {
        self.0 |= 1 << stage.number();
    }

    /// Whether it holds this one.
    #[must_use]
    pub const fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage.number()) != 0
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit for each stage, by its number: as it stands in a record.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// Prints `docs/reference/stages.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Stages\n\nWhat a chain may hold, in the order in which a request meets it. Printed from `src/policy/stage.rs`; do\n\
         not edit. Every stage takes `mode: enforce | shadow | off`: in shadow it decides, counts and records, but\n\
         neither refuses nor edits.\n",
    );
    for row in Stage::ALL.iter().map(|stage| stage.row()) {
        let phase = match row.phase {
            Phase::Request => "before the request goes to the upstream",
            Phase::Both => "before the request goes to the upstream, and before the reply goes to the caller",
        };
        let on_failure = match row.on_failure {
            OnFailure::Closes => "the request is refused",
            OnFailure::Opens => "the request goes on",
        };
        page.push_str(&format!("\n## `{}`\n\n{}\n\n", row.name, row.text));
        page.push_str(&format!("- Acts {phase}.\n- When it cannot do its work, {on_failure}.\n"));
        page.push_str(&format!("- Number in records: {}\n", row.stage.number()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_with_the_order_and_fit_a_set_of_32() {
        assert!(Stage::ALL.is_sorted_by(|a, b| a.number() < b.number()));
        for stage in Stage::ALL {
            assert!(stage.number() < 32, "{stage:?}");
            assert_eq!(Stage::from_number(stage.number()), Some(*stage));
        }
        assert_eq!(Stage::from_number(31), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = StageSet::default();
        assert!(set.is_empty());
        set.insert(Stage::Limit);
        assert!(set.contains(Stage::Limit) && !set.contains(Stage::Authenticate) && !set.is_empty());
        assert_eq!(set.bits(), 1 << 12);
    }

    #[test]
    fn the_reference_page_is_printed_from_the_table() {
        crate::reference::check("stages.md", &reference());
    }
}
