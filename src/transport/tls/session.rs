//! A TLS connection after its handshake: received bytes in, plaintext out, and the other way. Pure, no socket.
//!
//! Buffers are pooled and held only while something is in them: an idle session holds none.
//! Received records are opened where they lie; what is sent is copied once, into the buffer in which
//! it is sealed. rustls stays the owner of the key schedule: it gives the keys of a KeyUpdate and
//! takes the tickets that a server sends.

use std::io::IoSlice;
use std::ops::Range;

use ringway_wire::buffer::{Buffer, Class};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ExtractedSecrets, SupportedCipherSuite};

use crate::limits::{
    EMPTY_RECORDS_MAX, KEY_UPDATES_MAX, POST_HANDSHAKE_BYTES_MAX, RECORD_HEADER_BYTES,
    RECORD_OVERHEAD_BYTES_MAX, RECORD_PLAIN_BYTES_MAX, RECORDS_SEALED_MAX, WARNING_ALERTS_MAX,
};

use super::failure::TlsFailure;
use super::record::{self, Content, Opener, Sealer, Version};

/// rustls' half of the connection: key schedule and session tickets.
pub(crate) enum Schedule {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

impl Schedule {
    fn next_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), TlsFailure> {
        match self {
            Self::Server(kernel) => kernel.update_rx_secret(),
            Self::Client(kernel) => kernel.update_rx_secret(),
        }
        .map_err(|error| TlsFailure::from(&error))
    }

    fn next_transmit(&mut self) -> Result<(u64, ConnectionTrafficSecrets), TlsFailure> {
        match self {
            Self::Server(kernel) => kernel.update_tx_secret(),
            Self::Client(kernel) => kernel.update_tx_secret(),
        }
        .map_err(|error| TlsFailure::from(&error))
    }

    /// How many records one key may seal.
    fn records_max(&self) -> u64 {
        let suite = match self {
            Self::Server(kernel) => kernel.negotiated_cipher_suite(),
            Self::Client(kernel) => kernel.negotiated_cipher_suite(),
        };
        match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        }
    }
}

/// How far the peer's side of the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Open,
    /// `close_notify` came: all that the peer sent was read.
    Closed,
    Failed(TlsFailure),
}

/// Bytes that were sealed and reported as not yet accepted, because their records did not fit the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    length: usize,
    fingerprint: u64,
}

pub(crate) struct Session {
    version: Version,
    schedule: Schedule,
    opener: Opener,
    sealer: Sealer,
    records_max: u64,
    reading: Reading,
    close_sent: bool,
    congested: bool,
    /// A KeyUpdate of ours answers the peer's and is not sent yet: no second one is queued (RFC 8446 §4.6.3).
    update_unsent: bool,
    renegotiation_refused: bool,
    empty_records: u8,
    key_updates: u8,
    warnings: u8,
    claim: Option<Claim>,
    /// The part of a handshake message that came; empty without one.
    message: Vec<u8>,
    incoming: Option<Buffer>,
    /// Opened bytes of `incoming` that nobody has taken. INVARIANT: `plain.end <= next <= incoming.len()`.
    plain: Range<usize>,
    /// Where in `incoming` the next sealed record begins.
    next: usize,
    outgoing: Option<Buffer>,
    /// Bytes of `outgoing` that were sent.
    sent: usize,
}

/// Messages after the handshake (RFC 8446 §4, RFC 5246 §7.4).
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const KEY_UPDATE_REPLY: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

impl Session {
    /// Takes over after the handshake; `rest` are received bytes that rustls was not given.
    ///
    /// # Errors
    /// [`TlsFailure::Internal`] for a cipher that is not known here.
    pub(crate) fn new(
        schedule: Schedule,
        version: Version,
        secrets: &ExtractedSecrets,
        rest: Option<Buffer>,
    ) -> Result<Self, TlsFailure> {
        Ok(Self {
            version,
            opener: Opener::new(&secrets.rx.1, secrets.rx.0, version)?,
            sealer: Sealer::new(&secrets.tx.1, secrets.tx.0, version)?,
            records_max: schedule.records_max(),
            schedule,
            reading: Reading::Open,
            close_sent: false,
            congested: false,
            update_unsent: false,
            renegotiation_refused: false,
            empty_records: 0,
            key_updates: 0,
            warnings: 0,
            claim: None,
            message: Vec::new(),
            incoming: rest,
            plain: 0..0,
            next: 0,
            outgoing: None,
            sent: 0,
        })
    }

