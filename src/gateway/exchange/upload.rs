//! A request's body beside its reply: both move at once, and the reply decides when it is over.
//!
//! An early reply does not stop the upload until it has ended, or is a final status of 400 or above with
//! `Connection: close` (contract, rule 9).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringway_record::Outcome;

use super::Job;
use super::head::{From, Wait};
use super::reply::{Came, relay_reply};
use crate::body::{RelayEnd, Sink, SinkEnd, Source, SourceEnd, relay};
use crate::entry::Entry;
use crate::malformed;

/// How long a reply is waited for after the upstream stopped taking the body.
const EARLY_REPLY_NS_MAX: u64 = 1_000_000_000;

/// Where the upload stands, as the reply sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Bytes are still to come.
    Sending,
    /// All is sent.
    Done,
    /// The upstream closed its side to us.
    Refused,
    /// The upstream took no bytes for too long.
    Stalled,
}

/// What upload and reply know of each other.
pub(super) struct Beside {
    pub(super) upload: Cell<Upload>,
    /// Where the upload stood when the reply's head came. From then on only silence inside the reply is limited.
    pub(super) head_came: Cell<Option<Upload>>,
}

impl Beside {
    /// Whether the connection may carry another request, as far as this one's body goes.
    ///
    /// INVARIANT: a connection on which a request's body is not complete carries no other request: the upstream would read its head
    /// as content. That the caller has sent all of it does not mean that the upstream was sent it.
    fn is_over(&self, from: From<'_>) -> bool {
        // Who answers before it has all of a request often reads no more of it, and closes without a word: the next request on that
        // connection would be lost. A stream of its own stands for no other.
        let early = self.head_came.get() != Some(Upload::Done) && matches!(from, From::Http1(_));
        self.upload.get() == Upload::Done && !early
    }
}

/// Relays the body upstream and the reply downstream at once.
pub(super) async fn beside(
    job: &mut Job<'_>,
    entry: &mut Entry<'_>,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    up: &mut Sink<'_>,
    wait: Wait<'_>,
) -> Came {
    let uploading = Rc::new(Cell::new(true));
    sink.watch(wait.sent_ns, Some(Rc::clone(&uploading)));
    let state = Beside { upload: Cell::new(Upload::Sending), head_came: Cell::new(None) };
    let request_ns_max = job.timeouts.request_ns_max;
    // Both directions wait at once: what counts is when neither moves, not the sum of their waits.
    let mut pauses = Pauses::default();
    let (before_ns, waited_ns) = (entry.waited_ns, source.waited_ns() + sink.waited_ns());
    let wait = Wait { beside: Some(&state), ..wait };
    let failed = {
        let mut upload = pin!(relay(source, up));
        let mut reply = pin!(relay_reply(job, entry, sink, &wait));
        let mut both = pin!(poll_fn(|context| {
            if state.upload.get() == Upload::Sending
                && let Poll::Ready(ended) = upload.as_mut().poll(context)
            {
                let (next, patience_ns) = match ended {
                    Ok(()) => (Upload::Done, request_ns_max),
                    Err(RelayEnd::Sink(SinkEnd::Closed | SinkEnd::TooLarge)) => {
                        (Upload::Refused, EARLY_REPLY_NS_MAX)
                    }
                    Err(RelayEnd::Sink(SinkEnd::Stalled)) => (Upload::Stalled, EARLY_REPLY_NS_MAX),
                    Err(RelayEnd::Source(end)) => return Poll::Ready(Err(end)),
                };
                state.upload.set(next);
                uploading.set(false);
                if state.head_came.get().is_none() {
                    // From here on the reply's head is due.
                    let until_ns = ringway_rt::now().mono_ns.saturating_add(patience_ns);
                    wait.arm(until_ns);
                }
            }
            reply.as_mut().poll(context).map(Ok)
        }));
        poll_fn(|context| {
            pauses.end();
            let polled = both.as_mut().poll(context);
            pauses.begin();
            polled
        })
        .await
    };
    entry.waited_ns = before_ns + pauses.sum_ns;
    entry.overlapped_ns += (source.waited_ns() + sink.waited_ns()).saturating_sub(waited_ns);
    // An upload that was given up while it waited leaves its deadline behind, which would end the wait for a later request.
    source.disarm();
    match failed {
        Ok(mut came) => {
            came.reusable &= state.is_over(wait.from);
            if state.upload.get() == Upload::Stalled {
                came.unless_answered(Outcome::UpstreamWriteTimeout)
            } else {
                came
            }
        }
        Err(end) if sink.untouched() => Came::before_reply(outcome_of(end, entry)),
        Err(end) => Came::cut(outcome_of(end, entry)),
    }
}

/// The time between a poll and the next one, which is when everybody waits.
#[derive(Default)]
struct Pauses {
    since_ns: u64,
    sum_ns: u64,
}

impl Pauses {
    fn begin(&mut self) {
        self.since_ns = ringway_rt::now().mono_ns;
    }

    fn end(&mut self) {
        if self.since_ns != 0 {
            self.sum_ns += ringway_rt::now().mono_ns.saturating_sub(self.since_ns);
        }
    }
}

/// How a request whose body did not come ended; its record says what exactly was malformed.
pub(crate) fn outcome_of(end: SourceEnd, entry: &mut Entry<'_>) -> Outcome {
    match end {
        SourceEnd::Malformed(reject) => {
            entry.detail = reject.name();
            match malformed::request(reject) {
                // After the head, fields are those of trailers.
                Outcome::MalformedHead => Outcome::MalformedTrailer,
                outcome => outcome,
            }
        }
        SourceEnd::Short => Outcome::ClientBodyShort,
        SourceEnd::Reset => Outcome::ClientReset,
        SourceEnd::Timeout => Outcome::BodyTimeout,
        SourceEnd::TooLarge => Outcome::BodyTooLarge,
    }
}
