//! The control plane: truth about definitions, compiled into snapshots and published to gateways.
//!
//! Layers: `api` → `app` → `compile`, `publish` → `store` → `domain`; entry points hold no rules and no SQL.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod api;
pub mod app;
pub mod authority;
pub mod commands;
pub mod compile;
pub mod config;
pub mod domain;
pub mod echo;
pub mod keys;
pub mod limits;
pub mod outside;
pub mod publish;
pub mod state;
pub mod store;
pub mod trial;
