//! Data tests of whole chains: a real snapshot, real heads in, real heads out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use ringway_snapshot::Snapshot;
use ringway_snapshot::builder::{BuildOptions, build};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::keys::{Pepper, SigningKey, Trust, api_key_digest};
use ringway_snapshot::model::{
    Application, Authenticator, AuthenticatorKind, Chain as ModelChain, Credential, CredentialPlace,
    FieldEdit, Limit, LimitKey, LimitScope, Mode, Model, OnMissing, Policy, Step as ModelStep,
};
use ringway_snapshot::reader::AlignedBytes;
use ringway_snapshot::seal::SealKey;
use ringway_snapshot::tables::CredentialIndex;
use ringway_wire::http1::{
    Parse, RequestExtra, RequestFacts, RequestLine, ResponseExtra, parse_request, parse_response,
    write_request_head, write_response_head,
};
use ringway_wire::{Buffer, Framing, HeadLimits, Method, Overlay, RequestHead, Version};

use crate::memory::Memory;

use super::{
    Chain, Decisions, Facts, Identity, Prepared, Query, Refused, Trace, run_refusal, run_request,
    run_response,
};
use crate::limit::{HashKey, NodeCells};
use crate::prepare::Definitions;

const SECOND: u64 = 1_000_000_000;
const NOW_UNIX_MS: u64 = 1_800_000_000_000;
const LONG_KEY: [u8; 600] = [b'k'; 600];

/// A generation with two applications (`acme` with keys `good` and `old`, `beta` with `other`), and a worker.
struct World {
    snapshot: Snapshot,
    prepared: Prepared,
    memory: Memory,
    mono_ns: u64,
    assumed: bool,
}

fn pepper() -> Pepper {
    Pepper::of(&SealKey::from_bytes([9; 32]).unwrap()).unwrap()
}

fn credential(id: u128, key: &[u8], prefix: &str, not_after_unix_ms: Option<u64>) -> Credential {
    let pepper = pepper();
    let digest = api_key_digest(&pepper, key);
    Credential { id, pepper_id: pepper.id(), digest, prefix: prefix.to_owned(), not_after_unix_ms }
}

fn authenticator(name: &str, place: CredentialPlace, hide: bool) -> Authenticator {
    Authenticator { name: name.to_owned(), kind: AuthenticatorKind::ApiKey { place, hide } }
}

fn limit(name: &str, count: u64, by: LimitKey, on_missing: OnMissing) -> Limit {
    let id = ringway_snapshot::id::limit(name).0;
    let scope = LimitScope::Node;
    Limit { name: name.to_owned(), id, count, per_ms: 60_000, burst: count, by, on_missing, scope }
}

fn enforce(policy: Policy) -> ModelStep {
    ModelStep { mode: Mode::Enforce, policy }
}

fn shadow(policy: Policy) -> ModelStep {
    ModelStep { mode: Mode::Shadow, policy }
}

fn known(any_of: &[u32]) -> Policy {
    Policy::Authenticate { any_of: any_of.to_vec(), applications: Vec::new() }
}

/// As [`known`], and one of these applications.
fn allowed(any_of: &[u32], applications: &[u32]) -> Policy {
    Policy::Authenticate { any_of: any_of.to_vec(), applications: applications.to_vec() }
}

