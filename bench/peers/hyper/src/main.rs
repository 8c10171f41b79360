//! A minimal proxy on hyper and tokio, one thread: what a Rust proxy costs that is written in an afternoon.
//!
//! `bench-hyper PORT ENDPOINT [CHAIN KEY]`: HTTP/1.1 in plain text, or HTTP/1.1 and HTTP/2 over TLS. It forwards to the
//! endpoint over kept connections, drops connection fields, adds `X-Forwarded-For`, and does nothing else.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue, TE, UPGRADE};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;
type Upstream = Client<HttpConnector, Incoming>;

fn main() -> Result<(), Failure> {
    // Another proxy of this workspace brings a second provider along, and then there is no default.
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = arguments.first().ok_or("a port is wanted")?.parse()?;
    let endpoint: u16 = arguments.get(1).ok_or("an endpoint is wanted")?.parse()?;
    let tls = match (arguments.get(2), arguments.get(3)) {
        (Some(chain), Some(key)) => Some(acceptor(chain, key)?),
        _ => None,
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port, endpoint, tls))
}

fn acceptor(chain: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut settings = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    settings.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(settings)))
}

async fn serve(port: u16, endpoint: u16, tls: Option<TlsAcceptor>) -> Result<(), Failure> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(connector);
    let authority: Authority = format!("127.0.0.1:{endpoint}").parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let forwarded = HeaderValue::from_str(&peer.ip().to_string())?;
        let (upstream, authority, tls) = (upstream.clone(), authority.clone(), tls.clone());
        tokio::spawn(async move {
            // What breaks a connection is the load's to count.
            let _ = converse(stream, tls, upstream, authority, forwarded).await;
        });
    }
}

async fn converse(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    upstream: Upstream,
    authority: Authority,
    forwarded: HeaderValue,
) -> Result<(), Failure> {
    let service =
        service_fn(move |request| forward(request, upstream.clone(), authority.clone(), forwarded.clone()));
    let http1 = hyper::server::conn::http1::Builder::new();
    let Some(tls) = tls else {
        return Ok(http1.serve_connection(TokioIo::new(stream), service).await?);
    };
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        return Ok(http2.serve_connection(TokioIo::new(stream), service).await?);
    }
    Ok(http1.serve_connection(TokioIo::new(stream), service).await?)
}

async fn forward(
    mut request: Request<Incoming>,
    upstream: Upstream,
    authority: Authority,
    forwarded: HeaderValue,
) -> Result<Response<Incoming>, Failure> {
    let host = request.uri().authority().map(|name| HeaderValue::from_str(name.as_str())).transpose()?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts)?;
    *request.version_mut() = Version::HTTP_11;
    let fields = request.headers_mut();
    for name in [CONNECTION, TE, UPGRADE] {
        fields.remove(name);
    }
    if let Some(host) = host {
        fields.insert(HOST, host);
    }
    fields.insert("x-forwarded-for", forwarded);
    let mut response = upstream.request(request).await?;
    for name in [CONNECTION, TE, UPGRADE] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}
