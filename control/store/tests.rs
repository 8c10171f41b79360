//! The laws of a store, written so that a second store can be run through them.

use super::{Appended, Change, Store, StoreError};
use crate::config::{Digest, Kind, Material, Resource, ResourceKey};
use crate::domain::{
    Acknowledgement, AuditVerb, ContentHash, Generation, GenerationNumber, GenerationState, NodeVerdict,
};

struct Opened {
    store: Store,
    folder: tempfile::TempDir,
}

async fn open() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("control.db")).await.unwrap();
    Opened { store, folder }
}

fn key(name: &str) -> ResourceKey {
    ResourceKey { kind: Kind::Host, name: name.to_owned() }
}

fn hash_of(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

fn put(name: &str, body: &str) -> Change {
    Change::Put(key(name), Resource::from_content(body.into()))
}

fn appended(number: u64, changes: Vec<Change>) -> Appended {
    let root = hash_of(format!("{changes:?}").as_bytes());
    Appended {
        generation: Generation {
            number: GenerationNumber(number),
            parent: (number > 1).then(|| GenerationNumber(number - 1)),
            restores: None,
            snapshot: root,
            snapshot_bytes: 7,
            root,
            changes: changes.len() as u64,
            routes: 3,
            author: "ada".to_owned(),
            message: "why".to_owned(),
            source: None,
            created_unix_ms: 1_000 + number,
            compile_ms: 5,
            state: GenerationState::Compiled,
            pinned: false,
        },
        changes,
        materials: vec![],
        identities: vec![],
        source: None,
        verb: AuditVerb::Apply,
    }
}

#[tokio::test]
async fn a_store_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let opened = open().await;
    for entry in std::fs::read_dir(opened.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn an_empty_store_has_no_head() {
    let opened = open().await;
    assert_eq!(opened.store.head().await.unwrap(), None);
}

#[tokio::test]
async fn what_was_appended_is_there_after_reopening() {
    let Opened { store, folder } = open().await;
    let row = appended(1, vec![put("a", "1")]);
    let generation = row.generation.clone();
    store.append(row).await.unwrap();
    store.close().await;
    let store = Store::open(&folder.path().join("control.db")).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Some(generation.clone()));
    assert_eq!(store.generation(GenerationNumber(1)).await.unwrap(), generation);
    let audit = store.audit(10).await.unwrap();
    assert_eq!(audit.iter().map(|line| line.generation.0).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn each_generation_has_the_sum_of_the_changes_up_to_it() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![put("a", "1"), put("b", "1")])).await.unwrap();
    store.append(appended(2, vec![put("a", "2"), Change::Remove(key("b"))])).await.unwrap();
    store.append(appended(3, vec![put("b", "1")])).await.unwrap();
    let bodies = async |number| {
        let definitions = store.definitions(GenerationNumber(number)).await.unwrap();
        let shown =
            |(key, resource): (&ResourceKey, &Resource)| format!("{}={}", key.name, resource.content());
        definitions.resources.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(bodies(1).await, ["a=1", "b=1"]);
    assert_eq!(bodies(2).await, ["a=2"]);
    assert_eq!(bodies(3).await, ["a=2", "b=1"]);
}

#[tokio::test]
async fn of_two_that_build_on_the_same_parent_one_loses_and_leaves_nothing() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![put("a", "1")])).await.unwrap();
    let (first, second) = tokio::join!(
        store.append(appended(2, vec![put("a", "2")])),
        store.append(appended(2, vec![put("a", "3")]))
    );
    let lost =
        [&first, &second].into_iter().filter(|r| matches!(r, Err(StoreError::LostRace { .. }))).count();
    assert_eq!((lost, first.is_ok() != second.is_ok()), (1, true));
    assert_eq!(store.audit(10).await.unwrap().len(), 2);
    assert_eq!(store.generations(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn many_resources_fit_one_generation() {
    let opened = open().await;
    let store = &opened.store;
    let changes: Vec<Change> =
        (0..1_201).map(|n| put(&format!("host-{n:04}"), &format!("{{\"n\":{n}}}"))).collect();
    store.append(appended(1, changes)).await.unwrap();
    let definitions = store.definitions(GenerationNumber(1)).await.unwrap();
    assert_eq!(definitions.resources.len(), 1_201);
    let last = definitions.resources.last_key_value().map(|(_, resource)| resource.content());
    assert_eq!(last, Some("{\"n\":1200}"));
}

#[tokio::test]
async fn the_history_is_read_newest_first_in_pages() {
    let opened = open().await;
    let store = &opened.store;
    for number in 1..=5 {
        store.append(appended(number, vec![put("a", &number.to_string())])).await.unwrap();
    }
    let page = async |before, count| {
        let page = store.generations(before, count).await.unwrap();
        page.into_iter().map(|g| g.number.0).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, [5, 4]);
    assert_eq!(page(Some(GenerationNumber(4)), 10).await, [3, 2, 1]);
}

#[tokio::test]
async fn the_newest_different_generation_is_that_of_another_root() {
    let opened = open().await;
    let store = &opened.store;
    for (number, body) in [(1, "x"), (2, "y"), (3, "x"), (4, "x")] {
        store.append(appended(number, vec![put("a", body)])).await.unwrap();
    }
    let head = store.head().await.unwrap().unwrap();
    let other = store.newest_different(head.number, head.root).await.unwrap().unwrap();
    assert_eq!(other.number.0, 2);
    assert_eq!(store.newest_different(GenerationNumber(1), head.root).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_was_full_goes_on_once_there_is_room() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![])).await.unwrap();
    let room = async |pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&store.writer).await.unwrap();
    };
    let pages = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let large = || appended(2, vec![put("a", &"x".repeat(1 << 20))]);
    room(pages).await;
    let full = store.append(large()).await.unwrap_err();
    assert!(full.hint().unwrap().contains("is full"), "{full:?}");
    room(1 << 30).await;
    store.append(large()).await.unwrap();
}

