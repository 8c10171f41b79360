//! The contract's rules for HTTP/1.1 as tables: what bytes get, and which class of attack each row answers.

mod replies;

use expect_test::{Expect, expect};

use super::{
    BodyEvent, BodyReader, BytesIn, HostValue, Parse, RequestExtra, RequestFacts, RequestLine, parse_request,
    parse_response, write_last_chunk, write_request_head,
};
use crate::path::normalise_path;
use crate::{
    Buffer, ChunkLimits, Framing, HeadLimits, Method, Overlay, PathPolicy, RequestHead, ResponseHead,
};

fn request(input: &[u8]) -> Parse<RequestHead, crate::Reject> {
    parse_request(Buffer::copied_from(input), &HeadLimits::DEFAULT)
}

fn good_request(input: &str) -> RequestHead {
    match request(input.as_bytes()) {
        Parse::Complete(head) => head,
        other => panic!("{other:?}"),
    }
}

/// What a request gets: its class of fault, or what of it would be forwarded and how its body ends.
fn verdict(input: &[u8]) -> String {
    let mut head = match request(input) {
        Parse::Complete(head) => head,
        Parse::Partial(_) => return "partial".to_owned(),
        Parse::Reject(reject, _) => return format!("{} {}", reject.status(), reject.name()),
    };
    if let Err(reject) = normalise_path(&mut head, PathPolicy::Strict) {
        return format!("{} {}", reject.status(), reject.name());
    }
    let mut reader = BodyReader::new(head.framing(), ChunkLimits::DEFAULT);
    let mut input = BytesIn::new(head.rest());
    let mut body = String::new();
    let end = loop {
        match reader.next(&mut input) {
            Ok(BodyEvent::Data(range)) => body.push_str(&input.bytes()[range].escape_ascii().to_string()),
            Ok(BodyEvent::End) => break "ended".to_owned(),
            Ok(BodyEvent::NeedMore) => break "open".to_owned(),
            Err(reject) => break format!("{} {}", reject.status(), reject.name()),
        }
    };
    let left = input.bytes().len() - input.consumed();
    let keep = if head.persistent() { "keep" } else { "close" };
    format!("ok {:?} {keep} body={body:?} {end} left={left}", head.framing())
}

/// Each row: input, verdict.
fn table(rows: &[(&str, &str)]) {
    for (input, expected) in rows {
        assert_eq!(verdict(input.as_bytes()), *expected, "{}", input.escape_default());
    }
}

/// Rows of fields between `POST / HTTP/1.1`, `Host: a` and the empty line.
fn field_table(rows: &[(&str, &str)]) {
    for (fields, expected) in rows {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_eq!(verdict(input.as_bytes()), *expected, "{}", fields.escape_default());
    }
}

const NO_BODY: &str = "ok Empty keep body=\"\" ended left=0";

/// Line-ending smuggling (CVE-2025-55315's family), header injection, request splitting.
#[test]
fn rule_1_lines_end_in_crlf_and_hold_no_control_bytes() {
    table(&[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_BODY),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_BODY),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 leading-bytes"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bare-lf"),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "400 bare-lf"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "400 bare-lf"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "400 bare-lf"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n", "400 bare-lf"),
        ("GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n", "400 field-value"),
        ("GET / HTTP/1.1\r\rHost: a\r\n\r\n", "400 request-line"),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET /\r\n\r\n", "400 request-line"),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request-line"),
        ("\x16\x03\x01\x02", "400 request-line"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 version"),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", "505 version"),
        ("GET / HTTP/1.3x\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400 request-line"),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "ok Empty keep body=\"\" ended left=0"),
        ("\r\nGET / HTTP/1.9\r\nHost: a\r\n\r\n", "ok Empty keep body=\"\" ended left=0"),
        ("GET / HTTP/1.2\r\n\r\n", "400 host-missing"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 version"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
        ("", "partial"),
    ]);
    field_table(&[
        ("X: a\0b", "400 field-value"),
        ("X: a\x0bb", "400 field-value"),
        ("X: a\x7fb", "400 field-value"),
        ("X: a\rb", "400 field-value"),
        ("X: a\tb", NO_BODY),
        ("X: \u{e9}", NO_BODY),
        ("X: a\r\n folded", "400 obs-fold"),
        ("X: a\r\n\tfolded", "400 obs-fold"),
        (" X: a", "400 obs-fold"),
        ("X : a", "400 field-name"),
        ("X\t: a", "400 field-name"),
        (": a", "400 field-name"),
        ("X a", "400 field-name"),
        ("X(: a", "400 field-name"),
        ("X\u{e9}: a", "400 field-name"),
        ("X\0: a", "400 field-name"),
    ]);
    assert_eq!(verdict(&[&[b'M'; 33][..], b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()), "400 request-line");
    assert_eq!(verdict(&[b'M'; 33]), "400 request-line");
}

