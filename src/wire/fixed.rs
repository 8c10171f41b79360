//! The static tables of HPACK and QPACK, and how a field is found in one.

/// Slots of the look-up by name.
const SLOTS: usize = 256;

/// No row.
const NONE: u8 = u8::MAX;

/// What a table has of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Name and value, in this row.
    Field(u8),
    /// The name alone.
    Name(u8),
    /// Nothing.
    Nothing,
}

/// Names and values in the order of a specification.
pub(crate) struct Table<const ROWS: usize> {
    rows: [(&'static str, &'static str); ROWS],
    /// The first row of the name that hashes to this slot, or to one shortly before it.
    by_name: [u8; SLOTS],
    /// The next row of the same name.
    next: [u8; ROWS],
}

impl<const ROWS: usize> Table<ROWS> {
    /// Evaluated by the compiler. At most 254 rows.
    pub(crate) const fn new(rows: [(&'static str, &'static str); ROWS]) -> Self {
        Self { by_name: by_name(&rows), next: next(&rows), rows }
    }

    /// Name and value of a row.
    #[inline]
    pub(crate) fn row(&self, row: u64) -> Option<(&'static str, &'static str)> {
        self.rows.get(usize::try_from(row).ok()?).copied()
    }

    /// Looks a field up; `name` is in lower case.
    #[inline]
    pub(crate) fn find(&self, name: &[u8], value: &[u8]) -> Found {
        let mut at = slot(name);
        let first = loop {
            let row = self.by_name.get(at).copied().unwrap_or(NONE);
            match self.rows.get(row as usize) {
                None => return Found::Nothing,
                Some((known, _)) if known.as_bytes() == name => break row,
                Some(_) => at = (at + 1) & (SLOTS - 1),
            }
        };
        let mut row = first;
        while let Some((_, known)) = self.rows.get(row as usize) {
            if known.as_bytes() == value {
                return Found::Field(row);
            }
            row = self.next.get(row as usize).copied().unwrap_or(NONE);
        }
        Found::Name(first)
    }
}

#[inline]
const fn slot(name: &[u8]) -> usize {
    let [first, .., last] = name else { return 0 };
    let middle = if let Some((half, _)) = name.split_at_checked(name.len() / 2 + 1)
        && let [.., byte] = half
    {
        *byte
    } else {
        0
    };
    (name.len() * 7 + *first as usize * 13 + *last as usize * 47 + middle as usize * 5) & (SLOTS - 1)
}

const fn equal(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let (mut one, mut two) = (one, two);
    while let ([a, one_rest @ ..], [b, two_rest @ ..]) = (one, two) {
        if *a != *b {
            return false;
        }
        (one, two) = (one_rest, two_rest);
    }
    true
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn by_name(rows: &[(&str, &str)]) -> [u8; SLOTS] {
    let mut table = [NONE; SLOTS];
    let mut row = 0;
    while row < rows.len() {
        let name = rows[row].0.as_bytes();
        let mut at = slot(name);
        while table[at] != NONE && !equal(rows[table[at] as usize].0.as_bytes(), name) {
            at = (at + 1) & (SLOTS - 1);
        }
        if table[at] == NONE {
            table[at] = row as u8;
        }
        row += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn next<const ROWS: usize>(rows: &[(&str, &str); ROWS]) -> [u8; ROWS] {
    let mut table = [NONE; ROWS];
    let mut row = 0;
    while row < ROWS {
        let mut other = row + 1;
        while other < ROWS && table[row] == NONE {
            if equal(rows[row].0.as_bytes(), rows[other].0.as_bytes()) {
                table[row] = other as u8;
            }
            other += 1;
        }
        row += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Found, NONE, Table};

    fn each_row_is_found<const ROWS: usize>(table: &Table<ROWS>) {
        for (row, (name, value)) in table.rows.iter().enumerate() {
            let found = table.find(name.as_bytes(), value.as_bytes());
            assert_eq!(found, Found::Field(row as u8), "{name}: {value}");
            let first = table.rows.iter().position(|(other, _)| other == name).unwrap() as u8;
            let found = table.find(name.as_bytes(), b"\x01no value of the table");
            assert_eq!(found, Found::Name(first), "{name}");
        }
        for name in ["", "x", ":statu", "x-ringway", "content-typf"] {
            assert_eq!(table.find(name.as_bytes(), b""), Found::Nothing, "{name}");
        }
        assert!(table.by_name.iter().filter(|slot| **slot == NONE).count() > 128, "a look-up ends soon");
        assert_eq!(table.row(ROWS as u64), None);
    }

    #[test]
    fn each_row_is_found_by_name_and_value_and_by_name() {
        each_row_is_found(&crate::http3::qpack::TABLE);
        each_row_is_found(&crate::http2::hpack::TABLE);
    }
}
