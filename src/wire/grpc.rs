//! gRPC as far as a gateway sees it (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`): which requests are gRPC, their deadline, and how a
//! reply of the gateway's own says no.

pub mod web;

use crate::field::FieldId;
use crate::head::RequestHead;
use crate::method::Method;

/// Digits of a deadline.
const TIMEOUT_DIGITS_MAX: usize = 8;
/// Most of a message that is told to a caller, before it is encoded.
const MESSAGE_BYTES_MAX: usize = 512;

/// Which form of gRPC a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// gRPC itself.
    Native,
    /// gRPC-Web: the trailers are a last frame of the content.
    Web,
    /// gRPC-Web in base64.
    WebText,
}

impl Form {
    /// The form that a media type names; `None`: it is no gRPC.
    #[must_use]
    pub fn of_content_type(value: &[u8]) -> Option<Self> {
        let (form, _) = split(value)?;
        Some(form)
    }

    /// The form of a request: a POST with a media type of gRPC.
    #[must_use]
    pub fn of(head: &RequestHead) -> Option<Self> {
        let posted = head.method() == Method::Post;
        head.field(FieldId::ContentType).filter(|_| posted).and_then(Self::of_content_type)
    }

    /// The media type of this form, without what says how messages are encoded (`+proto`).
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }

    /// Appends `content_type` as it is in this form: its suffix and parameters stay.
    pub fn write_content_type(self, content_type: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.media_type().as_bytes());
        if let Some((_, rest)) = split(content_type) {
            out.extend_from_slice(rest);
        }
    }
}

/// The form, and what follows its name: `+proto`, `;charset=utf-8`, nothing.
fn split(content_type: &[u8]) -> Option<(Form, &[u8])> {
    [Form::WebText, Form::Web, Form::Native].into_iter().find_map(|form| {
        let name = form.media_type().as_bytes();
        let (head, rest) = content_type.split_at_checked(name.len())?;
        let ended = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        (ended && head.eq_ignore_ascii_case(name)).then_some((form, rest))
    })
}

/// A status of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// UNKNOWN.
    Unknown = 2,
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded = 4,
    /// PERMISSION_DENIED.
    PermissionDenied = 7,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted = 8,
    /// UNIMPLEMENTED.
    Unimplemented = 12,
    /// INTERNAL.
    Internal = 13,
    /// UNAVAILABLE.
    Unavailable = 14,
    /// UNAUTHENTICATED.
    Unauthenticated = 16,
}

impl Status {
    /// What a status of HTTP means to a caller of gRPC. That of `http-grpc-status-mapping.md`, which is for callers that know
    /// nothing but the status; we know more where we say no: a limit is RESOURCE_EXHAUSTED and no reason to try again at once,
    /// time that is over is DEADLINE_EXCEEDED, and what is not there UNIMPLEMENTED.
    #[must_use]
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 | 500 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 405 | 501 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            413 | 414 | 429 | 431 => Self::ResourceExhausted,
            421 | 502 | 503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Its number, as `grpc-status` says it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "2",
            Self::DeadlineExceeded => "4",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

/// Appends a `grpc-message`: printable ASCII but `%` as it is, every other byte percent-encoded. Cut at 512 bytes of text.
pub fn write_message(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let text = text.get(..text.floor_char_boundary(MESSAGE_BYTES_MAX)).unwrap_or_default();
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Nanoseconds of each unit of a deadline, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// The nanoseconds of a `grpc-timeout`: one to eight digits and a unit. `None`: it is none.
#[must_use]
pub fn timeout_ns(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let (_, scale) = UNITS.iter().find(|(name, _)| name == unit)?;
    crate::syntax::decimal(digits, TIMEOUT_DIGITS_MAX).map(|number| number.saturating_mul(*scale))
}

/// Appends a `grpc-timeout` of at most so many nanoseconds, in the finest unit that holds them in eight digits.
pub fn write_timeout(ns: u64, out: &mut Vec<u8>) {
    let fits = |(_, scale): &&(u8, u64)| ns / scale < 10u64.pow(TIMEOUT_DIGITS_MAX as u32);
    let (unit, scale) = UNITS.iter().find(fits).copied().unwrap_or((b'H', 3_600_000_000_000));
    let number = (ns / scale).min(99_999_999);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(unit);
}

#[cfg(test)]
mod tests {
    use super::{Form, Status, timeout_ns, write_message, write_timeout};

    #[test]
    fn a_media_type_names_a_form_and_keeps_what_follows() {
        for (value, form) in [
            ("application/grpc", Some(Form::Native)),
            ("application/grpc+proto", Some(Form::Native)),
            ("Application/GRPC;x=y", Some(Form::Native)),
            ("application/grpc-web", Some(Form::Web)),
            ("application/grpc-web+proto", Some(Form::Web)),
            ("application/grpc-web-text+proto", Some(Form::WebText)),
            ("application/grpcx", None),
            ("application/grpc-webby", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Form::of_content_type(value.as_bytes()), form, "{value}");
        }
        let mut out = Vec::new();
        Form::Native.write_content_type(b"application/grpc-web-text+proto;a=b", &mut out);
        assert_eq!(out, b"application/grpc+proto;a=b");
    }

    #[test]
    fn deadlines_are_read_strictly_and_written_no_longer_than_they_are() {
        for (value, ns) in [
            ("1n", Some(1)),
            ("20u", Some(20_000)),
            ("100m", Some(100_000_000)),
            ("5S", Some(5_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("99999999H", Some(u64::MAX)),
            ("0S", Some(0)),
            ("123456789n", None),
            ("-1S", None),
            ("1", None),
            ("S", None),
            ("1s", None),
            ("1.5S", None),
            ("", None),
        ] {
            assert_eq!(timeout_ns(value.as_bytes()), ns, "{value}");
        }
        for (ns, text) in [
            (0, "0n"),
            (99_999_999, "99999999n"),
            (100_000_001, "100000u"),
            (15_000_000_000, "15000000u"),
            (u64::MAX, "5124095H"),
        ] {
            let mut out = Vec::new();
            write_timeout(ns, &mut out);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), text);
            assert!(timeout_ns(&out).unwrap() <= ns);
        }
    }

    #[test]
    fn a_message_is_percent_encoded_and_bounded() {
        let mut out = Vec::new();
        write_message("100 % é\n", &mut out);
        assert_eq!(out, b"100 %25 %C3%A9%0A");
        out.clear();
        write_message(&"é".repeat(400), &mut out);
        assert_eq!(out.len(), 512 * 3);
    }

    #[test]
    fn statuses_are_mapped_as_the_specification_says_or_more_exactly() {
        for (status, known) in [
            (400, Status::Internal),
            (401, Status::Unauthenticated),
            (403, Status::PermissionDenied),
            (404, Status::Unimplemented),
            (405, Status::Unimplemented),
            (408, Status::DeadlineExceeded),
            (413, Status::ResourceExhausted),
            (417, Status::Unknown),
            (421, Status::Unavailable),
            (429, Status::ResourceExhausted),
            (500, Status::Internal),
            (502, Status::Unavailable),
            (503, Status::Unavailable),
            (504, Status::DeadlineExceeded),
        ] {
            assert_eq!(Status::of_http(status), known, "{status}");
            assert_eq!(known.text(), (known as u8).to_string());
        }
    }
}
