//! Laws of a record's bytes.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).to_canonical()),
    ]
}

fn endpoint() -> impl Strategy<Value = Option<SocketAddr>> {
    proptest::option::of((address(), 1..=u16::MAX).prop_map(SocketAddr::from))
}

#[derive(Debug, Clone)]
struct Texts([(Vec<u8>, bool); 5]);

fn texts() -> impl Strategy<Value = Texts> {
    let text = |max: usize| (proptest::collection::vec(any::<u8>(), 0..=max), any::<bool>());
    let bare = |max: usize| {
        let byte = any::<u8>().prop_filter("a query is dropped", |byte| !matches!(byte, b'?' | b'#'));
        (proptest::collection::vec(byte, 0..=max), any::<bool>())
    };
    let [host, detail, path, agent] =
        [HOST_BYTES_MAX, DETAIL_BYTES_MAX, PATH_BYTES_MAX, USER_AGENT_BYTES_MAX].map(text);
    (host, detail, path, agent, bare(REFERER_BYTES_MAX))
        .prop_map(|(host, detail, path, agent, referer)| Texts([host, detail, path, agent, referer]))
}

fn fixed() -> impl Strategy<Value = Record<'static>> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 8]>(), any::<[u8; 16]>(), any::<[u128; 2]>());
    let numbers =
        (any::<[u64; 8]>(), any::<[u32; 6]>(), any::<[u16; 2]>(), any::<[u8; 2]>(), any::<[bool; 2]>());
    let closed = (0..Outcome::COUNT, 0..Method::ALL.len(), 0..Protocol::ALL.len());
    let places = (address(), any::<u16>(), address(), endpoint());
    (ids, numbers, closed, places).prop_map(|(ids, numbers, closed, places)| {
        let (request_id, trace_id, span_id, linked_trace_id, [application_id, credential_id]) = ids;
        let (longs, ints, [status, worker], [attempts, stage], [tls, reused]) = numbers;
        let [
            started_unix_ms,
            total_us,
            generation,
            route_id,
            upstream_id,
            limit_id,
            body_in_bytes,
            body_out_bytes,
        ] = longs;
        let [own_us, upstream_head_us, head_in_bytes, head_out_bytes, query_bytes, shadow] = ints;
        Record {
            request_id,
            trace_id,
            span_id,
            linked_trace_id,
            started_unix_ms,
            total_us,
            own_us,
            upstream_head_us,
            generation,
            route_id,
            upstream_id,
            endpoint: places.3,
            application_id,
            credential_id,
            limit_id,
            status,
            outcome: Outcome::ALL[closed.0],
            method: Method::ALL[closed.1],
            protocol: Protocol::ALL[closed.2],
            tls,
            reused,
            attempts,
            stage,
            worker,
            shadow,
            head_in_bytes,
            head_out_bytes,
            body_in_bytes,
            body_out_bytes,
            peer: SocketAddr::new(places.0, places.1),
            client: places.2,
            query_bytes,
            ..Record::default()
        }
    })
}

fn with<'a>(record: Record<'static>, Texts([host, detail, path, agent, referer]): &'a Texts) -> Record<'a> {
    let text = |(bytes, cut): &'a (Vec<u8>, bool)| Text { bytes, cut: *cut };
    Record {
        host: text(host),
        detail: text(detail),
        path: text(path),
        user_agent: text(agent),
        referer: text(referer),
        ..record
    }
}

proptest! {
    #[test]
    fn decode_undoes_encode(record in fixed(), texts in texts()) {
        let record = with(record, &texts);
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = record.encode(&mut bytes).unwrap();
        prop_assert_eq!(length, record.encoded_bytes());
        prop_assert_eq!(Record::decode(&bytes[..length]), Ok(record));
    }

    #[test]
    fn a_prefix_of_a_record_is_no_record(record in fixed(), texts in texts(), part in 0.0..1.0f64) {
        let record = with(record, &texts);
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = record.encode(&mut bytes).unwrap();
        let torn = ((length as f64) * part) as usize;
        prop_assert!(Record::decode(&bytes[..torn]).is_err());
        prop_assert_eq!(record.encode(&mut bytes[..torn]), None);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn texts_are_cut_to_their_limits_and_say_so() {
    let long = vec![b'a'; 5_000];
    let text = Text::new(&long);
    let record =
        Record { host: text, detail: text, path: text, user_agent: text, referer: text, ..Record::default() };
    let mut bytes = [0; RECORD_BYTES_MAX];
    assert_eq!(record.encode(&mut bytes), Some(RECORD_BYTES_MAX));
    let back = Record::decode(&bytes).unwrap();
    for (text, max) in [
        (back.host, HOST_BYTES_MAX),
        (back.detail, DETAIL_BYTES_MAX),
        (back.path, PATH_BYTES_MAX),
        (back.user_agent, USER_AGENT_BYTES_MAX),
        (back.referer, REFERER_BYTES_MAX),
    ] {
        assert_eq!((text.bytes.len(), text.cut), (max, true));
    }
}

#[test]
fn the_query_of_a_referer_is_never_kept() {
    let referer = Text::new(b"https://shop.example/pay?token=secret");
    let mut bytes = [0; RECORD_BYTES_MAX];
    let length = Record { referer, ..Record::default() }.encode(&mut bytes).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    assert_eq!(Record::decode(&bytes[..length]).unwrap().referer.bytes, b"https://shop.example/pay");
}

#[test]
fn the_layout_is_pinned_to_the_schema() {
    let record = Record { outcome: Outcome::NoRoute, method: Method::Get, status: 404, ..Record::default() };
    let mut bytes = [0; RECORD_BYTES_MAX];
    assert_eq!(record.encode(&mut bytes), Some(FIXED_BYTES));
    // Fixed part's length, five lengths, flags, outcome, method, protocol, attempts, stage, status.
    assert_eq!(bytes[..18], [248, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 21, 1, 0, 0, 255, 0x94, 1]);
    assert_eq!(SCHEMA, 1, "a change of layout is a new schema");
}
