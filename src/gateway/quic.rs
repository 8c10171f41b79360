//! Accepting HTTP/3: one endpoint per listener and worker. The kernel steers packets by connection id.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use ringway_record::metrics::Metric;
use ringway_transport::{Arriving, QuicEndpoint, QuicIdentity, QuicTls};

use crate::connection;
use crate::limits::QUIC_RESTART_NS;
use crate::worker::{Admitted, Worker};

/// H3_NO_ERROR (RFC 9114 §8.1): how a connection is closed that has nothing left to do.
const H3_NO_ERROR: u32 = 0x100;

/// A listener's endpoint on this worker.
pub(crate) struct QuicListener {
    /// As the definition names it.
    pub(crate) configured: SocketAddr,
    endpoint: QuicEndpoint,
    /// What new connections are served by.
    tls: RefCell<Arc<QuicTls>>,
    /// What has gone into the metrics: Retries, refusals.
    counted: Cell<(u64, u64)>,
    stopped: Cell<bool>,
    /// Tells the node that the socket is in use.
    _held: Arc<()>,
}

impl QuicListener {
    /// Takes over the worker's socket. None where the listener is gone again, or the socket is refused.
    pub(crate) fn open(
        worker: &Worker,
        configured: SocketAddr,
        socket: UdpSocket,
        held: Arc<()>,
    ) -> Option<Rc<Self>> {
        let tls = Arc::clone(worker.pinned()?.generation.quic(configured)?);
        let identity = QuicIdentity {
            worker: worker.index,
            workers: worker.node.workers(),
            keys: worker.node.state.quic.clone(),
        };
        match QuicEndpoint::new(socket, &identity, &tls) {
            Ok(endpoint) => Some(Rc::new(Self {
                configured,
                endpoint,
                tls: RefCell::new(tls),
                counted: Cell::default(),
                stopped: Cell::new(false),
                _held: held,
            })),
            Err(error) => {
                tracing::error!(%configured, %error, "UDP socket not taken over");
                None
            }
        }
    }

    /// New connections get the certificates of the generation of the moment; open ones keep theirs.
    pub(crate) fn refresh(&self, worker: &Worker) {
        let Some(pinned) = worker.pinned() else { return };
        if let Some(tls) = pinned.generation.quic(self.configured)
            && !Arc::ptr_eq(tls, &self.tls.borrow())
        {
            self.endpoint.set_tls(tls);
            self.tls.replace(Arc::clone(tls));
        }
    }

    /// Refuses newcomers from now on. The endpoint goes when its last connection has.
    pub(crate) fn stop(self: &Rc<Self>) {
        self.stopped.set(true);
        self.endpoint.stop();
        let listener = Rc::clone(self);
        ringway_rt::spawn(async move {
            listener.endpoint.idle().await;
            if listener.stopped.get() {
                listener.endpoint.close(H3_NO_ERROR);
            }
        });
    }

    /// Takes newcomers in again: the listener came back before the last connection had gone.
    pub(crate) fn resume(&self) {
        self.stopped.set(false);
        self.endpoint.resume();
    }

    /// Ends every connection that is left, and waits until `until_ns` (monotonic) for that to be sent.
    pub(crate) async fn close(&self, until_ns: u64) {
        self.stopped.set(true);
        self.endpoint.close(H3_NO_ERROR);
        let _ = ringway_rt::until_ns(until_ns, self.endpoint.idle()).await;
    }

    /// Adds to the metrics what happened since the last time.
    pub(crate) fn report(&self, worker: &Worker) {
        let (counters, counted) = (self.endpoint.counters(), self.counted.get());
        if let Some(shard) = worker.shard() {
            shard.add(Metric::QuicRetries, counters.retried - counted.0);
            shard.add(Metric::ConnectionsRefused, counters.refused - counted.1);
        }
        self.counted.set((counters.retried, counters.refused));
    }
}

/// Accepts until the endpoint is closed.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<QuicListener>) {
    while let Some(arriving) = listener.endpoint.accept().await {
        take_in(&worker, arriving, listener.configured);
    }
    listener.report(&worker);
    worker.forget_quic(&listener);
    if !listener.stopped.get() {
        // Its driver has ended: the socket failed, or the library panicked. Its connections are lost, the listener is not.
        tracing::error!(configured = %listener.configured, "a QUIC endpoint has failed; it is started again");
        drop(listener);
        ringway_rt::sleep_until_ns(ringway_rt::now().mono_ns + QUIC_RESTART_NS).await;
        worker.node.hand_over_datagrams(worker.index);
    }
}

/// Starts serving a client, unless there are too many.
fn take_in(worker: &Rc<Worker>, arriving: Arriving, configured: SocketAddr) {
    let Some(pinned) = worker.pinned() else { return };
    if worker.open_connections() >= pinned.generation.settings.connections_max || worker.memory_is_full() {
        worker.count(Metric::ConnectionsRefused);
        return arriving.refuse();
    }
    let admitted = worker.admit();
    ringway_rt::spawn(serve(Rc::clone(worker), admitted, arriving, configured));
}

async fn serve(worker: Rc<Worker>, admitted: Admitted, arriving: Arriving, configured: SocketAddr) {
    worker.count(Metric::ConnectionsAccepted);
    let Some(pinned) = worker.pinned() else { return };
    let patience_ns = u64::from(pinned.generation.settings.tls_handshake_ms_max) * 1_000_000;
    drop(pinned);
    let until_ns = ringway_rt::now().mono_ns.saturating_add(patience_ns);
    match Box::pin(arriving.handshake(until_ns)).await {
        Ok((quic, agreed)) => {
            worker.count(Metric::TlsHandshakes);
            if agreed.resumed {
                worker.count(Metric::TlsHandshakesResumed);
            }
            connection::serve_http3(worker, admitted, quic, agreed, configured).await;
        }
        Err(refused) => {
            worker.count(Metric::TlsHandshakesFailed);
            tracing::debug!(failure = refused.failure.name(), "QUIC handshake failed");
        }
    }
}
