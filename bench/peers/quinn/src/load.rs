//! HTTP/3 load on quinn and h3, one thread: closed loop, or open loop by Poisson arrivals.
//!
//! `bench-quinn-load PORT TARGET CONNECTIONS STREAMS RATE WARM SECONDS CPU-FILE`: rate 0 is a closed loop; the file is read
//! at the start and the end of what is measured (`-` for none). Prints one line: completed, failed, seconds, difference of
//! the file's number, and p50, p99, p99.9 in microseconds from the instant at which a request was due.

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
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, sleep_until};

type Failure = Box<dyn Error + Send + Sync>;
type Sender = SendRequest<h3_quinn::OpenStreams, bytes::Bytes>;

/// Name that is asked for.
const HOST: &str = "bench.local";

struct Demand {
    port: u16,
    target: String,
    connections: usize,
    streams: usize,
    rate: f64,
    warm: Duration,
    length: Duration,
    cpu_file: String,
}

#[derive(Default)]
struct Counts {
    latencies_us: Vec<u64>,
    completed: u64,
    failed: u64,
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, connections, streams, rate, warm, seconds, cpu_file] = words.as_slice() else {
        return Err("port, target, connections, streams, rate, warm, seconds and file are wanted".into());
    };
    let demand = Demand {
        port: port.parse()?,
        target: format!("https://{HOST}{target}"),
        connections: connections.parse()?,
        streams: streams.parse()?,
        rate: rate.parse()?,
        warm: Duration::from_secs_f64(warm.parse()?),
        length: Duration::from_secs_f64(seconds.parse()?),
        cpu_file: cpu_file.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let line = LocalSet::new().block_on(&runtime, load(Rc::new(demand)))?;
    println!("{line}");
    Ok(())
}

async fn load(demand: Rc<Demand>) -> Result<String, Failure> {
    let mut senders = Vec::new();
    let mut endpoints = Vec::new();
    for _ in 0..demand.connections {
        let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        endpoint.set_default_client_config(client()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, demand.port));
        let connection = endpoint.connect(address, HOST)?.await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
        spawn_local(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        senders.push(sender);
        endpoints.push(endpoint);
    }
    let started = Instant::now();
    let counts = Rc::new(RefCell::new(Counts::default()));
    if demand.rate > 0.0 {
        spawn_local(open_loop(senders, Rc::clone(&demand), Rc::clone(&counts), started));
    } else {
        for sender in &senders {
            for _ in 0..demand.streams {
                spawn_local(closed_loop(sender.clone(), Rc::clone(&demand), Rc::clone(&counts), started));
            }
        }
    }
    sleep_until((started + demand.warm).into()).await;
    let before = number(&demand.cpu_file);
    sleep_until((started + demand.warm + demand.length).into()).await;
    let cpu = number(&demand.cpu_file).saturating_sub(before);
    let seconds = started.elapsed().saturating_sub(demand.warm).as_secs_f64();
    let mut counts = counts.borrow_mut();
    counts.latencies_us.sort_unstable();
    let quantile = |part: f64| {
        let at = (counts.latencies_us.len() as f64 * part) as usize;
        counts.latencies_us.get(at.min(counts.latencies_us.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let (completed, failed) = (counts.completed, counts.failed);
    Ok(format!(
        "{completed} {failed} {seconds:.6} {cpu} {} {} {}",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    ))
}

fn number(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn closed_loop(sender: Sender, demand: Rc<Demand>, counts: Rc<RefCell<Counts>>, started: Instant) {
    loop {
        let due = started.elapsed();
        if due >= demand.warm + demand.length {
            return;
        }
        one(sender.clone(), &demand, &counts, (started, due)).await;
    }
}

async fn open_loop(senders: Vec<Sender>, demand: Rc<Demand>, counts: Rc<RefCell<Counts>>, started: Instant) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut due_s = 0.0;
    for sender in senders.iter().cycle() {
        // Timers of tokio have a millisecond: closer to the instant it turns.
        loop {
            let left = due_s - started.elapsed().as_secs_f64();
            if left <= 0.0 {
                break;
            }
            if left > 0.0015 {
                sleep(Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        if due_s >= (demand.warm + demand.length).as_secs_f64() {
            return;
        }
        let (sender, demand, counts) = (sender.clone(), Rc::clone(&demand), Rc::clone(&counts));
        let due = Duration::from_secs_f64(due_s);
        let rate = demand.rate;
        spawn_local(async move { one(sender, &demand, &counts, (started, due)).await });
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        due_s -= (((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln() / rate;
    }
}

/// Sends one request and reads its reply.
async fn one(sender: Sender, demand: &Demand, counts: &RefCell<Counts>, (started, due): (Instant, Duration)) {
    let answered = answer(sender, &demand.target).await;
    let now = started.elapsed();
    let mut counts = counts.borrow_mut();
    let measured = now >= demand.warm && now < demand.warm + demand.length;
    match answered {
        Ok(true) if measured => counts.completed += 1,
        Ok(true) => {}
        Ok(false) | Err(_) => counts.failed += 1,
    }
    if due >= demand.warm {
        counts.latencies_us.push(u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX));
    }
    drop(counts);
    if answered.is_err() {
        // Without a pause a connection that is gone would be asked over and over.
        sleep(Duration::from_millis(20)).await;
    }
}

async fn answer(mut sender: Sender, target: &str) -> Result<bool, Failure> {
    let request = hyper::Request::get(target).header("user-agent", "bench").body(())?;
    let mut stream = sender.send_request(request).await?;
    stream.finish().await?;
    let good = stream.recv_response().await?.status().is_success();
    while let Some(mut data) = stream.recv_data().await? {
        data.advance(data.remaining());
    }
    Ok(good)
}

fn client() -> Result<quinn::ClientConfig, Failure> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll { schemes }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

/// Certificates are not what is measured.
#[derive(Debug)]
struct TrustsAll {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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
        self.schemes.clone()
    }
}
