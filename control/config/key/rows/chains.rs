//! Chains and their policies.

use super::super::Fallback::{Absent, Required, Value};
use super::super::{Form, Names, Row};
use super::{later, one, row};
use crate::config::scalar::Scalar;
use crate::config::scalar::Scalar::{Choice, Name};

pub(super) static ROWS: &[Row] = &[
    // Chains.
    row(
        "chains",
        Form::named(Names::Identifier),
        Absent,
        "Policies in order, named, for use in many routes.",
        "",
    ),
    row(
        "chains.*",
        Form::LIST,
        Absent,
        "A chain.",
        "[{authenticate: partner_key}, {limit: per_application}]",
    ),
    row(
        "chains.*[]",
        Form::KEYS,
        Absent,
        "One policy and its mode.",
        "{limit: per_application, mode: shadow}",
    ),
    row(
        "chains.*[].authenticate",
        one(Name("authenticators")).or_keys("any_of"),
        Absent,
        "Who calls must be known; the name of an authenticator, or a map.",
        "partner_key",
    ),
    row(
        "chains.*[].authenticate.any_of",
        Form { scalar: Some(Name("authenticators")), ..Form::LIST },
        Required,
        "Authenticators, tried in order.",
        "[partner_key]",
    ),
    row(
        "chains.*[].authenticate.any_of[]",
        one(Name("authenticators")),
        Absent,
        "An authenticator.",
        "partner_key",
    ),
    row(
        "chains.*[].limit",
        one(Name("limits")),
        Absent,
        "This rate must not be exceeded.",
        "per_application",
    ),
    row("chains.*[].headers", Form::KEYS, Absent, "Edits of fields.", "{request: {set: {X-Edge: par1}}}"),
    row(
        "chains.*[].headers.request",
        Form::KEYS,
        Absent,
        "Of what the upstream gets.",
        "{remove: [X-Debug]}",
    ),
    row(
        "chains.*[].headers.request.rename",
        Form::named(Names::Field),
        Absent,
        "Give fields another name: `{old: new}`.",
        "{X-User: X-Customer}",
    ),
    row("chains.*[].headers.request.rename.*", one(Scalar::FieldName), Absent, "The new name.", "X-Customer"),
    row("chains.*[].headers.request.remove", Form::LIST, Absent, "Take fields out.", "[X-Debug]"),
    row("chains.*[].headers.request.remove[]", one(Scalar::FieldName), Absent, "A field.", "X-Debug"),
    row(
        "chains.*[].headers.request.set",
        Form::named(Names::Field),
        Absent,
        "Replace all fields of a name by one.",
        "{X-Edge: par1}",
    ),
    row("chains.*[].headers.request.set.*", one(Scalar::FieldValue), Absent, "The value.", "par1"),
    row(
        "chains.*[].headers.request.append",
        Form::named(Names::Field),
        Absent,
        "Add one more field.",
        "{X-Via: edge}",
    ),
    row("chains.*[].headers.request.append.*", one(Scalar::FieldValue), Absent, "The value.", "edge"),
    row("chains.*[].headers.response", Form::KEYS, Absent, "Of what the client gets.", "{remove: [Server]}"),
    row(
        "chains.*[].headers.response.rename",
        Form::named(Names::Field),
        Absent,
        "Give fields another name: `{old: new}`.",
        "{X-Took: Server-Timing}",
    ),
    row(
        "chains.*[].headers.response.rename.*",
        one(Scalar::FieldName),
        Absent,
        "The new name.",
        "Server-Timing",
    ),
    row("chains.*[].headers.response.remove", Form::LIST, Absent, "Take fields out.", "[Server]"),
    row("chains.*[].headers.response.remove[]", one(Scalar::FieldName), Absent, "A field.", "Server"),
    row(
        "chains.*[].headers.response.set",
        Form::named(Names::Field),
        Absent,
        "Replace all fields of a name by one.",
        "{X-Frame-Options: DENY}",
    ),
    row("chains.*[].headers.response.set.*", one(Scalar::FieldValue), Absent, "The value.", "DENY"),
    row(
        "chains.*[].headers.response.append",
        Form::named(Names::Field),
        Absent,
        "Add one more field.",
        "{Vary: Origin}",
    ),
    row("chains.*[].headers.response.append.*", one(Scalar::FieldValue), Absent, "The value.", "Origin"),
    row(
        "chains.*[].mode",
        one(Choice(&["enforce", "shadow", "off"], &[])),
        Value("enforce"),
        "Whether it acts; `shadow` decides, counts and records, but does not act.",
        "shadow",
    ),
    later("chains.*[].cors", "Cross-origin requests"),
    later("chains.*[].cache", "Caching"),
    later("chains.*[].authorize", "Authorisation by expression"),
    later("chains.*[].validate", "Validation against an OpenAPI document"),
    later("chains.*[].transform", "Transformation of bodies"),
];
