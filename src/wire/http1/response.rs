//! Reading a reply's head.

use std::mem::MaybeUninit;

use super::lines::{Scan, StartLine, lower_minor, scan};
use super::{Parse, connection, framing, words};
use crate::buffer::Buffer;
use crate::field::FieldId;
use crate::head::{Fields, Line, ResponseHead, ResponseParts, Span, Version};
use crate::limits::{FIELDS_CEILING, HeadLimits};
use crate::method::Method;
use crate::reject::ResponseReject;
use crate::syntax::{Spelling, list_members, spelling};

/// What of the request decides how its reply is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts {
    /// Its method: a reply to HEAD has no content.
    pub method: Method,
    /// Whether it asked for an upgrade to websocket: only then 101 may come.
    pub upgrade_asked: bool,
}

/// Reads the reply head that `buffer` begins with; as [`super::parse_request`]. An empty line before it is garbage.
#[must_use]
pub fn parse_response(
    mut buffer: Buffer,
    facts: RequestFacts,
    limits: &HeadLimits,
) -> Parse<ResponseHead, ResponseReject> {
    match read(&mut buffer, facts, limits) {
        Ok(Some(parts)) => Parse::Complete(ResponseHead::new(buffer, parts)),
        Ok(None) => Parse::Partial(buffer),
        Err(reject) => Parse::Reject(reject, buffer),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    fields: Fields,
    status: u16,
    reason: Span,
    version: Version,
    len: u16,
}

fn read(
    buffer: &mut Buffer,
    facts: RequestFacts,
    limits: &HeadLimits,
) -> Result<Option<Box<ResponseParts>>, ResponseReject> {
    let searched = buffer.searched();
    if searched > 0 {
        match scan(buffer, searched, StartLine::Response, limits) {
            Scan::End(_) => {}
            Scan::More(at) => {
                buffer.set_searched(at);
                return Ok(None);
            }
            Scan::Bad(reject) => return Err(ResponseReject::from_line(reject)),
        }
    }
    let tokens = match in_words(buffer, limits).or_else(|| tokenize(buffer, limits)) {
        Some(tokens) => tokens,
        None => match scan(buffer, 0, StartLine::Response, limits) {
            Scan::More(at) => {
                buffer.set_searched(at);
                return Ok(None);
            }
            Scan::Bad(reject) => return Err(ResponseReject::from_line(reject)),
            // HTTP/1.2 to 1.9, where it is that.
            Scan::End(_) => lower_minor(buffer, b"HTTP/1.".len())
                .and_then(|()| tokenize(buffer, limits))
                .ok_or(ResponseReject::StatusLine)?,
        },
    };
    understand(buffer, tokens, facts).map(Some)
}

/// A head of the common form.
pub(super) fn in_words(bytes: &[u8], limits: &HeadLimits) -> Option<Tokens> {
    let start = words::reply_start(bytes)?;
    let mut fields = Fields::take();
    let len = words::fields(bytes, start.end, limits, &mut fields)?;
    Some(Tokens { fields, status: start.status, reason: start.reason, version: start.version, len })
}

pub(super) fn tokenize(bytes: &[u8], limits: &HeadLimits) -> Option<Tokens> {
    if bytes.first() != Some(&b'H') {
        return None;
    }
    let mut lines = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_CEILING];
    let lines = lines.get_mut(..limits.field_count_max())?;
    let mut reply = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut reply, bytes, lines) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) | Err(_) => return None,
    };
    let base = bytes.as_ptr() as usize;
    let span = |part: &[u8]| Span::new((part.as_ptr() as usize).wrapping_sub(base), part.len());
    let reason = match reply.reason? {
        "" => Span::default(),
        reason => span(reason.as_bytes())?,
    };
    if len > limits.head_max() || bytes.get(len.checked_sub(4)?..len) != Some(b"\r\n\r\n") {
        return None;
    }
    let version = if reply.version? == 1 { Version::Http11 } else { Version::Http10 };
    let mut fields = Fields::take();
    for line in reply.headers.iter() {
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
    Some(Tokens { fields, status: reply.code?, reason, version, len: u16::try_from(len).ok()? })
}

fn understand(
    bytes: &[u8],
    tokens: Tokens,
    facts: RequestFacts,
) -> Result<Box<ResponseParts>, ResponseReject> {
    let Tokens { mut fields, status, reason, version, len } = tokens;
    if status < 100 {
        return Err(ResponseReject::Status);
    }
    let framed = framing::of_reply(bytes, &fields, version, status, facts.method)?;
    let options = connection::apply(bytes, &mut fields).map_err(ResponseReject::from_line)?;
    if status == 101 {
        let granted = options.upgrade
            && fields
                .values(bytes, FieldId::Upgrade)
                .flat_map(list_members)
                .all(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
            && fields.present().contains(FieldId::Upgrade);
        if !facts.upgrade_asked || !granted || version == Version::Http10 {
            return Err(ResponseReject::Upgrade);
        }
    }
    let kept_alive = !options.close && (version == Version::Http11 || options.keep_alive);
    Ok(Box::new(ResponseParts {
        fields,
        head_len: len,
        status,
        version,
        reason,
        framing: framed.framing,
        announced: framed.announced,
        persistent: kept_alive && framed.sound && status != 101,
    }))
}
