//! Heads from the name-value pairs of HTTP/2 and HTTP/3: written once into a pooled buffer, and validated again there
//! (contract, rule 17; RFC 9113 §8.2 and §8.3).

use super::{
    Fields, Framing, RequestHead, RequestParts, ResponseHead, ResponseParts, Span, TargetForm, Upgrade,
    Version,
};
use crate::buffer::{Buffer, Class};
use crate::field::FieldId;
use crate::limits::{CONTENT_LENGTH_DIGITS_MAX, HeadLimits, METHOD_BYTES_MAX};
use crate::method::Method;
use crate::reject::{Reject, ResponseReject};
use crate::syntax::{Spelling, decimal, is_field_value, is_target, is_token, spelling};
use crate::target::{lower_authority, read_target};

/// Whether content follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The stream ended with the head.
    None,
    /// DATA frames follow, or may.
    Follows,
}

/// The bytes and lines of a head that is being assembled.
#[derive(Debug)]
struct Assembly {
    buffer: Buffer,
    fields: Fields,
    limits: HeadLimits,
}

impl Assembly {
    fn new(limits: &HeadLimits) -> Self {
        Self { buffer: Buffer::take(Class::K4), fields: Fields::take(), limits: *limits }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Span, Reject> {
        let start = self.buffer.len();
        if start + bytes.len() > self.limits.head_max() {
            return Err(Reject::HeadTooLarge);
        }
        while self.buffer.spare() < bytes.len() && self.buffer.class().larger().is_some() {
            let small = std::mem::replace(&mut self.buffer, Buffer::take(Class::K4));
            self.buffer = small.grown();
        }
        self.buffer.vec_mut().extend_from_slice(bytes);
        Span::new(start, bytes.len()).ok_or(Reject::HeadTooLarge)
    }

    /// Keeps an ordinary field.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        if self.fields.all().len() >= self.limits.field_count_max() {
            return Err(Reject::TooManyFields);
        }
        let spelling = spelling(name);
        if spelling == Spelling::Bad {
            return Err(Reject::FieldName);
        }
        let id = FieldId::of(name);
        let te = id == FieldId::Te && value.eq_ignore_ascii_case(b"trailers");
        let specific = id.is_hop_by_hop() && !te && id != FieldId::Trailer && !is_proxy_field(id);
        if specific || name.iter().any(u8::is_ascii_uppercase) {
            return Err(Reject::ConnectionField);
        }
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if !is_field_value(value) || blank(value.first()) || blank(value.last()) {
            return Err(Reject::FieldValue);
        }
        let (name, value) = (self.keep(name)?, self.keep(value)?);
        self.fields.push(name, value, id);
        if spelling == Spelling::Underscored && id == FieldId::Other {
            self.fields.note_underscore();
        }
        Ok(())
    }

    fn content_length(&self) -> Result<Option<u64>, Reject> {
        let mut values = self.fields.values(&self.buffer, FieldId::ContentLength);
        let Some(first) = values.next() else { return Ok(None) };
        if values.any(|other| other != first) {
            return Err(Reject::LengthConflict);
        }
        decimal(first, CONTENT_LENGTH_DIGITS_MAX).map(Some).ok_or(Reject::LengthSyntax)
    }

    /// Joins the Cookie fields, which HTTP/2 may split (RFC 9113 §8.2.3), into the first one.
    fn join_cookies(&mut self) -> Result<(), Reject> {
        let cookies = |fields: &Fields| fields.values(&[], FieldId::Cookie).count();
        if cookies(&self.fields) < 2 {
            return Ok(());
        }
        let values: Vec<&[u8]> = self.fields.values(&self.buffer, FieldId::Cookie).collect();
        let joined = values.join(&b"; "[..]);
        let value = self.keep(&joined)?;
        let mut first = true;
        for field in self.fields.list_mut().iter_mut().filter(|field| field.id == FieldId::Cookie) {
            if std::mem::take(&mut first) {
                field.set_value(value);
            } else {
                field.drop();
            }
        }
        Ok(())
    }
}

fn is_proxy_field(id: FieldId) -> bool {
    matches!(id, FieldId::ProxyAuthenticate | FieldId::ProxyAuthorization | FieldId::ProxyAuthenticationInfo)
}

/// A request's head in the making: pseudo-fields first, then fields, then [`Self::finish`].
#[derive(Debug)]
pub struct RequestAssembler {
    assembly: Assembly,
    version: Version,
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    /// `:protocol` of an extended CONNECT (RFC 8441 §4, RFC 9220).
    protocol: Option<Span>,
}

impl RequestAssembler {
    /// Nothing yet, for HTTP/2 or HTTP/3.
    #[must_use]
    pub fn new(version: Version, limits: &HeadLimits) -> Self {
        let assembly = Assembly::new(limits);
        Self { assembly, version, method: None, scheme: None, authority: None, path: None, protocol: None }
    }

