//! Writing heads and chunks. All is re-serialised from what was parsed: framing and hop-by-hop fields are ours alone
//! (contract, rules 7 and 8).

use crate::field::FieldId;
use crate::head::{Fields, Framing, RequestHead, ResponseHead, Upgrade, Version};
use crate::host::parse_authority;
use crate::overlay::{BadEdit, Overlay};
use crate::request_id::place;
use crate::status::reason;
use crate::syntax::{is_field_value, is_target, is_token};
use crate::trailers::Trailers;

/// The target of a request that is written: bytes that were checked.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'a> {
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    /// The head's own target, in origin form (or `*`).
    #[must_use]
    pub fn of(head: &'a RequestHead) -> Self {
        Self { path: head.path(), query: head.query() }
    }

    /// Another path and query. `None` where they hold a byte that a target may not hold, `?` in the path, or no leading `/`.
    #[must_use]
    pub fn new(path: &'a [u8], query: Option<&'a [u8]>) -> Option<Self> {
        let good = path.first() == Some(&b'/')
            && !path.contains(&b'?')
            && is_target(path)
            && query.is_none_or(is_target);
        good.then_some(Self { path, query })
    }

    pub(crate) fn path(&self) -> &'a [u8] {
        self.path
    }

    pub(crate) fn query(&self) -> Option<&'a [u8]> {
        self.query
    }
}

/// An authority that may be written as Host.
#[derive(Debug, Clone, Copy)]
pub struct HostValue<'a>(&'a [u8]);

impl<'a> HostValue<'a> {
    /// `None` where it is no authority.
    #[must_use]
    pub fn new(authority: &'a [u8]) -> Option<Self> {
        let parts = parse_authority(authority)?;
        authority.get(..parts.len).map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// What the gateway adds to a request of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestExtra<'a> {
    /// Instead of the request's authority.
    pub host: Option<HostValue<'a>>,
    /// `Connection: close`.
    pub close: bool,
    /// `Upgrade` and `Connection: upgrade`.
    pub upgrade: Option<Upgrade>,
    /// `TE: trailers`.
    pub trailers: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
}

/// What the gateway adds to a reply of its own.
#[derive(Debug, Clone, Copy)]
pub struct ResponseExtra<'a> {
    /// The request's version: HTTP/1.0 gets no interim replies, no chunks, and `keep-alive` in words.
    pub version: Version,
    /// `Connection: close`.
    pub close: bool,
    /// `Upgrade` and `Connection: upgrade`: the tunnel begins (101), or is demanded (426).
    pub upgrade: Option<Upgrade>,
    /// `Date`, where the reply has none.
    pub date: Option<&'a [u8; 29]>,
}

/// Writes a request's head: request line, Host, the fields that are not dropped under the overlay's names, the overlay's fields,
/// and our framing.
pub fn write_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead,
    overlay: &Overlay,
    line: RequestLine<'_>,
    framing: Framing,
    extra: &RequestExtra<'_>,
) {
    let host = extra.host.map_or_else(|| head.authority(), |host| host.0);
    let query = line.query.unwrap_or_default();
    out.reserve(head.head_len() + line.path.len() + query.len() + host.len() + overlay.bytes_added() + 128);
    out.extend_from_slice(head.method_bytes());
    out.push(b' ');
    out.extend_from_slice(line.path);
    if line.query.is_some() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    write_fields(out, &head.buffer, &head.parts.fields, overlay);
    match framing {
        Framing::Empty if head.method().expects_content() => out.extend_from_slice(b"Content-Length: 0\r\n"),
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if extra.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if extra.trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    let connection: &[u8] = match (extra.upgrade, extra.close, extra.trailers) {
        (Some(Upgrade::WebSocket), _, _) => b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        (None, true, true) => b"Connection: close, TE\r\n",
        (None, true, false) => b"Connection: close\r\n",
        (None, false, true) => b"Connection: TE\r\n",
        (None, false, false) => b"",
    };
    out.extend_from_slice(connection);
    out.extend_from_slice(b"\r\n");
}

/// Writes a final reply's head, or that of 101. `framing` is how its content is written; a reply without content keeps the length
/// that it announced.
pub fn write_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    overlay: &Overlay,
    framing: Framing,
    extra: &ResponseExtra<'_>,
) {
    out.reserve(head.head_len() + overlay.bytes_added() + 160);
    write_status_line(out, head.status(), head.reason());
    write_fields(out, &head.buffer, &head.parts.fields, overlay);
    match (framing, head.announced_length()) {
        (Framing::Empty, Some(length)) => write_length(out, length),
        (Framing::Empty, None) => {}
        _ => write_reply_framing(out, framing),
    }
    let dated = head.parts.fields.present().contains(FieldId::Date);
    let date = extra.date.filter(|_| !dated);
    write_reply_end(out, &ResponseExtra { date, ..*extra });
}

