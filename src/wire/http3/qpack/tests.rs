//! Field sections: the RFC's example, each representation, and what must not be taken.

use proptest::prelude::*;

use super::{SectionEnd, read_section, write_field, write_prefix, write_status};

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn read(section: &[u8]) -> Result<Lines, SectionEnd<()>> {
    let mut lines = Vec::new();
    read_section(section, |name, value| {
        lines.push((name.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(lines)
}

fn written(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_prefix(&mut out);
    for (name, value) in lines {
        write_field(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

fn lines(lines: &[(&str, &str)]) -> Lines {
    lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn the_example_of_the_rfc_is_read() {
    // RFC 9204, appendix B.1.
    let section = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(read(section), Ok(lines(&[(":path", "/index.html")])));
}

#[test]
fn each_representation_is_read() {
    for (bytes, name, value) in [
        (&b"\xd9"[..], ":status", "200"),
        (b"\xff\x00", ":status", "100"),
        (b"\xff\x23", "x-frame-options", "sameorigin"),
        (b"\x5f\x0a\x03404", ":status", "404"),
        (b"\x7f\x0a\x03404", ":status", "404"),
        (b"\x23abc\x01x", "abc", "x"),
        (b"\x33abc\x00", "abc", ""),
        (b"\x27\x03abcdefghij\x01x", "abcdefghij", "x"),
        (
            b"\x2f\x01\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
            "custom-key",
            "custom-value",
        ),
    ] {
        let section = [&[0, 0], bytes].concat();
        assert_eq!(read(&section), Ok(lines(&[(name, value)])), "{bytes:x?}");
    }
}

#[test]
fn references_to_a_dynamic_table_and_broken_lines_cannot_be_decoded() {
    for section in [
        &b""[..],
        b"\x00",
        b"\x01\x00",
        b"\x02\x00\xd9",
        b"\x00\x80",
        b"\x00\x81\xd9",
        b"\xff",
        b"\x00\x00\x80",
        b"\x00\x00\x10",
        b"\x00\x00\x40\x00",
        b"\x00\x00\x60\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x08\x00",
        b"\x00\x00\xff\x24",
        b"\x00\x00\xff\x80",
        b"\x00\x00\x5f\x54\x00",
        b"\x00\x00\x51",
        b"\x00\x00\x51\x02a",
        b"\x00\x00\x51\x81\xff",
        b"\x00\x00\x51\xff",
        b"\x00\x00\x51\x7f\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00\x00\x23ab",
    ] {
        assert_eq!(read(section), Err(SectionEnd::Undecodable), "{section:x?}");
    }
    // Base may be anything that is not negative.
    assert_eq!(read(b"\x00\x05\xd9").map(|lines| lines.len()), Ok(1));
}

#[test]
fn whoever_reads_may_stop() {
    let section = written(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut seen = 0;
    let end = read_section(&section, |_, _| {
        seen += 1;
        if seen == 2 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((end, seen), (Err(SectionEnd::Stopped("enough")), 2));
}

#[test]
fn fields_are_written_in_their_shortest_form() {
    assert_eq!(written(&[(":status", "200")]), b"\x00\x00\xd9");
    assert_eq!(written(&[("server", "~~")]), b"\x00\x00\x5f\x4d\x02~~", "coded it would be longer");
    assert_eq!(written(&[("cache-control", "a")]), b"\x00\x00\x5f\x15\x01a", "as long is no gain");
    let coded = written(&[("custom-key", "custom-value")]);
    assert_eq!(coded.len(), 2 + 2 + 8 + 1 + 9);
    let mut out = Vec::new();
    write_status(&mut out, 418);
    assert_eq!(out, b"\x5f\x09\x03418");
}

#[test]
fn a_text_larger_than_a_buffer_is_read() {
    let long = "e".repeat(100_000);
    let fields = [("x-long", long.as_str()), ("x-more", "aaaa"), ("x-last", long.as_str())];
    assert_eq!(read(&written(&fields)), Ok(lines(&fields)));
}

proptest! {
    #[test]
    fn any_fields_come_back(fields in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..20)) {
        let mut out = Vec::new();
        write_prefix(&mut out);
        for (name, value) in &fields {
            write_field(&mut out, name, value);
        }
        prop_assert_eq!(read(&out), Ok(fields));
    }

    #[test]
    fn fields_of_the_table_come_back(picks in proptest::collection::vec((0usize..99, any::<bool>()), 0..20)) {
        let fields: Vec<(&str, &str)> = picks
            .iter()
            .map(|(row, whole)| {
                let (name, value) = super::TABLE.row(*row as u64).unwrap();
                (name, if *whole { value } else { "another value" })
            })
            .collect();
        prop_assert_eq!(read(&written(&fields)), Ok(lines(&fields)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(section in any::<Vec<u8>>()) {
        let _ = read(&section);
        let mut with_prefix = vec![0, 0];
        with_prefix.extend_from_slice(&section);
        if let Ok(lines) = read(&with_prefix) {
            let size: usize = lines.iter().map(|(name, value)| name.len() + value.len()).sum();
            // A byte makes a row of the table at most: Strict-Transport-Security with all its words is the longest that one byte names.
            let longest = (0..99).filter_map(|row| super::TABLE.row(row)).map(|(name, value)| name.len() + value.len()).max().unwrap();
            prop_assert!(size <= section.len() * longest);
        }
    }
}
