//! A run of a chain: the request on its way to the upstream, and the reply on its way back.
//!
//! Straight line: each step is a `match` over what it does, and gives a value; what follows from it (go on, note the
//! shadow, refuse) stands in one place. The gateway, `explain` and `tests:` run these very functions.

mod refusal;
mod words;

#[cfg(test)]
mod tests;

pub use refusal::ReplyField;

use ringway_record::Outcome;
use ringway_snapshot::model::Mode;
use ringway_wire::overlay::{RATE_LIMIT, RATE_LIMIT_POLICY};
use ringway_wire::{BadEdit, Overlay};

use crate::api_key::{self, Identity, Unproved};
use crate::facts::Facts;
use crate::headers;
use crate::limit::worker::Counted;
use crate::limit::{Count, Counts, Decided, WorkerLimits, rate_limit};
use crate::limits::CHAIN_LIMITS_MAX;
use crate::memory::Memory;
use crate::prepare::{Act, Chain, Prepared, Step};
use crate::stage::{Stage, StageSet};
use crate::trace::Trace;

/// What is known of a request after its chain, passed or not: for its record, for what is forwarded and for its reply. It is written
/// where it stays: most requests have little of it, and all of them would pay for moving its room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decisions {
    /// Who calls, where that was proved (in shadow mode too: knowing is not acting).
    pub identity: Option<Identity>,
    /// Stages that would have refused, had they not stood in shadow mode.
    pub shadow: StageSet,
    /// The enforced limits that decided.
    pub counts: Counts,
    /// The query that is forwarded.
    pub query: Query,
}

/// The query that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Query {
    /// As it came.
    #[default]
    Kept,
    /// None: a hidden credential was all of it.
    Removed,
    /// This one: a hidden credential was part of it.
    Replaced(Vec<u8>),
}

/// A request that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How it ends.
    pub outcome: Outcome,
    /// Which stage refused.
    pub stage: Stage,
    /// Stable id of the limit that refused, else 0.
    pub limit_id: u64,
    /// Place of the refusing step in the chain.
    step: usize,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Proved(Identity),
    NotProved(Unproved),
    NotAllowed(Identity),
    Counted(Counted),
    CountedNothing,
    MissedItsKey,
    Edited,
    CouldNotEdit(BadEdit),
}

impl Did {
    fn refusal(self) -> Option<Outcome> {
        match self {
            Self::Proved(_) | Self::CountedNothing | Self::Edited => None,
            Self::NotProved(unproved) => Some(unproved.outcome()),
            Self::NotAllowed(_) => Some(Outcome::Forbidden),
            Self::Counted(counted) => (!counted.admitted).then_some(Outcome::RateLimited),
            Self::MissedItsKey => Some(Outcome::RateLimited),
            Self::CouldNotEdit(_) => Some(Outcome::Internal),
        }
    }
}

/// Runs the request's half of a chain. Edits are added to `overlay`, and what is decided to `decisions`.
///
/// INVARIANT: `decisions` are of this request alone, and as yet empty: an identity that was proved for another one would be believed,
/// and counts of another one would be answered. They are not emptied here, where each request would pay for it.
///
/// # Errors
/// The request is to be answered by us; its overlay is of no use then.
pub fn run_request(
    prepared: &Prepared,
    chain: &Chain,
    facts: &Facts<'_>,
    memory: &mut Memory,
    overlay: &mut Overlay,
    decisions: &mut Decisions,
    mut trace: Option<&mut Trace>,
) -> Result<(), Refused> {
    debug_assert!(*decisions == Decisions::default(), "a chain runs once for a request");
    let mut run = Run { decisions, taken: Taken::default() };
    for (place, step) in chain.steps.iter().enumerate() {
        if step.mode == Mode::Off {
            if let Some(trace) = trace.as_deref_mut() {
                trace.entries.push(words::skipped(step));
            }
            continue;
        }
        let did = run.step(prepared, step, facts, memory, overlay);
        if let Some(trace) = trace.as_deref_mut() {
            trace.entries.push(words::entry(prepared, facts, step, did));
        }
        let Some(outcome) = did.refusal() else { continue };
        if step.mode == Mode::Shadow {
            run.decisions.shadow.insert(step.stage());
            continue;
        }
        run.give_back(prepared, facts, &mut memory.limits);
        let limit_id = step.limit().and_then(|limit| prepared.limit(limit)).map_or(0, |limit| limit.id);
        return Err(Refused { outcome, stage: step.stage(), limit_id, step: place });
    }
    overlay.remove_disguised(facts.head);
    Ok(())
}

