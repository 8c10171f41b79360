//! Heads of the common form, read sixteen bytes at a time: every line ends in CRLF, no value holds HTAB, the head is whole.
//!
//! It only ever says yes: what it takes, httparse and the strict checks around it take alike (a law of `laws.rs`); anything else
//! goes their way. A head costs it half of what it costs them.

use crate::field::FieldId;
use crate::head::{Fields, Line, Span, Version};
use crate::lanes;
use crate::limits::{HeadLimits, METHOD_BYTES_MAX};
use crate::syntax::{Spelling, is_token, spelling, trim};

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
    let method_len = match bytes.first_chunk() {
        Some(b"GET ") => 3,
        _ => method_len(bytes)?,
    };
    let start = method_len + 1;
    // Whatever no target may hold ends it; only a space may.
    let end = find(bytes, start, lanes::beyond_target);
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

fn method_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().take(METHOD_BYTES_MAX + 1).position(|byte| *byte == b' ')?;
    bytes.get(..len).is_some_and(is_token).then_some(len)
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
    let end = find(bytes, 13, lanes::beyond_text);
    if bytes.get(end..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    let reason = if end == 13 { Span::default() } else { Span::new(13, end - 13)? };
    Some(ReplyStart { status, reason, version, end: end + 2 })
}

/// Reads the field lines from `at` on: the head's length.
pub(super) fn fields(bytes: &[u8], mut at: usize, limits: &HeadLimits, fields: &mut Fields) -> Option<u16> {
    // What ends beyond this is no head that is taken; and spans reach no further.
    let most = limits.head_max().min(usize::from(u16::MAX));
    let bytes = bytes.get(..most).unwrap_or(bytes);
    while bytes.get(at..)?.first_chunk() != Some(b"\r\n") {
        if fields.all().len() == limits.field_count_max() {
            return None;
        }
        let colon = find(bytes, at, lanes::colons);
        let named = bytes.get(..colon)?;
        let name = named.get(at..)?;
        let id = FieldId::ending(name, named);
        // A name of the table is a token.
        if id == FieldId::Other {
            match spelling(name) {
                Spelling::Plain => {}
                Spelling::Underscored => fields.note_underscore(),
                Spelling::Bad => return None,
            }
        }
        let line_end = find(bytes, colon + 1, lanes::controls);
        let (line, rest) = bytes.split_at_checked(line_end)?;
        if rest.first_chunk() != Some(b"\r\n") {
            return None;
        }
        let (value, line) = value(line.get(colon + 1..)?, colon + 1);
        fields.push_line(span(at, colon), value, id, line);
        at = line_end + 2;
    }
    Some(within_spans(at + 2))
}

/// Where a value stands: what follows the colon, without spaces around it.
#[inline]
fn value(after: &[u8], start: usize) -> (Span, Line) {
    match after {
        [b' ', value @ ..] if !matches!(value, [] | [b' ', ..] | [.., b' ']) => {
            (span(start + 1, start + after.len()), Line::Canonical)
        }
        _ => (trimmed(after, start), Line::Other),
    }
}

/// The same where not exactly one space goes before it and none follows.
#[cold]
#[inline(never)]
fn trimmed(after: &[u8], start: usize) -> Span {
    let (value, before) = (trim(after), after.iter().take_while(|byte| **byte == b' ').count());
    if value.is_empty() { Span::default() } else { span(start + before, start + before + value.len()) }
}

/// The span of two places in a head.
#[inline]
fn span(start: usize, end: usize) -> Span {
    Span { start: within_spans(start), len: within_spans(end - start) }
}

/// INVARIANT: `at` is a place in no more bytes than spans reach.
#[inline]
fn within_spans(at: usize) -> u16 {
    debug_assert!(u16::try_from(at).is_ok());
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    let place = at as u16;
    place
}

/// Found nowhere: beyond all bytes.
const NOWHERE: usize = usize::MAX;

/// Where the first byte from `at` on is that `marks` marks: bit by bit for sixteen bytes. Nowhere as well where there are not as many.
#[inline]
fn find(bytes: &[u8], at: usize, marks: impl Fn(&[u8; 16]) -> u32) -> usize {
    match bytes.get(at..).and_then(<[u8]>::first_chunk).map(&marks) {
        None => find_further(bytes, at, marks),
        Some(0) => find_further(bytes, at + 16, marks),
        Some(found) => at + found.trailing_zeros() as usize,
    }
}

/// The same, where it is further away or few bytes are left.
#[inline(never)]
fn find_further(bytes: &[u8], mut at: usize, marks: impl Fn(&[u8; 16]) -> u32) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = marks(chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    let (Some(last), Some(before)) = (bytes.last_chunk(), (at + 16).checked_sub(bytes.len())) else {
        return NOWHERE;
    };
    // Of the last sixteen bytes, those before `at` do not count.
    let found = marks(last).checked_shr(before as u32).unwrap_or(0);
    if found != 0 { at + found.trailing_zeros() as usize } else { NOWHERE }
}

#[cfg(test)]
mod tests {
    use super::{NOWHERE, find, lanes};

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for len in 16..50 {
            for place in 0..len {
                let mut bytes = vec![b'a'; len];
                bytes[place] = b':';
                for from in 0..=len {
                    let expected = if place >= from { place } else { NOWHERE };
                    assert_eq!(find(&bytes, from, lanes::colons), expected, "{place} of {len} from {from}");
                }
            }
        }
        assert_eq!(find(b"a:", 0, lanes::colons), NOWHERE, "too few bytes to look at");
    }
}
