//! A connection to an endpoint, whatever is spoken on it: opened when it is needed, used again while it lasts.

mod http1;
mod websocket;

use ringway_rt::now;
use ringway_transport::{self as transport, Stream, TlsFailure};

use crate::failure::Failure;
use crate::plan::{Endpoint, Plan, Protocol, Target};

use http1::Http1;
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

/// A place for one connection to one endpoint.
pub(crate) struct Link {
    endpoint: usize,
    connection: Option<Connection>,
    served: u64,
}

impl Link {
    /// A place for a connection to the endpoint of this number; nothing is opened.
    pub(crate) fn new(endpoint: usize) -> Self {
        Self { endpoint, connection: None, served: 0 }
    }

    /// Requests that the present connection has served.
    pub(crate) fn served(&self) -> u64 {
        self.served
    }

    /// Whether a connection stands, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the connection still stands and nothing has come on it. What has come is lost.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.connection {
            None => false,
            Some(Connection::Http1(http1)) => http1.stream().is_quiet(),
            Some(Connection::WebSocket(socket)) => socket.stream().is_quiet(),
        }
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        self.connection = None;
        self.served = 0;
    }

    /// Opens a connection in place of the one that there may be. The second value: how long it took, in nanoseconds.
    pub(crate) async fn open(&mut self, plan: &Plan) -> (Result<(), NotOpened>, u64) {
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
    let io = ringway_rt::Stream::connect(endpoint.address, deadline_ns).await.map_err(|error| {
        let text = format!("cannot connect to {}: {error}", endpoint.address);
        NotOpened::new(Failure::of_connect(&error), text)
    })?;
    let stream = match &endpoint.tls {
        None => Stream::Plain(io),
        Some((name, tls)) => {
            let shaken = transport::connect(io, tls, name, deadline_ns).await;
            shaken
                .map_err(|failure: TlsFailure| {
                    let text = format!("no TLS with {name}: {failure} ({})", failure.hint());
                    NotOpened::new(Failure::Tls, text)
                })?
                .0
        }
    };
    match plan.protocol {
        Protocol::Http1 => Ok(Connection::Http1(Http1::new(stream))),
        Protocol::WebSocket => WebSocket::shake(stream, plan, deadline_ns).await.map(Connection::WebSocket),
    }
}
