//! Laws of bodies that are given up half way.

use ringway_rt::{DriverChoice, Ended, Options};
use ringway_transport::Stream;
use ringway_wire::head::Framing;

use super::{Source, SourceLimits, Step};

/// Limits that nothing here reaches.
const LIMITS: SourceLimits =
    SourceLimits { body_bytes_max: u64::MAX, idle_ns_max: 1_000_000_000, rate_min: 0, rate_grace_ns: 0 };

/// Runs `law` on a worker, with one end of a connection.
fn with_stream(law: impl FnOnce(&Stream)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { driver: DriverChoice::Epoll, ..Options::default() };
    let ended = ringway_rt::run(&options, |_| async move {
        let until_ns = ringway_rt::now().mono_ns + 5_000_000_000;
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
