//! HTTP/2 and HTTP/3: one connection that several lanes send requests on at once, each request on a stream of its own.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use ringway_rt::{now, sleep_until_ns, until_ns};
use ringway_transport::http2::{ClientConnection, HeadEnd, ReplyHead, Slot};
use ringway_transport::http3::{CallEnd, Calling};
use ringway_transport::{
    After, Alpn, Bell, MessageEnd, QuicClient, QuicLimits, Received, Receiver, Sender, Stream,
};
use ringway_wire::buffer::Buffer;
use ringway_wire::http1::{Parse, RequestExtra, RequestLine, parse_request};
use ringway_wire::message::OutgoingHead;
use ringway_wire::{HeadLimits, Overlay, RequestHead, ResponseHead};

use super::{NotOpened, Outcome};
use crate::failure::Failure;
use crate::limits::{MULTIPLEX_LOOK_NS, QUIC_IDLE_MS};
use crate::plan::{Endpoint, Plan, Protocol, Target};

/// What a thread makes connections of HTTP/3 with: one socket an endpoint.
#[derive(Default)]
pub(crate) struct Callers {
    quic: RefCell<Vec<Option<Rc<QuicClient>>>>,
}

impl Callers {
    fn quic(&self, number: usize, endpoint: &Endpoint, plan: &Plan) -> std::io::Result<Rc<QuicClient>> {
        let mut all = self.quic.borrow_mut();
        if all.len() <= number {
            all.resize_with(number + 1, || None);
        }
        if let Some(Some(known)) = all.get(number) {
            return Ok(Rc::clone(known));
        }
        let local: SocketAddr = if endpoint.address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let Some((_, tls)) = &endpoint.tls else { return Err(std::io::ErrorKind::Unsupported.into()) };
        let limits = QuicLimits { streams: plan.streams as u32, idle_ms: QUIC_IDLE_MS };
        let made = Rc::new(QuicClient::bind(local, tls, limits)?);
        if let Some(place) = all.get_mut(number) {
            *place = Some(Rc::clone(&made));
        }
        Ok(made)
    }
}

/// A connection that takes many requests.
enum Line {
    Http2(ClientConnection),
    Http3(Calling),
}

/// A place for one connection that lanes share.
pub(crate) struct Place {
    endpoint: usize,
    callers: Rc<Callers>,
    line: RefCell<Option<Rc<Line>>>,
    opening: Cell<bool>,
    served: Cell<u64>,
    /// Rung when an HTTP/2 connection has room for one more request.
    bell: Rc<Bell>,
}

/// What came back on a stream.
struct Answer {
    status: u16,
    failure: Option<Failure>,
    bytes_in: u64,
}

/// Why nothing whole came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The peer has done nothing with it: on another connection it may be sent again.
    Refused,
    /// Anything else.
    Failed(Failure),
}

impl From<MessageEnd> for Stopped {
    fn from(end: MessageEnd) -> Self {
        match end {
            MessageEnd::Refused => Self::Refused,
            MessageEnd::Reset => Self::Failed(Failure::Reset),
            MessageEnd::Malformed(_) | MessageEnd::TooLarge => Self::Failed(Failure::Malformed),
            MessageEnd::Closed => Self::Failed(Failure::Closed),
        }
    }
}

impl From<HeadEnd> for Stopped {
    fn from(end: HeadEnd) -> Self {
        match end {
            HeadEnd::Refused => Self::Refused,
            HeadEnd::Reset => Self::Failed(Failure::Reset),
            HeadEnd::Malformed(_) => Self::Failed(Failure::Malformed),
            HeadEnd::Closed => Self::Failed(Failure::Closed),
            HeadEnd::Silent => Self::Failed(Failure::Timeout),
            HeadEnd::Unsendable => Self::Failed(Failure::Protocol),
        }
    }
}

impl From<CallEnd> for Stopped {
    fn from(end: CallEnd) -> Self {
        match end {
            CallEnd::Ended(end) => end.into(),
            CallEnd::Malformed(_) => Self::Failed(Failure::Malformed),
            CallEnd::GoingAway => Self::Refused,
        }
    }
}

impl Place {
    /// A place for a connection to the endpoint of this number; nothing is opened.
    pub(crate) fn new(endpoint: usize, callers: Rc<Callers>) -> Rc<Self> {
        Rc::new(Self {
            endpoint,
            callers,
            line: RefCell::default(),
            opening: Cell::new(false),
            served: Cell::new(0),
            bell: Rc::default(),
        })
    }

    /// Requests that the present connection has served.
    pub(crate) fn served(&self) -> u64 {
        self.served.get()
    }