/// A run in progress.
struct Run<'d> {
    decisions: &'d mut Decisions,
    taken: Taken,
}

impl Run<'_> {
    #[inline]
    fn step(
        &mut self,
        prepared: &Prepared,
        step: &Step,
        facts: &Facts<'_>,
        memory: &mut Memory,
        overlay: &mut Overlay,
    ) -> Did {
        match &step.act {
            Act::Authenticate { any_of, applications, hides, .. } => {
                let authenticators = any_of.iter().filter_map(|index| prepared.authenticator(*index));
                match api_key::authenticate(authenticators, prepared.under(), facts, &mut memory.keys) {
                    Err(unproved) => Did::NotProved(unproved),
                    Ok(identity) => {
                        self.decisions.identity = Some(identity);
                        if !identity.is_among(applications) {
                            return Did::NotAllowed(identity);
                        }
                        match hides.apply(facts.head, overlay, &mut self.decisions.query) {
                            Ok(()) => Did::Proved(identity),
                            Err(bad) => Did::CouldNotEdit(bad),
                        }
                    }
                }
            }
            Act::Limit(index) => self.count(prepared, *index, step.mode, facts, memory),
            Act::Headers { .. } if step.mode == Mode::Shadow => Did::Edited,
            Act::Headers { request, .. } => match headers::edit(request, overlay) {
                Ok(()) => Did::Edited,
                Err(bad) => Did::CouldNotEdit(bad),
            },
        }
    }

    fn count(
        &mut self,
        prepared: &Prepared,
        index: u32,
        mode: Mode,
        facts: &Facts<'_>,
        memory: &mut Memory,
    ) -> Did {
        // INVARIANT: a prepared step names a limit that exists.
        let Some(limit) = prepared.limit(index) else { return Did::CountedNothing };
        match limit.take(facts, self.decisions.identity.as_ref(), memory) {
            Decided::Skipped => Did::CountedNothing,
            Decided::KeyMissing => Did::MissedItsKey,
            Decided::Counted(counted) => {
                if counted.admitted {
                    self.taken.push(index, counted.overflow);
                }
                if mode == Mode::Enforce {
                    self.decisions.counts.push(Count { limit: index, debt: counted.debt });
                }
                Did::Counted(counted)
            }
        }
    }

    fn give_back(&self, prepared: &Prepared, facts: &Facts<'_>, limits: &mut WorkerLimits) {
        for (index, overflow) in self.taken.list.iter().take(self.taken.len) {
            if let Some(limit) = prepared.limit(*index) {
                limit.take_back(*overflow, facts, self.decisions.identity.as_ref(), limits);
            }
        }
    }
}

/// Limits that counted the request and whether in their overflow cells, to be given back if a later step refuses it: refused requests do not consume.
#[derive(Debug, Default)]
struct Taken {
    list: [(u32, bool); CHAIN_LIMITS_MAX],
    len: usize,
}

impl Taken {
    fn push(&mut self, limit: u32, overflow: bool) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = (limit, overflow);
            self.len += 1;
        }
    }
}

/// Runs the reply's half of a chain on the reply to a request that passed, be it the upstream's or our own.
///
/// The RateLimit fields come first, so that a `headers` step may edit them too.
///
/// # Errors
/// [`BadEdit`], which prepared edits never give; the reply must not be sent then.
pub fn run_response(
    prepared: &Prepared,
    chain: &Chain,
    decisions: &Decisions,
    overlay: &mut Overlay,
) -> Result<(), BadEdit> {
    if !chain.edits_replies {
        return Ok(());
    }
    if !chain.rate_policy.is_empty() {
        overlay.append_with(&RATE_LIMIT_POLICY, |out| out.extend_from_slice(&chain.rate_policy))?;
        let counts = decisions.counts.as_slice();
        if !counts.is_empty() {
            overlay.append_with(&RATE_LIMIT, |out| rate_limit(prepared.limits(), counts, out))?;
        }
    }
    edit_reply(chain, overlay)
}

/// Runs the reply's half of a chain on a refusal of its own, whose RateLimit fields are in [`Refused::fields`] already.
///
/// # Errors
/// As [`run_response`].
pub fn run_refusal(chain: &Chain, overlay: &mut Overlay) -> Result<(), BadEdit> {
    if chain.edits_replies { edit_reply(chain, overlay) } else { Ok(()) }
}

fn edit_reply(chain: &Chain, overlay: &mut Overlay) -> Result<(), BadEdit> {
    for step in chain.steps.iter().filter(|step| step.mode == Mode::Enforce) {
        if let Act::Headers { response, .. } = &step.act {
            headers::edit(response, overlay)?;
        }
    }
    Ok(())
}
