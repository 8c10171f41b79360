//! TLS of a listener: profiles by name, built off the workers and shared by them, and the accepting of connections.

use std::sync::Arc;

use aws_lc_rs::digest;
use ringway_rt::{self as rt, Side};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ServerConfig, UnbufferedServerConnection, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

use crate::stream::Stream;

use super::certificate::{Certificate, CertificateFault, Names, Resolver};
use super::failure::TlsFailure;
use super::handshake::{self, Alpn, Handshake, Incoming};
use super::hello::{self, Hello};
use super::record::Version;
use super::session::{Schedule, Session};
use super::stream::TlsStream;
use super::ticket::{TicketSeed, Ticketer};

/// Certificates of some names, and the terms on which these are served.
#[derive(Debug)]
pub struct ServerProfile {
    /// Name in the definition; part of what its session tickets are bound to.
    pub name: String,
    /// At least one. A name may have several, of different key types, in order of preference.
    pub certificates: Vec<Certificate>,
    /// Serve clients that send no SNI with the first certificate; one profile of a listener may.
    pub serve_without_sni: bool,
    /// Oldest protocol.
    pub minimum: Version,
    /// Whether the client shows a certificate.
    pub client: ClientAuth,
    /// DER certificates that sign client certificates.
    pub client_ca: Vec<Vec<u8>>,
    /// DER revocation lists. Where there are any, each certificate of a client's chain must be covered by one
    /// that is not out of date.
    pub client_crls: Vec<Vec<u8>>,
    /// In order of preference; empty for none.
    pub alpn: Vec<Alpn>,
}

/// Whether a client certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    None,
    /// Asked for; if shown it must verify.
    Optional,
    /// Demanded.
    Require,
}

