//! The client's side of HTTP/2: one connection to an upstream's endpoint that carries many requests at once.
//!
//! The h2 crate speaks the protocol in a task of its own; a request meets it only through its stream. A connection is open once
//! the peer's SETTINGS are here, so that no stream is opened that the peer would refuse for its number.

mod reply;
mod request;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use ringway_rt as rt;
use ringway_wire::limits::HeadLimits;
use ringway_wire::message::OutgoingHead;

pub use self::reply::{HeadEnd, Reply, ReplyHead};
use super::chunk::Chunk;
use super::line::{Io, Line};
use crate::Stream;
use crate::bell::Bell;
use crate::limits::{
    HTTP2_FRAME_BYTES_MAX, HTTP2_QUEUED_BYTES_MAX, HTTP2_REPLY_LIST_BYTES_MAX, HTTP2_TABLE_BYTES_MAX,
    HTTP2_UPSTREAM_BROKEN_MAX, HTTP2_UPSTREAM_RESETS_MAX, HTTP2_UPSTREAM_WINDOW_BYTES,
};
use crate::message::{After, Sender};

/// How long frames for a stream that we reset are ignored rather than a breach of the protocol.
const RESET_REMEMBERED: Duration = Duration::from_secs(10);

/// An open connection. Dropped, it takes no more requests and ends when those on it have.
pub struct ClientConnection {
    shared: Rc<Shared>,
}

/// What the connection, its task and its streams know of each other.
struct Shared {
    line: Rc<Line>,
    /// Taken away when no more requests are to go out: h2 ends the connection when nobody can make one.
    requests: RefCell<Option<SendRequest<Chunk>>>,
    pings: RefCell<Option<PingPong>>,
    /// Requests on it.
    streams: Cell<u32>,
    /// Requests that it has carried.
    carried: Cell<u64>,
    /// Since when it has carried none.
    rests_since_ns: Cell<u64>,
    /// Requests that did not end in order.
    broken: Cell<u32>,
    /// Most that we put on it.
    streams_max: u32,
    /// Most that the peer allows at this moment; 0 until its SETTINGS came.
    streams_allowed: Cell<u32>,
    /// The peer said GOAWAY, or the connection is gone.
    leaving: Cell<bool>,
    /// It did not answer a PING: the task ends.
    given_up: Cell<bool>,
    /// The task has ended.
    closed: Cell<bool>,
    /// Rung when a stream is free, and when the connection has opened or takes no more.
    bell: Rc<Bell>,
}

/// A request's place on a connection, until it is dropped.
pub struct Slot {
    shared: Rc<Shared>,
    /// A request was sent on it, and has not ended in order.
    open: Cell<bool>,
}

/// A request that was sent.
pub struct Requested {
    /// Where its content goes; nothing where the head was all.
    pub sender: Sender,
    /// Its reply.
    pub reply: Reply,
}

impl ClientConnection {
    /// Opens HTTP/2 on a connection that was just made: sends the preface and waits for the peer's SETTINGS. Of at most
    /// `streams_max` requests at once, and an end where the peer takes no bytes for `stall_ns`; `bell` is rung when one more
    /// may go, or when none may any more.
    ///
    /// # Errors
    /// [`HeadEnd`]: what came was no HTTP/2, or nothing by `until_ns`.
    pub async fn open(
        stream: Stream,
        streams_max: u32,
        stall_ns: u64,
        bell: Rc<Bell>,
        until_ns: u64,
    ) -> Result<Self, HeadEnd> {
        let line = Line::new(stream, None, None, rt::now().mono_ns);
        // The preface is gathered like all else: this waits for nobody.
        let made = builder(streams_max).handshake(Io(Rc::clone(&line))).await;
        let (requests, mut connection) = made.map_err(|error| HeadEnd::of(&error))?;
        let shared = Rc::new(Shared {
            line,
            requests: RefCell::new(Some(requests)),
            pings: RefCell::new(connection.ping_pong()),
            streams: Cell::new(0),
            carried: Cell::new(0),
            broken: Cell::new(0),
            rests_since_ns: Cell::new(rt::now().mono_ns),
            streams_max,
            streams_allowed: Cell::new(0),
            leaving: Cell::new(false),
            given_up: Cell::new(false),
            closed: Cell::new(false),
            bell,
        });
        let opened = Self { shared: Rc::clone(&shared) };
        let settled = Rc::new(Settled::default());
        rt::spawn_foreign(drive(connection, shared, stall_ns, Rc::clone(&settled)));
        let settling = async {
            // A GOAWAY alone says nothing: why the connection ends is known when it has.
            while opened.shared.streams_allowed.get() == 0 && !opened.shared.closed.get() {
                settled.bell.heard().await;
            }
        };
        match rt::until_ns(until_ns, settling).await {
            None => {
                opened.shared.give_up();
                Err(HeadEnd::Silent)
            }
            Some(()) if opened.shared.closed.get() => Err(settled.failure.take().unwrap_or(HeadEnd::Closed)),
            Some(()) => Ok(opened),
        }
    }

