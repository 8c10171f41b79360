//! The server's side of a connection: drives it, and gives each request out as a head and two halves.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use ringway_rt::Side;
use ringway_wire::Version;
use ringway_wire::buffer::Buffer;
use ringway_wire::head::{Content, RequestAssembler, RequestHead};
use ringway_wire::http2::{Excess, Meter};
use ringway_wire::limits::HeadLimits;
use ringway_wire::priority::Priority;
use ringway_wire::reject::Reject;

use super::chunk::Chunk;
use super::line::{Io, Line, Over};
use super::{Receiver, Sender};
use crate::Stream;
use crate::limits::{
    HTTP2_CLOSE_NS_MAX, HTTP2_CONNECTION_WINDOW_BYTES_MAX, HTTP2_CONNECTION_WINDOW_BYTES_MIN,
    HTTP2_FRAME_BYTES_MAX, HTTP2_GRANTED_BYTES_MAX, HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_LOCAL_RESETS_MAX,
    HTTP2_PENDING_RESETS_MAX, HTTP2_QUEUED_BYTES_MAX, HTTP2_REMEMBERED_RESETS_MAX, HTTP2_STREAM_WINDOW_BYTES,
    HTTP2_STREAMS_MAX, HTTP2_TABLE_BYTES_MAX,
};

/// How long is waited for what, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the preface and the first request, and for what began to come: a head, a frame.
    pub head_ns: u64,
    /// For the next request while no stream is open.
    pub idle_ns: u64,
    /// For the socket to take bytes.
    pub stall_ns: u64,
}

/// A request.
pub struct Incoming {
    /// Its head, or what is wrong with it: the reply is that status.
    pub head: Result<RequestHead, Reject>,
    /// Its content.
    pub receiver: Receiver,
    /// Its reply.
    pub sender: Sender,
}

/// What a connection brings.
pub enum Arrived {
    /// A request.
    Request(Incoming),
    /// One that h2 has refused by itself, whose caller has been told: with 431 or a reset.
    Refused(Reject),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order, by either side, or the peer went away.
    Closed,
    /// The peer broke the protocol.
    Malformed,
    /// The peer burdened us.
    Flood(Option<Excess>),
    /// The peer was silent, or slow, for too long.
    Late,
}

/// What may be done to a connection from outside of its task.
#[derive(Clone)]
pub struct Control(Rc<Line>);

impl Control {
    /// No further request is wanted: GOAWAY now, its last stream a round trip later, and an end when all streams have ended
    /// (RFC 9113 §6.8).
    pub fn drain(&self) {
        self.0.draining.set(true);
        self.0.wake();
    }

    /// Ends whatever is going on: the peer is told nothing.
    pub fn cut(&self, now_ns: u64) {
        self.0.stream.deadline().arm(Side::Write, now_ns);
        self.0.stream.deadline().arm(Side::Read, now_ns);
    }

    /// Streams whose reply is not complete.
    #[must_use]
    pub fn open_streams(&self) -> u32 {
        self.0.open_streams.get()
    }

    /// The stream below, for its addresses.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.0.stream
    }
}

/// A connection whose client speaks HTTP/2.
pub struct Accepting {
    state: State,
    line: Rc<Line>,
    patience: Patience,
    head_limits: HeadLimits,
    window: Window,
    begun_ns: u64,
    draining: bool,
    ending: Option<Ending>,
}

enum State {
    Handshake(Handshake<Io, Chunk>),
    Open(Connection<Io, Chunk>),
    /// It ends before h2 knew it: our last frames leave.
    Leaving,
    Ended,
}

impl Accepting {
    /// Takes a connection over. `rest`: bytes that were read from it already.
    #[must_use]
    pub fn new(stream: Stream, rest: Option<Buffer>, patience: Patience, head_limits: HeadLimits) -> Self {
        let now_ns = ringway_rt::now().mono_ns;
        let line = Line::new(stream, Some(Meter::new(now_ns)), rest, now_ns);
        let list_bytes = HTTP2_HEADER_LIST_BYTES_MAX.max(head_limits.head_bytes_max);
        let handshake = Builder::new()
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(list_bytes)
            .header_table_size(HTTP2_TABLE_BYTES_MAX)
            .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(Some(HTTP2_LOCAL_RESETS_MAX))
            .max_concurrent_reset_streams(HTTP2_REMEMBERED_RESETS_MAX)
            .max_send_buffer_size(HTTP2_QUEUED_BYTES_MAX)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .initial_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .enable_connect_protocol()
            .handshake(Io(Rc::clone(&line)));
        Self {
            state: State::Handshake(handshake),
            line,
            patience,
            head_limits,
            window: Window::default(),
            begun_ns: now_ns,
            draining: false,
            ending: None,
        }
    }

