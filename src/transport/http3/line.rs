//! What the streams of one HTTP/3 connection share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use quinn::{Connection, ConnectionError};
use ringway_wire::http3::{Code, Fault, PeerStreams, Role, Settings};
use ringway_wire::priority::Priority;

use super::number;
use super::room::Room;
use crate::limits::{HTTP3_CANCELS_MAX, HTTP3_PRIORITIES_MAX};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order, by either side, or the peer went away.
    Closed,
    /// The peer broke the protocol: the code with which we closed.
    Malformed(Code),
    /// The peer burdened us.
    Flood,
}

/// A connection, its limits and its counts.
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) role: Role,
    /// What we announce.
    pub(super) ours: Settings,
    /// What the peer announced, once it did.
    pub(super) theirs: Cell<Option<Settings>>,
    pub(super) peer_streams: RefCell<PeerStreams>,
    /// Requests whose halves are not both dropped.
    pub(super) open: Cell<u32>,
    /// When the last of them was; 0 before.
    pub(super) rests_since_ns: Cell<u64>,
    /// Requests that came, for what their sender may say of them.
    pub(super) requests: Cell<u64>,
    /// How many requests may still be given up before they are answered.
    cancels_left: Cell<u32>,
    /// No further request is wanted.
    pub(super) draining: Cell<bool>,
    /// What GOAWAY is to say next; taken by the task that writes on the control stream.
    pub(super) goaway: Cell<Option<u64>>,
    /// What the peer's GOAWAY said.
    pub(super) goaway_seen: Cell<Option<u64>>,
    pub(super) ending: Cell<Option<Ending>>,
    /// Priorities that were said of requests on the control stream, newest last.
    priorities: RefCell<Vec<(u64, Priority)>>,
    /// Counts them, so that a sender looks only where there is something new.
    pub(super) priorities_said: Cell<u32>,
    /// Senders that wait for each other and for QUIC.
    pub(super) room: Rc<Room>,
    /// The task that waits for requests.
    acceptor: RefCell<Option<Waker>>,
    /// The task that writes on the control stream.
    writer: RefCell<Option<Waker>>,
}

impl Line {
    pub(super) fn new(connection: Connection, role: Role, ours: Settings) -> Rc<Self> {
        Rc::new(Self {
            connection,
            role,
            ours,
            theirs: Cell::new(None),
            peer_streams: RefCell::default(),
            open: Cell::new(0),
            rests_since_ns: Cell::new(0),
            requests: Cell::new(0),
            cancels_left: Cell::new(HTTP3_CANCELS_MAX),
            draining: Cell::new(false),
            goaway: Cell::new(None),
            goaway_seen: Cell::new(None),
            ending: Cell::new(None),
            priorities: RefCell::default(),
            priorities_said: Cell::new(0),
            room: Rc::default(),
            acceptor: RefCell::new(None),
            writer: RefCell::new(None),
        })
    }

    /// Closes the connection for what the peer did.
    pub(super) fn close(&self, code: Code) {
        if self.ending.get().is_none() {
            self.ending.set(Some(match code {
                Code::NoError => Ending::Closed,
                Code::ExcessiveLoad => Ending::Flood,
                _ => Ending::Malformed(code),
            }));
        }
        self.connection.close(number(code), code.name().as_bytes());
    }

    /// The largest field section that the peer takes, as far as it has said so (RFC 9114 §4.2.2).
    pub(super) fn field_section_bytes_max(&self) -> u64 {
        self.theirs.get().and_then(|theirs| theirs.field_section_bytes_max).unwrap_or(u64::MAX)
    }

    /// Closes the connection if the fault is that large; its code.
    pub(super) fn fault(&self, fault: Fault) -> Code {
        if let Fault::Connection(code) = fault {
            self.close(code);
        }
        fault.code()
    }

    /// The connection ended, by whomever.
    pub(super) fn ended(&self, error: &ConnectionError) {
        if self.ending.get().is_none() {
            self.ending.set(Some(match error {
                ConnectionError::TransportError(_) => Ending::Malformed(Code::GeneralProtocol),
                _ => Ending::Closed,
            }));
        }
    }

    /// A request is over. One that was given up before it was answered costs its sender something, one that was answered earns it
    /// back.
    fn request_over(&self, answered: bool) {
        let left = self.cancels_left.get();
        if answered {
            self.cancels_left.set(left.saturating_add(1).min(HTTP3_CANCELS_MAX));
        } else if left == 0 {
            self.close(Code::ExcessiveLoad);
        } else {
            self.cancels_left.set(left - 1);
        }
    }

    /// Remembers the priority of a request, whether it has come or not.
    pub(super) fn say_priority(&self, stream: u64, priority: Priority) {
        let mut priorities = self.priorities.borrow_mut();
        priorities.retain(|(other, _)| *other != stream);
        if priorities.len() >= HTTP3_PRIORITIES_MAX {
            priorities.remove(0);
        }
        priorities.push((stream, priority));
        self.priorities_said.set(self.priorities_said.get().wrapping_add(1));
    }

    pub(super) fn said_priority(&self, stream: u64) -> Option<Priority> {
        self.priorities.borrow().iter().find(|(other, _)| *other == stream).map(|(_, priority)| *priority)
    }

    fn forget_priority(&self, stream: u64) {
        self.priorities.borrow_mut().retain(|(other, _)| *other != stream);
    }

    pub(super) fn acceptor_waits(&self, cx: &Context<'_>) {
        keep(&self.acceptor, cx);
    }

    pub(super) fn writer_waits(&self, cx: &Context<'_>) {
        keep(&self.writer, cx);
    }

    pub(super) fn wake_acceptor(&self) {
        wake(&self.acceptor);
    }

    /// Has GOAWAY sent.
    pub(super) fn say_goaway(&self, stream: u64) {
        self.goaway.set(Some(stream));
        wake(&self.writer);
    }
}

fn keep(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut place = place.borrow_mut();
    match &mut *place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    let waker = place.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// One request on its connection, held by both halves: when both are gone, it is over.
pub(super) struct Exchange {
    pub(super) line: Rc<Line>,
    /// The stream's id.
    pub(super) id: u64,
    /// Our message was sent whole.
    pub(super) finished: Cell<bool>,
    /// The peer gave it up, or made us give it up.
    pub(super) cancelled: Cell<bool>,
    /// The rule that the peer broke in its message: the code with which ours is broken off, too.
    pub(super) fault: Cell<Option<Code>>,
}

impl Exchange {
    pub(super) fn new(line: Rc<Line>, id: u64) -> Rc<Self> {
        line.open.set(line.open.get() + 1);
        Rc::new(Self {
            line,
            id,
            finished: Cell::new(false),
            cancelled: Cell::new(false),
            fault: Cell::new(None),
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let line = &self.line;
        line.forget_priority(self.id);
        if line.role == Role::Server && (self.finished.get() || self.cancelled.get()) {
            line.request_over(self.finished.get());
        }
        line.open.set(line.open.get().saturating_sub(1));
        if line.open.get() == 0 {
            line.rests_since_ns.set(ringway_rt::now().mono_ns);
            if line.draining.get() {
                line.wake_acceptor();
            }
        }
    }
}
