//! Accepting connections: synchronously, with bounded work per turn, and without a hot loop when descriptors run out.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Poll, Waker};

use crate::clock::now;
use crate::local::{ACCEPTS_BACKED_OFF, ACCEPTS_SHED};
use crate::stream::Stream;
use crate::sys::{self, AcceptError};
use crate::timer::sleep_until_ns;
use crate::turn::turn;
use crate::watched::Watched;

/// How [`Listener::bind`] binds. SO_REUSEADDR is always set.
#[derive(Debug, Clone, Copy)]
pub struct BindOptions {
    /// SO_REUSEPORT: the kernel spreads connections over all sockets bound so.
    pub reuseport: bool,
    /// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// IPV6_V6ONLY, for an IPv6 address: `[::]` then leaves IPv4 to a socket of its own.
    pub v6only: bool,
}

impl Default for BindOptions {
    /// No SO_REUSEPORT, a backlog of 4,096, IPv6 only.
    fn default() -> Self {
        Self { reuseport: false, backlog: 4096, v6only: true }
    }
}

/// Connections accepted without a wait before the other tasks get their turn.
const ACCEPTS_PER_TURN: u32 = 16;
const BACK_OFF_MS_MIN: u64 = 10;
const BACK_OFF_MS_MAX: u64 = 100;

/// A listening socket on a worker. One task accepts at a time.
#[derive(Debug)]
pub struct Listener {
    watched: Watched,
    /// Given up for a moment when descriptors have run out, so that one caller can be told by a close.
    reserve: RefCell<Option<OwnedFd>>,
    back_off_ms: Cell<u64>,
    accepted_in_turn: Cell<u32>,
    stopped: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Listener {
    /// Binds and listens; off the worker too. The socket has CLOEXEC, and its connections inherit NODELAY.
    pub fn bind(address: SocketAddr, options: BindOptions) -> io::Result<std::net::TcpListener> {
        let socket = sys::stream_socket(&address)?;
        sys::set_listener_options(&socket, &address, options.reuseport, options.v6only)?;
        sys::set_nodelay(&socket)?;
        sys::bind_and_listen(&socket, &address, options.backlog)?;
        Ok(std::net::TcpListener::from(socket))
    }

    /// Binds without listening and without SO_REUSEPORT, so that nobody can connect: `AddrInUse` where another socket listens, one that
    /// would share the address included. The address is given back when the descriptor is dropped.
    pub fn hold(address: SocketAddr, v6only: bool) -> io::Result<OwnedFd> {
        let socket = sys::stream_socket(&address)?;
        sys::set_listener_options(&socket, &address, false, v6only)?;
        sys::bind(&socket, &address)?;
        Ok(socket)
    }

    /// Takes a listening socket over, and makes it non-blocking. The socket itself may live on in a clone.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let descriptor = OwnedFd::from(listener);
        sys::set_nodelay(&descriptor)?;
        Ok(Self {
            watched: Watched::new(descriptor)?,
            reserve: RefCell::new(sys::reserve()),
            back_off_ms: Cell::new(BACK_OFF_MS_MIN),
            accepted_in_turn: Cell::new(0),
            stopped: Cell::new(false),
            waiter: RefCell::new(None),
        })
    }

    /// Waits for the next connection. May be given up at any time without losing one.
    ///
    /// When descriptors or memory run out, it closes one waiting connection, pauses for 10 to 100 ms, counts both and goes
    /// on. `Interrupted` after [`Self::stop`]; any other error is the socket's own and final.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        loop {
            if self.stopped.get() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.accepted_in_turn.get() >= ACCEPTS_PER_TURN {
                self.accepted_in_turn.set(0);
                turn().await;
            }
            match sys::accept(self.watched.fd()) {
                Ok(Some((descriptor, peer))) => {
                    self.accepted_in_turn.set(self.accepted_in_turn.get() + 1);
                    self.back_off_ms.set(BACK_OFF_MS_MIN);
                    match Stream::adopt(descriptor, peer) {
                        Ok(stream) => return Ok((stream, peer)),
                        Err(_) => self.back_off().await?,
                    }
                }
                Ok(None) => {
                    self.accepted_in_turn.set(0);
                    self.unless_stopped(self.watched.readable()).await?;
                }
                Err(AcceptError::Connection) => self.accepted_in_turn.set(self.accepted_in_turn.get() + 1),
                Err(AcceptError::Exhausted) => self.back_off().await?,
                Err(AcceptError::Listener(error)) => return Err(error),
            }
        }
    }

    /// Accepts a connection that is waiting, if there is one; also after [`Self::stop`], to empty the backlog.
    pub fn try_accept(&self) -> io::Result<Option<(Stream, SocketAddr)>> {
        match sys::accept(self.watched.fd()) {
            Ok(Some((descriptor, peer))) => Ok(Some((Stream::adopt(descriptor, peer)?, peer))),
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends accepting: a waiting [`Self::accept`] returns `Interrupted`, and so does every later one. The socket goes on
    /// listening until [`Self::close`], or until it is dropped here and in its clones.
    pub fn stop(&self) {
        self.stopped.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Ends listening, in the socket's clones too: who connects from here on is refused. To drop it is not enough where that has to hold
    /// at once: a ring keeps what is waited for until it has ended the wait, which is milliseconds later where the process ends first.
    /// What still waits to be accepted is reset.
    pub fn close(&self) {
        sys::shutdown_read(self.watched.fd());
    }

    async fn back_off(&self) -> io::Result<()> {
        ACCEPTS_BACKED_OFF.add_one();
        let had_reserve = self.reserve.borrow_mut().take().is_some();
        if had_reserve && let Ok(Some(_)) = sys::accept(self.watched.fd()) {
            ACCEPTS_SHED.add_one();
        }
        self.reserve.replace(sys::reserve());
        let pause_ms = self.back_off_ms.get();
        self.back_off_ms.set((pause_ms * 2).min(BACK_OFF_MS_MAX));
        let until_ns = now().mono_ns + pause_ms * 1_000_000;
        self.unless_stopped(async {
            sleep_until_ns(until_ns).await;
            Ok(())
        })
        .await
    }

    async fn unless_stopped(&self, wait: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut wait = pin!(wait);
        poll_fn(|cx| {
            if self.stopped.get() {
                return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
            }
            let polled = wait.as_mut().poll(cx);
            if polled.is_pending() {
                *self.waiter.borrow_mut() = Some(cx.waker().clone());
            }
            polled
        })
        .await
    }
}
