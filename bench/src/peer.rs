//! The proxies that are measured: what each can do, and how it is set up for a work.

mod haproxy;
mod nginx;
mod others;
mod ringway;

pub(crate) use ringway::{Control, Site, set_up_with};

use std::fs;
use std::path::{Path, PathBuf};

use crate::install::Tools;
use crate::process::Launch;
use crate::works::{Answer, Kind, Pace, Protocol, Work};

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Ringway,
    /// Ringway with ten routes, beside itself with more.
    RingwayTenRoutes,
    Nginx,
    Haproxy,
    H2o,
    Caddy,
    Pingora,
    Hyper,
    Quinn,
}

impl Peer {
    /// All of them, Ringway first: the others are compared with it.
    pub(crate) const ALL: [Self; 9] = [
        Self::Ringway,
        Self::RingwayTenRoutes,
        Self::Nginx,
        Self::Haproxy,
        Self::H2o,
        Self::Caddy,
        Self::Pingora,
        Self::Hyper,
        Self::Quinn,
    ];

    /// Name on the command line, in results and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ringway => "ringway",
            Self::RingwayTenRoutes => "ringway-10-routes",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::H2o => "h2o",
            Self::Caddy => "caddy",
            Self::Pingora => "pingora",
            Self::Hyper => "hyper",
            Self::Quinn => "quinn",
        }
    }

    /// Whether it can do this work in a way that compares.
    pub(crate) fn can(self, work: &Work) -> bool {
        let http1 = work.protocol == Protocol::Http1;
        if work.access_log || work.all_of_up {
            return matches!(self, Self::Ringway | Self::Nginx);
        }
        if let Pace::Rate(_) = work.reloading.pace {
            return self == Self::Ringway;
        }
        if work.kind == Kind::Generators {
            return false;
        }
        let simple = work.routes == 0 && !work.key_and_limit && work.answer != Answer::Proxy;
        if work.protocol == Protocol::Http3 {
            return matches!(self, Self::Ringway | Self::Caddy | Self::Quinn);
        }
        match self {
            Self::Ringway => true,
            Self::RingwayTenRoutes => work.name == "routes-10k",
            Self::Nginx | Self::Haproxy => work.routes <= 10_000,
            Self::H2o => simple && work.protocol != Protocol::WebSocket && work.kind != Kind::Reload,
            Self::Caddy => simple && work.kind == Kind::Requests && work.protocol != Protocol::WebSocket,
            Self::Quinn => false,
            Self::Pingora | Self::Hyper => simple && (http1 || work.protocol == Protocol::Http2),
        }
    }
}

/// Certificate and key of the test, in the forms that proxies want.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file.
    pub(crate) both: PathBuf,
}

/// Name that the load asks for.
pub(crate) const HOST: &str = "bench.local";

impl Certificate {
    /// A self-signed one for [`HOST`] on P-256.
    pub(crate) fn new(folder: &Path) -> Result<Self, String> {
        let made =
            rcgen::generate_simple_self_signed([HOST.to_owned()]).map_err(|error| error.to_string())?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let own = Self {
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
        };
        write(&own.chain, &chain)?;
        write(&own.key, &key)?;
        write(&own.both, &format!("{chain}{key}"))?;
        Ok(own)
    }
}

/// What a peer is set up for.
pub(crate) struct Place<'a> {
    /// An empty directory of its own.
    pub(crate) folder: &'a Path,
    /// Where it listens on loopback.
    pub(crate) port: u16,
    /// Where its endpoint listens.
    pub(crate) endpoint: u16,
    pub(crate) work: &'a Work,
    pub(crate) tools: &'a Tools,
    pub(crate) certificate: &'a Certificate,
}

/// What a peer needs to be started, and to be loaded anew.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) reload: Reload,
}

/// How a running peer loads its configuration anew.
#[derive(Debug, Default)]
pub(crate) enum Reload {
    #[default]
    Never,
    Signal(rustix::process::Signal),
    /// Ringway: a control daemon on the other core, which is told to apply one edition after the other.
    Control(Box<Site>),
}

impl Peer {
    /// Writes its configuration. Slow parts, such as compiling a snapshot, happen here and not when it starts.
    pub(crate) fn set_up(self, place: &Place<'_>) -> Result<Setup, String> {
        match self {
            Self::Ringway => ringway::set_up(place, place.work.routes),
            Self::RingwayTenRoutes => ringway::set_up(place, 10),
            Self::Nginx => nginx::set_up(place),
            Self::Haproxy => haproxy::set_up(place),
            Self::H2o => others::h2o(place),
            Self::Caddy => others::caddy(place),
            Self::Pingora => others::built(place, place.tools.pingora.as_deref()),
            Self::Hyper => others::built(place, place.tools.hyper.as_deref()),
            Self::Quinn => others::built(place, place.tools.quinn.as_deref()),
        }
    }

    /// The program, where it is there.
    pub(crate) fn program(self, tools: &Tools) -> Option<&Path> {
        match self {
            Self::Ringway | Self::RingwayTenRoutes => tools.ringway.as_deref(),
            Self::Nginx => tools.nginx.as_deref(),
            Self::Haproxy => tools.haproxy.as_deref(),
            Self::H2o => tools.h2o.as_deref(),
            Self::Caddy => tools.caddy.as_deref(),
            Self::Pingora => tools.pingora.as_deref(),
            Self::Hyper => tools.hyper.as_deref(),
            Self::Quinn => tools.quinn.as_deref(),
        }
    }
}

/// The 128 bytes of a static reply.
fn static_body() -> String {
    "x".repeat(128)
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a program to its end; what it said where it failed.
pub(crate) fn finish(launch: &Launch) -> Result<String, String> {
    let output = std::process::Command::new(&launch.program)
        .args(&launch.arguments)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|error| format!("{}: {error}", launch.program.display()))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("{}: {said}", launch.program.display())) }
}
