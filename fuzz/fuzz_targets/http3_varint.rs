//! Variable-length integers and priorities: what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::Priority;
use ringway_wire::http3::varint::{VARINT_MAX, length_from, length_of, read, write};

fuzz_target!(|bytes: &[u8]| {
    assert!(Priority::of(bytes).urgency <= Priority::URGENCY_MAX);
    let Some((value, length)) = read(bytes) else {
        assert!(bytes.first().is_none_or(|first| length_from(*first) > bytes.len()));
        return;
    };
    assert!(value <= VARINT_MAX && length == length_from(bytes[0]));
    let mut out = Vec::new();
    write(&mut out, value);
    assert!(out.len() <= length && out.len() == length_of(value));
    assert_eq!(read(&out), Some((value, out.len())));
});