    /// How many more requests it takes now.
    #[must_use]
    pub fn free(&self) -> u32 {
        if self.is_leaving() {
            return 0;
        }
        let most = self.shared.streams_max.min(self.shared.streams_allowed.get());
        most.saturating_sub(self.shared.streams.get())
    }

    /// Requests on it.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.shared.streams.get()
    }

    /// Since when it has been without a request, of the monotonic clock.
    #[must_use]
    pub fn rests_since_ns(&self) -> u64 {
        self.shared.rests_since_ns.get()
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Whether it takes no more requests, for ever.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.leaving.get()
    }

    /// Takes a place on it. `None`: all are taken, or it takes no more.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        (self.free() > 0).then(|| {
            self.shared.streams.set(self.shared.streams.get() + 1);
            Slot { shared: Rc::clone(&self.shared), open: Cell::new(false) }
        })
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let requests = self.shared.requests.borrow_mut().take();
        drop(requests);
    }
}

impl Slot {
    /// Sends a request's head.
    ///
    /// # Errors
    /// Nothing was sent: [`HeadEnd::Refused`] where the connection takes no more, [`HeadEnd::Unsendable`] where the head holds
    /// what HTTP/2 cannot.
    pub fn request(
        &self,
        head: &OutgoingHead<'_>,
        after: After,
        limits: &HeadLimits,
    ) -> Result<Requested, HeadEnd> {
        let (request, method) = request::of(head).ok_or(HeadEnd::Unsendable)?;
        // A clone of its own: one that was used waits for its last stream to be opened.
        let Some(mut requests) = self.shared.requests.borrow().clone() else { return Err(HeadEnd::Refused) };
        // Whatever the reason: it was not sent.
        let (future, stream) =
            requests.send_request(request, after == After::Nothing).map_err(|_| HeadEnd::Refused)?;
        self.open.set(true);
        self.shared.carried.set(self.shared.carried.get() + 1);
        let line = &self.shared.line;
        let reply = Reply::new(future, Rc::clone(line), method, limits);
        let sender = super::Sender::of_request(stream, Rc::clone(line), head, after);
        Ok(Requested { sender: Sender::Http2(sender), reply })
    }

    /// Whether the connection carried another request before.
    #[must_use]
    pub fn reused(&self) -> bool {
        self.shared.carried.get() > 1
    }

    /// The request and its reply are whole. Of those that are not, a connection carries no more than
    /// [`HTTP2_UPSTREAM_BROKEN_MAX`].
    pub fn ended_in_order(&self) {
        self.open.set(false);
    }

