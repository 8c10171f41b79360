//! Field sections: what is read can be written and read again; a coded text has one form; heads are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::head::Content;
use ringway_wire::http3::qpack::{huffman, read_section, write_field, write_prefix};
use ringway_wire::http3::{read_request, read_response, read_trailers};
use ringway_wire::{ChunkLimits, HeadLimits, Method};

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn lines(section: &[u8]) -> Option<Lines> {
    let mut lines = Vec::new();
    let read = read_section(section, |name, value| {
        lines.push((name.to_vec(), value.to_vec()));
        Ok::<(), ()>(())
    });
    read.ok().map(|()| lines)
}

fuzz_target!(|bytes: &[u8]| {
    let mut text = Vec::new();
    if huffman::decode(bytes, &mut text).is_some() {
        assert!(text.len() <= bytes.len() * 8 / 5);
        let mut coded = Vec::new();
        huffman::encode(&text, &mut coded);
        assert_eq!((coded.as_slice(), huffman::coded_len(&text)), (bytes, bytes.len()));
    }
    let with_prefix = [&[0, 0], bytes].concat();
    for section in [bytes, &with_prefix] {
        if let Some(read) = lines(section) {
            let mut again = Vec::new();
            write_prefix(&mut again);
            for (name, value) in &read {
                write_field(&mut again, name, value);
            }
            assert_eq!(lines(&again), Some(read));
            assert!(again.len() <= section.len() + 8, "our form is not longer");
        }
        for content in [Content::None, Content::Follows] {
            if let Ok(head) = read_request(section, content, &HeadLimits::DEFAULT) {
                assert!(!head.host().is_empty() && head.fields().count() <= 100);
            }
            if let Ok(head) = read_response(section, content, Method::Get, &HeadLimits::DEFAULT) {
                assert!((100..=999).contains(&head.status()));
            }
        }
        if let Ok(trailers) = read_trailers(section, &ChunkLimits::DEFAULT) {
            assert!(trailers.fields().count() <= 32);
        }
    }
});
