//! The line as an independent JSON reader sees it, and what must never be in it.

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::metrics::Nameless;
use crate::outcome::Outcome;
use crate::record::{Method, Protocol, RECORD_BYTES_MAX};

fn line(record: &Record<'_>, addresses: AddressPolicy) -> String {
    let mut out = Vec::new();
    write_line(&mut out, record, &Nameless, addresses);
    String::from_utf8(out).unwrap()
}

fn record() -> Record<'static> {
    Record {
        request_id: u128::to_be_bytes(0x0199_0000_0000_7000_8000_0000_0000_0001),
        trace_id: [0xab; 16],
        span_id: [1, 2, 3, 4, 5, 6, 7, 8],
        started_unix_ms: 1_795_261_670_123,
        total_us: 1_234,
        own_us: 45,
        upstream_head_us: 1_000,
        generation: 41,
        route_id: 0xfeed,
        upstream_id: 2,
        endpoint: Some("10.0.0.11:8080".parse().unwrap()),
        application_id: 0x0123_4567_89ab_4def_8123_4567_89ab_cdef,
        status: 200,
        outcome: Outcome::Served,
        method: Method::Get,
        protocol: Protocol::Http11,
        tls: true,
        attempts: 1,
        shadow: 0b101,
        head_in_bytes: 200,
        body_out_bytes: 128,
        peer: "203.0.113.77:51234".parse().unwrap(),
        client: "2001:db8:1:2::3".parse().unwrap(),
        query_bytes: 20,
        host: Text::new(b"api.example.com"),
        path: Text::new(b"/orders/v2/1"),
        user_agent: Text::new(b"curl/8 \"\xff\x1b[31m"),
        ..Record::default()
    }
}

#[test]
fn a_record_is_one_line_of_json() {
    expect![[r#"
        {"time":"2026-11-21T11:47:50.123Z","request_id":"01990000-0000-7000-8000-000000000001","trace_id":"abababababababababababababababab","span_id":"0102030405060708","peer":"203.0.113.77:51234","client":"2001:db8:1:2::3","application":"01234567-89ab-4def-8123-456789abcdef","method":"GET","protocol":"http/1.1","tls":true,"host":"api.example.com","path":"/orders/v2/1","query_bytes":20,"user_agent":"curl/8 \"�\u001b[31m","status":200,"outcome":"served","kind":"served","generation":41,"route":"000000000000feed","upstream":"0000000000000002","shadow_refused":[0,2],"endpoint":"10.0.0.11:8080","reused":false,"attempts":1,"duration_us":1234,"own_us":45,"upstream_us":1000,"head_in_bytes":200,"body_in_bytes":0,"head_out_bytes":0,"body_out_bytes":128,"worker":0}
    "#]]
    .assert_eq(&line(&record(), AddressPolicy::Whole));
}

#[test]
fn keys_are_those_of_the_table_in_its_order() {
    let cut = |bytes| Text { bytes, cut: true };
    let whole = Record {
        linked_trace_id: [1; 16],
        credential_id: 5,
        limit_id: 6,
        stage: 3,
        host: cut(b"a"),
        detail: cut(b"b"),
        path: cut(b"c"),
        user_agent: cut(b"d"),
        referer: cut(b"e"),
        ..record()
    };
    let read: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&line(&whole, AddressPolicy::Whole)).unwrap();
    let keys: Vec<&str> = read.keys().map(String::as_str).collect();
    assert_eq!(keys, FIELDS.iter().map(|(key, _)| *key).collect::<Vec<_>>());
}

#[test]
fn the_reference_page_is_printed_from_the_table() {
    crate::reference::check("access-log.md", &reference());
}

#[test]
fn addresses_are_written_as_far_as_the_policy_allows() {
    let read = |policy| serde_json::from_str::<serde_json::Value>(&line(&record(), policy)).unwrap();
    let network = read(AddressPolicy::Network);
    assert_eq!((&network["peer"], &network["client"]), (&"203.0.113.0/24".into(), &"2001:db8:1::/48".into()));
    assert!(read(AddressPolicy::Omit).get("peer").is_none());
    assert!(read(AddressPolicy::Omit).get("client").is_none());
}

#[test]
fn a_referer_is_written_without_user_and_password() {
    for (sent, written) in [
        ("https://app.example.com/a@b", "https://app.example.com/a@b"),
        ("https://me:secret@app.example.com/a", "https://app.example.com/a"),
        ("https://me:sec@ret@app.example.com", "https://app.example.com"),
        ("//me@app.example.com/", "//app.example.com/"),
        ("me:secret@app.example.com/a", "app.example.com/a"),
        ("https://me:secret@", "https://"),
        ("/only/a@path", "/only/a@path"),
    ] {
        assert_eq!(logged(Text::new(sent.as_bytes())), written, "{sent}");
    }
    for (sent, written) in
        [("https://me:secr", "https://"), ("https://app.example.com/a", "https://app.example.com/a")]
    {
        assert_eq!(logged(Text { bytes: sent.as_bytes(), cut: true }), written, "{sent}");
    }
}

fn logged(referer: Text<'_>) -> String {
    let record = Record { referer, ..record() };
    let read: serde_json::Value = serde_json::from_str(&line(&record, AddressPolicy::Whole)).unwrap();
    read["referer"].as_str().unwrap().to_owned()
}

#[test]
fn a_record_without_a_status_says_null() {
    let record = Record { outcome: Outcome::ClientClosed, ..Record::default() };
    let read: serde_json::Value = serde_json::from_str(&line(&record, AddressPolicy::Whole)).unwrap();
    assert_eq!((&read["status"], &read["outcome"]), (&serde_json::Value::Null, &"client_closed".into()));
}

#[test]
fn times_are_those_of_rfc_3339() {
    for (unix_ms, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(str::from_utf8(&rfc_3339(unix_ms)), Ok(expected));
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back_as_json_reads_them(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut out = Vec::new();
        write_json_string(&mut out, &bytes);
        prop_assert!(!out.iter().any(|byte| byte.is_ascii_control()));
        let read: String = serde_json::from_slice(&out).unwrap();
        let lossy = bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
            text.push_str(chunk.valid());
            text.extend((!chunk.invalid().is_empty()).then_some('\u{fffd}'));
            text
        });
        prop_assert_eq!(read, lossy);
    }

    #[test]
    fn a_line_is_one_line_whatever_the_caller_sent(text in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        let text = Text::new(&text);
        let sent = Record { host: text, path: text, user_agent: text, referer: text, ..record() };
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = sent.encode(&mut bytes).unwrap();
        let line = line(&Record::decode(&bytes[..length]).unwrap(), AddressPolicy::Whole);
        prop_assert!(line.len() <= 12 << 10);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }
}
