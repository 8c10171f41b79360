//! A reply head: any split gives the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::http1::{Parse, RequestFacts, ResponseExtra, parse_response, write_response_head};
use ringway_wire::{Buffer, Class, HeadLimits, Method, Overlay, ResponseHead, ResponseReject, Version};

fn feed(pieces: &[&[u8]], facts: RequestFacts) -> Result<Option<ResponseHead>, ResponseReject> {
    let mut buffer = Buffer::take(Class::K64);
    for piece in pieces {
        buffer.vec_mut().extend_from_slice(piece);
        match parse_response(buffer, facts, &HeadLimits::DEFAULT) {
            Parse::Partial(back) => buffer = back,
            Parse::Complete(head) => return Ok(Some(head)),
            Parse::Reject(reject, _) => return Err(reject),
        }
    }
    Ok(None)
}

fuzz_target!(|input: (u16, bool, bool, &[u8])| {
    let (cut, head_asked, upgrade_asked, bytes) = input;
    let method = if head_asked { Method::Head } else { Method::Get };
    let facts = RequestFacts { method, upgrade_asked };
    let whole = [bytes, b"\r\n\r\n"].concat();
    let (first, second) = whole.split_at(cut as usize % (whole.len() + 1));
    match (feed(&[&whole], facts), feed(&[first, second], facts)) {
        (Ok(Some(one)), Ok(Some(two))) => {
            assert_eq!(one.head_len(), two.head_len());
            assert_eq!(
                (one.status(), one.framing(), one.persistent()),
                (two.status(), two.framing(), two.persistent())
            );
            let mut out = Vec::new();
            let upgrade = None;
            let extra = ResponseExtra { version: Version::Http11, close: false, upgrade, date: None };
            write_response_head(&mut out, &one, &Overlay::take(), one.framing(), &extra);
            if one.is_upgrade() {
                return;
            }
            let Ok(Some(again)) = feed(&[&out], facts) else { panic!("{}", out.escape_ascii()) };
            assert_eq!((again.status(), again.framing(), again.head_len()), (one.status(), one.framing(), out.len()));
        }
        (Err(one), Err(two)) => assert_eq!(one, two),
        (Ok(None), Ok(None)) => {}
        (one, two) => panic!("{one:?} against {two:?}"),
    }
});
