//! The bearer token of the REST API: made at the first start, readable by the owner alone.

use std::io;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ringway_snapshot::secret::Secret;
use tokio::sync::watch;

use super::problem::{Problem, ProblemKind};
use crate::keys::{KeysError, random};
use crate::state::write_whole;

/// The token; it cannot be printed, and compares in constant time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Secret);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read or written.
    #[error("cannot read or write the API's token")]
    File(#[source] io::Error),
    /// There is no randomness.
    #[error("cannot make the API's token")]
    Random(#[source] KeysError),
}

impl Token {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(Secret::new(text.trim().as_bytes().to_vec()))
    }

    /// Reads the file, and makes it at the first start.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn load_or_make(path: &Path) -> Result<Self, TokenError> {
        match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Ok(Self::new(&text)),
            Ok(_) => Self::make(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(TokenError::File(error)),
        }
    }

    fn make(path: &Path) -> Result<Self, TokenError> {
        let bytes = random().map_err(TokenError::Random)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write_whole(path, 0o600, format!("{text}\n").as_bytes()).map_err(TokenError::File)?;
        Ok(Self::new(&text))
    }

    /// Value of `Authorization` that carries it.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(self.0.expose()))
    }

    fn is(&self, header: Option<&str>) -> bool {
        let given = header.and_then(|value| value.split_once(' '));
        given
            .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && Self::new(token) == *self)
    }
}

/// Lets a request pass that carries the token.
pub(super) async fn authorise(
    State(token): State<watch::Receiver<Token>>,
    request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let passes = token.borrow().is(header);
    if passes {
        return next.run(request).await;
    }
    Problem::new(ProblemKind::Unauthorised, "this API takes `Authorization: Bearer …`")
        .hint("the token stands in control.token of the state directory; SIGHUP to `ringway up`, or to `ringway control` where it runs alone, has it read anew")
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.token");
        let made = Token::load_or_make(&path).unwrap();
        assert_eq!(Token::load_or_make(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains(std::fs::read_to_string(&path).unwrap().trim()));
    }

    #[test]
    fn only_the_very_token_passes() {
        let token = Token::new("abc");
        assert!(token.is(Some("Bearer abc")) && token.is(Some("bearer abc")));
        for header in
            [None, Some(""), Some("Bearer"), Some("Bearer abd"), Some("Bearer abcd"), Some("Basic abc")]
        {
            assert!(!token.is(header), "{header:?}");
        }
    }
}
