//! Accepting: one loop per listener and worker. The kernel spreads connections over the reuseport group.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_record::metrics::Metric;
use ringway_snapshot::model::Protocols;
use ringway_transport::ServerTls;

use crate::connection::{self, Accepted};
use crate::node::BACKLOG;
use crate::worker::Worker;

/// Accepts until the listener is stopped. `configured` is the definition's address, which may differ
/// from the bound one in its port.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<ringway_rt::Listener>, configured: SocketAddr) {
    let mut known = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => take_in(&worker, stream, peer, configured, &mut known),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => break,
            Err(error) => {
                tracing::error!(%configured, %error, "accepting failed; the listener is given up");
                return;
            }
        }
    }
    // What the kernel has accepted for us already would be reset with the socket. Whoever floods the address meanwhile must not keep the
    // worker here for ever: so many can have waited, and no more.
    for _ in 0..BACKLOG {
        let Ok(Some((stream, peer))) = listener.try_accept() else { break };
        take_in(&worker, stream, peer, configured, &mut known);
    }
    listener.close();
}

/// Starts serving a connection, unless there are too many. `known` is the listener as it was last defined: a listener that
/// was just taken out of the definitions still serves whom the kernel had accepted for it.
fn take_in(
    worker: &Rc<Worker>,
    stream: ringway_rt::Stream,
    peer: SocketAddr,
    configured: SocketAddr,
    known: &mut Option<(Protocols, Option<Arc<ServerTls>>)>,
) {
    let Some(pinned) = worker.pinned() else { return };
    if let Some((listener, tls)) = pinned.generation.listener(configured) {
        *known = Some((listener.protocols, tls.cloned()));
    }
    let Some((protocols, tls)) = known.clone() else { return };
    if worker.open_connections() >= pinned.generation.settings.connections_max || worker.memory_is_full() {
        worker.count(Metric::ConnectionsRefused);
        return stream.abort();
    }
    let admitted = worker.admit();
    let accepted = Accepted { peer, configured, tls, protocols };
    ringway_rt::spawn(connection::serve(Rc::clone(worker), admitted, stream, accepted));
}
