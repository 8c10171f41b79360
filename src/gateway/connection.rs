//! A downstream connection from accept to close: TLS, then one protocol's shell.

mod http1;

use self::http1::Http1;
pub(crate) use self::http1::Next;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_record::metrics::Metric;
use ringway_transport::{QuicConnection, Receiver, Sender, ServerTls, Stream};

use crate::tls;
use crate::worker::{Admitted, Worker};

/// An open connection: what its requests share, whatever its protocol.
pub(crate) struct Connection {
    /// Whose it is.
    pub(crate) worker: Rc<Worker>,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The listener, as its definition names it.
    pub(crate) configured: SocketAddr,
    /// Whether it is TLS.
    pub(crate) tls: bool,
    shell: Shell,
    /// The head of the request in progress did not come at once: when it began says nothing of now.
    head_waited: Cell<bool>,
    /// When the last request ended; 0 when nobody read the clock then.
    rests_since_ns: Cell<u64>,
}

/// What is one protocol's alone.
enum Shell {
    Http1(Http1),
}

/// How one request is read and answered.
pub(crate) enum Channel<'c> {
    /// In turn with the connection's other requests, on its bytes.
    Http1(&'c Stream),
    /// On a stream of its own.
    #[expect(dead_code, reason = "the shells of HTTP/2 and HTTP/3 make it")]
    Message(Receiver, Sender),
}

impl Connection {
    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Notes when the last request ended, so that waiting for the next need not read the clock again.
    pub(crate) fn rests_since(&self, mono_ns: u64) {
        self.rests_since_ns.set(mono_ns);
    }

    /// Whether the head of the request in progress came in more than one read.
    pub(crate) fn head_waited(&self) -> bool {
        self.head_waited.get()
    }

    /// A connection that has been silent since before `before_ns` gives its buffer back.
    pub(crate) fn cool(&self, before_ns: u64) {
        match &self.shell {
            Shell::Http1(http1) => http1.cool(before_ns),
        }
    }

    /// Ends the wait for another request: the worker drains.
    pub(crate) fn end_if_idle(&self, now_ns: u64) {
        match &self.shell {
            Shell::Http1(http1) => http1.end_if_idle(now_ns),
        }
    }

    /// Ends whatever is going on: the drain's deadline has come.
    pub(crate) fn cut(&self, now_ns: u64) {
        match &self.shell {
            Shell::Http1(http1) => http1.cut(now_ns),
        }
    }
}

/// Strikes the connection out of its worker's list, whatever ends it.
struct Entered {
    worker: Rc<Worker>,
    slot: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.worker.leave(self.slot);
    }
}

/// Serves an HTTP/3 connection whose handshake is done, to its end.
pub(crate) async fn serve_http3(
    _worker: Rc<Worker>,
    _admitted: Admitted,
    quic: QuicConnection,
    _configured: SocketAddr,
) {
    // H3_VERSION_FALLBACK (RFC 9114 §8.1): to be asked again over TCP.
    quic.close(0x110u32.into(), b"");
}

/// Serves a connection that was just accepted.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    admitted: Admitted,
    stream: ringway_rt::Stream,
    peer: SocketAddr,
    configured: SocketAddr,
    tls: Option<Arc<ServerTls>>,
) {
    let _admitted = admitted;
    worker.count(Metric::ConnectionsAccepted);
    let Some(stream) = tls::accept(&worker, stream, tls).await else { return };
    let connection = Rc::new(Connection {
        worker,
        peer,
        configured,
        tls: stream.is_tls(),
        shell: Shell::Http1(Http1::new(stream)),
        head_waited: Cell::new(false),
        rests_since_ns: Cell::new(0),
    });
    let worker = Rc::clone(&connection.worker);
    let _entered = Entered { slot: worker.enter(&connection), worker };
    match &connection.shell {
        Shell::Http1(http1) => http1.serve(&connection).await,
    }
}
