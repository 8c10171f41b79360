//! The shell of an HTTP/1.1 connection: waits for a request with nothing but a small future, reads its
//! head, hands it to [`crate::request`] and decides whether another may follow.

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_rt::{Now, Side};
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class, memory};
use ringway_wire::head::RequestHead;
use ringway_wire::http1::{Parse, parse_request};
use ringway_wire::reject::Reject;

use super::{Channel, Connection};
use crate::entry::Entry;
use crate::malformed;
use crate::reply;
use crate::request;

/// What follows a request.
pub(crate) enum Next {
    /// Another request may come; its first bytes may be here.
    Again(Option<Buffer>),
    /// Close in order: the peer may still be sending.
    Close,
    /// Close at once, and so that the peer cannot take what it got for complete.
    Abort,
}

/// Pipelined requests that are served before the other connections have their turn.
const PIPELINED_PER_TURN: u32 = 16;
/// Rows of requests between two turns given away by a connection that may never have had to wait.
const ROWS_PER_TURN: u32 = 64;
/// Connections of one worker that wait with a buffer and what serves their requests at once: 5 MiB, or 11 where requests with
/// content come on all of them.
const WARM_CONNECTIONS_MAX: u32 = 512;
/// Bytes that are read and thrown away before a close, so that our last words are not lost to a reset: many clients send all of their
/// content before they read, and a write that fails is all that they tell of.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// And for how long.
const LINGER_NS_MAX: u64 = 30_000_000_000;
/// And for how long while nothing comes.
const LINGER_SILENCE_NS_MAX: u64 = 5_000_000_000;
/// And for how long while the worker drains: who leaves its side open must not hold up the end.
const LINGER_DRAINING_NS_MAX: u64 = 100_000_000;
/// Reads between two turns given away by a peer that sends as fast as it is read.
const LINGER_READS_PER_TURN: u32 = 16;

/// The bytes of an HTTP/1 connection, and how it waits.
pub(super) struct Http1 {
    stream: Stream,
    /// No request is in progress.
    idle: Cell<bool>,
    /// It waits with a buffer in the kernel's hands, because its next request is likely to come soon; since when.
    warm_since_ns: Cell<u64>,
    /// What the next request is read into: the last one may have had content that was too much for 4 KiB.
    class: Cell<Class>,
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, idle: Cell::new(true), warm_since_ns: Cell::new(0), class: Cell::new(Class::K4) }
    }

    /// The first read of the next request is as large as this one's would have had to be, so that a head and its small content come, and
    /// go on, as one.
    fn learn(&self, read_bytes: usize) {
        self.class.set(if read_bytes >= Class::K4.bytes() { Class::K16 } else { Class::K4 });
    }

    fn class(&self) -> Class {
        if memory::is_short() { Class::K4 } else { self.class.get() }
    }

    /// As [`Connection::cool`].
    pub(super) fn cool(&self, before_ns: u64) {
        let since_ns = self.warm_since_ns.get();
        if since_ns != 0 && since_ns < before_ns {
            self.warm_since_ns.set(0);
            self.stream.call_off();
        }
    }

    /// As [`Connection::end_if_idle`].
    pub(super) fn end_if_idle(&self, now_ns: u64) {
        if self.idle.get() {
            self.stream.deadline().arm(Side::Read, now_ns);
        }
    }

    /// As [`Connection::cut`].
    pub(super) fn cut(&self, now_ns: u64) {
        self.stream.deadline().arm(Side::Write, now_ns);
        self.stream.deadline().arm(Side::Read, now_ns);
    }

    /// Serves requests until the connection ends.
    pub(super) async fn serve(&self, connection: &Rc<Connection>, rest: Option<Buffer>) {
        serve(On { connection, http1: self, stream: &self.stream }, rest).await;
    }
}

/// A connection with its bytes.
#[derive(Clone, Copy)]
struct On<'c> {
    connection: &'c Rc<Connection>,
    http1: &'c Http1,
    stream: &'c Stream,
}

