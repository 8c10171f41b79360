//! Every index and range that leads nowhere is found.

use proptest::prelude::*;

use crate::builder::{BuildOptions, build};
use crate::current::ContentHash;
use crate::error::{SemanticError, SnapshotError};
use crate::header::{Header, Section, seal_header};
use crate::model::{
    Action, Authenticator, AuthenticatorKind, CredentialPlace, Mode, Policy, Rewrite, RouteTimeout, Step,
};
use crate::rows::{
    ApplicationRow, ConditionRow, CredentialRow, ExtraRow, HostRow, MetaRow, NONE, NodeRow, RouteRow, Row,
    SlotRow, TextRow, VariableRow,
};
use crate::sample::{built, key, opened, sample};
use crate::tables::{ApplicationIndex, Condition, CredentialIndex, HostIndex, NodeIndex, RouteIndex, Tables};

/// Where a section starts in a file.
fn start(file: &[u8], section: Section) -> usize {
    let layout = Header::layout(file).unwrap();
    layout.of(file, section).as_ptr().addr() - file.as_ptr().addr()
}

/// Opens the sample with one field of one row overwritten, checksum and signature made good.
fn with<R: Row>(section: Section, row: usize, field: &str, value: &[u8]) -> Result<(), SnapshotError> {
    let mut file = built(&sample());
    let before = R::FIELDS.iter().take_while(|(name, _)| *name != field).map(|(_, size)| size).sum::<usize>();
    let width = R::FIELDS.iter().find(|(name, _)| *name == field).unwrap().1;
    let at = start(&file, section) + row * R::SIZE + before;
    file[at..at + width].copy_from_slice(&value[..width]);
    seal_header(&mut file, &key());
    opened(&file).map(|_| ())
}

fn what<R: Row>(section: Section, row: usize, field: &str, value: u64) -> &'static str {
    match with::<R>(section, row, field, &value.to_le_bytes()) {
        Err(SnapshotError::Semantic(SemanticError { section: found, what, .. })) => {
            assert_eq!(found, section, "{what}");
            what
        }
        other => panic!("{section:?} {row} {field}: {other:?}"),
    }
}

const NOWHERE: u64 = 1_000_000;

#[test]
fn a_host_that_leads_nowhere_is_refused() {
    let host = |row, field, value| what::<HostRow>(Section::Hosts, row, field, value);
    assert_eq!(host(0, "name_offset", NOWHERE), "its name is no text");
    assert_eq!(host(0, "name_length", 60_000), "its name is no text");
    assert_eq!(host(0, "kind", 3), "there is no such kind");
    assert_eq!(host(0, "path_policy", 3), "there is no such path policy");
    assert_eq!(host(0, "exact", 2), "a flag is 0 or 1");
    assert_eq!(host(1, "route_first", 0), "its routes do not follow those of the host before");
    assert_eq!(host(0, "route_count", NOWHERE), "there are fewer routes");
    assert_eq!(host(3, "route_count", 0), "routes are left that belong to no host");
    assert_eq!(host(3, "regex_count", 2), "more expressions than routes");
    assert_eq!(host(0, "depth", 64), "too deep");
    assert_eq!(host(0, "prefix_depths", 1 << 40), "a prefix is deeper than the host");
    assert_eq!(host(0, "template_root", NOWHERE), "the root of its templates is none");
    assert_eq!(host(0, "template_root", 1), "the root of its templates is none");
    assert_eq!(host(0, "regex_count", 3), "a group of routes reaches over its end");
    assert_eq!(what::<MetaRow>(Section::Meta, 0, "any_host", 0), "there is no such host");
}

#[test]
fn a_route_that_leads_nowhere_is_refused() {
    let route = |row, field, value| what::<RouteRow>(Section::Routes, row, field, value);
    assert_eq!(route(0, "text_offset", NOWHERE), "its name is no text");
    assert_eq!(route(0, "path_length", 60_000), "its path is longer than its name");
    assert_eq!(route(6, "path_length", 60_000), "its path is outside the arena");
    assert_eq!(route(0, "flags", 1 << 9), "there is no such flag");
    assert_eq!(route(0, "chain", NOWHERE), "there is no such chain");
    assert_eq!(route(0, "action", NOWHERE), "there is no such action");
    assert_eq!(route(0, "extra", NOWHERE), "there is no such extra");
    assert_eq!(route(0, "methods", 1 << 12), "there is no such method");
    assert_eq!(route(0, "methods", 1 << 15), "its other methods are missing");
    assert_eq!(route(0, "flags", 7 | 1 << 3), "there is no such kind of path");
    assert_eq!(route(0, "flags", 4 | 1 << 3), "its expression is missing");
}

