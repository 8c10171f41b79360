//! Laws of building and opening.

use crate::builder::{BuildError, BuildOptions, build};
use crate::current::ContentHash;
use crate::error::SnapshotError;
use crate::header::seal_header;
use crate::keys::{SigningKey, Trust};
use crate::model::{Chain, HostPattern, Model, PathPattern};
use crate::reader::{AlignedBytes, Snapshot};
use crate::sample::{built, key, opened, sample};
use crate::tables::{HostIndex, RouteIndex};

#[test]
fn small_sections_come_back_as_they_went_in() {
    let model = sample();
    let snapshot = opened(&built(&model)).unwrap();
    assert_eq!(snapshot.settings(), &model.settings);
    assert_eq!(snapshot.upstreams(), model.upstreams);
    assert_eq!(snapshot.limits(), model.limits);
    assert_eq!(snapshot.chains(), model.chains);
    assert_eq!(snapshot.actions(), [model.hosts[0].routes[0].action.clone()]);
    assert_eq!((snapshot.header().generation, snapshot.header().parent), (4, ContentHash([2; 32])));
}

#[test]
fn a_host_is_found_exactly_then_by_longest_suffix_then_any() {
    let snapshot = opened(&built(&sample())).unwrap();
    let tables = snapshot.tables();
    let found = |name: &str| tables.find_host(name.as_bytes()).map(|host| tables.host_name(host));
    for (name, host) in [
        ("api.example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("a.shop.example.com", "*.shop.example.com"),
        ("b.a.shop.example.com", "*.shop.example.com"),
        ("shop.example.com", "*.example.com"),
        ("x.api.example.com", "*.example.com"),
        ("example.com", "*"),
        (".example.com", "*"),
        ("", "*"),
        ("com", "*"),
        ("localhost", "*"),
    ] {
        assert_eq!(found(name).as_deref(), Some(host), "{name}");
    }
    let long = format!("{}shop.example.com", "a.".repeat(100));
    assert_eq!(found(&long).as_deref(), Some("*.shop.example.com"));
}

#[test]
fn without_a_host_for_any_name_an_unknown_one_is_unknown() {
    let mut model = sample();
    model.hosts.pop();
    let snapshot = opened(&built(&model)).unwrap();
    assert_eq!(snapshot.tables().find_host(b"example.org"), None);
}

#[test]
fn every_route_keeps_its_name_id_and_host() {
    let model = sample();
    let snapshot = opened(&built(&model)).unwrap();
    let tables = snapshot.tables();
    let mut seen = Vec::new();
    for index in 0..tables.route_count() {
        let index = RouteIndex(index);
        let row = tables.route(index).unwrap();
        let host = tables.host_of(index).unwrap();
        let declared = &model.hosts[host.0 as usize];
        let route = declared.routes.iter().find(|route| route.id == row.id).unwrap();
        assert_eq!(tables.route_name(index), route.name);
        assert_eq!(tables.host_pattern(host).unwrap(), declared.pattern);
        assert_eq!(tables.methods(&row), route.methods);
        if let PathPattern::Exact(path) | PathPattern::Prefix(path) = &route.path {
            assert_eq!(tables.route_path(&row), path.as_bytes());
        }
        assert_eq!(tables.body_bytes_max(&row), route.body_bytes_max);
        seen.push(row.id);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), model.hosts.iter().map(|host| host.routes.len()).sum::<usize>());
}

#[test]
fn a_credential_is_found_by_its_digest_alone() {
    let snapshot = opened(&built(&sample())).unwrap();
    let tables = snapshot.tables();
    let (_, row) = tables.find_credential(&[9; 32]).unwrap();
    assert_eq!((row.id, row.not_after_unix_ms, row.pepper_id), (7, 5, 3));
    assert_eq!(tables.credential_prefix(&row), "rw_live_ab12cd34");
    let application = crate::tables::ApplicationIndex(row.application);
    assert_eq!(tables.application_name(application), "acme");
    assert_eq!(tables.pepper_ids(), [3]);
    assert!(tables.find_credential(&[8; 32]).is_none());
}

#[test]
fn equal_models_give_equal_content_whatever_the_generation() {
    let one = built(&sample());
    assert_eq!(one, built(&sample()));
    let options = BuildOptions { generation: 5, parent_hash: ContentHash([3; 32]), signing: &key() };
    let other = build(&sample(), &options).unwrap();
    assert_ne!(one, other);
    assert_eq!(opened(&one).unwrap().header().hash, opened(&other).unwrap().header().hash);
    let mut changed = sample();
    changed.settings.keep_alive_ms += 1;
    let hash = opened(&built(&changed)).unwrap().header().hash;
    assert_ne!(opened(&one).unwrap().header().hash, hash);
}

