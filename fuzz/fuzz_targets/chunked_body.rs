//! A chunked body: any split decodes to the same, and it never reads past its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn};
use ringway_wire::{ChunkLimits, Framing, Reject};

type Decoded = Result<(Vec<u8>, usize, bool, usize), Reject>;

fn decode(pieces: &[&[u8]]) -> Decoded {
    let mut reader = BodyReader::new(Framing::Chunked, ChunkLimits::DEFAULT);
    let (mut content, mut read) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = BytesIn::new(piece);
        while let BodyEvent::Data(range) = reader.next(&mut input)? {
            assert!(!range.is_empty());
            content.extend_from_slice(&input.bytes()[range]);
        }
        assert!(reader.is_done() || input.consumed() == piece.len());
        read += input.consumed();
    }
    Ok((content, read, reader.is_done(), reader.trailers().fields().count()))
}

fuzz_target!(|input: (u16, u16, &[u8])| {
    let (one, two, bytes) = input;
    let mut cuts = [one as usize % (bytes.len() + 1), two as usize % (bytes.len() + 1)];
    cuts.sort_unstable();
    let [one, two] = cuts;
    let whole = decode(&[bytes]);
    assert_eq!(whole, decode(&[&bytes[..one], &bytes[one..two], &bytes[two..]]));
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, decode(&singles));
});