/// Authenticators: 0 header `x-api-key` hidden, 1 parameter `key` hidden, 2 cookie `session` hidden, 3 header `x-shown`.
/// Limits: 0 `gold` 2 a minute by application, 1 `all` 3 a minute, 2 `tenant` 1 a minute by header or refused,
/// 3 `peers` 1 a minute by header or address, 4 `maybe` 1 a minute by header or not at all.
fn world(steps: Vec<ModelStep>) -> World {
    let header = |name: &str| CredentialPlace::Header(name.to_owned());
    let tenant = || LimitKey::Header("x-tenant".to_owned());
    let model = Model {
        authenticators: vec![
            authenticator("keys", header("x-api-key"), true),
            authenticator("parameters", CredentialPlace::Query("key".to_owned()), true),
            authenticator("cookies", CredentialPlace::Cookie("session".to_owned()), true),
            authenticator("shown \"ones\"", header("x-shown"), false),
        ],
        limits: vec![
            limit("gold", 2, LimitKey::Application, OnMissing::Reject),
            limit("all", 3, LimitKey::All, OnMissing::Skip),
            limit("tenant", 1, tenant(), OnMissing::Reject),
            limit("peers", 1, tenant(), OnMissing::Ip),
            limit("maybe", 1, tenant(), OnMissing::Skip),
        ],
        chains: vec![ModelChain::default(), ModelChain { name: "public".to_owned(), steps }],
        applications: vec![
            Application {
                name: "acme".to_owned(),
                id: 0xa,
                credentials: vec![
                    credential(0xa1, b"good", "rw_good", None),
                    credential(0xa2, b"old", "rw_old", Some(NOW_UNIX_MS - 1)),
                ],
            },
            Application {
                name: "beta".to_owned(),
                id: 0xb,
                credentials: vec![credential(0xb1, b"other", "rw_other", Some(NOW_UNIX_MS))],
            },
        ],
        ..Model::default()
    };
    let signing = SigningKey::from_seed([1; 32]).unwrap();
    let options = BuildOptions { generation: 1, parent_hash: ContentHash([0; 32]), signing: &signing };
    let bytes = build(&model, &options).unwrap();
    let snapshot = Snapshot::open(AlignedBytes::copy(&bytes), &Trust::of(&signing)).unwrap();
    let prepared = Prepared::from(&snapshot, &[pepper()], 2).unwrap();
    let memory = Memory::new(Arc::new(NodeCells::new(HashKey([5; 16]), 100)), HashKey([6; 16]));
    World { snapshot, prepared, memory, mono_ns: SECOND, assumed: false }
}

fn head(lines: &str) -> RequestHead {
    let text = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
    match parse_request(Buffer::copied_from(text.as_bytes()), &HeadLimits::DEFAULT) {
        Parse::Complete(head) => head,
        other => panic!("{other:?}"),
    }
}

impl World {
    fn chain(&self) -> Chain {
        self.prepared.chain(1).unwrap().clone()
    }

    fn run(
        &mut self,
        head: &RequestHead,
        overlay: &mut Overlay,
        trace: Option<&mut Trace>,
    ) -> (Result<(), Refused>, Decisions) {
        let tables = self.snapshot.tables();
        let assumed = self.assumed.then(|| Identity::of(tables, CredentialIndex(0)).unwrap());
        let facts = Facts {
            head,
            tables,
            client: "192.0.2.1".parse().unwrap(),
            route_id: 77,
            mono_ns: self.mono_ns,
            unix_ms: NOW_UNIX_MS,
            assumed,
        };
        let (chain, mut decisions) = (self.prepared.chain(1).unwrap(), Decisions::default());
        let memory = &mut self.memory;
        let verdict = run_request(&self.prepared, chain, &facts, memory, overlay, &mut decisions, trace);
        (verdict, decisions)
    }

    /// Runs a request and prints all that came of it.
    fn tell(&mut self, lines: &str) -> String {
        let head = head(lines);
        let mut overlay = Overlay::take();
        let mut trace = Trace::default();
        let (verdict, decisions) = self.run(&head, &mut overlay, Some(&mut trace));
        let mut out = trace.lines().iter().map(|line| format!("- {line}\n")).collect::<String>();
        match &verdict {
            Ok(()) => {
                out += &forwarded(&head, &decisions, &overlay);
                out += "---\n";
                out += &self.replied(&decisions);
            }
            Err(refused) => out += &self.refused(refused, &decisions),
        }
        if let Some(identity) = decisions.identity {
            out += &format!("identity: {:x} {:x}\n", identity.application_id, identity.credential_id);
        }
        if !decisions.shadow.is_empty() {
            out += &format!("shadow: {:b}\n", decisions.shadow.bits());
        }
        out
    }

    fn refused(&self, refused: &Refused, decisions: &Decisions) -> String {
        let chain = self.chain();
        let mut fields = Vec::new();
        refused.fields(&self.prepared, &chain, decisions, &mut fields);
        let mut out = format!("{} {}\n", refused.outcome.status().unwrap(), refused.outcome);
        for (name, value) in fields {
            out += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
        }
        let mut body = Vec::new();
        refused.write_problem(&self.prepared, &chain, decisions, b"/orders", "0193", &mut body);
        out + &String::from_utf8(body).unwrap()
    }