#[test]
fn an_empty_model_is_a_snapshot() {
    let snapshot = opened(&built(&Model::default())).unwrap();
    assert_eq!(snapshot.chains(), [Chain::default()]);
    assert_eq!(snapshot.tables().find_host(b"a"), None);
    assert_eq!(snapshot.tables().host(HostIndex(0)), None);
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    let file = built(&sample());
    for length in 0..file.len() {
        let error = opened(&file[..length]).unwrap_err();
        assert!(matches!(error, SnapshotError::Truncated { .. }), "cut at {length}: {error}");
    }
    for at in (0..file.len()).step_by(7).chain(0..200) {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        assert!(opened(&changed).is_err(), "changed at {at}");
    }
}

#[test]
fn each_fault_has_its_own_error() {
    let file = built(&sample());
    let open = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        opened(&file).map(|_| ()).unwrap_err()
    };
    assert_eq!(open(&|file| file[0] = b'X'), SnapshotError::Foreign);
    assert_eq!(open(&|file| file[8] = 0xff), SnapshotError::Newer(0xff));
    assert_eq!(open(&|file| file[8] = 1), SnapshotError::Older(1));
    assert_eq!(open(&|file| file[1000] ^= 1), SnapshotError::Corrupt);
    assert_eq!(open(&|file| file[64] ^= 1), SnapshotError::Corrupt);
    assert_eq!(open(&|file| file[96..160].fill(0)), SnapshotError::Unsigned);
    assert_eq!(open(&|file| file[96] ^= 1), SnapshotError::Untrusted);
    assert_eq!(open(&|file| file[16] ^= 1), SnapshotError::Untrusted, "the generation is signed");
    assert!(matches!(open(&|file| file.push(0)), SnapshotError::Trailing { .. }));
    let foreign = SigningKey::from_seed([2; 32]).unwrap();
    assert_eq!(open(&|file| seal_header(file, &foreign)), SnapshotError::Untrusted);
}

#[test]
fn bytes_at_an_odd_address_are_refused() {
    struct Odd(AlignedBytes);
    impl AsRef<[u8]> for Odd {
        fn as_ref(&self) -> &[u8] {
            &self.0.as_ref()[8..]
        }
    }
    let mut shifted = vec![0; 8];
    shifted.extend(built(&sample()));
    let error = Snapshot::open(Odd(AlignedBytes::copy(&shifted)), &Trust::of(&key())).unwrap_err();
    assert_eq!(error, SnapshotError::Misaligned);
}

#[test]
fn a_model_that_contradicts_itself_is_not_built() {
    let options = BuildOptions { generation: 1, parent_hash: ContentHash::default(), signing: &key() };
    let error = |change: &dyn Fn(&mut Model)| {
        let mut model = sample();
        change(&mut model);
        build(&model, &options).unwrap_err()
    };
    let path = |text: &str| PathPattern::Prefix(text.to_owned());
    assert!(matches!(
        error(&|model| model.hosts[1].pattern = model.hosts[0].pattern.clone()),
        BuildError::DuplicateHost(_)
    ));
    assert!(matches!(
        error(&|model| model.hosts[0].pattern = HostPattern::Exact("API.example".to_owned())),
        BuildError::BadHost(_)
    ));
    assert!(matches!(error(&|model| model.hosts[0].routes[0].path = path("a")), BuildError::BadPath { .. }));
    let deep = "/a".repeat(64);
    assert!(matches!(
        error(&|model| model.hosts[0].routes[0].path = path(&deep)),
        BuildError::TooDeep { .. }
    ));
    assert!(matches!(
        error(&|model| {
            let copy = model.hosts[0].routes[0].clone();
            model.hosts[0].routes.push(copy);
        }),
        BuildError::DuplicateRoute { .. }
    ));
    assert!(matches!(
        error(&|model| model.hosts[0].routes[0].id = model.hosts[0].routes[1].id),
        BuildError::IdCollision { kind: "routes", .. }
    ));
    assert!(matches!(error(&|model| model.hosts[0].routes[0].chain = 2), BuildError::Bad { .. }));
    assert!(matches!(error(&|model| model.upstreams.clear()), BuildError::Contradiction(_)));
    assert!(matches!(error(&|model| model.limits.clear()), BuildError::Contradiction(_)));
    assert!(matches!(
        error(&|model| model.applications[0].id = 2),
        BuildError::DuplicateIdentity { kind: "the id", .. }
    ));
}