async fn serve(on: On<'_>, mut rest: Option<Buffer>) {
    let mut first = true;
    let mut rows = 0u32;
    loop {
        let bytes = match rest.take() {
            Some(rest) => {
                on.http1.idle.set(false);
                Some(rest)
            }
            None => match wait(on, first).await {
                Woken::Bytes(bytes) => Some(bytes),
                Woken::Readable => None,
                Woken::Ended => return,
            },
        };
        first = false;
        rows = rows.wrapping_add(1);
        if rows.is_multiple_of(ROWS_PER_TURN) {
            // With TLS, and on epoll, a wait for what is there already is none.
            ringway_rt::turn().await;
        }
        // What serves requests is large: it lives only while they come, and is not made anew for each.
        match Box::pin(requests(on, bytes)).await {
            After::Silence => drop(on.connection.standing.take()),
            After::End => return,
            After::Close => return linger(on).await,
            After::Abort => return on.stream.reset_on_close(),
        }
    }
}

/// What follows a row of requests.
enum After {
    /// Another may come later.
    Silence,
    /// The peer has ended, or its time has.
    End,
    /// As [`Next::Close`].
    Close,
    /// As [`Next::Abort`].
    Abort,
}

/// Serves requests for as long as one follows the other within a moment.
async fn requests(on: On<'_>, mut rest: Option<Buffer>) -> After {
    let mut pipelined = 0u32;
    loop {
        // Here and below, what is awaited is pinned where it is made: awaited by value, all of its room is copied first.
        let next = {
            let one = pin!(one(on, rest.take()));
            one.await
        };
        match next {
            Next::Again(Some(bytes)) => {
                rest = Some(bytes);
                pipelined += 1;
                if pipelined.is_multiple_of(PIPELINED_PER_TURN) {
                    // Requests that are there already and answered by us never make us wait: the others get their turn.
                    ringway_rt::turn().await;
                }
            }
            Next::Again(None) => {
                let woken = {
                    let warm = pin!(warm(on));
                    warm.await
                };
                match woken {
                    Some(Woken::Bytes(bytes)) => (rest, pipelined) = (Some(bytes), 0),
                    Some(Woken::Readable) => pipelined = 0,
                    Some(Woken::Ended) => return After::End,
                    None => return After::Silence,
                }
            }
            Next::Close => return After::Close,
            Next::Abort => return After::Abort,
        }
    }
}

/// What ended the wait for a request.
enum Woken {
    /// Its first bytes.
    Bytes(Buffer),
    /// They are there to be read.
    Readable,
    /// None will come.
    Ended,
}

/// Waits for the first byte of a request with nothing but a small future.
async fn wait(on: On<'_>, first: bool) -> Woken {
    if on.connection.worker.draining() && !first {
        return last_look(on.stream);
    }
    if begin_rest(on, first).is_none() {
        return Woken::Ended;
    }
    let woken = on.stream.readable().await;
    end_rest(on);
    match woken {
        Ok(()) => Woken::Readable,
        Err(_) => last_look(on.stream),
    }
}

/// Waits for the next request with a buffer in the kernel's hands, which is the cheapest wait. `None`: nothing came for a moment, or
/// this is no time or place to wait so.
async fn warm(on: On<'_>) -> Option<Woken> {
    let worker = &on.connection.worker;
    if on.connection.tls || worker.draining() || worker.warm.get() >= WARM_CONNECTIONS_MAX {
        return None;
    }
    let since_ns = begin_rest(on, false)?;
    worker.warm.set(worker.warm.get() + 1);
    on.http1.warm_since_ns.set(since_ns);
    let mut buffer = Buffer::take(on.http1.class());
    let read = {
        let read = pin!(on.stream.read_warm(buffer.vec_mut()));
        read.await
    };
    on.http1.warm_since_ns.set(0);
    worker.warm.set(worker.warm.get().saturating_sub(1));
    end_rest(on);
    match read {
        Ok(0) => Some(Woken::Ended),
        Ok(_) => Some(Woken::Bytes(buffer)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unsupported) => {
            // It goes on resting, since when it did.
            on.connection.rests_since(since_ns);
            None
        }
        Err(_) => Some(Woken::Ended),
    }
}

