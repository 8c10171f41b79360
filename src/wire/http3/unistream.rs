//! Unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2): which there may be, and how often.

use super::code::Code;
use super::message::Role;
use super::varint::{self, Partial};

/// What a unidirectional stream is for, by the integer that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Settings and what concerns the connection.
    Control,
    /// A pushed reply.
    Push,
    /// Instructions to our QPACK decoder.
    QpackEncoder,
    /// Instructions to our QPACK encoder.
    QpackDecoder,
    /// Any other: not read (RFC 9114 §6.2.3), GREASE among them.
    Unknown,
}

impl StreamKind {
    const fn from_number(number: u64) -> Self {
        match number {
            0x00 => Self::Control,
            0x01 => Self::Push,
            0x02 => Self::QpackEncoder,
            0x03 => Self::QpackDecoder,
            _ => Self::Unknown,
        }
    }
}

/// Reads the type of a stream that arrives in pieces.
#[derive(Debug, Default)]
pub struct StreamKindReader(Partial);

impl StreamKindReader {
    /// Takes bytes from the front of `bytes`: the kind once its integer is whole.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<StreamKind> {
        self.0.take(bytes).map(StreamKind::from_number)
    }
}

/// Appends the type of a stream that we open; an unknown one is a reserved type, a push never happens.
pub fn write_stream_kind(out: &mut Vec<u8>, kind: StreamKind) {
    let number = match kind {
        StreamKind::Control => 0x00,
        StreamKind::Push => 0x01,
        StreamKind::QpackEncoder => 0x02,
        StreamKind::QpackDecoder => 0x03,
        StreamKind::Unknown => 0x21,
    };
    varint::write(out, number);
}

/// Which streams the peer has opened that it may open only once.
#[derive(Debug, Default)]
pub struct PeerStreams {
    control: bool,
    encoder: bool,
    decoder: bool,
}

impl PeerStreams {
    /// The peer opened a stream of this kind; `role` is ours.
    ///
    /// # Errors
    /// The code with which the connection is closed: a second one of its kind, or a push.
    pub fn open(&mut self, kind: StreamKind, role: Role) -> Result<(), Code> {
        let place = match kind {
            StreamKind::Control => &mut self.control,
            StreamKind::QpackEncoder => &mut self.encoder,
            StreamKind::QpackDecoder => &mut self.decoder,
            StreamKind::Unknown => return Ok(()),
            // Only servers push (RFC 9114 §6.2.2), and only as far as MAX_PUSH_ID allows: we send none.
            StreamKind::Push if role == Role::Server => return Err(Code::StreamCreation),
            StreamKind::Push => return Err(Code::Id),
        };
        if std::mem::replace(place, true) { Err(Code::StreamCreation) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{PeerStreams, StreamKind, StreamKindReader, write_stream_kind};
    use crate::http3::code::Code;
    use crate::http3::message::Role;

    #[test]
    fn kinds_are_read_in_pieces() {
        for kind in
            [StreamKind::Control, StreamKind::QpackEncoder, StreamKind::QpackDecoder, StreamKind::Unknown]
        {
            let mut out = Vec::new();
            write_stream_kind(&mut out, kind);
            assert_eq!(StreamKindReader::default().take(&mut out.as_slice()), Some(kind));
        }
        let mut reader = StreamKindReader::default();
        assert_eq!(reader.take(&mut &[0x40][..]), None);
        assert_eq!(reader.take(&mut &[0x02][..]), Some(StreamKind::QpackEncoder));
    }

    #[test]
    fn critical_streams_are_opened_once_and_pushes_never() {
        let mut streams = PeerStreams::default();
        for kind in [StreamKind::Control, StreamKind::QpackEncoder, StreamKind::QpackDecoder] {
            assert_eq!(streams.open(kind, Role::Server), Ok(()));
            assert_eq!(streams.open(kind, Role::Server), Err(Code::StreamCreation));
        }
        assert_eq!(streams.open(StreamKind::Unknown, Role::Server), Ok(()));
        assert_eq!(streams.open(StreamKind::Unknown, Role::Server), Ok(()));
        assert_eq!(streams.open(StreamKind::Push, Role::Server), Err(Code::StreamCreation));
        assert_eq!(streams.open(StreamKind::Push, Role::Client), Err(Code::Id));
    }
}
