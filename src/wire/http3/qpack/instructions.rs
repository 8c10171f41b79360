//! The peer's QPACK streams (RFC 9204 §4.3 and §4.4). Without a dynamic table on either side hardly anything may stand there.

use crate::http3::code::Code;

/// Instructions that a peer may send on each stream for which it has no reason. A decoder may cancel each stream of ours once.
const INSTRUCTIONS_MAX: u32 = 64 * 1024;

/// The only instruction that a peer's encoder may send to a decoder that announced capacity 0: Set Dynamic Table Capacity to 0.
const CAPACITY_0: u8 = 0x20;

/// Reads what the peer's encoder says to our decoder.
#[derive(Debug, Default)]
pub struct EncoderStreamReader {
    seen: u32,
}

impl EncoderStreamReader {
    /// Reads a piece of the stream.
    ///
    /// # Errors
    /// The code with which the connection is closed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Code> {
        if bytes.iter().any(|byte| *byte != CAPACITY_0) {
            return Err(Code::QpackEncoderStream);
        }
        count(&mut self.seen, bytes.len())
    }
}

/// Reads what the peer's decoder says to our encoder, which never refers to a dynamic table.
#[derive(Debug, Default)]
pub struct DecoderStreamReader {
    seen: u32,
    /// Bytes of the stream id that is being read.
    id_bytes: u8,
}

/// Bytes that follow the first one of a stream id of 62 bits with a prefix of six.
const ID_BYTES_MAX: u8 = 9;

impl DecoderStreamReader {
    /// Reads a piece of the stream.
    ///
    /// # Errors
    /// The code with which the connection is closed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Code> {
        for byte in bytes {
            if self.id_bytes > 0 {
                self.id_bytes = if byte & 0x80 == 0 { 0 } else { self.id_bytes + 1 };
                if self.id_bytes > ID_BYTES_MAX {
                    return Err(Code::QpackDecoderStream);
                }
                continue;
            }
            // Stream Cancellation; acknowledgements and increments are of what we never sent.
            if byte & 0xc0 != 0x40 {
                return Err(Code::QpackDecoderStream);
            }
            self.id_bytes = u8::from(byte & 0x3f == 0x3f);
        }
        count(&mut self.seen, bytes.len())
    }
}

fn count(seen: &mut u32, bytes: usize) -> Result<(), Code> {
    *seen = seen.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    if *seen > INSTRUCTIONS_MAX { Err(Code::ExcessiveLoad) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{DecoderStreamReader, EncoderStreamReader};
    use crate::http3::code::Code;

    #[test]
    fn an_encoder_may_set_the_capacity_to_0_and_nothing_else() {
        let mut reader = EncoderStreamReader::default();
        assert_eq!(reader.read(&[0x20, 0x20]), Ok(()));
        for instruction in [&[0x3f, 0x01][..], &[0x21], &[0xc1, 0x00], &[0x41, b'a', 0], &[0x00]] {
            let result = EncoderStreamReader::default().read(instruction);
            assert_eq!(result, Err(Code::QpackEncoderStream), "{instruction:x?}");
        }
        assert_eq!(reader.read(&[0x20; 65_536]), Err(Code::ExcessiveLoad));
    }

    #[test]
    fn a_decoder_may_cancel_streams_and_nothing_else() {
        let mut reader = DecoderStreamReader::default();
        for piece in [&[0x44][..], &[0x7f], &[0x80, 0x80], &[0x01, 0x40], &[0x7f, 0x00]] {
            assert_eq!(reader.read(piece), Ok(()), "{piece:x?}");
        }
        for instruction in [&[0x80][..], &[0x84], &[0x00], &[0x01], &[0x3f, 0x00]] {
            let result = DecoderStreamReader::default().read(instruction);
            assert_eq!(result, Err(Code::QpackDecoderStream), "{instruction:x?}");
        }
        let endless = [&[0x7f][..], &[0xff; 20]].concat();
        assert_eq!(DecoderStreamReader::default().read(&endless), Err(Code::QpackDecoderStream));
        assert_eq!(reader.read(&[0x40; 65_537]), Err(Code::ExcessiveLoad));
    }
}
