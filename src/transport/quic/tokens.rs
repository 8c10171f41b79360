//! Tokens by which a client that was here before proves its address with its first packet (RFC 9000 §8.1.3). Each is good once,
//! as far as this process can know (§8.1.4).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{TokenLog, TokenReuseError};
use ringway_rt as rt;

use crate::limits::QUIC_TOKEN_USES_MAX;

/// The tokens that were used. Shared by all endpoints of a node.
pub(super) struct Uses(Mutex<Used>);

/// Two sets, of which the older one is forgotten when the younger one is full. A token that may have been used before what is
/// remembered is not taken: its client is as good as one without.
struct Used {
    current: HashSet<u64>,
    current_since: Duration,
    previous: HashSet<u64>,
    /// All uses since then are remembered; Unix time.
    known_since: Duration,
}

impl Uses {
    /// Remembers from now on.
    pub(super) fn new() -> Self {
        Self::since(now())
    }

    fn since(now: Duration) -> Self {
        Self(Mutex::new(Used {
            current: HashSet::new(),
            current_since: now,
            previous: HashSet::new(),
            known_since: now,
        }))
    }

    /// Notes a use; whether it is the first one.
    fn first(&self, token: u64, issued: Duration, now: Duration) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = used.current.contains(&token) || used.previous.contains(&token);
        if seen || issued < used.known_since {
            return false;
        }
        if used.current.len() >= QUIC_TOKEN_USES_MAX {
            // A token that was issued after the older set was closed can have been used in the younger one alone.
            used.previous = std::mem::take(&mut used.current);
            used.known_since = used.current_since;
            used.current_since = now;
        }
        used.current.insert(token);
        true
    }
}

/// Unix time in whole seconds, as a token says when it was issued.
fn now() -> Duration {
    Duration::from_secs(rt::now().unix_ms / 1000)
}

impl TokenLog for Uses {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        _lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        let issued = issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "half of a random number tells tokens apart")]
        let token = nonce as u64;
        if self.first(token, issued, now()) { Ok(()) } else { Err(TokenReuseError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_memory_is_bounded() {
        let at = Duration::from_secs;
        let uses = Uses::since(at(100));
        assert!(!uses.first(1, at(99), at(100)), "it may have been used in a former life");
        assert!(uses.first(1, at(100), at(100)));
        assert!(!uses.first(1, at(100), at(101)));
        let many = QUIC_TOKEN_USES_MAX as u64;
        // Two sets and a half, one token a second.
        for token in 2..many * 5 / 2 {
            assert!(uses.first(token, at(100 + token), at(100 + token)), "{token}");
            assert!(!uses.first(token, at(100 + token), at(100 + token)));
        }
        let used = uses.0.lock().unwrap();
        assert!(used.current.len() + used.previous.len() <= 2 * QUIC_TOKEN_USES_MAX);
        drop(used);
        // None is good twice, not even one that is forgotten.
        for token in 1..many * 5 / 2 {
            assert!(!uses.first(token, at(100 + token), at(200 + many * 3)), "{token}");
        }
    }
}
