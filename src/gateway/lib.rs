//! The data plane's shell: sockets, workers, connections, upstreams, and the page of the request.
//!
//! Start with `request.rs`: every request goes that way. `docs/architecture.md` has the map.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test that panics fails, as it should"
    )
)]

mod access_log;
mod admin;
mod body;
mod caller;
mod connection;
mod control_link;
mod datagrams;
pub mod doctor;
mod enrolment;
mod entry;
mod error;
mod exchange;
mod forwarding;
mod generation;
mod grpc;
mod health;
mod identity;
mod limits;
mod listener;
mod mailbox;
mod malformed;
mod names;
mod node;
pub mod outlet;
mod pinned;
mod published;
mod quic;
mod records;
mod reload;
mod reply;
mod request;
mod resolver;
mod sealed_map;
mod signals;
mod state;
mod tls;
mod tunnel;
mod turn;
mod upstream;
mod worker;

pub use error::GatewayError;
pub use node::{GatewayOptions, run};
pub use ringway_rt::DriverChoice;
