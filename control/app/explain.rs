//! Explain: what would become of a request in the newest or an older generation.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ringway_snapshot::keys::Pepper;

use super::{App, AppError, blocking};
use crate::config::scalar::parse_request_line;
use crate::domain::GenerationNumber;
use crate::trial::{Trial, TrialError, TrialRequest, Trials};

/// A request to explain.
#[derive(Debug, Clone)]
pub struct ExplainInput {
    /// `GET https://host/path?query`.
    pub request: String,
    /// Name and value of each field.
    pub fields: Vec<(String, String)>,
    /// Address of the caller; loopback without.
    pub from: Option<IpAddr>,
    /// In this generation; the newest without.
    pub generation: Option<GenerationNumber>,
    /// Now.
    pub now_unix_ms: u64,
}

impl App {
    /// Runs a request through route match and chain of a kept generation, or of one compiled again.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::Malformed`], or what failed.
    pub async fn explain(&self, input: ExplainInput) -> Result<(GenerationNumber, Trial), AppError> {
        let (method, _, authority, target) = parse_request_line(&input.request).ok_or_else(|| {
            AppError::Malformed(format!("`{}` is not like `GET https://host/path`", input.request))
        })?;
        let request = TrialRequest {
            method: method.to_owned(),
            authority: authority.to_owned(),
            target: target.to_owned(),
            fields: input.fields,
            from: input.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            application: None,
        };
        let (number, definitions) = self.definitions(input.generation).await?;
        let generation = self.store.generation(number).await?;
        let kept = tokio::fs::read(self.publisher.path(generation.snapshot)).await;
        let bytes = match kept {
            Ok(bytes) => bytes,
            Err(_) => {
                let identities = Arc::new(self.store.identities(number).await?);
                self.rebuild(definitions, identities, number, input.now_unix_ms).await?.bytes
            }
        };
        let keys = Arc::clone(&self.keys);
        let tried = blocking(move || {
            let peppers: Vec<Pepper> = keys.ring.keys().iter().filter_map(Pepper::of).collect();
            Trials::open(&bytes, &keys.trust, &peppers)?.run(&request, input.now_unix_ms)
        });
        let tried = tried.await?.map_err(|error| match error {
            TrialError::Request(_) => AppError::Malformed(error.to_string()),
            other => AppError::Build(Box::new(other)),
        })?;
        Ok((number, tried))
    }
}
