//! SETTINGS (RFC 9114 §7.2.4, RFC 9204 §5, RFC 9220 §3, RFC 9297 §2.1.1).

use super::code::Code;
use super::frame::{FrameKind, write_frame_head};
use super::varint;

/// Pairs that a peer may send; the standard knows six.
const PAIRS_MAX: usize = 64;

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const DATAGRAM: u64 = 0x33;

/// What an end of a connection has announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a decoded field section that it takes, each line counted as name, value and 32 bytes (RFC 9114 §4.2.2);
    /// `None`: no limit.
    pub field_section_bytes_max: Option<u64>,
    /// Bytes of the QPACK table that it would keep. We announce and use 0.
    pub table_bytes_max: u64,
    /// Streams that may wait for the table. We announce and use 0.
    pub blocked_streams_max: u64,
    /// A server takes extended CONNECT (RFC 9220).
    pub extended_connect: bool,
}

impl Settings {
    /// What holds before SETTINGS came.
    pub const DEFAULT: Self = Self {
        field_section_bytes_max: None,
        table_bytes_max: 0,
        blocked_streams_max: 0,
        extended_connect: false,
    };

    /// Reads the payload of a SETTINGS frame.
    ///
    /// # Errors
    /// [`Code::Settings`] for what may not be set, or not so, or twice; [`Code::Frame`] for a cut pair; [`Code::ExcessiveLoad`]
    /// for too many.
    pub fn read(mut payload: &[u8]) -> Result<Self, Code> {
        let mut settings = Self::DEFAULT;
        let mut seen = [0u64; PAIRS_MAX];
        let mut count = 0;
        while !payload.is_empty() {
            let id = take(&mut payload)?;
            let value = take(&mut payload)?;
            let before = seen.get(..count).unwrap_or_default();
            if before.contains(&id) {
                return Err(Code::Settings);
            }
            *seen.get_mut(count).ok_or(Code::ExcessiveLoad)? = id;
            count += 1;
            match id {
                // Settings of HTTP/2 (RFC 9114 §7.2.4.1 and §11.2.2).
                0x00 | 0x02..=0x05 => return Err(Code::Settings),
                QPACK_MAX_TABLE_CAPACITY => settings.table_bytes_max = value,
                MAX_FIELD_SECTION_SIZE => settings.field_section_bytes_max = Some(value),
                QPACK_BLOCKED_STREAMS => settings.blocked_streams_max = value,
                ENABLE_CONNECT_PROTOCOL | DATAGRAM if value > 1 => return Err(Code::Settings),
                ENABLE_CONNECT_PROTOCOL => settings.extended_connect = value == 1,
                _ => {}
            }
        }
        Ok(settings)
    }

    /// Appends the SETTINGS frame that announces these, with one reserved setting that peers must ignore (RFC 9114
    /// §7.2.4.1): `grease` picks which.
    pub fn write(&self, out: &mut Vec<u8>, grease: u32) {
        let mut payload = Vec::with_capacity(40);
        let mut pair = |id: u64, value: u64| {
            varint::write(&mut payload, id);
            varint::write(&mut payload, value);
        };
        if let Some(bytes) = self.field_section_bytes_max {
            pair(MAX_FIELD_SECTION_SIZE, bytes);
        }
        pair(QPACK_MAX_TABLE_CAPACITY, self.table_bytes_max);
        pair(QPACK_BLOCKED_STREAMS, self.blocked_streams_max);
        if self.extended_connect {
            pair(ENABLE_CONNECT_PROTOCOL, 1);
        }
        pair(0x1f * u64::from(grease) + 0x21, u64::from(grease));
        write_frame_head(out, FrameKind::Settings, payload.len() as u64);
        out.extend_from_slice(&payload);
    }
}

fn take(bytes: &mut &[u8]) -> Result<u64, Code> {
    let (value, length) = varint::read(bytes).ok_or(Code::Frame)?;
    *bytes = bytes.get(length..).unwrap_or_default();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use crate::http3::code::Code;
    use crate::http3::varint;

    fn pairs(pairs: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in pairs {
            varint::write(&mut out, *id);
            varint::write(&mut out, *value);
        }
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let settings =
            Settings { field_section_bytes_max: Some(35_968), extended_connect: true, ..Settings::DEFAULT };
        let mut out = Vec::new();
        settings.write(&mut out, 77);
        assert_eq!(out[0], 4);
        assert_eq!(Settings::read(&out[2..]), Ok(settings));
        assert_eq!(Settings::read(b""), Ok(Settings::DEFAULT));
    }

    #[test]
    fn forbidden_double_and_cut_settings_are_errors() {
        for id in [0x00, 0x02, 0x03, 0x04, 0x05] {
            assert_eq!(Settings::read(&pairs(&[(id, 0)])), Err(Code::Settings), "{id}");
        }
        assert_eq!(Settings::read(&pairs(&[(6, 1), (6, 1)])), Err(Code::Settings));
        assert_eq!(Settings::read(&pairs(&[(0x4040, 1), (1, 0), (0x4040, 2)])), Err(Code::Settings));
        assert_eq!(Settings::read(&pairs(&[(8, 2)])), Err(Code::Settings));
        assert_eq!(Settings::read(&pairs(&[(0x33, 2)])), Err(Code::Settings));
        assert_eq!(Settings::read(&[6]), Err(Code::Frame));
        assert_eq!(Settings::read(&[6, 0x80]), Err(Code::Frame));
        let many: Vec<(u64, u64)> = (0..70).map(|at| (0x100 + at, 0)).collect();
        assert_eq!(Settings::read(&pairs(&many)), Err(Code::ExcessiveLoad));
    }
}
