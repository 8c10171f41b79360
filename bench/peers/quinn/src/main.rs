//! A minimal HTTP/3 proxy on quinn, h3 and hyper, one thread.
//!
//! `bench-quinn PORT ENDPOINT CHAIN KEY`: forwards HTTP/3 requests without a body to the endpoint over kept HTTP/1.1
//! connections, adds `X-Forwarded-For`, and does nothing else.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use h3::server::RequestResolver;
use http_body_util::{BodyExt, Empty};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;
type Upstream = Client<HttpConnector, Empty<Bytes>>;

fn main() -> Result<(), Failure> {
    // Another proxy of this workspace brings a second provider along, and then there is no default.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, endpoint, chain, key] = arguments.as_slice() else {
        return Err("port, endpoint, chain and key are wanted".into());
    };
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let settings = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let (port, endpoint) = (port.parse()?, endpoint.parse()?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(port, endpoint, settings))
}

async fn serve(port: u16, endpoint: u16, settings: quinn::ServerConfig) -> Result<(), Failure> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(connector);
    let listener = quinn::Endpoint::server(settings, (Ipv4Addr::LOCALHOST, port).into())?;
    while let Some(incoming) = listener.accept().await {
        let upstream = upstream.clone();
        tokio::spawn(async move {
            // What breaks a connection is the load's to count.
            let _ = converse(incoming, upstream, endpoint).await;
        });
    }
    Ok(())
}

async fn converse(incoming: quinn::Incoming, upstream: Upstream, endpoint: u16) -> Result<(), Failure> {
    let connection = incoming.await?;
    let client = HeaderValue::from_str(&connection.remote_address().ip().to_string())?;
    let mut connection = h3::server::Connection::new(h3_quinn::Connection::new(connection)).await?;
    while let Some(request) = connection.accept().await? {
        let (upstream, client) = (upstream.clone(), client.clone());
        tokio::spawn(async move {
            let _ = forward(request, upstream, endpoint, client).await;
        });
    }
    Ok(())
}

async fn forward(
    request: RequestResolver<h3_quinn::Connection, Bytes>,
    upstream: Upstream,
    endpoint: u16,
    client: HeaderValue,
) -> Result<(), Failure> {
    let (request, mut stream) = request.resolve_request().await?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut forwarded = Request::get(format!("http://127.0.0.1:{endpoint}{path}")).body(Empty::new())?;
    *forwarded.headers_mut() = request.headers().clone();
    if let Some(authority) = request.uri().authority() {
        forwarded.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    forwarded.headers_mut().insert("x-forwarded-for", client);
    let (parts, mut body) = upstream.request(forwarded).await?.into_parts();
    let mut reply = Response::builder().status(parts.status).body(())?;
    *reply.headers_mut() = parts.headers;
    reply.headers_mut().remove(CONNECTION);
    stream.send_response(reply).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            stream.send_data(data).await?;
        }
    }
    Ok(stream.finish().await?)
}