    /// Asks the peer for a sign of life, because a request on it waited too long. Without one by `until_ns` the connection is
    /// given up, and every request on it with it.
    pub fn probe(&self, until_ns: u64) {
        let Some(mut pings) = self.shared.pings.borrow_mut().take() else { return };
        if pings.send_ping(Ping::opaque()).is_err() {
            return;
        }
        let shared = Rc::clone(&self.shared);
        rt::spawn_foreign(async move {
            let answered = rt::until_ns(until_ns, poll_fn(|context| pings.poll_pong(context))).await;
            match answered {
                Some(Ok(_)) => *shared.pings.borrow_mut() = Some(pings),
                Some(Err(_)) => {}
                None => shared.give_up(),
            }
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.shared;
        let left = shared.streams.get().saturating_sub(1);
        shared.streams.set(left);
        if left == 0 {
            shared.rests_since_ns.set(rt::now().mono_ns);
        }
        if self.open.get() {
            shared.note_broken();
        }
        shared.bell.ring_one();
    }
}

impl Shared {
    /// Looks at what h2 says of itself: it tells nobody.
    fn look(&self) {
        let mut requests = self.requests.borrow_mut();
        let Some(requests) = requests.as_mut() else { return };
        let usable = requests.poll_ready(&mut Context::from_waker(Waker::noop()));
        let allowed = u32::try_from(requests.current_max_send_streams()).unwrap_or(u32::MAX);
        let more = allowed > self.streams_allowed.replace(allowed);
        let left = matches!(usable, Poll::Ready(Err(_))) && !self.leaving.replace(true);
        if more || left {
            self.bell.ring_all();
        }
    }

    fn end(&self) {
        self.closed.set(true);
        self.leaving.set(true);
        let requests = self.requests.borrow_mut().take();
        drop(requests);
        self.bell.ring_all();
    }

    /// One more request came to no orderly end.
    fn note_broken(&self) {
        self.broken.set(self.broken.get().saturating_add(1));
        if self.broken.get() == HTTP2_UPSTREAM_BROKEN_MAX && !self.leaving.replace(true) {
            // h2 ends the connection with the last of its streams.
            let requests = self.requests.borrow_mut().take();
            drop(requests);
            self.bell.ring_all();
        }
    }

    fn give_up(&self) {
        self.given_up.set(true);
        self.leaving.set(true);
        self.line.wake();
    }
}

/// What who opens a connection learns from its task.
#[derive(Default)]
struct Settled {
    bell: Bell,
    failure: Cell<Option<HeadEnd>>,
}

/// The connection's task: lets h2 read and write until the connection is over. The socket closes with it.
async fn drive(connection: Connection<Io, Chunk>, shared: Rc<Shared>, stall_ns: u64, settled: Rc<Settled>) {
    let ended = {
        let mut connection = pin!(connection);
        poll_fn(|context| {
            if shared.given_up.get() {
                return Poll::Ready(Ok(()));
            }
            shared.line.begin_turn(context);
            let polled = connection.as_mut().poll(context);
            shared.look();
            settled.bell.ring_all();
            if polled.is_pending() {
                shared.line.gate.wake_next();
                if let Poll::Ready(Err(_)) = shared.line.poll_flush(context, stall_ns) {
                    return Poll::Ready(Ok(()));
                }
            }
            polled
        })
        .await
    };
    settled.failure.set(ended.err().map(|error| HeadEnd::of(&error)));
    shared.end();
    settled.bell.ring_all();
}

fn builder(streams_max: u32) -> Builder {
    // Each stream has its window whatever the others do, so that a slow reader of one holds nobody up.
    let connection_window = HTTP2_UPSTREAM_WINDOW_BYTES.saturating_mul(streams_max).min(i32::MAX as u32);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .header_table_size(HTTP2_TABLE_BYTES_MAX)
        .max_header_list_size(HTTP2_REPLY_LIST_BYTES_MAX)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .initial_window_size(HTTP2_UPSTREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window)
        .initial_max_send_streams(0)
        .max_send_buffer_size(HTTP2_QUEUED_BYTES_MAX)
        .max_concurrent_reset_streams(HTTP2_UPSTREAM_RESETS_MAX)
        .reset_stream_duration(RESET_REMEMBERED)
        .max_local_error_reset_streams(Some(HTTP2_UPSTREAM_RESETS_MAX));
    builder
}
