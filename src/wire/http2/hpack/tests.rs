//! What is written, as the RFC has it.

use super::{Encoded, TABLE, size_updates, write_field, write_head, write_status, write_trailers};
use crate::http1::{Parse, RequestFacts, parse_response};
use crate::{Buffer, ChunkLimits, Framing, Method, OutgoingHead, Overlay, Trailers};

#[test]
fn rows_stand_where_the_rfc_has_them() {
    for (index, name, value) in [
        (1, ":authority", ""),
        (2, ":method", "GET"),
        (8, ":status", "200"),
        (14, ":status", "500"),
        (16, "accept-encoding", "gzip, deflate"),
        (28, "content-length", ""),
        (33, "date", ""),
        (55, "set-cookie", ""),
        (61, "www-authenticate", ""),
    ] {
        assert_eq!(TABLE.row(index - 1), Some((name, value)), "{index}");
    }
}

#[test]
fn fields_are_written_in_the_shortest_form_without_a_table() {
    let written = |name: &str, value: &str| {
        let mut out = Vec::new();
        write_field(&mut out, name.as_bytes(), value.as_bytes());
        out
    };
    // RFC 7541, appendix C.2.2 and C.2.4.
    assert_eq!(written(":path", "/sample/path"), b"\x04\x0c/sample/path");
    assert_eq!(written(":method", "GET"), [0x82]);
    assert_eq!(written("date", "x"), [0x0f, 0x12, 1, b'x']);
    assert_eq!(written("x-a", "b"), b"\0\x03x-a\x01b");
    assert_eq!(written("x-a", ""), b"\0\x03x-a\0");
    let mut out = Vec::new();
    write_status(&mut out, 200);
    write_status(&mut out, 431);
    assert_eq!(out, b"\x88\x08\x03431");
    let long = written("x-a", &"a".repeat(64));
    // 64 codes of five bits.
    assert_eq!((long[5], long.len()), (0x80 | 40, 6 + 40));
}

#[test]
fn a_head_is_counted_as_its_peer_counts_it() {
    let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nX-A: bc\r\nConnection: keep-alive\r\n\r\n";
    let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
    let Parse::Complete(head) =
        parse_response(Buffer::copied_from(bytes), facts, &crate::HeadLimits::DEFAULT)
    else {
        panic!()
    };
    let overlay = Overlay::take();
    let reply =
        OutgoingHead::Reply { head: &head, overlay: &overlay, framing: Framing::Length(12), date: None };
    let mut out = Vec::new();
    let encoded = write_head(&mut out, &reply);
    assert_eq!(out, b"\x8d\0\x03x-a\x02bc\x0f\x0d\x0212");
    let list_bytes =
        [":status404", "x-abc", "content-length12"].map(|text| text.len() as u64 + 32).iter().sum();
    assert_eq!(encoded, Encoded { list_bytes, text_bytes: 21, length: Some(12) });
}

#[test]
fn trailers_are_in_lower_case() {
    let mut trailers = Trailers::default();
    trailers.push(b"grpc-status", b"0", &ChunkLimits::DEFAULT).unwrap();
    let mut out = Vec::new();
    assert_eq!(write_trailers(&mut out, &trailers), 11 + 1 + 32);
    assert_eq!(out, b"\0\x0bgrpc-status\x010");
}

#[test]
fn changes_of_the_tables_size_are_told_from_fields() {
    assert_eq!(size_updates(&[]), 0);
    assert_eq!(size_updates(&[0x88]), 0);
    assert_eq!(size_updates(&[0x20, 0x3f, 0xe1, 0x1f, 0x88]), 4);
    assert_eq!(size_updates(&[0x3f]), 0, "a cut one is none");
}
