//! Whatever head comes, a chain that hides credentials forwards a valid head without them, and never panics.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use ringway_policy::api_key::{Found, Identity};
use ringway_policy::chain::{Decisions, Query, run_request};
use ringway_policy::facts::Facts;
use ringway_policy::limit::{HashKey, NodeCells};
use ringway_policy::memory::Memory;
use ringway_policy::prepare::Prepared;
use ringway_snapshot::Snapshot;
use ringway_snapshot::builder::{BuildOptions, build};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::keys::{Pepper, SigningKey, Trust};
use ringway_snapshot::model::{
    Application, Authenticator, AuthenticatorKind, Chain, Credential, CredentialPlace, FieldEdit, Mode,
    Model, Policy, Step,
};
use ringway_snapshot::reader::AlignedBytes;
use ringway_snapshot::seal::SealKey;
use ringway_snapshot::tables::CredentialIndex;
use ringway_wire::http1::{HostValue, Parse, RequestExtra, RequestLine, parse_request, write_request_head};
use ringway_wire::{Buffer, Framing, HeadLimits, Overlay, RequestHead};

static WORLD: LazyLock<(Snapshot, Prepared)> = LazyLock::new(world);

fn world() -> (Snapshot, Prepared) {
    let hidden = |name: &str, place| Authenticator {
        name: name.to_owned(),
        kind: AuthenticatorKind::ApiKey { place, hide: true },
    };
    let authenticate = Policy::Authenticate { any_of: vec![0, 1, 2], applications: Vec::new() };
    let edits = Policy::Headers {
        request: vec![
            FieldEdit::Rename { from: "accept".to_owned(), to: "x-a".to_owned() },
            FieldEdit::Append { name: "x-b".to_owned(), value: "1".to_owned() },
        ],
        response: Vec::new(),
    };
    let steps = [authenticate, edits].into_iter().map(|policy| Step { mode: Mode::Enforce, policy });
    let pepper = Pepper::of(&SealKey::from_bytes([9; 32]).unwrap()).unwrap();
    let (prefix, pepper_id) = ("k".to_owned(), pepper.id());
    let credential = Credential { id: 2, pepper_id, digest: [1; 32], prefix, not_after_unix_ms: None };
    let model = Model {
        authenticators: vec![
            hidden("field", CredentialPlace::Header("x-key".to_owned())),
            hidden("parameter", CredentialPlace::Query("k".to_owned())),
            hidden("cookie", CredentialPlace::Cookie("k".to_owned())),
        ],
        chains: vec![Chain::default(), Chain { name: "c".to_owned(), steps: steps.collect() }],
        applications: vec![Application { name: "a".to_owned(), id: 1, credentials: vec![credential] }],
        ..Model::default()
    };
    let signing = SigningKey::from_seed([1; 32]).unwrap();
    let options = BuildOptions { generation: 1, parent_hash: ContentHash([0; 32]), signing: &signing };
    let bytes = build(&model, &options).unwrap();
    let snapshot = Snapshot::open(AlignedBytes::copy(&bytes), &Trust::of(&signing)).unwrap();
    let prepared = Prepared::from(&snapshot, &[pepper], 1).unwrap();
    (snapshot, prepared)
}

fn parsed(bytes: &[u8]) -> Option<RequestHead> {
    match parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) {
        Parse::Complete(head) => Some(head),
        Parse::Partial(_) | Parse::Reject(..) => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (snapshot, prepared) = &*WORLD;
    let Some(head) = parsed(bytes) else { return };
    let tables = snapshot.tables();
    let facts = Facts {
        head: &head,
        tables,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        route_id: 1,
        mono_ns: 1,
        unix_ms: 1,
        assumed: Identity::of(tables, CredentialIndex(0)),
    };
    let mut memory = Memory::new(Arc::new(NodeCells::new(HashKey([1; 16]), 16)), HashKey([2; 16]));
    let mut overlay = Overlay::take();
    let (chain, mut decisions) = (prepared.chain(1).unwrap(), Decisions::default());
    run_request(prepared, chain, &facts, &mut memory, &mut overlay, &mut decisions, None).unwrap();
    let line = match &decisions.query {
        Query::Kept => RequestLine::of(&head),
        Query::Removed => RequestLine::new(head.path(), None).unwrap(),
        Query::Replaced(query) => RequestLine::new(head.path(), Some(query)).unwrap(),
    };
    let mut out = Vec::new();
    // HTTP/1.0 needs no Host; what is forwarded is HTTP/1.1, and the gateway names the upstream then.
    let host = if head.authority().is_empty() { HostValue::new(b"upstream") } else { None };
    let extra = RequestExtra { host, ..RequestExtra::default() };
    write_request_head(&mut out, &head, &overlay, line, Framing::Empty, &extra);
    // A head at its very limits may be beyond them with our field added.
    let Some(forwarded) = parsed(&out) else {
        assert!(out.len() + 64 > 32 * 1024 || head.field_lines().all().len() + 2 > 100, "not a head");
        return;
    };
    for index in 0..3 {
        let authenticator = prepared.authenticator(index).unwrap();
        assert_eq!(authenticator.find(&forwarded), Found::Missing, "{}", authenticator.name);
    }
});
