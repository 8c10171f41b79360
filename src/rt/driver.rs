//! Starting a worker: which driver it gets, and how it ends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;

use io_uring::{IoUring, opcode, types};
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::deadline::Table;
use crate::local::{self, Worker};
use crate::outbox::{self, Outbox};
use crate::pipe::Pipes;
use crate::sys;
use crate::task::{Failure, Tasks, panic_message, spawn};
use crate::timer::{self, Timers};
use crate::turn::{self, Turns};

/// Entries of the completion queue: monoio ignores the error of a full one, so it must not fill up. 512 KiB.
const COMPLETIONS: u32 = 32_768;
/// The kernel's limit for the submission queue.
const ENTRIES_MAX: u32 = 16_384;

/// Which driver is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring with the best flags, then with fewer, then epoll.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// Which driver it became. io_uring with default flags is not among them: it is dearer than epoll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
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
    let (runtime, driver) = build(options)?;
    local::set_driver(driver);
    let mut runtime = ManuallyDrop::new(runtime);
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(live(options.on_panic, main, driver))));
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
    main: impl FnOnce(Driver) -> F,
    driver: Driver,
) -> io::Result<T> {
    let worker = Rc::new(Worker {
        tasks: Tasks::default(),
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
    let mut main = pin!(main(driver));
    let finished = poll_fn(|cx| worker.failure.poll_main(main.as_mut(), cx)).await;
    worker.tasks.drain().await;
    local::set_worker(None);
    Ok(finished)
}

type Runtime = FusionRuntime<IoUringDriver, LegacyDriver>;

fn build(options: &Options) -> Result<(Runtime, Driver), StartError> {
    let entries = options.entries.clamp(256, ENTRIES_MAX);
    let mut refused = None;
    if options.driver != DriverChoice::Epoll {
        for driver in [Driver::UringSingleIssuerCoop, Driver::UringCoop] {
            match build_ring(driver, entries) {
                Ok(runtime) => return Ok((runtime, driver)),
                Err(error) => {
                    tracing::warn!(%driver, %error, "this driver is refused");
                    refused = Some(error);
                }
            }
        }
    }
    if let (DriverChoice::Uring, Some(error)) = (options.driver, refused) {
        return Err(StartError::Uring(error));
    }
    let runtime = RuntimeBuilder::<LegacyDriver>::new().with_entries(entries).build();
    Ok((runtime.map_err(StartError::Epoll)?.into(), Driver::Epoll))
}

fn build_ring(driver: Driver, entries: u32) -> io::Result<Runtime> {
    let flags = ring_flags(driver, entries);
    probe(&flags)?;
    Ok(RuntimeBuilder::<IoUringDriver>::new().uring_builder(flags).with_entries(entries).build()?.into())
}

fn ring_flags(driver: Driver, entries: u32) -> io_uring::Builder {
    let mut flags = IoUring::builder();
    flags.setup_coop_taskrun().setup_cqsize(COMPLETIONS.max(entries));
    if driver == Driver::UringSingleIssuerCoop {
        flags.setup_single_issuer();
    }
    flags
}

/// Whether a worker could have this driver here: a ring with its flags is made and used once. epoll is always to be had.
pub fn try_driver(driver: Driver) -> io::Result<()> {
    match driver {
        Driver::Epoll => Ok(()),
        ring => probe(&ring_flags(ring, Options::default().entries)),
    }
}

/// Makes a ring with these flags and carries one poll operation through it: a sandbox may allow the one and refuse the
/// other.
fn probe(flags: &io_uring::Builder) -> io::Result<()> {
    let mut ring = flags.build(8)?;
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let event = sys::eventfd()?;
    sys::eventfd_write(&event);
    let poll = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), sys::POLL_IN).build();
    sys::push_pinless(&mut ring, &poll)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(completion) if completion.result() > 0 => Ok(()),
        Some(completion) => Err(io::Error::from_raw_os_error(-completion.result())),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
