//! A connection to an endpoint, whatever is spoken on it: opened when it is needed, used again while it lasts.

mod http1;
mod multiplex;
mod websocket;

use std::rc::Rc;

use ringway_rt::now;
use ringway_transport::{self as transport, Alpn, Stream, TlsFailure};

use crate::failure::Failure;
use crate::plan::{Endpoint, Plan, Protocol, Target};

use http1::Http1;
pub(crate) use multiplex::{Callers, Place};
use websocket::WebSocket;

/// What became of a request.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    /// The reply's status; 0 without a whole reply. A WebSocket echo has that of its handshake, 101.
    pub(crate) status: u16,
    /// What was wrong, if anything.
    pub(crate) failure: Option<Failure>,
    /// Bytes sent.
    pub(crate) bytes_out: u64,
    /// Bytes received.
    pub(crate) bytes_in: u64,
    /// Connections opened for it.
    pub(crate) opened: u32,
    /// How long the last of these took.
    pub(crate) connecting_ns: u64,
    /// It was sent twice, because the kept connection had been closed meanwhile.
    pub(crate) resent: bool,
}

/// A whole reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// What the checks say.
    pub(crate) failure: Option<Failure>,
    pub(crate) bytes_in: u64,
    /// Whether the connection can be used again.
    pub(crate) persistent: bool,
}

/// No whole reply. The connection is of no use any more.
pub(crate) struct Broken {
    pub(crate) failure: Failure,
    /// Not one byte of a reply came: a kept connection that the peer has closed looks like this.
    pub(crate) silent: bool,
}

impl Broken {
    pub(crate) fn by(error: &std::io::Error, silent: bool) -> Self {
        Self { failure: Failure::of_stream(error), silent }
    }
}

/// Why a connection could not be opened.
pub(crate) struct NotOpened {
    pub(crate) failure: Failure,
    /// For people.
    pub(crate) text: String,
}

impl NotOpened {
    pub(crate) fn new(failure: Failure, text: String) -> Self {
        Self { failure, text }
    }
}

/// What is spoken, with its state.
enum Connection {
    Http1(Http1),
    WebSocket(WebSocket),
}

/// A lane's way to one endpoint: a connection of its own, or a place on one that lanes share.
pub(crate) struct Link {
    endpoint: usize,
    connection: Option<Connection>,
    served: u64,
    shared: Option<Rc<Place>>,
}

impl Link {
    /// For a connection of its own to the endpoint of this number; nothing is opened.
    pub(crate) fn new(endpoint: usize) -> Self {
        Self { endpoint, connection: None, served: 0, shared: None }
    }

    /// On a connection that is shared.
    pub(crate) fn sharing(endpoint: usize, place: Rc<Place>) -> Self {
        Self { endpoint, connection: None, served: 0, shared: Some(place) }
    }

    /// Whether others send on the connection as well.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Requests that the present connection has served.
    pub(crate) fn served(&self) -> u64 {
        self.shared.as_ref().map_or(self.served, |place| place.served())
    }

