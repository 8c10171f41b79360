//! The echo service of the quick start: answers every request with what it received, as JSON.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// Where it listens; the quick start's upstream says the same.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9080);
/// Most bytes of a body that are sent back.
const BODY_BYTES_SHOWN_MAX: usize = 4096;

/// Serves until the future is dropped.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, Router::new().fallback(echo)).await
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let fields = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    let shown = body.get(..body.len().min(BODY_BYTES_SHOWN_MAX)).unwrap_or_default();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": fields.collect::<Map<String, Value>>(),
        "body": String::from_utf8_lossy(shown),
        "body_bytes": body.len(),
    }))
}
