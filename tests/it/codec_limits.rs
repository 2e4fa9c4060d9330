//! Refusals name the reason and the byte; limits hold.

use headwater::codec::encode::field_key;
use headwater::codec::{Dialect, Item, Limits, Next, Parser, Precision, Reason};

fn parser() -> Parser {
    Parser::new(Limits::default(), Precision::Nanosecond)
}

/// Refused for this reason at the byte that `^` stands before in `marked`.
fn refused(mut parser: Parser, marked: &str, reason: Reason) {
    let offset = marked.find('^').expect("a mark");
    let line = marked.replacen('^', "", 1);
    let error = parser.parse(line.as_bytes()).expect_err("the line is refused");
    assert_eq!((error.reason, error.offset), (reason, offset), "{line}: {error}");
}

#[test]
fn a_refusal_points_at_the_byte_that_is_wrong() {
    for (marked, reason) in [
        ("m,^=v f=1", Reason::EmptyName),
        ("m,t=^ f=1", Reason::EmptyValue),
        ("m,t^,u=1 f=1", Reason::TagSyntax),
        ("m,t=1^", Reason::NoFields),
        ("m,t=1   ^", Reason::NoFields),
        ("m f^", Reason::FieldSyntax),
        ("m f=1,g^,h=1", Reason::FieldSyntax),
        ("m f=^,g=1", Reason::EmptyValue),
        ("m f=\"a\"^b", Reason::FieldSyntax),
        ("m f=1,g=^\"a b=1,c=2", Reason::UnterminatedString),
        ("m f=^12x", Reason::BadValue),
        ("m f=1,g=^-inf", Reason::BadValue),
        ("m f=^99999999999999999999i", Reason::NumberRange),
        ("m f=^9999999999999999999t", Reason::TimestampRange),
        ("m f=^0xffi", Reason::UnsupportedType),
        ("m f=^=x", Reason::UnsupportedType),
        ("m f=1 ^12a", Reason::BadTimestamp),
        ("m f=1 ^99999999999999999999", Reason::TimestampRange),
        ("m f=1 12 ^13", Reason::TrailingText),
        ("m,t=1,u=2,^t=3 f=1", Reason::DuplicateTag),
        ("m f=1,g=2,^f=3", Reason::DuplicateField),
        ("m f=1,g\\ 1=2,^g\\ 1=3", Reason::DuplicateField),
        ("m,t=1 ^t=3", Reason::DuplicateField),
        ("m,a^\u{1}=1 f=1", Reason::ControlByte),
        ("m,a=1 f\\^\u{7f}=1", Reason::ControlByte),
    ] {
        refused(parser(), marked, reason);
    }
    refused(parser().with_dialect(Dialect::Influx3), "m,t=a\\\\^ f=1", Reason::NameSyntax);
}

#[test]
fn bytes_that_are_not_utf8_are_pointed_at() {
    let error = parser().parse(b"m,t=\xc3\xa9\xff f=1").expect_err("not UTF-8");
    assert_eq!((error.reason, error.offset), (Reason::InvalidUtf8, 6));
    let double = [&b"m f==\x10"[..], &1.1_f64.to_le_bytes(), b",g=\"\xff\" 1"].concat();
    let error =
        parser().parse(&double).expect_err("not UTF-8 behind a binary value, which is none either");
    assert_eq!((error.reason, error.offset), (Reason::InvalidUtf8, 18));
}

#[test]
fn limits_count_what_is_there_after_unescaping() {
    let limits = Limits { line_bytes: 60, name_bytes: 3, string_bytes: 4, tags: 2, fields: 2 };
    let small = || Parser::new(limits, Precision::Nanosecond);
    for good in ["abc v=1", "a\\ b,k\\,y=v\\ al v=\"\\\"\\\"\\\"\\\"\" 1", "m,a=1,b=2 c=3"] {
        assert!(small().parse(good.as_bytes()).is_ok(), "{good}");
    }
    refused(small(), "^abcd v=1", Reason::NameTooLong);
    refused(small(), "m,^abcd=1 v=1", Reason::NameTooLong);
    refused(small(), "m ^abcd=1", Reason::NameTooLong);
    refused(small(), "m,a=^12345 v=1", Reason::StringTooLong);
    refused(small(), "m v=\"^12345\"", Reason::StringTooLong);
    refused(small(), "m,a=1,b=2,^c=3 d=4", Reason::TooManyTags);
    refused(small(), "m,a=1 b=2,c=3,^d=4", Reason::TooManyFields);
    let long = format!("m v={}", "1".repeat(57));
    let error = small().parse(long.as_bytes()).expect_err("61 bytes");
    assert_eq!((error.reason, error.offset), (Reason::LineTooLong, 60));
    assert_eq!(small().cursor(long.as_bytes()).series(), None);
}

#[test]
fn a_repeated_key_is_found_among_thousands() {
    let fields: Vec<String> = (0..2_000).map(|i| format!("field_{i}=1")).collect();
    let good = format!("m {}", fields.join(","));
    assert!(parser().parse(good.as_bytes()).is_ok());
    let error = parser().parse(format!("{good},field_77=1").as_bytes()).expect_err("repeated");
    assert_eq!(error.reason, Reason::DuplicateField);
}

#[test]
fn precision_multiplies_and_a_suffix_overrides_it() {
    let mut parser = Parser::new(Limits::default(), Precision::Second);
    for (line, time) in
        [("m v=1 2", Some(2_000_000_000)), ("m v=1 2m", Some(2_000_000)), ("m v=1", None)]
    {
        match parser.parse(line.as_bytes()) {
            Ok(Item::Row(row)) => assert_eq!(row.timestamp, time, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let mut cursor = parser.cursor(b"m v=1 2");
    assert_eq!(cursor.series(), Some(&b"m"[..]));
    assert!(cursor.expect_key(b"v"));
    assert_eq!((cursor.float(), cursor.next()), (Some(1.0), Next::Timestamp));
    assert_eq!(cursor.timestamp(), Some(2_000_000_000));
}

#[test]
fn a_key_is_expected_as_it_is_spelled() {
    let key = field_key("a,b=c d\\e").expect("a name that can be said");
    let parser = parser();
    let mut spelled = parser.cursor(b"m a\\,b\\=c\\ d\\e=1i");
    assert!(spelled.series().is_some() && spelled.expect_key(&key));
    assert_eq!((spelled.integer(), spelled.next()), (Some(1), Next::End));
    let mut plain = parser.cursor(b"m a,b=c d\\e=1i");
    assert!(plain.series().is_some() && !plain.expect_key(&key));
    // A longer key, and the beginning of one, are other keys.
    for line in [&b"m val"[..], b"m val "] {
        let mut cut = parser.cursor(line);
        assert!(cut.series().is_some() && !cut.expect_key(b"val"));
    }
    let mut longer = parser.cursor(b"m value=1i");
    assert!(longer.series().is_some() && !longer.expect_key(b"val"));
    assert!(longer.expect_key(b"value"), "it has not moved");
}

#[test]
fn comments_give_their_text() {
    for line in ["# ack 7", "  # ack 7\r", "\t# ack 7"] {
        assert_eq!(parser().parse(line.as_bytes()), Ok(Item::Comment(b" ack 7")), "{line:?}");
    }
}
