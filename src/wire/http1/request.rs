//! Reading a request's head.

use std::mem::MaybeUninit;

use super::lines::{Scan, StartLine, lower_minor, scan};
use super::{Parse, connection, framing, words};
use crate::buffer::Buffer;
use crate::field::FieldId;
use crate::head::{Fields, Framing, Line, RequestHead, RequestParts, Span, Version};
use crate::host::parse_authority;
use crate::limits::{FIELDS_CEILING, HeadLimits, METHOD_BYTES_MAX};
use crate::method::Method;
use crate::reject::Reject;
use crate::syntax::{Spelling, is_target, list_members, spelling};
use crate::target::{lower_authority, read_target};

/// Reads the head that `buffer` begins with. Pure: the same bytes give the same answer however they were split, and a
/// buffer that came back as `Partial` is not searched twice.
#[must_use]
pub fn parse_request(mut buffer: Buffer, limits: &HeadLimits) -> Parse<RequestHead, Reject> {
    match read(&mut buffer, limits) {
        Ok(Some(parts)) => Parse::Complete(RequestHead::new(buffer, parts)),
        Ok(None) => Parse::Partial(buffer),
        Err(reject) => Parse::Reject(reject, buffer),
    }
}

/// The syntax of a whole head: what httparse found, as spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    fields: Fields,
    method: Span,
    target: Span,
    version: Version,
    len: u16,
}

fn read(buffer: &mut Buffer, limits: &HeadLimits) -> Result<Option<Box<RequestParts>>, Reject> {
    let searched = buffer.searched();
    if searched > 0 {
        match scan(buffer, searched, StartLine::Request, limits) {
            Scan::End(_) => {}
            Scan::More(at) => {
                buffer.set_searched(at);
                return Ok(None);
            }
            Scan::Bad(reject) => return Err(reject),
        }
    }
    let tokens = match in_words(buffer, limits).or_else(|| tokenize(buffer, limits)) {
        Some(tokens) => tokens,
        // Not a whole head that is beyond doubt: the strict scan says what it is.
        None => match scan(buffer, 0, StartLine::Request, limits) {
            Scan::More(at) => {
                buffer.set_searched(at);
                return Ok(None);
            }
            Scan::Bad(reject) => return Err(reject),
            Scan::End(_) => read_as_http11(buffer, limits).ok_or(Reject::RequestLine)?,
        },
    };
    understand(buffer, tokens).map(Some)
}

/// A head of HTTP/1.2 to 1.9, all of whose lines are good.
fn read_as_http11(buffer: &mut Buffer, limits: &HeadLimits) -> Option<Tokens> {
    let start = if buffer.starts_with(b"\r\n") { 2 } else { 0 };
    let line_len = memchr::memchr(b'\r', buffer.get(start..)?)?;
    lower_minor(buffer, (start + line_len).checked_sub(1)?)?;
    tokenize(buffer, limits)
}

/// A head of the common form.
pub(super) fn in_words(bytes: &[u8], limits: &HeadLimits) -> Option<Tokens> {
    let start = words::request_start(bytes, limits)?;
    let mut fields = Fields::take();
    let len = words::fields(bytes, start.end, limits, &mut fields)?;
    Some(Tokens { fields, method: start.method, target: start.target, version: start.version, len })
}

