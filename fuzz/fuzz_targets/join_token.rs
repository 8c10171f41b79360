//! Join tokens: any text is taken or not, and what is taken has one text alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_snapshot::enrolment::JoinToken;

fuzz_target!(|text: &str| {
    if let Some(token) = JoinToken::decode(text) {
        assert_eq!(token.encode(), text.trim());
    }
});
