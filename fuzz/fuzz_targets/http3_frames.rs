//! Streams of HTTP/3: any split of a request stream, a control stream and the QPACK streams reads to the same, and nothing is
//! taken beyond what there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::http3::qpack::{DecoderStreamReader, EncoderStreamReader};
use ringway_wire::http3::{
    Code, ControlEvent, ControlReader, Event, Fault, MessageLimits, MessageReader, Part, Role,
};

const LIMITS: MessageLimits = MessageLimits { section_bytes_max: 300, overhead_bytes_max: 200 };

/// Sections, content, and how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
struct Message {
    sections: Vec<(Place, Vec<u8>)>,
    content: Vec<u8>,
    too_large: bool,
    end: Option<Fault>,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Head,
    Trailers,
}

fn message(role: Role, length: Option<u64>, pieces: &[&[u8]]) -> Message {
    let mut reader = MessageReader::new(role, LIMITS);
    let mut seen = Message::default();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (taken, more) = match reader.next(rest) {
                Ok((taken, Event::NeedMore)) => (taken, true),
                Ok((taken, Event::Section(part, len))) => {
                    let section = reader.section(&rest[..taken], len);
                    assert!(section.len() <= LIMITS.section_bytes_max as usize);
                    let head = part == Part::Head;
                    seen.sections.push((if head { Place::Head } else { Place::Trailers }, section.to_vec()));
                    if let (true, Some(length)) = (head, length) {
                        reader.expect_content(length);
                    }
                    (taken, false)
                }
                Ok((taken, Event::Data(count))) => {
                    assert!(count > 0 && count <= taken);
                    seen.content.extend_from_slice(&rest[taken - count..taken]);
                    (taken, false)
                }
                Ok((_, Event::TooLarge(_))) => {
                    seen.too_large = true;
                    return seen;
                }
                Err(fault) => {
                    seen.end = Some(fault);
                    return seen;
                }
            };
            assert!(!more || taken == rest.len());
            rest = &rest[taken..];
            if more {
                break;
            }
        }
    }
    seen.end = reader.finish().err();
    if let (None, Some(length)) = (seen.end, length) {
        assert_eq!(seen.content.len() as u64, length);
    }
    seen
}

fn control(role: Role, pieces: &[&[u8]]) -> (Vec<ControlEvent>, Option<Code>) {
    let mut reader = ControlReader::new(role);
    let mut events = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match reader.next(rest) {
                Ok((taken, ControlEvent::NeedMore)) => {
                    assert_eq!(taken, rest.len());
                    break;
                }
                Ok((taken, event)) => {
                    rest = &rest[taken..];
                    events.push(event);
                }
                Err(code) => return (events, Some(code)),
            }
        }
    }
    (events, None)
}

fn instructions(pieces: &[&[u8]]) -> (Option<Code>, Option<Code>) {
    let (mut encoder, mut decoder) = (EncoderStreamReader::default(), DecoderStreamReader::default());
    let one = pieces.iter().find_map(|piece| encoder.read(piece).err());
    (one, pieces.iter().find_map(|piece| decoder.read(piece).err()))
}

fuzz_target!(|input: (u16, u16, Option<u8>, &[u8])| {
    let (one, two, length, bytes) = input;
    let mut cuts = [one as usize % (bytes.len() + 1), two as usize % (bytes.len() + 1)];
    cuts.sort_unstable();
    let split = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    let length = length.map(u64::from);
    for role in [Role::Server, Role::Client] {
        let whole = message(role, length, &[bytes]);
        assert_eq!(whole, message(role, length, &split));
        assert_eq!(whole, message(role, length, &singles));
        let whole = control(role, &[bytes]);
        assert_eq!(whole, control(role, &split));
        assert_eq!(whole, control(role, &singles));
    }
    let whole = instructions(&[bytes]);
    assert_eq!(whole, instructions(&split));
    assert_eq!(whole, instructions(&singles));
});