/// Routing one way and authorising another: fragments, raw bytes, absolute form against Host, open proxies.
#[test]
fn rule_2_the_target_has_a_form_and_plain_bytes() {
    table(&[
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-byte"),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-byte"),
        ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-byte"),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-byte"),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-form"),
        ("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-form"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-form"),
        ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-form"),
        ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", "400 host-syntax"),
        ("GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 host-syntax"),
        ("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", "400 host-syntax"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 target-form"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", NO_BODY),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "501 connect"),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "501 connect"),
    ]);
    let long = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert_eq!(verdict(long(8192).as_bytes()), NO_BODY);
    assert_eq!(verdict(long(8193).as_bytes()), "414 target-too-long");
    assert_eq!(verdict(&long(9000).as_bytes()[..8900]), "414 target-too-long");

    for (target, path) in [("http://b", "*"), ("http://b/", "/"), ("http://b?", "/"), ("https://B:1", "*")] {
        let mut head = good_request(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        normalise_path(&mut head, PathPolicy::Strict).unwrap();
        assert_eq!((head.path(), head.host()), (path.as_bytes(), &b"b"[..]), "{target}");
    }
    for (target, authority, host, port, path, query) in [
        ("http://B.example:81/p?q", "b.example:81", "b.example", Some(81), "/p", Some("q")),
        ("HTTPS://b.example?q", "b.example", "b.example", None, "/", Some("q")),
        ("http://b.example", "b.example", "b.example", None, "/", None),
        ("/x?", "host.example.:8080", "host.example", Some(8080), "/x", Some("")),
    ] {
        let head = good_request(&format!("GET {target} HTTP/1.1\r\nHost: Host.Example.:8080\r\n\r\n"));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(head.authority()), authority);
        assert_eq!(text(head.host()), host);
        assert_eq!(head.port(), port);
        assert_eq!(text(head.path()), path);
        assert_eq!(head.query().map(text), query.map(str::to_owned));
    }
}

/// Cache keys and routes without or with another host: CVE-2026-2836.
#[test]
fn rule_3_http11_has_exactly_one_valid_host() {
    table(&[
        ("GET / HTTP/1.1\r\n\r\n", "400 host-missing"),
        ("GET http://a/ HTTP/1.1\r\n\r\n", "400 host-missing"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 host-twice"),
        ("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", "400 host-twice"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 host-syntax"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", NO_BODY),
        ("GET / HTTP/1.0\r\n\r\n", "ok Empty close body=\"\" ended left=0"),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400 host-twice"),
    ]);
}

/// TE.CL and CL.TE smuggling, CVE-2026-2835 (HTTP/1.0), CVE-2026-89044 (`chunked, xchunked`).
#[test]
fn rule_4_transfer_encoding_is_exactly_chunked_and_alone() {
    table(&[(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 transfer-encoding-in-http10",
    )]);
    field_table(&[
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "400 transfer-encoding-with-content-length"),
        ("Content-Length: 5\r\ntransfer-ENCODING: chunked", "400 transfer-encoding-with-content-length"),
        ("Transfer-Encoding: chunked, xchunked", "400 transfer-encoding"),
        ("Transfer-Encoding: gzip, chunked", "400 transfer-encoding"),
        ("Transfer-Encoding: chunked, chunked", "400 transfer-encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400 transfer-encoding"),
        ("Transfer-Encoding: identity", "400 transfer-encoding"),
        ("Transfer-Encoding: xchunked", "400 transfer-encoding"),
        ("Transfer-Encoding: \"chunked\"", "400 transfer-encoding"),
        ("Transfer-Encoding: chunked;a=b", "400 transfer-encoding"),
        ("Transfer-Encoding: chunked,", "400 transfer-encoding"),
        ("Transfer-Encoding:", "400 transfer-encoding"),
        ("Transfer-Encoding : chunked", "400 field-name"),
        ("Transfer-Encoding:\x0bchunked", "400 field-value"),
        ("Transfer_Encoding: chunked", NO_BODY),
    ]);
    table(&[(
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\n\r\n2\r\nab\r\n0\r\n\r\nGET",
        "ok Chunked keep body=\"ab\" ended left=3",
    )]);
}

