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

mod listener;
mod tls;
mod connection;
mod request;
mod turn;
mod forwarding;
mod malformed;
mod exchange;
mod upstream;
mod body;
mod tunnel;
mod reply;
mod entry;
mod worker;
mod pinned;
mod generation;
mod published;
mod reload;
mod control_link;
mod sealed_map;
mod state;
mod resolver;
mod records;
mod access_log;
mod names;
mod admin;
mod health;
mod mailbox;
mod signals;
mod node;
mod error;

pub use error::GatewayError;
pub use node::{GatewayOptions, run};
pub use ringway_rt::DriverChoice;
