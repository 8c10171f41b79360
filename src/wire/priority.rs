//! RFC 9218: how urgent a reply is, as its client says.

/// Urgency and incrementality of a stream (RFC 9218 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// 0, the most urgent, to 7.
    pub urgency: u8,
    /// Whether its reply is of use in part, so that it shares with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    /// What holds where nothing is said (RFC 9218 §4.1, §4.2).
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

impl Priority {
    /// Reads a `Priority` field's or PRIORITY_UPDATE frame's value. Parameters that are unknown or out of range are ignored
    /// (RFC 9218 §4); a value that is no dictionary says nothing (RFC 9651 §4.2).
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let mut priority = Self::default();
        if value.len() > VALUE_BYTES_MAX {
            return priority;
        }
        for member in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let end = member.iter().position(|byte| *byte == b';').unwrap_or(member.len());
            match member.get(..end).unwrap_or_default() {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }

    /// Whether this one goes before the other; streams of one rank take turns.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        (self.urgency, self.incremental) < (other.urgency, other.incremental)
    }
}

/// The longest value that is read.
const VALUE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn values_are_read_and_what_is_unknown_is_ignored() {
        let default = Priority::default();
        for (value, expected) in [
            (&b""[..], default),
            (b"u=0", Priority { urgency: 0, incremental: false }),
            (b"u=5, i", Priority { urgency: 5, incremental: true }),
            (b"i,u=7", Priority { urgency: 7, incremental: true }),
            (b"i=?0", default),
            (b"i=?1;x=y, a=(1 2)", Priority { urgency: 3, incremental: true }),
            (b"u=8", default),
            (b"u=-1, i=1", default),
            (b"u=1, u=2", Priority { urgency: 2, incremental: false }),
            (b"\xff\x00,,=", default),
        ] {
            assert_eq!(Priority::of(value), expected, "{value:?}");
        }
        assert_eq!(Priority::of(&[b'i'; 257]), default);
        assert!(Priority::of(b"u=1").is_before(default) && !default.is_before(default));
    }
}