/// CL.CL smuggling; signs, spaces, lists and overflow that parsers read differently.
#[test]
fn rule_5_content_length_is_digits() {
    field_table(&[
        ("Content-Length: 5\r\nContent-Length: 6", "400 content-length-conflict"),
        ("Content-Length: 5\r\nContent-Length: 05", "400 content-length-conflict"),
        ("Content-Length: 0\r\nContent-Length: 0", "ok Length(0) keep body=\"\" ended left=0"),
        ("Content-Length: 5, 5", "400 content-length"),
        ("Content-Length: +5", "400 content-length"),
        ("Content-Length: -5", "400 content-length"),
        ("Content-Length: 5 5", "400 content-length"),
        ("Content-Length: 0x5", "400 content-length"),
        ("Content-Length: 5.0", "400 content-length"),
        ("Content-Length: \u{ff15}", "400 content-length"),
        ("Content-Length:", "400 content-length"),
        ("Content-Length: 18446744073709551616", "400 content-length"),
        ("Content-Length: 9999999999999999999", "ok Length(9999999999999999999) keep body=\"\" open left=0"),
    ]);
    table(&[(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET",
        "ok Length(5) keep body=\"hello\" ended left=3",
    )]);
}

/// CVE-2025-55315, CVE-2026-33870, CVE-2026-2332 (extensions), CVE-2025-43859 (terminators).
#[test]
fn rule_6_chunks_are_exact_and_bounded() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let many = "1\r\na\r\n".repeat(5000) + "0\r\n\r\n";
    let long_extensions = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(200);
    for (body, expected) in [
        ("0\r\n\r\n", "body=\"\" ended left=0"),
        ("5\r\nhello\r\n0\r\n\r\nG", "body=\"hello\" ended left=1"),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "body=\"hello\" ended left=0"),
        ("00000000000000005\r\nhello\r\n", "body=\"\" 400 chunk-size left=17"),
        ("5;a=b;c\r\nhello\r\n0;z\r\n\r\n", "body=\"hello\" ended left=0"),
        ("5;a=\"b\r\n", "body=\"\" open left=0"),
        ("5;a=\n\r\nhello\r\n", "body=\"\" 400 chunk-extension left=5"),
        ("5;a=\r\rhello", "body=\"\" 400 chunk-size left=7"),
        ("5;a=\0\r\nhello", "body=\"\" 400 chunk-extension left=8"),
        ("5;a=\u{e9}\r\nhello", "body=\"\" 400 chunk-extension left=9"),
        ("5 ;a\r\nhello", "body=\"\" 400 chunk-size left=10"),
        ("5\nhello", "body=\"\" 400 chunk-size left=6"),
        ("\r\n", "body=\"\" 400 chunk-size left=2"),
        (";a\r\n", "body=\"\" 400 chunk-size left=4"),
        ("0x5\r\nhello", "body=\"\" 400 chunk-size left=9"),
        ("-5\r\nhello", "body=\"\" 400 chunk-size left=9"),
        ("+5\r\nhello", "body=\"\" 400 chunk-size left=9"),
        ("5_\r\nhello", "body=\"\" 400 chunk-size left=8"),
        ("5\r\nhello\n0\r\n\r\n", "body=\"hello\" 400 chunk-end left=6"),
        ("5\r\nhello\r0\r\n\r\n", "body=\"hello\" 400 chunk-end left=5"),
        ("5\r\nhelloXX0\r\n\r\n", "body=\"hello\" 400 chunk-end left=7"),
        ("5\r\nhello world\r\n", "body=\"hello\" 400 chunk-end left=8"),
        ("0\r\n\n", "body=\"\" 400 trailer left=0"),
        ("0\r\nX: y\n\r\n", "body=\"\" 400 trailer left=2"),
        ("0\r\nX y\r\n\r\n", "body=\"\" 400 trailer left=2"),
        ("0\r\n x: y\r\n\r\n", "body=\"\" 400 trailer left=2"),
        ("0\r\nX: y\r\n\r\nG", "body=\"\" ended left=1"),
        ("ffffffffffffffff\r\nab", "body=\"ab\" open left=0"),
    ] {
        let got = verdict([head, body].concat().as_bytes());
        let expected = format!("ok Chunked keep {expected}");
        // What was read of a faulty head is of no interest.
        let cut = |text: &str| text.split(" left=").next().unwrap_or_default().to_owned();
        if expected.contains(" 400 ") {
            assert_eq!(cut(&got), cut(&expected), "{}", body.escape_default());
        } else {
            assert_eq!(got, expected, "{}", body.escape_default());
        }
    }
    let end = |body: &str| {
        let mut reader = BodyReader::new(Framing::Chunked, ChunkLimits::DEFAULT);
        let mut input = BytesIn::new(body.as_bytes());
        loop {
            match reader.next(&mut input) {
                Ok(BodyEvent::Data(_)) => {}
                other => break other,
            }
        }
    };
    assert_eq!(end(&many), Ok(BodyEvent::End), "small chunks may go on for ever");
    assert_eq!(end(&long_extensions), Err(crate::Reject::ChunkOverhead));
    assert_eq!(end(&format!("1;{}\r\n", "x".repeat(255))), Ok(BodyEvent::NeedMore));
    assert_eq!(end(&format!("1;{}\r\n", "x".repeat(256))), Err(crate::Reject::ChunkExtension));
    assert_eq!(end(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(32))), Ok(BodyEvent::End));
    assert_eq!(end(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(33))), Err(crate::Reject::TrailersTooLarge));
    assert_eq!(end(&format!("0\r\nX: {}", "y".repeat(8200))), Err(crate::Reject::TrailersTooLarge));
}