    /// Whether a connection stands, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.line.borrow().as_ref().is_some_and(|line| match &**line {
            Line::Http2(connection) => !connection.is_closed(),
            Line::Http3(calling) => calling.connection().close_reason().is_none(),
        })
    }

    /// No more requests on this connection; those on it go on.
    pub(crate) fn close(&self) {
        self.line.replace(None);
        self.served.set(0);
    }

    /// Opens a connection, or waits for the lane that does.
    pub(crate) async fn open(&self, plan: &Plan) -> (Result<(), NotOpened>, u64) {
        let begin_ns = now().mono_ns;
        while self.opening.get() {
            sleep_until_ns(now().mono_ns + MULTIPLEX_LOOK_NS).await;
        }
        if self.is_open() {
            return (Ok(()), 0);
        }
        self.opening.set(true);
        self.close();
        let opened = self.open_line(plan, begin_ns + plan.connect_timeout_ns).await;
        self.opening.set(false);
        let took_ns = now().mono_ns - begin_ns;
        (opened.map(|line| drop(self.line.replace(Some(Rc::new(line))))), took_ns)
    }

    async fn open_line(&self, plan: &Plan, deadline_ns: u64) -> Result<Line, NotOpened> {
        let Some(endpoint) = plan.endpoints.get(self.endpoint) else {
            return Err(NotOpened::new(Failure::Connect, "no endpoint of this number".to_owned()));
        };
        if plan.protocol == Protocol::Http3 {
            return self.open_quic(plan, endpoint, deadline_ns).await.map(Line::Http3);
        }
        let stream = super::open_stream(endpoint, deadline_ns).await?;
        let (stream, agreed) = stream;
        if stream.is_tls() && agreed != Some(Alpn::Http2) {
            let text = "the target does not speak HTTP/2: it agreed to no h2 in the TLS handshake".to_owned();
            return Err(NotOpened::new(Failure::Protocol, text));
        }
        open_http2(stream, plan, &self.bell, deadline_ns).await.map(Line::Http2)
    }

    async fn open_quic(
        &self,
        plan: &Plan,
        endpoint: &Endpoint,
        deadline_ns: u64,
    ) -> Result<Calling, NotOpened> {
        let no = |text: String| NotOpened::new(Failure::Connect, text);
        let Some((name, _)) = &endpoint.tls else {
            return Err(no("HTTP/3 needs an https address".to_owned()));
        };
        let client =
            self.callers.quic(self.endpoint, endpoint, plan).map_err(|error| no(error.to_string()))?;
        let connected = client.connect(endpoint.address, name, deadline_ns).await;
        let connection = connected.map_err(|failure| {
            let text = format!("no QUIC with {name} at {}: {failure} ({})", endpoint.address, failure.hint());
            NotOpened::new(Failure::Connect, text)
        })?;
        Ok(Calling::new(connection, HeadLimits::DEFAULT))
    }

    /// Sends a request and reads its reply by `deadline_ns`, opening a connection where there is none. What the peer has
    /// refused unread is sent once more on a new connection.
    pub(crate) async fn exchange(
        &self,
        plan: &Plan,
        target: &Target,
        bytes: &[u8],
        deadline_ns: u64,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let Parse::Complete(head) = parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) else {
            outcome.failure = Some(Failure::Protocol);
            return outcome;
        };
        for again in [true, false] {
            if !self.is_open() {
                let (opened, took_ns) = self.open(plan).await;
                outcome.connecting_ns = took_ns;
                if let Err(why) = opened {
                    outcome.failure = Some(why.failure);
                    return outcome;
                }
                outcome.opened += u32::from(took_ns > 0);
            }
            let Some(line) = self.line.borrow().clone() else { return outcome };
            outcome.bytes_out += bytes.len() as u64;
            self.served.set(self.served.get() + 1);
            let answered = until_ns(deadline_ns, self.call(&line, &head, plan, target)).await;
            match answered.unwrap_or(Err(Stopped::Failed(Failure::Timeout))) {
                Ok(answer) => {
                    outcome.status = answer.status;
                    outcome.failure = answer.failure;
                    outcome.bytes_in += answer.bytes_in;
                    return outcome;
                }
                Err(Stopped::Refused) if again => {
                    outcome.resent = true;
                    self.retire(&line);
                }
                Err(Stopped::Refused) => outcome.failure = Some(Failure::Closed),
                Err(Stopped::Failed(failure)) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            }
        }
        outcome
    }

    /// No more requests on this connection, if it is still the one that lanes share.
    fn retire(&self, line: &Rc<Line>) {
        if self.line.borrow().as_ref().is_some_and(|own| Rc::ptr_eq(own, line)) {
            self.close();
        }
    }

    /// One request and its reply.
    async fn call(
        &self,
        line: &Line,
        head: &RequestHead,
        plan: &Plan,
        target: &Target,
    ) -> Result<Answer, Stopped> {
        let overlay = Overlay::take();
        let extra = RequestExtra { trailers: plan.grpc, ..RequestExtra::default() };
        let tls = plan.endpoints.get(target.endpoint).is_some_and(|endpoint| endpoint.tls.is_some());
        let outgoing = OutgoingHead::Request {
            head,
            overlay: &overlay,
            line: RequestLine::of(head),
            framing: head.framing(),
            extra: &extra,
            scheme: if tls { "https" } else { "http" },
        };
        let after = if head.rest().is_empty() { After::Nothing } else { After::Content };
        match line {
            Line::Http2(connection) => {
                let slot = self.free_slot(connection).await?;
                let mut requested = slot.request(&outgoing, after, &HeadLimits::DEFAULT)?;
                send(&mut requested.sender, head.rest()).await?;
                let (head, mut receiver) = loop {
                    if let ReplyHead::Final(head, receiver) = requested.reply.head().await? {
                        break (head, receiver);
                    }
                };
                let reply = read(head, &mut receiver, plan, target).await?;
                slot.ended_in_order();
                Ok(reply)
            }
            Line::Http3(calling) => {
                let mut call = calling.call(head.method()).await?;
                let mut sender = Sender::Http3(call.sender);
                sender.send_head(&outgoing, after)?;
                send(&mut sender, head.rest()).await?;
                let head = loop {
                    let head = call.reply.head().await?;
                    if !head.is_interim() {
                        break head;
                    }
                };
                let mut receiver = Receiver::from(call.reply.receiver());
                read(head, &mut receiver, plan, target).await
            }
        }
    }

    /// A place for a request on an HTTP/2 connection. Where the peer admits fewer at once than we have lanes, they take turns
    /// in the order in which they came; a ring that went astray costs a moment.
    async fn free_slot(&self, connection: &ClientConnection) -> Result<Slot, Stopped> {
        let mut heard = self.bell.waiting() == 0;
        loop {
            if heard && let Some(slot) = connection.slot() {
                return Ok(slot);
            }
            if connection.is_leaving() || connection.is_closed() {
                return Err(Stopped::Refused);
            }
            let look_ns = now().mono_ns + MULTIPLEX_LOOK_NS;
            let _rung_or_not = until_ns(look_ns, self.bell.heard()).await;
            heard = true;
        }
    }
}