    pub(crate) fn reading(&self) -> Reading {
        self.reading
    }

    pub(crate) fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// Whether opened bytes wait.
    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Whether [`Session::deliver`] may have something to say without further bytes.
    #[inline]
    pub(crate) fn has_input(&self) -> bool {
        self.has_plain() || self.reading != Reading::Open || self.whole_record().is_some()
    }

    /// Opens what is complete and appends it to `into`, up to its capacity. What ends the stream is in
    /// [`Session::reading`] once all that came before it is taken.
    #[inline]
    pub(crate) fn deliver(&mut self, into: &mut Vec<u8>) -> usize {
        let before = into.len();
        loop {
            if self.has_plain() {
                let count = self.plain.len().min(into.capacity() - into.len());
                let taken = self.plain.start..self.plain.start + count;
                if let Some(bytes) = self.incoming.as_ref().and_then(|buffer| buffer.get(taken)) {
                    into.extend_from_slice(bytes);
                }
                self.plain.start += count;
                if self.has_plain() {
                    break;
                }
            }
            if !self.open_next() {
                break;
            }
        }
        self.release();
        into.len() - before
    }

    /// Where received bytes are appended; there is room for at least one byte, and for a record that
    /// has begun. `hint` is what the reader can take. Only called when [`Session::deliver`] gave nothing.
    pub(crate) fn receive_space(&mut self, hint: usize) -> &mut Vec<u8> {
        self.compact();
        let whole = self.front_length().unwrap_or(0);
        let wanted = whole.max(hint.saturating_add(RECORD_OVERHEAD_BYTES_MAX)).min(Class::K64.bytes());
        let held = self.incoming.take();
        let buffer = match held {
            // A record that has begun is completed where it lies.
            Some(buffer) if whole > buffer.len() && whole <= buffer.class().bytes() => buffer,
            Some(buffer) => moved(&buffer, wanted.max(buffer.len() + RECORD_OVERHEAD_BYTES_MAX)),
            None => Buffer::take(Class::holding(wanted).unwrap_or(Class::K64)),
        };
        self.incoming.insert(buffer).vec_mut()
    }

    /// Nothing more is there for now: holds no more memory than what has come needs.
    pub(crate) fn park(&mut self) {
        self.compact();
        self.release();
        let Some(buffer) = &self.incoming else { return };
        let needed = self.front_length().unwrap_or(RECORD_HEADER_BYTES).max(buffer.len());
        if Class::holding(needed).is_some_and(|class| class < buffer.class()) {
            self.incoming = Some(moved(buffer, needed));
        }
    }

    /// The peer closed its side of the socket. Without `close_notify` before it, this is an error.
    pub(crate) fn end(&mut self) {
        if self.reading == Reading::Open {
            self.fail(TlsFailure::Truncated);
        }
    }

    /// The length of the record at `next`, if its header is there.
    fn front_length(&self) -> Option<usize> {
        record::length(self.incoming.as_ref()?.get(self.next..)?, self.version).ok()?
    }

    /// The range of the record at `next`, if it is complete. A record that may not be is reported by
    /// [`Session::open_next`].
    fn whole_record(&self) -> Option<Range<usize>> {
        let buffer = self.incoming.as_ref()?;
        match record::length(buffer.get(self.next..)?, self.version) {
            Ok(Some(length)) if buffer.len() - self.next >= length => Some(self.next..self.next + length),
            Ok(_) => None,
            Err(_) => Some(self.next..self.next),
        }
    }

