//! The policy chain: decides what may pass, as whom and how often. Pure: no I/O, no clock, no environment.

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

pub mod route;
pub mod stage;

pub mod chain;
pub mod facts;
pub mod prepare;

pub mod api_key;
pub mod headers;
pub mod limit;
pub mod memory;

pub mod problem;
pub mod trace;

pub mod limits;
#[cfg(test)]
mod reference;
