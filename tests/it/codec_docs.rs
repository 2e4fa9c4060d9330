//! `docs/line-protocol.md` says what the codec does: each row of its tables is run.

use super::codec_support::{by_parser, by_stream, encode, parser};
use headwater::codec::Reason;
use headwater::codec::grammar::{Rules, Value};

const DOC: &str = include_str!("../../docs/line-protocol.md");

/// The cells of the rows of the table under a heading, without the row that names the columns.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOC.split_once(heading).expect("the heading is there");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim_matches(' ').to_owned())
                .collect()
        })
        .collect()
}

/// The bytes that a cell's code spells with the document's escapes.
fn bytes(code: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = code.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => match rest.next() {
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('t') => bytes.push(b'\t'),
                Some('x') => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                }
                _ => bytes.push(b'\\'),
            },
            _ => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).expect("a cell with code")
}

#[test]
fn what_the_document_says_of_an_input_is_what_happens() {
    let rows = table("## Beside other readers");
    assert!(rows.len() > 60);
    for row in rows {
        assert_eq!(row.len(), 7, "{row:?}");
        let outcomes = by_stream(Rules::default(), std::iter::once(&bytes(code(&row[0]))[..]));
        let found: Vec<Vec<u8>> = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(row) => encode(&row.expect("a row")).expect("what was read can be said"),
                Err(reason) => format!("{reason}\n").into_bytes(),
            })
            .collect();
        let expect =
            row[1].split("` `").map(|code| bytes(&format!("{}\n", code.trim_matches('`'))));
        // The newline that ends the line is no escape, so that one in a string stands apart.
        let expect: Vec<Vec<u8>> = expect.collect();
        assert_eq!(found, expect, "{}", row[0]);
    }
}

#[test]
fn the_document_lists_every_reason_in_order() {
    let listed: Vec<_> = table("## Reasons").iter().map(|row| code(&row[0]).to_owned()).collect();
    let all: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(listed, all);
}

#[test]
fn values_have_the_types_that_the_document_gives_them() {
    let mut parser = parser(Rules::default());
    for row in table("## Values") {
        for value in row[0].split("` `").map(|code| code.trim_matches('`')) {
            let line = [b"m v=", &bytes(value)[..]].concat();
            let parsed = by_parser(&mut parser, &line).ok().flatten().expect("a row");
            let name = match parsed.fields[0].1 {
                Value::Float(_) => "float",
                Value::Integer(_) => "integer",
                Value::Unsigned(_) => "unsigned",
                Value::Boolean(_) => "boolean",
                Value::String(_) => "string",
                Value::Timestamp(_) => "timestamp",
                Value::Array(_) => "array",
            };
            assert_eq!(name, row[1], "{value}");
        }
    }
}