async fn open_http2(
    stream: Stream,
    plan: &Plan,
    bell: &Rc<Bell>,
    deadline_ns: u64,
) -> Result<ClientConnection, NotOpened> {
    let streams = u32::try_from(plan.streams).unwrap_or(u32::MAX);
    let opened = ClientConnection::open(stream, streams, plan.timeout_ns, Rc::clone(bell), deadline_ns).await;
    opened.map_err(|end| NotOpened::new(Failure::Protocol, format!("no HTTP/2: {end:?}")))
}

/// Sends all of a body, and hands on what is held.
async fn send(sender: &mut Sender, body: &[u8]) -> Result<(), Stopped> {
    let mut rest = body;
    while !rest.is_empty() {
        match sender.try_send(rest)? {
            0 => sender.writable().await,
            count => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    if !body.is_empty() {
        sender.finish(None)?;
    }
    while !sender.flush()? {
        sender.writable().await;
    }
    Ok(())
}

/// Reads a reply's content to its end, and judges it.
async fn read(
    head: ResponseHead,
    receiver: &mut Receiver,
    plan: &Plan,
    target: &Target,
) -> Result<Answer, Stopped> {
    let status = head.status();
    let mut bytes_in = head.head_len() as u64;
    let mut length = 0;
    let mut body = target.checks.body();
    // A gRPC reply without a message has its status in the head.
    let mut grpc_good = head.field_named(b"grpc-status").map(|code| code == b"0");
    loop {
        match receiver.try_next()? {
            Received::Data(data) => {
                length += data.len() as u64;
                if let Some(body) = &mut body {
                    body.take(&data);
                }
                receiver.consumed(data.len());
            }
            Received::Trailers(trailers) => {
                let code = trailers.fields().find(|(name, ..)| name.eq_ignore_ascii_case(b"grpc-status"));
                grpc_good = code.map(|(_, value, _)| value == b"0").or(grpc_good);
            }
            Received::End => break,
            Received::Nothing => receiver.readable().await,
        }
    }
    bytes_in += length;
    let mut failure = target.checks.verdict(status, length, body);
    if failure.is_none() && plan.grpc && grpc_good != Some(true) {
        failure = Some(Failure::Grpc);
    }
    Ok(Answer { status, failure, bytes_in })
}
