//! The control stream (RFC 9114 §6.2.1): SETTINGS first and once, then what concerns the connection.

use super::code::Code;
use super::frame::{FrameHead, FrameHeadReader, FrameKind, write_frame_head};
use super::message::Role;
use super::settings::Settings;
use super::varint;
use crate::priority::Priority;

/// Bytes of a SETTINGS frame; 64 pairs of the longest integers.
const SETTINGS_BYTES_MAX: u64 = 1024;
/// Bytes of a PRIORITY_UPDATE: a stream id and a short dictionary.
const PRIORITY_BYTES_MAX: u64 = 256;
/// Bytes that a peer may send on its control stream, SETTINGS apart, before its first request.
const BUDGET_BYTES: u32 = 16 * 1024;
/// And for each request.
const BUDGET_BYTES_PER_REQUEST: u32 = 256;

const _: () = assert!(SETTINGS_BYTES_MAX >= 64 * 2 * varint::VARINT_BYTES_MAX as u64);

/// What a control stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlEvent {
    /// All bytes were taken and more is needed.
    NeedMore,
    /// The peer's settings: the first event, and once.
    Settings(Settings),
    /// The peer ends the connection. From a server: requests on this stream and above are not processed. From a client: its
    /// pushes, of which there are none.
    GoAway(u64),
    /// The priority of the request on this stream.
    Priority(u64, Priority),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FrameHead,
    Payload { kind: FrameKind, left: u32 },
    Skip { left: u64 },
}

/// Reads the peer's control stream. Each of its errors closes the connection.
#[derive(Debug)]
pub struct ControlReader {
    heads: FrameHeadReader,
    state: State,
    role: Role,
    settled: bool,
    goaway: Option<u64>,
    push_ids_max: u64,
    budget: u32,
    payload: Vec<u8>,
}

impl ControlReader {
    /// A reader right after the stream's type. `role` is ours.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            heads: FrameHeadReader::default(),
            state: State::FrameHead,
            role,
            settled: false,
            goaway: None,
            push_ids_max: 0,
            budget: BUDGET_BYTES,
            payload: Vec::new(),
        }
    }

    /// So many requests came: what a peer may say of requests grows with them.
    pub fn earn(&mut self, requests: u32) {
        let earned = requests.saturating_mul(BUDGET_BYTES_PER_REQUEST);
        self.budget = self.budget.saturating_add(earned).min(4 * BUDGET_BYTES);
    }

    /// Takes bytes up to the next event: how many, and the event.
    ///
    /// # Errors
    /// The code with which the connection is closed.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, ControlEvent), Code> {
        let mut rest = bytes;
        loop {
            match self.state {
                State::FrameHead => {
                    let before = rest.len();
                    let head = self.heads.take(&mut rest);
                    self.spend((before - rest.len()) as u64)?;
                    let Some(head) = head else { return Ok((bytes.len(), ControlEvent::NeedMore)) };
                    self.begin(head)?;
                }
                State::Skip { left } => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    rest = rest.get(taken..).unwrap_or_default();
                    self.spend(taken as u64)?;
                    let left = left - taken as u64;
                    if left > 0 {
                        self.state = State::Skip { left };
                        return Ok((bytes.len(), ControlEvent::NeedMore));
                    }
                    self.state = State::FrameHead;
                }
                State::Payload { kind, left } => {
                    let (taken, more) = rest.split_at(rest.len().min(left as usize));
                    rest = more;
                    self.payload.extend_from_slice(taken);
                    self.spend(taken.len() as u64)?;
                    let left = left - taken.len() as u32;
                    if left > 0 {
                        self.state = State::Payload { kind, left };
                        return Ok((bytes.len(), ControlEvent::NeedMore));
                    }
                    self.state = State::FrameHead;
                    let payload = std::mem::take(&mut self.payload);
                    if let Some(event) = self.whole(kind, &payload)? {
                        return Ok((bytes.len() - rest.len(), event));
                    }
                }
            }
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Code> {
        if self.settled {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.budget = self.budget.checked_sub(bytes).ok_or(Code::ExcessiveLoad)?;
        }
        Ok(())
    }

    fn begin(&mut self, head: FrameHead) -> Result<(), Code> {
        if self.settled == (head.kind == FrameKind::Settings) {
            return Err(if self.settled { Code::FrameUnexpected } else { Code::MissingSettings });
        }
        let server = self.role == Role::Server;
        let len_max = match head.kind {
            FrameKind::Settings => SETTINGS_BYTES_MAX,
            FrameKind::PriorityUpdate | FrameKind::PushPriorityUpdate if server => PRIORITY_BYTES_MAX,
            FrameKind::MaxPushId if server => varint::VARINT_BYTES_MAX as u64,
            FrameKind::GoAway | FrameKind::CancelPush => varint::VARINT_BYTES_MAX as u64,
            FrameKind::Unknown => {
                self.state = State::Skip { left: head.len };
                return Ok(());
            }
            _ => return Err(Code::FrameUnexpected),
        };
        match u32::try_from(head.len) {
            Ok(left) if head.len <= len_max => self.state = State::Payload { kind: head.kind, left },
            _ if len_max == varint::VARINT_BYTES_MAX as u64 => return Err(Code::Frame),
            _ => return Err(Code::ExcessiveLoad),
        }
        Ok(())
    }

    fn whole(&mut self, kind: FrameKind, payload: &[u8]) -> Result<Option<ControlEvent>, Code> {
        let (id, id_len) = match kind {
            FrameKind::Settings => (0, 0),
            _ => varint::read(payload).ok_or(Code::Frame)?,
        };
        let rest = payload.get(id_len..).unwrap_or_default();
        let request = id.is_multiple_of(4);
        match kind {
            FrameKind::Settings => {
                self.settled = true;
                return Settings::read(payload).map(|settings| Some(ControlEvent::Settings(settings)));
            }
            FrameKind::PriorityUpdate if request => {
                return Ok(Some(ControlEvent::Priority(id, Priority::of(rest))));
            }
            // The id of no request (RFC 9218 §7.2).
            FrameKind::PriorityUpdate => return Err(Code::Id),
            _ if !rest.is_empty() => return Err(Code::Frame),
            FrameKind::GoAway => {
                let grows = self.goaway.is_some_and(|before| id > before);
                if grows || (self.role == Role::Client && !request) {
                    return Err(Code::Id);
                }
                self.goaway = Some(id);
                return Ok(Some(ControlEvent::GoAway(id)));
            }
            FrameKind::MaxPushId => {
                if id < self.push_ids_max {
                    return Err(Code::Id);
                }
                self.push_ids_max = id;
            }
            // Nobody promised a push here, so that no id of one can be named (RFC 9114 §7.2.3, RFC 9218 §7.2).
            _ => return Err(Code::Id),
        }
        Ok(None)
    }
}

