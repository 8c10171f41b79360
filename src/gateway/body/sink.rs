//! Where a head and a body go: text on an HTTP/1 connection, or frames on a stream of HTTP/2 or HTTP/3. Patience and counts are
//! the same for both.

mod http1;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_rt::{Pipe, Side};
use ringway_transport::{After, MessageEnd, Sender, Stream};
use ringway_wire::date::FixDate;
use ringway_wire::grpc::{Form, web};
use ringway_wire::head::{Framing, RequestHead, ResponseHead};
use ringway_wire::http1::{self as text, ReplyAhead, RequestExtra, RequestLine, ResponseExtra};
use ringway_wire::message::{OutgoingHead, OwnField};
use ringway_wire::overlay::{BadEdit, Overlay};
use ringway_wire::trailers::Trailers;

use self::http1::{Follows, Http1Writer};
use crate::caller::Watch;

/// How the body is framed towards this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// There is none: data that comes is dropped (a reply to HEAD).
    None,
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks on HTTP/1; until the stream's end elsewhere.
    Chunked,
    /// Until we close.
    UntilClose,
}

/// A translation into gRPC-Web.
struct Web {
    form: Form,
    /// Room for a piece in base64.
    piece: Vec<u8>,
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkEnd {
    /// The peer closed or reset.
    Closed,
    /// It took no bytes for too long, or too few.
    Stalled,
    /// It takes no head, or no trailers, of this size. After a head another one may be tried.
    TooLarge,
}

impl SinkEnd {
    fn of(end: MessageEnd) -> Self {
        if end == MessageEnd::TooLarge { Self::TooLarge } else { Self::Closed }
    }
}

/// What carries the message.
enum To<'s> {
    Http1(Http1Writer<'s>),
    Message(MessageWriter),
}

/// A stream of HTTP/2 or HTTP/3.
struct MessageWriter {
    sender: Box<Sender>,
    /// The final head went out.
    begun: bool,
    /// So did the end.
    ended: bool,
}

/// A reply that the gateway makes itself.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    /// Status.
    pub(crate) status: u16,
    /// Fields, in order.
    pub(crate) fields: &'a [OwnField<'a>],
    /// Edits on top.
    pub(crate) overlay: &'a Overlay,
    /// What its head says of its content.
    pub(crate) framing: Framing,
}

/// When the last bytes of a message are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// At once: what becomes of them is for the record.
    Now,
    /// On a plain HTTP/1 connection at the end of the worker's turn, if they are the first as well. What became of them shows in the
    /// reply: [`Sink::settle`].
    AtTurnsEnd,
}

/// The write half of one message.
pub(crate) struct Sink<'s> {
    to: To<'s>,
    coding: Coding,
    stall_ns_max: u64,
    rate_min: u64,
    takes_trailers: bool,
    last: Last,
    /// Since when it is waited for what goes to an HTTP/1 caller, whose leaving is then noticed; 0: it is not looked out for.
    watched_ns: u64,
    /// While it says so, somebody else reads from that caller, and notices it.
    uploading: Option<Rc<Cell<bool>>>,
    /// The form of gRPC-Web that what is given is translated into.
    web: Option<Web>,
    /// Time spent waiting for the peer to take bytes.
    waited_ns: u64,
    /// Body bytes accepted, framing excluded.
    pub(crate) body_bytes: u64,
    /// All bytes that the peer was sent.
    pub(crate) written_bytes: u64,
}

impl<'s> Sink<'s> {
    /// A sink whose waits end after `stall_ns_max` without progress, or below `rate_min` bytes a second
    /// (0: none) once the peer has kept us waiting that long in total.
    pub(crate) fn http1(stream: &'s Stream, stall_ns_max: u64, rate_min: u32) -> Self {
        Self::new(To::Http1(Http1Writer::new(stream)), stall_ns_max, rate_min)
    }

