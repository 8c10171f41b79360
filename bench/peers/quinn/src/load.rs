//! HTTP/3 load on quinn and h3, one thread: closed loop, or open loop by Poisson arrivals. It must not be what is slow: it checks no
//! signature, which would cost it more than the proxy's own share of a handshake does.
//!
//! `bench-quinn-load PORT TARGET CONNECTIONS STREAMS RATE SECONDS CHAIN MODE`: rate 0 is a closed loop; CHAIN is the certificate
//! that must be shown. Modes: `keep` uses the connections over and over; `fresh` makes one for each request, so many at once; `hold` sends
//! one request on each, prints `ready` and how many were answered, and holds them for the seconds given. The other two print one
//! line: completed, failed, seconds, bytes of bodies, and p50, p99, p99.9 in microseconds from the instant at which a request was
//! due.

use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use h3::client::SendRequest;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, sleep_until};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;
type Sender = SendRequest<h3_quinn::OpenStreams, bytes::Bytes>;

/// Name that is asked for.
const HOST: &str = "bench.local";

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Keep,
    Fresh,
    Hold,
}

struct Demand {
    port: u16,
    target: String,
    connections: usize,
    streams: usize,
    rate: f64,
    length: Duration,
    settings: quinn::ClientConfig,
    mode: Mode,
}

#[derive(Default)]
struct Counts {
    latencies_us: Vec<u64>,
    completed: u64,
    failed: u64,
    bytes: u64,
}

