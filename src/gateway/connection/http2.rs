//! The shell of an HTTP/2 connection: one task drives it, and each stream is a task that takes the request's page.

use std::future::poll_fn;
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_record::metrics::Metric;
use ringway_rt::Now;
use ringway_transport::http2::{Accepting, Arrived, Control, Ending, Incoming, Patience};
use ringway_transport::{Sender, Stream};
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http2::Prelude;
use ringway_wire::reject::Reject;

use super::{Channel, Connection, Held};
use crate::entry::Entry;
use crate::malformed;
use crate::reply;
use crate::request;
use crate::worker::Worker;

/// An HTTP/2 connection, as others see it.
pub(super) struct Http2(Control);

impl Http2 {
    pub(super) fn new(accepting: &Accepting) -> Self {
        Self(accepting.control())
    }

    /// As [`Connection::end_if_idle`]: GOAWAY says that no further request is taken, and the open ones are served.
    pub(super) fn drain(&self) {
        self.0.drain();
    }

    /// As [`Connection::cut`].
    pub(super) fn cut(&self, now_ns: u64) {
        self.0.cut(now_ns);
    }
}

/// Takes a stream over that speaks HTTP/2. `None`: there is no generation to serve.
pub(super) fn accept(worker: &Worker, stream: Stream, rest: Option<Buffer>) -> Option<Accepting> {
    let pinned = worker.pinned()?;
    let settings = &pinned.generation.settings;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let patience = Patience {
        head_ns: ns(settings.head_read_ms_max),
        idle_ns: ns(settings.keep_alive_ms),
        stall_ns: ns(settings.write_stall_ms_max),
    };
    Some(Accepting::new(stream, rest, patience, pinned.generation.head_limits))
}

/// Serves a connection to its end, in a task of its own.
pub(super) fn serve(connection: Rc<Connection>, accepting: Accepting, held: Rc<Held>) {
    // h2 wakes the task that drives it.
    ringway_rt::spawn_foreign(drive(connection, accepting, held));
}

async fn drive(connection: Rc<Connection>, mut accepting: Accepting, held: Rc<Held>) {
    let worker = &connection.worker;
    let _open = worker.gauge(Metric::Http2ConnectionsOpen);
    while let Some(arrived) = poll_fn(|context| accepting.poll_next(context)).await {
        match arrived {
            Arrived::Request(incoming) => {
                // What serves a stream is some KiB: made where it stays, it is not copied from hand to hand.
                ringway_rt::spawn(Box::pin(answer(Rc::clone(&connection), incoming, Rc::clone(&held))));
            }
            Arrived::Refused(reject) => note(&connection, reject),
        }
    }
    match accepting.ending() {
        Ending::Flood(excess) => {
            worker.count(Metric::Http2Floods);
            let of = excess.map_or("faults", ringway_wire::http2::Excess::name);
            tracing::debug!(peer = %connection.peer, of, "an HTTP/2 connection was ended: too much of what does no work");
        }
        Ending::Malformed => worker.count(Metric::Http2Malformed),
        Ending::Closed | Ending::Late => {}
    }
    accepting.linger().await;
}

/// Serves one stream.
async fn answer(connection: Rc<Connection>, incoming: Incoming, _held: Rc<Held>) {
    let started = ringway_rt::now();
    let _open = connection.worker.gauge(Metric::StreamsOpen);
    let Incoming { head, receiver, sender } = incoming;
    let channel = Channel::message(receiver, Sender::Http2(sender));
    match head {
        // What follows is the connection's matter; a reply that was not whole has reset its stream.
        Ok(mut head) => drop(request::serve(&connection, &mut head, channel, started).await),
        Err(reject) => refuse(&connection, channel, reject, started).await,
    }
}

/// Says no to what is no request, and files the record.
async fn refuse(connection: &Connection, channel: Channel<'_>, reject: Reject, started: Now) {
    let mut entry = Entry::begin(connection, started);
    entry.record.protocol = ringway_record::Protocol::Http2;
    entry.record.outcome = malformed::request(reject);
    reply::refuse_unparsed(connection, channel, &mut entry, Some(reject.name())).await;
}

/// Files the record of what is no request, and was told so.
fn note(connection: &Connection, reject: Reject) {
    let mut entry = Entry::begin(connection, ringway_rt::now());
    entry.record.protocol = ringway_record::Protocol::Http2;
    entry.record.outcome = malformed::request(reject);
    entry.detail = reject.name();
    if entry.record.outcome == Outcome::HeadTooLarge {
        entry.record.status = reject.status();
    }
}

/// What a plain-text listener that speaks both finds on a connection.
pub(super) enum Spoken {
    /// The preface of HTTP/2 came.
    Http2(Buffer),
    /// Something else did.
    Http1(Buffer),
    /// Nothing in time, or the end.
    Nothing,
}

/// Looks at a connection's first bytes (RFC 9113 §3.3: prior knowledge), until `until_ns`.
pub(super) async fn listen(stream: &Stream, until_ns: u64) -> Spoken {
    stream.deadline().arm(ringway_rt::Side::Read, until_ns);
    // Nothing is held before the first byte.
    if stream.readable().await.is_err() {
        return Spoken::Nothing;
    }
    let mut buffer = Buffer::take(Class::K4);
    let spoken = loop {
        match stream.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) | Err(_) if buffer.is_empty() => break Spoken::Nothing,
            // A request that is cut off here is HTTP/1's to refuse.
            Ok(Some(0)) | Err(_) => break Spoken::Http1(buffer),
            Ok(Some(_)) => match Prelude::of(&buffer) {
                Prelude::Http2 => break Spoken::Http2(buffer),
                Prelude::Other => break Spoken::Http1(buffer),
                Prelude::Unsure => {}
            },
            Ok(None) => {
                if stream.readable().await.is_err() {
                    break Spoken::Nothing;
                }
            }
        }
    };
    stream.deadline().disarm(ringway_rt::Side::Read);
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_a_stream_stays_in_a_cheap_size_class() {
        fn bytes_of<F>(_: fn(Rc<Connection>, Incoming, Rc<Held>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes_of(answer) <= 8192, "{}", bytes_of(answer));
    }
}