/// The connection rests from here on: until its patience ends, or the worker drains. Since when; `None`: no generation.
fn begin_rest(on: On<'_>, first: bool) -> Option<u64> {
    let connection = on.connection;
    let pinned = connection.worker.pinned()?;
    let settings = &pinned.generation.settings;
    let patience_ms = if first { settings.head_read_ms_max } else { settings.keep_alive_ms };
    let since_ns = match connection.rests_since_ns.take() {
        0 => ringway_rt::now().mono_ns,
        known => known,
    };
    on.http1.idle.set(true);
    let until_ns = since_ns.saturating_add(u64::from(patience_ms) * 1_000_000);
    on.stream.deadline().arm(Side::Read, until_ns);
    Some(since_ns)
}

fn end_rest(on: On<'_>) {
    on.stream.deadline().disarm(Side::Read);
    on.http1.idle.set(false);
}

/// What came in the moment in which we end the wait: it was sent before its sender could know, and is answered.
fn last_look(stream: &Stream) -> Woken {
    let mut buffer = Buffer::take(Class::K4);
    match stream.try_read_append(buffer.vec_mut()) {
        Ok(Some(count)) if count > 0 => Woken::Bytes(buffer),
        _ => Woken::Ended,
    }
}

/// Serves one request.
async fn one(on: On<'_>, rest: Option<Buffer>) -> Next {
    let started = ringway_rt::now();
    let head = {
        let reading = pin!(read_head(on, rest, started));
        reading.await
    };
    match head {
        Ok(mut head) => {
            let serving = pin!(request::serve(on.connection, &mut head, Channel::Http1(on.stream), started));
            serving.await
        }
        Err(next) => next,
    }
}

/// Reads a whole head, within its time from its first byte.
async fn read_head(on: On<'_>, rest: Option<Buffer>, started: Now) -> Result<RequestHead, Next> {
    let On { connection, http1, stream } = on;
    let Some(pinned) = connection.worker.pinned() else { return Err(Next::Close) };
    let limits = pinned.generation.head_limits;
    let until_ns = started.mono_ns.saturating_add(pinned.generation.head_read_ns_max);
    drop(pinned);
    let mut buffer = match rest {
        Some(rest) => rest,
        None => Buffer::take(http1.class()),
    };
    let mut fresh = !buffer.is_empty();
    connection.head_waited.set(false);
    let ending = loop {
        if fresh {
            let read_bytes = buffer.len();
            match parse_request(buffer, &limits) {
                Parse::Complete(head) => {
                    http1.learn(read_bytes);
                    return Ok(head);
                }
                Parse::Partial(back) => buffer = back,
                Parse::Reject(reject, _) => break Ending::Malformed(reject),
            }
        }
        if buffer.spare() == 0 {
            buffer = buffer.grown();
        }
        fresh = match stream.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) if begins_nothing(&buffer) => return Err(Next::Close),
            Ok(Some(0)) => break Ending::Closed,
            Ok(Some(_)) => true,
            Ok(None) => {
                connection.head_waited.set(true);
                stream.deadline().arm(Side::Read, until_ns);
                let woken = stream.readable().await;
                stream.deadline().disarm(Side::Read);
                match woken {
                    Ok(()) => false,
                    Err(error) => break Ending::of(&error, &buffer),
                }
            }
            Err(error) => break Ending::of(&error, &buffer),
        };
    };
    // It is rare, and what it takes is no part of what every request holds.
    Err(Box::pin(refuse(on, started, ending)).await)
}

