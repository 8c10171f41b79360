//! Texts with places to fill in: `{{seq}}`, `{{rand}}`, `{{rand:1:6}}`, `{{uuid}}`, `{{file:column}}`.

use std::sync::Arc;

use crate::data::Table;
use crate::random::Random;

/// What is filled in from.
pub(crate) type Tables = Arc<Vec<Table>>;

/// Why a template cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` without `}}}}` after it in `{0}`")]
    Open(String),
    /// What stands between is not known.
    #[error(
        "`{{{{{0}}}}}` is not known: there are seq, rand, rand:LOW:HIGH, uuid, and NAME:COLUMN or NAME of a --data file"
    )]
    Unknown(String),
    /// The file is known, the column is not.
    #[error("the data file `{table}` has no column `{column}`; it has {columns}")]
    Column {
        /// Which file.
        table: String,
        /// What was asked for.
        column: String,
        /// What there is.
        columns: String,
    },
    /// A value that may not stand there.
    #[error("row {row} of the data file `{table}` has a value that may not stand in a {place}")]
    Value {
        /// Which file.
        table: String,
        /// Which row of values, from 1.
        row: usize,
        /// Where it would stand.
        place: &'static str,
    },
}

/// Where a text stands: what its values may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a request target: no white space, no controls, nothing beyond ASCII.
    Target,
    /// In a field's value: no CR, LF or NUL.
    Field,
    /// In a body: anything.
    Body,
}

impl Place {
    fn admits(self, value: &[u8]) -> bool {
        match self {
            Self::Target => value.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#'),
            Self::Field => !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            Self::Body => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Target => "request target: percent-encode it",
            Self::Field => "field",
            Self::Body => "body",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Seq,
    Random { low: u64, count: u64 },
    Uuid,
    Cell { table: usize, column: usize },
}

/// A text with its places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads a text. Every value of a column that it names is checked for where it will stand.
    pub(crate) fn parse(text: &[u8], tables: &[Table], place: Place) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = memchr::memmem::find(rest, b"{{") {
            let (before, after) = rest.split_at(start);
            let inside = after.get(2..).unwrap_or_default();
            let end = memchr::memmem::find(inside, b"}}")
                .ok_or_else(|| TemplateError::Open(String::from_utf8_lossy(text).into_owned()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let (name, after) = inside.split_at(end);
            parts.push(part(String::from_utf8_lossy(name).trim(), tables, place)?);
            rest = after.get(2..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts })
    }

    /// Whether it is the same each time.
    pub(crate) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Appends the text with its places filled in.
    pub(crate) fn write(&self, out: &mut Vec<u8>, values: &mut Values) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Seq => write_number(out, values.seq),
                Part::Random { low, count } => {
                    let number =
                        if *count == 0 { values.random.bits() } else { low + values.random.below(*count) };
                    write_number(out, number);
                }
                Part::Uuid => write_uuid(out, &mut values.random),
                Part::Cell { table, column } => {
                    if let Some(table) = values.tables.get(*table) {
                        out.extend_from_slice(table.value(*column, values.seq));
                    }
                }
            }
        }
    }
}

fn part(name: &str, tables: &[Table], place: Place) -> Result<Part, TemplateError> {
    match name {
        "seq" => return Ok(Part::Seq),
        "rand" => return Ok(Part::Random { low: 0, count: 0 }),
        "uuid" => return Ok(Part::Uuid),
        _ => {}
    }
    let unknown = || TemplateError::Unknown(name.to_owned());
    if let Some(range) = name.strip_prefix("rand:") {
        let (low, high) = range.split_once(':').ok_or_else(unknown)?;
        let (low, high) = (low.parse().map_err(|_| unknown())?, high.parse().map_err(|_| unknown())?);
        let count = u64::checked_sub(high, low).and_then(|span| span.checked_add(1)).ok_or_else(unknown)?;
        return Ok(Part::Random { low, count });
    }
    let (file, column_name) =
        name.split_once(':').map_or((name, None), |(file, column)| (file, Some(column)));
    let index = tables.iter().position(|table| table.name() == file).ok_or_else(unknown)?;
    let table = tables.get(index).ok_or_else(unknown)?;
    let column = table.column(column_name).ok_or_else(|| TemplateError::Column {
        table: file.to_owned(),
        column: column_name.unwrap_or_default().to_owned(),
        columns: table.columns().join(", "),
    })?;
    if let Some((row, _)) = table.values(column).find(|(_, value)| !place.admits(value)) {
        return Err(TemplateError::Value { table: file.to_owned(), row, place: place.name() });
    }
    Ok(Part::Cell { table: index, column })
}

