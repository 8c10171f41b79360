//! Signals: blocked in every thread, taken one at a time by the main one.

#![expect(unsafe_code, reason = "sigmask and sigwait have no safe wrapper in std")]

use std::io;

/// A signal that the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT: drain and end.
    Drain,
    /// SIGHUP: look for a new snapshot, reopen the access log.
    Reload,
    /// SIGUSR2: reserved for handing the sockets to a new binary.
    Upgrade,
}

/// The set of signals, blocked in this thread and in those that it starts.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them. Called before any other thread is started.
    ///
    /// # Errors
    /// The system call's.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: a zeroed set is filled by sigemptyset and read by the calls below; all pointers live through them.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2] {
                libc::sigaddset(&raw mut set, signal);
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
                0 => Ok(Self(set)),
                code => Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// The system call's.
    pub(crate) fn wait(&self) -> io::Result<Signal> {
        let mut signal = 0;
        // SAFETY: the set was filled by `block`; `signal` lives through the call.
        match unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } {
            0 => Ok(match signal {
                libc::SIGHUP => Signal::Reload,
                libc::SIGUSR2 => Signal::Upgrade,
                _ => Signal::Drain,
            }),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}