    /// The same for a stream of HTTP/2 or HTTP/3.
    pub(crate) fn message(sender: Box<Sender>, stall_ns_max: u64, rate_min: u32) -> Self {
        Self::new(To::Message(MessageWriter { sender, begun: false, ended: false }), stall_ns_max, rate_min)
    }

    /// The same for content whose head, a request's, was sent when the stream was opened.
    pub(crate) fn begun(sender: Box<Sender>, coding: Coding, stall_ns_max: u64) -> Self {
        let ended = coding == Coding::None;
        Self {
            coding,
            ..Self::new(To::Message(MessageWriter { sender, begun: true, ended }), stall_ns_max, 0)
        }
    }

    fn new(to: To<'s>, stall_ns_max: u64, rate_min: u32) -> Self {
        Self {
            to,
            coding: Coding::None,
            stall_ns_max,
            rate_min: u64::from(rate_min),
            takes_trailers: true,
            last: Last::Now,
            watched_ns: 0,
            uploading: None,
            web: None,
            waited_ns: 0,
            body_bytes: 0,
            written_bytes: 0,
        }
    }

    /// The peer did not say that it takes trailers: they are dropped (contract, rule 15).
    pub(crate) fn drop_trailers(&mut self) {
        self.takes_trailers = false;
    }

    /// From here on [`Self::unless_closed`] notices that an HTTP/1 caller has left, too; not while `uploading` says that its
    /// content is being read, which notices it as well.
    pub(crate) fn watch(&mut self, from_ns: u64, uploading: Option<Rc<Cell<bool>>>) {
        self.watched_ns = from_ns;
        self.uploading = uploading;
    }

