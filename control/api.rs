//! HTTP entry points: the REST API on loopback and the gateway protocol on a Unix socket.
//!
//! They translate between HTTP and [`crate::app`], and hold no rules of their own. Both are one table
//! of endpoints each; the REST API's is compared with the OpenAPI document, and every row of it is
//! asked without a token by a test.

mod authorise;
mod convert;
mod door;
mod node;
mod openapi;
pub mod problem;
mod rest;
#[cfg(test)]
mod tests;
pub mod views;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::app::{App, AppError};
use problem::{Problem, ProblemKind};

pub use authorise::{Token, TokenError};
pub use door::Door;
pub use node::{Caller, router as node_router};
pub use openapi::document as openapi_document;
pub use rest::router as rest_router;

/// What handlers work on.
#[derive(Debug, Clone)]
pub struct Service {
    /// The application.
    pub app: Arc<App>,
    /// Tells long polls that the process ends.
    pub ending: tokio::sync::watch::Receiver<bool>,
}

/// Milliseconds since 1970, for what enters here.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A JSON body, or the problem with it.
fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new(ProblemKind::Malformed, error.to_string()))
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let kind = match &error {
            AppError::Invalid(_) => ProblemKind::Invalid,
            AppError::LostRace { .. } => ProblemKind::LostRace,
            AppError::NotFound(_) => ProblemKind::NotFound,
            AppError::Malformed(_) => ProblemKind::Malformed,
            AppError::Build(_) => ProblemKind::Invalid,
            AppError::Refused { .. } => ProblemKind::Forbidden,
            AppError::Store(_)
            | AppError::Keys(_)
            | AppError::Authority(_)
            | AppError::Files { .. }
            | AppError::Task => ProblemKind::Internal,
        };
        let mut problem = Self::new(kind, chain(&error));
        if let Some(hint) = error.hint() {
            problem = problem.hint(hint);
        }
        if kind == ProblemKind::Internal {
            tracing::error!(error = chain(&error), hint = error.hint(), "a request to the API failed");
        }
        match error {
            AppError::Invalid(diagnostics) => problem.with(|view| {
                view.diagnostics = crate::config::render_json(&diagnostics);
                view.rendered = Some(diagnostics.to_string());
            }),
            AppError::LostRace { newest, .. } => problem.with(|view| view.newest = Some(newest)),
            _ => problem,
        }
    }
}

/// An error and everything below it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        line.push_str(": ");
        line.push_str(&error.to_string());
        below = error.source();
    }
    line
}
