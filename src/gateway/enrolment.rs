//! Where control is, and becoming a node of it: on this host by its socket, on another by an enrolment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use arc_swap::ArcSwap;
use ringway_snapshot::enrolment::JoinToken;
use ringway_snapshot::secret::Secret;
use rustls::ClientConfig;
use serde_json::Value;

use crate::control_link::{Address, ControlLink, ControlReply};
use crate::error::GatewayError;
use crate::identity::{Identity, hex, joining_config, new_key, unhex};
use crate::state::{node_id, write_private};

/// A control daemon of another host.
#[derive(Debug)]
pub(crate) struct Remote {
    /// `host:port`.
    pub(crate) at: String,
    /// What connections are made with; renewed while they live.
    pub(crate) config: ArcSwap<ClientConfig>,
    identity: Mutex<Identity>,
}

impl Remote {
    /// Gets the next certificate if it is time for it. `Ok(false)`: it is not.
    ///
    /// # Errors
    /// Control refuses or cannot be reached; the file cannot be written.
    pub(crate) fn renew(
        &self,
        root: &Path,
        node: &str,
        now_unix_ms: u64,
        link: &mut ControlLink,
    ) -> io::Result<bool> {
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !known.is_due(now_unix_ms) {
            return Ok(false);
        }
        let (key, public) = new_key().ok_or_else(|| io::Error::other("no new key could be made"))?;
        let said = serde_json::json!({ "node": node, "public_key": hex(&public) });
        let fresh = issued(&link.post("/v1/node/certificate", &said)?, key, Some(known.authority))?;
        let config = fresh.client_config().map_err(io::Error::other)?;
        fresh.save(root)?;
        self.config.store(Arc::new(config));
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

/// Finds the way to control, and enrols the node first where that is asked for and not done yet.
///
/// # Errors
/// The URL or the token are none; the node is not enrolled and there is no token; control refuses; a file cannot be
/// read or written.
pub(crate) fn way_to_control(
    root: &Path,
    control: Option<&str>,
    join: Option<&str>,
    now_unix_ms: u64,
) -> Result<Address, GatewayError> {
    let at = match control {
        None => return Ok(Address::Socket(root.join("control.sock"))),
        Some(text) => match text.strip_prefix("https://") {
            None if text.contains("://") => return Err(GatewayError::ControlUrl(text.to_owned())),
            None => return Ok(Address::Socket(PathBuf::from(text))),
            Some(rest) => host_and_port(rest).ok_or_else(|| GatewayError::ControlUrl(text.to_owned()))?,
        },
    };
    let token = match join {
        Some(text) => Some(JoinToken::decode(text).ok_or(GatewayError::JoinToken)?),
        None => None,
    };
    let file =
        |source| GatewayError::State { what: "use the node's identity in", path: root.to_owned(), source };
    let known = Identity::load(root).map_err(file)?;
    let stands = |known: &Identity, token: &JoinToken| {
        known.expires_unix_ms > now_unix_ms && *blake3::hash(&known.authority).as_bytes() == token.authority
    };
    let identity = match (known, token) {
        (Some(known), Some(token)) if stands(&known, &token) => {
            tracing::info!("this node is enrolled already: the join token is not used");
            known
        }
        (Some(known), None) => known,
        (_, Some(token)) => enrol(root, &at, &token)?,
        (None, None) => return Err(GatewayError::NotEnrolled { at }),
    };
    let config = identity.client_config().map_err(|error| file(io::Error::other(error)))?;
    let remote = Remote { at, config: ArcSwap::from_pointee(config), identity: Mutex::new(identity) };
    Ok(Address::Remote(Arc::new(remote)))
}

fn enrol(root: &Path, at: &str, token: &JoinToken) -> Result<Identity, GatewayError> {
    let failed = |source| GatewayError::Enrolment { at: at.to_owned(), source };
    let trust = root.join("trust");
    private_folder(&trust).map_err(|source| GatewayError::State {
        what: "make",
        path: trust.clone(),
        source,
    })?;
    let node = format!("{:032x}", u128::from_be_bytes(node_id(&root.join("node.id"))?));
    let (key, public) = new_key().ok_or(GatewayError::Random)?;
    let config = joining_config(token.authority).map_err(|error| failed(io::Error::other(error)))?;
    let mut link = ControlLink::new(&Address::Joining { at: at.to_owned(), config: Arc::new(config) });
    let said = serde_json::json!({
        "node": node,
        "secret": hex(token.secret.expose()),
        "public_key": hex(&public),
    });
    let reply = link.post("/v1/node/enrolment", &said).map_err(failed)?;
    let identity = issued(&reply, key, None).map_err(failed)?;
    let body: Value = serde_json::from_slice(&reply.body).map_err(|error| failed(error.into()))?;
    for (name, member) in [("signing.pub", "signing_public"), ("seal.key", "seal_key")] {
        let text = body.get(member).and_then(Value::as_str).unwrap_or_default();
        let path = trust.join(name);
        write_private(&path, text.as_bytes()).map_err(|source| GatewayError::State {
            what: "write",
            path,
            source,
        })?;
    }
    // Last: whoever finds it finds the others.
    identity.save(root).map_err(|source| GatewayError::State { what: "write", path: trust, source })?;
    tracing::info!(node, control = at, "enrolled");
    Ok(identity)
}

/// The identity in a reply; the authority is in that to an enrolment alone.
fn issued(reply: &ControlReply, key: Secret, authority: Option<Vec<u8>>) -> io::Result<Identity> {
    if reply.status != 200 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reply.problem()));
    }
    let body: Value = serde_json::from_slice(&reply.body)?;
    let bytes = |name: &str| body.get(name).and_then(Value::as_str).and_then(unhex);
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let identity = || {
        Some(Identity {
            certificate: bytes("certificate")?,
            key,
            authority: authority.or_else(|| bytes("authority"))?,
            issued_unix_ms: number("issued_unix_ms")?,
            expires_unix_ms: number("expires_unix_ms")?,
        })
    };
    identity()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a control daemon"))
}

fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// `host:port`, with or without a `/` behind it.
fn host_and_port(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let (host, port) = text.rsplit_once(':')?;
    let fits = !host.is_empty() && !text.contains('/') && port.parse::<u16>().is_ok();
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_a_socket_or_a_url_with_a_port() {
        let root = tempfile::tempdir().unwrap();
        let way = |control, join| way_to_control(root.path(), control, join, 0);
        assert!(matches!(way(None, None), Ok(Address::Socket(path)) if path.ends_with("control.sock")));
        assert!(matches!(way(Some("/run/control.sock"), None), Ok(Address::Socket(_))));
        for bad in ["http://a:1", "https://a", "https://:1", "https://a:b", "https://a:1/x"] {
            assert!(matches!(way(Some(bad), None), Err(GatewayError::ControlUrl(_))), "{bad}");
        }
        assert!(matches!(way(Some("https://[::1]:9443/"), None), Err(GatewayError::NotEnrolled { .. })));
        assert!(matches!(way(Some("https://a:1"), Some("x")), Err(GatewayError::JoinToken)));
    }
}
