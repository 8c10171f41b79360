//! A target's request: what is sent, prepared as far as it can be.

use ringway_wire::Method;
use ringway_wire::syntax::{is_field_value, is_token};

use crate::data::Table;
use crate::template::{Place, Template, TemplateError, Values, write_number};

/// Before each gRPC message: whether it is compressed, and its length.
const GRPC_PREFIX_BYTES: usize = 5;

/// A request as it is written down, before it is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestText {
    /// Its method.
    pub(crate) method: String,
    /// Authority, sent as Host unless a field says otherwise.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
    /// Fields, `Name: value`.
    pub(crate) fields: Vec<String>,
    /// Its body; none and empty differ: an empty one is announced.
    pub(crate) body: Option<Vec<u8>>,
    /// The body is a gRPC message: five bytes go before it.
    pub(crate) grpc: bool,
}

/// Why a request cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// A place that cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The method is no token.
    #[error("`{0}` is no method")]
    Method(String),
    /// The target has white space or a control.
    #[error("`{0}` has a byte that a request target may not have: percent-encode it")]
    Target(String),
    /// The field is not `Name: value`.
    #[error("`{0}` is no field: write Name: value")]
    Field(String),
    /// A field that says how the message is framed, which is ours to say.
    #[error("the field `{0}` is written by the tool itself")]
    Framing(String),
}

/// A request that can be sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its method, as far as it decides about the reply.
    pub(crate) method: Method,
    /// Request line and fields of HTTP/1.1 but for those of framing and connection.
    head: Template,
    body: Option<Template>,
    grpc: bool,
    /// The whole of it where nothing has to be filled in: to keep the connection, and to close it after this one.
    fixed: Option<[Box<[u8]>; 2]>,
}

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It is used again.
    Keep,
    /// It is closed, and the request says so.
    Close,
}

impl Request {
    /// Checks and prepares a request.
    pub(crate) fn prepare(text: &RequestText, tables: &[Table]) -> Result<Self, BadRequest> {
        if !is_token(text.method.as_bytes()) {
            return Err(BadRequest::Method(text.method.clone()));
        }
        let outside = outside_places(&text.target);
        if !outside.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
            return Err(BadRequest::Target(text.target.clone()));
        }
        Template::parse(text.target.as_bytes(), tables, Place::Target)?;
        let mut head = format!("{} {} HTTP/1.1\r\n", text.method, text.target);
        let names: Vec<String> =
            text.fields.iter().map(|field| field_name(field)).collect::<Result<_, _>>()?;
        if !names.iter().any(|name| name == "host") {
            head.push_str(&format!("Host: {}\r\n", text.authority));
        }
        if !names.iter().any(|name| name == "user-agent") {
            head.push_str(concat!("User-Agent: ringway-load/", env!("CARGO_PKG_VERSION"), "\r\n"));
        }
        for field in &text.fields {
            let (name, value) = field.split_once(':').unwrap_or_default();
            head.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
        }
        let body = text.body.as_deref();
        let mut request = Self {
            method: Method::from_token(text.method.as_bytes()),
            head: Template::parse(head.as_bytes(), tables, Place::Field)?,
            body: body.map(|body| Template::parse(body, tables, Place::Body)).transpose()?,
            grpc: text.grpc,
            fixed: None,
        };
        if request.head.is_fixed() && request.body.as_ref().is_none_or(Template::is_fixed) {
            let mut values = Values::new(std::sync::Arc::default(), 0, 0, 1);
            let fixed = [After::Keep, After::Close].map(|after| {
                let mut out = Vec::new();
                request.compose(&mut out, after, &mut values);
                out.into_boxed_slice()
            });
            request.fixed = Some(fixed);
        }
        Ok(request)
    }

    /// The bytes to send: prepared ones, or written into `scratch`.
    #[inline]
    pub(crate) fn bytes<'a>(
        &'a self,
        scratch: &'a mut Vec<u8>,
        after: After,
        values: &mut Values,
    ) -> &'a [u8] {
        if let Some([keep, close]) = &self.fixed {
            return if after == After::Close { close } else { keep };
        }
        scratch.clear();
        self.compose(scratch, after, values);
        scratch
    }

    fn compose(&self, out: &mut Vec<u8>, after: After, values: &mut Values) {
        self.head.write(out, values);
        if after == After::Close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        let Some(body) = &self.body else {
            if self.method.expects_content() {
                out.extend_from_slice(b"Content-Length: 0\r\n");
            }
            out.extend_from_slice(b"\r\n");
            return;
        };
        let mut content = Vec::new();
        if self.grpc {
            content.extend_from_slice(&[0; GRPC_PREFIX_BYTES]);
        }
        body.write(&mut content, values);
        if self.grpc {
            // Not compressed, then the message's length: grpc/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message.
            let length = u32::try_from(content.len() - GRPC_PREFIX_BYTES).unwrap_or(u32::MAX).to_be_bytes();
            content.splice(1..GRPC_PREFIX_BYTES, length);
        }
        out.extend_from_slice(b"Content-Length: ");
        write_number(out, content.len() as u64);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&content);
    }
}

