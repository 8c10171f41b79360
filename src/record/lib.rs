//! The record: one per request, from the gateway to control; access log, metrics and usage read nothing else.
//!
//! Pure: no I/O, no clock, no environment. The gateway maps the segments, tells the time and serves the pages.

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

pub mod access_log;
pub mod metrics;
pub mod outcome;
pub mod record;
pub mod segment;

#[cfg(test)]
mod reference;

pub use outcome::{Kind, Outcome};
pub use record::{Method, Protocol, Record, RecordError, Text};
pub use segment::{SegmentError, SegmentHeader, SegmentKey, SegmentReader, SegmentWriter};
