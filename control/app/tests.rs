//! The laws of changing what is live.

use std::sync::Arc;

use ringway_snapshot::current::{ContentHash, Current};

use super::{App, AppError, Applied, ApplyInput, ExplainInput, Outcome, PinInput, RollbackInput, When};
use crate::config::Document;
use crate::domain::{
    Acknowledgement, Generation, GenerationNumber, GenerationState, NodeReport, NodeVerdict,
};
use crate::keys::Keys;
use crate::limits::SNAPSHOT_FILES_KEPT;
use crate::outside::Outside;
use crate::state::StateDir;
use crate::store::Pin;
use ringway_snapshot::reader::{AlignedBytes, Snapshot};
use ringway_snapshot::tables::{ApplicationIndex, CredentialIndex};

const NOW: u64 = 1_795_000_000_000;

struct Daemon {
    app: Arc<App>,
    state: StateDir,
    keys: Arc<Keys>,
}

async fn start(folder: &std::path::Path) -> Daemon {
    let state = StateDir::open(folder).unwrap();
    let keys = Arc::new(Keys::load_or_make(&state).unwrap());
    let outside = Arc::new(Outside::new(Arc::clone(&keys), &state.trust()).unwrap());
    let app = App::start(&state, Arc::clone(&keys), outside, NOW).await.unwrap();
    Daemon { app, state, keys }
}

impl Daemon {
    fn current(&self) -> Current {
        let text = std::fs::read(self.state.snapshots().join("current")).unwrap();
        Current::decode(&text, &self.keys.trust).unwrap()
    }
}

fn site(port: u16) -> Vec<Document> {
    let text = format!(
        "version: 1\nlisteners: [{{address: \"127.0.0.1:8080\"}}]\nupstreams: {{one: {{endpoints: [\"127.0.0.1:{port}\"]}}}}\n\
         hosts: {{\"*\": {{/*: {{to: one}}}}}}\n"
    );
    vec![Document { name: "site.yaml".to_owned(), text }]
}

fn input(documents: Vec<Document>) -> ApplyInput {
    ApplyInput {
        documents,
        author: "ada".to_owned(),
        message: "why".to_owned(),
        source: None,
        when: When::Always,
        if_match: None,
        wait_ms: 60_000,
        now_unix_ms: NOW,
    }
}

fn back(to: Option<u64>) -> RollbackInput {
    RollbackInput {
        to: to.map(GenerationNumber),
        author: "ada".to_owned(),
        message: String::new(),
        if_match: None,
        pinned: false,
        wait_ms: 60_000,
        now_unix_ms: NOW,
    }
}

async fn applied(app: &App, port: u16) -> Applied {
    app.apply(input(site(port))).await.unwrap()
}

fn said(node: &str, generation: &Generation, verdict: NodeVerdict) -> Acknowledgement {
    Acknowledgement {
        node: node.to_owned(),
        generation: generation.number,
        hash: generation.snapshot,
        verdict,
        received_unix_ms: NOW,
    }
}

#[tokio::test]
async fn what_was_applied_is_current_and_signed() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let done = applied(&daemon.app, 1).await;
    assert_eq!((done.outcome, done.generation.number.0, done.generation.routes), (Outcome::Applied, 1, 1));
    assert_eq!(daemon.current(), Current { generation: 1, hash: done.generation.snapshot });
    assert!(daemon.state.snapshots().join(done.generation.snapshot.file_name()).exists());
}

#[tokio::test]
async fn equal_definitions_make_no_new_generation() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    applied(&app, 1).await;
    let mut again = input(site(1));
    again.documents[0].text.push_str("# a comment\n");
    let done = app.apply(again).await.unwrap();
    assert_eq!((done.outcome, done.generation.number.0), (Outcome::Unchanged, 1));
}

