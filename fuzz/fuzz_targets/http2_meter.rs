//! The readers of frame headers of HTTP/2: any split is judged alike, stores keep their bounds, and an extended CONNECT or any other
//! list of fields makes a head or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::head::{Content, RequestAssembler};
use ringway_wire::http2::{Excess, Meter, PREFACE, Seen, Sent, SentReader};
use ringway_wire::{HeadLimits, Version};

/// What of our own frames passes, what is held back (stream, flags, changes of the table), and what is reset.
type Told = (Vec<u8>, Vec<(u32, u8, Vec<u8>)>, Vec<(u32, u32)>);
type Judged = (Result<(), Excess>, Vec<Seen>, Vec<u32>, Option<u64>);

fn judge(pieces: &[&[u8]]) -> Judged {
    let mut meter = Meter::new(0);
    let mut seen = Vec::new();
    let mut verdict = meter.read(PREFACE, 0, |_| ());
    for piece in pieces {
        if verdict.is_ok() {
            verdict = meter.read(piece, 0, |event| seen.push(event));
        }
    }
    let left: Vec<u32> = Excess::ALL.iter().map(|excess| meter.left(*excess)).collect();
    // What is open after a refusal is nobody's business.
    let open = meter.open_since_ns().filter(|_| verdict.is_ok());
    (verdict, seen, left, open)
}

/// What these pieces of our own frames tell.
fn sent(pieces: &[&[u8]]) -> Told {
    let (mut reader, mut told) = (SentReader::default(), Told::default());
    let mut see = |sent: Sent<'_>| match sent {
        Sent::Bytes(bytes) => told.0.extend_from_slice(bytes),
        Sent::Head { stream, flags, updates } => told.1.push((stream, flags, updates.to_vec())),
        Sent::Reset { stream, code } => told.2.push((stream, code)),
    };
    pieces.iter().for_each(|piece| reader.read(piece, &mut see));
    told
}

fuzz_target!(|input: (u16, u16, &[u8])| {
    let (one, two, bytes) = input;
    let mut cuts = [one as usize % (bytes.len() + 1), two as usize % (bytes.len() + 1)];
    cuts.sort_unstable();
    let [one, two] = cuts;
    let whole = judge(&[bytes]);
    assert_eq!(whole, judge(&[&bytes[..one], &bytes[one..two], &bytes[two..]]));
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, judge(&singles));
    let told = sent(&[bytes]);
    assert_eq!(told, sent(&[&bytes[..one], &bytes[one..two], &bytes[two..]]));
    assert_eq!(told, sent(&singles));

    let mut head = RequestAssembler::new(Version::Http2, &HeadLimits::DEFAULT);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let fields = std::iter::from_fn(|| Some((lines.next()?, lines.next()?)));
    if fields.take(200).try_for_each(|(name, value)| head.field(name, value)).is_ok()
        && let Ok(head) = head.finish(if one % 2 == 0 { Content::None } else { Content::Follows })
    {
        assert!(head.path().starts_with(b"/") || head.path() == b"*");
        assert!(!head.authority().is_empty());
    }
});
