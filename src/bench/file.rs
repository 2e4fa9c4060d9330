//! Lines from a file or a stream: read once through to be split fairly, then streamed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::ops::Range;
use std::path::Path;

use crate::codec::{Item, Limits, Line, LineSplitter, Parser, Precision, Split};

use super::workload::Lines;

const READ_BYTES: usize = 256 * 1024;

/// How to split a file over connections.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Plan {
    /// One range of whole lines for each connection; may be empty.
    pub(super) ranges: Vec<Range<u64>>,
    /// Lines but comments and blank ones.
    pub(super) rows: u64,
    /// The tables that the rows go to.
    pub(super) tables: BTreeSet<String>,
}

impl Plan {
    /// Reads all of `source`, which has `bytes`, to split it evenly between whole lines.
    ///
    /// # Errors
    /// When `source` cannot be read.
    pub(super) fn new(source: impl Read, bytes: u64, connections: u16) -> io::Result<Plan> {
        let parts = u64::from(connections);
        let mut plan = Plan { ranges: Vec::new(), rows: 0, tables: BTreeSet::new() };
        let mut reader = LineReader::new(source);
        let mut parser = Parser::new(Limits::default(), Precision::default());
        let (mut start, mut at) = (0, 0);
        while let Some(line) = reader.next_line()? {
            at += line.len() as u64;
            if is_row(line) {
                plan.rows += 1;
                // A line that this parser refuses has no table that could be counted.
                if let Ok(Item::Row(Line { measurement, .. })) = parser.parse(line.trim_ascii_end())
                    && !plan.tables.contains(measurement)
                {
                    plan.tables.insert(measurement.to_owned());
                }
            }
            let split = plan.ranges.len() as u64 + 1;
            if split < parts && line.ends_with(b"\n") && at >= bytes * split / parts {
                plan.ranges.push(start..at);
                start = at;
            }
        }
        plan.ranges.push(start..at);
        plan.ranges.resize(usize::from(connections), at..at);
        Ok(plan)
    }
}

/// One connection's range of a file, without comments and blank lines.
#[derive(Debug)]
pub(super) struct FileLines(LineReader<Take<File>>);

impl FileLines {
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: &Path, range: Range<u64>) -> io::Result<FileLines> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        Ok(FileLines(LineReader::new(file.take(range.end - range.start))))
    }
}

impl Lines for FileLines {
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        while let Some(line) = self.0.next_line()? {
            if is_row(line) {
                out.extend_from_slice(line);
                if !line.ends_with(b"\n") {
                    out.push(b'\n');
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Cuts a stream at the newlines that end a line, which those inside of a string do not.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    splitter: LineSplitter,
    buf: Vec<u8>,
    /// Bytes of `buf` that have been given out.
    taken: usize,
    ended: bool,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(source: R) -> LineReader<R> {
        let splitter = LineSplitter::new(Limits::default().line_bytes);
        LineReader { source, splitter, buf: Vec::new(), taken: 0, ended: false }
    }

    /// The next line with its newline; `None` at the end. Only the last line, and a piece of one that is too long for
    /// any server, lack the newline.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let unread = &self.buf[self.taken..];
            let split =
                if self.ended { self.splitter.finish(unread) } else { self.splitter.next(unread) };
            match split {
                Split::Line { consumed, .. } | Split::Skipped { consumed, .. } => {
                    let start = self.taken;
                    self.taken += consumed;
                    return Ok(Some(&self.buf[start..self.taken]));
                }
                Split::Incomplete if self.ended => return Ok(None),
                Split::Incomplete => self.read_more()?,
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.buf.drain(..self.taken);
        self.taken = 0;
        let read = (&mut self.source).take(READ_BYTES as u64).read_to_end(&mut self.buf)?;
        self.ended = read == 0;
        Ok(())
    }
}

/// Whether a line is more than a comment or white space.
pub(super) fn is_row(line: &[u8]) -> bool {
    !matches!(line.trim_ascii_start().first(), None | Some(b'#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, connections: u16) -> Plan {
        Plan::new(text.as_bytes(), text.len() as u64, connections).expect("memory can be read")
    }

    fn parts<'a>(text: &'a str, plan: &Plan) -> Vec<&'a str> {
        plan.ranges.iter().map(|r| &text[r.start as usize..r.end as usize]).collect()
    }

    #[test]
    fn a_file_is_split_into_whole_lines_of_about_the_same_size() {
        let text = "a v=1\nb v=2\nc v=3\nd v=4\n";
        assert_eq!(parts(text, &plan(text, 2)), ["a v=1\nb v=2\n", "c v=3\nd v=4\n"]);
        assert_eq!(parts(text, &plan(text, 3)), ["a v=1\nb v=2\n", "c v=3\n", "d v=4\n"]);
        assert_eq!(
            parts(text, &plan(text, 6)),
            ["a v=1\n", "b v=2\n", "c v=3\n", "d v=4\n", "", ""]
        );
    }

    #[test]
    fn a_newline_inside_of_a_string_splits_nothing() {
        let text = "a s=\"1\n2\n3\n4\",t=\"5\n6\"\nb v=2\n";
        assert_eq!(parts(text, &plan(text, 2)), ["a s=\"1\n2\n3\n4\",t=\"5\n6\"\n", "b v=2\n"]);
        assert_eq!(plan(text, 2).rows, 2);
    }

    #[test]
    fn comments_and_blank_lines_are_no_rows() {
        let found = plan("# c\n\n  \na v=1\n  # d\na v=2", 1);
        assert_eq!(found.rows, 2);
        assert_eq!(found.tables.into_iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn tables_are_named_without_their_escapes_and_refused_lines_name_none() {
        let text = "cpu,host=a v=1\ncpu v=1\na\\ b\\,c v=1\nnonsense\n";
        assert_eq!(plan(text, 1).tables.into_iter().collect::<Vec<_>>(), ["a b,c", "cpu"]);
        assert_eq!(plan(text, 1).rows, 4);
    }

    #[test]
    fn a_connection_streams_its_range_only() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lines.lp");
        std::fs::write(&path, "a v=1\n# no row\nb v=2\nc v=3").expect("the folder is writable");
        let mut lines = FileLines::open(&path, 6..26).expect("the file is there");
        let mut out = Vec::new();
        while lines.next_line(&mut out).expect("the file can be read") {}
        assert_eq!(String::from_utf8_lossy(&out), "b v=2\nc v=3\n");
    }
}
