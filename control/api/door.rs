//! Where nodes of other hosts come in: TLS 1.3, in which both sides show certificates of the cluster's own authority.
//!
//! A connection without a certificate is let in for an enrolment alone: such connections are few and short. Handshakes run
//! beside each other, bounded in number and time.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::node::{Caller, router};
use super::{Service, now_unix_ms};
use crate::app::App;
use crate::authority::node_of;
use crate::limits::{NODE_CONNECTIONS_MAX, NODE_HEAD_MS_MAX, STRANGER_MS_MAX, STRANGERS_MAX};

/// Control's certificate is made anew when it is older than this; it is good for a month.
const OWN_MS: u64 = 24 * 3_600_000;
/// Between two attempts to accept while there is no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening socket, not served yet.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Door {
    /// Listens.
    ///
    /// # Errors
    /// The system's.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the daemon ends.
    pub async fn serve(self, service: Service) {
        let acceptor = match acceptor(&service.app) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                tracing::error!(%error, "gateways of other hosts are not served");
                return;
            }
        };
        let (places, strangers) =
            (Arc::new(Semaphore::new(NODE_CONNECTIONS_MAX)), Arc::new(Semaphore::new(STRANGERS_MAX)));
        let mut ending = service.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            let Ok((stream, from)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Who finds no place is not kept waiting: it tries again by itself.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (acceptor, service, strangers) = (acceptor.clone(), service.clone(), Arc::clone(&strangers));
            tokio::spawn(connection(acceptor, service, stream, from, place, strangers));
        }
    }
}

async fn connection(
    acceptor: TlsAcceptor,
    service: Service,
    stream: TcpStream,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
    strangers: Arc<Semaphore>,
) {
    let patience = Duration::from_millis(STRANGER_MS_MAX);
    let stream = match tokio::time::timeout(patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Anybody can do this: it is for whoever looks for the reason of one node.
            tracing::debug!(%from, %error, "handshake of a gateway failed");
            return;
        }
        Err(_) => return,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = match certificate.map(node_of) {
        Some(Some(node)) => Caller::Node(node),
        Some(None) => return,
        None => Caller::Stranger,
    };
    let stranger = if caller == Caller::Stranger { Some(strangers.try_acquire_owned()) } else { None };
    if matches!(stranger, Some(Err(_))) {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(NODE_HEAD_MS_MAX));
    let (mut ending, is_stranger) = (service.ending.clone(), stranger.is_some());
    let served = TowerToHyperService::new(router(service, caller));
    let serving = builder.serve_connection(TokioIo::new(stream), served);
    let until = async {
        if is_stranger {
            tokio::time::sleep(patience).await;
        } else {
            // An error means that the sender is gone, which is the end too.
            ending.wait_for(|ending| *ending).await.ok();
            // Long polls are answered first.
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::debug!(%from, %error, "connection of a gateway broke");
            }
        }
        () = until => {}
    }
}

fn acceptor(app: &Arc<App>) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(app.authority().certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let own = Own { app: Arc::clone(app), made: Mutex::default() };
    // Made once now, so that an authority that cannot issue is an error at the start.
    own.key(now_unix_ms()).ok_or("the authority does not issue")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Control's certificate, made anew each day.
#[derive(Debug)]
struct Own {
    app: Arc<App>,
    made: Mutex<Option<(u64, Arc<CertifiedKey>)>>,
}

impl Own {
    fn key(&self, now_unix_ms: u64) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = made.as_ref().filter(|(at, _)| now_unix_ms.saturating_sub(*at) < OWN_MS) {
            return Some(Arc::clone(key));
        }
        let (certificate, key) = self.app.authority().own(now_unix_ms).ok()?;
        let key = aws_lc_rs::sign::any_supported_type(&key).ok()?;
        // The authority's own comes with it: who is to be enrolled knows nothing of it but its hash.
        let chain = vec![certificate, self.app.authority().certificate().clone()];
        let key = Arc::new(CertifiedKey::new(chain, key));
        *made = Some((now_unix_ms, Arc::clone(&key)));
        Some(key)
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key(now_unix_ms())
    }
}
