//! TLS of an accepted connection, with the certificates of the generation of the moment.

use std::rc::Rc;
use std::sync::Arc;

use ringway_record::metrics::Metric;
use ringway_transport::{Handshake, ServerTls, Stream};

use crate::worker::Worker;

/// Makes the stream of an accepted socket: with TLS, and what was agreed, where its listener has it. `None`: there is nobody to
/// serve any more.
pub(crate) async fn accept(
    worker: &Rc<Worker>,
    socket: ringway_rt::Stream,
    tls: Option<Arc<ServerTls>>,
) -> Option<(Stream, Option<Handshake>)> {
    let Some(tls) = tls else { return Some((Stream::Plain(socket), None)) };
    let pinned = worker.pinned()?;
    let patience_ns = u64::from(pinned.generation.settings.tls_handshake_ms_max) * 1_000_000;
    drop(pinned);
    let until_ns = ringway_rt::now().mono_ns.saturating_add(patience_ns);
    match Box::pin(ringway_transport::accept(socket, &tls, until_ns)).await {
        Ok((stream, handshake)) => {
            worker.count(Metric::TlsHandshakes);
            if handshake.resumed {
                worker.count(Metric::TlsHandshakesResumed);
            }
            Some((stream, Some(handshake)))
        }
        Err(refused) => {
            worker.count(Metric::TlsHandshakesFailed);
            tracing::debug!(
                failure = refused.failure.name(),
                name = refused.server_name,
                "TLS handshake failed"
            );
            None
        }
    }
}
