//! Heads of the common form, read eight bytes at a time: every line ends in CRLF, no value holds HTAB, the head is whole.
//!
//! It only ever says yes: what it takes, httparse and the strict checks around it take alike (a law of `laws.rs`); anything else
//! goes their way. A head costs it half of what it costs them.

use crate::field::FieldId;
use crate::head::{Fields, Span, Version};
use crate::limits::{HeadLimits, METHOD_BYTES_MAX};
use crate::syntax::{Spelling, below, each, equal, is_token, spelling};

/// The start line of a request.
pub(super) struct RequestStart {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
    /// Where the field lines begin.
    pub(super) end: usize,
}

/// The start line of a reply.
pub(super) struct ReplyStart {
    pub(super) status: u16,
    pub(super) reason: Span,
    pub(super) version: Version,
    /// Where the field lines begin.
    pub(super) end: usize,
}

/// `GET /path HTTP/1.1 CRLF`.
pub(super) fn request_start(bytes: &[u8], limits: &HeadLimits) -> Option<RequestStart> {
    let method_len = find(bytes, 0, |word| below(word, b'!'))?;
    let method = bytes.get(..method_len).filter(|method| is_token(method))?;
    if method.len() > METHOD_BYTES_MAX || bytes.get(method_len) != Some(&b' ') {
        return None;
    }
    let start = method_len + 1;
    // Whatever no target may hold ends it; only a space may.
    let end = find(bytes, start, |word| {
        below(word, b'!') | equal(word, 0x7f) | equal(word, b'#') | (word & each(0x80))
    })?;
    if end == start || end - start > limits.target_max() {
        return None;
    }
    let (version, end_of_line) = match bytes.get(end..)?.first_chunk::<11>()? {
        b" HTTP/1.1\r\n" => (Version::Http11, end + 11),
        b" HTTP/1.0\r\n" => (Version::Http10, end + 11),
        _ => return None,
    };
    Some(RequestStart {
        method: Span::new(0, method_len)?,
        target: Span::new(start, end - start)?,
        version,
        end: end_of_line,
    })
}

/// `HTTP/1.1 200 OK CRLF`.
pub(super) fn reply_start(bytes: &[u8]) -> Option<ReplyStart> {
    let (version, [space, hundreds, tens, ones, after]) =
        bytes.split_first_chunk::<8>().and_then(|(v, rest)| {
            let version = match v {
                b"HTTP/1.1" => Version::Http11,
                b"HTTP/1.0" => Version::Http10,
                _ => return None,
            };
            Some((version, *rest.first_chunk::<5>()?))
        })?;
    let digits = [hundreds, tens, ones];
    if (space, after) != (b' ', b' ') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let end = find(bytes, 13, |word| below(word, b' ') | equal(word, 0x7f) | (word & each(0x80)))?;
    if bytes.get(end..end + 2) != Some(b"\r\n") {
        return None;
    }
    let reason = if end == 13 { Span::default() } else { Span::new(13, end - 13)? };
    Some(ReplyStart { status, reason, version, end: end + 2 })
}

/// The field lines from `at` on: they, and the head's length.
pub(super) fn fields(bytes: &[u8], mut at: usize, limits: &HeadLimits) -> Option<(Fields, u16)> {
    let mut fields = Fields::take();
    let mut left = limits.field_count_max();
    loop {
        if bytes.get(at..at + 2) == Some(b"\r\n") {
            let len = at + 2;
            return if len <= limits.head_max() { Some((fields, u16::try_from(len).ok()?)) } else { None };
        }
        left = left.checked_sub(1)?;
        let colon = find(bytes, at, |word| equal(word, b':'))?;
        let name = bytes.get(at..colon)?;
        let id = FieldId::within(bytes, at, colon);
        // A name of the table is a token.
        if id == FieldId::Other {
            match spelling(name) {
                Spelling::Bad => return None,
                Spelling::Underscored => fields.note_underscore(),
                Spelling::Plain => {}
            }
        }
        let mut start = colon + 1;
        while bytes.get(start) == Some(&b' ') {
            start += 1;
        }
        let line_end = find(bytes, start, |word| below(word, b' ') | equal(word, 0x7f))?;
        if bytes.get(line_end..line_end + 2) != Some(b"\r\n") {
            return None;
        }
        let mut end = line_end;
        while end > start && bytes.get(end - 1) == Some(&b' ') {
            end -= 1;
        }
        let value = if end == start { Span::default() } else { Span::new(start, end - start)? };
        fields.push(Span::new(at, name.len())?, value, id);
        at = line_end + 2;
    }
}

/// Where the first byte is that `marks` marks by its high bit. A mark above a true one may be false, the lowest never is.
#[inline]
fn find(bytes: &[u8], mut at: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        let found = match rest.first_chunk::<8>() {
            Some(word) => marks(u64::from_le_bytes(*word)),
            None => return find_in_last(bytes, at, marks),
        };
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
}

/// The same in fewer than eight bytes.
#[inline(never)]
fn find_in_last(bytes: &[u8], at: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let mut word = [0; 8];
    word.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    let place = (marks(u64::from_le_bytes(word)).trailing_zeros() / 8) as usize;
    (place < rest.len()).then_some(at + place)
}
