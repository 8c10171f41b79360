//! Laws of the HTTP/1.1 cores, over generated messages that are nearly valid.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::reference;
use super::{
    BodyEvent, BodyReader, BytesIn, Parse, RequestExtra, RequestFacts, RequestLine, parse_request,
    parse_response, write_chunk_head, write_last_chunk, write_request_head,
};
use crate::path::normalise;
use crate::{Buffer, ChunkLimits, Framing, HeadLimits, Method, Overlay, PathPolicy, Reject, RequestHead};

/// The outcome of feeding bytes piece by piece, as text that can be compared.
fn feed_request(pieces: &[&[u8]]) -> Result<Option<RequestHead>, Reject> {
    let mut buffer = Buffer::take(crate::Class::K64);
    for piece in pieces {
        buffer.vec_mut().extend_from_slice(piece);
        match parse_request(buffer, &HeadLimits::DEFAULT) {
            Parse::Partial(back) => buffer = back,
            Parse::Complete(head) => return Ok(Some(head)),
            Parse::Reject(reject, _) => return Err(reject),
        }
    }
    Ok(None)
}

fn facts_of(head: &RequestHead) -> String {
    let fields: Vec<_> = head
        .fields()
        .map(|(name, value, id)| format!("{}={} {id:?}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    format!(
        "{:?} {} {} {} {:?} {:?} {:?} {} {} {fields:?} {}",
        head.method(),
        head.method_bytes().escape_ascii(),
        head.authority().escape_ascii(),
        head.path().escape_ascii(),
        head.query(),
        head.version(),
        head.framing(),
        head.persistent(),
        head.expects_continue(),
        head.head_len(),
    )
}

/// Decodes a body fed in pieces: its content and the bytes that were read, or the fault.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Reject> {
    let mut reader = BodyReader::new(framing, ChunkLimits::DEFAULT);
    let (mut content, mut read) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = BytesIn::new(piece);
        while let BodyEvent::Data(range) = reader.next(&mut input)? {
            content.extend_from_slice(&input.bytes()[range]);
        }
        read += input.consumed();
    }
    Ok((content, read, reader.is_done()))
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