    /// Takes the next pair; a name that begins with `:` is a pseudo-field.
    ///
    /// # Errors
    /// The class of what is malformed; the stream is reset or gets its status.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        if name.first() != Some(&b':') {
            return self.assembly.field(name, value);
        }
        let late = !self.assembly.fields.all().is_empty();
        let good = match name {
            b":method" => value.len() <= METHOD_BYTES_MAX && is_token(value),
            b":scheme" => matches!(value, b"http" | b"https"),
            b":authority" => true,
            b":path" if value.len() > self.assembly.limits.target_max() => return Err(Reject::TargetTooLong),
            b":path" => is_target(value) && matches!(value.first(), Some(b'/' | b'*')),
            b":protocol" => is_token(value),
            _ => false,
        };
        if late || !good {
            return Err(Reject::PseudoField);
        }
        let span = self.assembly.keep(value)?;
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":protocol" => &mut self.protocol,
            _ => &mut self.path,
        };
        if place.replace(span).is_some() { Err(Reject::PseudoField) } else { Ok(()) }
    }

    /// The head. Content of unknown length is [`Framing::Chunked`]. An extended CONNECT for a WebSocket becomes the GET with
    /// [`Upgrade::WebSocket`] that it is in HTTP/1.1; what follows it is a tunnel's and no content of its own.
    ///
    /// # Errors
    /// The class of what is missing or contradicts itself.
    pub fn finish(mut self, content: Content) -> Result<RequestHead, Reject> {
        self.assembly.join_cookies()?;
        let length = self.assembly.content_length()?;
        let upgrade = self.upgrade(content, length)?;
        let framing = match upgrade {
            Some(_) => Framing::Empty,
            None => framing(length, content).ok_or(Reject::LengthConflict)?,
        };
        let method_span = match upgrade {
            Some(_) => self.assembly.keep(b"GET")?,
            None => self.method.ok_or(Reject::PseudoField)?,
        };
        let Assembly { mut buffer, mut fields, .. } = self.assembly;
        fields.drop_disguised(&buffer);
        let method = Method::from_token(method_span.of(&buffer));
        let (Some(path), Some(_)) = (self.path, self.scheme) else { return Err(Reject::PseudoField) };
        let target = read_target(&buffer, path, method)?;
        let authority = agreed_authority(&buffer, &fields, self.authority)?;
        let (authority, host, port) = lower_authority(&mut buffer, Some(authority))?;
        let expects = fields.values(&buffer, FieldId::Expect).next();
        let expects_continue = match expects {
            Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => return Err(Reject::Expectation),
            Some(_) => framing != Framing::Empty,
            None => false,
        };
        let head_len = u16::try_from(buffer.len()).map_err(|_| Reject::HeadTooLarge)?;
        let parts = RequestParts {
            fields,
            head_len,
            method,
            version: self.version,
            form: if target.form == TargetForm::Asterisk { TargetForm::Asterisk } else { TargetForm::Origin },
            method_span,
            authority,
            host,
            path: target.path,
            encoded_slash: false,
            query: target.query,
            port,
            framing,
            persistent: true,
            expects_continue,
            accepts_trailers: true,
            upgrade,
        };
        Ok(RequestHead::new(buffer, Box::new(parts)))
    }

    /// What a CONNECT asks for: a WebSocket, or it is refused.
    fn upgrade(&self, content: Content, length: Option<u64>) -> Result<Option<Upgrade>, Reject> {
        let bytes = &self.assembly.buffer;
        let connects = self.method.is_some_and(|span| span.of(bytes) == b"CONNECT");
        match self.protocol {
            None if connects => Err(Reject::Connect),
            None => Ok(None),
            Some(_) if !connects => Err(Reject::PseudoField),
            Some(protocol) if protocol.of(bytes) != b"websocket" => Err(Reject::Connect),
            Some(_) if content == Content::None || length.is_some() => Err(Reject::Upgrade),
            Some(_) => Ok(Some(Upgrade::WebSocket)),
        }
    }
}

/// What the stream's end says of a length; `None`: it contradicts it.
fn framing(length: Option<u64>, content: Content) -> Option<Framing> {
    match (length, content) {
        (Some(0), Content::None) | (None, Content::None) => Some(Framing::Empty),
        (Some(_), Content::None) => None,
        (Some(length), Content::Follows) => Some(Framing::Length(length)),
        (None, Content::Follows) => Some(Framing::Chunked),
    }
}

