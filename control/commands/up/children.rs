//! The processes that `up` runs: started from the same binary, told to end, started again with back-off.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as Sent, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::UpArgs;
use super::super::failure::Failure;
use super::{Event, Signals};
use crate::config::scalar::DURATION_MS_MAX;

/// First pause before a child is started again.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// A child that lived this long starts from the first pause again.
const STEADY: Duration = Duration::from_secs(60);
/// A control daemon that has not ended this long after it was told to is killed.
const STOP_CONTROL: Duration = Duration::from_secs(40);
/// The same of a gateway, which has a deadline of its own, `settings.timeouts.drain`: the longest there is, and a little.
const STOP_GATEWAY: Duration = Duration::from_millis(DURATION_MS_MAX + 60_000);
/// Signals that come within this time are one: `timeout` and others signal a process and its group.
const SAME: Duration = Duration::from_millis(500);

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `ringway control`.
    Control,
    /// `ringway gateway`.
    Gateway,
}

impl Role {
    /// Its command.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Gateway => "gateway",
        }
    }
}

/// What a child's wait ended with.
#[derive(Debug)]
pub(super) enum Ended {
    /// The process.
    Process {
        /// Which.
        role: Role,
        /// How.
        status: ExitStatus,
    },
    /// The pause before it is started again.
    BackOff(Role),
}

/// A process, running or in its pause.
#[derive(Debug)]
pub(super) struct Child {
    role: Role,
    arguments: Vec<String>,
    state: PathBuf,
    events: mpsc::Sender<Event>,
    process: Option<tokio::process::Child>,
    started: Instant,
    pause: Duration,
    resume: Option<Instant>,
    launched: bool,
}

impl Child {
    /// Not started yet.
    pub(super) fn new(role: Role, args: &UpArgs, state: &Path, events: mpsc::Sender<Event>) -> Self {
        let mut arguments = vec![role.name().to_owned(), "--supervised".to_owned()];
        match role {
            Role::Control => arguments.extend(["--api".to_owned(), args.api.clone()]),
            Role::Gateway => {
                let workers = args.workers.map(|workers| ["--workers".to_owned(), workers.to_string()]);
                let driver = args.driver.clone().map(|driver| ["--driver".to_owned(), driver]);
                arguments.extend(workers.into_iter().chain(driver).flatten());
            }
        }
        Self {
            role,
            arguments,
            state: state.to_owned(),
            events,
            process: None,
            started: Instant::now(),
            pause: BACK_OFF_MIN,
            resume: None,
            launched: false,
        }
    }

    /// Starts the process unless it was started before.
    pub(super) fn start_once(&mut self) -> Result<(), Failure> {
        if self.launched { Ok(()) } else { self.start() }
    }

    /// Starts the process. Its standard error is ours; so is the gateway's standard output (access log).
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        self.resume = None;
        self.launched = true;
        let failed = |source| Failure::Daemon {
            what: format!("cannot start {}", self.role.name()),
            source: Box::new(source),
            hint: None,
        };
        let binary = std::env::current_exe().map_err(failed)?;
        let output = if self.role == Role::Control { Stdio::piped() } else { Stdio::inherit() };
        let mut process = Command::new(binary)
            .args(&self.arguments)
            .arg("--state")
            .arg(&self.state)
            .stdin(Stdio::null())
            .stdout(output)
            // Signals of the terminal reach us alone, and we tell the children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(output) = process.stdout.take() {
            tokio::spawn(report(output, self.events.clone()));
        }
        self.process = Some(process);
        self.started = Instant::now();
        Ok(())
    }

    /// Waits for the process or the pause to end. Safe to drop and to call again.
    pub(super) async fn next(&mut self) -> Ended {
        if let Some(process) = &mut self.process {
            // A wait fails only for a process that is not ours.
            let status = process.wait().await.unwrap_or_default();
            self.process = None;
            return Ended::Process { role: self.role, status };
        }
        match self.resume {
            Some(resume) => tokio::time::sleep_until(resume).await,
            None => std::future::pending().await,
        }
        Ended::BackOff(self.role)
    }

    /// Sends the process SIGHUP: `false` if there is none.
    pub(super) fn hang_up(&self) -> bool {
        self.id().is_some_and(|id| kill_process(id, Sent::HUP).is_ok())
    }

    fn id(&self) -> Option<Pid> {
        let id = self.process.as_ref()?.id()?;
        i32::try_from(id).ok().and_then(Pid::from_raw)
    }

    /// Begins the pause before the next start, twice as long as the one before.
    pub(super) fn back_off(&mut self) -> Duration {
        if self.started.elapsed() >= STEADY {
            self.pause = BACK_OFF_MIN;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(BACK_OFF_MAX);
        self.resume = Some(Instant::now() + pause);
        pause
    }

    /// Tells the process to end and waits for it; another signal to us, or too long a wait, kills it.
    pub(super) async fn stop(&mut self, told: Instant, signals: &mut Signals) {
        if let Some(id) = self.id() {
            // It may have ended in this instant.
            kill_process(id, Sent::TERM).ok();
        }
        let Some(mut process) = self.process.take() else { return };
        let too_long = tokio::time::sleep(match self.role {
            Role::Control => STOP_CONTROL,
            Role::Gateway => STOP_GATEWAY,
        });
        tokio::pin!(too_long);
        loop {
            tokio::select! {
                _ = process.wait() => return,
                () = &mut too_long => break,
                _ = signals.terminate.recv() => {}
                _ = signals.interrupt.recv() => {}
            }
            if told.elapsed() >= SAME {
                break;
            }
        }
        process.kill().await.ok();
    }
}

/// Passes on what control says: its ready line, and anything else.
async fn report(output: ChildStdout, events: mpsc::Sender<Event>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event =
            if line.starts_with("control is ready on ") { Event::ControlReady } else { Event::Line(line) };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
