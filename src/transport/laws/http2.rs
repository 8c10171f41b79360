//! HTTP/2 with a client of others (curl), and with raw frames.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use ringway_rt::{DriverChoice, spawn};
use ringway_wire::http2::{Excess, PREFACE};
use ringway_wire::limits::HeadLimits;
use ringway_wire::message::OutgoingHead;
use ringway_wire::{Framing, Overlay};

use super::{PATIENCE_NS, SECOND, listener, on_both, pattern, worker};
use crate::http2::{Accepting, Arrived, Ending, Incoming, Patience};
use crate::{After, Code, MessageEnd, Received, Stream};

const PATIENCE: Patience = Patience { head_ns: PATIENCE_NS, idle_ns: PATIENCE_NS, stall_ns: PATIENCE_NS };

/// Sends a stream's content back, and its trailers.
async fn echo(incoming: Incoming) -> Result<(), MessageEnd> {
    let Incoming { head, receiver, sender } = incoming;
    let mut receiver = crate::Receiver::from(receiver);
    let mut sender = crate::Sender::Http2(sender);
    let overlay = Overlay::take();
    let status = match &head {
        Ok(_) => 200,
        Err(reject) => reject.status(),
    };
    let own = OutgoingHead::own(status, &[(b"X-A", b"1")], &overlay, Framing::Chunked, None).unwrap();
    sender.send_head(&own, After::Content)?;
    loop {
        match receiver.try_next()? {
            Received::Nothing => receiver.readable().await,
            Received::Data(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    match sender.try_send(rest)? {
                        0 => sender.writable().await,
                        taken => rest = &rest[taken..],
                    }
                }
                receiver.consumed(bytes.len());
            }
            Received::Trailers(trailers) => return sender.finish(Some(&trailers)),
            Received::End => return sender.finish(None),
        }
    }
}

/// Serves so many connections, one after the other, to their ends; how the last one ended, and the client's result.
fn meet<C: Send + 'static>(
    choice: DriverChoice,
    patience: Patience,
    connections: usize,
    client: impl FnOnce(TcpStream, std::net::SocketAddr) -> C + Send + 'static,
) -> (Ending, C) {
    worker(choice, || async {
        let (listener, address) = listener();
        let peer = thread::spawn(move || client(TcpStream::connect(address).unwrap(), address));
        let mut ending = Ending::Closed;
        for _ in 0..connections {
            let (io, _) = listener.accept().await.unwrap();
            let mut accepting = Accepting::new(Stream::Plain(io), None, patience, HeadLimits::DEFAULT);
            while let Some(arrived) = poll_fn(|cx| accepting.poll_next(cx)).await {
                let Arrived::Request(incoming) = arrived else { continue };
                spawn(async move {
                    let _ = echo(incoming).await;
                });
            }
            ending = accepting.ending();
            accepting.linger().await;
        }
        (ending, peer.join().unwrap())
    })
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// POST https://a/ without literals that need a table.
const POST: &[u8] = b"\x83\x87\x84\x41\x01a";

/// Type, flags, stream and payload of each frame until the end.
fn frames_to_end(mut socket: TcpStream) -> Vec<(u8, u8, u32, Vec<u8>)> {
    socket.set_read_timeout(Some(Duration::from_nanos(PATIENCE_NS))).unwrap();
    let mut frames = Vec::new();
    let mut header = [0; 9];
    while socket.read_exact(&mut header).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        socket.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes(header[5..].try_into().unwrap());
        frames.push((header[3], header[4], stream, payload));
    }
    frames
}

fn a_megabyte_goes_both_ways_with_curl(choice: DriverChoice) {
    let content = pattern(3_000_000);
    let sent = content.clone();
    let (ending, back) = meet(choice, PATIENCE, 2, move |first, address| {
        drop(first);
        let mut curl = Command::new("curl")
            .args(["-s", "--http2-prior-knowledge", "--data-binary", "@-", &format!("http://{address}/")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is there");
        let mut stdin = curl.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(&sent));
        let output = curl.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output.stdout
    });
    assert_eq!(ending, Ending::Closed);
    assert_eq!(back.len(), content.len());
    assert!(back == content);
}

fn a_flood_ends_with_enhance_your_calm(choice: DriverChoice) {
    let (ending, frames) = meet(choice, PATIENCE, 1, |mut socket, _| {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, b""));
        for _ in 0..10_000 {
            bytes.extend(frame(6, 0, 0, b"12345678"));
        }
        let _ = socket.write_all(&bytes);
        frames_to_end(socket)
    });
    assert_eq!(ending, Ending::Flood(Some(Excess::Ping)));
    let (kind, _, _, payload) = frames.last().unwrap();
    assert_eq!((*kind, payload[7]), (7, 0xb), "GOAWAY with ENHANCE_YOUR_CALM");
}

fn trailers_come_back_and_a_reset_is_told(choice: DriverChoice) {
    let (ending, frames) = meet(choice, PATIENCE, 1, |mut socket, _| {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, b""));
        bytes.extend(frame(1, 4, 1, POST));
        bytes.extend(frame(0, 0, 1, b"hello"));
        bytes.extend(frame(1, 5, 1, b"\x40\x03x-t\x01v"));
        socket.write_all(&bytes).unwrap();
        // GOAWAY of the client's: the connection ends when its stream has.
        socket.write_all(&frame(7, 0, 0, &[0; 8])).unwrap();
        frames_to_end(socket)
    });
    assert_eq!(ending, Ending::Closed);
    let own: Vec<_> = frames.iter().filter(|frame| frame.2 == 1 && frame.0 <= 1).collect();
    assert_eq!(own.iter().map(|frame| (frame.0, frame.1)).collect::<Vec<_>>(), [(1, 4), (0, 0), (1, 5)]);
    assert_eq!(own[1].3, b"hello");
}

fn a_head_that_never_ends_is_given_its_time_and_no_more(choice: DriverChoice) {
    let patience = Patience { head_ns: SECOND, ..PATIENCE };
    let (ending, frames) = meet(choice, patience, 1, |mut socket, _| {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, b""));
        bytes.extend(frame(1, 0, 1, POST));
        socket.write_all(&bytes).unwrap();
        frames_to_end(socket)
    });
    assert_eq!(ending, Ending::Late);
    assert_eq!(frames.last().unwrap().0, 7, "GOAWAY");
}

on_both! {
    curl => a_megabyte_goes_both_ways_with_curl;
    flood => a_flood_ends_with_enhance_your_calm;
    trailers => trailers_come_back_and_a_reset_is_told;
    late => a_head_that_never_ends_is_given_its_time_and_no_more;
}

#[test]
fn codes_are_those_of_the_standard() {
    for (code, reason) in [(Code::NoError, 0), (Code::Cancel, 8), (Code::Malformed, 1), (Code::Calm, 11)] {
        assert_eq!(u32::from(crate::http2::reason_of(code)), reason);
    }
}
