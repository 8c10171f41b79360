//! A minimal proxy on Pingora, one thread without work stealing.
//!
//! `bench-pingora PORT ENDPOINT [CHAIN KEY]`: HTTP/1.1 in plain text, or HTTP/1.1 and HTTP/2 over TLS. It forwards to the
//! endpoint over kept connections and adds `X-Forwarded-For`.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, ProxyHttp, RequestHeader, Result, Server, Session, http_proxy_service};
use pingora::server::configuration::{Opt, ServerConf};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Forward {
    endpoint: u16,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _state: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(("127.0.0.1", self.endpoint), false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(600));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _state: &mut (),
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|client| client.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.first().ok_or("a port is wanted")?;
    let endpoint: u16 = arguments.get(1).ok_or("an endpoint is wanted")?.parse()?;
    let settings = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, settings);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward { endpoint });
    let address = format!("127.0.0.1:{port}");
    match (arguments.get(2), arguments.get(3)) {
        (Some(chain), Some(key)) => {
            let mut tls = TlsSettings::intermediate(chain, key)?;
            tls.enable_h2();
            service.add_tls_with_settings(&address, None, tls);
        }
        _ => service.add_tcp(&address),
    }
    server.add_service(service);
    server.run_forever()
}
