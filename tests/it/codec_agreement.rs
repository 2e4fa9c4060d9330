//! Generated input: parser, cursor and grammar agree; cuts do not matter; what is encoded comes back.

use super::codec_support::{agree, by_parser, by_stream, encode, parser};
use headwater::codec::grammar::{Row, Rules, Value};
use headwater::codec::{Dialect, Limits, Precision};
use proptest::prelude::*;

fn rules() -> impl Strategy<Value = Rules> {
    let dialect = prop_oneof![Just(Dialect::Influx1), Just(Dialect::V2), Just(Dialect::Influx3)];
    let precision = prop_oneof![Just(Precision::Nanosecond), Just(Precision::Second)];
    let limits = prop_oneof![
        Just(Limits::default()),
        Just(Limits { line_bytes: 40, name_bytes: 4, string_bytes: 5, tags: 2, fields: 2 })
    ];
    (dialect, precision, limits).prop_map(|(dialect, precision, limits)| Rules {
        limits,
        precision,
        dialect,
    })
}

/// Pieces of lines, right and wrong, so that most lines come near the grammar.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-d]{1,3}",
        3 => "[,=  ]",
        2 => "[\\\\\"\n\r\t#]",
        2 => "-?[0-9]{1,21}[iutnm]?",
        2 => "-?[0-9]{0,20}\\.[0-9]{0,20}(e-?[0-9]{1,3})?",
        1 => "true|FALSE|t|F|nan|0x1i|1d",
        1 => "\"([a-c \n=,]|\\\\\"|\\\\\\\\|\\\\n|é){0,6}\"",
        1 => "\\PC",
        1 => "\\\\[,= \\\\\"]",
    ]
}

/// Lines with the right outline and parts that may be wrong.
fn outline() -> impl Strategy<Value = Vec<u8>> {
    let name = "([a-d]{1,3}|\\\\[,= \\\\]|[é\"=]|\\\\){1,3}";
    let value = prop_oneof![
        "-?[0-9]{1,20}[iutnmd]?",
        "-?[0-9]{0,3}\\.?[0-9]{0,20}([eE][+-]?[0-9]{1,3})?",
        "\"([a-c \n=,]|\\\\\"|\\\\\\\\|\\\\n|é){0,6}\"",
        "true|FALSE|t|F|T|f|True",
        "[a-z\"0-9]{1,4}",
    ];
    let tags = prop::collection::vec((name, name), 0..4);
    let fields = prop::collection::vec((name, value), 1..5);
    let time = prop_oneof![Just(String::new()), " {1,2}-?[0-9]{1,20}[ntm]?", " {0,2}\\PC?"];
    ("[ \t]{0,2}", name, tags, fields, time, "[ ]{0,2}\r?").prop_map(
        |(lead, name, tags, fields, time, end)| {
            let mut line = lead + &name;
            for (key, value) in tags {
                line += &format!(",{key}={value}");
            }
            for (i, (key, value)) in fields.iter().enumerate() {
                line += &format!("{}{key}={value}", if i == 0 { ' ' } else { ',' });
            }
            (line + &time + &end).into_bytes()
        },
    )
}

/// Binary values, right and wrong.
fn binary() -> impl Strategy<Value = Vec<u8>> {
    let array = |length: u8, bytes: Vec<u8>| {
        [&[14, 10, 1, length, 0, 0, 0], &bytes[..usize::from(length) * 8]].concat()
    };
    prop_oneof![
        2 => any::<[u8; 8]>().prop_map(|bytes| [&[16], &bytes[..]].concat()),
        2 => (0_u8..4, prop::collection::vec(any::<u8>(), 32)).prop_map(move |(n, b)| array(n, b)),
        1 => prop::collection::vec(prop_oneof![Just(14), Just(10), 0_u8..24, any::<u8>()], 0..14),
    ]
}

/// A line in which binary values stand for some of the others.
fn with_binary() -> impl Strategy<Value = Vec<u8>> {
    (outline(), prop::collection::vec((any::<prop::sample::Index>(), binary()), 1..3)).prop_map(
        |(mut line, values)| {
            for (place, value) in values {
                let ends: Vec<usize> = (0..line.len()).filter(|&at| line[at] == b'=').collect();
                let at = ends[place.index(ends.len())] + 1;
                let end = line[at..]
                    .iter()
                    .position(|b| b", \n".contains(b))
                    .map_or(line.len(), |n| at + n);
                line.splice(at..end, [&b"="[..], &value].concat());
            }
            line
        },
    )
}

fn arbitrary_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => outline(),
        2 => with_binary(),
        2 => prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn own_row() -> impl Strategy<Value = Row> {
    let name = || "[a-z0-9,= \"#\\\\é]{0,6}[a-z0-9,= \"é]";
    let measurement = "[a-z0-9,= \"\\\\é][a-z0-9,= \"\\\\é#]{0,5}[a-z]";
    let value = prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Float),
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        any::<i64>().prop_map(Value::Timestamp),
        any::<bool>().prop_map(Value::Boolean),
        any::<String>().prop_map(Value::String),
        prop::collection::vec(any::<u64>(), 0..4).prop_map(Value::Array),
    ];
    let tags = prop::collection::btree_map(name(), name(), 0..40);
    let fields = prop::collection::btree_map(name(), value, 1..40);
    (measurement, tags, fields, any::<Option<i64>>()).prop_map(
        |(measurement, tags, mut fields, timestamp)| {
            fields.retain(|key, _| !tags.contains_key(key));
            if fields.is_empty() {
                fields.insert("only here".to_owned(), Value::Boolean(true));
            }
            let (tags, fields) = (tags.into_iter().collect(), fields.into_iter().collect());
            Row { measurement, tags, fields, timestamp }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn parser_cursor_and_grammar_agree_on_any_line(rules in rules(), line in arbitrary_line()) {
        let _outcome = agree(rules, &line);
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut(
        rules in rules(),
        lines in prop::collection::vec(arbitrary_line(), 0..4),
        sizes in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let stream = lines.join(&b'\n');
        let whole = by_stream(rules, std::iter::once(&stream[..]));
        let mut sizes = sizes.iter().cycle();
        let mut rest = &stream[..];
        let pieces = std::iter::from_fn(|| {
            let size = rest.len().min(*sizes.next()?);
            let (piece, tail) = rest.split_at(size);
            rest = tail;
            (size > 0).then_some(piece)
        });
        prop_assert_eq!(by_stream(rules, pieces), whole);
    }

    #[test]
    fn what_is_encoded_comes_back(row in own_row()) {
        let line = encode(&row).expect("a row of names that can be said");
        let text = line.strip_suffix(b"\n").expect("a line ends in a newline");
        prop_assert_eq!(by_parser(&mut parser(Rules::default()), text), Ok(Some(row)));
        let split = by_stream(Rules::default(), std::iter::once(&line[..]));
        prop_assert_eq!(split.len(), 1);
    }
}
