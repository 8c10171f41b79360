//! Accepting: one loop per listener and worker. The kernel spreads connections over the reuseport group.

use std::net::SocketAddr;
use std::rc::Rc;

use ringway_record::metrics::Metric;

use crate::connection;
use crate::worker::Worker;

/// Accepts until the listener is stopped. `configured` is the definition's address, which may differ
/// from the bound one in its port.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<ringway_rt::Listener>, configured: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connections_max =
                    worker.pinned().map_or(u32::MAX, |pinned| pinned.generation.settings.connections_max);
                if worker.open_connections() >= connections_max {
                    worker.count(Metric::ConnectionsRefused);
                    stream.abort();
                    continue;
                }
                ringway_rt::spawn(connection::serve(Rc::clone(&worker), stream, peer, configured));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => break,
            Err(error) => {
                tracing::error!(%configured, %error, "accepting failed; the listener is given up");
                return;
            }
        }
    }
    // What the kernel has accepted for us already would be reset with the socket.
    while let Ok(Some((stream, peer))) = listener.try_accept() {
        ringway_rt::spawn(connection::serve(Rc::clone(&worker), stream, peer, configured));
    }
}