    /// Opens one record. Whether there was one.
    fn open_next(&mut self) -> bool {
        if self.reading != Reading::Open {
            return false;
        }
        let Some(range) = self.whole_record() else { return false };
        if let Err(failure) = self.open_record(range) {
            self.fail(failure);
        }
        true
    }

    fn open_record(&mut self, range: Range<usize>) -> Result<(), TlsFailure> {
        let buffer = self.incoming.as_mut().ok_or(TlsFailure::Internal)?;
        let start = range.start;
        self.next = range.end;
        let opened = self.opener.open(buffer.get_mut(range).ok_or(TlsFailure::Internal)?)?;
        let content = start + opened.start..start + opened.end;
        if !self.message.is_empty() && opened.content != Content::Handshake {
            return Err(TlsFailure::Malformed);
        }
        match opened.content {
            Content::Data if content.is_empty() => {
                self.empty_records += 1;
                if self.empty_records > EMPTY_RECORDS_MAX { Err(TlsFailure::Malformed) } else { Ok(()) }
            }
            Content::Data => {
                self.empty_records = 0;
                self.key_updates = 0;
                self.plain = content;
                Ok(())
            }
            Content::Alert => {
                let alert = buffer.get(content).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
                let [level, code] = alert.ok_or(TlsFailure::Malformed)?;
                self.alerted(level, code)
            }
            Content::Handshake => {
                let bytes = buffer.get(content).ok_or(TlsFailure::Internal)?;
                if self.message.len() + bytes.len() > POST_HANDSHAKE_BYTES_MAX {
                    return Err(TlsFailure::Malformed);
                }
                self.message.extend_from_slice(bytes);
                self.messages()
            }
        }
    }

    /// RFC 8446 §6: all but `close_notify` and `user_canceled` end the connection; TLS 1.2 has warnings.
    fn alerted(&mut self, level: u8, code: u8) -> Result<(), TlsFailure> {
        match AlertDescription::from(code) {
            AlertDescription::CloseNotify => {
                self.reading = Reading::Closed;
                Ok(())
            }
            alert
                if alert == AlertDescription::UserCanceled
                    || (self.version == Version::Tls12 && level == 1) =>
            {
                self.warnings += 1;
                if self.warnings > WARNING_ALERTS_MAX { Err(TlsFailure::Malformed) } else { Ok(()) }
            }
            _ => Err(TlsFailure::AlertReceived(code)),
        }
    }

    /// Handles the whole messages that were gathered and keeps a part.
    fn messages(&mut self) -> Result<(), TlsFailure> {
        let gathered = std::mem::take(&mut self.message);
        let mut rest = gathered.as_slice();
        while let Some((&[kind, high, middle, low], after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let Some((body, after)) = after.split_at_checked(length) else { break };
            self.messaged(kind, body, after.is_empty())?;
            rest = after;
        }
        if !rest.is_empty() {
            self.message = rest.to_vec();
        }
        Ok(())
    }

    fn messaged(&mut self, kind: u8, body: &[u8], last: bool) -> Result<(), TlsFailure> {
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(TlsFailure::Malformed);
        }
        match (self.version, &mut self.schedule, kind) {
            (Version::Tls13, _, KEY_UPDATE) => {
                // What follows it must be under the new key: it ends its record (RFC 8446 §5.1).
                let requested = match (body, last) {
                    ([0], true) => false,
                    ([1], true) => true,
                    _ => return Err(TlsFailure::Malformed),
                };
                let (sequence, secrets) = self.schedule.next_receive()?;
                self.opener = Opener::new(&secrets, sequence, self.version)?;
                if requested && !self.update_unsent && !self.close_sent {
                    self.update_unsent = true;
                    self.renew_transmit()?;
                }
                Ok(())
            }
            (Version::Tls13, Schedule::Client(kernel), NEW_SESSION_TICKET) => {
                kernel.handle_new_session_ticket(body).map_err(|error| TlsFailure::from(&error))
            }
            // No renegotiation (RFC 5746 §4.5): said once, then it is over.
            (Version::Tls12, Schedule::Client(_), HELLO_REQUEST)
            | (Version::Tls12, Schedule::Server(_), CLIENT_HELLO)
                if !self.renegotiation_refused =>
            {
                self.renegotiation_refused = true;
                self.seal_control(Content::Alert, &[1, u8::from(AlertDescription::NoRenegotiation)])
            }
            _ => Err(TlsFailure::Malformed),
        }
    }

