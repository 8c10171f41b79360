//! The reply to a refused request: its fields, and its problem details.

use std::borrow::Cow;

use ringway_record::Outcome;
use ringway_snapshot::model::CredentialPlace;

use super::{Decisions, Refused};
use crate::api_key::Authenticator;
use crate::limit::{Limit, rate_limit, retry_after_s};
use crate::prepare::{Act, Chain, Prepared};
use crate::problem::{Member, Problem, Value};

/// A field of a reply that we make: name and value.
pub type ReplyField<'a> = (&'static str, Cow<'a, [u8]>);

impl Refused {
    /// The fields that the refusal demands: the challenges of a 401, `Retry-After` of a 429, and the RateLimit fields.
    ///
    /// `prepared` and `chain` are those that refused, `decisions` what was decided on the way.
    pub fn fields<'a>(
        &self,
        prepared: &Prepared,
        chain: &'a Chain,
        decisions: &Decisions,
        out: &mut Vec<ReplyField<'a>>,
    ) {
        // Who is known and not allowed is not asked for another credential.
        if let Some(Act::Authenticate { challenges, .. }) = self.act(chain)
            && self.outcome != Outcome::Forbidden
        {
            out.extend(challenges.iter().map(|challenge| ("WWW-Authenticate", challenge.as_slice().into())));
        }
        if let Some(seconds) = self.retry_after_s(prepared, decisions) {
            out.push(("Retry-After", itoa::Buffer::new().format(seconds).as_bytes().to_vec().into()));
        }
        if !chain.rate_policy.is_empty() {
            out.push(("RateLimit-Policy", chain.rate_policy.as_slice().into()));
            let counts = decisions.counts.as_slice();
            if !counts.is_empty() {
                let mut value = Vec::new();
                rate_limit(prepared.limits(), counts, &mut value);
                out.push(("RateLimit", value.into()));
            }
        }
    }

    /// Appends the problem details. `instance` is the request's path, `request_id` what `X-Request-Id` says.
    pub fn write_problem(
        &self,
        prepared: &Prepared,
        chain: &Chain,
        decisions: &Decisions,
        instance: &[u8],
        request_id: &str,
        out: &mut Vec<u8>,
    ) {
        let limit = self.limit(prepared, chain);
        let names = limit.map(|limit| limit.name.as_str());
        let violated = Member { name: "violated-policies", value: Value::Texts(names.as_slice()) };
        let detail = self.detail(prepared, chain, decisions);
        Problem {
            detail: detail.as_deref(),
            instance: Some(instance),
            request_id: Some(request_id),
            members: if limit.is_some() { std::slice::from_ref(&violated) } else { &[] },
            ..Problem::of(self.outcome)
        }
        .write(out);
    }

    fn detail(&self, prepared: &Prepared, chain: &Chain, decisions: &Decisions) -> Option<String> {
        match (self.outcome, self.act(chain)?) {
            (Outcome::CredentialMissing, Act::Authenticate { any_of, .. }) => {
                let places = any_of.iter().filter_map(|index| prepared.authenticator(*index)).map(place);
                let places = places.collect::<Vec<_>>().join(" or ");
                Some(format!("An API key is expected in {places}."))
            }
            (Outcome::Forbidden, Act::Authenticate { .. }) => Some(
                "The credential is good, and its application is not among those that may do this.".to_owned(),
            ),
            (Outcome::RateLimited, Act::Limit(_)) => {
                let name = &self.limit(prepared, chain)?.name;
                Some(match self.retry_after_s(prepared, decisions) {
                    Some(seconds) => {
                        format!("The limit {name} is used up; it takes a request again in {seconds} s.")
                    }
                    None => format!("The request lacks what the limit {name} goes by."),
                })
            }
            _ => None,
        }
    }

    fn act<'a>(&self, chain: &'a Chain) -> Option<&'a Act> {
        chain.steps.get(self.step).map(|step| &step.act)
    }

    fn limit<'a>(&self, prepared: &'a Prepared, chain: &Chain) -> Option<&'a Limit> {
        match self.act(chain)? {
            Act::Limit(index) => prepared.limit(*index),
            _ => None,
        }
    }

    /// None where no limit refused, or one that lacks its key.
    fn retry_after_s(&self, prepared: &Prepared, decisions: &Decisions) -> Option<u64> {
        if self.limit_id == 0 {
            return None;
        }
        let count = decisions.counts.as_slice().last()?;
        let limit = prepared.limit(count.limit).filter(|limit| limit.id == self.limit_id)?;
        Some(retry_after_s(limit.gcra(), count.debt))
    }
}

fn place(authenticator: &Authenticator) -> String {
    match authenticator.place() {
        CredentialPlace::Header(name) => format!("the field {name}"),
        CredentialPlace::Query(name) => format!("the query parameter {name}"),
        CredentialPlace::Cookie(name) => format!("the cookie {name}"),
    }
}