#[tokio::test]
async fn a_state_never_goes_back() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![])).await.unwrap();
    let number = GenerationNumber(1);
    for (advance, expected) in [
        (GenerationState::Live, GenerationState::Live),
        (GenerationState::Published, GenerationState::Live),
        (GenerationState::Compiled, GenerationState::Live),
    ] {
        store.note(&[(number, advance)], &[]).await.unwrap();
        assert_eq!(store.generation(number).await.unwrap().state, expected);
    }
}

#[tokio::test]
async fn the_last_word_of_a_node_counts_and_unknown_generations_are_dropped() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![])).await.unwrap();
    let said = |generation, verdict| Acknowledgement {
        node: "n1".to_owned(),
        generation: GenerationNumber(generation),
        hash: hash_of(b"s"),
        verdict,
        received_unix_ms: 9,
    };
    let refused = NodeVerdict::Refused { reason: "address in use".to_owned() };
    store.note(&[], &[said(1, refused), said(77, NodeVerdict::Live { live_ms: 1 })]).await.unwrap();
    store.note(&[], &[said(1, NodeVerdict::Live { live_ms: 4 })]).await.unwrap();
    let words = store.acknowledgements(GenerationNumber(1)).await.unwrap();
    assert_eq!(words, [said(1, NodeVerdict::Live { live_ms: 4 })]);
    assert_eq!(store.acknowledgements(GenerationNumber(77)).await.unwrap(), []);
}

#[tokio::test]
async fn a_source_remembers_what_was_last_applied_from_it() {
    let opened = open().await;
    let store = &opened.store;
    let mut row = appended(1, vec![]);
    row.source = Some(("/etc/ringway.yaml".to_owned(), hash_of(b"1")));
    store.append(row).await.unwrap();
    let head = store.head().await.unwrap().unwrap();
    store.note_source("quick start", hash_of(b"q"), &head, 5_000).await.unwrap();
    store.note_source("/etc/ringway.yaml", hash_of(b"2"), &head, 6_000).await.unwrap();
    let sources = store.sources().await.unwrap();
    let seen: Vec<_> = sources.iter().map(|s| (s.source.as_str(), s.hash)).collect();
    assert_eq!(seen, [("/etc/ringway.yaml", hash_of(b"2")), ("quick start", hash_of(b"q"))]);
}

#[tokio::test]
async fn materials_come_with_the_definitions() {
    let opened = open().await;
    let store = &opened.store;
    let material = (Digest([1; 32]), Material::Certificates(vec![vec![48]]));
    for number in [1, 2] {
        let mut row = appended(number, vec![put("a", &number.to_string())]);
        row.materials = vec![material.clone()];
        store.append(row).await.unwrap();
    }
    let definitions = store.definitions(GenerationNumber(1)).await.unwrap();
    assert_eq!(definitions.materials.into_iter().collect::<Vec<_>>(), [material]);
}

#[tokio::test]
async fn pinned_snapshots_are_listed_until_they_are_released() {
    let opened = open().await;
    let store = &opened.store;
    store.append(appended(1, vec![put("a", "1")])).await.unwrap();
    let number = GenerationNumber(1);
    store.pin(number, super::Pin::Keep, "ada", 1).await.unwrap();
    assert_eq!(store.pinned_snapshots().await.unwrap().len(), 1);
    store.pin(number, super::Pin::Release, "ada", 2).await.unwrap();
    assert_eq!(store.pinned_snapshots().await.unwrap(), []);
    let unknown = store.pin(GenerationNumber(9), super::Pin::Keep, "ada", 3).await;
    assert!(matches!(unknown, Err(StoreError::NoGeneration(GenerationNumber(9)))));
}

#[tokio::test]
async fn a_store_whose_migrations_were_altered_is_refused() {
    let Opened { store, folder } = open().await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'").execute(&store.writer).await.unwrap();
    store.close().await;
    let opened = Store::open(&folder.path().join("control.db")).await;
    assert!(matches!(opened, Err(StoreError::Migrate(_))), "{opened:?}");
}

#[test]
fn what_to_do_is_said_for_extended_codes_too() {
    for (code, words) in [
        (5, "another program"),
        (261, "another program"),
        (517, "another program"),
        (11, "is damaged"),
        (779, "is damaged"),
        (13, "is full"),
        (3850, "space and permissions"),
    ] {
        assert!(super::way_out_of(Some(code)).contains(words), "{code}");
    }
}
