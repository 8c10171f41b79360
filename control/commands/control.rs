//! `ringway control`: the daemon itself.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::ControlArgs;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::api::{Caller, Door, Service, Token, chain, node_router, now_unix_ms, rest_router};
use crate::app::App;
use crate::config::scalar::parse_duration;
use crate::keys::Keys;
use crate::outside::Outside;
use crate::state::{StateDir, write_whole};

/// How long requests under way may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// `ringway control`: runs until SIGTERM or SIGINT.
pub(super) fn run(args: &ControlArgs, terminal: Terminal) -> Result<u8, Failure> {
    if args.supervised {
        super::end_with_parent();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|source| failed("cannot start a runtime", source, None))?;
    runtime.block_on(serve(args, terminal))?;
    // A long poll or a slow reader does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(0)
}

/// A daemon that has everything it needs and serves nothing yet.
struct Opened {
    state: StateDir,
    /// Keeps other control daemons out.
    _lock: fs::File,
    app: Arc<App>,
    token: Token,
    api: TcpListener,
    socket: UnixListener,
    /// For nodes of other hosts.
    door: Option<Door>,
}

async fn serve(args: &ControlArgs, terminal: Terminal) -> Result<(), Failure> {
    let opened = open(args).await?;
    let address =
        opened.api.local_addr().map_err(|source| failed("cannot tell the API's address", source, None))?;
    let url = format!("http://{address}");
    let written = write_whole(&opened.state.address(), 0o600, url.as_bytes());
    written.map_err(|source| Failure::File { path: opened.state.address(), source })?;
    let (end, ending) = watch::channel(false);
    let service = Service { app: Arc::clone(&opened.app), ending: ending.clone() };
    let (token, known) = watch::channel(opened.token);
    let rest = axum::serve(opened.api, rest_router(service.clone(), known));
    let rest = tokio::spawn(rest.with_graceful_shutdown(ended(ending.clone())).into_future());
    let mut url_of_nodes = None;
    if let Some(door) = opened.door {
        url_of_nodes = Some(format!("https://{}", door.address()));
        tokio::spawn(door.serve(service.clone()));
    }
    let nodes = axum::serve(opened.socket, node_router(service, Caller::Local));
    let nodes = tokio::spawn(nodes.with_graceful_shutdown(ended(ending)).into_future());
    tokio::spawn(Arc::clone(&opened.app).follow_files(end.subscribe(), now_unix_ms));
    let detail = serde_json::json!({ "api": url, "nodes": url_of_nodes, "state": opened.state.root() });
    let also = url_of_nodes.map(|url| format!(", for gateways of other hosts on {url}")).unwrap_or_default();
    let ready = || terminal.line("control_ready", &detail, &format!("control is ready on {url}{also}"));
    let stopped = stopped(&opened.state, &token, ready).await;
    stopped.map_err(|source| failed("cannot wait for signals", source, None))?;
    end.send_replace(true);
    // Whoever does not end in time is cut off; what was committed is committed.
    tokio::time::timeout(DRAIN, async { (rest.await, nodes.await) }).await.ok();
    opened.app.stop().await;
    Ok(())
}

async fn open(args: &ControlArgs) -> Result<Opened, Failure> {
    let root = args.state.directory();
    let state = StateDir::open(&root).map_err(|source| Failure::State { path: root, source })?;
    let lock = state.lock().map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::ResourceBusy => {
                "another control daemon runs on it: stop that one, or choose another with --state"
            }
            _ => "check owner and permissions of the state directory",
        };
        failed("cannot take the state directory", source, Some(hint))
    })?;
    // Ours from here on: an address of the daemon before us would be taken for ours until we have one.
    fs::remove_file(state.address()).ok();
    let keys = Keys::load_or_make(&state).map_err(|error| {
        let hint = error.hint();
        failed("cannot use the cluster's keys", error, Some(hint))
    })?;
    let keys = Arc::new(keys);
    let outside = Outside::new(Arc::clone(&keys), &state.trust())
        .map_err(|error| failed("cannot use the cluster's keys", error, None))?;
    let app = App::start(&state, keys, Arc::new(outside), now_unix_ms()).await.map_err(|error| {
        let hint = error.hint();
        failed("cannot open the store", error, hint)
    })?;
    let token =
        Token::load_or_make(&state.token()).map_err(|error| failed("cannot use the token", error, None))?;
    let api = bind(&args.api).await?;
    let socket = bind_socket(&state).map_err(|source| Failure::File { path: state.socket(), source })?;
    let life_ms = parse_duration(&args.node_life).ok().filter(|ms| *ms > 0);
    app.authority().set_node_life(life_ms.ok_or_else(|| {
        Failure::Usage(format!("--node-life takes a duration such as 30d, not `{}`", args.node_life))
    })?);
    let door = match args.nodes {
        Some(address) => Some(Door::open(address).await.map_err(|source| {
            let hint = "another program has the port; choose one with --nodes";
            failed(&format!("cannot listen on {address}"), source, Some(hint))
        })?),
        None => None,
    };
    Ok(Opened { state, _lock: lock, app, token, api, socket, door })
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    let parsed: SocketAddr = address.parse().map_err(|_| {
        Failure::Usage(format!("--api takes an address such as 127.0.0.1:9091, not `{address}`"))
    })?;
    if !parsed.ip().is_loopback() {
        return Err(Failure::Usage(format!(
            "--api takes a loopback address: the API has a token but no TLS, and {address} is open to others"
        )));
    }
    let what = format!("cannot listen on {address}");
    TcpListener::bind(parsed).await.map_err(|source| {
        failed(
            &what,
            source,
            Some("another program has the port; choose one with --api, 127.0.0.1:0 for any"),
        )
    })
}

/// The lock on the state directory proves that a socket file found there is a dead daemon's.
fn bind_socket(state: &StateDir) -> io::Result<UnixListener> {
    let path = state.socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn ended(mut ending: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end too.
    ending.wait_for(|ending| *ending).await.ok();
}

/// Waits for the signal to end. SIGHUP reads the token anew. Says that the daemon is ready, once signals are taken, and
/// again after each SIGHUP: whoever sent it knows by that which token is asked for.
async fn stopped(state: &StateDir, token: &watch::Sender<Token>, ready: impl Fn()) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A hang-up of the terminal is no reason to end.
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        ready();
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => match Token::load_or_make(&state.token()) {
                Ok(read) => drop(token.send_replace(read)),
                Err(error) => tracing::error!(error = chain(&error), "the token was not read anew"),
            }
        }
    }
}

fn failed(what: &str, source: impl std::error::Error + Send + Sync + 'static, hint: Option<&str>) -> Failure {
    tracing::debug!(error = chain(&source), what, "the control daemon cannot start");
    Failure::Daemon { what: what.to_owned(), source: Box::new(source), hint: hint.map(str::to_owned) }
}
