//! A request head: any split gives the same, and what is written of it reads as what was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::http1::{Parse, RequestExtra, RequestLine, parse_request, write_request_head};
use ringway_wire::path::normalise_path;
use ringway_wire::{Buffer, Class, FieldId, HeadLimits, Overlay, PathPolicy, Reject, RequestHead};

/// Feeds the pieces and, so that every way of feeding comes to a decision, an empty line.
fn feed(pieces: &[&[u8]]) -> Result<Option<RequestHead>, Reject> {
    let mut buffer = Buffer::take(Class::K64);
    for piece in pieces {
        buffer.vec_mut().extend_from_slice(piece);
        match parse_request(buffer, &HeadLimits::DEFAULT) {
            Parse::Partial(back) => buffer = back,
            Parse::Complete(head) => return Ok(Some(head)),
            Parse::Reject(reject, _) => return Err(reject),
        }
    }
    Ok(None)
}

fn summary(head: &RequestHead) -> (usize, Vec<u8>, Vec<u8>, String, Vec<(Vec<u8>, Vec<u8>)>) {
    let fields = head
        .fields()
        .filter(|(_, _, id)| !id.is_ours_to_write() && *id != FieldId::Host)
        .map(|(name, value, _)| (name.to_vec(), value.to_vec()));
    let rest = format!("{:?} {:?} {:?}", head.framing(), head.query(), head.host());
    (head.head_len(), head.method_bytes().to_vec(), head.path().to_vec(), rest, fields.collect())
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = [bytes, b"\r\n\r\n"].concat();
    let (first, second) = whole.split_at(cut as usize % (whole.len() + 1));
    let one = feed(&[&whole]);
    let two = feed(&[first, second]);
    match (one, two) {
        (Ok(Some(mut head)), Ok(Some(split))) => {
            assert_eq!(summary(&head), summary(&split));
            if normalise_path(&mut head, PathPolicy::Strict).is_ok() && !head.authority().is_empty() {
                written_reads_as_meant(&head);
            }
        }
        (Err(one), Err(two)) => assert_eq!(one, two),
        (Ok(None), Ok(None)) => {}
        (one, two) => panic!("{one:?} against {two:?}"),
    }
});

fn written_reads_as_meant(head: &RequestHead) {
    let mut out = Vec::new();
    let line = RequestLine::of(head);
    write_request_head(&mut out, head, &Overlay::take(), line, head.framing(), &RequestExtra::default());
    let Ok(Some(again)) = feed(&[&out]) else { panic!("{}", out.escape_ascii()) };
    let (len, method, path, _, fields) = summary(&again);
    assert_eq!(len, out.len());
    assert_eq!((method, path, fields), {
        let (_, method, path, _, fields) = summary(head);
        (method, path, fields)
    });
}
