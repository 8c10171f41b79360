//! Starting a worker: which driver it gets, and how it ends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;

use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::deadline::Table;
use crate::local::{self, Worker};
use crate::outbox::{self, Outbox};
use crate::pipe::Pipes;
use crate::ring::{self, Completions};
use crate::task::{Failure, Tasks, panic_message, spawn};
use crate::timer::{self, Timers};
use crate::turn::{self, Turns};

/// The kernel's limit for the submission queue.
const ENTRIES_MAX: u32 = 16_384;

/// Which driver is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring with the best flags, then with fewer, then epoll.
    #[default]
    Auto,
    /// io_uring with the best flags, then with fewer, or an error.
    Uring,
    /// io_uring without DEFER_TASKRUN, or an error.
    UringCoop,
    /// epoll.
    Epoll,
}

/// Which driver it became. io_uring with default flags is not among them: it is dearer than epoll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN (kernel 6.1 and later): completions are worked off in a row, where the worker asks for
    /// them, and not behind each of its sends.
    UringSingleIssuerDefer,
    /// io_uring with SINGLE_ISSUER and COOP_TASKRUN (kernel 6.0 and later).
    UringSingleIssuerCoop,
    /// io_uring with COOP_TASKRUN (5.19 and later).
    UringCoop,
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UringSingleIssuerDefer => "io_uring_single_issuer_defer",
            Self::UringSingleIssuerCoop => "io_uring_single_issuer_coop",
            Self::UringCoop => "io_uring_coop",
            Self::Epoll => "epoll",
        })
    }
}

/// How a worker is started.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which driver is asked for.
    pub driver: DriverChoice,
    /// Entries of the submission queue, or of epoll's event list: 256 to 16,384.
    pub entries: u32,
    /// Told the message of each panic in a task, on the worker.
    pub on_panic: fn(&str),
}

impl Default for Options {
    /// `Auto`, 1,024 entries, panics logged by `tracing`.
    fn default() -> Self {
        Self {
            driver: DriverChoice::Auto,
            entries: 1024,
            on_panic: |message| tracing::error!(message, "a task panicked"),
        }
    }
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// io_uring was asked for and is refused.
    #[error("io_uring is not to be had")]
    Uring(#[source] io::Error),
    /// epoll is refused.
    #[error("epoll is not to be had")]
    Epoll(#[source] io::Error),
    /// Its timer or event descriptor could not be made.
    #[error("the worker's own descriptors could not be made")]
    Descriptors(#[source] io::Error),
}

/// How a worker ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// `main` has finished. Every task was dropped inside the runtime and no operation is in flight.
    Finished(T),
    /// A panic outside a task, with its message. The runtime is leaked, because the kernel may own buffers in it; its
    /// streams are shut down, their descriptors leak. [`run`] may be called again.
    Panicked(String),
}

/// Runs `main` and the tasks that it spawns on this thread, until `main` finishes.
pub fn run<F: Future<Output = T>, T>(
    options: &Options,
    main: impl FnOnce(Driver) -> F,
) -> Result<Ended<T>, StartError> {
    let Built { runtime, driver, completions } = build(options)?;
    local::set_driver(driver);
    let mut runtime = ManuallyDrop::new(runtime);
    let life = live(options.on_panic, completions, || main(driver));
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(life)));
    match ended {
        Ok(result) => {
            local::set_worker(None);
            drop(ManuallyDrop::into_inner(runtime));
            result.map(Ended::Finished).map_err(StartError::Descriptors)
        }
        Err(panic) => {
            if let Some(worker) = local::worker() {
                worker.deadlines.shut_down_all();
                // Its timers hold wakers of tasks of the leaked runtime.
                let _leaked = ManuallyDrop::new(worker);
            }
            local::set_worker(None);
            Ok(Ended::Panicked(panic_message(panic.as_ref()).to_owned()))
        }
    }
}

/// The life of a worker, inside its runtime.
async fn live<F: Future<Output = T>, T>(
    on_panic: fn(&str),
    completions: Completions,
    main: impl FnOnce() -> F,
) -> io::Result<T> {
    let worker = Rc::new(Worker {
        tasks: Tasks::new(),
        completions,
        timers: Timers::new()?,
        turns: Turns::new()?,
        outbox: Outbox::default(),
        pipes: Pipes::default(),
        deadlines: Table::new(),
        failure: Failure::default(),
        on_panic,
    });
    local::set_worker(Some(worker.clone()));
    spawn(timer::tick(worker.clone()));
    spawn(turn::keep(worker.clone()));
    spawn(outbox::keep(worker.clone()));
    let mut main = pin!(main());
    let finished = poll_fn(|cx| worker.failure.poll_main(main.as_mut(), cx)).await;
    worker.tasks.drain().await;
    local::set_worker(None);
    Ok(finished)
}

type Runtime = FusionRuntime<IoUringDriver, LegacyDriver>;

struct Built {
    runtime: Runtime,
    driver: Driver,
    completions: Completions,
}

fn build(options: &Options) -> Result<Built, StartError> {
    let entries = options.entries.clamp(256, ENTRIES_MAX);
    let rings: &[Driver] = match options.driver {
        DriverChoice::Auto | DriverChoice::Uring => {
            &[Driver::UringSingleIssuerDefer, Driver::UringSingleIssuerCoop, Driver::UringCoop]
        }
        DriverChoice::UringCoop => &[Driver::UringSingleIssuerCoop, Driver::UringCoop],
        DriverChoice::Epoll => &[],
    };
    let mut refused = None;
    for &driver in rings {
        match ring::build(driver, entries) {
            Ok((runtime, asked)) => {
                return Ok(Built { runtime: runtime.into(), driver, completions: Completions::new(asked) });
            }
            Err(error) => {
                tracing::warn!(%driver, %error, "this driver is refused");
                refused = Some(error);
            }
        }
    }
    if let (DriverChoice::Uring | DriverChoice::UringCoop, Some(error)) = (options.driver, refused) {
        return Err(StartError::Uring(error));
    }
    let runtime = RuntimeBuilder::<LegacyDriver>::new().with_entries(entries).build();
    let runtime = runtime.map_err(StartError::Epoll)?.into();
    Ok(Built { runtime, driver: Driver::Epoll, completions: Completions::new(None) })
}
