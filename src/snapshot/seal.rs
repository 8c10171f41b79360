//! Sealed secrets: AES-256-GCM under the cluster's seal key, with the key's id.

use rkyv::{Archive, Deserialize, Serialize};

/// A secret that only a holder of the seal key can open. It prints as its key id alone.
#[derive(Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Sealed {
    /// Which seal key.
    pub key_id: u32,
    /// Unique per secret under one key.
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed(key {})", self.key_id)
    }
}
