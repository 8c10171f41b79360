//! The unidirectional streams of a connection: our control stream is written, the peer's are read (RFC 9114 §6.2).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use quinn::{ReadError, RecvStream, SendStream};
use ringway_wire::http3::qpack::{DecoderStreamReader, EncoderStreamReader};
use ringway_wire::http3::{
    Code, ControlEvent, ControlReader, StreamKind, StreamKindReader, write_goaway, write_stream_kind,
};

use super::line::Line;
use super::number;
use crate::limits::HTTP3_STREAMS_UNI_MAX;

/// Bytes that are read from such a stream at once.
const READ_BYTES_MAX: usize = 4096;

/// Starts what reads and writes them; it ends with the connection.
pub(super) fn start(line: &Rc<Line>) {
    ringway_rt::spawn(write_control(Rc::clone(line)));
    ringway_rt::spawn(accept(Rc::clone(line)));
}

/// Our control stream: SETTINGS, and GOAWAY when it is asked for.
async fn write_control(line: Rc<Line>) {
    let Ok(mut stream) = line.connection.open_uni().await else { return };
    let mut bytes = Vec::with_capacity(64);
    write_stream_kind(&mut bytes, StreamKind::Control);
    // Which reserved setting is sent differs from connection to connection.
    line.ours.write(&mut bytes, (ringway_rt::now().mono_ns >> 10) as u32 & 0xff);
    // It goes before all content.
    let _ = stream.set_priority(i32::MAX);
    let written = stream.write_all(&bytes).await.is_ok();
    drop(bytes);
    if written {
        say_goaways(&line, &mut stream).await;
    }
}

async fn say_goaways(line: &Line, stream: &mut SendStream) {
    let mut stopped = pin!(stream.stopped());
    loop {
        let said = poll_fn(|cx| {
            if let Poll::Ready(stopped) = stopped.as_mut().poll(cx) {
                // The peer must not ask for its end (RFC 9114 §6.2.1).
                if matches!(stopped, Ok(Some(_))) {
                    line.close(Code::ClosedCriticalStream);
                }
                return Poll::Ready(None);
            }
            if let Some(said) = line.goaway.take() {
                return Poll::Ready(Some(said));
            }
            line.writer_waits(cx);
            Poll::Pending
        })
        .await;
        let Some(said) = said else { return };
        let mut bytes = Vec::with_capacity(16);
        write_goaway(&mut bytes, said);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The peer's streams.
async fn accept(line: Rc<Line>) {
    let mut seen = 0;
    while let Ok(stream) = line.connection.accept_uni().await {
        seen += 1;
        if seen > HTTP3_STREAMS_UNI_MAX {
            return line.close(Code::ExcessiveLoad);
        }
        ringway_rt::spawn(read(Rc::clone(&line), stream));
    }
}

/// What a piece of a stream is read by.
enum Reader {
    Kind(StreamKindReader),
    /// With the requests that it was told of.
    Control(Box<ControlReader>, u64),
    Encoder(EncoderStreamReader),
    Decoder(DecoderStreamReader),
}

async fn read(line: Rc<Line>, mut stream: RecvStream) {
    let mut reader = Reader::Kind(StreamKindReader::default());
    loop {
        let chunk = match stream.read_chunk(READ_BYTES_MAX, true).await {
            Ok(Some(chunk)) => chunk.bytes,
            Ok(None) | Err(ReadError::Reset(_)) => {
                // One that ended before it said what it is concerns nobody.
                if !matches!(reader, Reader::Kind(_)) {
                    line.close(Code::ClosedCriticalStream);
                }
                return;
            }
            Err(_) => return,
        };
        let mut rest = &chunk[..];
        if let Reader::Kind(kind) = &mut reader {
            let Some(kind) = kind.take(&mut rest) else { continue };
            if let Err(code) = line.peer_streams.borrow_mut().open(kind, line.role) {
                return line.close(code);
            }
            reader = match kind {
                StreamKind::Control => Reader::Control(Box::new(ControlReader::new(line.role)), 0),
                StreamKind::QpackEncoder => Reader::Encoder(EncoderStreamReader::default()),
                StreamKind::QpackDecoder => Reader::Decoder(DecoderStreamReader::default()),
                StreamKind::Push | StreamKind::Unknown => return refuse(stream),
            };
        }
        let result = match &mut reader {
            Reader::Kind(_) => Ok(()),
            Reader::Control(control, requests) => hear(&line, control, requests, rest),
            Reader::Encoder(encoder) => encoder.read(rest),
            Reader::Decoder(decoder) => decoder.read(rest),
        };
        if let Err(code) = result {
            return line.close(code);
        }
    }
}

/// A stream of a kind that we do not know is not read (RFC 9114 §6.2.3).
fn refuse(mut stream: RecvStream) {
    // Fails where it has ended, which is as good.
    let _ = stream.stop(number(Code::StreamCreation));
}

fn hear(line: &Line, control: &mut ControlReader, requests: &mut u64, mut bytes: &[u8]) -> Result<(), Code> {
    let came = line.requests.get() - *requests;
    *requests += came;
    control.earn(u32::try_from(came).unwrap_or(u32::MAX));
    loop {
        let (taken, event) = control.next(bytes)?;
        bytes = bytes.get(taken..).unwrap_or_default();
        match event {
            ControlEvent::NeedMore => return Ok(()),
            ControlEvent::Settings(settings) => line.theirs.set(Some(settings)),
            ControlEvent::GoAway(id) => line.goaway_seen.set(Some(id)),
            ControlEvent::Priority(stream, priority) => line.say_priority(stream, priority),
        }
    }
}