#[test]
fn what_only_few_routes_have_leads_somewhere() {
    let extra = |field, value| what::<ExtraRow>(Section::Extras, 0, field, value);
    for field in ["method_first", "header_first", "query_first", "variable_first"] {
        assert_eq!(extra(field, NOWHERE), "a range reaches over the end");
    }
    assert_eq!(what::<ConditionRow>(Section::Conditions, 0, "kind", 3), "there is no such kind");
    assert_eq!(what::<ConditionRow>(Section::Conditions, 0, "value", NOWHERE), "its value is no text");
    assert_eq!(what::<ConditionRow>(Section::Conditions, 1, "value", 9), "there is no such expression");
    assert_eq!(what::<TextRow>(Section::Methods, 0, "offset", NOWHERE), "no text");
    assert_eq!(what::<TextRow>(Section::Regexes, 0, "offset", NOWHERE), "no text");
    assert_eq!(what::<VariableRow>(Section::Variables, 0, "name_offset", NOWHERE), "its name is no text");
}

#[test]
fn a_template_leads_on_and_never_round() {
    let node = |row, field, value| what::<NodeRow>(Section::Nodes, row, field, value);
    assert_eq!(node(1, "parent", 1), "its parent does not stand before it");
    assert_eq!(node(1, "parent", NONE.into()), "a root has no parent, all others one");
    assert_eq!(node(1, "kind", 0), "it belongs to no host");
    assert_eq!(node(1, "kind", 3), "there is no such kind");
    assert_eq!(node(1, "variable", 0), "its variable is not below it");
    assert_eq!(node(1, "variable", 3), "its variable is not below it");
    assert_eq!(node(3, "rest", 0), "no group of such routes begins at its end");
    assert_eq!(node(3, "text_offset", NOWHERE), "its segment is no text");
}

#[test]
fn hash_tables_and_identities_lead_somewhere() {
    let sections = [Section::HostSlots, Section::PathSlots, Section::NodeSlots, Section::CredentialSlots];
    for section in sections {
        assert_eq!(what::<SlotRow>(section, 0, "index", NOWHERE), "there is no such row");
    }
    let application = |row, field, value| what::<ApplicationRow>(Section::Applications, row, field, value);
    assert_eq!(application(1, "credential_first", 1), "its credentials do not follow those before");
    assert_eq!(application(1, "credential_count", 2), "its credentials are missing or another's");
    assert_eq!(application(0, "credential_count", 1), "its credentials are missing or another's");
    assert_eq!(application(1, "name_offset", NOWHERE), "its name is no text");
    let credential = |field, value| what::<CredentialRow>(Section::Credentials, 0, field, value);
    assert_eq!(credential("prefix_offset", NOWHERE), "its prefix is no text");
}

#[test]
fn a_section_table_that_lies_is_refused() {
    let table = crate::header::FIXED_BYTES;
    for (at, value) in
        [(table, 9), (table + 4, 1), (table + 8, 1), (table + 16, 255), (table + 24 * 23 + 16, 255)]
    {
        let mut file = built(&sample());
        file[at] = value;
        seal_header(&mut file, &key());
        assert!(matches!(opened(&file).unwrap_err(), SnapshotError::Layout(_)), "{at}");
    }
}

#[test]
fn an_archive_that_is_none_is_refused() {
    let mut file = built(&sample());
    let at = start(&file, Section::Chains);
    let end = start(&file, Section::Actions);
    file[at..end].fill(0xff);
    seal_header(&mut file, &key());
    assert_eq!(opened(&file).unwrap_err(), SnapshotError::Archive(Section::Chains));
}

