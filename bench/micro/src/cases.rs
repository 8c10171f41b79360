//! The cases: what is counted, how often, on what.

mod heads;
mod policies;

use std::hint::black_box;
use std::path::Path;

use crate::allocator::allocations;

/// Operations before counting, so that pools and tables are warm.
const WARM_UP: u32 = 512;

/// A case: its name, how many operations are counted, and how its operation is made ready.
struct Case {
    name: &'static str,
    operations: u32,
    prepare: fn(&Path) -> Result<Operation, String>,
}

/// One operation on prepared input; it fails when it does not do what it is measured for.
type Operation = Box<dyn FnMut() -> Result<(), String>>;

const CASES: &[Case] = &[
    Case { name: "request_head_parse_small", operations: 1000, prepare: heads::parse_small_request },
    Case { name: "request_head_parse_browser", operations: 1000, prepare: heads::parse_browser_request },
    Case { name: "response_head_parse", operations: 1000, prepare: heads::parse_response_head },
    Case { name: "request_head_write_overlay", operations: 1000, prepare: heads::write_request },
    Case { name: "response_head_write_overlay", operations: 1000, prepare: heads::write_response },
    Case { name: "chunk_decode_16", operations: 500, prepare: heads::decode_chunks },
    Case { name: "path_normalise_plain", operations: 1000, prepare: heads::normalise_plain },
    Case { name: "path_normalise_dots_and_percent", operations: 1000, prepare: heads::normalise_odd },
    Case { name: "route_match_10", operations: 2000, prepare: policies::match_in_10 },
    Case { name: "route_match_10000", operations: 2000, prepare: policies::match_in_10_000 },
    Case { name: "route_match_1000000", operations: 2000, prepare: policies::match_in_1_000_000 },
    Case { name: "chain_key_limit_headers", operations: 1000, prepare: policies::run_chain },
    Case { name: "snapshot_open_10000", operations: 1, prepare: policies::open_snapshot },
    Case { name: "record_write", operations: 1000, prepare: policies::write_record },
    Case { name: "access_log_line", operations: 1000, prepare: policies::write_log_line },
];

/// Names of the cases that contain `part`, in order.
pub(crate) fn names(part: &str) -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name).filter(move |name| name.contains(part))
}

/// Runs one case; says how many operations were counted and what they allocated.
pub(crate) fn run(folder: &Path, name: &str) -> Result<String, String> {
    let case = CASES.iter().find(|case| case.name == name).ok_or("no such case")?;
    let mut operation = (case.prepare)(folder)?;
    for _ in 0..WARM_UP.min(case.operations) {
        operation()?;
    }
    let mut ended = Ok(());
    let before = allocations();
    counted_by_callgrind(&mut || {
        for _ in 0..case.operations {
            if let Err(error) = operation() {
                ended = Err(error);
            }
        }
    });
    let allocated = allocations() - before;
    ended.map(|()| format!("{} {allocated}", case.operations))
}

/// What callgrind counts, by the name of this function.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    black_box(work)();
    // Something after the call, so that it is no jump and this function is returned from.
    black_box(());
}
