//! The server's side of a connection: gives each request out as a stream, and then as a head and two halves.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use quinn::{RecvStream, SendStream, VarInt};
use ringway_wire::Upgrade;
use ringway_wire::head::{Content, Framing, RequestHead};
use ringway_wire::http3::qpack::SectionEnd;
use ringway_wire::http3::{Code, Fault, MessageLimits, MessageReader, Role, Settings, read_request};
use ringway_wire::limits::HeadLimits;
use ringway_wire::method::Method;
use ringway_wire::priority::Priority;
use ringway_wire::reject::Reject;

use super::inflow::{Inflow, Next, Stop};
use super::line::{Ending, Exchange, Line};
use super::{Receiver, Sender, number, streams};
use crate::limits::{
    HTTP3_END_NS_MAX, HTTP3_FAREWELL_NS_MAX, HTTP3_FAREWELL_NS_MIN, HTTP3_FIELD_BYTES_MORE,
    HTTP3_REQUESTS_PER_TURN, QUIC_STREAMS_FIRST,
};
use crate::message::MessageEnd;
use crate::quic::QuicConnection;

/// How long is waited for what, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection's first request, and for the head of each from its stream's first byte.
    pub head_ns: u64,
    /// For the next request while none is open; noticed up to half as late again.
    pub idle_ns: u64,
}

/// A connection whose client speaks HTTP/3.
pub struct Accepting {
    line: Rc<Line>,
    connection: QuicConnection,
    patience: Patience,
    head_limits: HeadLimits,
    begun_ns: u64,
    /// Requests accepted since the others had their turn.
    in_turn: u32,
    /// The id of the first request that did not come yet.
    next_id: u64,
    farewell: Farewell,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Requests that are to be granted at once, where they have not been.
    streams_due: Option<u32>,
}

/// How far the end is (RFC 9114 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    None,
    /// GOAWAY named no request: those that are on their way are served.
    Announced,
    /// GOAWAY named the first request that is not.
    Said {
        id: u64,
    },
    /// Nothing is open: the peer has a moment to close.
    Waiting,
}

/// What may be done to a connection from outside of its task.
#[derive(Clone)]
pub struct Control(Rc<Line>);

impl Control {
    /// No further request is wanted: GOAWAY now, its last request a round trip later, and an end when all have been answered
    /// (RFC 9114 §5.2).
    pub fn drain(&self) {
        if !self.0.draining.replace(true) {
            self.0.wake_acceptor();
        }
    }

    /// Ends whatever is going on.
    pub fn cut(&self) {
        self.0.close(Code::NoError);
    }

    /// Requests that are not over.
    #[must_use]
    pub fn open_requests(&self) -> u32 {
        self.0.open.get()
    }
}

enum Woken {
    Stream(SendStream, RecvStream),
    Draining,
    Slept,
    Ended,
}

impl Accepting {
    /// Takes a connection over and announces what we take; `streams` requests may be open at once, as soon as it is seen that more
    /// than a few are. On a worker.
    #[must_use]
    pub fn new(
        connection: QuicConnection,
        patience: Patience,
        head_limits: HeadLimits,
        streams: u32,
    ) -> Self {
        let ours = Settings {
            field_section_bytes_max: Some(u64::from(head_limits.head_bytes_max) + HTTP3_FIELD_BYTES_MORE),
            extended_connect: true,
            ..Settings::DEFAULT
        };
        let line = Line::new(connection.clone(), Role::Server, ours);
        streams::start(&line);
        let begun_ns = ringway_rt::now().mono_ns;
        Self {
            line,
            connection,
            patience,
            head_limits,
            begun_ns,
            in_turn: 0,
            next_id: 0,
            farewell: Farewell::None,
            sleep: None,
            streams_due: Some(streams).filter(|streams| *streams > QUIC_STREAMS_FIRST),
        }
    }

