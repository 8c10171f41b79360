//! Waiting for the head of a reply: interim heads on the way, the final one, or why none came.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use ringway_record::Outcome;
use ringway_rt::{Side, Timer};
use ringway_transport::{HeadEnd, Receiver, Reply, ReplyHead, Stream};
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::ResponseHead;
use ringway_wire::http1::{Interim, Interims, Parse, RequestFacts, WantsContinue, parse_response};
use ringway_wire::limits::HeadLimits;

use super::Job;
use super::reply::{Came, outcome_of};
use super::upload::Beside;
use crate::body::{RelayEnd, Sink};
use crate::malformed;

/// Heads of replies may be as large as spans reach.
pub(super) const REPLY_LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 60 * 1024, target_bytes_max: 0, fields_max: 256 };

/// Where the reply comes from.
#[derive(Clone, Copy)]
pub(super) enum From<'w> {
    /// The upstream's connection.
    Http1(&'w Stream),
    /// A stream of it.
    Http2 {
        /// What comes on it.
        reply: &'w RefCell<Reply>,
        /// When the head is due.
        due_ns: &'w Cell<u64>,
    },
}

/// How the reply's head is waited for.
#[derive(Clone, Copy)]
pub(super) struct Wait<'w> {
    /// Where it comes from.
    pub(super) from: From<'w>,
    /// When the request was sent.
    pub(super) sent_ns: u64,
    /// When the head is due, once the request is sent whole.
    pub(super) until_ns: u64,
    /// The upload beside it, if there is one.
    pub(super) beside: Option<&'w Beside>,
}

impl Wait<'_> {
    /// The head is due at this instant.
    pub(super) fn arm(&self, at_ns: u64) {
        match self.from {
            From::Http1(stream) => stream.deadline().arm(Side::Read, at_ns),
            From::Http2 { due_ns, .. } => due_ns.set(at_ns),
        }
    }
}

/// Which requests may be sent again, by how the wait for a head ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// None: something came, or may have been done.
    Never,
    /// Idempotent ones: the connection ended before the first byte of a reply.
    Idempotent,
    /// Any: the upstream says that nothing was done.
    Any,
}

/// A final head.
pub(super) struct Head {
    pub(super) reply: ResponseHead,
    /// The content, where it has a stream of its own.
    pub(super) receiver: Option<Box<Receiver>>,
}

/// Begins to wait for a head, for which interim ones are relayed to those who know them.
fn begin(job: &Job<'_>, sink: &mut Sink<'_>, wait: &Wait<'_>) -> Interims {
    if wait.beside.is_none() {
        wait.arm(wait.until_ns);
        sink.watch(wait.sent_ns, None);
    }
    Interims::new(job.head.version(), WantsContinue::No)
}

/// Waits for the final head on a connection.
pub(super) async fn read_text(
    job: &Job<'_>,
    sink: &mut Sink<'_>,
    wait: &Wait<'_>,
    stream: &Stream,
) -> Result<Head, Came> {
    let mut interims = begin(job, sink, wait);
    let facts = RequestFacts { method: job.head.method(), upgrade_asked: job.extra.upgrade.is_some() };
    let mut buffer = Buffer::take(Class::K16);
    let mut answered = false;
    loop {
        if !buffer.is_empty() {
            match parse_response(buffer, facts, &REPLY_LIMITS) {
                Parse::Complete(reply) if !reply.is_interim() => {
                    stream.deadline().disarm(Side::Read);
                    return Ok(Head { reply, receiver: None });
                }
                Parse::Complete(reply) => {
                    answered = true;
                    Box::pin(admit(&mut interims, sink, &reply)).await?;
                    buffer = reply.into_rest();
                    continue;
                }
                Parse::Partial(back) => buffer = if back.spare() == 0 { back.grown() } else { back },
                Parse::Reject(reject, _) => return Err(Came::before_reply(malformed::reply(reject))),
            }
        }
        let silent = buffer.is_empty() && !answered;
        let repeat = if silent { Repeat::Idempotent } else { Repeat::Never };
        // A caller that leaves, or takes its stream back, ends the wait: nobody needs the reply any more.
        let read = if wait.beside.is_none() && job.deadline_ns.is_none() {
            pin!(sink.unless_closed(pin!(stream.read_soon(buffer.vec_mut())))).await
        } else {
            sink.unless_closed(pin!(stream.read_when_there(buffer.vec_mut()))).await
        };
        let read = read.map_err(|_| Came::before_reply(Outcome::ClientClosed))?;
        match read {
            Ok(0) => return Err(Came { repeat, ..Came::before_reply(Outcome::UpstreamReset) }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(Came::before_reply(Outcome::UpstreamHeadTimeout));
            }
            Err(_) => return Err(Came { repeat, ..Came::before_reply(Outcome::UpstreamReset) }),
        }
    }
}

/// The same on a stream of it.
pub(super) async fn read_stream(
    job: &Job<'_>,
    sink: &mut Sink<'_>,
    wait: &Wait<'_>,
    reply: &RefCell<Reply>,
    due_ns: &Cell<u64>,
) -> Result<Head, Came> {
    let mut interims = begin(job, sink, wait);
    let mut timer = Timer::new(due_ns.get());
    let mut answered = false;
    loop {
        let next = poll_fn(|context| {
            if let Poll::Ready(came) = reply.borrow_mut().poll_head(context) {
                return Poll::Ready(came);
            }
            // The upload beside it says when the head is due, once it has ended.
            timer.reset(due_ns.get());
            timer.poll(context).map(|()| Err(HeadEnd::Silent))
        });
        let next = pin!(next);
        let came = sink.unless_closed(next).await.map_err(|_| Came::before_reply(Outcome::ClientClosed))?;
        let (outcome, repeat) = match came {
            Ok(ReplyHead::Final(reply, receiver)) => {
                return Ok(Head { reply, receiver: Some(Box::new(receiver)) });
            }
            Ok(ReplyHead::Interim(interim)) => {
                answered = true;
                admit(&mut interims, sink, &interim).await?;
                continue;
            }
            Err(HeadEnd::Refused) => (Outcome::UpstreamReset, Repeat::Any),
            Err(HeadEnd::Closed) => (Outcome::UpstreamReset, Repeat::Idempotent),
            Err(HeadEnd::Reset) => (Outcome::UpstreamReset, Repeat::Never),
            Err(HeadEnd::Silent) => (Outcome::UpstreamHeadTimeout, Repeat::Never),
            Err(HeadEnd::Malformed(reject)) => (malformed::reply(reject), Repeat::Never),
            Err(HeadEnd::Unsendable) => (Outcome::Internal, Repeat::Never),
        };
        let repeat = if answered { Repeat::Never } else { repeat };
        return Err(Came { repeat, ..Came::before_reply(outcome) });
    }
}

/// Passes an interim reply on to a caller that knows it, up to their most.
async fn admit(interims: &mut Interims, sink: &mut Sink<'_>, reply: &ResponseHead) -> Result<(), Came> {
    match interims.admit(reply.status()) {
        Ok(Interim::Relay) => {
            sink.interim(reply).await.map_err(|end| Came::cut(outcome_of(RelayEnd::Sink(end))))
        }
        Ok(Interim::Drop) => Ok(()),
        Err(reject) => Err(Came::before_reply(malformed::reply(reject))),
    }
}
