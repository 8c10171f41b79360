//! A generation, ready to serve: the checked snapshot and what cannot be archived, prepared beside it.
//!
//! Made and dropped on the reload thread; workers only read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_policy::prepare::Prepared;
use ringway_policy::route::RouteExpressions;
use ringway_snapshot::Snapshot;
use ringway_snapshot::current::Current;
use ringway_snapshot::keys::Pepper;
use ringway_snapshot::model::{
    Listener, Protocols, Settings, TlsProfile, TlsVersion, Upstream, UpstreamProtocol, UpstreamTls,
};
use ringway_snapshot::seal::KeyRing;
use ringway_transport::{
    Alpn, Certificate, ClientAuth, ClientProfile, ClientTls, PrivateKey, QuicKeys, QuicLimits, QuicTls,
    ServerProfile, ServerTls, TicketSeed, Verify, Version,
};
use ringway_wire::http1::ReplyAhead;
use ringway_wire::limits::HeadLimits;

use crate::error::GenerationError;
use crate::limits::{HTTP3_STREAMS_MAX, QUIC_SILENCE_MS_MAX};
use crate::resolver::Resolver;
use crate::turn::RepliesAhead;
use crate::upstream::prepared::PreparedUpstream;

/// How long a generation waits for the addresses of its new endpoints.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(1);

/// A generation, shared by all workers.
pub(crate) struct Generation {
    /// Its number and content.
    pub(crate) current: Current,
    /// The tables.
    pub(crate) snapshot: Snapshot,
    /// The chains.
    pub(crate) policies: Prepared,
    /// Path and value expressions.
    pub(crate) expressions: RouteExpressions,
    /// Upstreams, by their index in the snapshot.
    pub(crate) upstreams: Vec<Arc<PreparedUpstream>>,
    /// TLS of each listener; none in plain text.
    tls: Vec<Option<Arc<ServerTls>>>,
    /// The same for HTTP/3; none where a listener does not speak it.
    quic: Vec<Option<Arc<QuicTls>>>,
    /// Limits, timeouts and identity.
    pub(crate) settings: Settings,
    /// Of request heads.
    pub(crate) head_limits: HeadLimits,
    /// From a head's first byte to its last.
    pub(crate) head_read_ns_max: u64,
    /// Fixed responses that were written ahead.
    replies_ahead: RepliesAhead,
}

/// What a generation is made with: secrets and helpers of the node.
pub(crate) struct Workshop<'n> {
    /// Opens sealed secrets.
    pub(crate) keys: &'n KeyRing,
    /// Of session tickets.
    pub(crate) tickets: &'n TicketSeed,
    /// Of QUIC endpoints.
    pub(crate) quic: &'n QuicKeys,
    /// Keeps endpoint names fresh.
    pub(crate) resolver: &'n Resolver,
    /// How many workers share a rate of core scope.
    pub(crate) workers: u32,
}

impl Generation {
    /// Prepares a checked snapshot.
    ///
    /// # Errors
    /// What in it cannot be carried out; the generation before goes on serving.
    pub(crate) fn prepare(
        current: Current,
        snapshot: Snapshot,
        workshop: &Workshop<'_>,
    ) -> Result<Self, GenerationError> {
        let peppers: Vec<Pepper> = workshop.keys.keys().iter().filter_map(Pepper::of).collect();
        let policies = Prepared::from(&snapshot, &peppers, workshop.workers)?;
        let expressions = RouteExpressions::prepare(&snapshot)?;
        let upstreams: Vec<_> = snapshot
            .upstreams()
            .iter()
            .map(|definition| {
                let (tls, tls_http1) = upstream_tls(definition, workshop)?;
                Ok(Arc::new(PreparedUpstream::new(definition, tls, tls_http1, workshop.resolver)))
            })
            .collect::<Result<_, GenerationError>>()?;
        workshop.resolver.settle(RESOLVE_PATIENCE);
        let (mut tls, mut quic) = (Vec::new(), Vec::new());
        for listener in snapshot.listeners() {
            let profile = listener_profile(listener, snapshot.tls(), workshop)?;
            quic.push(
                profile.as_ref().map(|profile| quic_tls(listener, profile, workshop)).transpose()?.flatten(),
            );
            let built = profile.map(|profile| ServerTls::build(&[profile], workshop.tickets)).transpose()?;
            tls.push(built.map(Arc::new));
        }
        let settings = snapshot.settings().clone();
        Ok(Self {
            current,
            policies,
            expressions,
            upstreams,
            tls,
            quic,
            head_limits: HeadLimits {
                head_bytes_max: settings.head_bytes_max,
                target_bytes_max: settings.target_bytes_max,
                fields_max: settings.head_fields_max,
            },
            head_read_ns_max: u64::from(settings.head_read_ms_max) * 1_000_000,
            settings,
            replies_ahead: RepliesAhead::of(snapshot.actions()),
            snapshot,
        })
    }

