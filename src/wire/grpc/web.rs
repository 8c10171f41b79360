//! gRPC-Web: the trailers as a last frame of the content, and both in base64 where the caller cannot read bytes
//! (`PROTOCOL-WEB.md`).

use crate::trailers::Trailers;

/// The flag of the frame that holds trailers.
const TRAILERS_FLAG: u8 = 0x80;
/// The digits of base64 (RFC 4648 §4).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the last frame of a reply: its trailers as HTTP/1.1 lines, names in lower case.
pub fn write_trailers_frame(trailers: Option<&Trailers>, out: &mut Vec<u8>) {
    out.push(TRAILERS_FLAG);
    let len_at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value, _) in trailers.into_iter().flat_map(Trailers::fields) {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    // A trailer section is at most 8 KiB, so its length fits.
    let len = u32::try_from(out.len() - len_at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(len_at..len_at + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends `bytes` in base64, padded: readers of the text form take padding anywhere.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * index)) as usize & 63).copied().unwrap_or(b'=');
            out.push(if index <= group.len() { digit } else { b'=' });
        }
    }
}

/// The text is no base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBase64;

/// Reads base64 that comes in pieces, each of which may end with padding.
#[derive(Debug, Default, Clone, Copy)]
pub struct Base64Reader {
    bits: u32,
    /// Digits of the open group, padding included.
    digits: u8,
    padding: u8,
}

impl Base64Reader {
    /// Appends the bytes of `text` to `out`.
    ///
    /// # Errors
    /// A byte that is no digit, or a digit behind padding.
    pub fn read(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        for &byte in text {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.digits >= 2 => {
                    self.padding += 1;
                    0
                }
                _ => return Err(NotBase64),
            };
            if self.padding > 0 && byte != b'=' {
                return Err(NotBase64);
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.digits += 1;
            if self.digits == 4 {
                let [_, first, second, third] = self.bits.to_be_bytes();
                let group = [first, second, third];
                out.extend_from_slice(group.get(..3 - usize::from(self.padding)).unwrap_or_default());
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Whether no group is open: where the text may end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.digits == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Base64Reader, NotBase64, write_base64, write_trailers_frame};
    use crate::limits::ChunkLimits;
    use crate::trailers::Trailers;

    fn read(text: &str) -> Result<(Vec<u8>, bool), NotBase64> {
        let (mut reader, mut out) = (Base64Reader::default(), Vec::new());
        reader.read(text.as_bytes(), &mut out)?;
        Ok((out, reader.is_whole()))
    }

    #[test]
    fn trailers_are_a_frame_of_lines() {
        let mut trailers = Trailers::default();
        trailers.push(b"grpc-status", b"0", &ChunkLimits::DEFAULT).unwrap();
        let mut out = Vec::new();
        write_trailers_frame(Some(&trailers), &mut out);
        assert_eq!(out, b"\x80\0\0\0\x10grpc-status: 0\r\n");
        out.clear();
        write_trailers_frame(None, &mut out);
        assert_eq!(out, b"\x80\0\0\0\0");
    }

    #[test]
    fn base64_is_read_in_pieces_and_nothing_else_is() {
        assert_eq!(read("QUI="), Ok((b"AB".to_vec(), true)));
        assert_eq!(read("QQ==QUI=QUJD"), Ok((b"AABABC".to_vec(), true)));
        assert_eq!(read("QUJDQ"), Ok((b"ABC".to_vec(), false)));
        for bad in ["=", "Q===", "QQ=A", "Q Q=", "QQ-_", "Q=", "\0"] {
            assert_eq!(read(bad), Err(NotBase64), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_however_it_is_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..300
        ) {
            let mut text = Vec::new();
            write_base64(&bytes, &mut text);
            let (first, second) = text.split_at(cut.min(text.len()));
            let (mut reader, mut out) = (Base64Reader::default(), Vec::new());
            reader.read(first, &mut out).unwrap();
            reader.read(second, &mut out).unwrap();
            prop_assert!(reader.is_whole());
            prop_assert_eq!(out, bytes);
        }
    }
}
