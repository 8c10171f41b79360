//! The rules of RFC 9114 §4.1 and §7 for a request stream, one by one.

use proptest::prelude::*;

use super::{Event, MessageLimits, MessageReader, Part, Role};
use crate::http3::code::{Code, Fault};
use crate::http3::varint;

/// What a reader made of bytes: sections, content pieces joined, how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
struct Seen {
    sections: Vec<(bool, Vec<u8>)>,
    content: Vec<u8>,
    too_large: bool,
    end: Option<Fault>,
}

fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(&mut out, number);
    varint::write(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

fn read_with(mut reader: MessageReader, pieces: &[&[u8]]) -> Seen {
    let mut seen = Seen::default();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match reader.next(rest) {
                Ok((taken, event)) => {
                    let need_more = event == Event::NeedMore;
                    match event {
                        Event::NeedMore => assert_eq!(taken, rest.len()),
                        Event::Section(part, len) => {
                            let section = reader.section(&rest[..taken], len).to_vec();
                            seen.sections.push((part == Part::Trailers, section));
                        }
                        Event::Data(count) => {
                            assert!(count > 0);
                            seen.content.extend_from_slice(&rest[taken - count..taken]);
                        }
                        Event::TooLarge(_) => {
                            seen.too_large = true;
                            return seen;
                        }
                    }
                    rest = &rest[taken..];
                    if need_more {
                        break;
                    }
                }
                Err(fault) => {
                    seen.end = Some(fault);
                    return seen;
                }
            }
        }
    }
    seen.end = reader.finish().err();
    seen
}

fn read(role: Role, bytes: &[u8]) -> Seen {
    read_with(MessageReader::new(role, MessageLimits::DEFAULT), &[bytes])
}

const HEADERS: u64 = 1;
const DATA: u64 = 0;

#[test]
fn a_message_is_head_content_and_trailers_with_unknown_frames_between() {
    let bytes = [
        frame(0x21, b"grease"),
        frame(HEADERS, b"head"),
        frame(0x40, b""),
        frame(DATA, b"one"),
        frame(DATA, b""),
        frame(0x1f * 9 + 0x21, b"x"),
        frame(DATA, b"two"),
        frame(HEADERS, b"trailers"),
        frame(0x21, b"after"),
    ]
    .concat();
    let seen = read(Role::Server, &bytes);
    assert_eq!(seen.sections, [(false, b"head".to_vec()), (true, b"trailers".to_vec())]);
    assert_eq!((seen.content.as_slice(), seen.end), (&b"onetwo"[..], None));
}

#[test]
fn frames_out_of_place_end_the_connection() {
    let head = frame(HEADERS, b"head");
    let cases: &[(&str, Vec<u8>)] = &[
        ("DATA first", frame(DATA, b"x")),
        ("DATA after trailers", [head.clone(), head.clone(), frame(DATA, b"x")].concat()),
        ("HEADERS after trailers", [head.clone(), head.clone(), head.clone()].concat()),
        ("SETTINGS", [head.clone(), frame(4, b"")].concat()),
        ("GOAWAY", frame(7, &[0])),
        ("MAX_PUSH_ID", frame(0x0d, &[0])),
        ("CANCEL_PUSH", frame(3, &[0])),
        ("PUSH_PROMISE from a client", frame(5, &[0, 0, 0])),
        ("PRIORITY_UPDATE", frame(0x0f_0700, &[0])),
        ("PRIORITY of HTTP/2", frame(2, b"")),
        ("PING of HTTP/2", frame(6, b"")),
        ("WINDOW_UPDATE of HTTP/2", frame(8, b"")),
        ("CONTINUATION of HTTP/2", frame(9, b"")),
    ];
    for (name, bytes) in cases {
        let fault = Fault::Connection(Code::FrameUnexpected);
        assert_eq!(read(Role::Server, bytes).end, Some(fault), "{name}");
    }
    assert_eq!(read(Role::Client, &frame(5, &[0])).end, Some(Fault::Connection(Code::Id)));
}