/// The lower-case name of `Name: value`, if it is one that may be sent.
fn field_name(field: &str) -> Result<String, BadRequest> {
    let fault = || BadRequest::Field(field.to_owned());
    let (name, value) = field.split_once(':').ok_or_else(fault)?;
    if !is_token(name.trim().as_bytes()) || !is_field_value(outside_places(value.trim()).as_bytes()) {
        return Err(fault());
    }
    let name = name.trim().to_ascii_lowercase();
    if matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
        return Err(BadRequest::Framing(name));
    }
    Ok(name)
}

/// A text without its `{{places}}`, which may hold blanks.
fn outside_places(text: &str) -> String {
    let mut outside = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        outside.push_str(before);
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    outside + rest
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::{After, BadRequest, Request, RequestText};
    use crate::data::tests::table;
    use crate::template::Values;

    fn text(method: &str, target: &str, fields: &[&str], body: Option<&str>) -> RequestText {
        RequestText {
            method: method.to_owned(),
            authority: "a.test:81".to_owned(),
            target: target.to_owned(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            body: body.map(|body| body.as_bytes().to_vec()),
            grpc: false,
        }
    }

    fn check(text: &RequestText, after: After, expected: &Expect) {
        let tables = Arc::new(vec![table("users", "id,token\n7,abc\n")]);
        let request = Request::prepare(text, &tables).unwrap();
        let mut values = Values::new(tables, 1, 0, 1);
        let sent = request.bytes(&mut Vec::new(), after, &mut values).to_vec();
        expected.assert_eq(&String::from_utf8(sent).unwrap().replace('\r', ""));
    }

    #[test]
    fn a_plain_request_is_prepared_once() {
        let plain = text("GET", "/x?y", &["user-agent: me"], None);
        check(
            &plain,
            After::Keep,
            &expect![[r#"
            GET /x?y HTTP/1.1
            Host: a.test:81
            user-agent: me

        "#]],
        );
        check(
            &text("POST", "/", &["Host: b", "User-Agent: me"], None),
            After::Close,
            &expect![[r#"
            POST / HTTP/1.1
            Host: b
            User-Agent: me
            Connection: close
            Content-Length: 0

        "#]],
        );
        assert!(Request::prepare(&plain, &[]).unwrap().fixed.is_some());
    }

    #[test]
    fn places_are_filled_in_everywhere_and_the_length_follows() {
        let filled = text(
            "PUT",
            "/u/{{users:id}}/{{ seq }}",
            &["User-Agent: me", "Authorization: Bearer {{users:token}}"],
            Some("{\"n\": {{seq}}}"),
        );
        check(
            &filled,
            After::Keep,
            &expect![[r#"
            PUT /u/7/0 HTTP/1.1
            Host: a.test:81
            User-Agent: me
            Authorization: Bearer abc
            Content-Length: 8

            {"n": 0}"#]],
        );
    }

    #[test]
    fn a_grpc_message_has_its_length_before_it() {
        let call =
            RequestText { grpc: true, ..text("POST", "/a.B/C", &["User-Agent: me"], Some("{{seq}}bc")) };
        let request = Request::prepare(&call, &[]).unwrap();
        let mut values = Values::new(Arc::default(), 1, 7, 8);
        let sent = request.bytes(&mut Vec::new(), After::Keep, &mut values).to_vec();
        assert!(sent.ends_with(b"Content-Length: 8\r\n\r\n\0\0\0\0\x037bc"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let refused = |text: RequestText| Request::prepare(&text, &[]).err().unwrap();
        assert!(matches!(refused(text("G T", "/", &[], None)), BadRequest::Method(_)));
        assert!(matches!(refused(text("GET", "/a b", &[], None)), BadRequest::Target(_)));
        assert!(matches!(refused(text("GET", "/", &["nothing"], None)), BadRequest::Field(_)));
        assert!(matches!(refused(text("GET", "/", &["a: b\r\nc: d"], None)), BadRequest::Field(_)));
        assert!(matches!(refused(text("GET", "/", &["Content-Length: 3"], None)), BadRequest::Framing(_)));
        assert!(matches!(refused(text("GET", "/{{x}}", &[], None)), BadRequest::Template(_)));
    }
}