/// Whether these bytes are of no request yet: old clients send an empty line too many after a body (RFC 9112 §2.2).
fn begins_nothing(bytes: &[u8]) -> bool {
    matches!(bytes, b"" | b"\r" | b"\r\n")
}

/// Why there is no head.
enum Ending {
    Malformed(Reject),
    Closed,
    Reset,
    TooSlow,
    Quiet,
}

impl Ending {
    fn of(error: &std::io::Error, so_far: &[u8]) -> Self {
        match error.kind() {
            _ if begins_nothing(so_far) => Self::Quiet,
            std::io::ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::Reset,
        }
    }
}

/// Says no where somebody can still hear it, and files the record.
async fn refuse(on: On<'_>, started: Now, ending: Ending) -> Next {
    let mut entry = Entry::begin(on.connection, started);
    entry.record.outcome = match ending {
        Ending::Malformed(reject) => malformed::request(reject),
        Ending::TooSlow => Outcome::HeadTimeout,
        Ending::Closed => Outcome::ClientClosed,
        Ending::Reset => Outcome::ClientReset,
        Ending::Quiet => {
            // Nothing of a request ever came: a connection that was opened and left is no request.
            entry.forget();
            return Next::Close;
        }
    };
    if entry.record.outcome.row().status.is_none() {
        // In order: a reset could take back the reply to a request before this one.
        return Next::Close;
    }
    let detail = match ending {
        Ending::Malformed(reject) => Some(reject.name()),
        _ => None,
    };
    reply::refuse_unparsed(on.connection, Channel::Http1(on.stream), &mut entry, detail).await;
    Next::Close
}

/// Files the record of a first line that is of no protocol spoken here: it is not answered, because nobody would understand it.
pub(super) fn note_foreign(connection: &Connection) {
    let mut entry = Entry::begin(connection, ringway_rt::now());
    entry.record.outcome = malformed::request(Reject::RequestLine);
    entry.detail = Reject::RequestLine.name();
}

/// Ends our side and reads on for a while: a peer that is still sending must not lose our reply to the
/// reset that closing with unread bytes would send (RFC 9112 §9.6).
async fn linger(on: On<'_>) {
    let stream = on.stream;
    let began_ns = ringway_rt::now().mono_ns;
    let mut until_ns = began_ns.saturating_add(LINGER_NS_MAX);
    stream.deadline().arm(Side::Write, began_ns.saturating_add(LINGER_SILENCE_NS_MAX));
    if stream.shutdown_write().await.is_err() {
        return;
    }
    // Left behind, it would end the reading.
    stream.deadline().disarm(Side::Write);
    let (mut left, mut reads) = (LINGER_BYTES_MAX, 0u32);
    loop {
        let mut buffer = Buffer::take(Class::K16);
        let read = stream.try_read_append(buffer.vec_mut());
        drop(buffer);
        let now_ns = ringway_rt::now().mono_ns;
        if on.connection.worker.draining() {
            // From the first look on: who goes on sending holds nothing up, either.
            until_ns = until_ns.min(now_ns.saturating_add(LINGER_DRAINING_NS_MAX));
        }
        match read {
            Ok(Some(count)) if count > 0 && count < left && now_ns < until_ns => {
                left -= count;
                reads += 1;
                if reads.is_multiple_of(LINGER_READS_PER_TURN) {
                    ringway_rt::turn().await;
                }
            }
            Ok(None) => {
                stream.deadline().arm(Side::Read, until_ns.min(now_ns.saturating_add(LINGER_SILENCE_NS_MAX)));
                if stream.readable().await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_waits_with_a_small_future() {
        fn bytes_of<F>(_: fn(On<'static>, Option<Buffer>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes_of(serve) <= 512, "{}", bytes_of(serve));
    }

    #[test]
    fn what_serves_requests_stays_in_a_cheap_size_class() {
        fn bytes_of<F>(_: fn(On<'static>, Option<Buffer>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes_of(requests) <= 8192, "{}", bytes_of(requests));
    }
}