    /// Whether a connection stands, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.as_ref().map_or(self.connection.is_some(), |place| place.is_open())
    }

    /// Whether the connection still stands and nothing has come on it. What has come is lost.
    pub(crate) fn is_quiet(&self) -> bool {
        match (&self.shared, &self.connection) {
            (Some(place), _) => place.is_open(),
            (None, None) => false,
            (None, Some(Connection::Http1(http1))) => http1.stream().is_quiet(),
            (None, Some(Connection::WebSocket(socket))) => socket.stream().is_quiet(),
        }
    }

    /// Closes the connection. One that is shared takes no more requests, and those on it go on.
    pub(crate) fn close(&mut self) {
        self.connection = None;
        self.served = 0;
        if let Some(place) = &self.shared {
            place.close();
        }
    }

    /// Opens a connection in place of the one that there may be. The second value: how long it took, in nanoseconds.
    pub(crate) async fn open(&mut self, plan: &Plan) -> (Result<(), NotOpened>, u64) {
        if let Some(place) = &self.shared {
            return place.open(plan).await;
        }
        self.close();
        let begin_ns = now().mono_ns;
        let deadline_ns = begin_ns + plan.connect_timeout_ns;
        let opened = match plan.endpoints.get(self.endpoint) {
            Some(endpoint) => open(plan, endpoint, deadline_ns).await,
            None => Err(NotOpened::new(Failure::Connect, "no endpoint of this number".to_owned())),
        };
        let took_ns = now().mono_ns - begin_ns;
        (opened.map(|connection| self.connection = Some(connection)), took_ns)
    }

    /// Sends a request and reads its reply, opening a connection where there is none. A request that may be repeated is,
    /// once, when the connection that it was sent on turns out to have been closed meanwhile (RFC 9112 §9.3.1).
    pub(crate) async fn exchange(
        &mut self,
        plan: &Plan,
        target: &Target,
        bytes: &[u8],
        deadline_ns: u64,
    ) -> Outcome {
        if let Some(place) = &self.shared {
            return place.exchange(plan, target, bytes, deadline_ns).await;
        }
        let mut outcome = Outcome::default();
        let mut may_repeat = self.served > 0 && target.request.method.is_idempotent();
        loop {
            if self.connection.is_none() {
                let (opened, took_ns) = self.open(plan).await;
                outcome.connecting_ns = took_ns;
                if let Err(why) = opened {
                    outcome.failure = Some(why.failure);
                    return outcome;
                }
                outcome.opened += 1;
            }
            outcome.bytes_out += bytes.len() as u64;
            let exchanged = match &mut self.connection {
                Some(Connection::Http1(http1)) => http1.exchange(target, bytes, deadline_ns).await,
                Some(Connection::WebSocket(socket)) => socket.echo(deadline_ns, &mut outcome.bytes_out).await,
                None => return outcome,
            };
            match exchanged {
                Ok(reply) => {
                    outcome.status = reply.status;
                    outcome.failure = reply.failure;
                    outcome.bytes_in += reply.bytes_in;
                    self.served += 1;
                    if !reply.persistent {
                        self.close();
                    }
                    return outcome;
                }
                Err(broken) => {
                    self.close();
                    let stale = broken.silent && matches!(broken.failure, Failure::Closed | Failure::Reset);
                    if !(stale && std::mem::take(&mut may_repeat)) {
                        outcome.failure = Some(broken.failure);
                        return outcome;
                    }
                    outcome.resent = true;
                }
            }
        }
    }
}

async fn open(plan: &Plan, endpoint: &Endpoint, deadline_ns: u64) -> Result<Connection, NotOpened> {
    let (stream, _) = open_stream(endpoint, deadline_ns).await?;
    match plan.protocol {
        Protocol::WebSocket => WebSocket::shake(stream, plan, deadline_ns).await.map(Connection::WebSocket),
        _ => Ok(Connection::Http1(Http1::new(stream))),
    }
}

/// A TCP connection, with TLS where the endpoint has it: then also what was agreed to be spoken.
async fn open_stream(endpoint: &Endpoint, deadline_ns: u64) -> Result<(Stream, Option<Alpn>), NotOpened> {
    let io = ringway_rt::Stream::connect(endpoint.address, deadline_ns).await.map_err(|error| {
        let text = format!("cannot connect to {}: {error}", endpoint.address);
        NotOpened::new(Failure::of_connect(&error), text)
    })?;
    let Some((name, tls)) = &endpoint.tls else { return Ok((Stream::Plain(io), None)) };
    let shaken = transport::connect(io, tls, name, deadline_ns).await;
    let (stream, handshake) = shaken.map_err(|failure: TlsFailure| {
        let text = format!("no TLS with {name}: {failure} ({})", failure.hint());
        NotOpened::new(Failure::Tls, text)
    })?;
    Ok((stream, handshake.alpn))
}
