//! Data files: tables of values that templates take from, CSV (RFC 4180, first row names the columns) or plain lines.

use std::path::{Path, PathBuf};

/// Why a data file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A row has more or fewer cells than the first.
    #[error("{}: row {row} has {cells} cells, the first has {columns}", path.display())]
    Ragged {
        /// Which file.
        path: PathBuf,
        /// Which row, from 1.
        row: usize,
        /// How many cells it has.
        cells: usize,
        /// How many it should have.
        columns: usize,
    },
    /// A quoted cell does not end.
    #[error("{}: a quoted cell that begins in row {row} never ends", path.display())]
    Quote {
        /// Which file.
        path: PathBuf,
        /// Where it begins.
        row: usize,
    },
    /// No row of values.
    #[error("{} has no rows", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// `--data` without a name.
    #[error("`{0}` is not NAME=FILE")]
    Unnamed(String),
}

/// The values of one file.
#[derive(Debug)]
pub(crate) struct Table {
    name: String,
    /// Empty for a file of lines, which has one column without a name.
    columns: Vec<String>,
    rows: Vec<Vec<Box<[u8]>>>,
}

impl Table {
    /// Reads `NAME=FILE`. A file whose name ends in `.csv` is a CSV file, another one is lines.
    pub(crate) fn from_option(text: &str) -> Result<Self, DataError> {
        let (name, path) = text.split_once('=').ok_or_else(|| DataError::Unnamed(text.to_owned()))?;
        Self::read(name, Path::new(path))
    }

    /// Reads a file under the name that templates know it by.
    pub(crate) fn read(name: &str, path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let table = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            Self::from_csv(name, &text, path)?
        } else {
            let lines = text.split(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let rows = lines.filter(|line| !line.is_empty()).map(|line| vec![line.into()]).collect();
            Self { name: name.to_owned(), columns: Vec::new(), rows }
        };
        if table.rows.is_empty() {
            return Err(DataError::Empty { path: path.to_owned() });
        }
        Ok(table)
    }

    fn from_csv(name: &str, text: &[u8], path: &Path) -> Result<Self, DataError> {
        let mut rows =
            parse_csv(text).map_err(|row| DataError::Quote { path: path.to_owned(), row })?.into_iter();
        let columns: Vec<String> = rows
            .next()
            .unwrap_or_default()
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
            .collect();
        let rows: Vec<Vec<Box<[u8]>>> = rows.collect();
        if let Some((place, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != columns.len()) {
            let (cells, columns) = (row.len(), columns.len());
            return Err(DataError::Ragged { path: path.to_owned(), row: place + 2, cells, columns });
        }
        Ok(Self { name: name.to_owned(), columns, rows })
    }

    /// What templates call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its columns, for messages.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The place of a column; of a file of lines the one without a name.
    pub(crate) fn column(&self, name: Option<&str>) -> Option<usize> {
        match name {
            None => (self.columns.len() < 2).then_some(0),
            Some(name) => self.columns.iter().position(|column| column == name),
        }
    }

    /// The value in a column of the row that the number `turn` falls on: rows are taken in order, round and round.
    #[inline]
    pub(crate) fn value(&self, column: usize, turn: u64) -> &[u8] {
        let row = self.rows.get((turn % self.rows.len().max(1) as u64) as usize);
        row.and_then(|row| row.get(column)).map_or(&[], |cell| cell)
    }

    /// Every value of a column with its row, from 1.
    pub(crate) fn values(&self, column: usize) -> impl Iterator<Item = (usize, &[u8])> {
        self.rows.iter().enumerate().filter_map(move |(row, cells)| Some((row + 1, &**cells.get(column)?)))
    }
}

/// Rows of cells; the error is the row in which an unended quoted cell begins. Empty lines are no rows.
fn parse_csv(text: &[u8]) -> Result<Vec<Vec<Box<[u8]>>>, usize> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quoted, mut was_quoted) = (false, false);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => {
                bytes.next();
                cell.push(b'"');
            }
            b'"' if quoted => quoted = false,
            b'"' if cell.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            b',' if !quoted => {
                row.push(std::mem::take(&mut cell).into_boxed_slice());
                was_quoted = false;
            }
            b'\r' if !quoted && bytes.peek().is_none_or(|next| *next == b'\n') => {}
            b'\n' if !quoted => {
                if !(row.is_empty() && cell.is_empty() && !was_quoted) {
                    row.push(std::mem::take(&mut cell).into_boxed_slice());
                    rows.push(std::mem::take(&mut row));
                }
                was_quoted = false;
            }
            _ => cell.push(byte),
        }
    }
    if quoted {
        return Err(rows.len() + 1);
    }
    if !(row.is_empty() && cell.is_empty() && !was_quoted) {
        row.push(cell.into_boxed_slice());
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::{Table, parse_csv};

    /// A table for the tests of templates.
    pub(crate) fn table(name: &str, text: &str) -> Table {
        Table::from_csv(name, text.as_bytes(), Path::new("test.csv")).unwrap()
    }

    fn cells(text: &str) -> Vec<Vec<String>> {
        let rows = parse_csv(text.as_bytes()).unwrap();
        let text = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
        rows.iter().map(|row| row.iter().map(|cell| text(cell)).collect()).collect()
    }

    #[test]
    fn csv_has_quotes_that_hold_anything() {
        assert_eq!(cells("a,b\r\n1,\"x, \"\"y\"\"\nz\"\n"), [["a", "b"], ["1", "x, \"y\"\nz"]]);
        assert_eq!(cells("a\n\n\"\"\nlast"), [["a"], [""], ["last"]]);
        assert_eq!(cells(""), Vec::<Vec<String>>::new());
        assert_eq!(parse_csv(b"a\n\"never"), Err(2));
    }

    #[test]
    fn rows_go_round_and_ragged_ones_are_named() {
        let table = table("users", "id,token\n1,a\n2,b\n");
        let column = table.column(Some("token")).unwrap();
        let taken: Vec<&[u8]> = (0..5).map(|turn| table.value(column, turn)).collect();
        assert_eq!(taken, [b"a", b"b", b"a", b"b", b"a"]);
        assert_eq!((table.column(Some("none")), table.column(None)), (None, None));
        let ragged = Table::from_csv("x", b"a,b\n1\n", Path::new("x.csv")).unwrap_err();
        assert_eq!(ragged.to_string(), "x.csv: row 2 has 1 cells, the first has 2");
    }

    #[test]
    fn other_files_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paths.txt");
        std::fs::write(&path, "/a\r\n/b,c\n\n").unwrap();
        let table = Table::from_option(&format!("p={}", path.display())).unwrap();
        assert_eq!((table.name(), table.column(None)), ("p", Some(0)));
        assert_eq!(
            [table.value(0, 0), table.value(0, 1), table.value(0, 2)],
            [b"/a".as_slice(), b"/b,c", b"/a"]
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(Table::from_option(&format!("p={}", path.display())).is_err());
        assert!(Table::from_option("nothing").is_err());
    }
}
