//! The API and the gateway protocol over real sockets.

use std::sync::Arc;

use axum::http::{Request, StatusCode};
use ringway_snapshot::current::Current;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

use super::rest::ENDPOINTS;
use super::{Caller, Service, Token, node_router, rest_router};
use crate::app::App;
use crate::commands::{Client, Failure};
use crate::keys::Keys;
use crate::outside::Outside;
use crate::state::StateDir;

struct Served {
    folder: tempfile::TempDir,
    url: String,
    keys: Arc<Keys>,
    token: watch::Sender<Token>,
    _end: watch::Sender<bool>,
}

async fn serve() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    let keys = Arc::new(Keys::load_or_make(&state).unwrap());
    let outside = Arc::new(Outside::new(Arc::clone(&keys), &state.trust()).unwrap());
    let app = App::start(&state, Arc::clone(&keys), outside, super::now_unix_ms()).await.unwrap();
    let (end, ending) = watch::channel(false);
    let service = Service { app, ending };
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", api.local_addr().unwrap());
    let socket = UnixListener::bind(state.socket()).unwrap();
    let (token, known) = watch::channel(Token::new("the token"));
    tokio::spawn(axum::serve(api, rest_router(service.clone(), known)).into_future());
    tokio::spawn(axum::serve(socket, node_router(service, Caller::Local)).into_future());
    Served { folder, url, keys, token, _end: end }
}

impl Served {
    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&Client) -> T + Send + 'static) -> T {
        let client = Client::new(&self.url, Token::new("the token"));
        tokio::task::spawn_blocking(move || ask(&client)).await.unwrap()
    }

    async fn apply(&self, port: u16, if_match: Option<u64>, wait_ms: u64) -> Result<Value, Failure> {
        let text = format!(
            "version: 1\nlisteners: [{{address: \"127.0.0.1:8080\"}}]\nupstreams: {{one: {{endpoints: [\"127.0.0.1:{port}\"]}}}}\n\
             hosts: {{\"*\": {{/*: {{to: one}}}}}}\n"
        );
        let body =
            json!({"documents": [{"name": "site.yaml", "text": text}], "author": "ada", "wait_ms": wait_ms});
        self.ask(move |client| client.post("/v1/generations", &body, if_match)).await
    }

    /// One request of the gateway protocol on a connection of its own: status and body.
    async fn node(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(StateDir::at(self.folder.path()).socket()).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: control\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&reply[9..12]).parse().unwrap();
        (status, reply[end + 4..].to_vec())
    }
}

#[tokio::test]
async fn every_endpoint_refuses_whoever_has_no_token() {
    // INVARIANT: this list of endpoints without an authorisation test is empty and stays so.
    const WITHOUT_AUTHORISATION_TEST: &[(&str, &str)] = &[];
    let served = serve().await;
    for (method, path) in ENDPOINTS.iter().filter(|endpoint| !WITHOUT_AUTHORISATION_TEST.contains(endpoint)) {
        let path = path.replace("{number}", "1").replace("{other}", "1");
        for token in ["", "wrong"] {
            let (url, method) = (format!("{}{path}", served.url), method.to_uppercase());
            let status = tokio::task::spawn_blocking(move || {
                let agent: ureq::Agent =
                    ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let request = Request::builder().method(method.as_str()).uri(url);
                let request = request.header("authorization", format!("Bearer {token}")).body(()).unwrap();
                agent.run(request).unwrap().status()
            });
            assert_eq!(status.await.unwrap(), StatusCode::UNAUTHORIZED.as_u16(), "{path}");
        }
    }
}

#[tokio::test]
async fn unknown_endpoints_and_broken_bodies_are_problems() {
    let served = serve().await;
    let unknown = served.ask(|client| client.get::<Value>("/v1/nothing")).await;
    assert!(matches!(unknown, Err(Failure::Problem(problem)) if problem.status == 404));
    let broken =
        served.ask(|client| client.post::<Value>("/v1/generations", &json!({"document": 1}), None)).await;
    assert!(matches!(broken, Err(Failure::Problem(problem)) if problem.status == 400));
    let method = served.ask(|client| client.post::<Value>("/v1/status", &json!({}), None)).await;
    assert!(matches!(method, Err(Failure::Problem(problem)) if problem.status == 405));
}

#[tokio::test]
async fn a_token_that_was_changed_is_the_only_one() {
    let served = serve().await;
    assert!(served.ask(|client| client.get::<Value>("/v1/status")).await.is_ok());
    served.token.send_replace(Token::new("another"));
    let refused = served.ask(|client| client.get::<Value>("/v1/status")).await;
    assert!(matches!(refused, Err(Failure::Problem(problem)) if problem.status == 401));
}