    /// The fixed response of this action, if it was written ahead.
    pub(crate) fn reply_ahead(&self, action: u32) -> Option<&ReplyAhead> {
        self.replies_ahead.get(action)
    }

    /// The listener configured at this address, and its TLS.
    pub(crate) fn listener(&self, configured: SocketAddr) -> Option<(&Listener, Option<&Arc<ServerTls>>)> {
        let at = self.snapshot.listeners().iter().position(|listener| listener.address == configured)?;
        let tls = self.tls.get(at).and_then(Option::as_ref);
        self.snapshot.listeners().get(at).map(|listener| (listener, tls))
    }

    /// What HTTP/3 is served by at the listener configured at this address, if it speaks that.
    pub(crate) fn quic(&self, configured: SocketAddr) -> Option<&Arc<QuicTls>> {
        let at = self.snapshot.listeners().iter().position(|listener| listener.address == configured)?;
        self.quic.get(at).and_then(Option::as_ref)
    }
}

fn quic_tls(
    listener: &Listener,
    profile: &ServerProfile,
    workshop: &Workshop<'_>,
) -> Result<Option<Arc<QuicTls>>, GenerationError> {
    if !listener.protocols.http3 {
        return Ok(None);
    }
    let limits = QuicLimits { streams: HTTP3_STREAMS_MAX, idle_ms: QUIC_SILENCE_MS_MAX };
    Ok(Some(Arc::new(QuicTls::build(profile, workshop.tickets, workshop.quic, limits)?)))
}

fn listener_profile(
    listener: &Listener,
    profiles: &[TlsProfile],
    workshop: &Workshop<'_>,
) -> Result<Option<ServerProfile>, GenerationError> {
    let Some(index) = listener.tls else { return Ok(None) };
    let Some(profile) = profiles.get(index as usize) else { return Err(GenerationError::NoProfile(index)) };
    let certificates = profile
        .certificates
        .iter()
        .map(|certificate| certificate_of(certificate, workshop))
        .collect::<Result<_, _>>()?;
    Ok(Some(ServerProfile {
        name: profile.name.clone(),
        certificates,
        serve_without_sni: profile.serve_without_sni,
        minimum: version(profile.minimum),
        client: match profile.client {
            ringway_snapshot::model::ClientAuth::None => ClientAuth::None,
            ringway_snapshot::model::ClientAuth::Optional => ClientAuth::Optional,
            ringway_snapshot::model::ClientAuth::Require => ClientAuth::Require,
        },
        client_ca: profile.client_ca.clone(),
        client_crls: profile.client_crls.clone(),
        alpn: alpn_of(listener),
    }))
}

/// What is offered over TCP, in our order of preference.
fn alpn_of(listener: &Listener) -> Vec<Alpn> {
    let Protocols { http1, http2, .. } = listener.protocols;
    [(http2, Alpn::Http2), (http1, Alpn::Http1)]
        .into_iter()
        .filter_map(|(is, alpn)| is.then_some(alpn))
        .collect()
}

/// TLS to an upstream with what it may speak, and with HTTP/1.1 alone where that is less.
fn upstream_tls(
    definition: &Upstream,
    workshop: &Workshop<'_>,
) -> Result<(Option<ClientTls>, Option<ClientTls>), GenerationError> {
    let Some(tls) = &definition.tls else { return Ok((None, None)) };
    let build = |alpn: &[Alpn]| client_tls(&definition.name, tls, alpn, workshop).map(Some);
    match definition.protocol {
        UpstreamProtocol::Http1 => Ok((build(&[Alpn::Http1])?, None)),
        UpstreamProtocol::Http2 => Ok((build(&[Alpn::Http2])?, None)),
        UpstreamProtocol::Auto => Ok((build(&[Alpn::Http2, Alpn::Http1])?, build(&[Alpn::Http1])?)),
    }
}

fn client_tls(
    name: &str,
    tls: &UpstreamTls,
    alpn: &[Alpn],
    workshop: &Workshop<'_>,
) -> Result<ClientTls, GenerationError> {
    let certificate =
        tls.certificate.as_ref().map(|certificate| certificate_of(certificate, workshop)).transpose()?;
    let profile = ClientProfile {
        name: name.to_owned(),
        ca: tls.ca.clone(),
        certificate,
        alpn: alpn.to_vec(),
        minimum: Version::Tls12,
        verify: if tls.insecure { Verify::Insecure } else { Verify::Full },
    };
    Ok(ClientTls::build(&profile)?)
}

fn certificate_of(
    certificate: &ringway_snapshot::model::Certificate,
    workshop: &Workshop<'_>,
) -> Result<Certificate, GenerationError> {
    let key = workshop.keys.open(&certificate.key, ringway_snapshot::seal::CERTIFICATE_KEY)?;
    Ok(Certificate {
        names: certificate.names.clone(),
        chain: certificate.chain.clone(),
        key: PrivateKey::new(key.expose().to_vec()),
    })
}

fn version(version: TlsVersion) -> Version {
    match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    }
}