/// What all tasks see.
struct Shared {
    demand: Demand,
    counts: RefCell<Counts>,
    started: Instant,
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, connections, streams, rate, seconds, chain, mode] = words.as_slice() else {
        return Err("port, target, connections, streams, rate, seconds, chain and mode are wanted".into());
    };
    let demand = Demand {
        port: port.parse()?,
        target: format!("https://{HOST}{target}"),
        connections: connections.parse()?,
        streams: streams.parse()?,
        rate: rate.parse()?,
        length: Duration::from_secs_f64(seconds.parse()?),
        settings: trusting(chain)?,
        mode: match mode.as_str() {
            "fresh" => Mode::Fresh,
            "hold" => Mode::Hold,
            _ => Mode::Keep,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let line = LocalSet::new().block_on(&runtime, load(demand))?;
    println!("{line}");
    Ok(())
}

async fn load(demand: Demand) -> Result<String, Failure> {
    let (mut senders, mut endpoints, mut drivers) = (Vec::new(), Vec::new(), Vec::new());
    let counts = RefCell::default();
    let mut answered = 0;
    for _ in 0..demand.connections {
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        if demand.mode != Mode::Fresh {
            let (sender, driver) = connect(&endpoint, &demand).await?;
            if demand.mode == Mode::Hold {
                answered += u32::from(answer(sender.clone(), &demand.target, &counts).await?);
            }
            senders.push(sender);
            drivers.push(driver);
        }
        endpoints.push(endpoint);
    }
    let shared = Rc::new(Shared { demand, counts, started: Instant::now() });
    let demand = &shared.demand;
    match (demand.mode, demand.rate > 0.0) {
        (Mode::Hold, _) => {
            println!("ready {answered}");
            sleep(demand.length).await;
            return Ok(String::new());
        }
        (_, true) => drop(spawn_local(open_loop(senders, endpoints.clone(), Rc::clone(&shared)))),
        (Mode::Fresh, false) => {
            for endpoint in &endpoints {
                spawn_local(fresh_loop(endpoint.clone(), Rc::clone(&shared)));
            }
        }
        (Mode::Keep, false) => {
            for sender in senders.iter().flat_map(|sender| std::iter::repeat_n(sender, demand.streams)) {
                spawn_local(closed_loop(sender.clone(), Rc::clone(&shared)));
            }
        }
    }
    sleep_until((shared.started + demand.length).into()).await;
    let seconds = shared.started.elapsed().as_secs_f64();
    let mut counts = shared.counts.borrow_mut();
    counts.latencies_us.sort_unstable();
    let quantile = |part: f64| {
        let at = (counts.latencies_us.len() as f64 * part) as usize;
        counts.latencies_us.get(at.min(counts.latencies_us.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    Ok(format!(
        "{} {} {seconds:.6} {} {} {} {}",
        counts.completed,
        counts.failed,
        counts.bytes,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    ))
}

async fn connect(endpoint: &quinn::Endpoint, demand: &Demand) -> Result<(Sender, JoinHandle<()>), Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, demand.port));
    let connection = endpoint.connect_with(demand.settings.clone(), address, HOST)?.await?;
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driver = spawn_local(async move {
        poll_fn(|cx| driver.poll_close(cx)).await;
    });
    Ok((sender, driver))
}

async fn closed_loop(sender: Sender, shared: Rc<Shared>) {
    loop {
        let due = shared.started.elapsed();
        if due >= shared.demand.length {
            return;
        }
        let answered = shared.answer(sender.clone()).await;
        shared.count(due, answered).await;
    }
}

async fn fresh_loop(endpoint: quinn::Endpoint, shared: Rc<Shared>) {
    loop {
        let due = shared.started.elapsed();
        if due >= shared.demand.length {
            return;
        }
        let answered = once(&endpoint, &shared).await;
        shared.count(due, answered).await;
    }
}

/// A connection, a request, and the end of both.
async fn once(endpoint: &quinn::Endpoint, shared: &Shared) -> Result<bool, Failure> {
    let (sender, driver) = connect(endpoint, &shared.demand).await?;
    let answered = shared.answer(sender).await;
    // The last sender is gone, and with it the connection.
    driver.await?;
    answered
}

async fn open_loop(senders: Vec<Sender>, endpoints: Vec<quinn::Endpoint>, shared: Rc<Shared>) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut due_s = 0.0;
    for number in 0.. {
        // Timers of tokio have a millisecond: closer to the instant it turns.
        loop {
            let left = due_s - shared.started.elapsed().as_secs_f64();
            if left <= 0.0 {
                break;
            }
            if left > 0.0015 {
                sleep(Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        let due = Duration::from_secs_f64(due_s);
        if due >= shared.demand.length {
            return;
        }
        let shared_too = Rc::clone(&shared);
        if shared.demand.mode == Mode::Fresh {
            let endpoint = endpoints[number % endpoints.len()].clone();
            spawn_local(async move {
                let answered = once(&endpoint, &shared_too).await;
                shared_too.count(due, answered).await;
            });
        } else {
            let sender = senders[number % senders.len()].clone();
            spawn_local(async move {
                let answered = shared_too.answer(sender).await;
                shared_too.count(due, answered).await;
            });
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        due_s -= (((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln() / shared.demand.rate;
    }
}

impl Shared {
    async fn answer(&self, sender: Sender) -> Result<bool, Failure> {
        answer(sender, &self.demand.target, &self.counts).await
    }

    async fn count(&self, due: Duration, answered: Result<bool, Failure>) {
        let now = self.started.elapsed();
        let mut counts = self.counts.borrow_mut();
        match answered {
            Ok(true) if now < self.demand.length => counts.completed += 1,
            Ok(true) => {}
            Ok(false) | Err(_) => counts.failed += 1,
        }
        counts.latencies_us.push(u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX));
        drop(counts);
        if answered.is_err() {
            // Without a pause a connection that is gone would be asked over and over.
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends one request and reads its reply.
async fn answer(mut sender: Sender, target: &str, counts: &RefCell<Counts>) -> Result<bool, Failure> {
    let request = hyper::Request::get(target).header("user-agent", "bench").body(())?;
    let mut stream = sender.send_request(request).await?;
    stream.finish().await?;
    let good = stream.recv_response().await?.status().is_success();
    while let Some(mut data) = stream.recv_data().await? {
        counts.borrow_mut().bytes += data.remaining() as u64;
        data.advance(data.remaining());
    }
    Ok(good)
}

/// Takes this certificate alone. TLS 1.3 with X25519 and no resumption, so that each handshake is a full one and the same.
fn trusting(chain: &str) -> Result<quinn::ClientConfig, Failure> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let provider = Arc::new(provider);
    let certificate = CertificateDer::from_pem_file(chain)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Shown { certificate, provider }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

/// Whether the certificate that is shown is this one; who holds its key is not asked.
#[derive(Debug)]
struct Shown {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate was shown".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