    /// For whoever ends it from outside.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Rc::clone(&self.line))
    }

    /// How it ended; once [`Accepting::poll_next`] said so.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.unwrap_or(Ending::Closed)
    }

    /// Drives the connection. `Ready(Some)`: a request, or what was meant as one; `Ready(None)`: the connection has ended. To be polled until then, by
    /// one task that [`ringway_rt::spawn_foreign`] started.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        self.line.begin_turn(cx);
        loop {
            let progress = match &mut self.state {
                State::Ended => return Poll::Ready(self.line.take_refused().map(Arrived::Refused)),
                State::Leaving => match self.line.poll_shutdown(cx) {
                    Poll::Ready(_) => Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
                State::Handshake(handshake) => match Pin::new(handshake).poll(cx) {
                    Poll::Ready(Ok(connection)) => {
                        self.state = State::Open(connection);
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Pending => Poll::Pending,
                },
                State::Open(connection) => connection.poll_accept(cx),
            };
            match progress {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.line.arrived(respond.stream_id().as_u32());
                    return Poll::Ready(Some(Arrived::Request(self.incoming(request, respond))));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ended(Some(&error));
                }
                Poll::Ready(None) => self.ended(None),
                Poll::Pending => {
                    if let Some(reject) = self.line.take_refused() {
                        return Poll::Ready(Some(Arrived::Refused(reject)));
                    }
                    match self.rest(cx) {
                        Rest::Again => {}
                        Rest::Wait => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// After its end: gives the peer a moment to read our last frames.
    pub async fn linger(self) {
        let line = Rc::clone(&self.line);
        drop(self);
        line.linger().await;
    }

    /// h2 can do no more now: what was asked from outside is done, and what was gathered is sent.
    fn rest(&mut self, cx: &mut Context<'_>) -> Rest {
        if let Some(over) = self.line.over.get().filter(|_| self.ending.is_none()) {
            let (reason, ending) = match over {
                Over::Flood(excess) => (Reason::ENHANCE_YOUR_CALM, Ending::Flood(Some(excess))),
                Over::Late => (Reason::NO_ERROR, Ending::Late),
            };
            self.ending = Some(ending);
            match &mut self.state {
                State::Open(connection) => connection.abrupt_shutdown(reason),
                _ => {
                    self.line.gather(&go_away(reason));
                    self.state = State::Leaving;
                }
            }
            let until_ns = self.line.now_ns.get().saturating_add(HTTP2_CLOSE_NS_MAX);
            self.line.stream.deadline().arm(Side::Write, until_ns);
            return Rest::Again;
        }
        if let State::Open(connection) = &mut self.state {
            if self.line.draining.get() && !std::mem::replace(&mut self.draining, true) {
                connection.graceful_shutdown();
                return Rest::Again;
            }
            if let Some(window) = self.window.grown(self.line.consumed.get()) {
                connection.set_target_window_size(window);
                return Rest::Again;
            }
        }
        self.line.gate.wake_next();
        match self.line.poll_flush(cx, self.patience.stall_ns) {
            Poll::Ready(Err(_)) => {
                self.ended(None);
                return Rest::Again;
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        self.arm();
        Rest::Wait
    }

    /// Arms the deadline for what the peer owes us, if it owes something.
    fn arm(&self) {
        let line = &self.line;
        let open_since_ns = line.meter.as_ref().and_then(|meter| meter.borrow().open_since_ns());
        let until_ns = match (open_since_ns, line.open_streams.get()) {
            _ if self.ending.is_some() => return,
            (Some(since_ns), _) => Some(since_ns.saturating_add(self.patience.head_ns)),
            (None, 0) => Some(match line.rests_since_ns.get() {
                0 => self.begun_ns.saturating_add(self.patience.head_ns),
                since_ns => since_ns.saturating_add(self.patience.idle_ns),
            }),
            (None, _) => None,
        };
        match until_ns {
            Some(until_ns) => line.stream.deadline().arm(Side::Read, until_ns),
            None => line.stream.deadline().disarm(Side::Read),
        }
    }

    fn ended(&mut self, error: Option<&h2::Error>) {
        let reason = error.filter(|error| error.is_library()).and_then(h2::Error::reason);
        let ending = match reason {
            Some(Reason::NO_ERROR) | None => Ending::Closed,
            Some(Reason::ENHANCE_YOUR_CALM) => Ending::Flood(None),
            Some(_) => Ending::Malformed,
        };
        self.ending.get_or_insert(ending);
        if ending == Ending::Malformed {
            self.line.refuse_last();
        }
        self.state = match (&self.state, reason) {
            // Who does not begin with the preface is told so, which h2 leaves to us (RFC 9113 §3.4).
            (State::Handshake(_), Some(reason)) => {
                self.line.gather(&go_away(reason));
                let until_ns = self.line.now_ns.get().saturating_add(HTTP2_CLOSE_NS_MAX);
                self.line.stream.deadline().arm(Side::Write, until_ns);
                State::Leaving
            }
            _ => State::Ended,
        };
    }

    fn incoming(&self, request: Request<RecvStream>, respond: SendResponse<Chunk>) -> Incoming {
        let (parts, body) = request.into_parts();
        let content = if body.is_end_stream() { Content::None } else { Content::Follows };
        let head = assemble(&parts, content, self.line.stream.is_tls(), &self.head_limits);
        let line = &self.line;
        let said = head.as_ref().ok().and_then(|head| head.field_named(b"priority"));
        let priority = said.map_or_else(Priority::default, Priority::of);
        Incoming {
            head,
            receiver: Receiver::new(body, Rc::clone(line)),
            sender: Sender::of_reply(respond, Rc::clone(line), priority),
        }
    }
}

/// GOAWAY for a connection without streams (RFC 9113 §6.8).
fn go_away(reason: Reason) -> [u8; 17] {
    let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(code) = frame.last_chunk_mut::<4>() {
        *code = u32::from(reason).to_be_bytes();
    }
    frame
}

enum Rest {
    Again,
    Wait,
}

/// The head, validated again (contract, rule 17).
fn assemble(
    parts: &http::request::Parts,
    content: Content,
    tls: bool,
    limits: &HeadLimits,
) -> Result<RequestHead, Reject> {
    let mut head = RequestAssembler::new(Version::Http2, limits);
    head.field(b":method", parts.method.as_str().as_bytes())?;
    if parts.method != http::Method::CONNECT || parts.extensions.get::<h2::ext::Protocol>().is_some() {
        // h2 asks for a scheme, and then drops it where there is no authority.
        let scheme = parts.uri.scheme_str().unwrap_or(if tls { "https" } else { "http" });
        head.field(b":scheme", scheme.as_bytes())?;
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        head.field(b":path", path.as_bytes())?;
    }
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        head.field(b":protocol", protocol.as_ref())?;
    }
    if let Some(authority) = parts.uri.authority() {
        head.field(b":authority", authority.as_str().as_bytes())?;
    }
    for (name, value) in &parts.headers {
        head.field(name.as_str().as_bytes(), value.as_bytes())?;
    }
    head.finish(content)
}

thread_local! {
    /// What this worker's connections were granted beyond their first window.
    static GRANTED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The connection's window: it doubles each time that a whole one was consumed, while the worker has memory for it.
struct Window {
    bytes: u32,
    /// What was consumed when it last grew.
    consumed: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: HTTP2_CONNECTION_WINDOW_BYTES_MIN, consumed: 0 }
    }
}

impl Window {
    /// Its new size, where it grows.
    fn grown(&mut self, consumed: u64) -> Option<u32> {
        if consumed.saturating_sub(self.consumed) < u64::from(self.bytes)
            || self.bytes >= HTTP2_CONNECTION_WINDOW_BYTES_MAX
        {
            return None;
        }
        self.consumed = consumed;
        let granted = GRANTED_BYTES.get() + self.bytes as usize;
        if granted > HTTP2_GRANTED_BYTES_MAX {
            return None;
        }
        GRANTED_BYTES.set(granted);
        self.bytes = self.bytes.saturating_mul(2);
        Some(self.bytes)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let granted = (self.bytes - HTTP2_CONNECTION_WINDOW_BYTES_MIN) as usize;
        GRANTED_BYTES.set(GRANTED_BYTES.get().saturating_sub(granted));
    }
}

#[cfg(test)]
mod tests {
    use super::{GRANTED_BYTES, Window};
    use crate::limits::{HTTP2_CONNECTION_WINDOW_BYTES_MAX, HTTP2_GRANTED_BYTES_MAX};

    #[test]
    fn a_window_grows_with_what_is_consumed_and_all_of_them_have_a_bound() {
        let mut windows: Vec<Window> = Vec::new();
        for _ in 0..100 {
            let mut window = Window::default();
            let (mut consumed, mut size) = (0, 0);
            assert_eq!(window.grown(1), None);
            for _ in 0..20 {
                consumed += u64::from(window.bytes);
                if let Some(bytes) = window.grown(consumed) {
                    assert!(bytes > size);
                    size = bytes;
                }
            }
            assert!(window.bytes < 2 * HTTP2_CONNECTION_WINDOW_BYTES_MAX);
            windows.push(window);
        }
        assert!(windows[0].bytes >= HTTP2_CONNECTION_WINDOW_BYTES_MAX);
        assert!(GRANTED_BYTES.get() <= HTTP2_GRANTED_BYTES_MAX);
        windows.clear();
        assert_eq!(GRANTED_BYTES.get(), 0);
    }
}