    fn replied(&self, decisions: &Decisions) -> String {
        let text = "HTTP/1.1 200 OK\r\nServer: nginx\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n";
        let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
        let parsed = parse_response(Buffer::copied_from(text.as_bytes()), facts, &HeadLimits::DEFAULT);
        let Parse::Complete(head) = parsed else { panic!("{parsed:?}") };
        let mut overlay = Overlay::take();
        run_response(&self.prepared, self.prepared.chain(1).unwrap(), decisions, &mut overlay).unwrap();
        let mut out = Vec::new();
        let extra = ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: None };
        write_response_head(&mut out, &head, &overlay, Framing::Length(0), &extra);
        String::from_utf8(out).unwrap().replace("\r\n\r\n", "\n").replace("\r\n", "\n")
    }

    fn check(&mut self, lines: &str, expected: Expect) {
        expected.assert_eq(&self.tell(lines));
    }
}

fn forwarded(head: &RequestHead, decisions: &Decisions, overlay: &Overlay) -> String {
    let line = match &decisions.query {
        Query::Kept => RequestLine::of(head),
        Query::Removed => RequestLine::new(head.path(), None).unwrap(),
        Query::Replaced(query) => RequestLine::new(head.path(), Some(query)).unwrap(),
    };
    let mut out = Vec::new();
    write_request_head(&mut out, head, overlay, line, Framing::Empty, &RequestExtra::default());
    String::from_utf8(out).unwrap().replace("\r\n\r\n", "\n").replace("\r\n", "\n")
}

const GET: &str = "GET /orders HTTP/1.1\nHost: a";

fn set(name: &str, value: &str) -> FieldEdit {
    FieldEdit::Set { name: name.to_owned(), value: value.to_owned() }
}

fn append(name: &str, value: &str) -> FieldEdit {
    FieldEdit::Append { name: name.to_owned(), value: value.to_owned() }
}

fn remove(name: &str) -> FieldEdit {
    FieldEdit::Remove { name: name.to_owned() }
}

fn rename(from: &str, to: &str) -> FieldEdit {
    FieldEdit::Rename { from: from.to_owned(), to: to.to_owned() }
}

