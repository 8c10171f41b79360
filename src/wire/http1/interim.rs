//! What becomes of interim replies (contract, rule 13; RFC 9110 §15.2).

use crate::head::Version;
use crate::limits::INTERIM_REPLIES_MAX;
use crate::reject::ResponseReject;

/// What to do with one interim reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interim {
    /// Pass it on.
    Relay,
    /// Keep it: the caller does not know interim replies, did not ask for this one, or has had it.
    Drop,
}

/// Counts the interim replies of one request.
#[derive(Debug, Clone, Copy)]
pub struct Interims {
    seen: u8,
    relays_any: bool,
    wants_continue: bool,
}

impl Interims {
    /// For a request of this version; `wants_continue`: it expects `100 Continue` and we have not sent one.
    #[must_use]
    pub fn new(version: Version, wants_continue: WantsContinue) -> Self {
        Self {
            seen: 0,
            relays_any: version > Version::Http10,
            wants_continue: wants_continue == WantsContinue::Yes,
        }
    }

    /// Decides about the next one.
    ///
    /// # Errors
    /// [`ResponseReject::TooManyInterims`] beyond [`INTERIM_REPLIES_MAX`].
    pub fn admit(&mut self, status: u16) -> Result<Interim, ResponseReject> {
        if self.seen >= INTERIM_REPLIES_MAX {
            return Err(ResponseReject::TooManyInterims);
        }
        self.seen += 1;
        let relay = match status {
            100 => std::mem::take(&mut self.wants_continue),
            _ => true,
        };
        Ok(if relay && self.relays_any { Interim::Relay } else { Interim::Drop })
    }
}

/// Whether a caller waits for `100 Continue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantsContinue {
    /// It does, and nobody has answered it.
    Yes,
    /// It does not, or it was answered.
    No,
}

#[cfg(test)]
mod tests {
    use super::{Interim, Interims, WantsContinue};
    use crate::{ResponseReject, Version};

    #[test]
    fn early_hints_and_unknown_ones_pass_to_http11_only() {
        let mut new = Interims::new(Version::Http11, WantsContinue::No);
        let mut old = Interims::new(Version::Http10, WantsContinue::No);
        for status in [102, 103, 199] {
            assert_eq!(new.admit(status), Ok(Interim::Relay));
            assert_eq!(old.admit(status), Ok(Interim::Drop));
        }
    }

    #[test]
    fn continue_passes_once_and_only_when_it_is_waited_for() {
        let mut waiting = Interims::new(Version::Http11, WantsContinue::Yes);
        assert_eq!(waiting.admit(100), Ok(Interim::Relay));
        assert_eq!(waiting.admit(100), Ok(Interim::Drop));
        let mut other = Interims::new(Version::Http11, WantsContinue::No);
        assert_eq!(other.admit(100), Ok(Interim::Drop));
    }

    #[test]
    fn the_seventeenth_is_refused() {
        let mut interims = Interims::new(Version::Http2, WantsContinue::No);
        assert!((0..16).all(|_| interims.admit(103).is_ok()));
        assert_eq!(interims.admit(103), Err(ResponseReject::TooManyInterims));
    }
}