#[tokio::test]
async fn of_two_applies_on_one_generation_one_loses_the_race() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    applied(&app, 1).await;
    let on_first = |port| ApplyInput { if_match: Some(1), ..input(site(port)) };
    let (a, b) = tokio::join!(app.apply(on_first(2)), app.apply(on_first(3)));
    let lost = [&a, &b]
        .into_iter()
        .filter(|done| matches!(done, Err(AppError::LostRace { expected: 1, newest: 2 })))
        .count();
    assert_eq!((lost, a.is_ok() != b.is_ok()), (1, true));
    assert_eq!(app.history(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn mistakes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    applied(&daemon.app, 1).await;
    let before = daemon.current();
    let mut broken = site(2);
    broken[0].text.push_str("unknown_section: {}\n");
    assert!(matches!(daemon.app.apply(input(broken)).await, Err(AppError::Invalid(_))));
    assert_eq!(daemon.current(), before);
}

#[tokio::test]
async fn a_rollback_is_a_new_number_with_the_old_hash() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let first = applied(&daemon.app, 1).await.generation;
    applied(&daemon.app, 2).await;
    let done = daemon.app.rollback(back(None)).await.unwrap().generation;
    assert_eq!(
        (done.number.0, done.restores, done.snapshot, done.root),
        (3, Some(first.number), first.snapshot, first.root)
    );
    assert_eq!(daemon.current(), Current { generation: 3, hash: first.snapshot });
}

#[tokio::test]
async fn a_second_rollback_goes_on_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    for port in 1..=3 {
        applied(&app, port).await;
    }
    let restored = async || app.rollback(back(None)).await.unwrap().generation.restores.unwrap().0;
    assert_eq!((restored().await, restored().await), (2, 1));
    assert!(matches!(app.rollback(back(None)).await, Err(AppError::NotFound(_))));
    assert!(matches!(app.rollback(back(Some(77))).await, Err(AppError::NotFound(_))));
}

#[tokio::test]
async fn a_rollback_compiles_again_what_was_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let first = applied(&daemon.app, 1).await.generation;
    applied(&daemon.app, 2).await;
    let file = daemon.state.snapshots().join(first.snapshot.file_name());
    std::fs::remove_file(&file).unwrap();
    let done = daemon.app.rollback(back(Some(1))).await.unwrap().generation;
    assert_eq!(done.snapshot, first.snapshot, "equal definitions give equal bytes");
    assert!(file.exists());
}

#[tokio::test]
async fn old_snapshots_are_bounded_in_number() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    for port in 1..=(3 * SNAPSHOT_FILES_KEPT as u16) {
        applied(&daemon.app, port).await;
    }
    let files = std::fs::read_dir(daemon.state.snapshots()).unwrap().count();
    assert!(files <= 2 * SNAPSHOT_FILES_KEPT + 1, "{files}");
    let current = daemon.current();
    assert!(daemon.state.snapshots().join(current.hash.file_name()).exists());
}

#[tokio::test]
async fn an_apply_ends_when_the_last_node_has_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    for node in ["a", "b"] {
        app.nodes().heartbeat(node, NodeReport::default(), NOW).unwrap();
    }
    let mut news = app.publisher().subscribe();
    let (done, ()) = tokio::join!(applied(&app, 1), async {
        let number = news.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().number;
        let generation = app.generation(number).await.unwrap();
        app.acknowledge(said("a", &generation, NodeVerdict::Live { live_ms: 2 })).unwrap();
        let reason = "cannot bind".to_owned();
        app.acknowledge(said("b", &generation, NodeVerdict::Refused { reason })).unwrap();
    });
    assert_eq!(done.live.live, ["a"]);
    assert_eq!(done.live.refused, [("b".to_owned(), "cannot bind".to_owned())]);
    app.words.flush().await;
    let number = done.generation.number;
    assert_eq!(app.generation(number).await.unwrap().state, GenerationState::Published);
    assert_eq!(app.store.acknowledgements(number).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_generation_is_live_once_all_nodes_serve_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    app.nodes().heartbeat("a", NodeReport::default(), NOW).unwrap();
    let mut news = app.publisher().subscribe();
    let (done, ()) = tokio::join!(applied(&app, 1), async {
        let number = news.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().number;
        let generation = app.generation(number).await.unwrap();
        app.acknowledge(said("a", &generation, NodeVerdict::Live { live_ms: 2 })).unwrap();
    });
    app.words.flush().await;
    assert_eq!(app.generation(done.generation.number).await.unwrap().state, GenerationState::Live);
}

