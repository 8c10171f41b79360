//! Whether an HTTP/1 caller is still there while it is kept waiting: who left costs an upstream no further work.
//!
//! A reply that comes soon is never looked out from: that would cost every request a wait of its own. After a moment the caller's
//! end is watched, and then its leaving is noticed at once. A reset is a leave. An end of its side alone may be a caller that
//! has said all it had to say and still reads (`nc -N`); TCP does not tell, so it gets a little longer.

use std::cell::Cell;
use std::task::{Context, Poll};

use ringway_rt::PeerState;
use ringway_transport::Stream;

use crate::limits::{CALLER_LOOK_AGAIN_NS, CALLER_LOOK_NS, HALF_CLOSED_NS_MAX};

/// Looks at the caller's end of a connection now and then. Dropped, it asks for nothing more.
pub(crate) struct Watch<'s> {
    stream: &'s Stream,
    uploading: Option<&'s Cell<bool>>,
    from_ns: u64,
    /// When it was first seen that the caller has ended its side; 0 before.
    ended_ns: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is asked for yet.
    Fresh,
    /// A nudge is to come, and then a look.
    Resting,
    /// The next byte or end wakes us.
    Listening,
}

impl<'s> Watch<'s> {
    /// `from_ns`: about when the wait began. While `uploading` says so, somebody else reads from the caller, and nothing is done
    /// here.
    pub(crate) fn new(stream: &'s Stream, uploading: Option<&'s Cell<bool>>, from_ns: u64) -> Self {
        Self { stream, uploading, from_ns, ended_ns: 0, phase: Phase::Fresh }
    }

    /// Whether the caller has left; if not, the task is woken when there is a reason to ask again.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.uploading.is_some_and(Cell::get) {
            return Poll::Pending;
        }
        loop {
            match self.phase {
                Phase::Fresh => return self.rest(self.from_ns.saturating_add(CALLER_LOOK_NS), context),
                Phase::Resting if !self.stream.deadline().is_calm() => return Poll::Pending,
                Phase::Resting => {}
                Phase::Listening => match self.stream.poll_readable(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) => {}
                },
            }
            let now_ns = ringway_rt::now().mono_ns;
            match self.stream.peer_state() {
                PeerState::Gone => return Poll::Ready(()),
                PeerState::Ended => {
                    if self.ended_ns == 0 {
                        self.ended_ns = now_ns;
                    }
                    let until_ns = self.ended_ns.saturating_add(HALF_CLOSED_NS_MAX);
                    return if now_ns >= until_ns { Poll::Ready(()) } else { self.rest(until_ns, context) };
                }
                // A second time in a row: what is readable then is inside of TLS.
                PeerState::Here if self.phase == Phase::Resting => self.phase = Phase::Listening,
                PeerState::Here | PeerState::Spoke => {
                    return self.rest(now_ns.saturating_add(CALLER_LOOK_AGAIN_NS), context);
                }
            }
        }
    }

    fn rest(&mut self, until_ns: u64, context: &Context<'_>) -> Poll<()> {
        self.phase = Phase::Resting;
        self.stream.deadline().nudge(until_ns, context.waker());
        Poll::Pending
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.stream.deadline().calm();
    }
}
