//! The stage `authenticate`: who calls, proved by an API key.
//!
//! A key is never compared with anything: its HMAC under the pepper is looked up in the snapshot's table of digests,
//! so that the time taken tells nothing about how near a guess was. What a worker has found so it remembers (`api_key/known.rs`).

mod hide;
mod known;

use std::borrow::Cow;

pub(crate) use hide::Hides;
pub use known::KnownKeys;

use ringway_record::Outcome;
use ringway_snapshot::keys::{Pepper, api_key_digest};
use ringway_snapshot::model::{self, AuthenticatorKind, CredentialPlace};
use ringway_snapshot::tables::{ApplicationIndex, CredentialIndex, Tables};
use ringway_wire::{FieldId, FieldName, RequestHead, cookie, query};

use crate::facts::Facts;
use crate::headers::{self, EditError};
use crate::limits::API_KEY_BYTES_MAX;

/// Who calls, proved. The ids are the store's and are never reused; the indices are of the generation that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// UUID of the application.
    pub application_id: u128,
    /// UUID of the credential.
    pub credential_id: u128,
    application: ApplicationIndex,
    credential: CredentialIndex,
}

/// Why nobody is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unproved {
    /// No credential in any of the places.
    Missing,
    /// A credential that is unknown, too long, or there more than once.
    Invalid,
    /// A known credential past its expiry.
    Expired,
}

impl Identity {
    /// The identity of a credential, as if it had been shown: for `explain` and `tests`, which have no keys.
    #[must_use]
    pub fn of(tables: &Tables<'_>, credential: CredentialIndex) -> Option<Self> {
        let row = tables.credential(credential)?;
        let application = ApplicationIndex(row.application);
        let application_id = tables.application(application)?.id;
        Some(Self { application_id, credential_id: row.id, application, credential })
    }

    /// Whether it is one of these applications, ascending, of the tables that gave the identity; none listed means that all are meant.
    #[must_use]
    pub fn is_among(&self, applications: &[u32]) -> bool {
        applications.is_empty() || applications.binary_search(&self.application.0).is_ok()
    }

    /// Name of the application, in the tables that gave the identity.
    #[must_use]
    pub fn application_name<'a>(&self, tables: &Tables<'a>) -> &'a str {
        tables.application_name(self.application)
    }

    /// The visible prefix of the credential, in the tables that gave the identity.
    #[must_use]
    pub fn prefix<'a>(&self, tables: &Tables<'a>) -> &'a str {
        tables.credential(self.credential).map_or("", |row| tables.credential_prefix(&row))
    }
}

impl Unproved {
    /// How the request ends.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Missing => Outcome::CredentialMissing,
            Self::Invalid => Outcome::CredentialInvalid,
            Self::Expired => Outcome::CredentialExpired,
        }
    }
}

/// A key that was found in the tables: whose it is, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    identity: Identity,
    not_after_unix_ms: u64,
}

/// Under what keys are proved.
#[derive(Debug, Clone, Copy)]
pub struct Under<'a> {
    /// Peppers of the credentials, newest first.
    pub peppers: &'a [Pepper],
    /// Number of the policies, which no others have: those of the facts' tables.
    pub policies: u64,
}

/// Tries authenticators in order; the first that knows the caller wins. Where none does, what is nearest to a proof
/// is told: expired before invalid before missing.
///
/// # Errors
/// Why nobody is proved.
pub fn authenticate<'a>(
    authenticators: impl Iterator<Item = &'a Authenticator>,
    under: Under<'_>,
    facts: &Facts<'_>,
    known: &mut KnownKeys,
) -> Result<Identity, Unproved> {
    if let Some(identity) = facts.assumed {
        known.forget_last();
        return Ok(identity);
    }
    let mut nearest = Unproved::Missing;
    for authenticator in authenticators {
        let unproved = match authenticator.find(facts.head) {
            Found::Missing => Unproved::Missing,
            Found::Several => Unproved::Invalid,
            Found::One(key) => match look_up(&key, under, facts, known) {
                Ok(identity) => return Ok(identity),
                Err(unproved) => unproved,
            },
        };
        nearest = nearest.max(unproved);
    }
    Err(nearest)
}