#[tokio::test]
async fn the_history_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    applied(&daemon.app, 1).await;
    let newest = applied(&daemon.app, 2).await.generation;
    daemon.app.stop().await;
    let again = start(folder.path()).await;
    assert_eq!(again.current(), Current { generation: 2, hash: newest.snapshot });
    assert_eq!(again.app.history(None, 10).await.unwrap().len(), 2);
    assert_eq!(applied(&again.app, 2).await.outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn a_crash_between_commit_and_pointer_is_made_good_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let first = applied(&daemon.app, 1).await.generation;
    let second = applied(&daemon.app, 2).await.generation;
    daemon.app.stop().await;
    // As the crash would have left it: committed, but `current` still names the first, or its file is gone as well.
    let old = Current { generation: 1, hash: first.snapshot }.encode(&daemon.keys.signing);
    for lost_file in [false, true] {
        std::fs::write(daemon.state.snapshots().join("current"), &old).unwrap();
        if lost_file {
            std::fs::remove_file(daemon.state.snapshots().join(second.snapshot.file_name())).unwrap();
        }
        let again = start(folder.path()).await;
        assert_eq!(again.current(), Current { generation: 2, hash: second.snapshot });
        assert!(again.state.snapshots().join(second.snapshot.file_name()).exists());
        again.app.stop().await;
    }
}

#[tokio::test]
async fn a_snapshot_written_before_a_crash_and_never_committed_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    applied(&daemon.app, 1).await;
    daemon.app.stop().await;
    let orphan = daemon.state.snapshots().join(ContentHash([7; 32]).file_name());
    std::fs::write(&orphan, b"whole, but nobody's").unwrap();
    let again = start(folder.path()).await;
    assert!(!orphan.exists());
    assert_eq!(again.current().generation, 1);
}

#[tokio::test]
async fn a_source_is_applied_again_only_when_it_changed_or_another_was_applied() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    let from = |source: &str, port| ApplyInput {
        source: Some(source.to_owned()),
        when: When::SourceChanged,
        ..input(site(port))
    };
    let outcome = async |source, port| app.apply(from(source, port)).await.unwrap().outcome;
    assert_eq!(outcome("a", 1).await, Outcome::Applied);
    assert_eq!(outcome("a", 1).await, Outcome::SourceUnchanged);
    applied(&app, 2).await;
    assert_eq!(outcome("a", 1).await, Outcome::SourceUnchanged, "what was applied by hand stands");
    assert!(app.status().await.unwrap().standing.contains("waits for its next change"));
    assert_eq!(outcome("b", 3).await, Outcome::Applied);
    assert_eq!(outcome("a", 1).await, Outcome::Applied, "another file was served since");
}