/// Why a listener's TLS cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// One of its certificates cannot be used.
    #[error("certificate {index} of TLS profile {profile:?} cannot be used")]
    Certificate {
        /// Name of the profile.
        profile: String,
        /// Which, from zero.
        index: usize,
        /// Why.
        #[source]
        fault: CertificateFault,
    },
    /// A profile without a certificate.
    #[error("TLS profile {0:?} has no certificate")]
    NoCertificate(String),
    /// Two profiles serve one name, so that its terms would be a matter of luck.
    #[error("{name:?} is in the TLS profiles {first:?} and {second:?}")]
    NameTwice {
        /// The name.
        name: String,
        /// One profile.
        first: String,
        /// The other.
        second: String,
    },
    /// Two profiles want the clients without SNI.
    #[error("the TLS profiles {0:?} and {1:?} both serve clients without SNI")]
    WithoutSniTwice(String, String),
    /// A CA certificate cannot be read.
    #[error("CA certificate {index} of {profile:?} cannot be read")]
    Ca {
        /// Name of the profile, or of the upstream.
        profile: String,
        /// Which, from zero.
        index: usize,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Client certificates are asked for without a CA, or a revocation list cannot be read.
    #[error("client certificates of TLS profile {profile:?} cannot be verified")]
    ClientVerifier {
        /// Name of the profile.
        profile: String,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
    /// The library refuses the combination.
    #[error("TLS of {profile:?} cannot be configured")]
    Library {
        /// Name of the profile, or of the upstream.
        profile: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Tickets after a full handshake of TLS 1.3: one, and one to spare for a second connection.
const TICKETS_SENT: usize = 2;

/// TLS of one listener. Immutable: a change of certificates is a new value, and connections keep theirs.
#[derive(Debug)]
pub struct ServerTls {
    profiles: Vec<Arc<ServerConfig>>,
    names: Names<Option<usize>>,
    /// The certificates that a name may be given, by profile and place.
    certificates: Names<Vec<(usize, usize)>>,
    without_sni: Option<usize>,
}

impl ServerTls {
    /// Builds it; takes a while with many certificates, so not on a worker.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn build(profiles: &[ServerProfile], seed: &TicketSeed) -> Result<Self, TlsConfigError> {
        Self::build_at(profiles, seed, &(Arc::new(DefaultTimeProvider) as Arc<dyn TimeProvider>))
    }

    /// As [`ServerTls::build`], with a clock other than the system's for certificates and tickets.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn build_at(
        profiles: &[ServerProfile],
        seed: &TicketSeed,
        time: &Arc<dyn TimeProvider>,
    ) -> Result<Self, TlsConfigError> {
        let crypto = Arc::new(provider::default_provider());
        let mut built = Self {
            profiles: Vec::new(),
            names: Names::default(),
            certificates: Names::default(),
            without_sni: None,
        };
        for (index, profile) in profiles.iter().enumerate() {
            built.name(profiles, index)?;
            if profile.serve_without_sni
                && let Some(first) = built.without_sni.replace(index)
            {
                let first = profiles.get(first).map(|profile| profile.name.clone()).unwrap_or_default();
                return Err(TlsConfigError::WithoutSniTwice(first, profile.name.clone()));
            }
            let versions: &[&SupportedProtocolVersion] = match profile.minimum {
                Version::Tls12 => &[&TLS13, &TLS12],
                Version::Tls13 => &[&TLS13],
            };
            let mut config = config(profile, versions, time, &crypto)?;
            config.alpn_protocols = profile.alpn.iter().map(|alpn| alpn.name().to_vec()).collect();
            config.ticketer = Arc::new(Ticketer::new(seed, binding(profile, b"tcp"), Arc::clone(time)));
            // The keys go to `Session`; nothing else ever sees them.
            config.enable_secret_extraction = true;
            built.profiles.push(Arc::new(config));
        }
        Ok(built)
    }

    /// Enters the names of one profile.
    fn name(&mut self, profiles: &[ServerProfile], index: usize) -> Result<(), TlsConfigError> {
        let Some(profile) = profiles.get(index) else { return Ok(()) };
        for (at, certificate) in profile.certificates.iter().enumerate() {
            for name in &certificate.names {
                let entry = self.names.entry(name).map_err(|fault| TlsConfigError::Certificate {
                    profile: profile.name.clone(),
                    index: at,
                    fault,
                })?;
                if let Some(other) = entry.replace(index).filter(|other| *other != index) {
                    let first = profiles.get(other).map(|profile| profile.name.clone()).unwrap_or_default();
                    let second = profile.name.clone();
                    return Err(TlsConfigError::NameTwice { name: name.clone(), first, second });
                }
                if let Ok(places) = self.certificates.entry(name) {
                    places.push((index, at));
                }
            }
        }
        Ok(())
    }

    /// Which profile (index into those it was built from) serves this host (lower case), if any.
    /// Two hosts with one profile share certificates' terms: a connection made for one may serve the other.
    pub fn profile_of(&self, host: Option<&str>) -> Option<usize> {
        match host {
            Some(host) => self.names.find(host).copied().flatten(),
            None => self.without_sni,
        }
    }

    /// Whether a request for `host` may come on a connection whose client named `server_name`: not where the host, by itself,
    /// would have been given another certificate, or another policy for clients' certificates (RFC 9110 §15.5.20). Both in
    /// lower case. A host that no certificate is for may: whether it is served is its route's matter.
    pub fn may_carry(&self, server_name: Option<&str>, host: &str) -> bool {
        let Some(wanted) = self.certificates.find(host) else { return true };
        match server_name {
            Some(name) => self.certificates.find(name) == Some(wanted),
            None => self.without_sni.is_none_or(|index| wanted.contains(&(index, 0))),
        }
    }

    fn choose(&self, host: Option<&str>) -> Result<Arc<ServerConfig>, TlsFailure> {
        let index = self.profile_of(host).ok_or(match host {
            Some(_) => TlsFailure::UnrecognizedName,
            None => TlsFailure::MissingServerName,
        })?;
        self.profiles.get(index).cloned().ok_or(TlsFailure::Internal)
    }
}

/// What all transports of a profile have in common.
fn config(
    profile: &ServerProfile,
    versions: &[&'static SupportedProtocolVersion],
    time: &Arc<dyn TimeProvider>,
    crypto: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsConfigError> {
    let library = |source| TlsConfigError::Library { profile: profile.name.clone(), source };
    let mut config = ServerConfig::builder_with_details(Arc::clone(crypto), Arc::clone(time))
        .with_protocol_versions(versions)
        .map_err(library)?
        .with_client_cert_verifier(verifier(profile, crypto)?)
        .with_cert_resolver(Arc::new(resolver(profile)?));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS_SENT;
    Ok(config)
}

/// A profile's configuration for QUIC: TLS 1.3, HTTP/3, no 0-RTT. Its tickets are not those of TCP, so that neither side
/// mistakes what was agreed on the one for the other.
pub(crate) fn quic_config(
    profile: &ServerProfile,
    seed: &TicketSeed,
) -> Result<ServerConfig, TlsConfigError> {
    let time = Arc::new(DefaultTimeProvider) as Arc<dyn TimeProvider>;
    let crypto = Arc::new(provider::default_provider());
    let mut config = config(profile, &[&TLS13], &time, &crypto)?;
    config.alpn_protocols = vec![Alpn::Http3.name().to_vec()];
    config.ticketer = Arc::new(Ticketer::new(seed, binding(profile, b"quic"), time));
    config.max_early_data_size = 0;
    Ok(config)
}

fn resolver(profile: &ServerProfile) -> Result<Resolver, TlsConfigError> {
    let mut resolver = Resolver::default();
    for (index, certificate) in profile.certificates.iter().enumerate() {
        let wrong = |fault| TlsConfigError::Certificate { profile: profile.name.clone(), index, fault };
        if certificate.names.is_empty() && !(profile.serve_without_sni && index == 0) {
            return Err(wrong(CertificateFault::Nameless));
        }
        let certified = certificate.certified().map_err(wrong)?;
        for name in &certificate.names {
            resolver.names.entry(name).map_err(wrong)?.push(Arc::clone(&certified));
        }
        if index == 0 && profile.serve_without_sni {
            resolver.without_sni = Some(certified);
        }
    }
    if profile.certificates.is_empty() {
        return Err(TlsConfigError::NoCertificate(profile.name.clone()));
    }
    Ok(resolver)
}

fn verifier(
    profile: &ServerProfile,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    if profile.client == ClientAuth::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = Arc::new(roots(&profile.name, &profile.client_ca)?);
    let crls = profile.client_crls.iter().map(|der| CertificateRevocationListDer::from(der.clone()));
    // The builder's strict defaults stay: the whole chain is checked and an unknown status is a refusal. An expired
    // list is one too: a security policy that cannot be carried out closes.
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(crypto))
        .with_crls(crls)
        .enforce_revocation_expiration();
    let builder = match profile.client {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::None | ClientAuth::Require => builder,
    };
    builder.build().map_err(|source| TlsConfigError::ClientVerifier { profile: profile.name.clone(), source })
}

/// A store of DER certificates.
pub(crate) fn roots(profile: &str, ca: &[Vec<u8>]) -> Result<RootCertStore, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in ca.iter().enumerate() {
        let wrong = |source| TlsConfigError::Ca { profile: profile.to_owned(), index, source };
        roots.add(CertificateDer::from(der.clone())).map_err(wrong)?;
    }
    Ok(roots)
}

/// Digest of all that decides who may connect. Tickets are bound to it: a session of a client that showed no
/// certificate, or one that was revoked since, is not resumed where one is demanded.
fn binding(profile: &ServerProfile, transport: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut field = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    field(transport);
    field(profile.name.as_bytes());
    field(&[profile.client as u8, profile.minimum as u8]);
    for list in [&profile.client_ca, &profile.client_crls] {
        field(&(list.len() as u64).to_be_bytes());
        list.iter().for_each(|der| field(der));
    }
    let mut binding = [0; 32];
    binding.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    binding
}

/// A connection that did not come about.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub failure: TlsFailure,
    /// The host that the client asked for, as far as that was read.
    pub server_name: Option<Box<str>>,
}

