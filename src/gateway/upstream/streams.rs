//! The HTTP/2 connections of one endpoint: many requests on few of them.
//!
//! The oldest connection with a free stream takes the next request. Where a connection is being made, those who come meanwhile
//! wait for it rather than make one each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_transport::{Bell, ClientConnection, Slot};

use super::endpoint::Endpoint;

/// What an endpoint agreed to speak when it was last connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The connections, and who waits for one.
#[derive(Default)]
pub(crate) struct Streams {
    /// The oldest first.
    open: RefCell<Vec<ClientConnection>>,
    opening: RefCell<Vec<Rc<Opening>>>,
    speaks: Cell<Option<Speaks>>,
    /// Rung when a stream is free.
    pub(crate) bell: Rc<Bell>,
}

/// What became of a connection that was being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is there, and may have room.
    Open,
    /// Who made it did not wait for it.
    GivenUp,
}

/// A connection that is being made.
#[derive(Default)]
pub(crate) struct Opening {
    ended: Cell<Option<Result<Made, Outcome>>>,
    bell: Bell,
}

impl Streams {
    /// A stream on an open connection.
    pub(crate) fn take(&self) -> Option<Slot> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.is_closed());
        open.iter().find_map(ClientConnection::slot)
    }

    /// A connection that is being made and is likely to have room for one more.
    pub(crate) fn joinable(&self, streams_max: u32) -> Option<Rc<Opening>> {
        let room = |opening: &&Rc<Opening>| opening.bell.waiting() + 1 < streams_max as usize;
        self.opening.borrow().iter().find(room).map(Rc::clone)
    }

    /// What the endpoint speaks, as far as is known.
    pub(crate) fn speaks(&self) -> Option<Speaks> {
        self.speaks.get()
    }

    /// Connections, those that only end their last requests included.
    pub(crate) fn connections(&self) -> usize {
        self.open.borrow().iter().filter(|connection| !connection.is_closed()).count()
    }

    /// Connections without a request.
    pub(crate) fn idle(&self) -> usize {
        let idle = |connection: &&ClientConnection| !connection.is_closed() && connection.streams() == 0;
        self.open.borrow().iter().filter(idle).count()
    }

    /// Closes those without a request since before `before_ns`.
    pub(crate) fn close_idle(&self, before_ns: u64) {
        let stays = |connection: &ClientConnection| {
            !connection.is_closed() && (connection.streams() > 0 || connection.rests_since_ns() >= before_ns)
        };
        self.open.borrow_mut().retain(stays);
    }
}

impl Opening {
    /// Waits until it has come to something. May be given up at any time.
    ///
    /// # Errors
    /// Why there is no connection; who made it failed, and so does who waited for it.
    pub(crate) async fn ended(&self) -> Result<Made, Outcome> {
        loop {
            match self.ended.get() {
                Some(ended) => return ended,
                None => self.bell.heard().await,
            }
        }
    }
}

/// Who makes a connection that others may wait for. Dropped, it tells them to look for themselves.
pub(crate) struct Opener {
    endpoint: Rc<Endpoint>,
    opening: Rc<Opening>,
}

impl Opener {
    /// Others may wait from now on.
    pub(crate) fn new(endpoint: &Rc<Endpoint>) -> Self {
        let opening = Rc::new(Opening::default());
        endpoint.streams.opening.borrow_mut().push(Rc::clone(&opening));
        Self { endpoint: Rc::clone(endpoint), opening }
    }

    /// There is an HTTP/2 connection; its first stream.
    pub(crate) fn opened(self, connection: ClientConnection) -> Option<Slot> {
        let slot = connection.slot();
        self.endpoint.streams.open.borrow_mut().push(connection);
        self.agreed(Speaks::Http2);
        slot
    }

    /// What the endpoint turned out to speak.
    pub(crate) fn agreed(self, speaks: Speaks) {
        self.endpoint.streams.speaks.set(Some(speaks));
        self.opening.ended.set(Some(Ok(Made::Open)));
    }

    /// There is no connection.
    pub(crate) fn failed(self, outcome: Outcome) {
        self.opening.ended.set(Some(Err(outcome)));
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.endpoint.streams.opening.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.opening));
        if self.opening.ended.get().is_none() {
            self.opening.ended.set(Some(Ok(Made::GivenUp)));
        }
        self.opening.bell.ring_all();
    }
}