    /// Announces and takes the next sending key.
    fn renew_transmit(&mut self) -> Result<(), TlsFailure> {
        self.seal_control(Content::Handshake, &KEY_UPDATE_REPLY)?;
        let (sequence, secrets) = self.schedule.next_transmit()?;
        self.sealer = Sealer::new(&secrets, sequence, self.version)?;
        Ok(())
    }

    fn fail(&mut self, failure: TlsFailure) {
        self.reading = Reading::Failed(failure);
        let alert = failure.alert().filter(|_| !self.close_sent);
        if let Some(alert) = alert {
            // The connection is over either way: what the alert meets is not worth telling.
            let _ = self.seal_control(Content::Alert, &[2, u8::from(alert)]);
        }
    }

    /// Moves what is not opened yet to the front. Only called while no opened bytes wait.
    fn compact(&mut self) {
        if let Some(buffer) = self.incoming.as_mut().filter(|_| self.plain.is_empty() && self.next > 0) {
            buffer.consume(self.next);
            self.next = 0;
            self.plain = 0..0;
        }
    }

    /// Gives the incoming buffer back when nothing is left in it, or nothing more will be read from it.
    fn release(&mut self) {
        let empty = self.incoming.as_ref().is_some_and(|buffer| self.next >= buffer.len());
        if self.plain.is_empty() && (empty || self.reading != Reading::Open) {
            self.incoming = None;
            self.next = 0;
            self.plain = 0..0;
        }
    }

    /// Seals as much of `parts` as one batch of records holds. Zero for nothing to send.
    ///
    /// # Errors
    /// [`TlsFailure::KeysExhausted`], and what ended the connection before.
    pub(crate) fn seal(&mut self, parts: &[IoSlice<'_>]) -> Result<usize, TlsFailure> {
        if let Reading::Failed(failure) = self.reading {
            return Err(failure);
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        // While the socket is full one record at a time is held; otherwise one send carries several.
        let records = if self.congested { 1 } else { RECORDS_SEALED_MAX };
        let accepted = total.min(records * RECORD_PLAIN_BYTES_MAX);
        let mut cursor = Cursor { parts, offset: 0 };
        let mut left = accepted;
        while left > 0 {
            let length = left.min(RECORD_PLAIN_BYTES_MAX);
            self.renew_where_due()?;
            let room = left + records * RECORD_OVERHEAD_BYTES_MAX;
            self.seal_record(Content::Data, length, room, |out| cursor.fill(out, length))?;
            left -= length;
        }
        Ok(accepted)
    }

    /// Says that no more will be sent. Once.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub(crate) fn seal_close(&mut self) -> Result<(), TlsFailure> {
        if self.close_sent {
            return Ok(());
        }
        self.seal_control(Content::Alert, &[1, u8::from(AlertDescription::CloseNotify)])?;
        self.close_sent = true;
        Ok(())
    }

    fn renew_where_due(&mut self) -> Result<(), TlsFailure> {
        // A few are left for alerts.
        if self.sealer.sequence().saturating_add(16) < self.records_max {
            return Ok(());
        }
        match self.version {
            Version::Tls13 => self.renew_transmit(),
            Version::Tls12 => Err(TlsFailure::KeysExhausted),
        }
    }

    fn seal_control(&mut self, content: Content, bytes: &[u8]) -> Result<(), TlsFailure> {
        self.seal_record(content, bytes.len(), bytes.len(), |out| out.extend_from_slice(bytes))
    }

    fn seal_record(
        &mut self,
        content: Content,
        length: usize,
        room: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TlsFailure> {
        let needed = length + RECORD_OVERHEAD_BYTES_MAX;
        let buffer = match self.outgoing.take() {
            Some(buffer) if buffer.spare() >= needed => buffer,
            Some(buffer) => moved(&buffer, buffer.len() + needed),
            None => {
                let room = room.max(needed) + RECORD_OVERHEAD_BYTES_MAX;
                Buffer::take(Class::holding(room).unwrap_or(Class::K64))
            }
        };
        let buffer = self.outgoing.insert(buffer);
        let before = buffer.len();
        let out = buffer.vec_mut();
        let sealed = self.sealer.seal(out, content, length, fill);
        if let Err(failure) = sealed {
            // Never send what was not sealed to its end.
            out.truncate(before);
            self.reading = Reading::Failed(failure);
        }
        sealed
    }

    /// Sealed bytes that are not sent yet.
    #[inline]
    pub(crate) fn unsent(&self) -> &[u8] {
        self.outgoing.as_ref().and_then(|buffer| buffer.get(self.sent..)).unwrap_or_default()
    }

    /// So many of [`Session::unsent`] were sent.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.unsent().is_empty() {
            self.outgoing = None;
            self.sent = 0;
            self.update_unsent = false;
        }
    }

