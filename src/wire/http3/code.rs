//! Error codes of HTTP/3 and QPACK as a closed list, and whom each ends: the stream or the connection.

macro_rules! code_table {
    ($($(#[doc = $doc:literal])* $variant:ident, $number:literal, $name:literal;)*) => {
        /// An error code (RFC 9114 §8.1, RFC 9204 §6). A code that the lists do not know counts as
        /// [`Code::NoError`] (RFC 9114 §9), and is never made into this type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Code {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u64 {
                match self { $(Self::$variant => $number,)* }
            }

            /// Its name in the RFC.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

code_table! {
    /// Nothing is wrong: the connection or stream simply ends.
    NoError, 0x100, "H3_NO_ERROR";
    /// A breach that no other code names.
    GeneralProtocol, 0x101, "H3_GENERAL_PROTOCOL_ERROR";
    /// A defect of ours.
    Internal, 0x102, "H3_INTERNAL_ERROR";
    /// A stream that the peer may not open, or not twice.
    StreamCreation, 0x103, "H3_STREAM_CREATION_ERROR";
    /// The control stream or a QPACK stream ended.
    ClosedCriticalStream, 0x104, "H3_CLOSED_CRITICAL_STREAM";
    /// A frame where it may not stand.
    FrameUnexpected, 0x105, "H3_FRAME_UNEXPECTED";
    /// A frame that is cut, or whose payload is not what its type says.
    Frame, 0x106, "H3_FRAME_ERROR";
    /// The peer makes work out of proportion to what it asks for.
    ExcessiveLoad, 0x107, "H3_EXCESSIVE_LOAD";
    /// A stream or push id that may not be named so.
    Id, 0x108, "H3_ID_ERROR";
    /// A setting that is forbidden, twice there, or out of range.
    Settings, 0x109, "H3_SETTINGS_ERROR";
    /// The control stream does not begin with SETTINGS.
    MissingSettings, 0x10a, "H3_MISSING_SETTINGS";
    /// Not processed at all: the client may send it again.
    RequestRejected, 0x10b, "H3_REQUEST_REJECTED";
    /// No longer wanted.
    RequestCancelled, 0x10c, "H3_REQUEST_CANCELLED";
    /// The stream ended before a whole request.
    RequestIncomplete, 0x10d, "H3_REQUEST_INCOMPLETE";
    /// A message that breaks a rule of HTTP.
    Message, 0x10e, "H3_MESSAGE_ERROR";
    /// The connection behind CONNECT was reset.
    Connect, 0x10f, "H3_CONNECT_ERROR";
    /// Ask again over HTTP/1.1.
    VersionFallback, 0x110, "H3_VERSION_FALLBACK";
    /// A field section that cannot be decoded.
    QpackDecompressionFailed, 0x200, "QPACK_DECOMPRESSION_FAILED";
    /// An instruction on the encoder stream that may not be.
    QpackEncoderStream, 0x201, "QPACK_ENCODER_STREAM_ERROR";
    /// An instruction on the decoder stream that may not be.
    QpackDecoderStream, 0x202, "QPACK_DECODER_STREAM_ERROR";
}

/// What the peer did wrong, and how much ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed with this code.
    Connection(Code),
    /// The stream is reset with this code; the others go on.
    Stream(Code),
}

impl Fault {
    /// The code, whatever it ends.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Connection(code) | Self::Stream(code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn numbers_and_names_stand_once() {
        for (at, code) in Code::ALL.iter().enumerate() {
            for other in &Code::ALL[at + 1..] {
                assert!(code.number() != other.number() && code.name() != other.name(), "{code:?}");
            }
        }
        assert_eq!(Code::Message.number(), 0x10e);
        assert_eq!(Code::QpackDecoderStream.number(), 0x202);
    }
}
