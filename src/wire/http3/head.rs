//! Field sections and the heads and trailers that they are: the same validation as HTTP/2's (RFC 9114 §4.2 and §4.3).

use super::frame::write_headers;
use super::qpack::{SectionEnd, read_section, write_field, write_prefix, write_status};
use crate::head::{Content, RequestAssembler, RequestHead, ResponseAssembler, ResponseHead, Version};
use crate::limits::{ChunkLimits, HeadLimits};
use crate::message::OutgoingHead;
use crate::method::Method;
use crate::reject::{Reject, ResponseReject};
use crate::trailers::Trailers;

/// Reads a request's head.
///
/// # Errors
/// The section cannot be decoded, or is no head of a request.
pub fn read_request(
    section: &[u8],
    content: Content,
    limits: &HeadLimits,
) -> Result<RequestHead, SectionEnd<Reject>> {
    let mut assembler = RequestAssembler::new(Version::Http3, limits);
    read_section(section, |name, value| assembler.field(name, value))?;
    assembler.finish(content).map_err(SectionEnd::Stopped)
}

/// Reads the head of a reply to a request of this method.
///
/// # Errors
/// The section cannot be decoded, or is no head of a reply.
pub fn read_response(
    section: &[u8],
    content: Content,
    method: Method,
    limits: &HeadLimits,
) -> Result<ResponseHead, SectionEnd<ResponseReject>> {
    let mut assembler = ResponseAssembler::new(Version::Http3, limits);
    read_section(section, |name, value| assembler.field(name, value))?;
    assembler.finish(content, method).map_err(SectionEnd::Stopped)
}

/// Reads a trailer section.
///
/// # Errors
/// The section cannot be decoded, or is none.
pub fn read_trailers(section: &[u8], limits: &ChunkLimits) -> Result<Trailers, SectionEnd<Reject>> {
    let mut trailers = Trailers::default();
    read_section(section, |name, value| trailers.push(name, value, limits))?;
    Ok(trailers)
}

/// What each field counts beside its name and value (RFC 9114 §4.2.2).
const FIELD_BYTES: usize = 32;

/// Appends a head as a HEADERS frame. Returns the size of its fields as SETTINGS_MAX_FIELD_SECTION_SIZE counts it.
pub fn write_head(out: &mut Vec<u8>, head: &OutgoingHead<'_>) -> u64 {
    let mut size = 0;
    write_headers(out, |out| {
        write_prefix(out);
        if let Some(status) = head.status() {
            size += b":status".len() + 3 + FIELD_BYTES;
            write_status(out, status);
        }
        head.each(|name, value| {
            size += name.len() + value.len() + FIELD_BYTES;
            write_field(out, name, value);
        });
    });
    size as u64
}

/// Appends trailers as a HEADERS frame: those that may be passed on. Without any, nothing. Returns their size, as [`write_head`]
/// does.
pub fn write_trailers(out: &mut Vec<u8>, trailers: &Trailers) -> u64 {
    let mut size = 0;
    if trailers.fields().next().is_none() {
        return 0;
    }
    write_headers(out, |out| {
        write_prefix(out);
        for (name, value, _) in trailers.fields() {
            size += name.len() + value.len() + FIELD_BYTES;
            if name.iter().any(u8::is_ascii_uppercase) {
                write_field(out, &name.to_ascii_lowercase(), value);
            } else {
                write_field(out, name, value);
            }
        }
    });
    size as u64
}

#[cfg(test)]
mod tests {
    use super::{read_request, read_response, read_trailers, write_head, write_trailers};
    use crate::http3::message::{Event, MessageLimits, MessageReader, Part, Role};
    use crate::http3::qpack::{SectionEnd, write_field, write_prefix};
    use crate::{
        ChunkLimits, Framing, HeadLimits, Method, OutgoingHead, Overlay, Reject, ResponseReject, Trailers,
        Version,
    };
    use crate::{head::Content, head::RequestHead};

    type Fields<'a> = &'a [(&'a str, &'a str)];
    type Case = (&'static str, Vec<(&'static str, &'static str)>, Fields<'static>, Reject);

