//! Cases of `wire`: heads read and written, chunks, paths.

use std::hint::black_box;
use std::path::Path;

use ringway_wire::http1::{
    BodyEvent, BodyReader, BytesIn, Parse, RequestExtra, RequestFacts, RequestLine, ResponseExtra,
    parse_request, parse_response, write_request_head, write_response_head,
};
use ringway_wire::{
    Buffer, ChunkLimits, FieldId, Framing, HeadLimits, Method, Overlay, PathPolicy, RequestHead,
    ResponseHead, Version, path,
};

use super::Operation;

const SMALL_REQUEST: &[u8] = b"GET /x?b=128 HTTP/1.1\r\nHost: bench.local\r\n\r\n";
const BROWSER_REQUEST: &[u8] = b"GET /orders/v2/4711?lang=fr&page=2 HTTP/1.1\r\nHost: api.example.com\r\n\
    Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"140\", \"Not?A_Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nReferer: https://app.example.com/orders\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: fr-FR,fr;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nServer: example\r\n\
    Content-Type: application/json\r\nContent-Length: 128\r\nCache-Control: max-age=60\r\nETag: \"33a64df5\"\r\n\
    Vary: Accept-Encoding\r\n\r\n";
const PLAIN_PATH: &[u8] = b"/orders/v2/4711/lines/12";
const ODD_PATH: &[u8] = b"/orders/./v1/../v2/%34711/l%69nes/a%20b";

const FACTS: RequestFacts = RequestFacts { method: Method::Get, upgrade_asked: false };

fn request(bytes: &[u8]) -> Result<RequestHead, String> {
    match parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) {
        Parse::Complete(head) => Ok(head),
        other => Err(format!("no request head: {other:?}")),
    }
}

fn response(bytes: &[u8]) -> Result<ResponseHead, String> {
    match parse_response(Buffer::copied_from(bytes), FACTS, &HeadLimits::DEFAULT) {
        Parse::Complete(head) => Ok(head),
        other => Err(format!("no response head: {other:?}")),
    }
}

pub(super) fn parse_small_request(_folder: &Path) -> Result<Operation, String> {
    Ok(Box::new(|| request(black_box(SMALL_REQUEST)).map(|head| drop(black_box(head)))))
}

pub(super) fn parse_browser_request(_folder: &Path) -> Result<Operation, String> {
    Ok(Box::new(|| request(black_box(BROWSER_REQUEST)).map(|head| drop(black_box(head)))))
}

pub(super) fn parse_response_head(_folder: &Path) -> Result<Operation, String> {
    Ok(Box::new(|| response(black_box(RESPONSE)).map(|head| drop(black_box(head)))))
}

/// The edits that a gateway makes to each request by default.
pub(super) fn write_request(_folder: &Path) -> Result<Operation, String> {
    let head = request(BROWSER_REQUEST)?;
    let mut out = Vec::with_capacity(4096);
    Ok(Box::new(move || {
        let mut overlay = Overlay::take();
        let edits: [(&[u8], &[u8]); 6] = [
            (b"X-Request-Id", b"0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
            (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            (b"Forwarded", b"for=192.0.2.1;proto=https;host=api.example.com"),
            (b"X-Forwarded-For", b"192.0.2.1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"Via", b"1.1 ringway"),
        ];
        for (name, value) in edits {
            overlay.set(name, value).map_err(|bad| format!("{bad:?}"))?;
        }
        let line = RequestLine::of(&head);
        out.clear();
        write_request_head(&mut out, &head, &overlay, line, Framing::Empty, &RequestExtra::default());
        black_box(&out);
        Ok(())
    }))
}

pub(super) fn write_response(_folder: &Path) -> Result<Operation, String> {
    let head = response(RESPONSE)?;
    let mut out = Vec::with_capacity(4096);
    Ok(Box::new(move || {
        let mut overlay = Overlay::take();
        let request_id = b"0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        overlay.set(b"X-Request-Id", request_id).map_err(|bad| format!("{bad:?}"))?;
        overlay.append(b"Via", b"1.1 ringway").map_err(|bad| format!("{bad:?}"))?;
        overlay.remove(FieldId::Server.name().as_bytes()).map_err(|bad| format!("{bad:?}"))?;
        let extra = ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: None };
        out.clear();
        write_response_head(&mut out, &head, &overlay, Framing::Length(128), &extra);
        black_box(&out);
        Ok(())
    }))
}

/// A body of 16 chunks of 1 KiB, and the last.
pub(super) fn decode_chunks(_folder: &Path) -> Result<Operation, String> {
    let mut body = Vec::new();
    for _ in 0..16 {
        body.extend_from_slice(b"400\r\n");
        body.extend_from_slice(&[b'x'; 1024]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    Ok(Box::new(move || {
        let mut reader = BodyReader::new(Framing::Chunked, ChunkLimits::DEFAULT);
        let mut input = BytesIn::new(black_box(&body));
        let mut content = 0;
        loop {
            match reader.next(&mut input).map_err(|reject| format!("{reject:?}"))? {
                BodyEvent::Data(range) => content += range.len(),
                BodyEvent::End => break,
                BodyEvent::NeedMore => return Err("the body has no end".to_owned()),
            }
        }
        if content == 16 * 1024 { Ok(()) } else { Err(format!("{content} bytes")) }
    }))
}

fn normalise(given: &'static [u8], wanted: &'static [u8]) -> Result<Operation, String> {
    let mut place = given.to_vec();
    Ok(Box::new(move || {
        place.clear();
        place.extend_from_slice(black_box(given));
        let done = path::normalise(&mut place, PathPolicy::Strict).map_err(|reject| format!("{reject:?}"))?;
        if place.get(..done.len) == Some(wanted) { Ok(()) } else { Err("another path".to_owned()) }
    }))
}

pub(super) fn normalise_plain(_folder: &Path) -> Result<Operation, String> {
    normalise(PLAIN_PATH, PLAIN_PATH)
}

pub(super) fn normalise_odd(_folder: &Path) -> Result<Operation, String> {
    normalise(ODD_PATH, b"/orders/v2/4711/lines/a%20b")
}
