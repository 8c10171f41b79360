//! A downstream connection from accept to close: TLS, then one protocol's shell.

mod http1;
mod http2;
mod http3;

use self::http1::Http1;
pub(crate) use self::http1::Next;
use self::http2::{Http2, Spoken};
use self::http3::Http3;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_record::metrics::Metric;
use ringway_snapshot::model::Protocols;
use ringway_transport::{Alpn, Handshake, QuicConnection, Receiver, Sender, ServerTls, Stream};
use ringway_wire::buffer::Buffer;
use ringway_wire::http2::is_of_neither;
use ringway_wire::told::Standing;

use crate::generation::Generation;
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
    /// The name in the ClientHello, where requests of other hosts may come as well: on HTTP/2 and HTTP/3.
    server_name: Option<Box<str>>,
    /// The head of the request in progress did not come at once: when it began says nothing of now.
    head_waited: Cell<bool>,
    /// When the last request ended; 0 when nobody read the clock then.
    rests_since_ns: Cell<u64>,
    /// What upstreams are told alike of each of its requests, while they come: a connection that rests has no need of it.
    pub(crate) standing: RefCell<Option<Box<Standing>>>,
}

/// What is one protocol's alone.
enum Shell {
    Http1(Http1),
    Http2(Http2),
    Http3(Http3),
}

/// How one request is read and answered.
pub(crate) enum Channel<'c> {
    /// In turn with the connection's other requests, on its bytes.
    Http1(&'c Stream),
    /// On a stream of its own. Its halves are large, and most requests have none.
    Message(Box<Receiver>, Box<Sender>),
}

impl Channel<'_> {
    fn message(receiver: impl Into<Receiver>, sender: Sender) -> Self {
        Self::Message(Box::new(receiver.into()), Box::new(sender))
    }
}

impl Connection {
    fn new(
        worker: Rc<Worker>,
        peer: SocketAddr,
        configured: SocketAddr,
        tls: bool,
        shell: Shell,
        server_name: Option<Box<str>>,
    ) -> Self {
        Self {
            worker,
            peer,
            configured,
            tls,
            shell,
            server_name,
            head_waited: Cell::new(false),
            rests_since_ns: Cell::new(0),
            standing: RefCell::default(),
        }
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether a request for this host belongs on another connection: by itself it would have been given another certificate, or
    /// another policy for clients' certificates, than this one was. Asked on HTTP/2 and HTTP/3, where connections are shared.
    pub(crate) fn is_misdirected(&self, host: &[u8], generation: &Generation) -> bool {
        let named = self.server_name.as_deref();
        if !self.tls || named.is_some_and(|name| name.as_bytes() == host) {
            return false;
        }
        let Some((_, Some(tls))) = generation.listener(self.configured) else { return false };
        let host = host.strip_suffix(b".").unwrap_or(host);
        std::str::from_utf8(host).is_ok_and(|host| !tls.may_carry(named, host))
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
            Shell::Http2(_) | Shell::Http3(_) => {}
        }
    }

    /// Ends the wait for another request: the worker drains.
    pub(crate) fn end_if_idle(&self, now_ns: u64) {
        match &self.shell {
            Shell::Http1(http1) => http1.end_if_idle(now_ns),
            Shell::Http2(http2) => http2.drain(),
            Shell::Http3(http3) => http3.drain(),
        }
    }

    /// Ends whatever is going on: the drain's deadline has come.
    pub(crate) fn cut(&self, now_ns: u64) {
        match &self.shell {
            Shell::Http1(http1) => http1.cut(now_ns),
            Shell::Http2(http2) => http2.cut(now_ns),
            Shell::Http3(http3) => http3.cut(),
        }
    }
}

/// Strikes the connection out of its worker's list, whatever ends it.
struct Entered {
    worker: Rc<Worker>,
    slot: usize,
}

impl Entered {
    fn of(connection: &Rc<Connection>) -> Self {
        let worker = Rc::clone(&connection.worker);
        Self { slot: worker.enter(connection), worker }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.worker.leave(self.slot);
    }
}

/// Serves an HTTP/3 connection whose handshake is done, to its end.
pub(crate) async fn serve_http3(
    worker: Rc<Worker>,
    admitted: Admitted,
    quic: QuicConnection,
    agreed: Handshake,
    configured: SocketAddr,
) {
    let peer = quic.remote_address();
    let Some(accepting) = http3::accept(&worker, quic) else { return };
    let shell = Shell::Http3(Http3::new(&accepting));
    let connection = Rc::new(Connection::new(worker, peer, configured, true, shell, agreed.server_name));
    let held = Rc::new(Held { _entered: Entered::of(&connection), _admitted: admitted });
    http3::serve(connection, accepting, held).await;
}

