//! The line-protocol corpora: every case equals the implementation it names, or is a stated difference.

use super::codec_support::{Outcome, agree, by_cursor, by_stream, encode, parser};
use headwater::codec::grammar::{Row, Rules, Value};
use headwater::codec::{Dialect, Precision, Reason};
use serde_json::Value as Json;

const DECODE: &str = include_str!("../data/decode.ndjson");
const DIALECTS: &str = include_str!("../data/dialects.ndjson");
const ENCODE: &str = include_str!("../data/encode.ndjson");
const SAMPLES: &str = include_str!("../data/samples.lp");

fn cases(file: &str) -> impl Iterator<Item = Json> {
    file.lines().map(|line| serde_json::from_str(line).expect("a case is JSON"))
}

fn text(value: &Json) -> String {
    value.as_str().expect("a string").to_owned()
}

fn base64(value: &Json) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text(value).bytes().filter(|&byte| byte != b'=').map(digit).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, &d| bits << 6 | u32::from(d));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

fn precision(case: &Json) -> Precision {
    match case["precision"].as_str() {
        Some("1µs") => Precision::Microsecond,
        Some("1ms") => Precision::Millisecond,
        Some("1s") => Precision::Second,
        _ => Precision::Nanosecond,
    }
}

fn value(json: &Json) -> Value {
    let (kind, value) = json.as_object().and_then(|o| o.iter().next()).expect("one kind of value");
    match kind.as_str() {
        "int" => Value::Integer(value.as_i64().expect("an integer")),
        "uint" => Value::Unsigned(value.as_u64().expect("an unsigned integer")),
        "bool" => Value::Boolean(value.as_bool().expect("a boolean")),
        "string" => Value::String(text(value)),
        // Infinity, which one implementation reads, is spelled as a string.
        _ => Value::Float(value.as_f64().unwrap_or(f64::INFINITY)),
    }
}

/// The points of a case as rows, in either file's shape.
fn rows(points: &Json) -> Vec<Row> {
    let pair = |json: &Json| match json.as_array() {
        Some(pair) => (text(&pair[0]), pair[1].clone()),
        None => (text(&json["key"]), json["value"].clone()),
    };
    let list = |json: &Json| json.as_array().expect("a list").iter().map(pair).collect::<Vec<_>>();
    let row = |point: &Json| Row {
        measurement: text(&point["name"]),
        tags: list(&point["tags"]).into_iter().map(|(k, v)| (k, text(&v))).collect(),
        fields: list(&point["fields"]).into_iter().map(|(k, v)| (k, value(&v))).collect(),
        timestamp: point["time"].as_i64(),
    };
    points.as_array().expect("points").iter().map(row).collect()
}

/// The corpus sorts tags, and fills in the time of a line that has none, in units of the precision.
fn normalise(rows: &mut [Row], default: i64, precision: Precision) {
    for row in rows {
        row.tags.sort();
        row.timestamp.get_or_insert(default - default.rem_euclid(precision.nanos()));
    }
}

/// Whether two rows are equal, but for the last bit of a float, which the JSON reader may lose.
fn same(a: &Row, b: &Row) -> bool {
    let close = |a: &Value, b: &Value| match (a, b) {
        (Value::Float(a), Value::Float(b)) => a == b || a.to_bits().abs_diff(b.to_bits()) <= 1,
        _ => a == b,
    };
    (&a.measurement, &a.tags, a.timestamp) == (&b.measurement, &b.tags, b.timestamp)
        && a.fields.len() == b.fields.len()
        && a.fields.iter().zip(&b.fields).all(|(a, b)| a.0 == b.0 && close(&a.1, &b.1))
}

/// The rows of a whole text, or `None` if a line of it is refused.
fn whole(outcomes: &[Outcome]) -> Option<Vec<Row>> {
    let rows: Result<Vec<_>, _> = outcomes.iter().cloned().collect();
    rows.ok().map(|rows| rows.into_iter().flatten().collect())
}

/// Whether a text comes out as the points of a case, or is refused as the case says.
fn equals(bytes: &[u8], case: &Json, expect: &Json, dialect: Dialect) -> bool {
    let precision = precision(case);
    let rules = Rules { precision, dialect, ..Rules::default() };
    let default = case["default_ns"].as_i64().expect("default_ns");
    let found = whole(&by_stream(rules, std::iter::once(bytes)));
    match (found, expect["ok"] == Json::Bool(true)) {
        (None, false) => true,
        (Some(mut found), true) => {
            let mut expect = rows(&expect["points"]);
            normalise(&mut found, default, precision);
            normalise(&mut expect, default, precision);
            found.len() == expect.len() && found.iter().zip(&expect).all(|(a, b)| same(a, b))
        }
        _ => false,
    }
}

/// The two cases of the decode corpus that are read otherwise, on purpose.
const DIFFERS_FROM_GO_V2: [(&str, &str); 2] = [
    ("2be024ca70163a7068b08f5e8ef57ffa", "a tab before the line is white space"),
    ("c0ce359f018a4255f4152ca2bc156ca7", "lines of tabs are blank"),
];

#[test]
fn every_case_of_the_decode_corpus_is_read_as_go_v2_reads_it_or_differs_as_stated() {
    let mut differ = Vec::new();
    for case in cases(DECODE) {
        let bytes = base64(&case["text_b64"]);
        if !equals(&bytes, &case, &case, Dialect::V2) {
            differ.push(text(&case["id"]));
        }
    }
    differ.sort();
    assert_eq!(differ, DIFFERS_FROM_GO_V2.map(|(id, _why)| id));
}