    /// Whether [`Self::unless_closed`] may end early.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched_ns != 0 || self.is_message()
    }

    /// From here on what is given is gRPC, and what is sent gRPC-Web of this form.
    pub(crate) fn translate(&mut self, form: Form) {
        self.web = Some(Web { form, piece: Vec::new() });
    }

    /// Whether a message that was begun can be ended here, in order and with trailers.
    pub(crate) fn can_be_ended(&self) -> bool {
        self.takes_trailers
            && self.coding == Coding::Chunked
            && matches!(&self.to, To::Message(writer) if writer.begun && !writer.ended)
    }

    /// Whether each message has a stream of its own: what one request leaves behind is no other's.
    pub(crate) fn is_message(&self) -> bool {
        matches!(self.to, To::Message(_))
    }

    /// The connection that it writes on; none where the message has a stream of its own.
    pub(crate) fn connection(&self) -> Option<&'s Stream> {
        match &self.to {
            To::Http1(writer) => Some(writer.stream()),
            To::Message(_) => None,
        }
    }

    /// The stream that it writes on, where the message has one of its own.
    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        match &mut self.to {
            To::Http1(_) => None,
            To::Message(writer) => Some(writer.sender.as_mut()),
        }
    }

    /// Takes the head of a reply that is passed on, or that of 101; content follows in `coding`. Bytes of the head.
    ///
    /// # Errors
    /// The peer closed, or takes no head of this size.
    pub(crate) fn reply(
        &mut self,
        head: &ResponseHead,
        overlay: &Overlay,
        framing: Framing,
        coding: Coding,
        extra: &ResponseExtra<'_>,
    ) -> Result<usize, SinkEnd> {
        self.coding = coding;
        match &mut self.to {
            To::Http1(writer) => {
                Ok(writer.head(|out| text::write_response_head(out, head, overlay, framing, extra)))
            }
            To::Message(writer) if head.is_upgrade() => {
                writer.head(&OutgoingHead::Tunnel { head, overlay }, Coding::UntilClose)
            }
            To::Message(writer) => {
                writer.head(&OutgoingHead::Reply { head, overlay, framing, date: extra.date }, coding)
            }
        }
    }

    /// Takes the head of a reply of ours; content follows in `coding`. Bytes of the head.
    ///
    /// # Errors
    /// A field that cannot be written; then nothing of it is.
    pub(crate) fn own(
        &mut self,
        own: Own<'_>,
        coding: Coding,
        extra: &ResponseExtra<'_>,
    ) -> Result<Result<usize, SinkEnd>, BadEdit> {
        self.coding = coding;
        let Own { status, fields, overlay, framing } = own;
        match &mut self.to {
            To::Http1(writer) => {
                let mut written = Ok(());
                let fields = fields.iter().copied();
                let bytes = writer.head(|out| {
                    written = text::write_status_head(out, status, fields, overlay, framing, extra);
                });
                written.map(|()| Ok(bytes))
            }
            To::Message(writer) => {
                let head = OutgoingHead::own(status, fields, overlay, framing, extra.date)?;
                Ok(writer.head(&head, coding))
            }
        }
    }

    /// Takes a whole reply of ours that was written ahead, or its head alone, on an HTTP/1 connection. `false`: nothing was taken.
    pub(crate) fn own_ahead(
        &mut self,
        ahead: &ReplyAhead,
        id: &[u8; 36],
        date: &FixDate,
        with_content: bool,
    ) -> bool {
        let To::Http1(writer) = &mut self.to else { return false };
        writer.head(|out| ahead.write(out, id, date, with_content));
        self.coding = Coding::None;
        if with_content {
            self.body_bytes += ahead.content_bytes() as u64;
        }
        true
    }

    /// Takes the head of a request to an upstream that speaks HTTP/1; content follows in `coding`.
    pub(crate) fn request_text(
        &mut self,
        head: &RequestHead,
        overlay: &Overlay,
        line: RequestLine<'_>,
        (framing, coding): (Framing, Coding),
        extra: &RequestExtra<'_>,
    ) {
        self.coding = coding;
        self.last = Last::AtTurnsEnd;
        if let To::Http1(writer) = &mut self.to {
            writer.head(|out| text::write_request_head(out, head, overlay, line, framing, extra));
        }
    }

    /// Passes an interim reply on, at once: it is no part of the final one.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn interim(&mut self, head: &ResponseHead) -> Result<(), SinkEnd> {
        match &mut self.to {
            To::Http1(writer) => writer.head(|out| text::write_interim(out, head, &Overlay::take())),
            To::Message(writer) => return writer.interim(&OutgoingHead::Interim(head)),
        };
        self.flush().await?;
        self.written_bytes = 0;
        Ok(())
    }

    /// Tells a caller that expects it to send its body (RFC 9110 §10.1.1).
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn go_on(&mut self) -> Result<(), SinkEnd> {
        match &mut self.to {
            To::Http1(writer) => writer.head(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n")),
            To::Message(writer) => return writer.interim(&OutgoingHead::Continue),
        };
        self.flush().await?;
        self.written_bytes = 0;
        Ok(())
    }

    /// Whether nothing of a reply has gone out and nothing is on its way. What is gathered counts: with TLS a part of it may
    /// have been sealed and sent before the write would block.
    pub(crate) fn untouched(&self) -> bool {
        match &self.to {
            To::Http1(writer) => self.written_bytes == 0 && writer.is_empty(),
            To::Message(writer) => !writer.begun,
        }
    }

    /// Whether [`Self::take_back`] can.
    pub(crate) fn can_be_taken_back(&self) -> bool {
        match &self.to {
            To::Http1(_) => self.written_bytes == 0,
            To::Message(writer) => writer.sender.can_be_taken_back(),
        }
    }

    /// Takes back a message that was begun and came to nothing, if all of it still lies here: another one may be said instead. Not
    /// while a write is waited for: of what is sealed a part may have gone then.
    pub(crate) fn take_back(&mut self) -> bool {
        let taken = match &mut self.to {
            To::Http1(writer) => {
                if self.written_bytes == 0 {
                    writer.clear();
                }
                self.written_bytes == 0
            }
            To::Message(writer) => {
                writer.begun = !writer.sender.take_back();
                !writer.begun
            }
        };
        if taken {
            (self.coding, self.web, self.body_bytes) = (Coding::None, None, 0);
        }
        taken
    }

    /// How long its peer may take no bytes.
    pub(crate) fn stall_ns_max(&self) -> u64 {
        self.stall_ns_max
    }

    /// Nanoseconds that the peer kept us waiting.
    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// Takes the whole of a small content, as it is announced, beside a head on an HTTP/1 connection. `false`: nothing was taken.
    #[inline]
    pub(crate) fn gather_whole(&mut self, bytes: &[u8]) -> bool {
        let To::Http1(writer) = &mut self.to else { return false };
        let gathered = self.web.is_none()
            && self.coding == Coding::Length(bytes.len() as u64)
            && writer.gather_small(bytes);
        if gathered {
            self.coding = Coding::Length(0);
            self.body_bytes += bytes.len() as u64;
        }
        gathered
    }

    /// Takes body bytes.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn data(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        if self.web.as_ref().is_some_and(|web| web.form == Form::WebText) {
            return self.data_in_text(bytes).await;
        }
        self.plain_data(bytes).await
    }

    async fn data_in_text(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        let mut piece = self.web.as_mut().map(|web| std::mem::take(&mut web.piece)).unwrap_or_default();
        piece.clear();
        web::write_base64(bytes, &mut piece);
        let sent = self.plain_data(&piece).await;
        if let Some(web) = &mut self.web {
            web.piece = piece;
        }
        sent
    }

    /// The trailers of gRPC as the last of gRPC-Web's content.
    async fn end_web(&mut self, trailers: Option<&Trailers>) -> Result<(), SinkEnd> {
        let mut frame = Vec::with_capacity(128);
        web::write_trailers_frame(trailers, &mut frame);
        self.data(&frame).await?;
        self.web = None;
        Ok(())
    }

    async fn plain_data(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        let bytes = bytes.get(..self.accept(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.to {
            To::Http1(writer) => {
                if !writer.gather(bytes, self.coding == Coding::Chunked) {
                    self.write(bytes, Follows::Nothing).await?;
                    self.end_chunk();
                }
                Ok(())
            }
            To::Message(_) => self.send(bytes).await,
        }
    }

    /// Whether content of an announced length, or until we close, may go out from a pipe: nothing is put between it, nor changed.
    #[inline]
    pub(crate) fn takes_pipes(&self) -> bool {
        matches!(self.coding, Coding::Length(_) | Coding::UntilClose)
            && self.web.is_none()
            && matches!(&self.to, To::Http1(writer) if writer.stream().plain().is_some())
    }

    /// Takes body bytes, and writes them behind what is gathered, for [`Self::data_from`] to follow at once: they leave with what it
    /// writes.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn data_before_pipe(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        let bytes = bytes.get(..self.accept(bytes.len())).unwrap_or_default();
        self.write(bytes, Follows::Pipe).await
    }

    /// Takes the body bytes that a pipe holds, and writes them.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn data_from(&mut self, pipe: &mut Pipe) -> Result<(), SinkEnd> {
        self.accept(pipe.held());
        while pipe.held() > 0 {
            let To::Http1(writer) = &mut self.to else { return Err(SinkEnd::Closed) };
            match writer.try_write_from(pipe) {
                Ok(Some(count)) => self.written_bytes += count as u64,
                Ok(None) => self.wait().await?,
                Err(_) => return Err(SinkEnd::Closed),
            }
        }
        Ok(())
    }

    /// Counts so many body bytes; how many of them there may be.
    fn accept(&mut self, bytes: usize) -> usize {
        let taken = match &mut self.coding {
            Coding::None => 0,
            Coding::Length(left) => {
                // INVARIANT: a source never yields more than its framing announced; this holds it for us.
                let taken = bytes.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                taken
            }
            Coding::Chunked | Coding::UntilClose => bytes,
        };
        self.body_bytes += taken as u64;
        taken
    }

    /// Ends the body and flushes.
    ///
    /// # Errors
    /// The peer closed or stalled, or takes no trailers of this size.
    pub(crate) async fn end(&mut self, trailers: Option<&Trailers>) -> Result<(), SinkEnd> {
        let translated = self.web.is_some();
        if translated {
            self.end_web(trailers).await?;
        }
        let trailers = trailers.filter(|_| self.takes_trailers && !translated);
        match &mut self.to {
            To::Http1(writer) => {
                if self.coding == Coding::Chunked {
                    writer.last_chunk(trailers);
                }
                if self.leave() { Ok(()) } else { self.flush().await }
            }
            To::Message(writer) => {
                writer.finish(trailers)?;
                self.flush().await
            }
        }
    }

    /// Ends a body that has all of its bytes, if nobody is to be waited for. `false`: [`Self::end`] is due.
    #[inline]
    pub(crate) fn end_now(&mut self) -> bool {
        self.web.is_none() && self.coding != Coding::Chunked && (self.leave() || self.flush_now())
    }

    /// Writes what is gathered on an HTTP/1 connection if all of it goes at once. `false`: [`Self::flush`] is due.
    #[inline]
    pub(crate) fn flush_now(&mut self) -> bool {
        let To::Http1(writer) = &mut self.to else { return false };
        self.written_bytes += writer.try_flush().unwrap_or(0);
        writer.is_empty()
    }

    /// Writes what is gathered.
    ///
    /// # Errors
    /// The peer closed or stalled.
    #[inline]
    pub(crate) async fn flush(&mut self) -> Result<(), SinkEnd> {
        let To::Http1(writer) = &mut self.to else { return self.flush_message().await };
        match writer.try_flush() {
            Some(count) => {
                self.written_bytes += count;
                if writer.is_empty() {
                    return Ok(());
                }
            }
            None => return Ok(()),
        }
        self.write(&[], Follows::Nothing).await
    }

    /// Leaves what is gathered of a request to be written at the end of the turn, among those of other connections. `false`: it goes
    /// otherwise.
    #[inline]
    fn leave(&mut self) -> bool {
        let To::Http1(writer) = &mut self.to else { return false };
        self.last == Last::AtTurnsEnd && self.written_bytes == 0 && writer.leave()
    }

    /// Whether the last bytes of a request, whose reply is here, have gone: all of them.
    pub(crate) fn settle(&mut self) -> bool {
        let To::Http1(writer) = &mut self.to else { return true };
        let Some(sent) = writer.stream().take_sent() else { return writer.is_empty() };
        writer.take_back(sent);
        writer.is_empty()
    }

    async fn flush_message(&mut self) -> Result<(), SinkEnd> {
        while let To::Message(writer) = &mut self.to
            && !writer.sender.flush().map_err(|_| SinkEnd::Closed)?
        {
            self.wait().await?;
        }
        Ok(())
    }

    /// What `future` comes to, unless the peer takes its stream back before, or leaves its HTTP/1 connection while it is watched:
    /// otherwise that shows when it is written to. The future is given up then.
    pub(crate) fn unless_closed<'f, F: Future>(&'f mut self, future: Pin<&'f mut F>) -> UnlessClosed<'f, F> {
        let whom = match &mut self.to {
            To::Message(writer) => Whom::Stream(&mut writer.sender),
            To::Http1(_) if self.watched_ns == 0 => Whom::Nobody,
            To::Http1(writer) => {
                Whom::Caller(Watch::new(writer.stream(), self.uploading.as_deref(), self.watched_ns))
            }
        };
        UnlessClosed { whom, future }
    }

    fn end_chunk(&mut self) {
        if let (To::Http1(writer), Coding::Chunked) = (&mut self.to, self.coding) {
            writer.end_chunk();
        }
    }

    /// Writes what is gathered and then `bytes`, in one call where the socket takes it.
    async fn write(&mut self, bytes: &[u8], follows: Follows) -> Result<(), SinkEnd> {
        let mut done = 0;
        loop {
            let To::Http1(writer) = &mut self.to else { return Ok(()) };
            if done == writer.total(bytes) {
                writer.clear();
                return Ok(());
            }
            match writer.try_write(done, bytes, follows) {
                Ok(Some(count)) => {
                    done += count;
                    self.written_bytes += count as u64;
                }
                Ok(None) => self.wait().await?,
                Err(_) => return Err(SinkEnd::Closed),
            }
        }
    }

    /// Hands bytes to the stream as its flow control admits them.
    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), SinkEnd> {
        while !bytes.is_empty() {
            let To::Message(writer) = &mut self.to else { return Ok(()) };
            match writer.sender.try_send(bytes).map_err(|_| SinkEnd::Closed)? {
                0 => self.wait().await?,
                count => {
                    self.written_bytes += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), SinkEnd> {
        let from_ns = ringway_rt::now().mono_ns;
        let until_ns = from_ns.saturating_add(self.stall_ns_max);
        let woken = match &mut self.to {
            To::Http1(writer) => writer.wait(until_ns).await,
            To::Message(writer) => {
                ringway_rt::until_ns(until_ns, writer.sender.writable()).await.ok_or(SinkEnd::Stalled)
            }
        };
        self.waited_ns += ringway_rt::now().mono_ns.saturating_sub(from_ns);
        woken?;
        let seconds_beyond = self.waited_ns.saturating_sub(self.stall_ns_max) / 1_000_000_000;
        if self.written_bytes < seconds_beyond.saturating_mul(self.rate_min) {
            return Err(SinkEnd::Stalled);
        }
        Ok(())
    }
}

/// [`Sink::unless_closed`].
pub(crate) struct UnlessClosed<'f, F> {
    whom: Whom<'f>,
    future: Pin<&'f mut F>,
}

/// Who is looked at meanwhile.
enum Whom<'f> {
    Nobody,
    Stream(&'f mut Sender),
    Caller(Watch<'f>),
}

impl<F: Future> Future for UnlessClosed<'_, F> {
    type Output = Result<F::Output, SinkEnd>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let closed = match &mut self.whom {
            Whom::Nobody => return Poll::Pending,
            Whom::Stream(sender) => sender.poll_closed(context).map(drop),
            Whom::Caller(watch) => watch.poll(context),
        };
        closed.map(|()| Err(SinkEnd::Closed))
    }
}