/// Runs httparse and the strict checks of what it is lenient about. `None`: no whole head or a fault.
pub(super) fn tokenize(bytes: &[u8], limits: &HeadLimits) -> Option<Tokens> {
    let mut lines = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_CEILING];
    let lines = lines.get_mut(..limits.field_count_max())?;
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(bytes, lines) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) | Err(_) => return None,
    };
    let base = bytes.as_ptr() as usize;
    let span = |part: &[u8]| Span::new((part.as_ptr() as usize).wrapping_sub(base), part.len());
    let method = span(request.method?.as_bytes())?;
    let target = span(request.path?.as_bytes())?;
    // httparse skips any number of empty lines, and takes LF for CRLF: each line must begin after a CRLF.
    let leading = match method.start {
        0 => true,
        2 => bytes.starts_with(b"\r\n"),
        _ => false,
    };
    let ends_well = bytes.get(len.checked_sub(4)?..len) == Some(b"\r\n\r\n");
    let small = len <= limits.head_max()
        && target.len as usize <= limits.target_max()
        && method.len as usize <= METHOD_BYTES_MAX;
    if !(leading && ends_well && small && is_target(target.of(bytes))) {
        return None;
    }
    let version = if request.version? == 1 { Version::Http11 } else { Version::Http10 };
    let mut fields = Fields::take();
    for line in request.headers.iter() {
        let name = span(line.name.as_bytes())?;
        if bytes.get((name.start as usize).checked_sub(2)?..name.start as usize) != Some(b"\r\n") {
            return None;
        }
        let value = if line.value.is_empty() { Span::default() } else { span(line.value)? };
        let id = FieldId::of(line.name.as_bytes());
        if id == FieldId::Other && spelling(line.name.as_bytes()) == Spelling::Underscored {
            fields.note_underscore();
        }
        fields.push_line(name, value, id, Line::of(name, value, bytes));
    }
    Some(Tokens { fields, method, target, version, len: u16::try_from(len).ok()? })
}

/// The meaning of a head whose syntax is good.
fn understand(buffer: &mut Buffer, tokens: Tokens) -> Result<Box<RequestParts>, Reject> {
    let Tokens { mut fields, method: method_span, target, version, len } = tokens;
    let method = Method::from_token(method_span.of(buffer));
    let mut target = read_target(buffer, target, method)?;
    target.make_asterisk(buffer, method);
    let host = read_host(&fields, version)?;
    if let (Some(_), Some(host)) = (target.authority, host) {
        // It is overridden, and must be valid all the same.
        parse_authority(host.of(buffer)).ok_or(Reject::HostSyntax)?;
    }
    let (authority, host, port) = lower_authority(buffer, target.authority.or(host))?;
    let mut framing = framing::of_request(buffer, &fields, version)?;
    fields.drop_disguised(buffer);
    let options = connection::apply(buffer, &mut fields)?;
    let upgrade = if options.upgrade && version == Version::Http11 {
        connection::upgrade(buffer, &fields, method, framing)?
    } else {
        None
    };
    if upgrade.is_some() {
        framing = Framing::Empty;
    }
    let present = fields.present();
    let expects = present.contains(FieldId::Expect) && read_expect(buffer, &fields, version)?;
    let accepts_trailers = present.contains(FieldId::Te) && reads_trailers(buffer, &fields);
    Ok(Box::new(RequestParts {
        fields,
        head_len: len,
        method,
        version,
        form: target.form,
        method_span,
        authority,
        host,
        path: target.path,
        encoded_slash: false,
        query: target.query,
        port,
        framing,
        persistent: !options.close && (version == Version::Http11 || options.keep_alive),
        expects_continue: expects && !matches!(framing, Framing::Empty | Framing::Length(0)),
        accepts_trailers,
        upgrade,
    }))
}

/// The Host line, not yet checked: exactly one in HTTP/1.1, at most one in HTTP/1.0.
fn read_host(fields: &Fields, version: Version) -> Result<Option<Span>, Reject> {
    let mut hosts = fields.all().iter().filter(|field| field.id == FieldId::Host);
    let Some(host) = hosts.next() else {
        return if version == Version::Http10 { Ok(None) } else { Err(Reject::HostMissing) };
    };
    if hosts.next().is_some() {
        return Err(Reject::HostTwice);
    }
    Ok(Some(host.value))
}

/// Whether TE says that its sender reads trailers.
fn reads_trailers(bytes: &[u8], fields: &Fields) -> bool {
    let mut codings = fields.values(bytes, FieldId::Te).flat_map(list_members);
    codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether `100 Continue` is waited for; HTTP/1.0 may not ask (RFC 9110 §10.1.1).
fn read_expect(bytes: &[u8], fields: &Fields, version: Version) -> Result<bool, Reject> {
    let mut asked = false;
    for value in fields.values(bytes, FieldId::Expect) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Reject::Expectation);
        }
        asked = version == Version::Http11;
    }
    Ok(asked)
}