/// Why a dialect's reading differs, on purpose, from that of the implementation it is named for.
fn stated_difference(
    bytes: &[u8],
    refused: Option<Reason>,
    dialect: Dialect,
) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    let why = match (dialect, refused) {
        (Dialect::V2, None) if text.contains('\t') => "a tab before the line is white space",
        (Dialect::V2, None) if text.starts_with('#') => "a comment may hold anything",
        (Dialect::Influx3, None) if text.contains('\r') => "CRLF ends a line",
        (Dialect::Influx3, None) if text.ends_with(' ') => "trailing spaces are white space",
        (Dialect::Influx3, None) if text.contains('.') => "a float may begin or end with its point",
        (Dialect::Influx3, Some(Reason::DuplicateTag)) => "a tag comes once",
        (Dialect::Influx3, Some(Reason::NumberRange)) => "a float is finite",
        (Dialect::Influx3, Some(Reason::EmptyName)) => "a field follows a comma",
        (Dialect::Influx3, Some(Reason::FieldSyntax)) => "a comma in a key is escaped",
        (Dialect::Influx1, None) if text.contains('\r') => "CRLF ends a line",
        (Dialect::V2 | Dialect::Influx1, None) if text.contains("t=a=b") => {
            "`=` in a tag value is part of it"
        }
        (Dialect::Influx1, None) if text.contains("922337203685477580") => "all 64-bit times are",
        (Dialect::Influx1, None) if text.contains("a\\\"b") => "a quote in a key needs no escape",
        (Dialect::Influx1, Some(Reason::InvalidUtf8)) => "a line is UTF-8",
        (Dialect::Influx1, Some(Reason::FieldSyntax | Reason::UnterminatedString)) => {
            "a string ends at its closing quote"
        }
        (Dialect::Influx1 | Dialect::Influx3, Some(Reason::ControlByte)) => {
            "names have no controls"
        }
        _ => return None,
    };
    Some(why)
}

#[test]
fn every_case_of_the_dialects_is_read_as_its_namesake_reads_it_or_differs_as_stated() {
    let dialects =
        [(Dialect::V2, "go_v2"), (Dialect::Influx3, "rust_v3"), (Dialect::Influx1, "go_v1")];
    let mut same_in_all = 0;
    for case in cases(DIALECTS) {
        let bytes = base64(&case["text_b64"]);
        let differ = dialects.iter().filter(|(dialect, who)| {
            let differs = !equals(&bytes, &case, &case[*who], *dialect);
            let rules = Rules { dialect: *dialect, ..Rules::default() };
            let outcomes = by_stream(rules, std::iter::once(&bytes[..]));
            let refused = outcomes.into_iter().find_map(Result::err);
            let stated = stated_difference(&bytes, refused, *dialect);
            assert!(!differs || stated.is_some(), "{who}: {refused:?} {case}");
            differs
        });
        same_in_all += usize::from(differ.count() == 0);
    }
    assert_eq!(same_in_all, 74);
}

#[test]
fn all_ways_agree_on_the_corpora() {
    for case in cases(DECODE).chain(cases(DIALECTS)) {
        let bytes = base64(&case["text_b64"]);
        for dialect in [Dialect::Influx1, Dialect::V2, Dialect::Influx3] {
            let rules = Rules { dialect, precision: precision(&case), ..Rules::default() };
            let _whole = agree(rules, &bytes);
            for line in bytes.split(|&b| b == b'\n') {
                let _line = agree(rules, line);
            }
        }
    }
}

#[test]
fn a_valid_text_reads_the_same_however_it_is_cut() {
    for case in cases(DECODE).filter(|case| case["ok"] == Json::Bool(true)) {
        let bytes = base64(&case["text_b64"]);
        let rules = Rules { dialect: Dialect::V2, ..Rules::default() };
        let expect = by_stream(rules, std::iter::once(&bytes[..]));
        assert_eq!(by_stream(rules, bytes.chunks(1)), expect, "byte by byte: {bytes:?}");
        for cut in 1..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(by_stream(rules, [head, tail].into_iter()), expect, "{bytes:?} at {cut}");
        }
    }
}

#[test]
fn every_line_that_telegraf_sends_goes_the_fast_way() {
    let mut parser = parser(Rules::default());
    let mut refused = 0;
    for line in SAMPLES.lines() {
        match agree(Rules::default(), line.as_bytes()) {
            Ok(row) => assert_eq!(by_cursor(&mut parser, line.as_bytes()), row, "{line}"),
            Err(_) => refused += 1,
        }
    }
    // One sample of Telegraf's documentation has a space where a comma should be.
    assert_eq!(refused, 1);
}

#[test]
fn every_case_of_the_encode_corpus_is_written_alike() {
    for case in cases(ENCODE) {
        let mut expect = String::from_utf8(base64(&case["line_b64"])).expect("lines are text");
        let row = rows(&Json::Array(vec![case["point"].clone()])).remove(0);
        // Go v2 writes a newline in a string as `\n`, which only Go v2 reads back as one.
        if row.fields.iter().any(|f| matches!(&f.1, Value::String(s) if s.contains('\n'))) {
            expect = expect.replace("\\n", "\n");
        }
        let line = encode(&row).expect("the corpus says what can be said");
        assert_eq!(String::from_utf8_lossy(&line), expect + "\n");
    }
}
