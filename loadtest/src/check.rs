//! What is expected of a reply, and the reader that finds out.

use aws_lc_rs::digest::{Context, SHA256};

use crate::failure::Failure;

/// Content that is kept for a search: beyond it the search sees the beginning only.
const SEARCHED_BYTES_MAX: usize = 4 << 20;

/// What a target's replies must be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    /// Admitted statuses, from and to; empty: any below 400.
    pub(crate) statuses: Vec<(u16, u16)>,
    /// The body's length in bytes.
    pub(crate) length: Option<u64>,
    /// The body's SHA-256.
    pub(crate) sha256: Option<[u8; 32]>,
    /// What the body must contain.
    pub(crate) contains: Option<Box<[u8]>>,
}

/// A check that is not written as one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCheck {
    /// No status.
    #[error("`{0}` is no status such as 200, 2xx or 200-204")]
    Status(String),
    /// No hash.
    #[error("`{0}` is no SHA-256: 64 hex digits")]
    Hash(String),
}

impl Checks {
    /// Whether the body's bytes have to be looked at.
    #[inline]
    pub(crate) fn reads_body(&self) -> bool {
        self.sha256.is_some() || self.contains.is_some()
    }

    /// What is wrong with a reply of this status, before its body.
    #[inline]
    fn status(&self, status: u16) -> Option<Failure> {
        let good = if self.statuses.is_empty() {
            status < 400
        } else {
            self.statuses.iter().any(|(from, to)| (*from..=*to).contains(&status))
        };
        (!good).then_some(Failure::Status)
    }

    /// What is wrong with a reply, if anything: status first, then length, hash, content.
    #[inline]
    pub(crate) fn verdict(&self, status: u16, length: u64, body: Option<Body>) -> Option<Failure> {
        if let Some(failure) = self.status(status) {
            return Some(failure);
        }
        if self.length.is_some_and(|expected| expected != length) {
            return Some(Failure::Length);
        }
        body.and_then(|body| self.content(body))
    }

    fn content(&self, body: Body) -> Option<Failure> {
        if let (Some(expected), Some(hash)) = (&self.sha256, body.hash)
            && hash.finish().as_ref() != expected
        {
            return Some(Failure::Body);
        }
        let searched = self.contains.as_ref()?;
        memchr::memmem::find(&body.kept, searched).is_none().then_some(Failure::Substring)
    }

    /// A reader for one body, where the checks need one.
    #[inline]
    pub(crate) fn body(&self) -> Option<Body> {
        self.reads_body().then(|| Body {
            hash: self.sha256.is_some().then(|| Context::new(&SHA256)),
            kept: Vec::new(),
            keep: self.contains.is_some(),
        })
    }
}

/// What the checks need of a body.
pub(crate) struct Body {
    hash: Option<Context>,
    kept: Vec<u8>,
    keep: bool,
}

impl Body {
    /// Takes the next bytes of it.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        if self.keep {
            let room = SEARCHED_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }
}

/// Statuses as they are written: `200`, `2xx`, `200-204`, and lists of these.
pub(crate) fn parse_statuses(text: &str) -> Result<Vec<(u16, u16)>, BadCheck> {
    text.split(',')
        .map(|part| parse_status(part.trim()).ok_or_else(|| BadCheck::Status(part.to_owned())))
        .collect()
}

fn parse_status(text: &str) -> Option<(u16, u16)> {
    let valid = |status: &str| status.parse::<u16>().ok().filter(|status| (100..=999).contains(status));
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    match text.split_once('-') {
        Some((from, to)) => Some((valid(from)?, valid(to)?)).filter(|(from, to)| from <= to),
        None => valid(text).map(|status| (status, status)),
    }
}

/// A SHA-256 in hex.
pub(crate) fn parse_sha256(text: &str) -> Result<[u8; 32], BadCheck> {
    let fault = || BadCheck::Hash(text.to_owned());
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(fault());
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        let digits = text.get(place * 2..place * 2 + 2).ok_or_else(fault)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| fault())?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::{Checks, parse_sha256, parse_statuses};
    use crate::failure::Failure;

    fn verdict(checks: &Checks, status: u16, parts: &[&[u8]]) -> Option<Failure> {
        let mut body = checks.body();
        for part in parts {
            if let Some(body) = &mut body {
                body.take(part);
            }
        }
        checks.verdict(status, parts.iter().map(|part| part.len() as u64).sum(), body)
    }

    #[test]
    fn statuses_below_400_are_expected_unless_told_otherwise() {
        let any = Checks::default();
        assert_eq!(
            [200, 304, 404, 500].map(|status| verdict(&any, status, &[])),
            [None, None, Some(Failure::Status), Some(Failure::Status)]
        );
        let told = Checks { statuses: parse_statuses("404, 200-204,5xx").unwrap(), ..Checks::default() };
        assert_eq!(
            [204, 205, 404, 599].map(|status| verdict(&told, status, &[])),
            [None, Some(Failure::Status), None, None]
        );
        for bad in ["", "20", "204-200", "0xx", "abc", "1000"] {
            assert!(parse_statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bodies_are_checked_however_they_are_cut() {
        // printf hello | sha256sum
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let checks = Checks {
            length: Some(5),
            sha256: Some(parse_sha256(hash).unwrap()),
            contains: Some((*b"ell").into()),
            ..Checks::default()
        };
        assert_eq!(verdict(&checks, 200, &[b"he", b"l", b"lo"]), None);
        assert_eq!(verdict(&checks, 200, &[b"hell"]), Some(Failure::Length));
        assert_eq!(verdict(&checks, 200, &[b"hellO"]), Some(Failure::Body));
        let contains = Checks { contains: Some((*b"ok").into()), ..Checks::default() };
        assert_eq!(verdict(&contains, 200, &[b"no"]), Some(Failure::Substring));
        assert!(parse_sha256("00").is_err() && parse_sha256(&"g".repeat(64)).is_err());
    }
}