#[tokio::test]
async fn a_plan_changes_nothing_and_sees_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    applied(&app, 1).await;
    let plan = app.plan(site(2), None, NOW).await.unwrap();
    assert_ne!(plan.before.root_hash(), plan.after.root_hash());
    assert!(plan.snapshot_bytes > 0);
    assert_eq!(app.history(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_is_explained_in_any_kept_generation() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    applied(&app, 1).await;
    let mut other = site(1);
    other[0].text = other[0].text.replace("/*:", "/only/*:");
    app.apply(input(other)).await.unwrap();
    let explain = async |generation: Option<u64>| {
        let input = ExplainInput {
            request: "GET https://any.example/x".to_owned(),
            fields: vec![],
            from: None,
            generation: generation.map(GenerationNumber),
            now_unix_ms: NOW,
        };
        app.explain(input).await.unwrap()
    };
    let (number, trial) = explain(None).await;
    assert_eq!((number.0, trial.status, trial.route), (2, Some(404), None));
    let (number, trial) = explain(Some(1)).await;
    assert_eq!((number.0, trial.route.as_deref(), trial.upstream.as_deref()), (1, Some("/*"), Some("one")));
}

/// Ids of the application `acme` and of its credential, in the snapshot that is current.
fn acme(daemon: &Daemon) -> (u128, u128) {
    let bytes = std::fs::read(daemon.state.snapshots().join(daemon.current().hash.file_name())).unwrap();
    let snapshot = Snapshot::open(AlignedBytes::copy(&bytes), &daemon.keys.trust).unwrap();
    let tables = snapshot.tables();
    let application = tables.application(ApplicationIndex(0)).unwrap();
    let credential = tables.credential(CredentialIndex(application.credential_first)).unwrap();
    (application.id, credential.id)
}

fn with_acme(folder: &std::path::Path, port: u16) -> ApplyInput {
    let key = folder.join("acme.key");
    std::fs::write(&key, "rw_live_0123456789abcdef").unwrap();
    let mut documents = site(port);
    documents[0].text.push_str(&format!(
        "applications: {{acme: {{credentials: [{{api_key: \"file:{}\"}}]}}}}\n",
        key.display()
    ));
    input(documents)
}

#[tokio::test]
async fn an_application_keeps_its_id_and_one_that_was_removed_never_comes_back_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    daemon.app.apply(with_acme(folder.path(), 1)).await.unwrap();
    let first = acme(&daemon);
    assert_eq!(uuid::Uuid::from_u128(first.0).get_version_num(), 4);
    daemon.app.apply(with_acme(folder.path(), 2)).await.unwrap();
    assert_eq!(acme(&daemon), first, "another change");
    applied(&daemon.app, 2).await;
    daemon.app.apply(with_acme(folder.path(), 2)).await.unwrap();
    let second = acme(&daemon);
    assert!(second.0 != first.0 && second.1 != first.1, "another one under an old name");
    // Compiled again from the store, it is the one that it was.
    let snapshot = daemon.app.generation(GenerationNumber(1)).await.unwrap().snapshot;
    std::fs::remove_file(daemon.state.snapshots().join(snapshot.file_name())).unwrap();
    let done = daemon.app.rollback(back(Some(1))).await.unwrap().generation;
    assert_eq!((acme(&daemon), done.snapshot), (first, snapshot));
    for (id, since) in [(first.0, 1), (second.0, 4)] {
        let identity = daemon.app.identity(id).await.unwrap();
        assert_eq!((identity.key.application.as_str(), identity.since.0), ("acme", since));
    }
    assert!(daemon.app.identity(first.1).await.unwrap().key.credential.is_some());
    assert!(matches!(daemon.app.identity(7).await, Err(AppError::NotFound(_))));
    daemon.app.stop().await;
    let again = start(folder.path()).await;
    again.app.apply(with_acme(folder.path(), 3)).await.unwrap();
    assert_eq!(acme(&again), first, "and after a start");
}

fn pin(number: u64, pin: Pin) -> PinInput {
    PinInput { number: GenerationNumber(number), pin, author: "ada".to_owned(), now_unix_ms: NOW }
}

#[tokio::test]
async fn a_pinned_snapshot_is_never_pruned_and_one_that_is_released_is() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let first = applied(&daemon.app, 1).await.generation;
    let file = daemon.state.snapshots().join(first.snapshot.file_name());
    assert!(daemon.app.pin(pin(1, Pin::Keep)).await.unwrap().pinned);
    let fill = async |from: u16| {
        for port in from..from + 2 * SNAPSHOT_FILES_KEPT as u16 {
            applied(&daemon.app, port).await;
        }
    };
    fill(2).await;
    assert!(file.exists());
    assert!(daemon.app.history(None, 1_000).await.unwrap().last().unwrap().pinned);
    assert!(!daemon.app.pin(pin(1, Pin::Release)).await.unwrap().pinned);
    fill(1_000).await;
    assert!(!file.exists());
    // Pinned when its file is gone already, it is compiled again.
    daemon.app.pin(pin(1, Pin::Keep)).await.unwrap();
    assert!(file.exists());
    assert!(matches!(daemon.app.pin(pin(7_777, Pin::Keep)).await, Err(AppError::NotFound(_))));
}

