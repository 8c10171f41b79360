//! Errors as problem details (RFC 9457), from one closed table.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::views::ProblemView;

macro_rules! problems {
    ($($variant:ident $status:ident $name:literal $title:literal;)+) => {
        /// The kinds of problems that the API answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind { $(#[doc = $title] $variant,)+ }

        impl ProblemKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// Last part of the URI of the kind.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

problems! {
    Malformed BAD_REQUEST "malformed" "The request is not what this endpoint takes";
    Unauthorised UNAUTHORIZED "unauthorised" "The bearer token is missing or wrong";
    Forbidden FORBIDDEN "forbidden" "Whoever asks may not";
    NotFound NOT_FOUND "not-found" "There is no such thing";
    WrongMethod METHOD_NOT_ALLOWED "wrong-method" "The endpoint does not take this method";
    LostRace PRECONDITION_FAILED "lost-race" "Another generation came first";
    TooLarge PAYLOAD_TOO_LARGE "too-large" "The body is too large";
    Invalid UNPROCESSABLE_ENTITY "invalid-configuration" "The configuration has mistakes";
    TooMany TOO_MANY_REQUESTS "too-many" "There are too many of these already";
    Internal INTERNAL_SERVER_ERROR "internal" "The control daemon failed";
}

/// What problems are.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// Longest text of an error that is made a problem of.
const ERROR_BYTES_MAX: usize = 4096;

/// Makes problems of the errors that the frame answers with by itself: a number that is none, a body that is too large.
pub(super) async fn of_every_error(response: Response) -> Response {
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == CONTENT_TYPE);
    let status = response.status();
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let known = ProblemKind::ALL.iter().find(|kind| kind.status() == status).copied();
    let kind = match known {
        Some(kind) => kind,
        None if status.is_client_error() => ProblemKind::Malformed,
        None => ProblemKind::Internal,
    };
    let text = axum::body::to_bytes(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    Problem::new(kind, String::from_utf8_lossy(&text)).into_response()
}

/// A problem on its way out.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    view: Box<ProblemView>,
}

impl Problem {
    /// Of this kind, with what happened this time.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let view = ProblemView {
            kind: format!("https://ringway.dev/problems/{}", kind.name()),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            hint: None,
            diagnostics: serde_json::Value::Null,
            rendered: None,
            newest: None,
        };
        Self { kind, view: Box::new(view) }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.view.hint = Some(hint.into());
        self
    }

    /// Adds the members of its kind.
    #[must_use]
    pub fn with(mut self, add: impl FnOnce(&mut ProblemView)) -> Self {
        add(&mut self.view);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), axum::Json(self.view)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if self.kind == ProblemKind::Unauthorised {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_an_error_with_a_name_of_its_own() {
        let mut names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| kind.status().as_u16() >= 400));
    }
}