    const PSEUDO: Fields<'static> =
        &[(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y")];

    fn section(fields: &[Fields<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        write_prefix(&mut out);
        for (name, value) in fields.iter().copied().flatten() {
            write_field(&mut out, name.as_bytes(), value.as_bytes());
        }
        out
    }

    fn request(fields: &[Fields<'_>]) -> Result<RequestHead, SectionEnd<Reject>> {
        read_request(&section(fields), Content::None, &HeadLimits::DEFAULT)
    }

    #[test]
    fn a_request_is_read() {
        let head = request(&[PSEUDO, &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]]).unwrap();
        assert_eq!(
            (head.version(), head.method(), head.host()),
            (Version::Http3, Method::Get, &b"a.example"[..])
        );
        assert_eq!((head.path(), head.query()), (&b"/x"[..], Some(&b"y"[..])));
        assert_eq!(head.field_named(b"cookie"), Some(&b"a=1; b=2"[..]));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let without = |name: &str| PSEUDO.iter().copied().filter(|pair| pair.0 != name).collect::<Vec<_>>();
        let cases: &[Case] = &[
            ("no method", without(":method"), &[], Reject::PseudoField),
            ("no scheme", without(":scheme"), &[], Reject::PseudoField),
            ("no path", without(":path"), &[], Reject::PseudoField),
            ("no authority", without(":authority"), &[], Reject::HostMissing),
            ("a method twice", PSEUDO.to_vec(), &[(":method", "GET")], Reject::PseudoField),
            ("a pseudo-field late", without(":path"), &[("a", "b"), (":path", "/")], Reject::PseudoField),
            ("an unknown one", PSEUDO.to_vec(), &[(":foo", "b")], Reject::PseudoField),
            ("one of replies", PSEUDO.to_vec(), &[(":status", "200")], Reject::PseudoField),
            ("upper case", PSEUDO.to_vec(), &[("X-A", "b")], Reject::ConnectionField),
            (
                "a field of the connection",
                PSEUDO.to_vec(),
                &[("connection", "close")],
                Reject::ConnectionField,
            ),
            ("a coding", PSEUDO.to_vec(), &[("transfer-encoding", "chunked")], Reject::ConnectionField),
            ("te", PSEUDO.to_vec(), &[("te", "gzip")], Reject::ConnectionField),
            ("a line break", PSEUDO.to_vec(), &[("a", "b\r\nc: d")], Reject::FieldValue),
            ("a blank name", PSEUDO.to_vec(), &[("a b", "c")], Reject::FieldName),
            ("another host", PSEUDO.to_vec(), &[("host", "b.example")], Reject::HostTwice),
            ("a length without content", PSEUDO.to_vec(), &[("content-length", "3")], Reject::LengthConflict),
            ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a:1")], &[], Reject::Connect),
        ];
        for (name, pseudo, more, reject) in cases {
            assert_eq!(request(&[pseudo, more]).unwrap_err(), SectionEnd::Stopped(*reject), "{name}");
        }
        let large = "x".repeat(40_000);
        let end = request(&[PSEUDO, &[("a", &large)]]).unwrap_err();
        assert_eq!(end, SectionEnd::Stopped(Reject::HeadTooLarge));
    }

    #[test]
    fn a_head_that_is_written_is_read() {
        let overlay = Overlay::take();
        let fields = [(&b"Content-Type"[..], &b"text/plain"[..]), (b"X-Some", b"thing")];
        let own = OutgoingHead::own(404, &fields, &overlay, Framing::Length(2), None).unwrap();
        let mut out = Vec::new();
        // Each field with its name, its value and 32: ":status", "content-type", "x-some", "content-length".
        assert_eq!(write_head(&mut out, &own), (10 + 32) + (22 + 32) + (11 + 32) + (15 + 32));
        let mut reader = MessageReader::new(Role::Client, MessageLimits::DEFAULT);
        let Ok((taken, Event::Section(Part::Head, len))) = reader.next(&out) else { panic!() };
        let section = reader.section(&out[..taken], len);
        let head = read_response(section, Content::Follows, Method::Get, &HeadLimits::DEFAULT).unwrap();
        assert_eq!((head.status(), head.framing()), (404, Framing::Length(2)));
        assert_eq!(head.field_named(b"x-some"), Some(&b"thing"[..]));
        let upgraded = section_of_status("101");
        let end = read_response(&upgraded, Content::None, Method::Get, &HeadLimits::DEFAULT).unwrap_err();
        assert_eq!(end, SectionEnd::Stopped(ResponseReject::Status));
    }

    fn section_of_status(status: &str) -> Vec<u8> {
        section(&[&[(":status", status)]])
    }

    #[test]
    fn trailers_are_fields_alone() {
        let good = section(&[&[("grpc-status", "0"), ("x-sum", "abc")]]);
        let trailers = read_trailers(&good, &ChunkLimits::DEFAULT).unwrap();
        let mut out = Vec::new();
        assert_eq!(write_trailers(&mut out, &trailers), (12 + 32) + (8 + 32));
        assert_eq!(out.get(3..), Some(&good[..]));
        for bad in [(":status", "200"), ("connection", "x"), ("A", "b"), ("a", "\n")] {
            let end = read_trailers(&section(&[&[bad]]), &ChunkLimits::DEFAULT);
            assert!(matches!(end, Err(SectionEnd::Stopped(_))), "{bad:?}");
        }
        let many = section(&[&[("a", "b"); 33]]);
        let end = read_trailers(&many, &ChunkLimits::DEFAULT).unwrap_err();
        assert_eq!(end, SectionEnd::Stopped(Reject::TrailersTooLarge));
        let mut none = Vec::new();
        assert_eq!(write_trailers(&mut none, &Trailers::default()), 0);
        assert!(none.is_empty());
    }
}