impl Http1Writer<'_> {
    async fn wait(&mut self, until_ns: u64) -> Result<(), SinkEnd> {
        let deadline = self.stream().deadline();
        deadline.arm(Side::Write, until_ns);
        let woken = self.stream().writable().await;
        deadline.disarm(Side::Write);
        if deadline.expired() == Some(Side::Write) {
            return Err(SinkEnd::Stalled);
        }
        woken.map_err(|_| SinkEnd::Closed)
    }
}

impl MessageWriter {
    fn interim(&mut self, head: &OutgoingHead<'_>) -> Result<(), SinkEnd> {
        self.sender.send_head(head, After::Content).map(drop).map_err(|_| SinkEnd::Closed)
    }

    fn head(&mut self, head: &OutgoingHead<'_>, coding: Coding) -> Result<usize, SinkEnd> {
        let ends = coding == Coding::None;
        let after = if ends { After::Nothing } else { After::Content };
        let sent = self.sender.send_head(head, after).map_err(SinkEnd::of);
        if sent != Err(SinkEnd::TooLarge) {
            (self.begun, self.ended) = (true, ends);
        }
        sent
    }

    fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), SinkEnd> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let finished = self.sender.finish(trailers).map_err(SinkEnd::of);
        // It may be ended with smaller ones.
        self.ended = finished != Err(SinkEnd::TooLarge);
        finished
    }
}
