//! Heads on their way into HTTP/2 and HTTP/3: pseudo-fields first, then fields in lower case, none of which belongs to a
//! connection (RFC 9113 §8.2 and §8.3, RFC 9114 §4.2 and §4.3).

use crate::field::FieldId;
use crate::head::{Framing, RequestHead, ResponseHead};
use crate::http1::{RequestExtra, RequestLine};
use crate::overlay::{BadEdit, Overlay};
use crate::syntax::{is_field_value, is_token};

/// Name and value of a field that the gateway adds.
pub type OwnField<'a> = (&'a [u8], &'a [u8]);

/// A head that is sent as fields rather than as text.
#[derive(Debug, Clone, Copy)]
pub enum OutgoingHead<'a> {
    /// A reply that is passed on.
    Reply {
        /// As it came.
        head: &'a ResponseHead,
        /// Edits.
        overlay: &'a Overlay,
        /// How its content is written; only [`Framing::Length`] shows in the head.
        framing: Framing,
        /// `Date`, where the reply has none.
        date: Option<&'a [u8; 29]>,
    },
    /// A reply of the gateway's own, checked by [`OutgoingHead::own`].
    Own(OwnHead<'a>),
    /// An interim reply that is passed on.
    Interim(&'a ResponseHead),
    /// `100 Continue` of the gateway's own.
    Continue,
    /// An upstream agreed to a WebSocket with 101: 200 for a caller who asked by extended CONNECT (RFC 8441 §5, RFC 9220).
    Tunnel {
        /// The head of 101.
        head: &'a ResponseHead,
        /// Edits.
        overlay: &'a Overlay,
    },
    /// A request to an upstream.
    Request {
        /// As it came.
        head: &'a RequestHead,
        /// Edits.
        overlay: &'a Overlay,
        /// The target.
        line: RequestLine<'a>,
        /// How its content is written.
        framing: Framing,
        /// What the gateway adds.
        extra: &'a RequestExtra<'a>,
        /// `http` or `https`.
        scheme: &'static str,
    },
}

/// A reply that the gateway makes itself.
#[derive(Debug, Clone, Copy)]
pub struct OwnHead<'a> {
    status: u16,
    fields: &'a [OwnField<'a>],
    overlay: &'a Overlay,
    framing: Framing,
    date: Option<&'a [u8; 29]>,
}

impl<'a> OutgoingHead<'a> {
    /// The head of a reply of the gateway's own.
    ///
    /// # Errors
    /// [`BadEdit`] where a field's name or value is none, or is the gateway's alone to write.
    pub fn own(
        status: u16,
        fields: &'a [OwnField<'a>],
        overlay: &'a Overlay,
        framing: Framing,
        date: Option<&'a [u8; 29]>,
    ) -> Result<Self, BadEdit> {
        for (name, value) in fields {
            match () {
                () if !is_token(name) => return Err(BadEdit::Name),
                () if !is_field_value(value) => return Err(BadEdit::Value),
                () if FieldId::of(name).is_ours_to_write() => return Err(BadEdit::Reserved),
                () => {}
            }
        }
        Ok(Self::Own(OwnHead { status, fields, overlay, framing, date }))
    }

    /// The status of a reply; `None` for a request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Reply { head, .. } | Self::Interim(head) => Some(head.status()),
            Self::Own(own) => Some(own.status),
            Self::Continue => Some(100),
            Self::Tunnel { .. } => Some(200),
            Self::Request { .. } => None,
        }
    }

    /// Whether another head follows it.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status().is_some_and(|status| status < 200)
    }

    /// Calls `see` with each pseudo-field but `:status`, whose number [`Self::status`] is, and then with each field, the name in
    /// lower case.
    pub fn each(&self, mut see: impl FnMut(&[u8], &[u8])) {
        let mut lower = Vec::new();
        let mut lowered = |name: &[u8], value: &[u8]| {
            if name.iter().any(u8::is_ascii_uppercase) {
                lower.clear();
                lower.extend(name.iter().map(u8::to_ascii_lowercase));
                see(&lower, value);
            } else {
                see(name, value);
            }
        };
        match *self {
            Self::Reply { head, overlay, framing, date } => {
                head.sent_fields(overlay).for_each(|(name, value)| lowered(name, value));
                let length = match framing {
                    Framing::Length(length) => Some(length),
                    Framing::Empty => head.announced_length(),
                    Framing::Chunked | Framing::UntilClose => None,
                };
                each_length(length, &mut lowered);
                let dated = head.field_lines().present().contains(FieldId::Date);
                each_date(date.filter(|_| !dated), &mut lowered);
            }
            Self::Own(own) => each_own(&own, &mut lowered),
            Self::Interim(head) => {
                head.sent_fields(&Overlay::take()).for_each(|(name, value)| lowered(name, value));
            }
            Self::Continue => {}
            Self::Tunnel { head, overlay } => {
                // The handshake's proof is HTTP/1.1's alone.
                let passed = head
                    .sent_fields(overlay)
                    .filter(|(name, _)| FieldId::of(name) != FieldId::SecWebSocketAccept);
                passed.for_each(|(name, value)| lowered(name, value));
            }
            Self::Request { head, overlay, line, framing, extra, scheme } => {
                each_of_request(head, overlay, line, framing, extra, scheme, &mut lowered);
            }
        }
    }
}

