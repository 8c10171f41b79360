//! The small file `snapshots/current`: which generation is served, and which snapshot file that is.
//!
//! The generation's number stands here and not in what is hashed, because a rollback publishes a *new* number with an
//! *old* file (decisions 15). Control writes it with a rename; a gateway boots from it. It is text, so that a person on call can
//! read it, and strict, so that one value has one text.
//!
//! ```text
//! ringway current 1
//! generation 42
//! snapshot 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! signature …128 digits…
//! ```
//!
//! Beside it lies `snapshots/published`: the same pointer and those that it followed, newest first. Where `current` or its snapshot
//! is damaged, a gateway falls back on what was published before, never on what was taken back or was not published at all.

use thiserror::Error;

use crate::hex;
use crate::keys::{SigningKey, Trust};
use crate::limits::{CURRENT_BYTES_MAX, PUBLISHED_MAX};

/// First line.
const TITLE: &str = "ringway current 1";
/// What the signature is over, beside the text.
const DOMAIN: &[u8] = b"ringway current 1";

/// Name of a snapshot's content: blake3 of it. Prints as 64 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Reads the 64 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// The snapshot's file name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{self}.rws")
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Which generation is served, and which file that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// The generation that control published.
    pub generation: u64,
    /// The snapshot file.
    pub hash: ContentHash,
}

/// Why a pointer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CurrentError {
    /// It is no pointer of this version.
    #[error("the pointer to the current snapshot is damaged or of another version")]
    Malformed,
    /// No trusted key signed it.
    #[error("the pointer to the current snapshot is not signed by a trusted key")]
    Unsigned,
}

impl CurrentError {
    /// What the person on call should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed => "remove snapshots/current: the gateway fetches it again from control",
            Self::Unsigned => "compare trust/signing.pub of this node with that of the control daemon",
        }
    }
}

impl Current {
    /// The signed text.
    #[must_use]
    pub fn encode(&self, signing: &SigningKey) -> String {
        let body = self.body();
        let signature = signing.sign(DOMAIN, body.as_bytes());
        format!("{body}signature {}\n", hex::encode(&signature))
    }

    /// Reads and verifies what [`Current::encode`] wrote.
    ///
    /// # Errors
    /// [`CurrentError`] where it is anything else, or signed by nobody trusted.
    pub fn decode(text: &[u8], trust: &Trust) -> Result<Self, CurrentError> {
        let (current, signature) = Self::parse(text).ok_or(CurrentError::Malformed)?;
        if trust.verifies(DOMAIN, current.body().as_bytes(), &signature) {
            Ok(current)
        } else {
            Err(CurrentError::Unsigned)
        }
    }

