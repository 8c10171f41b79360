//! The strict line grammar of heads, one line at a time: where httparse finds no whole head or finds a fault, this says
//! how far the head is good and which fault is the first one. It is the definition; httparse is the fast path.

use memchr::{memchr, memchr_iter};

use crate::limits::{HeadLimits, METHOD_BYTES_MAX};
use crate::reject::Reject;
use crate::syntax::{is_target_byte, is_tchar, is_value_byte};

/// Which start line a head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartLine {
    Request,
    Response,
}

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The head's length, final empty line included: every line of it is good.
    End(usize),
    /// No end yet; where the first line begins that is not complete.
    More(usize),
    /// The first fault.
    Bad(Reject),
}

/// How much of a line that is not complete is checked at each look, so that garbage is refused at once.
const EAGER_BYTES: usize = 256;

/// Checks the lines of `bytes` from `from`, which begins a line all of whose predecessors were good. A line that is not
/// complete is checked whole only when a limit is reached, and in its first bytes when it is the first one: so dribbled
/// bytes cost little more than their number.
pub(crate) fn scan(bytes: &[u8], from: usize, start: StartLine, limits: &HeadLimits) -> Scan {
    let window = bytes.get(..limits.head_max()).unwrap_or(bytes);
    let full = bytes.len() >= limits.head_max();
    let mut line = LineNumber::at(window, from, start);
    let mut at = from;
    loop {
        let rest = window.get(at..).unwrap_or_default();
        let Some(len) = memchr(b'\n', rest) else {
            let judged = match full || line.is_overlong_start(rest, limits) {
                true => rest,
                false if from == 0 => rest.get(..EAGER_BYTES).unwrap_or(rest),
                false => &[],
            };
            let fault = line.fault(judged, false, limits);
            return match fault {
                Some(fault) => Scan::Bad(fault),
                None if full => Scan::Bad(Reject::HeadTooLarge),
                None => Scan::More(at),
            };
        };
        let content = rest.get(..len).unwrap_or_default();
        at += len + 1;
        if content == b"\r" && line.is_field() {
            return Scan::End(at);
        }
        if let Some(fault) = line.fault(content, true, limits) {
            return Scan::Bad(fault);
        }
        line.next(content);
    }
}

/// Where in a head a line stands.
struct LineNumber {
    start: StartLine,
    /// An empty line went before the start line.
    blank: bool,
    /// `None`: the start line is due. `Some(n)`: n field lines went before.
    fields: Option<usize>,
}

impl LineNumber {
    fn at(bytes: &[u8], from: usize, start: StartLine) -> Self {
        let before = bytes.get(..from).unwrap_or_default();
        let blank = start == StartLine::Request && before.starts_with(b"\r\n");
        let lines = memchr_iter(b'\n', before).count().saturating_sub(usize::from(blank));
        Self { start, blank, fields: lines.checked_sub(1) }
    }

    fn is_field(&self) -> bool {
        self.fields.is_some()
    }

    fn is_overlong_start(&self, rest: &[u8], limits: &HeadLimits) -> bool {
        !self.is_field() && rest.len() > limits.target_max()
    }

    fn next(&mut self, content: &[u8]) {
        self.fields = match self.fields {
            None if content == b"\r" => {
                self.blank = true;
                None
            }
            None => Some(0),
            Some(count) => Some(count + 1),
        };
    }

    /// The first fault of a line, given without its LF.
    fn fault(&self, line: &[u8], complete: bool, limits: &HeadLimits) -> Option<Reject> {
        let content = match line {
            [content @ .., b'\r'] => content,
            _ => line,
        };
        let fault = match self.fields {
            // After one empty line a CR is a fault whatever follows it.
            None if self.blank && line.first() == Some(&b'\r') => Some(Reject::LeadingBytes),
            None if content.is_empty() && self.start == StartLine::Request => None,
            None if self.start == StartLine::Request => request_line_fault(content, complete, limits),
            None => status_line_fault(content, complete),
            Some(_) if content.is_empty() => None,
            Some(count) if count >= limits.field_count_max() => Some(Reject::TooManyFields),
            Some(_) => field_fault(content, complete),
        };
        fault.or((complete && content.len() == line.len()).then_some(Reject::BareLf))
    }
}

fn request_line_fault(line: &[u8], complete: bool, limits: &HeadLimits) -> Option<Reject> {
    let missing = complete.then_some(Reject::RequestLine);
    let method_len = line.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_tchar(**byte)).count();
    match line.get(method_len) {
        _ if method_len > METHOD_BYTES_MAX => return Some(Reject::RequestLine),
        Some(b' ') if method_len > 0 => {}
        Some(_) => return Some(Reject::RequestLine),
        None => return missing,
    }
    let rest = line.get(method_len + 1..).unwrap_or_default();
    let target_max = limits.target_max();
    let target_len =
        rest.iter().take(target_max.saturating_add(1)).take_while(|byte| is_target_byte(**byte)).count();
    match rest.get(target_len) {
        _ if target_len > target_max => return Some(Reject::TargetTooLong),
        Some(b' ') if target_len > 0 => {}
        Some(b' ') => return Some(Reject::RequestLine),
        Some(_) => return Some(Reject::TargetByte),
        None => return missing,
    }
    version_fault(rest.get(target_len + 1..).unwrap_or_default(), complete)
}

fn version_fault(version: &[u8], complete: bool) -> Option<Reject> {
    let shape = b"HTTP/0.0";
    let same = version.iter().zip(shape).all(|(byte, model)| match model {
        b'0' => byte.is_ascii_digit(),
        model => byte == model,
    });
    if !same || (complete && version.len() < shape.len()) {
        return Some(Reject::RequestLine);
    }
    // The first byte at fault decides, so that a line that is not complete has the same fault.
    match version.get(..shape.len()) {
        Some(known) if !known.starts_with(b"HTTP/1.") => Some(Reject::Version),
        _ => (version.len() > shape.len()).then_some(Reject::RequestLine),
    }
}

fn status_line_fault(line: &[u8], complete: bool) -> Option<Reject> {
    let fault = Some(Reject::RequestLine);
    let shape = b"HTTP/1.0 000 ";
    let same = line.iter().zip(shape).all(|(byte, model)| match model {
        b'0' => byte.is_ascii_digit(),
        model => byte == model,
    });
    // The space after the code is left out by some servers.
    if !same || (complete && line.len() < shape.len() - 1) {
        return fault;
    }
    let reason = line.get(shape.len()..).unwrap_or_default();
    if reason.iter().all(|byte| is_value_byte(*byte)) { None } else { fault }
}

/// Makes a higher minor version of HTTP/1 the highest that is known, 1.1, which a message of it is read as (RFC 9110 §2.5). `at`: where
/// the digit stands in a head that [`scan`] found whole. `None`: it names no such version.
pub(crate) fn lower_minor(bytes: &mut [u8], at: usize) -> Option<()> {
    let digit = bytes.get_mut(at).filter(|digit| matches!(**digit, b'2'..=b'9'))?;
    *digit = b'1';
    Some(())
}

/// The first fault of a field line or of a trailer line.
pub(crate) fn field_fault(line: &[u8], complete: bool) -> Option<Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Some(Reject::ObsFold);
    }
    let name_len = line.iter().take_while(|byte| is_tchar(**byte)).count();
    match line.get(name_len) {
        Some(b':') if name_len > 0 => {}
        None if !complete => return None,
        _ => return Some(Reject::FieldName),
    }
    let value = line.get(name_len + 1..).unwrap_or_default();
    if value.iter().all(|byte| is_value_byte(*byte)) { None } else { Some(Reject::FieldValue) }
}