#[tokio::test]
async fn a_rollback_may_pin_what_it_brings_back() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await.app;
    applied(&app, 1).await;
    applied(&app, 2).await;
    let done = app.rollback(RollbackInput { pinned: true, ..back(None) }).await.unwrap().generation;
    assert!(done.pinned && app.generation(done.number).await.unwrap().pinned);
}

#[tokio::test]
async fn a_damaged_snapshot_is_made_good_before_a_node_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let hash = applied(&daemon.app, 1).await.generation.snapshot;
    let file = daemon.state.snapshots().join(hash.file_name());
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for damaged in [Some(bad.as_slice()), Some(&good[..100]), None] {
        match damaged {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        assert!(daemon.app.snapshot(hash, NOW).await.unwrap() == good);
        assert!(std::fs::read(&file).unwrap() == good);
    }
    assert!(matches!(daemon.app.snapshot(ContentHash([7; 32]), NOW).await, Err(AppError::NotFound(_))));
}

/// The site with TLS from `tls.pem` and `tls.key` beside it.
fn secure(folder: &std::path::Path) -> ApplyInput {
    let text = "version: 1\ntls: {default: {certificates: [{chain: file:tls.pem, key: file:tls.key}]}}\n\
                listeners: [{address: \"127.0.0.1:8443\", tls: default}]\nhosts: {}\n";
    let name = folder.join("site.yaml").display().to_string();
    ApplyInput {
        source: Some(name.clone()),
        wait_ms: 0,
        ..input(vec![Document { name, text: text.to_owned() }])
    }
}

fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_changed_file_is_applied_and_half_of_a_pair_changes_nothing_but_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder.path().join("state")).await;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let (chain, key) = pair();
    write("tls.pem", &chain);
    write("tls.key", &key);
    let first = daemon.app.apply(secure(folder.path())).await.unwrap().generation;
    assert!(daemon.app.refresh(NOW).await.is_none(), "nothing has changed");
    let (chain, key) = pair();
    write("tls.pem", &chain);
    assert!(daemon.app.refresh(NOW).await.is_none());
    assert_eq!(daemon.current().hash, first.snapshot);
    let complaint = daemon.app.status().await.unwrap().complaint.unwrap();
    assert!(complaint.contains("tls.pem has changed and is not applied"), "{complaint}");
    write("tls.key", &key);
    let second = daemon.app.refresh(NOW).await.unwrap().generation;
    assert_eq!((second.number.0, second.author.as_str()), (2, "ringway"));
    assert_eq!(daemon.app.status().await.unwrap().complaint, None);
    assert!(daemon.app.status().await.unwrap().standing.contains("is what"));
    // What was rolled back to stands, whatever becomes of the files.
    daemon.app.rollback(RollbackInput { wait_ms: 0, ..back(Some(1)) }).await.unwrap();
    write("tls.key", &pair().1);
    assert!(daemon.app.refresh(NOW).await.is_none());
    assert_eq!(daemon.current().hash, first.snapshot);
}

#[tokio::test]
async fn what_changed_while_control_was_away_is_applied_when_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder.path().join("state")).await;
    let write = |(chain, key): (String, String)| {
        std::fs::write(folder.path().join("tls.pem"), chain).unwrap();
        std::fs::write(folder.path().join("tls.key"), key).unwrap();
    };
    write(pair());
    daemon.app.apply(secure(folder.path())).await.unwrap();
    let (end, ending) = tokio::sync::watch::channel(false);
    let following = tokio::spawn(Arc::clone(&daemon.app).follow_files(ending.clone(), || NOW));
    while !folder.path().join("state/references.json").exists() {
        tokio::task::yield_now().await;
    }
    end.send_replace(true);
    following.await.unwrap();
    daemon.app.stop().await;
    write(pair());
    let again = start(&folder.path().join("state")).await;
    end.send_replace(false);
    let mut news = again.app.publisher().subscribe();
    tokio::spawn(Arc::clone(&again.app).follow_files(ending, || NOW));
    news.wait_for(|news| news.as_ref().is_some_and(|news| news.number.0 == 2)).await.unwrap();
    // And from now on by notification.
    write(pair());
    news.wait_for(|news| news.as_ref().is_some_and(|news| news.number.0 == 3)).await.unwrap();
}

