//! Settings of the gateway.

use ringway_snapshot::model::{AccessLog, Network, Settings, TraceTrust};

use super::Compiler;
use super::view::View;
use crate::config::scalar::parse_network;
use crate::config::{Kind, Value};

/// Compiles `settings:`; every default comes from the key table.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    let value = compiler.resources(Kind::Settings).pop().map_or(Value::Map(Vec::new()), |(_, value)| value);
    let view = View::new("settings", &value);
    let (timeouts, head, body) = (view.at("timeouts"), view.at("head"), view.at("body"));
    compiler.model.settings = Settings {
        name: view.at("name").text().to_owned(),
        tls_handshake_ms_max: timeouts.at("handshake").ms(),
        head_read_ms_max: timeouts.at("head").ms(),
        head_bytes_max: head.at("size").small_bytes(),
        head_fields_max: head.at("fields").small(),
        target_bytes_max: head.at("target").small_bytes(),
        body_bytes_max: body.at("size").bytes(),
        body_rate_min: body.at("rate").small_bytes(),
        body_rate_grace_ms: body.at("grace").ms(),
        keep_alive_ms: timeouts.at("keep_alive").ms(),
        write_stall_ms_max: timeouts.at("write_stall").ms(),
        drain_ms_max: timeouts.at("drain").ms(),
        connections_max: view.at("connections").small(),
        memory_bytes_max: view.at("memory").bytes(),
        trusted: view.at("trusted").elements().iter().filter_map(network).collect(),
        trace: match view.at("trace").text() {
            "all" => TraceTrust::All,
            "none" => TraceTrust::None,
            _ => TraceTrust::Trusted,
        },
        access_log: match view.at("access_log").text() {
            "stdout" => AccessLog::Stdout,
            text => {
                text.strip_prefix("file:").map_or(AccessLog::Off, |path| AccessLog::File(path.to_owned()))
            }
        },
        admin_address: view.at("admin").address().unwrap_or(Settings::default().admin_address),
    };
}

fn network(value: &Value) -> Option<Network> {
    let (address, prefix_bits) = parse_network(value.text()?).ok()?;
    Some(Network { address, prefix_bits })
}
