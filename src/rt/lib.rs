//! `rt`, the seam between Ringway and its runtime: about fifteen functions over monoio, the only crate that names it.
//!
//! **Readiness first.** Sockets are tried synchronously (`recv` and `send` that never block); only when nothing is there
//! does a task wait, by a poll operation. So the kernel never owns a buffer of a waiting connection, nothing has to be
//! cancelled, and no byte is lost when a wait is given up. The one exception is [`Stream::read_pinned`].
//!
//! The laws of all this are in `laws/`, each on every driver; each fails when its cure is taken away.
//!
//! A worker is one thread inside [`run`]. Everything else here, but [`Doorbell::ring`], [`now`] and the thread settings,
//! must be called on a worker.
//!
//! # What monoio 0.2.4 does, and what is done here about it
//!
//! | hazard | cure |
//! |-|-|
//! | a dropped pending `accept` leaks the accepted descriptor | `accept4` is called synchronously; only readiness is waited for |
//! | a task that wakes itself goes to the front of the queue and starves the rest | [`spawn_foreign`] and [`turn`] pass self-wakes through the driver |
//! | timers do not run while the queue is busy | no monoio timers: timers and deadlines hang on one timerfd, an I/O event like others |
//! | `connect` resolves names, blocking | [`Stream::connect`] takes a `SocketAddr` |
//! | accepted descriptors without CLOEXEC | `accept4` with `SOCK_CLOEXEC` |
//! | `accept` under EMFILE is a hot loop | a reserve descriptor sheds one caller, then a back-off of 10 to 100 ms, counted ([`counters`]) |
//! | a dropped read loses bytes that were already delivered | reads are synchronous; a given-up wait holds no bytes |
//! | a runtime dropped with operations in flight | at the end of [`run`] every task is dropped inside the runtime and pinned reads are awaited |
//! | while a task is ready, or other threads wake some, a ring with DEFER_TASKRUN is not asked for completions | it is asked here, once in so many polls and before each [`turn`] |
//! | each drop of a descriptor submits a close and a cancel | an idle descriptor is taken back and closed by `close`; a given-up wait stays armed for the next one |
//! | a closed descriptor number is reused while an operation on it waits in the submission queue | while anything is in flight the close goes through the ring, behind it |
//! | on epoll the driver believes in readiness that our own reads have used up | each wait first asks the kernel once |
//! | a given-up wait keeps the waker, and with it the memory, of its task | it lets go of it when it is given up |
//! | completion queue overflow, `park` errors swallowed | completion queue of 32,768 entries |
//! | a panic in a task ends the worker | each poll and each drop of a task is in `catch_unwind`; counted |
//! | a panic in a driver of quinn poisons locks; the next one, in a drop, aborts the process | [`spawn_vital`]: it ends the worker, where nothing is dropped |
//! | a panic elsewhere frees buffers that the kernel owns | [`run`] leaks the runtime, shuts its streams down, returns [`Ended::Panicked`] |
//! | `FusionDriver` probes a plain ring and may fail later | [`run`] probes the very flags it uses, then fewer, then epoll |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod clock;
mod deadline;
mod doorbell;
mod driver;
mod host;
#[cfg(test)]
mod laws;
mod listener;
mod local;
mod outbox;
mod pinned;
mod pipe;
pub mod probe;
mod ring;
mod stream;
mod sys;
mod task;
mod timer;
mod turn;
mod udp;
mod watched;

pub use clock::{Now, now};
pub use deadline::{Deadline, Side};
pub use doorbell::Doorbell;
pub use driver::{Driver, DriverChoice, Ended, Options, StartError, run};
pub use host::{idle_priority, pin_to_core};
pub use listener::{BindOptions, Listener};
pub use local::{Counters, counters};
pub use pipe::Pipe;
pub use stream::{PeerState, Stream};
pub use task::{spawn, spawn_foreign, spawn_vital, tasks_panicked};
pub use timer::{Timer, sleep_until_ns, until_ns};
pub use turn::turn;
pub use udp::{Segments, UdpSocket};
