//! The shell of an HTTP/3 connection: one task waits for requests, and each is a task that takes the request's page.

use std::rc::Rc;

use ringway_record::metrics::Metric;
use ringway_record::{Outcome, Protocol};
use ringway_rt::Now;
use ringway_transport::http3::{Accepting, Arrived, Control, Ending, Incoming, NoHead, Patience};
use ringway_transport::{MessageEnd, QuicConnection, Sender};
use ringway_wire::reject::Reject;

use super::{Channel, Connection, Held};
use crate::entry::Entry;
use crate::limits::HTTP3_STREAMS_MAX;
use crate::malformed;
use crate::reply;
use crate::request;
use crate::worker::Worker;

/// An HTTP/3 connection, as others see it.
pub(super) struct Http3(Control);

impl Http3 {
    pub(super) fn new(accepting: &Accepting) -> Self {
        Self(accepting.control())
    }

    /// As [`Connection::end_if_idle`]: GOAWAY says that no further request is taken, and the open ones are served.
    pub(super) fn drain(&self) {
        self.0.drain();
    }

    /// As [`Connection::cut`].
    pub(super) fn cut(&self) {
        self.0.cut();
    }
}

/// Takes a connection over. `None`: there is no generation to serve.
pub(super) fn accept(worker: &Worker, quic: QuicConnection) -> Option<Accepting> {
    let pinned = worker.pinned()?;
    let settings = &pinned.generation.settings;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let patience = Patience { head_ns: ns(settings.head_read_ms_max), idle_ns: ns(settings.keep_alive_ms) };
    Some(Accepting::new(quic, patience, pinned.generation.head_limits, HTTP3_STREAMS_MAX))
}

/// Serves a connection to its end.
pub(super) async fn serve(connection: Rc<Connection>, mut accepting: Accepting, held: Rc<Held>) {
    let worker = &connection.worker;
    let _open = worker.gauge(Metric::Http3ConnectionsOpen);
    while let Some(arrived) = accepting.next().await {
        ringway_rt::spawn(answer(Rc::clone(&connection), arrived, Rc::clone(&held)));
    }
    match accepting.ending() {
        Ending::Flood => {
            worker.count(Metric::Http3Floods);
            tracing::debug!(peer = %connection.peer, "an HTTP/3 connection was ended: too much of what does no work");
        }
        Ending::Malformed(code) => {
            worker.count(Metric::Http3Malformed);
            tracing::debug!(peer = %connection.peer, code = code.name(), "an HTTP/3 connection was ended");
        }
        Ending::Closed => {}
    }
}

/// Serves one stream. While its head is on its way, it is small.
async fn answer(connection: Rc<Connection>, arrived: Arrived, _held: Rc<Held>) {
    let started = ringway_rt::now();
    let _open = connection.worker.gauge(Metric::StreamsOpen);
    match arrived.head().await {
        Ok(Incoming { mut head, receiver, sender }) => {
            let channel = Channel::message(receiver, Sender::Http3(sender));
            // What follows is the connection's matter; a reply that was not whole has reset its stream.
            drop(Box::pin(request::serve(&connection, &mut head, channel, started)).await);
        }
        Err(none) => Box::pin(refuse(&connection, none, started)).await,
    }
}

/// Files the record of what is no request, after saying no where that can be said.
async fn refuse(connection: &Connection, none: NoHead, started: Now) {
    let mut entry = Entry::begin(connection, started);
    entry.record.protocol = Protocol::Http3;
    entry.record.outcome = match &none {
        NoHead::Refused(reject, _) | NoHead::Malformed(reject) => malformed::request(*reject),
        NoHead::Late => Outcome::HeadTimeout,
        NoHead::Ended(MessageEnd::Closed) => Outcome::ClientClosed,
        NoHead::Ended(_) => Outcome::ClientReset,
    };
    match none {
        NoHead::Refused(reject, halves) => {
            let (receiver, sender) = *halves;
            let channel = Channel::message(receiver, Sender::Http3(sender));
            reply::refuse_unparsed(connection, channel, &mut entry, Some(reject.name())).await;
        }
        // Its stream was reset, which is all that the caller hears (RFC 9114 §4.1.2).
        NoHead::Malformed(reject) => entry.detail = Reject::name(reject),
        NoHead::Late | NoHead::Ended(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_waits_for_its_head_with_a_small_future() {
        fn bytes_of<F>(_: fn(Rc<Connection>, Arrived, Rc<Held>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes_of(answer) <= 1280, "{}", bytes_of(answer));
    }
}
