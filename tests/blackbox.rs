//! Black-box tests: real `ringway` processes, real sockets, raw bytes; replies, records and metrics are what is asserted on.
//!
//! `RINGWAY_TEST_DRIVER` (`uring` or `epoll`) chooses the driver of every gateway started here; a gateway that
//! runs on another one fails its test at once. Without it the laws run on io_uring, and the first of them on epoll too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "blackbox/frames.rs"]
mod frames;
#[path = "blackbox/http2_client.rs"]
mod http2_client;
#[path = "blackbox/node.rs"]
mod node;
#[path = "blackbox/peers.rs"]
mod peers;
#[path = "blackbox/raw.rs"]
mod raw;
#[path = "blackbox/scripted.rs"]
mod scripted;
#[path = "blackbox/site.rs"]
mod site;

#[path = "blackbox/differential.rs"]
mod differential;
#[path = "blackbox/endless.rs"]
mod endless;
#[path = "blackbox/enrolment.rs"]
mod enrolment;
#[path = "blackbox/floods.rs"]
mod floods;
#[path = "blackbox/forwarding.rs"]
mod forwarding;
#[path = "blackbox/grpc.rs"]
mod grpc;
#[path = "blackbox/grpc_web.rs"]
mod grpc_web;
#[path = "blackbox/http2.rs"]
mod http2;
#[path = "blackbox/http2_both_sides.rs"]
mod http2_both_sides;
#[path = "blackbox/http2_rules.rs"]
mod http2_rules;
#[path = "blackbox/http2_upstreams.rs"]
mod http2_upstreams;
#[path = "blackbox/http3.rs"]
mod http3;
#[path = "blackbox/http3_rules.rs"]
mod http3_rules;
#[path = "blackbox/interop.rs"]
mod interop;
#[path = "blackbox/malformed.rs"]
mod malformed;
#[path = "blackbox/misbehaving.rs"]
mod misbehaving;
#[path = "blackbox/policies.rs"]
mod policies;
#[path = "blackbox/pressure.rs"]
mod pressure;
#[path = "blackbox/quic_rules.rs"]
mod quic_rules;
#[path = "blackbox/records.rs"]
mod records;
#[path = "blackbox/relay.rs"]
mod relay;
#[path = "blackbox/reload.rs"]
mod reload;
#[path = "blackbox/routing.rs"]
mod routing;
#[path = "blackbox/tls.rs"]
mod tls;
#[path = "blackbox/upstreams.rs"]
mod upstreams;
#[path = "blackbox/websocket.rs"]
mod websocket;
#[path = "blackbox/websocket_frames.rs"]
mod websocket_frames;