/// What the places of one thread's requests are filled from.
#[derive(Debug)]
pub(crate) struct Values {
    /// The number of this request in the whole run: unique, also over threads.
    seq: u64,
    step: u64,
    random: Random,
    tables: Tables,
}

impl Values {
    /// Those of thread `thread` of `threads`.
    pub(crate) fn new(tables: Tables, seed: u64, thread: usize, threads: usize) -> Self {
        let random = Random::new(seed, 0x7465_6d70_0000 | thread as u64);
        Self { seq: thread as u64, step: threads as u64, random, tables }
    }

    /// The next request's.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.seq += self.step;
    }

    /// Random numbers for choices between targets.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

/// Appends a number in decimal.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut left = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// A version 4 UUID (RFC 9562 §5.4).
fn write_uuid(out: &mut Vec<u8>, random: &mut Random) {
    let high = (random.bits() & !0xf000) | 0x4000;
    let low = (random.bits() & !(0b11 << 62)) | (0b10 << 62);
    let bits = (u128::from(high) << 64) | u128::from(low);
    for place in (0..32).rev() {
        if matches!(place, 23 | 19 | 15 | 11) {
            out.push(b'-');
        }
        out.push(match ((bits >> (place * 4)) & 15) as u8 {
            digit @ 0..=9 => b'0' + digit,
            digit => b'a' + digit - 10,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Place, Template, TemplateError, Values};
    use crate::data::tests::table;

    fn render(text: &str, times: usize) -> Vec<String> {
        let tables = Arc::new(vec![table("users", "id,name\n7,ann\n8,b c\n")]);
        let template = Template::parse(text.as_bytes(), &tables, Place::Body).unwrap();
        let mut values = Values::new(tables, 1, 1, 2);
        let one = || {
            let mut out = Vec::new();
            template.write(&mut out, &mut values);
            values.advance();
            String::from_utf8(out).unwrap()
        };
        std::iter::repeat_with(one).take(times).collect()
    }

    #[test]
    fn sequence_numbers_are_unique_over_threads_and_rows_follow_them() {
        assert_eq!(render("/o/{{seq}}?u={{ users:id }}", 3), ["/o/1?u=8", "/o/3?u=8", "/o/5?u=8"]);
    }

    #[test]
    fn random_numbers_stay_in_their_range() {
        for text in render("{{rand:3:5}}", 100) {
            assert!((3..=5).contains(&text.parse::<u64>().unwrap()));
        }
        let full = render("{{rand}}", 2);
        assert_ne!(full[0], full[1]);
    }

    #[test]
    fn uuids_have_their_form_and_differ() {
        let uuids = render("{{uuid}}", 50);
        for uuid in &uuids {
            let bytes = uuid.as_bytes();
            assert_eq!(
                (bytes.len(), bytes[8], bytes[13], bytes[18], bytes[23]),
                (36, b'-', b'-', b'-', b'-')
            );
            assert_eq!(bytes[14], b'4', "the version");
            assert!(b"89ab".contains(&bytes[19]), "the variant");
        }
        assert_ne!(uuids[0], uuids[1]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let tables = [table("users", "id,name\n7,ann\n8,b c\n")];
        let parse = |text: &str, place| Template::parse(text.as_bytes(), &tables, place).map(|_| ());
        assert!(matches!(parse("{{seq", Place::Body), Err(TemplateError::Open(_))));
        for unknown in ["{{}}", "{{sequence}}", "{{rand:5:3}}", "{{rand:a:b}}", "{{other:id}}"] {
            assert!(matches!(parse(unknown, Place::Body), Err(TemplateError::Unknown(_))), "{unknown}");
        }
        assert!(matches!(parse("{{users:age}}", Place::Body), Err(TemplateError::Column { .. })));
        assert!(matches!(parse("{{users:name}}", Place::Target), Err(TemplateError::Value { row: 2, .. })));
        assert_eq!(
            (parse("{{users:name}}", Place::Field), parse("{{users:id}}", Place::Target)),
            (Ok(()), Ok(()))
        );
    }
}