    /// The write that sealed these bytes would block: it is repeated later.
    pub(crate) fn claim(&mut self, parts: &[IoSlice<'_>], length: usize) {
        self.congested = true;
        self.claim = Some(Claim { length, fingerprint: fingerprint(parts, length) });
    }

    /// The bytes of a write that would have blocked, which `parts` must repeat.
    ///
    /// # Errors
    /// [`TlsFailure::WriteChanged`]: they do not, and the stream to the peer would be another than meant.
    pub(crate) fn claimed(&self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, TlsFailure> {
        let Some(claim) = self.claim else { return Ok(None) };
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total < claim.length || fingerprint(parts, claim.length) != claim.fingerprint {
            return Err(TlsFailure::WriteChanged);
        }
        Ok(Some(claim.length))
    }

    /// A write went out to its end; `at_once`: without being repeated.
    pub(crate) fn settled(&mut self, at_once: bool) {
        self.claim = None;
        if at_once {
            self.congested = false;
        }
    }

    #[cfg(test)]
    pub(crate) fn set_records_max(&mut self, records: u64) {
        self.records_max = records;
    }
}

/// The same content in a buffer of the smallest class that holds `bytes`.
fn moved(from: &Buffer, bytes: usize) -> Buffer {
    let mut buffer = Buffer::take(Class::holding(bytes).unwrap_or(Class::K256));
    buffer.vec_mut().extend_from_slice(from);
    buffer
}

/// Walks over the bytes of several slices.
struct Cursor<'a> {
    parts: &'a [IoSlice<'a>],
    offset: usize,
}

impl Cursor<'_> {
    fn fill(&mut self, out: &mut Vec<u8>, length: usize) {
        let mut left = length;
        while left > 0 {
            let Some((part, rest)) = self.parts.split_first() else { return };
            let bytes = part.get(self.offset..).unwrap_or_default();
            let (taken, after) = bytes.split_at(left.min(bytes.len()));
            out.extend_from_slice(taken);
            left -= taken.len();
            if after.is_empty() {
                self.parts = rest;
                self.offset = 0;
            } else {
                self.offset += taken.len();
            }
        }
    }
}

/// FNV-1a over the length and both ends of the first `length` bytes: taken only when a write would block.
fn fingerprint(parts: &[IoSlice<'_>], length: usize) -> u64 {
    const ENDS: usize = 64;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ length as u64;
    for wanted in [0..ENDS.min(length), length.saturating_sub(ENDS)..length] {
        let mut at = 0;
        for part in parts {
            let start = wanted.start.saturating_sub(at).min(part.len());
            let end = wanted.end.saturating_sub(at).min(part.len());
            for byte in part.get(start..end).unwrap_or_default() {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            at += part.len();
        }
    }
    hash
}

#[cfg(test)]
mod tests;
