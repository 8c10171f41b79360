//! The rules of QUIC and of TLS inside it from outside (RFC 9000, RFC 9001): what a client is told that breaks one. Each is a row,
//! which is a case of h3spec's, too.

use serde_json::{Value, json};

use crate::http3::{ca, over_http3};
use crate::node::{Node, also_on_epoll};
use crate::peers;
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(a_client_that_breaks_a_rule_is_told_which);

/// Codes of RFC 9000 §20.1, and of TLS alerts (RFC 9001 §4.8).
mod code {
    pub(super) const FLOW_CONTROL: u64 = 0x3;
    pub(super) const STREAM_LIMIT: u64 = 0x4;
    pub(super) const STREAM_STATE: u64 = 0x5;
    pub(super) const FRAME_ENCODING: u64 = 0x7;
    pub(super) const TRANSPORT_PARAMETER: u64 = 0x8;
    pub(super) const PROTOCOL_VIOLATION: u64 = 0xa;
    pub(super) const UNEXPECTED_MESSAGE: u64 = 0x10a;
    pub(super) const MISSING_EXTENSION: u64 = 0x16d;
    pub(super) const NO_APPLICATION_PROTOCOL: u64 = 0x178;
}

/// What is broken, how (see `peers/quic_faults.py`), and what the client is told.
fn faults() -> Vec<(&'static str, Value, u64)> {
    let frames = |hex: &str| json!({"application": hex.replace(' ', "")});
    let parameter = |number: &str, value: &str| json!({"parameters": {number: value}});
    let id = "00112233445566778899aabbccddeeff";
    vec![
        ("an offset beyond the window", frames("0f 00 85f5e100 01 00"), code::FLOW_CONTROL),
        ("a stream beyond the limit", frames("0a bb9aca00 00"), code::STREAM_LIMIT),
        ("a frame of unknown type", frames("20"), code::FRAME_ENCODING),
        ("a packet without frames", json!({"empty": true}), code::PROTOCOL_VIOLATION),
        ("reserved bits in a Handshake packet", json!({"reserved": "long"}), code::PROTOCOL_VIOLATION),
        ("reserved bits in a 1-RTT packet", json!({"reserved": "short"}), code::PROTOCOL_VIOLATION),
        (
            "PATH_CHALLENGE in a Handshake packet",
            json!({"handshake": "1a0102030405060708"}),
            code::PROTOCOL_VIOLATION,
        ),
        ("RESET_STREAM of a stream that we send on", frames("04 03 00 00"), code::STREAM_STATE),
        ("STOP_SENDING of no stream", frames("05 4065 00"), code::STREAM_STATE),
        ("NEW_TOKEN", frames("07 01 44"), code::PROTOCOL_VIOLATION),
        ("STREAM of ours that is not open", frames("0a 01 01 78"), code::STREAM_STATE),
        ("STREAM of one that we send on", frames("0a 03 01 78"), code::STREAM_STATE),
        ("MAX_STREAM_DATA of no stream", frames("11 4065 4400"), code::STREAM_STATE),
        ("MAX_STREAM_DATA of a stream that we receive on", frames("11 02 4400"), code::STREAM_STATE),
        ("MAX_STREAMS beyond what can be", frames("12 d000000000000001"), code::FRAME_ENCODING),
        ("STREAMS_BLOCKED beyond what can be", frames("16 d000000000000001"), code::FRAME_ENCODING),
        (
            "NEW_CONNECTION_ID that retires itself",
            frames(&format!("18 05 0f 08 0102030405060708 {id}")),
            code::FRAME_ENCODING,
        ),
        ("NEW_CONNECTION_ID without an id", frames(&format!("18 05 00 00 {id}")), code::FRAME_ENCODING),
        ("HANDSHAKE_DONE", frames("1e"), code::PROTOCOL_VIOLATION),
        ("no initial_source_connection_id", json!({"parameters": {"15": null}}), code::TRANSPORT_PARAMETER),
        ("original_destination_connection_id", parameter("0", "4455"), code::TRANSPORT_PARAMETER),
        (
            "preferred_address",
            parameter("13", &format!("7f00000101bb{}00000801020304{id}{id}", "00".repeat(16))),
            code::TRANSPORT_PARAMETER,
        ),
        ("retry_source_connection_id", parameter("16", "4455"), code::TRANSPORT_PARAMETER),
        ("stateless_reset_token", parameter("2", id), code::TRANSPORT_PARAMETER),
        ("max_udp_payload_size of 1,090", parameter("3", "4442"), code::TRANSPORT_PARAMETER),
        ("ack_delay_exponent of 30", parameter("10", "1e"), code::TRANSPORT_PARAMETER),
        ("max_ack_delay of 2^15", parameter("11", "80008000"), code::TRANSPORT_PARAMETER),
        ("KeyUpdate in the handshake", json!({"after": "1800000101"}), code::UNEXPECTED_MESSAGE),
        ("KeyUpdate after it", frames("06 00 05 1800000101"), code::UNEXPECTED_MESSAGE),
        ("EndOfEarlyData", json!({"before": "05000000"}), code::UNEXPECTED_MESSAGE),
        ("a protocol that is not spoken here", json!({"alpn": ["dummy"]}), code::NO_APPLICATION_PROTOCOL),
        ("no transport parameters", json!({"extension": null}), code::MISSING_EXTENSION),
        ("those of a draft", json!({"extension": 0xffa5}), code::MISSING_EXTENSION),
    ]
}

#[test]
fn a_client_that_breaks_a_rule_is_told_which() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let cases = faults();
    let asked: Vec<&Value> = cases.iter().map(|(_, fault, _)| fault).collect();
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    let arguments = [&ip, &port, &ca(&node), "api.test", &json!(asked).to_string()];
    let told = peers::run("quic_faults.py", &arguments.map(|word| word as &str));
    assert_eq!(told.len(), cases.len());
    let wrong: Vec<String> = std::iter::zip(&cases, &told)
        .filter(|((_, _, code), told)| told["closed"] != json!(code))
        .map(|((name, _, code), told)| format!("{name}: {code:#x} is wanted: {told}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    upstream.assert_untouched();
}