#[test]
fn the_empty_chain_changes_nothing() {
    world(Vec::new()).check(
        &format!("{GET}\nCookie: session=s\nX-Api-Key: k"),
        expect![[r#"
        GET /orders HTTP/1.1
        Host: a
        Cookie: session=s
        X-Api-Key: k
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
    "#]],
    );
}

#[test]
fn a_good_key_in_a_field_is_known_and_hidden() {
    let mut world = world(vec![enforce(known(&[0]))]);
    world.check(
        &format!("{GET}\nX-API-Key: good\nX-Shown: good\nAccept: */*"),
        expect![[r#"
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys)
        GET /orders HTTP/1.1
        Host: a
        X-Shown: good
        Accept: */*
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
    "#]],
    );
}

#[test]
fn who_is_known_and_not_among_those_allowed_is_403_and_asked_for_nothing() {
    let mut world = world(vec![enforce(allowed(&[0], &[1]))]);
    world.check(
        &format!("{GET}\nX-API-Key: good"),
        expect![[r#"
            - authenticate: refuses: known as application acme, credential rw_good…, which is not allowed here (authenticators: keys; applications: beta)
            403 forbidden
            {"type":"urn:ringway:problem/forbidden","title":"Forbidden","status":403,"detail":"The credential is good, and its application is not among those that may do this.","instance":"/orders","request_id":"0193"}
            identity: a a1
        "#]],
    );
    world.check(&format!("{GET}\nX-API-Key: other"), expect![[r#"
        - authenticate: passes: known as application beta, credential rw_other… (authenticators: keys; applications: beta)
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: b b1
    "#]]);
    world.check(&format!("{GET}\nX-API-Key: old"), expect![[r#"
        - authenticate: refuses: the credential has expired (authenticators: keys; applications: beta)
        401 credential_expired
        WWW-Authenticate: ApiKey realm="keys"
        {"type":"urn:ringway:problem/credential-expired","title":"Credential expired","status":401,"detail":"The credential is known and past its expiry.","instance":"/orders","request_id":"0193"}
    "#]]);
}

#[test]
fn who_may_pass_is_only_noted_in_shadow_mode() {
    let mut world = world(vec![shadow(allowed(&[0], &[1]))]);
    world.check(&format!("{GET}\nX-API-Key: good"), expect![[r#"
        - authenticate (shadow): would refuse: known as application acme, credential rw_good…, which is not allowed here (authenticators: keys; applications: beta)
        GET /orders HTTP/1.1
        Host: a
        X-API-Key: good
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
        shadow: 1000000
    "#]]);
    world.check(&format!("{GET}\nX-API-Key: other"), expect![[r#"
        - authenticate (shadow): would pass: known as application beta, credential rw_other… (authenticators: keys; applications: beta)
        GET /orders HTTP/1.1
        Host: a
        X-API-Key: other
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: b b1
    "#]]);
}

#[test]
fn a_missing_key_is_told_where_it_is_expected() {
    world(vec![enforce(known(&[0, 1, 2, 3]))]).check(GET, expect![[r#"
        - authenticate: refuses: no credential in the request (authenticators: keys, parameters, cookies, shown "ones")
        401 credential_missing
        WWW-Authenticate: ApiKey realm="keys"
        WWW-Authenticate: ApiKey realm="parameters"
        WWW-Authenticate: ApiKey realm="cookies"
        WWW-Authenticate: ApiKey realm="shown \"ones\""
        {"type":"urn:ringway:problem/credential-missing","title":"Credential missing","status":401,"detail":"An API key is expected in the field x-api-key or the query parameter key or the cookie session or the field x-shown.","instance":"/orders","request_id":"0193"}
    "#]]);
}

#[test]
fn keys_that_prove_nothing_are_refused_by_what_is_nearest_to_a_proof() {
    let mut world = world(vec![enforce(known(&[0, 1]))]);
    let mut outcome = |head: &RequestHead| match world.run(head, &mut Overlay::take(), None) {
        (Ok(()), decisions) => format!("{:x}", decisions.identity.unwrap().credential_id),
        (Err(refused), _) => refused.outcome.name().to_owned(),
    };
    let long = String::from_utf8(LONG_KEY.to_vec()).unwrap();
    for (lines, expected) in [
        ("X-API-Key: good".to_owned(), "a1"),
        ("X-API-Key: other".to_owned(), "b1"),
        ("X-API-Key: Good".to_owned(), "credential_invalid"),
        ("X-API-Key:".to_owned(), "credential_invalid"),
        (format!("X-API-Key: {long}"), "credential_invalid"),
        ("X-API-Key: good\nX-API-Key: good".to_owned(), "credential_invalid"),
        ("X-API-Key: old".to_owned(), "credential_expired"),
        ("X-Other: good".to_owned(), "credential_missing"),
    ] {
        assert_eq!(outcome(&head(&format!("{GET}\n{lines}"))), expected, "{lines}");
    }
    let mut query =
        |query: &str, field: &str| outcome(&head(&format!("GET /?{query} HTTP/1.1\nHost: a{field}")));
    assert_eq!(query("key=good", ""), "a1");
    assert_eq!(query("%6bey=g%6fod", ""), "a1");
    assert_eq!(query("key=good&key=other", ""), "credential_invalid");
    assert_eq!(query("key=good", "\nX-API-Key: old"), "a1");
    assert_eq!(query("key=bad", "\nX-API-Key: old"), "credential_expired");
    assert_eq!(query("key=old", "\nX-API-Key: bad"), "credential_expired");
}

#[test]
fn a_key_in_a_parameter_or_cookie_is_hidden_and_the_rest_stays() {
    let mut world = world(vec![enforce(known(&[0, 1, 2]))]);
    let lines = "GET /o?a=%41&key=good&b= HTTP/1.1\nHost: a\nCookie: x=1; session=bad; y=2\nX-API-Key: bad";
    world.check(lines, expect![[r#"
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys, parameters, cookies)
        GET /o?a=%41&b= HTTP/1.1
        Host: a
        Cookie: x=1; y=2
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
    "#]]);
    let lines = "GET /o?key=bad HTTP/1.1\nHost: a\nCookie: session=other";
    world.check(lines, expect![[r#"
        - authenticate: passes: known as application beta, credential rw_other… (authenticators: keys, parameters, cookies)
        GET /o HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: b b1
    "#]]);
}

#[test]
fn two_steps_both_demand_a_proof_and_hide_together() {
    let mut world = world(vec![enforce(known(&[2])), enforce(known(&[0]))]);
    world.check(
        &format!("{GET}\nCookie: session=other; a=1\nX-API-Key: good"),
        expect![[r#"
        - authenticate: passes: known as application beta, credential rw_other… (authenticators: cookies)
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys)
        GET /orders HTTP/1.1
        Host: a
        Cookie: a=1
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
    "#]],
    );
    world.check(&format!("{GET}\nCookie: session=other; a=1"), expect![[r#"
        - authenticate: passes: known as application beta, credential rw_other… (authenticators: cookies)
        - authenticate: refuses: no credential in the request (authenticators: keys)
        401 credential_missing
        WWW-Authenticate: ApiKey realm="keys"
        {"type":"urn:ringway:problem/credential-missing","title":"Credential missing","status":401,"detail":"An API key is expected in the field x-api-key.","instance":"/orders","request_id":"0193"}
        identity: b b1
    "#]]);
}

#[test]
fn a_limit_by_application_counts_down_and_then_refuses() {
    let mut world = world(vec![enforce(known(&[0])), enforce(Policy::Limit(0)), enforce(Policy::Limit(1))]);
    let lines = format!("{GET}\nX-API-Key: good");
    world.check(
        &lines,
        expect![[r#"
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys)
        - limit: passes: limit gold: 1 of 2 left
        - limit: passes: limit all: 2 of 3 left
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        RateLimit-Policy: "gold";q=2;w=60, "all";q=3;w=60
        RateLimit: "gold";r=1;t=30, "all";r=2;t=20
        Content-Length: 0
        identity: a a1
    "#]],
    );
    world.tell(&lines);
    world.check(&lines, expect![[r#"
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys)
        - limit: refuses: limit gold: used up, again in 30 s
        429 rate_limited
        Retry-After: 30
        RateLimit-Policy: "gold";q=2;w=60, "all";q=3;w=60
        RateLimit: "gold";r=0;t=30
        {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"The limit gold is used up; it takes a request again in 30 s.","instance":"/orders","request_id":"0193","violated-policies":["gold"]}
        identity: a a1
    "#]]);
    // Another application has a cell of its own, and what was refused did not consume the limit for all.
    world.check(
        &format!("{GET}\nX-API-Key: other"),
        expect![[r#"
        - authenticate: passes: known as application beta, credential rw_other… (authenticators: keys)
        - limit: passes: limit gold: 1 of 2 left
        - limit: passes: limit all: 0 of 3 left
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        RateLimit-Policy: "gold";q=2;w=60, "all";q=3;w=60
        RateLimit: "gold";r=1;t=30, "all";r=0;t=20
        Content-Length: 0
        identity: b b1
    "#]],
    );
}

#[test]
fn a_request_that_a_later_limit_refuses_consumes_nothing() {
    let mut world = world(vec![enforce(Policy::Limit(1)), enforce(Policy::Limit(2))]);
    let with_tenant = head(&format!("{GET}\nX-Tenant: t"));
    assert_eq!(world.run(&with_tenant, &mut Overlay::take(), None).0, Ok(()));
    for _ in 0..10 {
        let refused = world.run(&with_tenant, &mut Overlay::take(), None).0.unwrap_err();
        assert_eq!(refused.limit_id, ringway_snapshot::id::limit("tenant").0);
    }
    let other = head(&format!("{GET}\nX-Tenant: u"));
    let (verdict, decisions) = world.run(&other, &mut Overlay::take(), None);
    assert_eq!(verdict, Ok(()), "consumed");
    let all = decisions.counts.as_slice()[0];
    assert_eq!(world.prepared.limit(all.limit).unwrap().gcra().remaining(all.debt), 1);
}

#[test]
fn what_counts_beside_a_known_key_is_given_back_as_well() {
    let mut world = world(vec![enforce(known(&[0])), enforce(Policy::Limit(0)), enforce(Policy::Limit(2))]);
    let mut refused_by = |tenant: &str| {
        let head = head(&format!("{GET}\nX-API-Key: good\nX-Tenant: {tenant}"));
        world.run(&head, &mut Overlay::take(), None).0.err().map(|refused| refused.limit_id)
    };
    let id = |name| Some(ringway_snapshot::id::limit(name).0);
    assert_eq!(refused_by("t"), None);
    for _ in 0..10 {
        assert_eq!(refused_by("t"), id("tenant"));
    }
    assert_eq!((refused_by("u"), refused_by("v")), (None, id("gold")));
}

#[test]
fn a_request_without_the_limits_key_is_treated_as_the_limit_says() {
    world(vec![enforce(Policy::Limit(2))]).check(GET, expect![[r#"
        - limit: refuses: limit tenant: the request lacks its key
        429 rate_limited
        RateLimit-Policy: "tenant";q=1;w=60
        {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"The request lacks what the limit tenant goes by.","instance":"/orders","request_id":"0193","violated-policies":["tenant"]}
    "#]]);
    world(vec![enforce(Policy::Limit(4))]).check(
        GET,
        expect![[r#"
        - limit: passes: limit maybe: the request lacks its key and is not counted
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        RateLimit-Policy: "maybe";q=1;w=60
        Content-Length: 0
    "#]],
    );
    let mut by_address = world(vec![enforce(Policy::Limit(3))]);
    by_address.tell(GET);
    by_address.check(GET, expect![[r#"
        - limit: refuses: limit peers: used up, again in 60 s
        429 rate_limited
        Retry-After: 60
        RateLimit-Policy: "peers";q=1;w=60
        RateLimit: "peers";r=0;t=60
        {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"The limit peers is used up; it takes a request again in 60 s.","instance":"/orders","request_id":"0193","violated-policies":["peers"]}
    "#]]);
}

#[test]
fn fields_of_both_directions_are_edited_in_order() {
    let request = vec![
        set("x-edge", "par1"),
        append("accept", "text/plain"),
        rename("x-old", "x-new"),
        remove("x-secret"),
        set("x-new", "again"),
    ];
    let response = vec![remove("server"), rename("x-a", "x-b"), append("x-a", "2"), set("x-c", "3")];
    let mut world = world(vec![enforce(Policy::Headers { request, response })]);
    world.check(
        &format!("{GET}\nX-Edge: forged\nAccept: */*\nX-Old: 1\nX-Secret: s"),
        expect![[r#"
        - headers: passes: edits: 5 of the request, 4 of the reply
        GET /orders HTTP/1.1
        Host: a
        Accept: */*
        x-edge: par1
        accept: text/plain
        x-new: again
        ---
        HTTP/1.1 200 OK
        x-b: 1
        x-a: 2
        x-c: 3
        Content-Length: 0
    "#]],
    );
}

#[test]
fn an_edit_may_put_a_key_of_our_own_where_the_callers_was() {
    let request = vec![set("x-api-key", "ours")];
    let edits = Policy::Headers { request, response: vec![remove("ratelimit-policy"), remove("ratelimit")] };
    let mut world = world(vec![enforce(known(&[0])), enforce(Policy::Limit(1)), enforce(edits)]);
    world.check(
        &format!("{GET}\nX-API-Key: good"),
        expect![[r#"
        - authenticate: passes: known as application acme, credential rw_good… (authenticators: keys)
        - limit: passes: limit all: 2 of 3 left
        - headers: passes: edits: 1 of the request, 2 of the reply
        GET /orders HTTP/1.1
        Host: a
        x-api-key: ours
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
    "#]],
    );
}

#[test]
fn shadow_decides_and_records_and_does_not_act() {
    let edits = Policy::Headers { request: vec![set("x-a", "1")], response: vec![set("x-a", "2")] };
    let mut world = world(vec![shadow(known(&[0])), shadow(Policy::Limit(0)), shadow(edits)]);
    let lines = format!("{GET}\nX-API-Key: good");
    world.check(&lines, expect![[r#"
        - authenticate (shadow): would pass: known as application acme, credential rw_good… (authenticators: keys)
        - limit (shadow): would pass: limit gold: 1 of 2 left
        - headers (shadow): would pass: edits: 1 of the request, 1 of the reply
        GET /orders HTTP/1.1
        Host: a
        X-API-Key: good
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
    "#]]);
    world.tell(&lines);
    world.check(&lines, expect![[r#"
        - authenticate (shadow): would pass: known as application acme, credential rw_good… (authenticators: keys)
        - limit (shadow): would refuse: limit gold: used up, again in 30 s
        - headers (shadow): would pass: edits: 1 of the request, 1 of the reply
        GET /orders HTTP/1.1
        Host: a
        X-API-Key: good
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        identity: a a1
        shadow: 1000000000000
    "#]]);
    world.check(
        GET,
        expect![[r#"
        - authenticate (shadow): would refuse: no credential in the request (authenticators: keys)
        - limit (shadow): would refuse: limit gold: the request lacks its key
        - headers (shadow): would pass: edits: 1 of the request, 1 of the reply
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
        shadow: 1000001000000
    "#]],
    );
}

#[test]
fn off_is_skipped() {
    let off = |policy| ModelStep { mode: Mode::Off, policy };
    let edits = Policy::Headers { request: vec![set("x-a", "1")], response: vec![set("x-a", "2")] };
    world(vec![off(known(&[0])), off(Policy::Limit(2)), off(edits)]).check(
        GET,
        expect![[r#"
        - authenticate (off): skipped
        - limit (off): skipped
        - headers (off): skipped
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        Content-Length: 0
    "#]],
    );
}

#[test]
fn a_refusal_has_its_rate_limit_fields_once_and_the_chains_edits() {
    let edits = Policy::Headers { request: Vec::new(), response: vec![set("x-edge", "par1")] };
    let mut world = world(vec![enforce(Policy::Limit(2)), enforce(edits)]);
    let (verdict, decisions) = world.run(&head(GET), &mut Overlay::take(), None);
    let refused = verdict.unwrap_err();
    let chain = world.chain();
    let mut fields = Vec::new();
    refused.fields(&world.prepared, &chain, &decisions, &mut fields);
    assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["RateLimit-Policy"]);
    let mut overlay = Overlay::take();
    run_refusal(&chain, &mut overlay).unwrap();
    let mut out = Vec::new();
    let line = RequestLine::new(b"/", None).unwrap();
    write_request_head(&mut out, &head(GET), &overlay, line, Framing::Empty, &RequestExtra::default());
    assert_eq!(String::from_utf8(out).unwrap(), "GET / HTTP/1.1\r\nHost: a\r\nx-edge: par1\r\n\r\n");
}

#[test]
fn explain_may_take_an_identity_for_proved() {
    let mut world = world(vec![enforce(known(&[0])), enforce(Policy::Limit(0))]);
    world.assumed = true;
    world.check(
        GET,
        expect![[r#"
        - authenticate: passes: taken for application acme, credential rw_good… (authenticators: keys)
        - limit: passes: limit gold: 1 of 2 left
        GET /orders HTTP/1.1
        Host: a
        ---
        HTTP/1.1 200 OK
        Server: nginx
        X-A: 1
        RateLimit-Policy: "gold";q=2;w=60
        RateLimit: "gold";r=1;t=30
        Content-Length: 0
        identity: a a1
    "#]],
    );
}

#[test]
fn what_cannot_be_carried_out_is_not_prepared() {
    let base = world(Vec::new());
    let prepare = |steps: Vec<ModelStep>| {
        let chains = [ModelChain { name: "c".to_owned(), steps }];
        let definitions = Definitions {
            chains: &chains,
            limits: base.snapshot.limits(),
            authenticators: base.snapshot.authenticators(),
            peppers: &[],
        };
        Prepared::new(definitions, 1).unwrap_err().to_string()
    };
    assert_eq!(
        prepare(vec![enforce(Policy::Limit(0)), enforce(known(&[0]))]),
        r#"chain "c" has limit before a step that comes ahead of it"#
    );
    assert_eq!(prepare(vec![enforce(Policy::Limit(9))]), r#"chain "c" names a limit that does not exist"#);
    assert_eq!(
        prepare(vec![enforce(known(&[9]))]),
        r#"chain "c" names an authenticator that does not exist"#
    );
    assert_eq!(prepare(vec![enforce(known(&[]))]), r#"chain "c" names an authenticator that does not exist"#);
    assert_eq!(
        prepare(vec![enforce(known(&[0; 9]))]),
        r#"chain "c" has more than 8 authenticators in one step"#
    );
    assert_eq!(prepare(vec![shadow(Policy::Limit(0)); 9]), r#"chain "c" has more than 8 limits"#);
    let edits = Policy::Headers { request: vec![set("host", "b")], response: Vec::new() };
    assert_eq!(prepare(vec![enforce(edits)]), r#"chain "c" holds an edit that cannot be made"#);
    let error = Prepared::from(&base.snapshot, &[], 1).unwrap_err();
    assert!(matches!(error, crate::prepare::PrepareError::Pepper { .. }), "{error}");
}

#[test]
fn what_a_request_carries_of_its_chain_stays_small() {
    assert!(size_of::<Decisions>() <= 256, "{}", size_of::<Decisions>());
    assert!(size_of::<Refused>() <= 64, "{}", size_of::<Refused>());
}