    /// Reads the `published` file: pointers newest first, each with its text. What cannot be believed is left out.
    #[must_use]
    pub fn decode_published<'t>(text: &'t [u8], trust: &Trust) -> Vec<(Self, &'t [u8])> {
        let text = text.get(..PUBLISHED_MAX * CURRENT_BYTES_MAX).unwrap_or(text);
        let windows = text.windows(TITLE.len()).enumerate();
        let starts: Vec<usize> =
            windows.filter(|(_, window)| *window == TITLE.as_bytes()).map(|(at, _)| at).collect();
        let ends = starts.iter().copied().skip(1).chain([text.len()]);
        let texts = starts.iter().zip(ends).filter_map(|(start, end)| text.get(*start..end));
        texts.filter_map(|text| Some((Self::decode(text, trust).ok()?, text))).collect()
    }

    /// The `published` file once `pointer`, the text of this, is published. To go back to a snapshot takes back what was published
    /// since; where `goes_back` and it is not known any more what that was, everything.
    #[must_use]
    pub fn published_after(&self, pointer: &[u8], goes_back: bool, before: &[u8], trust: &Trust) -> Vec<u8> {
        let before = Self::decode_published(before, trust);
        let same = before.iter().position(|(other, _)| other.hash == self.hash);
        let taken_back = same.map_or(if goes_back { before.len() } else { 0 }, |at| at + 1);
        let kept = before.iter().skip(taken_back).take(PUBLISHED_MAX - 1).map(|(_, text)| *text);
        [pointer].into_iter().chain(kept).collect::<Vec<_>>().concat()
    }

    fn parse(text: &[u8]) -> Option<(Self, [u8; 64])> {
        if text.len() > CURRENT_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let rest = text.strip_prefix(TITLE)?.strip_prefix("\ngeneration ")?;
        let (generation, rest) = rest.split_once('\n')?;
        let (hash, rest) = rest.strip_prefix("snapshot ")?.split_once('\n')?;
        let signature = rest.strip_prefix("signature ")?.strip_suffix('\n')?;
        let current = Self { generation: generation.parse().ok()?, hash: ContentHash::parse(hash)? };
        // One value, one text: `+1` and `007` are numbers to the parser.
        text.starts_with(&current.body()).then_some(())?;
        Some((current, hex::decode(signature)?))
    }

    fn body(&self) -> String {
        format!("{TITLE}\ngeneration {}\nsnapshot {}\n", self.generation, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::{ContentHash, Current, CurrentError};
    use crate::keys::{SigningKey, Trust};

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed([byte; 32]).unwrap()
    }

    fn sample() -> Current {
        Current { generation: 42, hash: ContentHash([0xab; 32]) }
    }

    #[test]
    fn a_pointer_reads_as_it_was_written() {
        let text = sample().encode(&key(1));
        assert_eq!(Current::decode(text.as_bytes(), &Trust::of(&key(1))), Ok(sample()));
    }

    #[test]
    fn a_pointer_that_nobody_trusted_signed_is_refused() {
        let text = sample().encode(&key(1));
        assert_eq!(Current::decode(text.as_bytes(), &Trust::of(&key(2))), Err(CurrentError::Unsigned));
        let forged = text.replace("generation 42", "generation 43");
        assert_eq!(Current::decode(forged.as_bytes(), &Trust::of(&key(1))), Err(CurrentError::Unsigned));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused() {
        let text = sample().encode(&key(1)).into_bytes();
        let trust = Trust::of(&key(1));
        for length in 0..text.len() {
            assert!(Current::decode(&text[..length], &trust).is_err(), "cut at {length}");
        }
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(Current::decode(&changed, &trust).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn another_spelling_of_a_number_is_refused() {
        let text = sample().encode(&key(1)).replace("generation 42", "generation 042");
        assert_eq!(Current::decode(text.as_bytes(), &Trust::of(&key(1))), Err(CurrentError::Malformed));
    }

    fn published(pointers: &[(u64, u8, bool)]) -> Vec<u8> {
        pointers.iter().fold(Vec::new(), |before, (generation, hash, goes_back)| {
            let current = Current { generation: *generation, hash: ContentHash([*hash; 32]) };
            let text = current.encode(&key(1));
            current.published_after(text.as_bytes(), *goes_back, &before, &Trust::of(&key(1)))
        })
    }

    fn numbers(text: &[u8]) -> Vec<u64> {
        let pointers = Current::decode_published(text, &Trust::of(&key(1)));
        pointers.iter().map(|(current, _)| current.generation).collect()
    }

    #[test]
    fn going_back_takes_back_what_was_published_since() {
        let mut steps = vec![(1, 1, false), (2, 2, false), (3, 3, false)];
        assert_eq!(numbers(&published(&steps)), [3, 2, 1]);
        steps.push((3, 3, false));
        assert_eq!(numbers(&published(&steps)), [3, 2, 1]);
        steps.push((4, 1, true));
        assert_eq!(numbers(&published(&steps)), [4]);
        steps.push((5, 5, false));
        assert_eq!(numbers(&published(&steps)), [5, 4]);
        steps.push((6, 9, true));
        assert_eq!(numbers(&published(&steps)), [6]);
    }

    #[test]
    fn few_of_the_published_are_kept_and_the_damaged_are_left_out() {
        let steps: Vec<_> = (1..=20).map(|number| (u64::from(number), number, false)).collect();
        let text = published(&steps);
        assert_eq!(numbers(&text), [20, 19, 18, 17, 16, 15, 14, 13]);
        assert!(Current::decode_published(&text, &Trust::of(&key(2))).is_empty());
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!((6..8).contains(&numbers(&changed).len()), "changed at {at}");
            assert!(numbers(&text[..at]).len() < 8);
        }
    }

    #[test]
    fn a_snapshot_file_is_named_by_its_hash() {
        assert!(ContentHash([0xab; 32]).file_name().starts_with("abab"));
        assert_eq!(ContentHash::parse(&ContentHash([0xab; 32]).to_string()), Some(ContentHash([0xab; 32])));
    }
}
