//! Whatever request we accept, an independent reader reads alike: the same head end, the same content, the same message end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn, Parse, parse_request};
use ringway_wire::{Buffer, ChunkLimits, HeadLimits, Reject, RequestHead};

#[path = "../../src/wire/http1/reference.rs"]
mod reference;

fn content(head: &RequestHead) -> Result<(Vec<u8>, usize, bool), Reject> {
    let mut reader = BodyReader::new(head.framing(), ChunkLimits::DEFAULT);
    let mut input = BytesIn::new(head.rest());
    let mut content = Vec::new();
    while let BodyEvent::Data(range) = reader.next(&mut input)? {
        content.extend_from_slice(&input.bytes()[range]);
    }
    Ok((content, input.consumed(), reader.is_done()))
}

fuzz_target!(|bytes: &[u8]| {
    let Parse::Complete(head) = parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) else { return };
    match (content(&head), reference::read(bytes)) {
        (Ok((content, read, true)), Ok(reading)) => {
            assert_eq!(head.head_len(), reading.head_len);
            assert_eq!(head.head_len() + read, reading.message_len);
            assert_eq!(content, reading.body);
            assert_eq!(head.method_bytes(), reading.method);
            assert_eq!(head.field_lines().all().len(), reading.fields.len());
            assert!(reading.target.windows(head.path().len()).any(|part| part == head.path()) || head.path() == b"/");
        }
        // A trailer line is judged when it is complete: until then we wait where the reference already refuses.
        (Ok((_, _, false)), Err(_)) | (Err(_), _) => {}
        (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
    }
});
