//! `ringway up`: control and gateway as child processes, the file that is watched, and the quick start.
//!
//! One loop over events: a child is ready or has ended, the file changed, a signal came. It alone decides;
//! the tasks beside it only report. The children share nothing with it but the state directory, so that a
//! crash of any of the three leaves the other two as they are.

mod children;
mod source;
mod watch;

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::change::describe;
use super::client::Client;
use super::failure::Failure;
use super::terminal::Terminal;
use super::{ConnectArgs, UpArgs, documents};
use crate::api::views::{
    ApplyOutcome, ApplyRequest, ApplyResponse, ApplyWhen, LiveView, NodesView, StatusView,
};
use crate::state::StateDir;
use children::{Child, Ended, Role};
use source::Source;

/// How long the gateway may take to serve the first generation before that is said.
const FIRST_LIVE_MS: u64 = 30_000;
/// How long the gateway may take to find a control daemon that was started again.
const REJOIN_MS: u64 = 5_000;
/// Events that wait for the loop; the watcher's merge.
const EVENTS_MAX: usize = 16;

/// What happens to the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// The control daemon serves its API.
    ControlReady,
    /// A child printed a line that is not for us.
    Line(String),
    /// Something beside the source changed, perhaps the source.
    Changed,
}

/// `ringway up`: runs until SIGTERM or SIGINT.
pub(super) fn run(args: &UpArgs, terminal: Terminal) -> Result<u8, Failure> {
    // One thread: children are started from the thread that lives as long as the process, which their
    // death signal is tied to.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| failed("cannot start a runtime", source))?;
    let done = runtime.block_on(Up::start(args, terminal));
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

/// The supervisor.
struct Up {
    terminal: Terminal,
    connect: ConnectArgs,
    source: Source,
    control: Child,
    gateway: Child,
    events: mpsc::Receiver<Event>,
    control_ready: bool,
    /// Control is to be told to read its token anew once it is ready.
    hung_up: bool,
    /// Documents are to be applied once control is ready.
    pending: Option<ApplyWhen>,
    announced: bool,
}

/// Why the loop ends.
enum End {
    Stopped,
    Failed(Failure),
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Up {
    async fn start(args: &UpArgs, terminal: Terminal) -> Result<u8, Failure> {
        let root = args.state.directory();
        StateDir::open(&root).map_err(|source| Failure::State { path: root.clone(), source })?;
        let root = std::path::absolute(&root).map_err(|source| Failure::File { path: root, source })?;
        let source = Source::new(args.file.as_deref(), args.address)?;
        source.read()?;
        let echo = source.start_upstream().await?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        watch::start(&source, sender.clone());
        let up = Self {
            terminal,
            connect: ConnectArgs {
                state: super::StateArgs { state: Some(root.clone()) },
                api: None,
                token_file: None,
            },
            control: Child::new(Role::Control, args, &root, sender.clone()),
            gateway: Child::new(Role::Gateway, args, &root, sender),
            source,
            events,
            control_ready: false,
            hung_up: false,
            pending: Some(ApplyWhen::SourceChanged),
            announced: false,
        };
        let signals = signals().map_err(|source| failed("cannot wait for signals", source))?;
        let done = up.supervise(signals).await;
        drop(echo);
        done
    }

    async fn supervise(mut self, mut signals: Signals) -> Result<u8, Failure> {
        // The gateway follows once control is ready: at the first start there are no keys before.
        self.control.start()?;
        let end = self.run(&mut signals).await;
        let told = tokio::time::Instant::now();
        // The gateway first: its requests end while control still takes its words.
        self.gateway.stop(told, &mut signals).await;
        self.control.stop(told, &mut signals).await;
        match end {
            End::Stopped => Ok(0),
            End::Failed(failure) => Err(failure),
        }
    }

    async fn run(&mut self, signals: &mut Signals) -> End {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return End::Stopped,
                _ = signals.interrupt.recv() => return End::Stopped,
                _ = signals.hangup.recv() => {
                    self.hung_up = true;
                    self.pending = Some(ApplyWhen::Always);
                }
                ended = self.control.next() => {
                    self.control_ready = false;
                    if let Err(failure) = self.restart(&ended) { return End::Failed(failure) }
                }
                ended = self.gateway.next() => {
                    if let Err(failure) = self.restart(&ended) { return End::Failed(failure) }
                }
                event = self.events.recv() => match event {
                    Some(Event::ControlReady) => {
                        self.control_ready = true;
                        if let Err(failure) = self.gateway.start_once() { return End::Failed(failure) }
                    }
                    Some(Event::Line(line)) => self.terminal.line("child", &line.clone().into(), &line),
                    Some(Event::Changed) => match self.source.changed() {
                        Ok(true) => self.pending = self.pending.or(Some(ApplyWhen::SourceChanged)),
                        Ok(false) => {}
                        Err(failure) => {
                            if let Err(failure) = self.keep_serving(failure).await { return End::Failed(failure) }
                        }
                    },
                    None => return End::Stopped,
                },
            }
            // It says again that it is ready: what is asked then carries the token that it has read.
            if self.control_ready && std::mem::take(&mut self.hung_up) {
                self.control_ready = !self.control.hang_up();
            }
            if self.control_ready
                && let Some(when) = self.pending.take()
                && let Err(failure) = self.apply(when).await
            {
                return End::Failed(failure);
            }
        }
    }

    /// A child that ended is started again, later each time; one that never became ready at the first start ends us.
    fn restart(&mut self, ended: &Ended) -> Result<(), Failure> {
        match ended {
            Ended::Process { role, status } => {
                if !self.announced {
                    return Err(Failure::Refused(format!("{} could not start ({status})", role.name())));
                }
                let child = self.child(*role);
                let delay = child.back_off();
                let words = format!(
                    "{} ended ({status}); starting it again in {} ms",
                    role.name(),
                    delay.as_millis()
                );
                self.terminal.notice(&words);
                Ok(())
            }
            Ended::BackOff(role) => {
                let child = self.child(*role);
                child.start()
            }
        }
    }

    fn child(&mut self, role: Role) -> &mut Child {
        match role {
            Role::Control => &mut self.control,
            Role::Gateway => &mut self.gateway,
        }
    }

    /// Applies the source. Mistakes in it are said, and what served goes on serving; they end us only where nothing
    /// serves yet.
    async fn apply(&mut self, when: ApplyWhen) -> Result<(), Failure> {
        // Who asks for it by a signal knows that the file is whole; else the watcher does, and has read it.
        let documents = match (when, self.source.seen()) {
            (ApplyWhen::SourceChanged, Some(seen)) => seen,
            _ => match self.source.read_anew() {
                Ok(documents) => documents,
                Err(failure) => return self.keep_serving(failure).await,
            },
        };
        let request = ApplyRequest {
            documents: documents::views(documents),
            author: documents::author(),
            message: String::new(),
            source: Some(self.source.name()),
            when,
            wait_ms: crate::limits::LIVE_WAIT_MS,
        };
        let applied =
            ask(&self.connect, move |client| client.post::<ApplyResponse>("/v1/generations", &request, None))
                .await;
        match applied {
            Ok(applied) => self.applied(&applied).await,
            Err(failure) => self.keep_serving(failure).await,
        }
    }

    async fn applied(&mut self, applied: &ApplyResponse) -> Result<(), Failure> {
        self.terminal.warnings(&applied.rendered);
        if !self.announced {
            if applied.outcome == ApplyOutcome::SourceUnchanged {
                let status: StatusView = ask(&self.connect, |client| client.get("/v1/status")).await?;
                self.terminal.notice(&status.standing);
            }
            return self.announce(applied.generation.number).await;
        }
        let mut applied = applied.clone();
        if applied.outcome == ApplyOutcome::Applied && applied.live.nodes == 0 {
            // Control was started again, and the gateway has not found it yet.
            match self.wait_live(applied.generation.number, REJOIN_MS).await {
                Ok(Ok(live)) => applied.live = live,
                Ok(Err(ended)) => self.restart(&ended)?,
                Err(failure) => return self.keep_serving(failure).await,
            }
        }
        let value = serde_json::to_value(&applied).unwrap_or_default();
        if applied.outcome == ApplyOutcome::Applied {
            self.terminal.line("applied", &value, &describe(&applied));
        }
        for refusal in &applied.live.refused {
            self.terminal.notice(&format!(
                "node {} refused generation {} and goes on serving what it had: {}",
                refusal.node, applied.generation.number, refusal.reason
            ));
        }
        Ok(())
    }

    /// Waits until the gateway serves, then prints where everything is.
    async fn announce(&mut self, number: u64) -> Result<(), Failure> {
        let live = match self.wait_live(number, FIRST_LIVE_MS).await? {
            Ok(live) => live,
            Err(ended) => return self.restart(&ended),
        };
        if let (0, Some(refusal)) = (live.live, live.refused.first()) {
            return Err(Failure::Refused(format!(
                "the gateway refused generation {number}: {}",
                refusal.reason
            )));
        }
        if live.live == 0 {
            return Err(Failure::Refused(format!(
                "the gateway did not serve generation {number} within {} s",
                FIRST_LIVE_MS / 1000
            )));
        }
        let nodes: NodesView = ask(&self.connect, |client| client.get("/v1/nodes")).await?;
        let state = StateDir::at(&self.connect.state.directory());
        let api = std::fs::read_to_string(state.address()).unwrap_or_default();
        let mut lines = Vec::new();
        for node in nodes.nodes.iter().filter(|node| node.connected) {
            lines.extend(node.report.listeners.iter().map(|address| format!("gateway  {address}")));
            lines
                .extend(node.report.admin.iter().map(|address| format!("admin    http://{address}/metrics")));
        }
        lines.push(format!("control  {api}"));
        lines.push(format!("state    {}", state.root().display()));
        lines.extend(self.source.hint());
        lines.push(format!(
            "serving generation {number} of {}; {}",
            self.source.name(),
            self.source.follows()
        ));
        let value = serde_json::json!({
            "generation": number,
            "api": api,
            "state": state.root(),
            "nodes": nodes.nodes,
        });
        self.terminal.line("ready", &value, &lines.join("\n"));
        self.announced = true;
        Ok(())
    }

    /// Says what is wrong, and goes on if something serves.
    async fn keep_serving(&mut self, failure: Failure) -> Result<(), Failure> {
        if matches!(failure, Failure::Unreachable { .. } | Failure::NoDaemon { .. }) {
            // Control went away meanwhile; its next ready line brings us here again.
            self.pending = Some(ApplyWhen::SourceChanged);
            return Ok(());
        }
        let status: Result<StatusView, _> = ask(&self.connect, |client| client.get("/v1/status")).await;
        let newest = status.ok().and_then(|status| status.newest).map(|newest| newest.number);
        if newest.is_none() && !self.announced {
            return Err(failure);
        }
        self.terminal.failure(&failure);
        // Where control is away, or takes another token, the gateway serves all the same.
        let what = newest.map_or_else(|| "what served".to_owned(), |number| format!("generation {number}"));
        self.terminal.notice(&format!("{what} goes on serving"));
        match newest {
            Some(number) if !self.announced => self.announce(number).await,
            _ => Ok(()),
        }
    }

    /// Waits until a node serves the generation, but no longer than the gateway lives: its end is returned then.
    async fn wait_live(&mut self, number: u64, wait_ms: u64) -> Result<Result<LiveView, Ended>, Failure> {
        let path = format!("/v1/generations/{number}/live?wait_ms={wait_ms}");
        let live = ask(&self.connect, move |client| client.get(&path));
        tokio::select! {
            live = live => live.map(Ok),
            ended = self.gateway.next() => Ok(Err(ended)),
        }
    }
}

/// Asks the control daemon of a state directory; its address may be another after each start.
async fn ask<T: Send + 'static>(
    connect: &ConnectArgs,
    question: impl FnOnce(&Client) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let connect = connect.clone();
    let asked = tokio::task::spawn_blocking(move || question(&Client::connect(&connect)?));
    asked.await.map_err(|error| failed("a task of ours failed", error))?
}

fn signals() -> std::io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

fn failed(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Daemon { what: what.to_owned(), source: Box::new(source), hint: None }
}
