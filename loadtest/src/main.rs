//! `ringway-load`: makes HTTP load, measures it without coordinated omission, and says whose figures these are.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod base64;
mod check;
mod command;
mod connection;
mod data;
mod failure;
mod histogram_log;
mod knee;
mod limits;
mod options;
mod plan;
mod prepare;
mod quantity;
mod random;
mod report;
mod request;
mod run;
mod scenario;
mod schedule;
mod screen;
mod tally;
mod template;
mod threshold;
mod url;
mod usage;
mod worker;

use std::process::ExitCode;

/// Over HTTP/2 each request allocates some dozen times: with libc's allocator it takes a tenth more CPU.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    command::main()
}
