//! Enrolment: a node of another host gets its certificate and the cluster's keys for a token that is good once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringway_snapshot::enrolment::JoinToken;
use ringway_snapshot::secret::Secret;

use super::{App, AppError};
use crate::authority::Issued;
use crate::keys::random;
use crate::limits::{JOIN_TOKEN_MS_MAX, JOIN_TOKENS_MAX, NODES_MAX};

/// Tokens that are good, and the nodes that are enrolled. Tokens live in memory: they do not outlive the daemon.
#[derive(Debug, Default)]
pub(super) struct Enrolments(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    tokens: Vec<(Secret, u64)>,
    nodes: BTreeSet<String>,
}

/// What a node gets at its enrolment.
#[derive(Debug)]
pub struct Enrolled {
    /// Its certificate.
    pub issued: Issued,
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
    /// `trust/signing.pub`.
    pub signing_public: String,
    /// `trust/seal.key`.
    pub seal_key: Secret,
}

impl Enrolments {
    pub(super) fn of(nodes: Vec<String>) -> Self {
        Self(Mutex::new(Known { tokens: Vec::new(), nodes: nodes.into_iter().collect() }))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Makes a join token and says until when it is good.
    ///
    /// # Errors
    /// [`AppError::Malformed`] when too many are good already; no randomness.
    pub fn join_token(&self, now_unix_ms: u64) -> Result<(JoinToken, u64), AppError> {
        let secret = Secret::new(random().map_err(AppError::Keys)?.to_vec());
        let until = now_unix_ms.saturating_add(JOIN_TOKEN_MS_MAX);
        let mut known = self.enrolments.lock();
        known.tokens.retain(|(_, until)| *until > now_unix_ms);
        if known.tokens.len() >= JOIN_TOKENS_MAX {
            return Err(AppError::Malformed(format!(
                "{JOIN_TOKENS_MAX} join tokens wait to be used already"
            )));
        }
        known.tokens.push((secret.clone(), until));
        Ok((JoinToken { secret, authority: self.authority.fingerprint() }, until))
    }

    /// Enrols a node: for a token's secret, its certificate and the cluster's keys.
    ///
    /// # Errors
    /// [`AppError::Refused`]: the token is used up, expired or none of ours; [`AppError::Malformed`]; the store failed.
    pub async fn enrol(
        &self,
        secret: &Secret,
        node: &str,
        public_key: &[u8],
        now_unix_ms: u64,
    ) -> Result<Enrolled, AppError> {
        {
            let mut known = self.enrolments.lock();
            known.tokens.retain(|(_, until)| *until > now_unix_ms);
            let Some(found) = known.tokens.iter().position(|(good, _)| good == secret) else {
                return Err(AppError::Refused {
                    message: "the join token is used up, expired, or of another control daemon".to_owned(),
                    hint: "make a new one with `ringway join-token` where control runs",
                });
            };
            if known.nodes.len() >= NODES_MAX && !known.nodes.contains(node) {
                return Err(AppError::Malformed(format!("{NODES_MAX} nodes are enrolled already")));
            }
            known.tokens.swap_remove(found);
        }
        let issued = self.issue(node, public_key, now_unix_ms)?;
        self.store.enrol(node, now_unix_ms, issued.expires_unix_ms).await?;
        self.enrolments.lock().nodes.insert(node.to_owned());
        tracing::info!(node, "node enrolled");
        Ok(Enrolled {
            issued,
            authority: self.authority.certificate().to_vec(),
            signing_public: self.keys.trust.encode(),
            seal_key: self.keys.ring.encode(),
        })
    }

    /// A new certificate for an enrolled node.
    ///
    /// # Errors
    /// [`AppError::Refused`], [`AppError::Malformed`]; the store failed.
    pub async fn renew(&self, node: &str, public_key: &[u8], now_unix_ms: u64) -> Result<Issued, AppError> {
        self.admit(node)?;
        let issued = self.issue(node, public_key, now_unix_ms)?;
        self.store.renew(node, issued.expires_unix_ms).await?;
        tracing::info!(node, "node certificate renewed");
        Ok(issued)
    }

    /// Whether a node with a good certificate is one of ours.
    ///
    /// # Errors
    /// [`AppError::Refused`].
    pub fn admit(&self, node: &str) -> Result<(), AppError> {
        if self.enrolments.lock().nodes.contains(node) {
            return Ok(());
        }
        Err(AppError::Refused {
            message: format!("node {node} is not enrolled here, or was removed"),
            hint: "enrol it with a token of `ringway join-token`",
        })
    }

    /// Removes a node: its certificate is worth nothing any more.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; the store failed.
    pub async fn remove_node(&self, node: &str) -> Result<(), AppError> {
        self.enrolments.lock().nodes.remove(node);
        if self.store.remove_node(node).await? {
            tracing::info!(node, "node removed");
            return Ok(());
        }
        Err(AppError::NotFound(format!("node {node} is not enrolled")))
    }

    fn issue(&self, node: &str, public_key: &[u8], now_unix_ms: u64) -> Result<Issued, AppError> {
        self.authority
            .issue(node, public_key, now_unix_ms)
            .map_err(|error| AppError::Malformed(error.to_string()))
    }

    /// The authority of nodes' certificates.
    pub fn authority(&self) -> &crate::authority::Authority {
        &self.authority
    }
}
