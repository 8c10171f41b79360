//! `RateLimit-Policy`, `RateLimit` and `Retry-After` (draft-ietf-httpapi-ratelimit-headers), written without fmt.
//!
//! `r` is what may come at once now. `t` is when the whole burst is there again; with `r=0` it is when one more
//! request is, the same moment as `Retry-After`. A core-scope limit announces the whole rate and the remainder of the
//! worker that answered, which is never more than there is.

use super::gcra::{Debt, Gcra, Rate};
use super::{Count, Limit};

const SECOND_NS: u64 = 1_000_000_000;

/// `"name";q=1000;w=60`; windows that are no whole seconds are stretched to the next, and the quota with them.
pub(super) fn policy_item(item: &[u8], rate: Rate) -> Vec<u8> {
    let window_s = rate.per_ms.div_ceil(1_000).max(1);
    let quota = u128::from(rate.count) * u128::from(window_s) * 1_000 / u128::from(rate.per_ms.max(1));
    let mut out = item.to_vec();
    write_parameter(&mut out, b";q=", u64::try_from(quota).unwrap_or(u64::MAX).max(1));
    write_parameter(&mut out, b";w=", window_s);
    out
}

/// Appends the value of `RateLimit`: one item for each limit that decided, the last of them the one that refused.
pub fn rate_limit(limits: &[Limit], counts: &[Count], out: &mut Vec<u8>) {
    let decided = counts.iter().filter_map(|count| Some((limits.get(count.limit as usize)?, count.debt)));
    for (index, (limit, debt)) in decided.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&limit.item);
        let remaining = limit.gcra.remaining(debt);
        write_parameter(out, b";r=", remaining);
        let after_ns =
            if remaining == 0 { limit.gcra.next_after_ns(debt) } else { limit.gcra.full_after_ns(debt) };
        write_parameter(out, b";t=", after_ns.div_ceil(SECOND_NS));
    }
}

/// `Retry-After` in seconds: when one more request will be admitted, at least 1.
#[must_use]
pub fn retry_after_s(gcra: &Gcra, debt: Debt) -> u64 {
    gcra.next_after_ns(debt).div_ceil(SECOND_NS).max(1)
}

fn write_parameter(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use ringway_snapshot::model::{self, LimitKey, LimitScope, OnMissing};

    use super::super::gcra::Decision;
    use super::*;

    fn limit(name: &str, count: u64, per_ms: u64, burst: u64) -> Limit {
        let by = LimitKey::All;
        let (on_missing, scope) = (OnMissing::Skip, LimitScope::Node);
        let limit =
            model::Limit { name: name.to_owned(), id: 1, count, per_ms, burst, by, on_missing, scope };
        Limit::prepare(&limit, 2).unwrap()
    }

    fn policy(name: &str, count: u64, per_ms: u64) -> String {
        String::from_utf8(limit(name, count, per_ms, 1).policy).unwrap()
    }

    #[test]
    fn a_policy_tells_quota_and_window_in_whole_seconds() {
        assert_eq!(policy("gold", 1_000, 60_000), r#""gold";q=1000;w=60"#);
        assert_eq!(policy("quick \"one\"", 5, 100), r#""quick \"one\"";q=50;w=1"#);
        assert_eq!(policy("odd", 3, 1_500), r#""odd";q=4;w=2"#);
        assert_eq!(policy("slow", 1, 86_400_000), r#""slow";q=1;w=86400"#);
    }

    #[test]
    fn the_remainder_falls_to_nothing_and_then_tells_when_to_come_back() {
        let limits = [limit("a", 10, 60_000, 3), limit("b", 100, 1_000, 200)];
        let mut state = [0, 0];
        let mut lines = Vec::new();
        for _ in 0..4 {
            let mut counts = Vec::new();
            for (index, state) in (0..).zip(&mut state) {
                let debt = match limits[index as usize].gcra.decide(*state, 0) {
                    Decision::Admit { state: next, debt } => {
                        *state = next;
                        debt
                    }
                    Decision::Refuse { debt } => debt,
                };
                counts.push(Count { limit: index, debt });
            }
            let mut out = Vec::new();
            rate_limit(&limits, &counts, &mut out);
            lines.push(String::from_utf8(out).unwrap());
            assert_eq!(retry_after_s(&limits[0].gcra, counts[0].debt), if lines.len() < 3 { 1 } else { 6 });
        }
        assert_eq!(
            lines,
            [
                r#""a";r=2;t=6, "b";r=199;t=1"#,
                r#""a";r=1;t=12, "b";r=198;t=1"#,
                r#""a";r=0;t=6, "b";r=197;t=1"#,
                r#""a";r=0;t=6, "b";r=196;t=1"#,
            ]
        );
    }
}