/// What an open connection holds of its worker, until its last request has ended.
struct Held {
    _entered: Entered,
    _admitted: Admitted,
}

/// What is known of a connection before its first byte.
pub(crate) struct Accepted {
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The listener, as its definition names it.
    pub(crate) configured: SocketAddr,
    /// Its TLS, if it has it.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// What it speaks.
    pub(crate) protocols: Protocols,
}

/// Serves a connection that was just accepted.
pub(crate) fn serve(
    worker: Rc<Worker>,
    admitted: Admitted,
    socket: ringway_rt::Stream,
    accepted: Accepted,
) -> impl Future<Output = ()> + 'static {
    // What finds out what is spoken is large, and ends with it: the task of a connection that waits for hours has no room for it.
    let begun = Box::pin(begin(worker, admitted, socket, accepted));
    async move {
        let Some(begun) = begun.await else { return };
        let Begun { connection, _held, rest } = begun;
        if let Shell::Http1(http1) = &connection.shell {
            http1.serve(&connection, rest).await;
        }
    }
}

/// An HTTP/1 connection that is ready for its first request.
struct Begun {
    connection: Rc<Connection>,
    _held: Held,
    /// What it has sent already.
    rest: Option<Buffer>,
}

/// Finds out what a connection speaks. `None`: nothing, or what has tasks of its own.
async fn begin(
    worker: Rc<Worker>,
    admitted: Admitted,
    socket: ringway_rt::Stream,
    accepted: Accepted,
) -> Option<Begun> {
    worker.count(Metric::ConnectionsAccepted);
    let Accepted { peer, configured, tls, protocols } = accepted;
    let (stream, agreed) = tls::accept(&worker, socket, tls).await?;
    let (spoken, server_name) = match agreed {
        Some(agreed) if agreed.alpn == Some(Alpn::Http2) => (Some(None), agreed.server_name),
        Some(agreed) => (None, agreed.server_name),
        None if protocols.http2 => match hear(&worker, &stream).await {
            Spoken::Http2(rest) => (Some(Some(rest)), None),
            Spoken::Http1(rest) if protocols.http1 && is_of_neither(&rest) => {
                http1::note_foreign(
                    &Begun::http1(worker, admitted, stream, peer, configured, None).connection,
                );
                return None;
            }
            Spoken::Http1(rest) if protocols.http1 => {
                return Some(Begun::http1(worker, admitted, stream, peer, configured, Some(rest)));
            }
            // Whoever speaks nothing that is spoken here.
            Spoken::Http1(_) | Spoken::Nothing => return None,
        },
        None => (None, None),
    };
    let Some(rest) = spoken else {
        return Some(Begun::http1(worker, admitted, stream, peer, configured, None));
    };
    let tls = stream.is_tls();
    let accepting = http2::accept(&worker, stream, rest)?;
    let shell = Shell::Http2(Http2::new(&accepting));
    let connection = Rc::new(Connection::new(worker, peer, configured, tls, shell, server_name));
    let held = Rc::new(Held { _entered: Entered::of(&connection), _admitted: admitted });
    http2::serve(connection, accepting, held);
    None
}

/// Waits for what a plain connection speaks.
async fn hear(worker: &Worker, stream: &Stream) -> Spoken {
    let Some(pinned) = worker.pinned() else { return Spoken::Nothing };
    let patience_ns = pinned.generation.head_read_ns_max;
    drop(pinned);
    http2::listen(stream, ringway_rt::now().mono_ns.saturating_add(patience_ns)).await
}

impl Begun {
    fn http1(
        worker: Rc<Worker>,
        admitted: Admitted,
        stream: Stream,
        peer: SocketAddr,
        configured: SocketAddr,
        rest: Option<Buffer>,
    ) -> Self {
        let tls = stream.is_tls();
        let shell = Shell::Http1(Http1::new(stream));
        let connection = Rc::new(Connection::new(worker, peer, configured, tls, shell, None));
        let _held = Held { _entered: Entered::of(&connection), _admitted: admitted };
        Self { connection, _held, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_waiting_connection_is_small() {
        fn bytes_of<F>(_: fn(Rc<Worker>, Admitted, ringway_rt::Stream, Accepted) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes_of(serve) <= 488, "{}", bytes_of(serve));
    }
}