/// In the way of the pointer's temporary file: what a full disk does, without filling one.
fn in_the_way(daemon: &Daemon) -> std::path::PathBuf {
    let path = daemon.state.snapshots().join("current.tmp");
    std::fs::create_dir(&path).unwrap();
    path
}

#[tokio::test]
async fn what_was_committed_and_could_not_be_published_is_published_by_the_same_apply() {
    for (when, unchanged) in
        [(When::Always, Outcome::Unchanged), (When::SourceChanged, Outcome::SourceUnchanged)]
    {
        let folder = tempfile::tempdir().unwrap();
        let daemon = start(folder.path()).await;
        let apply = |port| {
            daemon.app.apply(ApplyInput { source: Some("site.yaml".to_owned()), when, ..input(site(port)) })
        };
        apply(1).await.unwrap();
        let blocked = in_the_way(&daemon);
        assert!(matches!(apply(2).await, Err(AppError::Files { .. })));
        // As long as there is no room, it says so each time.
        assert!(matches!(apply(2).await, Err(AppError::Files { .. })));
        assert_eq!(daemon.current().generation, 1);
        std::fs::remove_dir(blocked).unwrap();
        let done = apply(2).await.unwrap();
        assert_eq!((done.outcome, done.generation.number.0), (Outcome::Applied, 2));
        assert_eq!(daemon.current().generation, 2);
        assert_eq!(apply(2).await.unwrap().outcome, unchanged);
    }
}

#[tokio::test]
async fn a_rollback_that_could_not_be_published_is_when_it_is_asked_for_again() {
    for to in [None, Some(2)] {
        let folder = tempfile::tempdir().unwrap();
        let daemon = start(folder.path()).await;
        for port in 1..=3 {
            applied(&daemon.app, port).await;
        }
        let blocked = in_the_way(&daemon);
        assert!(matches!(daemon.app.rollback(back(to)).await, Err(AppError::Files { .. })));
        std::fs::remove_dir(blocked).unwrap();
        let done = daemon.app.rollback(back(to)).await.unwrap();
        assert_eq!((done.outcome, done.generation.number.0), (Outcome::Applied, 4));
        assert_eq!(done.generation.restores, Some(GenerationNumber(2)));
        assert_eq!(daemon.current().generation, 4);
    }
}

#[tokio::test]
async fn a_snapshot_that_was_not_committed_does_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    applied(&daemon.app, 1).await;
    let files = || std::fs::read_dir(daemon.state.snapshots()).unwrap().count();
    let before = files();
    daemon.app.store.close().await;
    assert!(matches!(daemon.app.apply(input(site(2))).await, Err(AppError::Store(_))));
    assert_eq!(files(), before);
}

#[tokio::test]
async fn what_was_published_is_noted_without_what_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path()).await;
    let path = daemon.state.snapshots().join("published");
    let noted = || {
        let text = std::fs::read(&path).unwrap();
        let pointers = Current::decode_published(&text, &daemon.keys.trust);
        pointers.iter().map(|(current, _)| current.generation).collect::<Vec<_>>()
    };
    for port in 1..=3 {
        applied(&daemon.app, port).await;
    }
    assert_eq!(noted(), [3, 2, 1]);
    daemon.app.rollback(back(None)).await.unwrap();
    assert_eq!(noted(), [4, 1]);
    applied(&daemon.app, 4).await;
    assert_eq!(noted(), [5, 4, 1]);
    daemon.app.stop().await;
    std::fs::remove_file(&path).unwrap();
    start(folder.path()).await;
    assert_eq!(noted(), [5, 4, 1]);
}