#[test]
fn a_cut_frame_ends_the_connection_and_a_missing_head_the_stream() {
    let whole = [frame(HEADERS, b"head"), frame(DATA, b"content"), frame(0x21, b"abc")].concat();
    let ends: Vec<usize> = vec![0, 6, 15, whole.len()];
    for cut in 0..whole.len() {
        let end = read(Role::Server, &whole[..cut]).end;
        let expected = match cut {
            0 => Some(Fault::Stream(Code::RequestIncomplete)),
            _ if ends.contains(&cut) => None,
            _ => Some(Fault::Connection(Code::Frame)),
        };
        assert_eq!(end, expected, "cut at {cut}");
    }
    assert_eq!(read(Role::Client, b"").end, Some(Fault::Stream(Code::Message)));
}

#[test]
fn content_has_the_length_that_was_announced() {
    for (announced, sent, good) in [(3, 3, true), (3, 2, false), (3, 4, false), (0, 0, true), (0, 1, false)] {
        let mut reader = MessageReader::new(Role::Server, MessageLimits::DEFAULT);
        let head = frame(HEADERS, b"h");
        assert!(matches!(reader.next(&head), Ok((3, Event::Section(Part::Head, 1)))));
        reader.expect_content(announced);
        let seen = read_with(reader, &[&frame(DATA, &vec![b'x'; sent])]);
        let end = (!good).then_some(Fault::Stream(Code::Message));
        assert_eq!(seen.end, end, "{announced} announced, {sent} sent");
    }
}

#[test]
fn a_section_over_its_limit_is_told_by_its_length_alone() {
    let limits = MessageLimits { section_bytes_max: 10, ..MessageLimits::DEFAULT };
    for (length, too_large) in [(10u64, false), (11, true), (varint::VARINT_MAX, true)] {
        let mut bytes = vec![1];
        varint::write(&mut bytes, length);
        let seen = read_with(MessageReader::new(Role::Server, limits), &[&bytes]);
        assert_eq!(seen.too_large, too_large, "{length}");
    }
}

#[test]
fn framing_that_runs_far_ahead_of_content_ends_the_connection() {
    let excessive = Some(Fault::Connection(Code::ExcessiveLoad));
    let head = frame(HEADERS, b"h");
    let mut endless = head.clone();
    varint::write(&mut endless, 0x21);
    varint::write(&mut endless, varint::VARINT_MAX);
    endless.resize(20_000, 0);
    assert_eq!(read(Role::Server, &endless).end, excessive, "an endless unknown frame");
    let empty = [head.clone(), frame(DATA, b"").repeat(10_000)].concat();
    assert_eq!(read(Role::Server, &empty).end, excessive, "empty DATA frames");
    let small = [head.clone(), frame(DATA, b"x").repeat(100_000)].concat();
    assert_eq!(read(Role::Server, &small).end, None, "small DATA frames are what they are");
}

#[test]
fn interim_heads_come_before_the_final_one_and_a_tunnel_has_no_trailers() {
    let head = frame(HEADERS, b"h");
    let mut reader = MessageReader::new(Role::Client, MessageLimits::DEFAULT);
    for _ in 0..3 {
        assert!(matches!(reader.next(&head), Ok((3, Event::Section(Part::Head, _)))));
        reader.expect_another_head();
    }
    assert!(matches!(reader.next(&head), Ok((3, Event::Section(Part::Head, _)))));
    assert!(matches!(reader.next(&head), Ok((3, Event::Section(Part::Trailers, _)))));
    let mut reader = MessageReader::new(Role::Server, MessageLimits::DEFAULT);
    assert!(reader.next(&head).is_ok());
    reader.expect_tunnel();
    assert_eq!(reader.next(&head), Err(Fault::Connection(Code::FrameUnexpected)));
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        Just(0u64),
        Just(1),
        Just(0x21),
        Just(4),
        Just(0x0f_0700),
        any::<u16>().prop_map(u64::from)
    ];
    let one = (kind, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, payload)| frame(kind, &payload));
    proptest::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_split_reads_the_same(bytes in frames(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6)) {
        let whole = read(Role::Server, &bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut pieces, mut from) = (Vec::new(), 0);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        let split = read_with(MessageReader::new(Role::Server, MessageLimits::DEFAULT), &pieces);
        prop_assert_eq!(&whole, &split);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(whole, read_with(MessageReader::new(Role::Server, MessageLimits::DEFAULT), &singles));
    }
}