/// Names and values, some of which decide about framing, some of which are spoilt.
fn field_line() -> impl Strategy<Value = String> {
    let end = || prop_oneof![12 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n"), 1 => Just(" \r\n")];
    let known = prop::sample::select(vec![
        "Host: a.example",
        "Host: A:80",
        "Host:",
        "Content-Length: 5",
        "Content-Length: 5",
        "content-length: 05",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length : 5",
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding: chunked, xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:\tchunked\t",
        "Transfer-Encoding: \x0bchunked",
        "Connection: close",
        "Connection: keep-alive, x-a",
        "Connection: content-length",
        "Expect: 100-continue",
        " folded: yes",
        "X-A: b",
        "X-A: \u{e9}",
        "X-A:",
        "TE: trailers",
    ]);
    let free = (token(), "[ -~\t]{0,20}").prop_map(|(name, value)| format!("{name}: {value}"));
    (prop_oneof![3 => known.prop_map(str::to_owned), 1 => free], end()).prop_map(|(line, end)| line + end)
}

fn near_valid_body() -> impl Strategy<Value = String> {
    let good = prop::sample::select(vec![
        "5\r\nhello\r\n",
        "5;a=b\r\nhello\r\n",
        "05\r\nhello\r\n",
        "A\r\n0123456789\r\n",
        "1\r\n\n\r\n",
    ]);
    let bad = prop::sample::select(vec![
        "5;a=\"\r\n\"\r\nhello\r\n",
        "5;\nhello\r\n",
        "5;\n\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\r\nhelloXX",
        "5\r\nhello\rX",
        "5\r\nhello\n",
        "5\nhello\r\n",
        "0x5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "ffffffffffffffff\r\n",
        "fffffffffffffffff\r\n",
        "\r\n",
        "hello",
    ]);
    let end = prop::sample::select(vec![
        "0\r\n\r\n",
        "0\r\n\r\n",
        "0\r\nX-Trailer: 1\r\n\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n\n",
        "00000000000000000\r\n\r\n",
        "",
    ]);
    let next = prop::sample::select(vec!["", "GET / HTTP/1.1\r\nHost: b\r\n\r\n", "hello"]);
    let chunk = prop_oneof![3 => good, 1 => bad];
    (prop::collection::vec(chunk, 0..4), end, next)
        .prop_map(|(chunks, end, next)| [&chunks.concat(), end, next].concat())
}

fn near_valid_message() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "POST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n",
        "POST /a?b=c HTTP/1.1\r\n",
        "POST /a%2e/b HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET http://x.example/y HTTP/1.1\r\n",
        "\r\nPOST / HTTP/1.1\r\n",
        "\r\n\r\nPOST / HTTP/1.1\r\n",
        "\nPOST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\n",
        "POST  / HTTP/1.1\r\n",
        "POST /#f HTTP/1.1\r\n",
        "POST / HTTP/1.2\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
    ]);
    let framing = prop::sample::select(vec![
        "",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:  CHUNKED\t\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
    ]);
    let fields = (framing, prop::collection::vec(field_line(), 0..3))
        .prop_map(|(framing, lines)| [framing, &lines.concat()].concat());
    let host = prop_oneof![6 => Just("Host: h.example\r\n"), 1 => Just("")];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\n\r\n")];
    let flip = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (line, host, fields, end, near_valid_body(), flip).prop_map(|(line, host, fields, end, body, flip)| {
        let mut message = [line, host, &fields, end, &body].concat().into_bytes();
        if let Some((index, byte)) = flip {
            let at = index.index(message.len());
            message[at] = byte;
        }
        message
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_accepted_the_reference_reads_alike(message in near_valid_message()) {
        let Ok(Some(head)) = feed_request(&[&message]) else { return Ok(()) };
        let decoded = decode(head.framing(), &[head.rest()]);
        let reading = reference::read(&message);
        match (decoded, reading) {
            (Ok((content, read, true)), Ok(reading)) => {
                prop_assert_eq!(head.head_len(), reading.head_len);
                prop_assert_eq!(head.head_len() + read, reading.message_len);
                prop_assert_eq!(content, reading.body);
                prop_assert_eq!(head.method_bytes(), &reading.method[..]);
                prop_assert_eq!(head.field_lines().all().len(), reading.fields.len());
            }
            // A trailer line is judged when it is complete: until then we wait where the reference already refuses.
                (Ok((_, _, false)), Err(_)) | (Err(_), _) => {}
            (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
        }
    }

    #[test]
    fn a_head_read_in_words_is_what_httparse_and_the_checks_read(message in near_valid_message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), spoilt in any::<bool>(), status in "HTTP/1.[01] [0-9]{3} [ -~\u{e9}]{0,12}", few in 1u16..6) {
        let mut message = message;
        if spoilt {
            let at = at.index(message.len());
            message[at] = byte;
        }
        for limits in [HeadLimits::DEFAULT, HeadLimits { head_bytes_max: 90, target_bytes_max: 5, fields_max: few }] {
            if let Some(tokens) = super::request::in_words(&message, &limits) {
                prop_assert_eq!(Some(tokens), super::request::tokenize(&message, &limits));
            }
            let fields = message.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &message[end + 1..]);
            let reply = [status.as_bytes(), b"\r\n", fields].concat();
            if let Some(tokens) = super::response::in_words(&reply, &limits) {
                prop_assert_eq!(Some(tokens), super::response::tokenize(&reply, &limits));
            }
        }
    }

    #[test]
    fn a_split_head_reads_as_the_whole(message in near_valid_message(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        // With an end of some kind, so that every way of feeding comes to a decision.
        let message = [&message[..], b"\r\n\r\n"].concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        at.extend([0, message.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &message[pair[0]..pair[1]]).collect();
        let whole = feed_request(&[&message]).map(|head| head.map(|head| facts_of(&head)));
        let split = feed_request(&pieces).map(|head| head.map(|head| facts_of(&head)));
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn a_split_body_decodes_as_the_whole(body in near_valid_body(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5)) {
        let body = body.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode(Framing::Chunked, &[body]), decode(Framing::Chunked, &pieces));
    }

    #[test]
    fn what_is_chunked_is_read_back(content in prop::collection::vec(any::<u8>(), 0..300), sizes in prop::collection::vec(1usize..70, 1..8)) {
        let mut wire = Vec::new();
        let mut rest = &content[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            write_chunk_head(&mut wire, chunk.len() as u64);
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
            rest = after;
        }
        write_last_chunk(&mut wire, None);
        let length = wire.len();
        wire.extend_from_slice(b"GET /");
        prop_assert_eq!(decode(Framing::Chunked, &[&wire]), Ok((content, length, true)));
    }

    #[test]
    fn what_is_written_reads_as_what_was_meant(message in near_valid_message()) {
        let Ok(Some(mut head)) = feed_request(&[&message]) else { return Ok(()) };
        if super::normalise_path(&mut head, PathPolicy::Strict).is_err() {
            return Ok(());
        }
        let mut out = Vec::new();
        let extra = RequestExtra { close: !head.persistent(), trailers: head.accepts_trailers(), expect_continue: head.expects_continue(), ..RequestExtra::default() };
        write_request_head(&mut out, &head, &Overlay::take(), RequestLine::of(&head), head.framing(), &extra);
        if head.authority().is_empty() {
            return Ok(());
        }
        let written = feed_request(&[&out]);
        prop_assert!(matches!(written, Ok(Some(_))), "{:?} {}", written.err(), out.escape_ascii());
        let Ok(Some(again)) = written else { return Ok(()) };
        prop_assert_eq!(again.head_len(), out.len());
        prop_assert_eq!(again.path(), head.path());
        prop_assert_eq!(again.query(), head.query());
        prop_assert_eq!(again.authority(), head.authority());
        prop_assert_eq!(again.expects_continue(), head.expects_continue());
        let meant = if head.framing() == Framing::Empty && head.method().expects_content() { Framing::Length(0) } else { head.framing() };
        prop_assert_eq!(again.framing(), meant);
        let kept = |head: &RequestHead| -> Vec<(Vec<u8>, Vec<u8>)> {
            head.fields().filter(|(_, _, id)| !id.is_ours_to_write() && *id != crate::FieldId::Host).map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect()
        };
        prop_assert_eq!(kept(&again), kept(&head));
        prop_assert_eq!(reference::read(&[&out[..], b"0\r\n\r\n hello"].concat()).map(|reading| reading.head_len).unwrap_or(out.len()), out.len());
    }

    #[test]
    fn a_reply_split_anywhere_reads_as_the_whole(message in near_valid_message(), cut in any::<prop::sample::Index>()) {
        let at = memchr::memchr(b'\n', &message).map_or(0, |at| at + 1);
        let reply = [b"HTTP/1.1 200 OK\r\n", &message[at..], b"\r\n\r\n"].concat();
        let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
        let feed = |pieces: &[&[u8]]| {
            let mut buffer = Buffer::take(crate::Class::K64);
            for piece in pieces {
                buffer.vec_mut().extend_from_slice(piece);
                match parse_response(buffer, facts, &HeadLimits::DEFAULT) {
                    Parse::Partial(back) => buffer = back,
                    Parse::Complete(head) => return Ok(Some((head.status(), head.framing(), head.persistent(), head.head_len(), head.fields().count()))),
                    Parse::Reject(reject, _) => return Err(reject),
                }
            }
            Ok(None)
        };
        let (first, second) = reply.split_at(cut.index(reply.len()));
        prop_assert_eq!(feed(&[&reply]), feed(&[first, second]));
    }

    #[test]
    fn normalising_is_idempotent_and_never_grows(path in "/([a./%\\\\]|%2e|%2F|%41|%zz|%00|%5c|%7e|%c3){0,16}") {
        for policy in [PathPolicy::Strict, PathPolicy::Merge, PathPolicy::AsIs] {
            let mut once = path.clone().into_bytes();
            let Ok(first) = normalise(&mut once, policy) else { continue };
            prop_assert!(first.len <= path.len());
            once.truncate(first.len);
            prop_assert_eq!(once.first(), Some(&b'/'));
            let mut twice = once.clone();
            prop_assert_eq!(normalise(&mut twice, policy).map(|second| second.len), Ok(first.len));
            prop_assert_eq!(&twice, &once);
            let text = String::from_utf8(once).unwrap();
            prop_assert!(!text.split('/').any(|segment| matches!(segment, "." | "..")), "{}", text);
            prop_assert!(policy != PathPolicy::Merge || !text.contains("//"));
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = feed_request(&[&bytes]);
        let _ = decode(Framing::Chunked, &[&bytes]);
        let mut path = bytes.clone();
        for policy in [PathPolicy::Strict, PathPolicy::Merge, PathPolicy::AsIs] {
            let _ = normalise(&mut path, policy);
        }
    }
}