fn look_up(
    key: &[u8],
    under: Under<'_>,
    facts: &Facts<'_>,
    known: &mut KnownKeys,
) -> Result<Identity, Unproved> {
    if key.is_empty() || key.len() > API_KEY_BYTES_MAX {
        return Err(Unproved::Invalid);
    }
    let tag = known.tag(key);
    let proof = match known.find(under.policies, tag) {
        Some(proof) => proof,
        None => {
            let proof = prove(key, under.peppers, facts.tables).ok_or(Unproved::Invalid)?;
            known.keep(under.policies, tag, &proof);
            proof
        }
    };
    if facts.unix_ms > proof.not_after_unix_ms { Err(Unproved::Expired) } else { Ok(proof.identity) }
}

fn prove(key: &[u8], peppers: &[Pepper], tables: &Tables<'_>) -> Option<Proof> {
    let (index, row) = peppers.iter().find_map(|pepper| {
        let found = tables.find_credential(&api_key_digest(pepper, key));
        found.filter(|(_, row)| row.pepper_id == pepper.id())
    })?;
    Some(Proof { identity: Identity::of(tables, index)?, not_after_unix_ms: row.not_after_unix_ms })
}

/// A way of proving who calls, ready to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Authenticator {
    /// Name in the definition, and the realm.
    pub name: String,
    place: CredentialPlace,
    /// The name of the field, where that is its place.
    field: Option<FieldName>,
    hide: bool,
    challenge: Vec<u8>,
}

/// What stands in the place of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing.
    Missing,
    /// One value.
    One(Cow<'a, [u8]>),
    /// More than one: the gateway and an upstream could take different ones.
    Several,
}

impl Authenticator {
    /// Checks and lays out one authenticator.
    ///
    /// # Errors
    /// A place that no request can have.
    pub fn prepare(authenticator: &model::Authenticator) -> Result<Self, EditError> {
        let AuthenticatorKind::ApiKey { place, hide } = &authenticator.kind;
        match place {
            CredentialPlace::Header(name) if *hide => headers::check_name(name)?,
            CredentialPlace::Header(name) => headers::check_readable(name)?,
            CredentialPlace::Query(name) if name.is_empty() => {
                return Err(EditError::Name { name: name.clone() });
            }
            CredentialPlace::Query(_) => {}
            CredentialPlace::Cookie(name) => headers::check_cookie(name)?,
        }
        let mut challenge = b"ApiKey realm=".to_vec();
        crate::problem::write_string(&mut challenge, &authenticator.name);
        let field = match place {
            CredentialPlace::Header(name) => {
                Some(FieldName::new(name.as_bytes()).map_err(|_| EditError::Name { name: name.clone() })?)
            }
            _ => None,
        };
        Ok(Self { name: authenticator.name.clone(), place: place.clone(), field, hide: *hide, challenge })
    }

    /// Its item of `WWW-Authenticate`: `ApiKey realm="…"`.
    #[must_use]
    pub fn challenge(&self) -> Vec<u8> {
        self.challenge.clone()
    }

    /// Where it looks.
    #[must_use]
    pub fn place(&self) -> &CredentialPlace {
        &self.place
    }

    /// Whether the credential is taken out of what is forwarded.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.hide
    }

    /// What the request shows there.
    #[must_use]
    pub fn find<'a>(&'a self, head: &'a RequestHead) -> Found<'a> {
        match &self.place {
            CredentialPlace::Header(_) => {
                found(self.field.iter().flat_map(|name| head.fields_of(name)).map(Cow::Borrowed))
            }
            CredentialPlace::Query(name) => {
                found(shown_parameters(head.query(), name.as_bytes()).map(decoded))
            }
            CredentialPlace::Cookie(name) => found(shown_cookies(head, name.as_bytes()).map(Cow::Borrowed)),
        }
    }
}

/// The raw values of all parameters of this name.
fn shown_parameters<'a>(raw: Option<&'a [u8]>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let parameters = query::parameters(raw.unwrap_or_default());
    parameters.filter(move |(key, _)| query::decoded_eq(key, name)).map(|(_, value)| value)
}

/// The values of all cookies of this name.
fn shown_cookies<'a>(head: &'a RequestHead, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let cookies = head.values(FieldId::Cookie).flat_map(cookie::cookies);
    cookies.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Cow::Owned(query::decoded(raw).collect())
    } else {
        Cow::Borrowed(raw)
    }
}

fn found<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::Missing,
        (Some(value), None) => Found::One(value),
        (Some(_), Some(_)) => Found::Several,
    }
}
