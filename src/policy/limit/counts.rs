//! What a request remembers of its limits until its reply is written.

use super::gcra::Debt;
use crate::limits::CHAIN_LIMITS_MAX;

/// One limit that decided on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Index into the limits of the generation that decided.
    pub limit: u32,
    /// What is used of its bucket.
    pub debt: Debt,
}

/// The enforced limits that decided on the request, in the order of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    list: [Count; CHAIN_LIMITS_MAX],
    len: u8,
}

impl Counts {
    /// Adds one. More than [`CHAIN_LIMITS_MAX`] there are never: no such chain is prepared.
    pub fn push(&mut self, count: Count) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = count;
            self.len += 1;
        }
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Count] {
        self.list.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_their_order_and_their_bound() {
        let mut counts = Counts::default();
        for limit in 0..20 {
            counts.push(Count { limit, debt: Debt::default() });
        }
        let kept: Vec<u32> = counts.as_slice().iter().map(|count| count.limit).collect();
        assert_eq!(kept, (0..8).collect::<Vec<_>>());
    }
}
