//! Decisions of steps in words, for a trace.

use ringway_snapshot::model::LimitScope;
use ringway_snapshot::tables::ApplicationIndex;

use super::Did;
use crate::api_key::Unproved;
use crate::facts::Facts;
use crate::limit::worker::Counted;
use crate::limit::{Limit, retry_after_s};
use crate::prepare::{Act, Prepared, Step};
use crate::trace::{Decided, Entry};

/// So many applications of a step are named.
const APPLICATIONS_SHOWN: usize = 8;

/// The entry of a step that is off.
pub(super) fn skipped(step: &Step) -> Entry {
    Entry { stage: step.stage(), mode: step.mode, decided: Decided::Skipped, words: String::new() }
}

/// The entry of a step that ran.
#[cold]
pub(super) fn entry(prepared: &Prepared, facts: &Facts<'_>, step: &Step, did: Did) -> Entry {
    let decided = if did.refusal().is_some() { Decided::Refuses } else { Decided::Passes };
    let words = match &step.act {
        Act::Authenticate { any_of, applications, .. } => {
            let named = any_of.iter().filter_map(|index| prepared.authenticator(*index));
            let names = named.map(|authenticator| authenticator.name.as_str()).collect::<Vec<_>>().join(", ");
            let among = of_applications(facts, applications);
            format!("{} (authenticators: {names}{among})", of_authentication(facts, did))
        }
        Act::Limit(index) => prepared.limit(*index).map_or_else(String::new, |limit| of_limit(limit, did)),
        Act::Headers { request, response } => of_edits(request.len(), response.len(), did),
    };
    Entry { stage: step.stage(), mode: step.mode, decided, words }
}

/// Whom a step lets pass, where it says so.
fn of_applications(facts: &Facts<'_>, applications: &[u32]) -> String {
    if applications.is_empty() {
        return String::new();
    }
    let name = |index: &u32| facts.tables.application_name(ApplicationIndex(*index));
    let shown = applications.iter().take(APPLICATIONS_SHOWN).map(name).collect::<Vec<_>>().join(", ");
    let more = if applications.len() > APPLICATIONS_SHOWN { ", …" } else { "" };
    format!("; applications: {shown}{more}")
}

fn of_authentication(facts: &Facts<'_>, did: Did) -> String {
    match did {
        Did::Proved(identity) | Did::NotAllowed(identity) => {
            let (name, prefix) = (identity.application_name(facts.tables), identity.prefix(facts.tables));
            let how = if facts.assumed.is_some() { "taken for" } else { "known as" };
            let but = if matches!(did, Did::NotAllowed(_)) { ", which is not allowed here" } else { "" };
            format!("{how} application {name}, credential {prefix}…{but}")
        }
        Did::NotProved(Unproved::Missing) => "no credential in the request".to_owned(),
        Did::NotProved(Unproved::Invalid) => "the credential is unknown".to_owned(),
        Did::NotProved(Unproved::Expired) => "the credential has expired".to_owned(),
        other => of_fault(other),
    }
}

fn of_limit(limit: &Limit, did: Did) -> String {
    let scope = match limit.scope() {
        LimitScope::Core => " of this worker's share",
        LimitScope::Node => "",
    };
    let Limit { name, .. } = limit;
    match did {
        Did::Counted(Counted { admitted: true, debt, .. }) => {
            let (left, burst) = (limit.gcra().remaining(debt), limit.gcra().burst());
            format!("limit {name}: {left} of {burst} left{scope}")
        }
        Did::Counted(Counted { debt, .. }) => {
            format!("limit {name}: used up{scope}, again in {} s", retry_after_s(limit.gcra(), debt))
        }
        Did::CountedNothing => format!("limit {name}: the request lacks its key and is not counted"),
        Did::MissedItsKey => format!("limit {name}: the request lacks its key"),
        other => of_fault(other),
    }
}

fn of_edits(request: usize, response: usize, did: Did) -> String {
    match did {
        Did::Edited => format!("edits: {request} of the request, {response} of the reply"),
        other => of_fault(other),
    }
}

fn of_fault(did: Did) -> String {
    match did {
        Did::CouldNotEdit(bad) => format!("an edit could not be made: {bad}"),
        _ => String::new(),
    }
}
