//! The frame-header meter: reads what a client sends before anybody takes it apart, counts the frames that carry nothing
//! forward, and says when there are too many (RFC 9113 §4.1 and §10.5). Bytes and time come in, a verdict goes out.

use super::PREFACE;
use crate::limits::{
    Allowance, HTTP2_CONTINUATIONS_MAX, HTTP2_EMPTY_CONTINUATIONS, HTTP2_EMPTY_DATA, HTTP2_PINGS,
    HTTP2_PRIORITIES, HTTP2_RESETS, HTTP2_SETTINGS, HTTP2_UNKNOWN_FRAMES, HTTP2_WINDOW_UPDATES,
};
use crate::priority::Priority;

/// What a client sends too much of; the connection ends with ENHANCE_YOUR_CALM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Excess {
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// PING (CVE-2019-9512).
    Ping,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priority,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// RST_STREAM (rapid reset, CVE-2023-44487).
    Reset,
    /// DATA without content (CVE-2019-9518, RUSTSEC-2026-0258).
    EmptyData,
    /// CONTINUATION without content (CVE-2026-33871).
    EmptyContinuation,
    /// Frames of unknown types.
    Unknown,
    /// CONTINUATION frames of one block (CVE-2024-27316).
    Continuation,
}

impl Excess {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::WindowUpdate,
        Self::Reset,
        Self::EmptyData,
        Self::EmptyContinuation,
        Self::Unknown,
        Self::Continuation,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Priority => "priority",
            Self::WindowUpdate => "window-update",
            Self::Reset => "reset",
            Self::EmptyData => "empty-data",
            Self::EmptyContinuation => "empty-continuation",
            Self::Unknown => "unknown-frame",
            Self::Continuation => "continuation",
        }
    }

    const fn allowance(self) -> Allowance {
        match self {
            Self::Settings => HTTP2_SETTINGS,
            Self::Ping => HTTP2_PINGS,
            Self::Priority => HTTP2_PRIORITIES,
            Self::WindowUpdate => HTTP2_WINDOW_UPDATES,
            Self::Reset => HTTP2_RESETS,
            Self::EmptyData => HTTP2_EMPTY_DATA,
            Self::EmptyContinuation => HTTP2_EMPTY_CONTINUATIONS,
            Self::Unknown => HTTP2_UNKNOWN_FRAMES,
            Self::Continuation => Allowance { burst: HTTP2_CONTINUATIONS_MAX as u32, per_second: 0 },
        }
    }
}

/// What the meter saw that somebody else wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    Priority {
        /// The stream that it is about.
        stream: u32,
        /// What it says.
        priority: Priority,
    },
    /// WINDOW_UPDATE of the connection: so many more bytes of content may be sent (RFC 9113 §6.9).
    Window(u32),
    /// The first HEADERS of this stream.
    Opened(u32),
    /// RST_STREAM of this stream.
    Reset(u32),
    /// SETTINGS_MAX_HEADER_LIST_SIZE: heads of more bytes are not taken (RFC 9113 §6.5.2).
    ListBytesMax(u32),
}

/// Frame types (RFC 9113 §6, RFC 9218 §7.1).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    pub(super) const PRIORITY_UPDATE: u8 = 16;
}

/// ACK of SETTINGS and PING, and END_STREAM of DATA and HEADERS.
const FLAG_1: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const FRAME_HEADER_BYTES: usize = 9;
/// Of a setting: its number and its value (RFC 9113 §6.5.1).
const SETTING_BYTES: u8 = 6;
const MAX_HEADER_LIST_SIZE: [u8; 2] = [0, 6];
/// Bytes of a PRIORITY_UPDATE that are read: the stream and a value; a longer one says nothing.
const UPDATE_BYTES_MAX: usize = 4 + 60;
const SECOND_NS: u64 = 1_000_000_000;

/// Counts the frames of one connection. About 200 bytes.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Bytes of the preface that are still to come; they are passed over and judged by others.
    preface_left: u8,
    header: [u8; FRAME_HEADER_BYTES],
    header_len: u8,
    /// Bytes of the frame's payload that are still to come.
    payload_left: u32,
    /// A header block is open, and so many CONTINUATION frames of it came.
    block: Option<u8>,
    /// Something that must become whole in time has begun then: a frame but DATA, or a header block.
    open_since_ns: Option<u64>,
    left: [u32; Excess::ALL.len()],
    refilled_ns: u64,
    update: [u8; UPDATE_BYTES_MAX],
    update_len: u8,
    /// The highest stream that was opened.
    opened: u32,
}