impl From<TlsFailure> for Refused {
    fn from(failure: TlsFailure) -> Self {
        Self { failure, server_name: None }
    }
}

/// Makes the server's side of a handshake on an accepted connection. All of it must be done by `deadline_ns`
/// (monotonic). On failure the client gets the alert that is due, and a moment to read it.
///
/// # Errors
/// [`Refused`], for the record and the log.
pub async fn accept(
    io: rt::Stream,
    tls: &ServerTls,
    deadline_ns: u64,
) -> Result<(Stream, Handshake), Refused> {
    io.deadline().arm(Side::Read, deadline_ns);
    io.deadline().arm(Side::Write, deadline_ns);
    let mut incoming = Incoming::new();
    let server_name = match named(&io, &mut incoming).await {
        Ok(server_name) => server_name,
        Err(failure) => return Err(refuse(&io, failure, None).await),
    };
    let config = match tls.choose(server_name.as_deref()) {
        Ok(config) => config,
        Err(failure) => return Err(refuse(&io, failure, server_name).await),
    };
    match shake(&io, config, incoming, server_name.clone()).await {
        Ok((session, agreed)) => {
            io.deadline().disarm(Side::Read);
            io.deadline().disarm(Side::Write);
            Ok((Stream::Tls(Box::new(TlsStream::new(io, session))), agreed))
        }
        Err(failure) => Err(Refused { failure, server_name }),
    }
}

/// Receives until the ClientHello is complete.
async fn named(io: &rt::Stream, incoming: &mut Incoming) -> Result<Option<Box<str>>, TlsFailure> {
    loop {
        match hello::peek(incoming.bytes())? {
            Hello::Complete(server_name) => return Ok(server_name),
            Hello::Partial => incoming.receive(io).await?,
        }
    }
}

async fn refuse(io: &rt::Stream, failure: TlsFailure, server_name: Option<Box<str>>) -> Refused {
    if let Some(alert) = failure.alert() {
        handshake::refuse(io, alert).await;
    }
    Refused { failure, server_name }
}

async fn shake(
    io: &rt::Stream,
    config: Arc<ServerConfig>,
    incoming: Incoming,
    server_name: Option<Box<str>>,
) -> Result<(Session, Handshake), TlsFailure> {
    let mut connection =
        Box::new(UnbufferedServerConnection::new(config).map_err(|error| TlsFailure::from(&error))?);
    let rest = handshake::run(io, &mut connection, |c, i| c.process_tls_records(i), incoming).await?;
    let agreed = Handshake::of(&connection, server_name)?;
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|error| TlsFailure::from(&error))?;
    Ok((Session::new(Schedule::Server(kernel), agreed.version, &secrets, rest)?, agreed))
}
