//! What becomes of a line: types, limits, names and dialects over a running server, and every way to ask why it was refused.

use crate::server_support::{Running, reply, rows, wait_until};
use headwater::codec::Reason;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::{TempDir, tempdir};

const DOC: &str = include_str!("../../docs/line-protocol.md");

/// A server with this configuration, over `data` in the folder.
fn start(dir: &TempDir, config: &str) -> Running {
    let file = dir.path().join("hw.toml");
    std::fs::write(&file, format!("durability = 'nosync'\n{config}")).unwrap();
    Running::without_reports(&dir.path().join("data"), &["--config", file.to_str().unwrap()])
}

/// Sends lines and asks for a reply: rows committed, lines refused, and the first one's number and reason.
fn ask(server: &Running, lines: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(lines).unwrap();
    stream.write_all(b"\n# ack t\n").unwrap();
    reply(&mut stream).trim_start_matches("ok t ").trim_end().to_owned()
}

/// The bytes that the document spells with `\xff` and `\n`.
fn bytes(code: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = code.trim_matches('`');
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, tail) = match escape.split_at(1) {
            ("n", tail) => (b'\n', tail),
            (_, tail) => (u8::from_str_radix(&tail[..2], 16).unwrap(), &tail[2..]),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Header and rows of the table of types.
fn types() -> (Vec<String>, Vec<Vec<String>>) {
    let section = DOC.split_once("## Types").expect("the heading is there").1;
    let mut lines = section.lines().skip_while(|line| !line.starts_with("| value"));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    let header: Vec<String> = cells(lines.next().expect("the table is there"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    (header, rows)
}

/// A line of `table` in which `v` is what the code says: a field, or a tag where it begins with a comma.
fn line_of(table: &str, code: &str, time: u8) -> Vec<u8> {
    let value = bytes(code);
    let (tag, field) =
        if value.starts_with(b",") { (&value[..], &b"w=1"[..]) } else { (&b""[..], &value[..]) };
    [table.as_bytes(), tag, b" ", field, format!(" {time}").as_bytes()].concat()
}

#[test]
fn a_value_of_another_type_is_converted_or_refused_as_the_table_of_types_says() {
    let dir = tempdir().unwrap();
    let mut server = start(&dir, "[limits]\npartitions = 10");
    let (header, rows_of_types) = types();
    assert_eq!((header.len(), rows_of_types.len()), (9, 15));
    let code_of = |ty: &str| {
        let at = header.iter().position(|name| name == ty).unwrap();
        let row = rows_of_types
            .iter()
            .rev()
            .find(|row| row[at] != "-" && row[1..].iter().filter(|c| *c != "-").count() == 1);
        row.unwrap_or_else(|| rows_of_types.iter().find(|row| row[at] != "-").unwrap())[0].clone()
    };
    let mut expect = Vec::new();
    for (r, row) in rows_of_types.iter().enumerate() {
        for (c, ty) in header.iter().enumerate().skip(1) {
            let table = format!("t{r}x{c}");
            // Integers have no value of their own that nothing else takes.
            let first = if ty == "integer" { "`v=-7i`".to_owned() } else { code_of(ty) };
            assert_eq!(
                server.post("/write", &[], &line_of(&table, &first, 1)).status,
                204,
                "{first}"
            );
            let answer = server.post("/write", &[], &line_of(&table, &row[0], 2));
            if row[c] == "-" {
                let line = &answer.json()["lines"][0];
                assert_eq!(
                    (answer.status, line["reason"].as_str()),
                    (400, Some("type_conflict")),
                    "{ty} {row:?}"
                );
                let detail = line["detail"].as_str().unwrap();
                for part in [table.as_str(), "\"v\"", ty] {
                    assert!(detail.contains(part), "{detail}");
                }
            } else {
                assert_eq!(answer.status, 204, "{ty} {row:?} {}", answer.body);
                expect.push((table, row[c].trim_matches('`').to_owned()));
            }
        }
    }
    assert_eq!(server.stop(), 0);
    for (table, value) in expect {
        let second = rows(&dir.path().join("data"), &table, &["time", "v"]);
        assert_eq!(second.last().map(|row| row[1].as_str()), Some(value.as_str()), "{table}");
    }
}

#[test]
fn every_limit_has_a_setting_and_a_reason_of_its_own() {
    let dir = tempdir().unwrap();
    let config = "[limits]\nline_bytes = 100\nname_bytes = 8\nstring_bytes = 10\ntags = 2\nfields = 3\ncolumns = 5\n\
                  tables = 3\npartitions = 2\n[tables]\ntime_min = -5\ntime_max = 9_000_000_000_000_000_000\n";
    let server = start(&dir, config);
    let long = "x".repeat(200);
    let open = format!("a v=\"{long}");
    let day = 86_400_000_000_000_i64;
    let late = format!("p v=1 {}", 2 * day);
    for (reason, line) in [
        ("line_too_long", format!("a v={}", "1".repeat(200))),
        ("unterminated_string", open),
        ("name_too_long", "a ninebytes=1".to_owned()),
        ("string_too_long", "a v=\"eleven byte\"".to_owned()),
        ("string_too_long", "a,t=eleven_byte v=1".to_owned()),
        ("too_many_tags", "a,a=1,b=2,c=3 v=1".to_owned()),
        ("too_many_fields", "a a=1,b=2,c=3,d=4".to_owned()),
        ("timestamp_range", "a v=1 -6".to_owned()),
        ("timestamp_range", "a v=1 9000000000000000001".to_owned()),
        ("column_limit", "c d=1,e=1".to_owned()),
        ("partition_limit", late),
        ("table_limit", "fourth v=1".to_owned()),
    ] {
        ask(&server, b"c a=1,b=1,c=1 1\na v=1 -5\np v=1 1");
        ask(&server, format!("p v=1 {day}").as_bytes());
        let before = rejected(&server, reason);
        let answer = ask(&server, format!("{line}\na v=1 1").as_bytes());
        assert_eq!(answer, format!("lines=1 rejected=1 first=1:{reason}"), "{line}");
        assert_eq!(rejected(&server, reason), before + 1);
    }
}

fn rejected(server: &Running, reason: &str) -> u64 {
    let metrics = server.get("/metrics").body;
    let prefix = format!("headwater_lines_rejected_total{{reason=\"{reason}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("no counter for {reason}")).parse().unwrap()
}

#[test]
fn every_reason_has_a_counter_at_zero_from_the_start() {
    let dir = tempdir().unwrap();
    let server = start(&dir, "");
    for reason in Reason::ALL {
        assert_eq!(rejected(&server, reason.as_str()), 0, "{reason}");
    }
}

#[test]
fn tables_and_columns_can_be_closed_to_new_ones() {
    let dir = tempdir().unwrap();
    let mut server = start(&dir, "[tables]\nnew_columns = false\n");
    assert_eq!(ask(&server, b"a v=1,w=2 1\na v=1 2"), "lines=2 rejected=0");
    assert_eq!(ask(&server, b"a v=1,x=2 3"), "lines=0 rejected=1 first=1:new_columns_off");
    assert_eq!(server.stop(), 0);
    let server = start(&dir, "[tables]\nnew_tables = false\n");
    assert_eq!(ask(&server, b"a v=1,x=2 3\nb v=1 1"), "lines=1 rejected=1 first=2:new_tables_off");
}

#[test]
fn no_name_leaves_the_data_directory() {
    let dir = tempdir().unwrap();
    let mut server = start(&dir, "");
    let taken = [
        "../escape",
        "..",
        ".",
        "/etc/passwd",
        "a/b\\c",
        "NUL",
        "CON",
        "C:",
        "~",
        "*",
        "-rf",
        "tables",
        "wal",
        "ü",
        "\u{1f600}",
    ];
    for name in taken {
        let answer = ask(&server, format!("{name},../t=../v ../f=1 1").as_bytes());
        assert_eq!(answer, "lines=1 rejected=0", "{name}");
    }
    for (name, reason) in [
        (&b"a\0b"[..], "control_byte"),
        ("a\u{202e}b".as_bytes(), "table_name"),
        ("\u{feff}a".as_bytes(), "table_name"),
        ("a\u{85}b".as_bytes(), "table_name"),
        (&[b'x'; 10_000], "name_too_long"),
        (b"Con", "table_name"),
    ] {
        let answer = ask(&server, &[name, b" v=1 1"].concat());
        assert_eq!(answer, format!("lines=0 rejected=1 first=1:{reason}"), "{name:?}");
    }
    assert_eq!(
        ask(&server, b"con2 Value=1 1\ncon2 value=2 2"),
        "lines=1 rejected=1 first=2:column_name"
    );
    assert_eq!(server.stop(), 0);
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(dir.path()), ["data", "hw.toml"].map(str::to_owned).into());
    let known = ["catalog", "identity", "lock", "tables", "wal", "tmp"];
    for name in names(&dir.path().join("data")) {
        assert!(known.iter().any(|known| name.starts_with(known)), "{name}");
    }
    let plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-~".contains(&b));
    let tables = names(&dir.path().join("data/tables"));
    assert!(tables.len() > taken.len() && tables.iter().all(plain), "{tables:?}");
}

#[test]
fn the_dialect_is_a_setting_of_tcp_and_http_alike() {
    for (dialect, tag, text) in [
        ("v1", "a\\\\b", "x\\ny"),
        ("v2", "a\\\\b", "x\ny"),
        ("v3", "a\\b", "x\\ny"),
        ("influx3", "a\\b", "x\\ny"),
    ] {
        let dir = tempdir().unwrap();
        let mut server = start(&dir, &format!("dialect = '{dialect}'\n"));
        let line = |time| format!("m,t=a\\\\b s=\"x\\ny\" {time}");
        assert_eq!(ask(&server, line(1).as_bytes()), "lines=1 rejected=0");
        assert_eq!(server.post("/write", &[], line(2).as_bytes()).status, 204);
        assert_eq!(server.stop(), 0);
        let rows = rows(&dir.path().join("data"), "m", &["t", "s"]);
        assert_eq!(rows, [[tag, text], [tag, text]], "{dialect}");
    }
}

#[test]
fn with_disconnect_what_comes_before_the_bad_line_is_kept_and_nothing_behind_it() {
    let dir = tempdir().unwrap();
    let mut server = start(&dir, "[ilp]\non_error = 'disconnect'\n");
    let mut stream = server.connect();
    stream.write_all(b"m v=1 1\nm v=2 2\nbad\nm v=3 3\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    wait_until("the rows before", || server.metric("headwater_rows_total") == 2.0);
    assert_eq!(server.stop(), 0);
    assert_eq!(rows(&dir.path().join("data"), "m", &["v"]), [["1.0"], ["2.0"]]);
}

#[test]
fn a_string_that_is_never_closed_costs_itself_and_says_how_much_was_skipped() {
    let dir = tempdir().unwrap();
    let server = start(&dir, "[limits]\nline_bytes = 100\n");
    let swallowed = "n v=1 1\n".repeat(13);
    let answer = server.post("/write", &[], format!("m v=\"\n{swallowed}n v=2 2\n").as_bytes());
    let answer = answer.json();
    assert_eq!(answer["lines"][0]["reason"], "unterminated_string");
    let detail = answer["lines"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("102 bytes were skipped"), "{detail}");
    assert!(answer["lines"][0]["text"].as_str().unwrap().starts_with("m v=\"\nn v=1"), "{answer}");
    // The limit lies within the twelfth line behind the quote; the next newline ends that one.
    assert_eq!((answer["written"].as_u64(), answer["rejected"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn a_request_is_told_line_column_and_reason_with_a_caret_under_the_byte() {
    let dir = tempdir().unwrap();
    let server = start(&dir, "");
    let lines = "m v=1 1\n\nm,t=ü v=oops,w=1 2\n";
    let answer = server.post("/write", &[], lines.as_bytes());
    assert_eq!(answer.status, 400);
    let line = &answer.json()["lines"][0];
    assert_eq!((line["line"].as_u64(), line["column"].as_u64()), (Some(3), Some(10)));
    assert_eq!(line["reason"], "bad_value");
    let shown: Vec<&str> = answer.body.lines().collect();
    let text = shown.iter().position(|line| line.contains("\"text\"")).unwrap();
    let place = |line: &str, what: char| {
        line.chars().rev().position(|c| c == what).map(|n| line.chars().count() - n)
    };
    let column = shown[text].find("oops").map(|at| shown[text][..at].chars().count() + 1);
    assert_eq!(place(shown[text + 1], '^'), column, "{}", answer.body);

    let mut write = Command::new(env!("CARGO_BIN_EXE_headwater"));
    write.args(["write", "--http-addr", &server.http.to_string()]);
    let mut child =
        write.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let expect = "    m,t=ü v=oops,w=1 2\n            ^\n";
    assert!(
        printed.contains("line 3, column 10: bad_value") && printed.contains(expect),
        "{printed}"
    );
}

#[cfg(feature = "query")]
#[test]
fn refused_lines_can_be_asked_for_in_sql() {
    let dir = tempdir().unwrap();
    let server = start(&dir, "[limits]\nline_bytes = 64\n");
    let mut stream = server.connect();
    let long = "x".repeat(100);
    stream
        .write_all(format!("a v=1 1\n\nb\\ c,t=1 v=oops 1\nd {long}=1\n# ack t\n").as_bytes())
        .unwrap();
    assert_eq!(reply(&mut stream), "ok t lines=1 rejected=2 first=3:bad_value\n");
    let peer = stream.local_addr().unwrap().to_string();
    let sql = "SELECT database,\"table\",peer,line,\"offset\",reason,excerpt FROM system.rejected_lines ORDER BY line";
    let query = sql.replace(' ', "%20").replace('"', "%22");
    let answer = server.get(&format!("/exec?query={query}")).json();
    let excerpt = "d xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let expect = serde_json::json!([
        ["public", "b c", peer, 3, 20, "bad_value", "b\\ c,t=1 v=oops 1"],
        ["public", "d", peer, 4, 27, "line_too_long", excerpt],
    ]);
    assert_eq!(answer["dataset"], expect, "{answer}");
    assert_eq!(server.post("/write?db=system", &[], b"rejected_lines v=1").status, 400);
}

#[test]
fn http_and_tls_are_answered_once_however_their_first_bytes_are_cut() {
    let dir = tempdir().unwrap();
    let server = start(&dir, "");
    let requests: [&[u8]; 2] = [b"POST /write?db=x HTTP/1.1\r\n", &[0x16, 3, 1, 10, 10, 1]];
    for (n, request) in requests.into_iter().enumerate() {
        let mut stream = server.connect();
        stream.set_nodelay(true).unwrap();
        for byte in request {
            // The server may have seen enough before the last byte.
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        stream.shutdown(Shutdown::Write).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 400") || answer.starts_with(&[0x15]), "{answer:?}");
        assert_eq!(rejected(&server, "not_line_protocol"), n as u64 + 1);
    }
    let all: u64 = Reason::ALL.iter().map(|reason| rejected(&server, reason.as_str())).sum();
    assert_eq!(all, 2);
    assert_eq!(ask(&server, b"CPU v=1 1\nGET /x=1 2"), "lines=2 rejected=0");
}

#[test]
fn binary_doubles_and_arrays_arrive_in_parquet_whatever_bytes_they_hold() {
    let dir = tempdir().unwrap();
    let mut server = start(&dir, "");
    let newlines = f64::from_le_bytes([b'\n'; 8]);
    let array = [&[14, 10, 1, 10, 0, 0, 0][..], &newlines.to_le_bytes().repeat(10)].concat();
    let mut lines = Vec::new();
    for n in 0..300_u64 {
        let double = f64::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !(1 << 62));
        lines.extend_from_slice(format!("m,n={n:03} d==").as_bytes());
        lines.push(16);
        lines.extend_from_slice(&double.to_le_bytes());
        lines.extend_from_slice(b",a==");
        lines.extend_from_slice(&array);
        lines.extend_from_slice(format!(" {n}\n").as_bytes());
    }
    assert_eq!(ask(&server, &lines), "lines=300 rejected=0");
    // The last byte of a value may look like the carriage return of the line.
    let last = [&b"m,n=300 d==\x10"[..], &f64::from_le_bytes([b'\r'; 8]).to_le_bytes()].concat();
    assert_eq!(ask(&server, &last), "lines=1 rejected=0");
    assert_eq!(server.stop(), 0);
    let found = rows(&dir.path().join("data"), "m", &["n", "d", "a"]);
    assert_eq!(found.len(), 301);
    for (n, row) in found.iter().enumerate().take(300) {
        let double = f64::from_bits((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !(1 << 62));
        assert_eq!(row[1].parse::<f64>().unwrap().to_bits(), double.to_bits(), "{row:?}");
        assert_eq!(row[2].matches(&format!("{newlines:?}")).count(), 10, "{row:?}");
    }
}