impl Meter {
    /// For a connection whose client's preface is still to come.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            preface_left: PREFACE.len() as u8,
            header: [0; FRAME_HEADER_BYTES],
            header_len: 0,
            payload_left: 0,
            block: None,
            open_since_ns: Some(now_ns),
            left: Excess::ALL.map(|excess| excess.allowance().burst),
            refilled_ns: now_ns,
            update: [0; UPDATE_BYTES_MAX],
            update_len: 0,
            opened: 0,
        }
    }

    /// Since when a frame or a header block is incomplete; DATA does not count, whose pace is the body's matter.
    #[must_use]
    pub fn open_since_ns(&self) -> Option<u64> {
        self.open_since_ns
    }

    /// Frames of this kind that may come now.
    #[must_use]
    pub fn left(&self, excess: Excess) -> u32 {
        self.left.get(excess as usize).copied().unwrap_or(0)
    }

    /// We sent so many DATA frames, each of which a client may answer.
    pub fn data_sent(&mut self, frames: u32) {
        self.earn(Excess::WindowUpdate, frames.saturating_mul(4));
        self.earn(Excess::Ping, frames);
    }

    /// We sent a reply to its end.
    pub fn reply_sent(&mut self) {
        self.earn(Excess::Reset, 1);
    }

    /// Reads the next bytes that came, in order and each once.
    ///
    /// # Errors
    /// Of what there is too much; the bytes are not to be taken apart, and the connection is to be ended.
    pub fn read(&mut self, mut bytes: &[u8], now_ns: u64, mut see: impl FnMut(Seen)) -> Result<(), Excess> {
        self.refill(now_ns);
        let passed = bytes.len().min(self.preface_left.into());
        self.preface_left -= passed as u8;
        bytes = bytes.get(passed..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = bytes.len().min(self.payload_left as usize);
                let (payload, rest) = bytes.split_at_checked(taken).unwrap_or_default();
                self.payload(payload, &mut see);
                bytes = rest;
            } else {
                let taken = bytes.len().min(FRAME_HEADER_BYTES - usize::from(self.header_len));
                let (part, rest) = bytes.split_at_checked(taken).unwrap_or_default();
                let at = usize::from(self.header_len);
                if let Some(place) = self.header.get_mut(at..at + taken) {
                    place.copy_from_slice(part);
                }
                self.header_len += taken as u8;
                bytes = rest;
                if usize::from(self.header_len) < FRAME_HEADER_BYTES {
                    break;
                }
                self.begin()?;
            }
            if self.payload_left == 0 {
                self.end(&mut see);
            }
        }
        let data = self.payload_left > 0 && self.kind() == kind::DATA;
        let open = self.preface_left > 0 || self.header_len > 0 && !data || self.block.is_some();
        self.open_since_ns = if open { self.open_since_ns.or(Some(now_ns)) } else { None };
        Ok(())
    }

    fn kind(&self) -> u8 {
        self.header[3]
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff
    }

    /// A frame's header is whole.
    fn begin(&mut self) -> Result<(), Excess> {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.payload_left = length;
        self.update_len = 0;
        let ends = flags & FLAG_1 != 0;
        match kind {
            // With padding, one byte of length and nothing else is no content either.
            kind::DATA if !ends && (length == 0 || flags & PADDED != 0 && length <= 256) => {
                self.spend(Excess::EmptyData)
            }
            kind::DATA => {
                self.earn(Excess::EmptyData, 1);
                Ok(())
            }
            kind::HEADERS | kind::PUSH_PROMISE => {
                self.block = (flags & END_HEADERS == 0).then_some(0);
                self.earn(Excess::WindowUpdate, 4);
                self.earn(Excess::Priority, 2);
                Ok(())
            }
            kind::CONTINUATION => self.continuation(length, flags & END_HEADERS != 0),
            // One that nobody waits for is an error to whoever takes frames apart.
            kind::SETTINGS if ends => Ok(()),
            kind::SETTINGS => self.spend(Excess::Settings),
            kind::PING => self.spend(Excess::Ping),
            kind::PRIORITY | kind::PRIORITY_UPDATE => self.spend(Excess::Priority),
            kind::WINDOW_UPDATE => self.spend(Excess::WindowUpdate),
            kind::RST_STREAM => self.spend(Excess::Reset),
            _ => self.spend(Excess::Unknown),
        }
    }

    fn continuation(&mut self, length: u32, last: bool) -> Result<(), Excess> {
        let frames = self.block.unwrap_or(0).saturating_add(1);
        if frames > HTTP2_CONTINUATIONS_MAX {
            return Err(Excess::Continuation);
        }
        self.block = (!last).then_some(frames);
        if length == 0 && !last { self.spend(Excess::EmptyContinuation) } else { Ok(()) }
    }

    fn payload(&mut self, bytes: &[u8], see: &mut impl FnMut(Seen)) {
        self.payload_left -= bytes.len() as u32;
        if self.kind() == kind::SETTINGS {
            return self.settings(bytes, see);
        }
        if matches!(self.kind(), kind::PRIORITY_UPDATE | kind::WINDOW_UPDATE) {
            let at = usize::from(self.update_len);
            let kept = bytes.len().min(UPDATE_BYTES_MAX - at);
            if let (Some(place), Some(part)) = (self.update.get_mut(at..at + kept), bytes.get(..kept)) {
                place.copy_from_slice(part);
                self.update_len += kept as u8;
            }
        }
    }

    /// Reads settings, each as soon as it is whole.
    fn settings(&mut self, bytes: &[u8], see: &mut impl FnMut(Seen)) {
        for byte in bytes {
            if let Some(place) = self.update.get_mut(usize::from(self.update_len)) {
                *place = *byte;
            }
            self.update_len += 1;
            if self.update_len == SETTING_BYTES {
                self.update_len = 0;
                let [a, b, value @ ..] = self.update.first_chunk::<6>().copied().unwrap_or_default();
                if [a, b] == MAX_HEADER_LIST_SIZE {
                    see(Seen::ListBytesMax(u32::from_be_bytes(value)));
                }
            }
        }
    }

    /// A frame is whole.
    fn end(&mut self, see: &mut impl FnMut(Seen)) {
        self.header_len = 0;
        self.open_since_ns = self.open_since_ns.filter(|_| self.block.is_some());
        if self.kind() == kind::HEADERS && self.stream() > self.opened {
            self.opened = self.stream();
            see(Seen::Opened(self.opened));
        }
        if self.kind() == kind::RST_STREAM {
            see(Seen::Reset(self.stream()));
        }
        let update = self.update.get(..usize::from(self.update_len)).unwrap_or_default();
        let Some((number, value)) = update.split_first_chunk::<4>() else { return };
        let number = u32::from_be_bytes(*number) & 0x7fff_ffff;
        match self.kind() {
            kind::PRIORITY_UPDATE if update.len() < UPDATE_BYTES_MAX => {
                see(Seen::Priority { stream: number, priority: Priority::of(value) });
            }
            kind::WINDOW_UPDATE if value.is_empty() && self.stream() == 0 => see(Seen::Window(number)),
            _ => {}
        }
    }

    fn spend(&mut self, excess: Excess) -> Result<(), Excess> {
        let left = self.left.get_mut(excess as usize).ok_or(excess)?;
        *left = left.checked_sub(1).ok_or(excess)?;
        Ok(())
    }

    fn earn(&mut self, excess: Excess, frames: u32) {
        if let Some(left) = self.left.get_mut(excess as usize) {
            *left = left.saturating_add(frames).min(excess.allowance().burst);
        }
    }

    /// Whole seconds only: what is left of one counts with the next.
    fn refill(&mut self, now_ns: u64) {
        let seconds = now_ns.saturating_sub(self.refilled_ns) / SECOND_NS;
        if seconds > 0 {
            self.refilled_ns += seconds * SECOND_NS;
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            for excess in Excess::ALL {
                self.earn(excess, excess.allowance().per_second.saturating_mul(seconds));
            }
        }
    }
}

#[cfg(test)]
mod tests;