    /// For whoever ends it from outside.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Rc::clone(&self.line))
    }

    /// How it ended; once [`Accepting::next`] said so.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.line.ending.get().unwrap_or(Ending::Closed)
    }

    /// Waits for the next request, whose head may still be on its way. `None`: the connection has ended. One task at a time; may
    /// be given up.
    pub async fn next(&mut self) -> Option<Arrived> {
        loop {
            if self.in_turn >= HTTP3_REQUESTS_PER_TURN {
                self.in_turn = 0;
                ringway_rt::turn().await;
            }
            match self.wait().await {
                Woken::Stream(send, recv) => {
                    self.in_turn += 1;
                    if let Some(arrived) = self.arrived(send, recv) {
                        return Some(arrived);
                    }
                }
                Woken::Draining => self.part(),
                Woken::Slept => self.look(),
                Woken::Ended => return None,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        if self.sleep.is_none() {
            self.sleep =
                self.deadline_ns().map(|until_ns| Box::pin(ringway_rt::sleep_until_ns(until_ns)) as _);
        }
        let Self { line, sleep, farewell, .. } = self;
        let mut accept = pin!(line.connection.accept_bi());
        let mut waited = false;
        let woken = poll_fn(|cx| {
            match accept.as_mut().poll(cx) {
                Poll::Ready(Ok((send, recv))) => return Poll::Ready(Woken::Stream(send, recv)),
                Poll::Ready(Err(error)) => {
                    line.ended(&error);
                    return Poll::Ready(Woken::Ended);
                }
                Poll::Pending => waited = true,
            }
            let due = match *farewell {
                Farewell::None => line.draining.get(),
                Farewell::Said { .. } => line.open.get() == 0,
                Farewell::Announced | Farewell::Waiting => false,
            };
            if due {
                return Poll::Ready(Woken::Draining);
            }
            line.acceptor_waits(cx);
            match sleep {
                Some(sleep) => sleep.as_mut().poll(cx).map(|()| Woken::Slept),
                None => Poll::Pending,
            }
        })
        .await;
        if waited {
            self.in_turn = 0;
        }
        woken
    }

    /// When to look after the connection.
    fn deadline_ns(&self) -> Option<u64> {
        let now_ns = ringway_rt::now().mono_ns;
        let wait_ns = match self.farewell {
            Farewell::Announced | Farewell::Waiting => self.farewell_ns(),
            Farewell::Said { .. } => return None,
            Farewell::None if self.line.open.get() > 0 => self.patience.idle_ns / 2,
            Farewell::None => return Some(self.patience_ends_ns()),
        };
        Some(now_ns.saturating_add(wait_ns))
    }

    /// When a connection without requests has been so for too long.
    fn patience_ends_ns(&self) -> u64 {
        match self.line.rests_since_ns.get() {
            0 => self.begun_ns.saturating_add(self.patience.head_ns),
            since_ns => since_ns.saturating_add(self.patience.idle_ns),
        }
    }

    /// What the peer is given to hear us: some round trips.
    fn farewell_ns(&self) -> u64 {
        let rtt_ns = u64::try_from(self.line.connection.rtt().as_nanos()).unwrap_or(u64::MAX);
        rtt_ns.saturating_mul(3).clamp(HTTP3_FAREWELL_NS_MIN, HTTP3_FAREWELL_NS_MAX)
    }

    /// The sleep is over.
    fn look(&mut self) {
        self.sleep = None;
        match self.farewell {
            Farewell::None => {
                let silent = self.line.open.get() == 0;
                if silent && ringway_rt::now().mono_ns >= self.patience_ends_ns() {
                    self.line.draining.set(true);
                }
            }
            Farewell::Announced => {
                self.farewell = Farewell::Said { id: self.next_id };
                self.line.say_goaway(self.next_id);
            }
            Farewell::Said { .. } => {}
            Farewell::Waiting => self.line.close(Code::NoError),
        }
    }

    /// The next step of the end.
    fn part(&mut self) {
        self.sleep = None;
        if self.farewell == Farewell::None {
            self.farewell = Farewell::Announced;
            self.line.say_goaway(GOAWAY_NOTHING);
        } else {
            self.farewell = Farewell::Waiting;
        }
    }

    fn arrived(&mut self, mut send: SendStream, mut recv: RecvStream) -> Option<Arrived> {
        let id = u64::from(recv.id());
        let late = match self.farewell {
            Farewell::Said { id: first } => id >= first,
            Farewell::Waiting => true,
            Farewell::None | Farewell::Announced => false,
        };
        if late {
            // Fail where the stream has ended, which is as good.
            let _ = send.reset(number(Code::RequestRejected));
            let _ = recv.stop(number(Code::RequestRejected));
            return None;
        }
        if self.next_id == 0 {
            // From here on the patience is that between requests, which may be the shorter one.
            self.sleep = None;
        }
        self.next_id = id + 4;
        self.connection.follow_distance();
        self.line.requests.set(self.line.requests.get() + 1);
        let exchange = Exchange::new(Rc::clone(&self.line), id);
        if self.line.open.get() * 4 >= QUIC_STREAMS_FIRST
            && let Some(streams) = self.streams_due.take()
        {
            self.line.connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
        }
        let limits = MessageLimits::DEFAULT;
        let inflow = Inflow::new(recv, Rc::clone(&exchange), MessageReader::new(Role::Server, limits));
        let sender = Sender::new(send, exchange);
        Some(Arrived { inflow, sender, head_ns: self.patience.head_ns, head_limits: self.head_limits })
    }
}

impl Drop for Accepting {
    /// Nobody waits for requests any more.
    fn drop(&mut self) {
        if self.line.ending.get().is_none() {
            self.line.close(Code::NoError);
        }
    }
}

/// GOAWAY with the largest id of a request: none is refused yet (RFC 9114 §5.2).
const GOAWAY_NOTHING: u64 = (1 << 62) - 4;

/// A request that has a stream and perhaps no head yet.
pub struct Arrived {
    inflow: Box<Inflow>,
    sender: Sender,
    head_ns: u64,
    head_limits: HeadLimits,
}

/// A request.
pub struct Incoming {
    /// Its head.
    pub head: RequestHead,
    /// Its content.
    pub receiver: Receiver,
    /// Its reply.
    pub sender: Sender,
}

/// Why a stream came to no request. Whatever was to be said to the peer has been, but where halves are left to say it.
pub enum NoHead {
    /// The peer ended or reset it, or the connection is gone.
    Ended(MessageEnd),
    /// It took too long.
    Late,
    /// It is malformed.
    Malformed(Reject),
    /// It is refused with a status, which the sender is to be told.
    Refused(Reject, Box<(Receiver, Sender)>),
}

impl Arrived {
    /// Waits for the head. May be given up.
    ///
    /// # Errors
    /// [`NoHead`].
    pub async fn head(mut self) -> Result<Incoming, NoHead> {
        let first = match self.inflow.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => {
                let until_ns = ringway_rt::now().mono_ns.saturating_add(self.head_ns);
                ringway_rt::until_ns(until_ns, poll_fn(|cx| self.inflow.poll_next(cx))).await
            }
        };
        match first {
            Some(Ok(Next::Section(len, taken))) => {
                if self.is_likely_all(len, &taken) {
                    let until_ns = ringway_rt::now().mono_ns.saturating_add(HTTP3_END_NS_MAX);
                    // Whether it came is seen where the head is read.
                    let _ = ringway_rt::until_ns(until_ns, poll_fn(|cx| self.inflow.poll_at_end(cx))).await;
                }
                self.read(len, &taken)
            }
            Some(Ok(Next::TooLarge)) => Err(self.refused(Reject::HeadTooLarge)),
            Some(Ok(Next::End | Next::Data(_))) => Err(self.broken(Fault::Stream(Code::RequestIncomplete))),
            Some(Err(Stop::Fault(fault))) => Err(self.broken(fault)),
            Some(Err(Stop::Ended(end))) => {
                self.give_up(Code::RequestCancelled);
                Err(NoHead::Ended(end))
            }
            None => {
                self.give_up(Code::RequestRejected);
                Err(NoHead::Late)
            }
        }
    }

    /// Whether nothing but the stream's end is to be expected behind this head, and it has not come yet. A client may send it by
    /// itself (RFC 9114 §4.1); without it, a request would be forwarded as one with content of unknown length.
    fn is_likely_all(&mut self, len: usize, taken: &[u8]) -> bool {
        if self.inflow.poll_at_end(&mut Context::from_waker(Waker::noop())).is_ready() {
            return false;
        }
        let section = self.inflow.reader.section(taken, len);
        read_request(section, Content::Follows, &self.head_limits).is_ok_and(|head| {
            let bare = matches!(head.method(), Method::Get | Method::Head | Method::Delete);
            bare && head.framing() == Framing::Chunked && !head.expects_continue()
        })
    }

    fn read(mut self, len: usize, taken: &[u8]) -> Result<Incoming, NoHead> {
        let mut cx = Context::from_waker(Waker::noop());
        let ended = self.inflow.poll_at_end(&mut cx) == Poll::Ready(true);
        let content = if ended { Content::None } else { Content::Follows };
        let section = self.inflow.reader.section(taken, len);
        let head = match read_request(section, content, &self.head_limits) {
            Ok(head) => head,
            Err(SectionEnd::Undecodable) => {
                return Err(self.broken(Fault::Connection(Code::QpackDecompressionFailed)));
            }
            Err(SectionEnd::Stopped(reject)) if reject.status() == 400 => {
                self.give_up(Code::Message);
                return Err(NoHead::Malformed(reject));
            }
            Err(SectionEnd::Stopped(reject)) => return Err(self.refused(reject)),
        };
        match (head.upgrade(), head.framing()) {
            (Some(Upgrade::WebSocket), _) => self.inflow.reader.expect_tunnel(),
            (None, Framing::Length(length)) => self.inflow.reader.expect_content(length),
            (None, _) => {}
        }
        if let Some(said) = head.field_named(b"priority") {
            self.sender.prioritise(Priority::of(said));
        }
        Ok(Incoming { head, receiver: Receiver::new(self.inflow), sender: self.sender })
    }

    fn refused(self, reject: Reject) -> NoHead {
        NoHead::Refused(reject, Box::new((Receiver::new(self.inflow), self.sender)))
    }

    fn broken(mut self, fault: Fault) -> NoHead {
        let code = self.inflow.line().fault(fault);
        self.give_up(code);
        match code {
            Code::RequestIncomplete => NoHead::Ended(MessageEnd::Reset),
            Code::QpackDecompressionFailed => NoHead::Malformed(Reject::PseudoField),
            _ => NoHead::Malformed(Reject::StreamContent),
        }
    }

    fn give_up(&mut self, code: Code) {
        self.inflow.exchange.cancelled.set(true);
        self.sender.reset_with(code);
        self.inflow.stop(code);
    }
}
