//! What the parsers make of whole messages, as data.

use expect_test::{Expect, expect};

use super::{
    BodyEvent, BodyReader, BytesIn, Parse, RequestExtra, RequestFacts, RequestLine, ResponseExtra,
    parse_request, parse_response, write_request_head, write_response_head,
};
use crate::{
    Buffer, ChunkLimits, Framing, HeadLimits, Method, Overlay, PathPolicy, Version, path::normalise_path,
};

fn relayed(input: &str) -> String {
    match parse_request(Buffer::copied_from(input.as_bytes()), &HeadLimits::DEFAULT) {
        Parse::Complete(mut head) => {
            normalise_path(&mut head, PathPolicy::Strict).unwrap();
            let mut out = Vec::new();
            let line = RequestLine::of(&head);
            write_request_head(
                &mut out,
                &head,
                &Overlay::take(),
                line,
                head.framing(),
                &RequestExtra::default(),
            );
            out.extend_from_slice(head.rest());
            String::from_utf8(out).unwrap().replace("\r\n", "\n")
        }
        Parse::Partial(_) => "partial".to_owned(),
        Parse::Reject(reject, _) => format!("{} {}", reject.status(), reject.name()),
    }
}

fn check(input: &str, expected: Expect) {
    expected.assert_eq(&relayed(input));
}

#[test]
fn an_ordinary_request_is_relayed() {
    check(
        "GET /a/../b?x=1 HTTP/1.1\r\nHost: Example.COM:80\r\nAccept: */*\r\nConnection: keep-alive, x-drop\r\nX-Drop: 1\r\nUser-Agent:  curl \r\n\r\n",
        expect![[r#"
            GET /b?x=1 HTTP/1.1
            Host: example.com:80
            Accept: */*
            User-Agent: curl

        "#]],
    );
    check(
        "POST http://other/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 3\r\n\r\n0\r\n\r\n",
        expect![[r#"
            POST /p HTTP/1.1
            Host: other
            Transfer-Encoding: chunked

            0

        "#]],
    );
}

#[test]
fn an_ordinary_reply_is_relayed() {
    let input = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";
    let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
    let Parse::Complete(head) = parse_response(Buffer::copied_from(input), facts, &HeadLimits::DEFAULT)
    else {
        panic!("no head");
    };
    assert!(head.persistent());
    assert_eq!(head.framing(), Framing::Length(5));
    let mut out = Vec::new();
    let extra = ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: None };
    write_response_head(&mut out, &head, &Overlay::take(), head.framing(), &extra);
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\n");
    let mut body = BodyReader::new(head.framing(), ChunkLimits::DEFAULT);
    let mut input = BytesIn::new(head.rest());
    assert_eq!(body.next(&mut input), Ok(BodyEvent::Data(0..5)));
    assert_eq!(body.next(&mut input), Ok(BodyEvent::End));
}