fn relayed(input: &str, overlay: &Overlay, extra: &RequestExtra<'_>) -> String {
    let head = good_request(input);
    let mut out = Vec::new();
    write_request_head(&mut out, &head, overlay, RequestLine::of(&head), head.framing(), extra);
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

fn check_relayed(input: &str, expected: Expect) {
    expected.assert_eq(&relayed(input, &Overlay::take(), &RequestExtra::default()));
}

/// What we write is ours: no raw head bytes, no framing of a peer's.
#[test]
fn rule_7_heads_are_written_from_what_was_parsed() {
    check_relayed(
        "\r\nPOST http://Other.example/p?q HTTP/1.1\r\nhOst: a\r\nContent-LENGTH: 5\r\nX-A:\t b \t\r\nX-Empty:\r\n\r\n",
        expect![[r#"
            POST /p?q HTTP/1.1
            Host: other.example
            X-A: b
            X-Empty: 
            Content-Length: 5

        "#]],
    );
    check_relayed(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\n\r\n",
        expect![[r#"
            POST / HTTP/1.1
            Host: a
            Transfer-Encoding: chunked

        "#]],
    );
    check_relayed(
        "PUT / HTTP/1.0\r\n\r\n",
        expect![[r#"
            PUT / HTTP/1.1
            Host: 
            Content-Length: 0

        "#]],
    );
}

/// Hop-by-hop abuse: stripping a credential or an identity by nominating it; h2c smuggling.
#[test]
fn rule_8_hop_by_hop_fields_end_here() {
    check_relayed(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-One\r\nConnection: ,x-two,\r\nX-One: 1\r\nx-TWO: 2\r\nX-Two: 3\r\n\
         Keep-Alive: 5\r\nProxy-Connection: close\r\nProxy-Authorization: x\r\nTE: gzip, trailers\r\nTrailer: x\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AA\r\nX-Three: 3\r\n\r\n",
        expect![[r#"
            GET / HTTP/1.1
            Host: a
            X-Three: 3

        "#]],
    );
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Authorization",
        "COOKIE",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-API-Key",
        "traceparent",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\n\r\n");
        assert_eq!(verdict(input.as_bytes()), "400 connection-nominates-protected", "{name}");
    }
    field_table(&[
        ("Connection: close", "ok Empty close body=\"\" ended left=0"),
        ("Connection: keep-alive, CLOSE", "ok Empty close body=\"\" ended left=0"),
        ("Connection: \"close\"", "400 connection"),
        ("Connection: a b", "400 connection"),
        ("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "400 connection"),
    ]);
    let head = good_request("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n");
    assert!(head.accepts_trailers());
    assert_eq!((head.field_named(b"x-a"), head.field(crate::FieldId::Te)), (None, None));
}

/// Spoofed `X_Forwarded_For` and CL.TE by `Transfer_Encoding`, where the endpoint is CGI or speaks to one.
#[test]
fn a_field_that_is_judged_does_not_pass_under_an_underscore() {
    for (input, wordy) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX_Mine: 1\r\nX_Forwarded_For: 6.6.6.6\r\nTransfer_Encoding: chunked\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX_Mine: 1\r\nX_Forwarded_For: 6.6.6.6\r\nX-Tab: a\tb\r\ncontent_length: 5\r\n\r\n",
            false,
        ),
    ] {
        assert_eq!(super::request::in_words(input.as_bytes(), &crate::HeadLimits::DEFAULT).is_some(), wordy);
        let head = good_request(input);
        let mut out = Vec::new();
        write_request_head(
            &mut out,
            &head,
            &Overlay::take(),
            RequestLine::of(&head),
            head.framing(),
            &RequestExtra::default(),
        );
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\r\nX_Mine: 1\r\n"), "{out}");
        assert!(
            !out.contains("_Forwarded") && !out.contains("_Encoding") && !out.contains("_length"),
            "{out}"
        );
        assert!(head.fields().all(|(name, _, _)| name != b"X_Forwarded_For"), "no policy sees it");
    }
}

fn reply(input: &[u8], facts: RequestFacts) -> Result<ResponseHead, String> {
    match parse_response(Buffer::copied_from(input), facts, &HeadLimits::DEFAULT) {
        Parse::Complete(head) => Ok(head),
        Parse::Partial(_) => Err("partial".to_owned()),
        Parse::Reject(reject, _) => Err(format!("{} {}", reject.status(), reject.name())),
    }
}

fn reply_verdict(input: &str, method: Method, upgrade_asked: bool) -> String {
    match reply(input.as_bytes(), RequestFacts { method, upgrade_asked }) {
        Ok(head) => {
            let keep = if head.persistent() { "keep" } else { "close" };
            format!("{} {:?} {keep}", head.status(), head.framing())
        }
        Err(verdict) => verdict,
    }
}

#[test]
fn rule_11_a_body_that_is_cut_is_never_ended() {
    for (framing, sent, expected) in [
        (Framing::Length(5), &b"hell"[..], Err(crate::Reject::BodyCut)),
        (Framing::Length(5), b"hello", Ok(())),
        (Framing::Chunked, b"5\r\nhello\r\n", Err(crate::Reject::BodyCut)),
        (Framing::Chunked, b"5\r\nhello\r\n0\r\n", Err(crate::Reject::BodyCut)),
        (Framing::Chunked, b"5\r\nhello\r\n0\r\n\r\n", Ok(())),
        (Framing::UntilClose, b"anything", Ok(())),
        (Framing::Empty, b"", Ok(())),
    ] {
        let mut reader = BodyReader::new(framing, ChunkLimits::DEFAULT);
        let mut input = BytesIn::new(sent);
        while let Ok(BodyEvent::Data(_)) = reader.next(&mut input) {}
        assert_eq!(reader.finish(), expected, "{framing:?} {}", sent.escape_ascii());
    }
}

#[test]
fn rule_12_only_100_continue_can_be_expected() {
    field_table(&[
        ("Expect: 200-ok", "417 expect"),
        ("Expect: 100-continue, x", "417 expect"),
        ("Expect:", "417 expect"),
    ]);
    for (start, fields, expected) in [
        ("POST / HTTP/1.1", "Content-Length: 5\r\nExpect: 100-Continue", true),
        ("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\nExpect: 100-continue", true),
        ("POST / HTTP/1.1", "Content-Length: 0\r\nExpect: 100-continue", false),
        ("POST / HTTP/1.0", "Content-Length: 5\r\nExpect: 100-continue", false),
    ] {
        let head = good_request(&format!("{start}\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(head.expects_continue(), expected, "{fields}");
    }
}

/// CVE-2026-2833 (tunnel before 101), CVE-2026-58055 (Upgrade with Content-Length), h2c smuggling.
#[test]
fn rule_14_only_get_upgrades_to_websocket_and_without_a_body() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let ask = |method: &str, fields: &str| {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        match request(input.as_bytes()) {
            Parse::Complete(head) => format!("{:?} {:?}", head.upgrade(), head.framing()),
            Parse::Partial(_) => "partial".to_owned(),
            Parse::Reject(reject, _) => reject.name().to_owned(),
        }
    };
    assert_eq!(ask("GET", &format!("{upgrade}\r\n{key}")), "Some(WebSocket) Empty");
    assert_eq!(ask("GET", &format!("{upgrade}\r\n{key}\r\nContent-Length: 0")), "Some(WebSocket) Empty");
    assert_eq!(ask("GET", &format!("{upgrade}\r\n{key}\r\nContent-Length: 5")), "upgrade");
    assert_eq!(ask("GET", &format!("{upgrade}\r\n{key}\r\nTransfer-Encoding: chunked")), "upgrade");
    assert_eq!(ask("GET", upgrade), "upgrade");
    assert_eq!(ask("GET", &format!("{upgrade}\r\nSec-WebSocket-Key: short")), "upgrade");
    assert_eq!(ask("GET", &format!("{upgrade}\r\n{key}\r\n{key}")), "upgrade");
    assert_eq!(ask("POST", &format!("{upgrade}\r\n{key}")), "None Empty");
    assert_eq!(ask("GET", &format!("Upgrade: websocket\r\n{key}")), "None Empty");
    assert_eq!(
        ask("GET", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA"),
        "None Empty"
    );

    let granted = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x01\x00";
    assert_eq!(reply_verdict(granted, Method::Get, true), "101 Empty close");
    assert_eq!(reply_verdict(granted, Method::Get, false), "502 reply-unasked-upgrade");
    for other in [
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.0 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(reply_verdict(other, Method::Get, true), "502 reply-unasked-upgrade", "{other}");
    }
    let head = good_request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n{key}\r\n\r\n"));
    let extra = RequestExtra { upgrade: head.upgrade(), ..RequestExtra::default() };
    let mut out = Vec::new();
    write_request_head(&mut out, &head, &Overlay::take(), RequestLine::of(&head), head.framing(), &extra);
    expect![[r#"
        GET / HTTP/1.1
        Host: a
        Sec-WebSocket-Version: 13
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        Connection: upgrade
        Upgrade: websocket

    "#]]
    .assert_eq(&String::from_utf8(out).unwrap().replace("\r\n", "\n"));
}

/// Trailers that change what a message means after it was judged.
#[test]
fn content_that_goes_past_the_reader_is_content_that_came() {
    let mut reader = BodyReader::new(Framing::Length(10), ChunkLimits::DEFAULT);
    assert_eq!(reader.next(&mut BytesIn::new(b"abc")), Ok(BodyEvent::Data(0..3)));
    reader.pass(5);
    assert_eq!(reader.run_len(), Some(2));
    reader.pass(2);
    assert_eq!(reader.next(&mut BytesIn::new(b"next")), Ok(BodyEvent::End));
    let mut reader = BodyReader::new(Framing::Chunked, ChunkLimits::DEFAULT);
    assert_eq!(reader.next(&mut BytesIn::new(b"5\r\n")), Ok(BodyEvent::NeedMore));
    reader.pass(5);
    assert_eq!(reader.run_len(), None);
    assert_eq!(reader.next(&mut BytesIn::new(b"!")), Err(crate::Reject::ChunkEnd));
    // Nothing is certain of these, so nothing goes past.
    let mut reader = BodyReader::new(Framing::UntilClose, ChunkLimits::DEFAULT);
    reader.pass(5);
    assert!(!reader.is_done());
}

#[test]
fn rule_15_trailers_carry_no_framing_routing_or_authentication() {
    let body = b"0\r\nX-Checksum: \t1 \r\nContent-Length: 5\r\nHost: b\r\nAuthorization: x\r\nCookie: c\r\n\
        X-Forwarded-For: 1.1.1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nTrailer: x\r\ngrpc-status: 0\r\n\r\n";
    let mut reader = BodyReader::new(Framing::Chunked, ChunkLimits::DEFAULT);
    assert_eq!(reader.next(&mut BytesIn::new(body)), Ok(BodyEvent::End));
    assert_eq!(reader.trailers().refused(), 8);
    let mut out = Vec::new();
    write_last_chunk(&mut out, Some(reader.trailers()));
    assert_eq!(out, b"0\r\nX-Checksum: 1\r\ngrpc-status: 0\r\n\r\n");
    out.clear();
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\n\r\n");
}

/// CVE-2025-4366: what follows a message is the next one's, to the byte.
#[test]
fn rule_16_a_pipelined_request_begins_where_the_last_one_ends() {
    let mut head = good_request(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3",
    );
    head.consume_rest(3);
    let rest = head.take_rest().unwrap();
    assert!(head.rest().is_empty());
    let Parse::Complete(second) = parse_request(rest, &HeadLimits::DEFAULT) else { panic!("no head") };
    assert_eq!(second.path(), b"/2");
    assert_eq!(&second.into_rest()[..], b"GET /3");
}

#[test]
fn rule_18_there_is_one_path() {
    use PathPolicy::{AsIs, Merge, Strict};
    let encoded = "400 path-encoded-separator";
    for (path, policy, expected) in [
        ("/a/b", Strict, "/a/b"),
        ("/a/./b/../c", Strict, "/a/c"),
        ("/a/%2e/b/%2E%2e/c", Strict, "/a/c"),
        ("/a/..", Strict, "/"),
        ("/a/.", Strict, "/a/"),
        ("/..", Strict, "400 path-dots"),
        ("/a/../../b", Strict, "400 path-dots"),
        ("/%2e%2e/b", Merge, "400 path-dots"),
        ("/.../a..b/.c", Strict, "/.../a..b/.c"),
        ("/%41%7e%2D", Strict, "/A~-"),
        ("/%c3%a9%20", Strict, "/%C3%A9%20"),
        ("/%252e", Strict, "/%252e"),
        ("/a%2fb", Strict, "/a%2Fb slash"),
        ("/a%5cb", Strict, encoded),
        ("/a\\b", Strict, encoded),
        ("/a%00b", Strict, encoded),
        ("/a%", Strict, "400 path-percent"),
        ("/a%4", Strict, "400 path-percent"),
        ("/a%zz", Strict, "400 path-percent"),
        ("/a//b///c//", Strict, "/a//b///c//"),
        ("/a//b///c//", Merge, "/a/b/c/"),
        ("//a", Merge, "/a"),
        ("/a//../b", Strict, "/a/b"),
        ("/a/%2e//b", Merge, "/a/b"),
        ("/a//b%41%zz", AsIs, "/a//b%41%zz"),
        ("/a%2Fb", AsIs, "/a%2Fb slash"),
        ("/a/../b", AsIs, "400 path-dots"),
        ("/a/%2e%2E/b", AsIs, "400 path-dots"),
        ("/a/.%2e", AsIs, "400 path-dots"),
        ("/a%5Cb", AsIs, encoded),
        ("/a%00", AsIs, encoded),
    ] {
        let mut head = good_request(&format!("GET {path}?a/../b%00 HTTP/1.1\r\nHost: a\r\n\r\n"));
        let got = match normalise_path(&mut head, policy) {
            Ok(()) => {
                assert_eq!(head.query(), Some(&b"a/../b%00"[..]));
                let slash = if head.has_encoded_slash() { " slash" } else { "" };
                format!("{}{slash}", head.path().escape_ascii())
            }
            Err(reject) => format!("{} {}", reject.status(), reject.name()),
        };
        assert_eq!(got, expected, "{path} {policy:?}");
    }
}

#[test]
fn a_head_is_bounded_in_bytes_and_fields() {
    let with_fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(verdict(with_fields(99).as_bytes()), NO_BODY);
    assert_eq!(verdict(with_fields(100).as_bytes()), "431 too-many-fields");
    let of_len = |len: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(len - frame))
    };
    assert_eq!(verdict(of_len(32 * 1024).as_bytes()), NO_BODY);
    assert_eq!(verdict(of_len(32 * 1024 + 1).as_bytes()), "431 head-too-large");
    assert_eq!(verdict(&of_len(40 * 1024).as_bytes()[..32 * 1024]), "431 head-too-large");
    assert_eq!(verdict(&of_len(40 * 1024).as_bytes()[..32 * 1024 - 1]), "partial");
}

#[test]
fn dribbled_bytes_are_searched_once() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let mut buffer = Buffer::take(crate::Class::K4);
    for (at, byte) in input.iter().enumerate() {
        buffer.vec_mut().push(*byte);
        match parse_request(buffer, &HeadLimits::DEFAULT) {
            Parse::Partial(back) => {
                // The checked part ends where the line begins that is being received.
                let line = input[..=at].iter().rposition(|byte| *byte == b'\n').map_or(0, |lf| lf + 1);
                assert_eq!(back.searched(), line);
                buffer = back;
            }
            Parse::Complete(head) => {
                assert_eq!((at + 1, head.head_len()), (input.len(), input.len()));
                return;
            }
            Parse::Reject(reject, _) => panic!("{reject:?}"),
        }
    }
    panic!("no head");
}

#[test]
fn edits_apply_in_order_and_never_touch_framing() {
    let input =
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\nX-B: 3\r\nUser-Agent: u\r\nCookie: c\r\n\r\n";
    let mut overlay = Overlay::take();
    overlay.remove(b"x-a").unwrap();
    overlay.set(b"X-A", b"new").unwrap();
    overlay.append(b"X-A", b"newer").unwrap();
    overlay.set(b"cookie", b"d").unwrap();
    overlay.rename(b"x-b", b"X-C").unwrap();
    overlay.rename(b"user-agent", b"X-Agent").unwrap();
    overlay.append(b"X-D", b"gone").unwrap();
    overlay.remove(b"x-d").unwrap();
    overlay.set_with(b"Via", |out| out.extend_from_slice(b"1.1 ringway")).unwrap();
    expect![[r#"
        GET / HTTP/1.1
        Host: other:81
        X-C: 3
        X-Agent: u
        X-A: new
        X-A: newer
        cookie: d
        Via: 1.1 ringway
        TE: trailers
        Connection: close, TE

    "#]]
    .assert_eq(&relayed(
        input,
        &overlay,
        &RequestExtra {
            host: HostValue::new(b"other:81"),
            close: true,
            trailers: true,
            ..RequestExtra::default()
        },
    ));
    use crate::BadEdit;
    let mut overlay = Overlay::take();
    for name in ["Content-Length", "transfer-encoding", "Connection", "Host", "Upgrade", "TE"] {
        assert_eq!(overlay.set(name.as_bytes(), b"1"), Err(BadEdit::Reserved), "{name}");
        assert_eq!(overlay.rename(b"x", name.as_bytes()), Err(BadEdit::Reserved), "{name}");
    }
    for value in [&b"a\r\nb: c"[..], b"a\n", b"\0", b"\x7f"] {
        assert_eq!(overlay.set(b"x", value), Err(BadEdit::Value));
    }
    assert_eq!(overlay.append(b"x y", b"1"), Err(BadEdit::Name));
    assert!(overlay.is_empty());
    assert!(RequestLine::new(b"/a b", None).is_none() && RequestLine::new(b"/a?b", None).is_none());
    assert!(RequestLine::new(b"a", None).is_none() && RequestLine::new(b"/a", Some(b"\r\n")).is_none());
    assert!(HostValue::new(b"a\r\nX: y").is_none());
}

#[test]
fn every_class_has_a_name_of_its_own_and_a_status() {
    let mut names: Vec<&str> = crate::Reject::ALL.iter().map(|reject| reject.name()).collect();
    names.extend(crate::ResponseReject::ALL.iter().map(|reject| reject.name()));
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(crate::Reject::ALL.iter().all(|reject| (400..=505).contains(&reject.status())));
    assert!(crate::ResponseReject::ALL.iter().all(|reject| reject.status() == 502));
}

#[test]
fn an_ordinary_head_is_read_in_words() {
    let limits = crate::limits::HeadLimits::DEFAULT;
    let request = b"GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\nX-Empty:\r\nX-Spaces:   \r\nAccept:  */*  \r\n\r\n";
    assert!(super::request::in_words(request, &limits).is_some());
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-\x80: \r\n\r\nhi";
    assert!(super::response::in_words(reply, &limits).is_none(), "no token");
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: \x80\r\n\r\nhi";
    assert!(super::response::in_words(reply, &limits).is_some());
    // Every part of it is no whole head.
    for end in 0..request.len() {
        assert!(super::request::in_words(&request[..end], &limits).is_none(), "{end}");
    }
}