#[tokio::test]
async fn numbers_that_are_none_are_problems_too() {
    let served = serve().await;
    for path in [
        "/v1/generations?count=-1",
        "/v1/generations?before=x",
        "/v1/generations/one",
        "/v1/generations/18446744073709551616",
        "/v1/generations/1/diff/x",
        "/v1/generations/1/live?wait_ms=soon",
        "/v1/identities/none",
    ] {
        let refused = served.ask(move |client| client.get::<Value>(path)).await;
        let Err(Failure::Problem(problem)) = refused else { panic!("{path}: {refused:?}") };
        assert_eq!(
            (problem.status, &*problem.kind),
            (400, "https://ringway.dev/problems/malformed"),
            "{path}"
        );
        assert!(!problem.detail.is_empty());
    }
}

#[tokio::test]
async fn an_apply_on_an_older_generation_is_refused_with_the_newest() {
    let served = serve().await;
    served.apply(1, Some(0), 0).await.unwrap();
    let Err(Failure::Problem(problem)) = served.apply(2, Some(0), 0).await else { panic!("it was applied") };
    assert_eq!((problem.status, problem.newest), (412, Some(1)));
    assert_eq!(served.apply(2, Some(1), 0).await.unwrap()["generation"]["number"], 2);
}

#[tokio::test]
async fn mistakes_come_back_with_their_places() {
    let served = serve().await;
    let body = json!({"documents": [{"name": "site.yaml", "text": "version: 1\nhsots: {}\n"}]});
    let refused = served.ask(move |client| client.post::<Value>("/v1/generations", &body, None)).await;
    let Err(Failure::Problem(problem)) = refused else { panic!("it was applied") };
    assert_eq!(problem.status, 422);
    assert_eq!((&problem.diagnostics[0]["line"], &problem.diagnostics[0]["column"]), (&json!(2), &json!(1)));
    assert!(problem.rendered.unwrap().contains("site.yaml:2:1"));
}

#[tokio::test]
async fn a_node_learns_of_a_generation_fetches_it_and_makes_the_apply_end() {
    let served = serve().await;
    served.apply(1, None, 0).await.unwrap();
    let (status, pointer) = served.node("GET", "/v1/node/generation?node=n1&after=0", "").await;
    assert_eq!(status, 200);
    let current = Current::decode(&pointer, &served.keys.trust).unwrap();
    assert_eq!(current.generation, 1);
    let poll = served.node("GET", "/v1/node/generation?node=n1&after=1", "");
    let apply = served.apply(2, None, 60_000);
    let (applied, current) = tokio::join!(apply, async {
        let (_, pointer) = poll.await;
        let current = Current::decode(&pointer, &served.keys.trust).unwrap();
        let (status, snapshot) =
            served.node("GET", &format!("/v1/node/snapshots/{}", current.hash), "").await;
        assert_eq!(status, 200);
        assert!(!snapshot.is_empty());
        let said = json!({"node": "n1", "generation": current.generation, "hash": current.hash.to_string(),
            "ok": true, "live_ms": 3, "report": {"workers": 2, "listeners": ["http://127.0.0.1:8080"]}});
        assert_eq!(served.node("POST", "/v1/node/acknowledgements", &said.to_string()).await.0, 204);
        current
    });
    assert_eq!(current.generation, 2);
    let live = &applied.unwrap()["live"];
    assert_eq!((&live["nodes"], &live["live"]), (&json!(1), &json!(1)));
    let status: Value = served.ask(|client| client.get("/v1/status")).await.unwrap();
    assert_eq!(status["nodes"][0]["report"]["listeners"][0], "http://127.0.0.1:8080");
}

#[tokio::test]
async fn a_node_says_how_long_it_waits_for_news() {
    let served = serve().await;
    served.apply(1, None, 0).await.unwrap();
    let first = served.node("GET", "/v1/node/generation?node=n1&after=1", "").await;
    assert_eq!(first.0, 200);
    let began = std::time::Instant::now();
    assert_eq!(served.node("GET", "/v1/node/generation?node=n1&after=1&wait_ms=1", "").await.0, 204);
    assert!(began.elapsed().as_millis() < u128::from(crate::limits::NODE_POLL_MS_MAX / 2));
}

#[tokio::test]
async fn nodes_and_people_have_doors_of_their_own() {
    let served = serve().await;
    assert_eq!(served.node("GET", "/v1/status", "").await.0, 404);
    let node = served.ask(|client| client.get::<Value>("/v1/node/generation?node=n1&after=0")).await;
    assert!(matches!(node, Err(Failure::Problem(problem)) if problem.status == 404));
}

#[tokio::test]
async fn a_node_without_a_good_id_or_hash_is_refused() {
    let served = serve().await;
    let (status, _) = served.node("GET", "/v1/node/generation?node=a%20b&after=0", "").await;
    assert_eq!(status, 400);
    let (status, _) = served.node("GET", "/v1/node/snapshots/..%2f..%2ftrust%2fseal.key", "").await;
    assert_eq!(status, 404);
    let said = json!({"node": "n1", "generation": 1, "hash": "zz", "ok": true});
    assert_eq!(served.node("POST", "/v1/node/acknowledgements", &said.to_string()).await.0, 400);
}
