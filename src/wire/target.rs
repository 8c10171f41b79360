//! Request targets (RFC 9112 §3.2) and the authority that they or Host name.

use crate::head::{Span, TargetForm};
use crate::host::parse_authority;
use crate::method::Method;
use crate::reject::Reject;

/// A target's form and parts.
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    pub(crate) authority: Option<Span>,
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
}

impl Target {
    /// OPTIONS of an absolute form without path and query asks for `*` (RFC 9112 §3.2.4), which is written in the place of the scheme.
    pub(crate) fn make_asterisk(&mut self, bytes: &mut [u8], method: Method) {
        let whole = self.form == TargetForm::Absolute && self.path.len == 0 && self.query.is_none();
        if method != Method::Options || !whole {
            return;
        }
        // Before the authority stands `//`.
        let Some(at) = self.authority.and_then(|authority| authority.start.checked_sub(1)) else { return };
        if let Some(place) = bytes.get_mut(usize::from(at)) {
            *place = b'*';
            (self.form, self.path) = (TargetForm::Asterisk, Span { start: at, len: 1 });
        }
    }
}

/// Reads a target whose bytes are good.
pub(crate) fn read_target(bytes: &[u8], span: Span, method: Method) -> Result<Target, Reject> {
    if method == Method::Connect {
        return Err(Reject::Connect);
    }
    let target = span.of(bytes);
    match target {
        [b'/', ..] => Ok(split_path(bytes, span, TargetForm::Origin, None)),
        b"*" if method == Method::Options => {
            Ok(Target { form: TargetForm::Asterisk, authority: None, path: span, query: None })
        }
        _ => {
            let scheme = [&b"http://"[..], b"https://"]
                .into_iter()
                .find(|scheme| {
                    target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                })
                .ok_or(Reject::TargetForm)?;
            let after = target.get(scheme.len()..).unwrap_or_default();
            let len = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
            let start = span.start as usize + scheme.len();
            let authority = Span::new(start, len).ok_or(Reject::TargetForm)?;
            let path = Span::new(start + len, after.len() - len).ok_or(Reject::TargetForm)?;
            Ok(split_path(bytes, path, TargetForm::Absolute, Some(authority)))
        }
    }
}

fn split_path(bytes: &[u8], span: Span, form: TargetForm, authority: Option<Span>) -> Target {
    let at = memchr::memchr(b'?', span.of(bytes)).and_then(|at| u16::try_from(at).ok());
    let (path, query) = match at {
        Some(at) => (
            Span { start: span.start, len: at },
            Some(Span { start: span.start + at + 1, len: span.len - at - 1 }),
        ),
        None => (span, None),
    };
    Target { form, authority, path, query }
}

/// Checks and lower-cases the authority in place: authority, host and port.
pub(crate) fn lower_authority(
    bytes: &mut [u8],
    span: Option<Span>,
) -> Result<(Span, Span, Option<u16>), Reject> {
    let Some(span) = span else { return Ok((Span::default(), Span::default(), None)) };
    let text = span.of_mut(bytes);
    let parts = parse_authority(text).ok_or(Reject::HostSyntax)?;
    if parts.has_capitals {
        text.make_ascii_lowercase();
    }
    let cut = |len: usize| Span { start: span.start, len: u16::try_from(len).unwrap_or(0) };
    Ok((cut(parts.len), cut(parts.host_len), parts.port))
}
