//! Path normalisation: idempotent, never longer, without dot segments, decoding to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::PathPolicy;
use ringway_wire::path::normalise;

fuzz_target!(|bytes: &[u8]| {
    let path = [b"/", bytes].concat();
    for policy in [PathPolicy::Strict, PathPolicy::Merge, PathPolicy::AsIs] {
        let mut once = path.clone();
        let Ok(first) = normalise(&mut once, policy) else { continue };
        assert!(first.len <= path.len() && first.len > 0);
        once.truncate(first.len);
        assert_eq!(once.first(), Some(&b'/'));
        let mut twice = once.clone();
        assert_eq!(normalise(&mut twice, policy).map(|second| second.len), Ok(first.len));
        assert_eq!(twice, once);
        assert!(!once.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
        assert!(!once.contains(&b'\\'));
        let upper = once.to_ascii_uppercase();
        for refused in [&b"%00"[..], b"%5C"] {
            assert!(!upper.windows(3).any(|part| part == refused));
        }
        // It is told of a segment that `..` removed, too: endpoints differ on what that removes.
        assert!(first.encoded_slash || !upper.windows(3).any(|part| part == b"%2F"));
        assert!(policy != PathPolicy::AsIs || once == path);
        assert!(policy != PathPolicy::Merge || !once.windows(2).any(|part| part == b"//"));
    }
});
