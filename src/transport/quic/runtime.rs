//! quinn's runtime over `rt`: tasks, timers, the clock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::{AsyncTimer, AsyncUdpSocket};
use ringway_rt as rt;

use super::batches::Driver;
use super::socket::{Offload, Socket};

/// The runtime of one endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runtime {
    clock: Clock,
}

/// Between quinn's instants and the worker's nanoseconds: quinn is given no other instants than these.
#[derive(Debug, Clone, Copy)]
struct Clock {
    base: Instant,
    base_ns: u64,
}

impl Clock {
    fn at(self, mono_ns: u64) -> Instant {
        let since = Duration::from_nanos(mono_ns.saturating_sub(self.base_ns));
        self.base.checked_add(since).unwrap_or(self.base)
    }

    fn ns_of(self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.base).as_nanos();
        self.base_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

impl Runtime {
    pub(super) fn new() -> Self {
        Self { clock: Clock { base: Instant::now(), base_ns: rt::now().mono_ns } }
    }
}

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer { timer: rt::Timer::new(self.clock.ns_of(at)), clock: self.clock })
    }

    /// Drivers of the endpoint and of its connections: each does a bounded amount of work and then wakes itself, which takes
    /// effect after everybody else's turn.
    ///
    /// A panic in a connection's driver poisons the lock that the connection's handles take even when they are dropped, and a
    /// second panic there would abort the process: so it ends the worker, in which nothing is dropped. Two panics do abort
    /// the process, because the library locks again on the way out: one in the endpoint's own driver, and one in the
    /// driver of a connection of which there is one handle only.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        rt::spawn_vital(Driver::new(future));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket, Offload::Kernel)?))
    }

    fn now(&self) -> Instant {
        self.clock.at(rt::now().mono_ns)
    }
}

#[derive(Debug)]
struct Timer {
    timer: rt::Timer,
    clock: Clock,
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let at_ns = self.clock.ns_of(at);
        self.timer.reset(at_ns);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Runtime};

    #[test]
    fn instants_and_nanoseconds_are_two_words_for_one_moment() {
        let clock = Runtime::new().clock;
        for ns in [0, 1, 999, 1_000_000_007, 86_400_000_000_000] {
            let at = clock.at(clock.base_ns + ns);
            assert_eq!(clock.ns_of(at), clock.base_ns + ns);
        }
        assert_eq!(clock.ns_of(clock.base - Duration::from_secs(1)), clock.base_ns);
    }
}
