//! The shell of an HTTP/1.1 connection: waits for a request with nothing but a small future, reads its
//! head, hands it to [`crate::request`] and decides whether another may follow.

use std::io::ErrorKind;
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_rt::{Now, Side};
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::RequestHead;
use ringway_wire::http1::{Parse, parse_request};
use ringway_wire::reject::Reject;

use super::Connection;
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
/// Connections of one worker that wait with a buffer of 4 KiB at once: 2 MiB.
const WARM_CONNECTIONS_MAX: u32 = 512;
/// Bytes that are read and thrown away before a close, so that our last words are not lost to a reset.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// And for how long.
const LINGER_NS_MAX: u64 = 2_000_000_000;

/// Serves requests until the connection ends.
pub(crate) async fn serve(connection: &Rc<Connection>) {
    let mut rest = None;
    let mut first = true;
    let mut pipelined = 0u32;
    loop {
        if rest.is_none() {
            match wait(connection, first).await {
                Woken::Bytes(bytes) => rest = Some(bytes),
                Woken::Readable => {}
                Woken::Ended => return,
            }
            pipelined = 0;
        }
        first = false;
        pipelined += 1;
        if pipelined.is_multiple_of(PIPELINED_PER_TURN) {
            // Requests that are there already and answered by us never make us wait: the others get their turn.
            ringway_rt::turn().await;
        }
        // A request's future is large: it lives only while a request does.
        match Box::pin(one(connection, rest.take())).await {
            Next::Again(bytes) => rest = bytes,
            Next::Close => return linger(connection).await,
            Next::Abort => return connection.stream.reset_on_close(),
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

/// Waits for the first byte of a request: warm for a moment after the last one, which is the cheapest wait, then with
/// nothing but a small future.
async fn wait(connection: &Connection, first: bool) -> Woken {
    let worker = &connection.worker;
    if worker.draining() && !first {
        return last_look(connection);
    }
    let Some(pinned) = worker.pinned() else { return Woken::Ended };
    let settings = &pinned.generation.settings;
    let patience_ms = if first { settings.head_read_ms_max } else { settings.keep_alive_ms };
    drop(pinned);
    let since_ns = match connection.rests_since_ns.take() {
        0 => ringway_rt::now().mono_ns,
        known => known,
    };
    let until_ns = since_ns.saturating_add(u64::from(patience_ms) * 1_000_000);
    connection.idle.set(true);
    connection.stream.deadline().arm(Side::Read, until_ns);
    let woken = match warm(connection, first, since_ns).await {
        Some(woken) => woken,
        None => match connection.stream.readable().await {
            Ok(()) => Woken::Readable,
            Err(_) => last_look(connection),
        },
    };
    connection.stream.deadline().disarm(Side::Read);
    connection.idle.set(false);
    woken
}

/// What came in the moment in which we end the wait: it was sent before its sender could know, and is answered.
fn last_look(connection: &Connection) -> Woken {
    let mut buffer = Buffer::take(Class::K4);
    match connection.stream.try_read_append(buffer.vec_mut()) {
        Ok(Some(count)) if count > 0 => Woken::Bytes(buffer),
        _ => Woken::Ended,
    }
}

/// Waits with a buffer in the kernel's hands. `None`: nothing came for a moment, or there is no ring to wait on.
async fn warm(connection: &Connection, first: bool, since_ns: u64) -> Option<Woken> {
    let worker = &connection.worker;
    if first || connection.is_tls() || worker.warm.get() >= WARM_CONNECTIONS_MAX {
        return None;
    }
    worker.warm.set(worker.warm.get() + 1);
    connection.warm_since_ns.set(since_ns);
    let mut buffer = Buffer::take(Class::K4);
    let read = connection.stream.read_warm(buffer.vec_mut()).await;
    connection.warm_since_ns.set(0);
    worker.warm.set(worker.warm.get().saturating_sub(1));
    match read {
        Ok(0) => Some(Woken::Ended),
        Ok(_) => Some(Woken::Bytes(buffer)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unsupported) => None,
        Err(_) => Some(Woken::Ended),
    }
}

/// Serves one request.
async fn one(connection: &Rc<Connection>, rest: Option<Buffer>) -> Next {
    let started = ringway_rt::now();
    match read_head(connection, rest, started).await {
        Ok(head) => request::serve(connection, head, started).await,
        Err(next) => next,
    }
}

/// Reads a whole head, within its time from its first byte.
async fn read_head(connection: &Connection, rest: Option<Buffer>, started: Now) -> Result<RequestHead, Next> {
    let Some(pinned) = connection.worker.pinned() else { return Err(Next::Close) };
    let limits = pinned.generation.head_limits;
    let until_ns = started.mono_ns.saturating_add(pinned.generation.head_read_ns_max);
    drop(pinned);
    let mut buffer = match rest {
        Some(rest) => rest,
        None => Buffer::take(Class::K4),
    };
    let mut fresh = !buffer.is_empty();
    connection.head_waited.set(false);
    loop {
        if fresh {
            match parse_request(buffer, &limits) {
                Parse::Complete(head) => return Ok(head),
                Parse::Partial(back) => buffer = back,
                Parse::Reject(reject, _) => {
                    return Err(refuse(connection, started, Ending::Malformed(reject)).await);
                }
            }
        }
        if buffer.spare() == 0 {
            buffer = buffer.grown();
        }
        fresh = match connection.stream.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) if buffer.is_empty() => return Err(Next::Close),
            Ok(Some(0)) => return Err(refuse(connection, started, Ending::Closed).await),
            Ok(Some(_)) => true,
            Ok(None) => {
                connection.head_waited.set(true);
                connection.stream.deadline().arm(Side::Read, until_ns);
                let woken = connection.stream.readable().await;
                connection.stream.deadline().disarm(Side::Read);
                match woken {
                    Ok(()) => false,
                    Err(error) => return Err(refuse(connection, started, Ending::of(&error, &buffer)).await),
                }
            }
            Err(error) => return Err(refuse(connection, started, Ending::of(&error, &buffer)).await),
        };
    }
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
            _ if so_far.is_empty() => Self::Quiet,
            std::io::ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::Reset,
        }
    }
}

/// Says no where somebody can still hear it, and files the record.
async fn refuse(connection: &Connection, started: Now, ending: Ending) -> Next {
    let mut entry = Entry::begin(connection, None, started);
    entry.outcome = match ending {
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
    if entry.outcome.row().status.is_none() {
        return Next::Abort;
    }
    let detail = match ending {
        Ending::Malformed(reject) => Some(reject.name()),
        _ => None,
    };
    reply::refuse_unparsed(connection, &mut entry, detail).await;
    Next::Close
}

/// Ends our side and reads on for a moment: a peer that is still sending must not lose our reply to the
/// reset that closing with unread bytes would send.
async fn linger(connection: &Connection) {
    let until_ns = ringway_rt::now().mono_ns.saturating_add(LINGER_NS_MAX);
    connection.stream.deadline().arm(Side::Write, until_ns);
    if connection.stream.shutdown_write().await.is_err() {
        return;
    }
    connection.stream.deadline().arm(Side::Read, until_ns);
    let mut left = LINGER_BYTES_MAX;
    loop {
        let mut buffer = Buffer::take(Class::K16);
        match connection.stream.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(count)) if count >= left => return,
            Ok(Some(count)) => left -= count,
            Ok(None) => {
                drop(buffer);
                if connection.stream.readable().await.is_err() {
                    return;
                }
            }
        }
    }
}