fn each_own(own: &OwnHead<'_>, see: &mut impl FnMut(&[u8], &[u8])) {
    for (name, value) in own.fields {
        if let Some(name) = own.overlay.name_of(FieldId::of(name), name) {
            see(name, value);
        }
    }
    own.overlay.added().for_each(|(name, value)| see(name, value));
    let length = match own.framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    each_length(length, see);
    each_date(own.date, see);
}

fn each_of_request(
    head: &RequestHead,
    overlay: &Overlay,
    line: RequestLine<'_>,
    framing: Framing,
    extra: &RequestExtra<'_>,
    scheme: &str,
    see: &mut impl FnMut(&[u8], &[u8]),
) {
    see(b":method", head.method_bytes());
    see(b":scheme", scheme.as_bytes());
    see(b":authority", extra.host.map_or_else(|| head.authority(), |host| host.as_bytes()));
    match line.query() {
        None => see(b":path", line.path()),
        Some(query) => {
            let mut target = Vec::with_capacity(line.path().len() + 1 + query.len());
            target.extend_from_slice(line.path());
            target.push(b'?');
            target.extend_from_slice(query);
            see(b":path", &target);
        }
    }
    for (name, value) in head.sent_fields(overlay) {
        if FieldId::of(name) == FieldId::Cookie {
            // Crumbs compress better each for itself (RFC 9113 §8.2.3).
            value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).for_each(|crumb| see(name, crumb));
        } else {
            see(name, value);
        }
    }
    let length = match framing {
        Framing::Length(length) => Some(length),
        Framing::Empty if head.method().expects_content() => Some(0),
        _ => None,
    };
    each_length(length, see);
    if extra.expect_continue {
        see(b"expect", b"100-continue");
    }
    if extra.trailers {
        see(b"te", b"trailers");
    }
}

fn each_length(length: Option<u64>, see: &mut impl FnMut(&[u8], &[u8])) {
    if let Some(length) = length {
        see(b"content-length", itoa::Buffer::new().format(length).as_bytes());
    }
}

fn each_date(date: Option<&[u8; 29]>, see: &mut impl FnMut(&[u8], &[u8])) {
    if let Some(date) = date {
        see(b"date", date);
    }
}

#[cfg(test)]
mod tests {
    use super::OutgoingHead;
    use crate::http1::{Parse, RequestExtra, RequestFacts, RequestLine, parse_request, parse_response};
    use crate::{Buffer, Framing, HeadLimits, Method, Overlay};

    fn shown(head: &OutgoingHead<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        head.each(|name, value| {
            lines.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        });
        lines
    }

    #[test]
    fn a_request_becomes_pseudo_fields_and_lower_case_names_without_those_of_the_connection() {
        let bytes = b"GET /a?b HTTP/1.1\r\nHost: h.example\r\nX-A: 1\r\nCookie: a=1; b=2\r\nConnection: keep-alive\r\nTE: trailers\r\n\r\n";
        let Parse::Complete(head) = parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) else {
            panic!()
        };
        let mut overlay = Overlay::take();
        overlay.set(b"X-B", b"2").unwrap();
        let extra = RequestExtra { trailers: true, ..RequestExtra::default() };
        let line = RequestLine::of(&head);
        let request = OutgoingHead::Request {
            head: &head,
            overlay: &overlay,
            line,
            framing: Framing::Empty,
            extra: &extra,
            scheme: "https",
        };
        assert_eq!(request.status(), None);
        assert_eq!(
            shown(&request),
            [
                ":method=GET",
                ":scheme=https",
                ":authority=h.example",
                ":path=/a?b",
                "x-a=1",
                "cookie=a=1",
                "cookie=b=2",
                "x-b=2",
                "te=trailers"
            ]
        );
    }

    #[test]
    fn a_reply_keeps_its_length_and_gets_a_date_once() {
        let bytes = b"HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 3\r\nKeep-Alive: 5\r\n\r\nabc";
        let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
        let Parse::Complete(head) = parse_response(Buffer::copied_from(bytes), facts, &HeadLimits::DEFAULT)
        else {
            panic!()
        };
        let overlay = Overlay::take();
        let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let reply =
            OutgoingHead::Reply { head: &head, overlay: &overlay, framing: head.framing(), date: Some(date) };
        assert_eq!(reply.status(), Some(200));
        assert_eq!(shown(&reply), ["server=s", "content-length=3", "date=Sun, 06 Nov 1994 08:49:37 GMT"]);
    }

    #[test]
    fn a_reply_of_our_own_holds_no_field_that_cannot_be_written() {
        let overlay = Overlay::take();
        for field in [
            (&b"x a"[..], &b"v"[..]),
            (b"x-a", b"a\r\nb: c"),
            (b"connection", b"close"),
            (b"content-length", b"9"),
        ] {
            assert!(OutgoingHead::own(200, &[field], &overlay, Framing::Empty, None).is_err());
        }
        let fields = [(&b"Content-Type"[..], &b"text/plain"[..])];
        let own = OutgoingHead::own(404, &fields, &overlay, Framing::Length(2), None).unwrap();
        assert_eq!(shown(&own), ["content-type=text/plain", "content-length=2"]);
        assert_eq!(shown(&OutgoingHead::Continue), [""; 0]);
        assert!(OutgoingHead::Continue.is_interim() && !own.is_interim());
    }
}
