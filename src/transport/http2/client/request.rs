//! A request's head as the h2 crate takes it.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Request, Version};
use ringway_wire::field::FieldId;
use ringway_wire::message::OutgoingHead;
use ringway_wire::method::Method;

/// The ranges of a field in the bytes of its head.
struct Line {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// The request, and its method for reading the reply. `None`: it holds what cannot be sent.
pub(super) fn of(head: &OutgoingHead<'_>) -> Option<(Request<()>, Method)> {
    // Names and values are written once, one after the other; values are slices of that.
    let mut bytes = BytesMut::with_capacity(1024);
    let mut lines: Vec<Line> = Vec::with_capacity(24);
    head.each(|name, value| {
        let start = bytes.len();
        bytes.extend_from_slice(name);
        let middle = bytes.len();
        bytes.extend_from_slice(value);
        lines.push(Line { name: start..middle, value: middle..bytes.len() });
    });
    let bytes = bytes.freeze();
    let (mut method, mut uri) = (http::Method::GET, http::uri::Parts::default());
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let value = bytes.slice(line.value);
        match bytes.get(line.name)? {
            b":method" => method = http::Method::from_bytes(&value).ok()?,
            b":scheme" => uri.scheme = Some(Scheme::try_from(&*value).ok()?),
            b":authority" => uri.authority = Some(Authority::from_maybe_shared(value).ok()?),
            b":path" => uri.path_and_query = Some(path(value)?),
            name => {
                let mut value = HeaderValue::from_maybe_shared(value).ok()?;
                value.set_sensitive(is_of_one_caller(FieldId::of(name)));
                fields.append(HeaderName::from_bytes(name).ok()?, value);
            }
        }
    }
    let known = Method::from_token(method.as_str().as_bytes());
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.headers_mut() = fields;
    Some((request, known))
}

/// Whether a value is a caller's alone or a request's alone. Such values never enter the table of the connection, which many
/// callers share (RFC 7541 §7.1.3), and would only push others out of it.
fn is_of_one_caller(id: FieldId) -> bool {
    matches!(
        id,
        FieldId::Authorization
            | FieldId::ProxyAuthorization
            | FieldId::XApiKey
            | FieldId::Cookie
            | FieldId::XRequestId
            | FieldId::Traceparent
    )
}

/// The target. A byte that HTTP/1.1 lets pass and the h2 crate does not (`<`, `|`) is percent-encoded, as the URI it stands for
/// has it (RFC 3986 §2.1).
fn path(target: Bytes) -> Option<PathAndQuery> {
    if let Ok(path) = PathAndQuery::from_maybe_shared(target.clone()) {
        return Some(path);
    }
    let mut encoded = String::with_capacity(target.len() + 16);
    for &byte in &target {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    PathAndQuery::try_from(encoded).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringway_wire::http1::{Parse, RequestExtra, RequestLine, parse_request};
    use ringway_wire::message::OutgoingHead;
    use ringway_wire::{Buffer, HeadLimits, Method, Overlay};

    use super::{of, path};

    #[test]
    fn every_target_that_is_taken_can_be_sent() {
        for byte in 0x21..0x7fu8 {
            for target in [[b'/', byte, b'a'], [b'/', b'?', byte]] {
                if byte != b'#' {
                    let sent = path(Bytes::copy_from_slice(&target)).unwrap();
                    let same = sent.as_str().as_bytes() == target;
                    let encoded = sent.as_str().contains(&format!("%{byte:02X}"));
                    assert!(same || encoded, "{:?} {sent}", byte as char);
                }
            }
        }
        assert_eq!(path(Bytes::from_static(b"*")).unwrap().as_str(), "*");
        assert_eq!(path(Bytes::from_static(b"/a%2Fb?<|>")).unwrap().as_str(), "/a%2Fb?%3C%7C%3E");
    }

    #[test]
    fn a_head_is_sent_as_it_is_and_secrets_stay_out_of_the_table() {
        let bytes = b"PATCH /a?b HTTP/1.1\r\nHost: H.example:81\r\nX-A: 1\r\nx-a: 2\r\nAuthorization: s\r\nCookie: a=1; b=2\r\nContent-Length: 3\r\n\r\n";
        let Parse::Complete(head) = parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) else {
            panic!()
        };
        let (overlay, extra) = (Overlay::take(), RequestExtra::default());
        let (line, framing) = (RequestLine::of(&head), head.framing());
        let outgoing = OutgoingHead::Request {
            head: &head,
            overlay: &overlay,
            line,
            framing,
            extra: &extra,
            scheme: "https",
        };
        let (request, method) = of(&outgoing).unwrap();
        assert_eq!(method, Method::Patch);
        assert_eq!(request.uri(), "https://h.example:81/a?b");
        let all = |name: &str| -> Vec<String> {
            let values = request.headers().get_all(name).iter();
            values.map(|value| format!("{} {}", value.to_str().unwrap(), value.is_sensitive())).collect()
        };
        assert_eq!(all("x-a"), ["1 false", "2 false"]);
        assert_eq!(all("authorization"), ["s true"]);
        assert_eq!(all("cookie"), ["a=1 true", "b=2 true"]);
        assert_eq!(all("content-length"), ["3 false"]);
    }
}
