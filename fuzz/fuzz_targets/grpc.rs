//! gRPC's values: deadlines never grow on their way, base64 is read alike however it is cut, and what is written is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::grpc::web::{Base64Reader, write_base64};
use ringway_wire::grpc::{Form, timeout_ns, write_message, write_timeout};

fuzz_target!(|bytes: &[u8]| {
    if let Some(ns) = timeout_ns(bytes) {
        let mut written = Vec::new();
        write_timeout(ns, &mut written);
        assert!(timeout_ns(&written).is_some_and(|again| again <= ns));
    }
    if let Some(form) = Form::of_content_type(bytes) {
        let mut written = Vec::new();
        form.write_content_type(bytes, &mut written);
        assert_eq!(Form::of_content_type(&written), Some(form));
    }
    let mut message = Vec::new();
    write_message(&String::from_utf8_lossy(bytes), &mut message);
    assert!(message.iter().all(|byte| matches!(byte, b' '..=b'~')));

    let (mut whole, mut out) = (Base64Reader::default(), Vec::new());
    let read = whole.read(bytes, &mut out);
    assert!(out.len() <= bytes.len());
    let (first, second) = bytes.split_at(bytes.first().map_or(0, |at| usize::from(*at).min(bytes.len())));
    let (mut parts, mut pieces) = (Base64Reader::default(), Vec::new());
    let cut = parts.read(first, &mut pieces).and_then(|()| parts.read(second, &mut pieces));
    assert_eq!(read, cut);
    assert!(read.is_err() || (out == pieces && whole.is_whole() == parts.is_whole()));

    let (mut text, mut back) = (Vec::new(), Vec::new());
    write_base64(bytes, &mut text);
    let mut reader = Base64Reader::default();
    assert!(reader.read(&text, &mut back).is_ok() && reader.is_whole() && back == bytes);
});
