//! Laws of bodies that are given up half way.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use ringway_rt::{DriverChoice, Ended, Options};
use ringway_transport::Stream;
use ringway_wire::head::{Framing, Version};
use ringway_wire::http1::ResponseExtra;
use ringway_wire::overlay::Overlay;

use super::{Coding, Own, RelayEnd, Sink, SinkEnd, Source, SourceLimits, Step, relay};

/// Limits that nothing here reaches.
const LIMITS: SourceLimits =
    SourceLimits { body_bytes_max: u64::MAX, idle_ns_max: 1_000_000_000, rate_min: 0, rate_grace_ns: 0 };

/// Runs `law` on a worker, with one end of a connection.
fn with_stream(law: impl FnOnce(&Stream)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { driver: DriverChoice::Epoll, ..Options::default() };
    let ended = ringway_rt::run(&options, |_| async move {
        let until_ns = ringway_rt::now().mono_ns + 60_000_000_000;
        law(&Stream::Plain(ringway_rt::Stream::connect(address, until_ns).await.unwrap()));
    });
    assert_eq!(ended.unwrap(), Ended::Finished(()));
}

#[test]
fn content_that_was_shown_and_not_taken_is_never_the_next_request() {
    with_stream(|stream| {
        let first = b"GET /evil GET /next";
        let mut source = Source::http1(stream, Framing::Length(10), first, LIMITS);
        assert!(matches!(source.step(), Ok(Step::Data(b"GET /evil "))));
        assert!(source.is_done() && source.has_rest());
        assert_eq!(source.take_rest().as_deref(), Some(&b"GET /next"[..]));
    });
}

#[test]
fn a_relay_that_was_given_up_goes_on_behind_what_it_was_shown() {
    with_stream(|stream| {
        let first = b"5\r\n0\r\n\r\n\r\n3\r\nabc\r\n0\r\n\r\nnext";
        let mut source = Source::http1(stream, Framing::Chunked, first, LIMITS);
        assert!(matches!(source.step(), Ok(Step::Data(b"0\r\n\r\n"))));
        assert_eq!(source.skip_ready(), Ok(true));
        assert_eq!(source.body_bytes, 8);
        assert_eq!(source.take_rest().as_deref(), Some(&b"next"[..]));
    });
}

#[test]
fn all_of_a_body_shown_leaves_no_rest() {
    with_stream(|stream| {
        let mut source = Source::http1(stream, Framing::Length(3), b"abc", LIMITS);
        assert!(matches!(source.step(), Ok(Step::Data(b"abc"))));
        assert!(!source.has_rest());
        assert!(source.take_rest().is_none());
    });
}

/// Two connections, each with the other end of it for the test to play the peer.
async fn connection(listener: &TcpListener) -> (Stream, TcpStream) {
    let until_ns = ringway_rt::now().mono_ns + 60_000_000_000;
    let ours = ringway_rt::Stream::connect(listener.local_addr().unwrap(), until_ns).await.unwrap();
    (Stream::Plain(ours), listener.accept().unwrap().0)
}

/// Writes a head, behind which so many bytes follow.
fn begin(sink: &mut Sink<'_>, length: u64) {
    let overlay = Overlay::take();
    let own = Own { status: 200, fields: &[], overlay: &overlay, framing: Framing::Length(length) };
    let extra = ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: None };
    sink.own(own, Coding::Length(length), &extra).unwrap().unwrap();
}

#[test]
fn what_a_relay_moved_before_it_was_given_up_does_not_come_again() {
    const CONTENT: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for driver in [DriverChoice::Epoll, DriverChoice::Uring] {
        let options = Options { driver, ..Options::default() };
        let ended = ringway_rt::run(&options, |_| async {
            let (caller, mut sender) = connection(&listener).await;
            // It reads nothing, so that the relay stops with a pipe that is full.
            let (endpoint, receiver) = connection(&listener).await;
            let writer = std::thread::spawn(move || {
                sender.write_all(&vec![7; CONTENT - 5]).unwrap();
                sender.write_all(b"GET /next").unwrap();
                sender
            });
            let limits = SourceLimits { idle_ns_max: 60_000_000_000, ..LIMITS };
            let mut source = Source::http1(&caller, Framing::Length(CONTENT as u64), b"first", limits);
            let mut sink = Sink::http1(&endpoint, 200_000_000, 0);
            begin(&mut sink, CONTENT as u64);
            assert_eq!(relay(&mut source, &mut sink).await, Err(RelayEnd::Sink(SinkEnd::Stalled)));
            assert!(source.body_bytes > 5 && sink.written_bytes > 5);
            assert!(source.body_bytes > sink.written_bytes, "the pipe was full");
            assert!(!source.pristine() && !source.rewind());
            source.drain(u64::MAX).await.unwrap();
            assert_eq!(source.body_bytes, CONTENT as u64);
            let mut rest = source.take_rest().map(|rest| rest.to_vec()).unwrap_or_default();
            drop(writer.join().unwrap());
            loop {
                let mut more = Vec::with_capacity(64);
                if caller.read_when_there(&mut more).await.unwrap() == 0 {
                    break;
                }
                rest.append(&mut more);
            }
            assert_eq!(rest, b"GET /next");
            drop(receiver);
        });
        assert_eq!(ended.unwrap(), Ended::Finished(()));
    }
}