/// `:authority` or Host; where both stand, they are equal (contract, rule 3).
fn agreed_authority(bytes: &[u8], fields: &Fields, pseudo: Option<Span>) -> Result<Span, Reject> {
    let mut hosts = fields.all().iter().filter(|field| field.id == FieldId::Host).map(|field| field.value);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reject::HostTwice);
    }
    match (pseudo, host) {
        (Some(one), Some(two)) if !one.of(bytes).eq_ignore_ascii_case(two.of(bytes)) => {
            Err(Reject::HostTwice)
        }
        (Some(span), _) | (None, Some(span)) => Ok(span),
        (None, None) => Err(Reject::HostMissing),
    }
}

/// A reply's head in the making.
#[derive(Debug)]
pub struct ResponseAssembler {
    assembly: Assembly,
    version: Version,
    status: Option<u16>,
}

impl ResponseAssembler {
    /// Nothing yet, for HTTP/2 or HTTP/3.
    #[must_use]
    pub fn new(version: Version, limits: &HeadLimits) -> Self {
        Self { assembly: Assembly::new(limits), version, status: None }
    }

    /// Takes the next pair.
    ///
    /// # Errors
    /// The class of what is malformed.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseReject> {
        if name.first() != Some(&b':') {
            return self.assembly.field(name, value).map_err(ResponseReject::from_line);
        }
        let status = decimal(value, 3).filter(|status| value.len() == 3 && *status >= 100);
        let late = !self.assembly.fields.all().is_empty() || self.status.is_some();
        match status.and_then(|status| u16::try_from(status).ok()) {
            Some(status) if name == b":status" && !late && status != 101 => {
                self.status = Some(status);
                Ok(())
            }
            _ => Err(ResponseReject::Status),
        }
    }

    /// The head of the reply to a request of this method.
    ///
    /// # Errors
    /// The class of what is missing or contradicts itself.
    pub fn finish(self, content: Content, method: Method) -> Result<ResponseHead, ResponseReject> {
        let status = self.status.ok_or(ResponseReject::Status)?;
        let length = self.assembly.content_length().map_err(ResponseReject::from_line)?;
        let without = status < 200 || matches!(status, 204 | 304) || method == Method::Head;
        let framing = if without { Some(Framing::Empty) } else { framing(length, content) };
        let announced = length.filter(|_| without && status >= 200 && status != 204);
        let Assembly { buffer, fields, .. } = self.assembly;
        let parts = ResponseParts {
            fields,
            head_len: u16::try_from(buffer.len()).map_err(|_| ResponseReject::HeadTooLarge)?,
            status,
            version: self.version,
            reason: Span::default(),
            framing: framing.ok_or(ResponseReject::Length)?,
            announced,
            persistent: true,
        };
        Ok(ResponseHead::new(buffer, Box::new(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, RequestAssembler, ResponseAssembler};
    use crate::http1::{RequestExtra, RequestLine, write_request_head};
    use crate::{
        Framing, HeadLimits, Method, Overlay, Reject, RequestHead, ResponseReject, Upgrade, Version,
    };

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    const PSEUDO: Pairs<'static> =
        &[(":method", "POST"), (":scheme", "https"), (":authority", "A.example"), (":path", "/p?q")];

    fn assemble(pairs: Pairs<'_>, more: Pairs<'_>, content: Content) -> Result<RequestHead, Reject> {
        let mut assembler = RequestAssembler::new(Version::Http2, &HeadLimits::DEFAULT);
        for (name, value) in pairs.iter().chain(more) {
            assembler.field(name.as_bytes(), value.as_bytes())?;
        }
        assembler.finish(content)
    }

    #[test]
    fn an_http2_request_is_written_as_http11() {
        let more =
            [("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2"), ("te", "trailers"), ("host", "a.EXAMPLE")];
        let head = assemble(PSEUDO, &more, Content::Follows).unwrap();
        assert_eq!((head.framing(), head.accepts_trailers()), (Framing::Chunked, true));
        let mut out = Vec::new();
        let (line, extra) = (RequestLine::of(&head), RequestExtra::default());
        write_request_head(&mut out, &head, &Overlay::take(), line, head.framing(), &extra);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /p?q HTTP/1.1\r\nHost: a.example\r\ncookie: a=1; c=2\r\nx-a: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn an_extended_connect_is_the_get_that_asks_for_a_websocket() {
        let connect = |protocol, more: Pairs<'_>, content| {
            let pairs = [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "https"),
                (":authority", "a.example"),
                (":path", "/chat?x"),
                ("sec-websocket-version", "13"),
            ];
            assemble(&pairs, more, content)
        };
        let head = connect("websocket", &[], Content::Follows).unwrap();
        assert_eq!((head.method(), head.method_bytes()), (Method::Get, &b"GET"[..]));
        assert_eq!((head.upgrade(), head.framing()), (Some(Upgrade::WebSocket), Framing::Empty));
        assert_eq!((head.path(), head.query()), (&b"/chat"[..], Some(&b"x"[..])));
        let fault = |result: Result<RequestHead, Reject>| result.map(drop).unwrap_err();
        assert_eq!(fault(connect("connect-udp", &[], Content::Follows)), Reject::Connect);
        assert_eq!(fault(connect("websocket", &[], Content::None)), Reject::Upgrade);
        assert_eq!(
            fault(connect("websocket", &[("content-length", "0")], Content::Follows)),
            Reject::Upgrade
        );
        assert_eq!(
            fault(assemble(PSEUDO, &[(":protocol", "websocket")], Content::Follows)),
            Reject::PseudoField
        );
    }

    #[test]
    fn pseudo_fields_are_whole_single_and_first() {
        use Reject::{Connect, HostMissing, PseudoField, TargetForm};
        for (skip, more, fault) in [
            (":method", &[][..], PseudoField),
            (":scheme", &[], PseudoField),
            (":path", &[], PseudoField),
            (":authority", &[], HostMissing),
            ("", &[(":path", "/")], PseudoField),
            ("", &[("x-a", "b"), (":method", "GET")], PseudoField),
            ("", &[(":status", "200")], PseudoField),
            (":path", &[(":path", "")], PseudoField),
            (":path", &[(":path", "a")], PseudoField),
            (":path", &[(":path", "/a b")], PseudoField),
            (":path", &[(":path", "*")], TargetForm),
            (":scheme", &[(":scheme", "ftp")], PseudoField),
            (":method", &[(":method", "G T")], PseudoField),
            (":method", &[(":method", "CONNECT")], Connect),
        ] {
            let pairs: Vec<_> = PSEUDO.iter().copied().filter(|(name, _)| *name != skip).collect();
            assert_eq!(assemble(&pairs, more, Content::None).map(|_| ()), Err(fault), "{skip} {more:?}");
        }
    }

    #[test]
    fn fields_are_validated_again() {
        use Reject::{ConnectionField, FieldName, FieldValue, HostTwice, LengthConflict, LengthSyntax};
        for (name, value, fault) in [
            ("X-A", "b", ConnectionField),
            ("connection", "close", ConnectionField),
            ("transfer-encoding", "chunked", ConnectionField),
            ("keep-alive", "5", ConnectionField),
            ("upgrade", "websocket", ConnectionField),
            ("te", "gzip", ConnectionField),
            ("x a", "b", FieldName),
            ("", "b", FieldName),
            ("x-a", "b\r\nc: d", FieldValue),
            ("x-a", " b", FieldValue),
            ("x-a", "b\t", FieldValue),
            ("x-a", "\0", FieldValue),
            ("host", "b", HostTwice),
            ("content-length", "5", LengthConflict),
            ("content-length", "+0", LengthSyntax),
        ] {
            assert_eq!(
                assemble(PSEUDO, &[(name, value)], Content::None).map(|_| ()),
                Err(fault),
                "{name} {value:?}"
            );
        }
        let large = "x".repeat(33 * 1024);
        assert_eq!(
            assemble(PSEUDO, &[("x-a", &large)], Content::None).map(|_| ()),
            Err(Reject::HeadTooLarge)
        );
        let many = [("x-a", "b"); 101];
        assert_eq!(assemble(PSEUDO, &many, Content::None).map(|_| ()), Err(Reject::TooManyFields));
        let long = "y".repeat(9000);
        let head = assemble(PSEUDO, &[("x-a", &long)], Content::None).unwrap();
        assert_eq!(head.field_named(b"x-a"), Some(long.as_bytes()));
    }

    #[test]
    fn a_replys_length_and_end_agree() {
        let finish = |pairs: Pairs<'_>, content, method| {
            let mut assembler = ResponseAssembler::new(Version::Http2, &HeadLimits::DEFAULT);
            for (name, value) in pairs {
                assembler.field(name.as_bytes(), value.as_bytes())?;
            }
            assembler
                .finish(content, method)
                .map(|head| (head.status(), head.framing(), head.announced_length()))
        };
        let ok: Pairs<'_> = &[(":status", "200"), ("content-length", "5")];
        assert_eq!(finish(ok, Content::Follows, Method::Get), Ok((200, Framing::Length(5), None)));
        assert_eq!(finish(ok, Content::None, Method::Head), Ok((200, Framing::Empty, Some(5))));
        assert_eq!(finish(ok, Content::None, Method::Get), Err(ResponseReject::Length));
        for bad in [&[(":status", "99")][..], &[(":status", "101")], &[(":status", "0200")], &[]] {
            assert_eq!(finish(bad, Content::None, Method::Get), Err(ResponseReject::Status));
        }
    }
}
