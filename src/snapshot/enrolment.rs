//! How a gateway of another host and control come to know each other: names in certificates, and the join token.
//!
//! Control is a small authority of its own: it issues its own certificate under [`CONTROL_NAME`], whatever address it is
//! reached at, and one for each node under the node's id below [`NODE_DOMAIN`]. A join token proves control to the gateway (by
//! the hash of the authority's certificate) and the gateway to control (by a secret that is good once).

use crate::hex;
use crate::secret::Secret;

/// The name in control's certificate.
pub const CONTROL_NAME: &str = "control.ringway.internal";
/// What follows a node's id in its certificate.
pub const NODE_DOMAIN: &str = ".node.ringway.internal";
/// How a token begins.
const PREFIX: &str = "rwjoin1-";

/// What a person carries from control to a new node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Good once, and for a while.
    pub secret: Secret,
    /// BLAKE3 of the authority's certificate (DER).
    pub authority: [u8; 32],
}

impl JoinToken {
    /// Its text: `rwjoin1-`, the secret, `-`, the hash, in hexadecimal digits.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{PREFIX}{}-{}", hex::encode(self.secret.expose()), hex::encode(&self.authority))
    }

    /// The inverse of [`JoinToken::encode`]; white space around it is no part of it.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (secret, authority) = text.trim().strip_prefix(PREFIX)?.split_once('-')?;
        let secret: [u8; 32] = hex::decode(secret)?;
        Some(Self { secret: Secret::new(secret.to_vec()), authority: hex::decode(authority)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back_and_nothing_else_is_one(secret: [u8; 32], authority: [u8; 32], at in 0usize..140, byte: u8) {
            let token = JoinToken { secret: Secret::new(secret.to_vec()), authority };
            let text = token.encode();
            prop_assert_eq!(JoinToken::decode(&format!(" {text}\n")), Some(token.clone()));
            let mut bytes = text.clone().into_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(changed.trim() == text || JoinToken::decode(&changed) != Some(token));
        }

        #[test]
        fn any_text_is_taken_or_not(text in ".{0,200}") {
            if let Some(token) = JoinToken::decode(&text) {
                prop_assert_eq!(token.encode(), text.trim());
            }
        }
    }
}
