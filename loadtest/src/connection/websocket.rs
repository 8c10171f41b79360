//! WebSocket (RFC 6455), the client's side: messages that are expected back as they were sent.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::Method;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http1::RequestFacts;

use super::http1::{read_head, write_rest};
use super::{Broken, NotOpened, Reply};
use crate::base64::base64;
use crate::failure::Failure;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::plan::Plan;
use crate::random::Random;
use crate::request::After;
use crate::template::Values;

/// Appended to the key before it is hashed (RFC 6455 §1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket after its handshake.
pub(super) struct WebSocket {
    stream: Stream,
    /// The one frame that is sent again and again, masked.
    frame: Vec<u8>,
    /// What is expected back.
    payload: Vec<u8>,
    /// Received, and not yet taken.
    incoming: Vec<u8>,
    received: Vec<u8>,
}

impl WebSocket {
    /// Makes the opening handshake (RFC 6455 §4.1) for the first target.
    pub(super) async fn shake(stream: Stream, plan: &Plan, deadline_ns: u64) -> Result<Self, NotOpened> {
        let no = |text: &str| NotOpened::new(Failure::Protocol, format!("no WebSocket: {text}"));
        let target = plan.targets.first().ok_or_else(|| no("no target"))?;
        let mut random = Random::new(plan.seed, u64::from(stream.raw_fd().unsigned_abs()));
        let mut scratch = Vec::new();
        let mut values = Values::new(plan.tables.clone(), plan.seed, 0, 1);
        let plain = target.request.bytes(&mut scratch, After::Keep, &mut values);
        let key = base64(&std::array::from_fn::<u8, 16, _>(|_| random.bits() as u8));
        let mut handshake = plain.strip_suffix(b"\r\n").unwrap_or(plain).to_vec();
        handshake
            .extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        handshake.extend_from_slice(format!("Sec-WebSocket-Key: {key}\r\n\r\n").as_bytes());
        stream.deadline().arm(Side::Read, deadline_ns);
        write_rest(&stream, &handshake, deadline_ns).await.map_err(|error| no(&error.to_string()))?;
        let facts = RequestFacts { method: Method::Get, upgrade_asked: true };
        let (head, _) = read_head(&stream, facts, Buffer::take(Class::K16)).await.map_err(|broken| {
            NotOpened::new(broken.failure, "no WebSocket: the handshake broke off".to_owned())
        })?;
        if !head.is_upgrade() {
            return Err(no(&format!("the reply's status is {}", head.status())));
        }
        let accept =
            base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes()).as_ref());
        if head.field_named(b"sec-websocket-accept") != Some(accept.as_bytes()) {
            return Err(no("Sec-WebSocket-Accept is not the answer to the key"));
        }
        let mut incoming = Vec::with_capacity(Class::K16.bytes());
        incoming.extend_from_slice(head.rest());
        let payload: Vec<u8> = (0..plan.message_bytes).map(|place| b'a' + (place % 26) as u8).collect();
        let mask = (random.bits() as u32).to_be_bytes();
        let mut frame = Vec::new();
        write_frame(&mut frame, BINARY, mask, &payload);
        Ok(Self { stream, frame, payload, incoming, received: Vec::new() })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends the message and waits for it to come back.
    pub(super) async fn echo(&mut self, deadline_ns: u64, bytes_out: &mut u64) -> Result<Reply, Broken> {
        *bytes_out = self.frame.len() as u64;
        self.stream.deadline().arm(Side::Read, deadline_ns);
        write_rest(&self.stream, &self.frame, deadline_ns)
            .await
            .map_err(|error| Broken::by(&error, false))?;
        self.received.clear();
        let mut bytes_in = 0;
        loop {
            if let Some(frame) = take_frame(&mut self.incoming)? {
                match frame.kind {
                    BINARY | CONTINUATION => {
                        self.received.extend_from_slice(&frame.payload);
                        if self.received.len() > MESSAGE_BYTES_MAX {
                            return Err(MALFORMED);
                        }
                    }
                    PING => {
                        let mut pong = Vec::new();
                        write_frame(&mut pong, PONG, [7, 1, 2, 9], &frame.payload);
                        let sent = write_rest(&self.stream, &pong, deadline_ns).await;
                        sent.map_err(|error| Broken::by(&error, false))?;
                        continue;
                    }
                    PONG => continue,
                    CLOSE => return Err(Broken { failure: Failure::Closed, silent: false }),
                    _ => return Err(MALFORMED),
                }
                if frame.last {
                    let same = self.received == self.payload;
                    let failure = (!same).then_some(Failure::Body);
                    return Ok(Reply { status: 101, failure, bytes_in, persistent: true });
                }
                continue;
            }
            if self.incoming.capacity() - self.incoming.len() < Class::K4.bytes() {
                self.incoming.reserve(Class::K64.bytes());
            }
            let read = self.stream.read_soon(&mut self.incoming).await;
            match read.map_err(|error| Broken::by(&error, false))? {
                0 => return Err(Broken { failure: Failure::Closed, silent: false }),
                count => bytes_in += count as u64,
            }
        }
    }
}

const MALFORMED: Broken = Broken { failure: Failure::Malformed, silent: false };

struct Frame {
    last: bool,
    kind: u8,
    payload: Vec<u8>,
}

/// Takes a whole frame of a server (RFC 6455 §5.2) from the front of `incoming`, if there is one. A masked one, a reserved
/// bit or a length beyond the limit is malformed.
fn take_frame(incoming: &mut Vec<u8>) -> Result<Option<Frame>, Broken> {
    let Some(&[first, second]) = incoming.first_chunk::<2>() else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(MALFORMED);
    }
    let (length, start) = match second & 0x7f {
        126 => match incoming.get(2..4).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => (u64::from(u16::from_be_bytes(bytes)), 4),
            None => return Ok(None),
        },
        127 => match incoming.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => (u64::from_be_bytes(bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let length =
        usize::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX).ok_or(MALFORMED)?;
    let Some(payload) = incoming.get(start..start + length) else { return Ok(None) };
    let frame = Frame { last: first & 0x80 != 0, kind: first & 0x0f, payload: payload.to_vec() };
    incoming.drain(..start + length);
    Ok(Some(frame))
}

/// Appends a client's frame, which is whole and masked (RFC 6455 §5.3).
fn write_frame(out: &mut Vec<u8>, kind: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(0x80 | kind);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::{take_frame, write_frame};

    #[test]
    fn frames_are_written_as_the_rfc_shows_and_read_however_they_are_cut() {
        let mut masked = Vec::new();
        write_frame(&mut masked, 1, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        for length in [0usize, 125, 126, 65_535, 65_536] {
            let mut plain = vec![0x82];
            match length {
                0..126 => plain.push(length as u8),
                126..65_536 => plain.extend([&[126][..], &(length as u16).to_be_bytes()].concat()),
                _ => plain.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            let head = plain.len();
            plain.resize(head + length, b'x');
            for cut in [0, 1, head - 1, (head + length).saturating_sub(1)] {
                let mut part = plain[..cut.min(head + length - 1)].to_vec();
                assert!(take_frame(&mut part).is_ok_and(|frame| frame.is_none()), "{length} {cut}");
            }
            plain.push(0x8a);
            let frame = take_frame(&mut plain).ok().flatten().unwrap();
            assert_eq!(
                (frame.last, frame.kind, frame.payload.len(), plain.as_slice()),
                (true, 2, length, &[0x8a][..])
            );
        }
        assert!(take_frame(&mut vec![0xc1, 0]).is_err() && take_frame(&mut vec![0x81, 0x80]).is_err());
        assert!(take_frame(&mut vec![0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