/// Writes an interim reply (1xx but 101) with its fields.
pub fn write_interim(out: &mut Vec<u8>, head: &ResponseHead, overlay: &Overlay) {
    write_status_line(out, head.status(), head.reason());
    write_fields(out, &head.buffer, &head.parts.fields, overlay);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a reply that the gateway makes itself: its fields under the overlay's names, the overlay's fields, our
/// framing.
///
/// # Errors
/// [`BadEdit`] where a field's name or value is none; what was written is taken back.
pub fn write_status_head<'a>(
    out: &mut Vec<u8>,
    status: u16,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    overlay: &Overlay,
    framing: Framing,
    extra: &ResponseExtra<'_>,
) -> Result<(), BadEdit> {
    let before = out.len();
    write_status_line(out, status, b"");
    for (name, value) in fields {
        let fault = match () {
            () if !is_token(name) => Some(BadEdit::Name),
            () if !is_field_value(value) => Some(BadEdit::Value),
            () if FieldId::of(name).is_ours_to_write() => Some(BadEdit::Reserved),
            () => None,
        };
        if let Some(fault) = fault {
            out.truncate(before);
            return Err(fault);
        }
        if let Some(name) = overlay.name_of(FieldId::of(name), name) {
            write_field(out, name, value);
        }
    }
    overlay.write_added(out);
    write_reply_framing(out, framing);
    write_reply_end(out, extra);
    Ok(())
}

/// Writes a chunk's head; `len` bytes and CRLF follow it. `len` is not 0: that would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, len: u64) {
    let mut digits = [0u8; 16];
    let mut left = len;
    let mut count = 0;
    for place in digits.iter_mut().rev() {
        *place = match (left & 15) as u8 {
            digit @ 0..=9 => b'0' + digit,
            digit => b'a' + digit - 10,
        };
        left >>= 4;
        count += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body, with the trailers that may be passed on to one who takes them.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Trailers>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value, _) in trailers.into_iter().flat_map(Trailers::fields) {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields that are sent on. Lines side by side whose bytes are what their serialisation would be (`name: value CRLF`,
/// each byte of it checked) are copied together: a quarter of the writer's time went into copies of a few bytes.
fn write_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, overlay: &Overlay) {
    let mut run = 0..0;
    let touched = overlay.touches_any(fields.present());
    for field in fields.all() {
        if !field.is_sent() {
            continue;
        }
        let line = if touched && overlay.touches(field.id) { None } else { field.canonical_line() };
        if let Some(line) = line {
            if run.end == line.start {
                run.end = line.end;
                continue;
            }
            if run.end > 0 {
                out.extend_from_slice(bytes.get(run).unwrap_or_default());
            }
            run = line;
        } else if let Some(name) = overlay.name_of(field.id, field.name.of(bytes)) {
            out.extend_from_slice(bytes.get(run).unwrap_or_default());
            run = 0..0;
            write_field(out, name, field.value.of(bytes));
        }
    }
    out.extend_from_slice(bytes.get(run).unwrap_or_default());
    overlay.write_added(out);
}

#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The line of a reply's date, of constant size and so copied at once.
fn write_date(out: &mut Vec<u8>, date: &[u8; 29]) {
    let mut line = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    place(&mut line, 6, *date);
    out.extend_from_slice(&line);
}

fn write_status_line(out: &mut Vec<u8>, status: u16, given: &[u8]) {
    if let (200, b"" | b"OK") = (status, given) {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(if given.is_empty() { reason(status).as_bytes() } else { given });
    out.extend_from_slice(b"\r\n");
}

fn write_reply_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Empty | Framing::UntilClose => {}
    }
}

fn write_reply_end(out: &mut Vec<u8>, extra: &ResponseExtra<'_>) {
    if let Some(date) = extra.date {
        write_date(out, date);
    }
    let connection: &[u8] = match (extra.upgrade, extra.close, extra.version) {
        (Some(Upgrade::WebSocket), true, _) => b"Connection: close, upgrade\r\nUpgrade: websocket\r\n",
        (Some(Upgrade::WebSocket), false, _) => b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        (None, true, _) => b"Connection: close\r\n",
        (None, false, Version::Http10) => b"Connection: keep-alive\r\n",
        (None, false, _) => b"",
    };
    out.extend_from_slice(connection);
    out.extend_from_slice(b"\r\n");
}