#[test]
fn small_sections_lead_somewhere() {
    let refused = |change: &dyn Fn(&mut crate::reader::Small)| {
        let model = sample();
        let mut small = crate::reader::Small {
            upstreams: model.upstreams,
            limits: model.limits,
            chains: model.chains,
            actions: vec![Action::Proxy {
                upstream: 0,
                rewrite: Rewrite::default(),
                timeout: RouteTimeout::default(),
            }],
            ..crate::reader::Small::default()
        };
        assert_eq!(super::small_indices(&small), Ok(()));
        change(&mut small);
        super::small_indices(&small).unwrap_err().what
    };
    assert_eq!(refused(&|small| small.upstreams.clear()), "there is no such upstream");
    assert_eq!(refused(&|small| small.upstreams[0].endpoints.clear()), "it has no endpoint");
    assert_eq!(refused(&|small| small.limits.clear()), "there is no such authenticator or limit");
    assert_eq!(refused(&|small| small.limits[0].burst = 0), "a rate of zero");
    assert_eq!(refused(&|small| small.chains.clear()), "the empty chain is missing");
    assert_eq!(refused(&|small| small.chains.swap(0, 1)), "the empty chain is not empty");
    let redirect = Action::Redirect { status: 200, scheme: None, authority: None, path: None };
    assert_eq!(refused(&|small| small.actions[0] = redirect.clone()), "no status of a redirect");
    let respond = Action::Respond { status: 101, fields: Vec::new(), body: Vec::new() };
    assert_eq!(refused(&|small| small.actions[0] = respond.clone()), "no final status");
}

#[test]
fn applications_that_may_pass_are_there_and_in_order() {
    let with = |applications: &[u32]| {
        let mut model = sample();
        let kind = AuthenticatorKind::ApiKey { place: CredentialPlace::Header("x".to_owned()), hide: true };
        model.authenticators.push(Authenticator { name: "keys".to_owned(), kind });
        let policy = Policy::Authenticate { any_of: vec![0], applications: applications.to_vec() };
        model.chains[1].steps.push(Step { mode: Mode::Enforce, policy });
        build(&model, &BuildOptions { generation: 4, parent_hash: ContentHash([2; 32]), signing: &key() })
            .map(|file| opened(&file).map(|_| ()))
    };
    for good in [&[][..], &[1], &[0, 1]] {
        assert!(matches!(with(good), Ok(Ok(()))), "{good:?}");
    }
    for bad in [&[2][..], &[1, 0], &[1, 1], &[0, 1, 2]] {
        assert!(!matches!(with(bad), Ok(Ok(()))), "{bad:?}");
    }
}

/// Reads all that there is to read.
fn read_all(tables: &Tables<'_>) -> usize {
    let mut bytes = 0;
    for host in (0..tables.host_count()).map(HostIndex) {
        bytes += tables.host_name(host).len();
        let row = tables.host(host).unwrap();
        for path in [&b"/status"[..], b"/orders/7/lines", b""] {
            let _ = (
                tables.find_exact(host, &row, path),
                tables.find_prefix(&row, tables.prefix_start(host), path),
            );
        }
    }
    for route in (0..tables.route_count()).map(RouteIndex) {
        let row = tables.route(route).unwrap();
        bytes += tables.route_name(route).len() + tables.route_path(&row).len();
        assert!(tables.host_of(route).is_some());
        bytes += tables.methods(&row).concat().len();
        if let Some(extra) = tables.extra(&row) {
            for (name, condition) in tables.headers(&extra).chain(tables.query(&extra)) {
                bytes += name.len() + if let Condition::Exact(value) = condition { value.len() } else { 0 };
            }
            bytes += tables.variables(&extra).map(|(name, _)| name.len()).sum::<usize>();
        }
    }
    bytes += tables.regexes().map(str::len).sum::<usize>();
    for credential in (0..tables.credential_count()).map(CredentialIndex) {
        let row = tables.credential(credential).unwrap();
        bytes += tables.credential_prefix(&row).len()
            + tables.application_name(ApplicationIndex(row.application)).len();
        let _ = tables.find_credential(&row.digest);
    }
    for name in ["api.example.com", "a.shop.example.com", "x"] {
        let _ = tables.find_host(name.as_bytes());
    }
    let _ = tables.child(NodeIndex(0), b"orders");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// The fuzz target `snapshot_open` goes further; this much is asked of every change.
    #[test]
    fn whatever_opens_can_be_read(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut file = built(&sample());
        for (at, value) in changes {
            let at = crate::header::FIXED_BYTES + at.index(file.len() - crate::header::FIXED_BYTES);
            file[at] = value;
        }
        seal_header(&mut file, &key());
        if let Ok(snapshot) = opened(&file) {
            read_all(snapshot.tables());
        }
    }
}