/// Appends GOAWAY (RFC 9114 §5.2): requests on this stream and above will not be processed.
pub fn write_goaway(out: &mut Vec<u8>, stream: u64) {
    write_frame_head(out, FrameKind::GoAway, varint::length_of(stream) as u64);
    varint::write(out, stream);
}

/// Appends PRIORITY_UPDATE for the request on a stream (RFC 9218 §7.2), `value` as in the `Priority` field.
pub fn write_priority_update(out: &mut Vec<u8>, stream: u64, value: &[u8]) {
    write_frame_head(out, FrameKind::PriorityUpdate, (varint::length_of(stream) + value.len()) as u64);
    varint::write(out, stream);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ControlEvent, ControlReader, write_goaway, write_priority_update};
    use crate::http3::code::Code;
    use crate::http3::message::Role;
    use crate::http3::settings::Settings;
    use crate::http3::varint;

    fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(&mut out, number);
        varint::write(&mut out, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    fn read_with(reader: &mut ControlReader, pieces: &[&[u8]]) -> Result<Vec<ControlEvent>, Code> {
        let mut events = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (taken, event) = reader.next(rest)?;
                rest = &rest[taken..];
                if event == ControlEvent::NeedMore {
                    assert!(rest.is_empty());
                    break;
                }
                events.push(event);
            }
        }
        Ok(events)
    }

    fn read(role: Role, frames: &[Vec<u8>]) -> Result<Vec<ControlEvent>, Code> {
        read_with(&mut ControlReader::new(role), &[&frames.concat()])
    }

    fn settings() -> Vec<u8> {
        frame(4, &[])
    }

    #[test]
    fn settings_come_first_and_once() {
        assert_eq!(read(Role::Server, &[settings()]), Ok(vec![ControlEvent::Settings(Settings::DEFAULT)]));
        for first in [frame(0x21, b""), frame(7, &[0]), frame(0, b""), frame(0x0d, &[1])] {
            assert_eq!(read(Role::Server, &[first, settings()]), Err(Code::MissingSettings));
        }
        assert_eq!(read(Role::Server, &[settings(), settings()]), Err(Code::FrameUnexpected));
        assert_eq!(read(Role::Server, &[frame(4, &[0x40])]), Err(Code::Frame));
        assert_eq!(read(Role::Server, &[frame(4, &[2, 0])]), Err(Code::Settings));
    }

    #[test]
    fn frames_of_other_streams_end_the_connection() {
        for number in [0, 1, 5, 2, 6, 8, 9] {
            assert_eq!(
                read(Role::Server, &[settings(), frame(number, &[0])]),
                Err(Code::FrameUnexpected),
                "{number}"
            );
        }
        for number in [0x0d, 0x0f_0700, 0x0f_0701] {
            assert_eq!(read(Role::Client, &[settings(), frame(number, &[0])]), Err(Code::FrameUnexpected));
        }
    }

    #[test]
    fn ids_go_the_right_way_and_name_what_there_is() {
        let goaway = |id| {
            let mut out = Vec::new();
            write_goaway(&mut out, id);
            out
        };
        let events = read(Role::Client, &[settings(), goaway(400), goaway(8), goaway(8)]).unwrap();
        assert_eq!(events[1..], [400, 8, 8].map(ControlEvent::GoAway));
        assert_eq!(read(Role::Client, &[settings(), goaway(8), goaway(12)]), Err(Code::Id));
        assert_eq!(read(Role::Client, &[settings(), goaway(1)]), Err(Code::Id));
        assert!(read(Role::Server, &[settings(), goaway(1)]).is_ok(), "a client's names a push");
        assert!(read(Role::Server, &[settings(), frame(0x0d, &[5]), frame(0x0d, &[5])]).is_ok());
        assert_eq!(read(Role::Server, &[settings(), frame(0x0d, &[5]), frame(0x0d, &[4])]), Err(Code::Id));
        assert_eq!(read(Role::Server, &[settings(), frame(3, &[0])]), Err(Code::Id));
        assert_eq!(read(Role::Server, &[settings(), frame(0x0f_0701, &[0])]), Err(Code::Id));
        assert_eq!(read(Role::Server, &[settings(), frame(0x0f_0700, &[1])]), Err(Code::Id));
    }

    #[test]
    fn payloads_are_whole_and_nothing_more() {
        for payload in [&[][..], &[0, 0], &[0x40], &[0; 9]] {
            for number in [7, 3, 0x0d] {
                assert_eq!(read(Role::Server, &[settings(), frame(number, payload)]), Err(Code::Frame));
            }
        }
        assert_eq!(read(Role::Server, &[settings(), frame(0x0f_0700, &[])]), Err(Code::Frame));
    }

    #[test]
    fn a_priority_is_read() {
        let mut update = Vec::new();
        write_priority_update(&mut update, 400, b"u=1, i");
        let events = read(Role::Server, &[settings(), update]).unwrap();
        assert!(
            matches!(events[1], ControlEvent::Priority(400, priority) if priority.urgency == 1 && priority.incremental)
        );
    }

    #[test]
    fn what_a_peer_says_is_bounded_by_its_requests() {
        let mut update = Vec::new();
        write_priority_update(&mut update, 0, b"u=1");
        let flood = [settings(), update.repeat(5_000)];
        assert_eq!(read(Role::Server, &flood), Err(Code::ExcessiveLoad));
        let mut reader = ControlReader::new(Role::Server);
        read_with(&mut reader, &[&settings()]).unwrap();
        for _ in 0..5_000 {
            reader.earn(1);
            read_with(&mut reader, &[&update]).unwrap();
        }
        let mut endless = vec![0x21];
        varint::write(&mut endless, varint::VARINT_MAX);
        endless.resize(20_000, 0);
        assert_eq!(read(Role::Server, &[settings(), endless]), Err(Code::ExcessiveLoad));
        assert_eq!(read(Role::Server, &[frame(4, &[0x40; 1_025])]), Err(Code::ExcessiveLoad));
        assert_eq!(read(Role::Server, &[settings(), frame(0x0f_0700, &[0; 257])]), Err(Code::ExcessiveLoad));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            frames in proptest::collection::vec((prop_oneof![Just(7u64), Just(0x0d), Just(0x21), Just(0x0f_0700), 0u64..16], proptest::collection::vec(0u8..70, 0..6)), 0..8),
        ) {
            let mut bytes = settings();
            for (number, payload) in &frames {
                bytes.extend(frame(*number, payload));
            }
            let whole = read_with(&mut ControlReader::new(Role::Server), &[&bytes]);
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(whole, read_with(&mut ControlReader::new(Role::Server), &singles));
        }
    }
}
