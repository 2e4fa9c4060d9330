//! Which statements there are: parses one, lets queries through, recognises commands, refuses the rest by name.

use super::command::{self, Fault, split};
use super::system::is_function;
use super::{Command, QueryError};
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{ObjectType, Statement as Sql};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// A statement that may be carried out.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Answered with rows.
    Query(Box<Statement>),
    /// Changes something.
    Command {
        /// The database that it names, if it names one.
        database: Option<String>,
        /// What to do.
        command: Command,
    },
}

/// Longer statements are refused.
const BYTES_MAX: usize = 1 << 20;

/// Statements with more operators, brackets and keywords are refused: planning recurses once for each, and a stack that runs out
/// ends the process. A list of values has none of them.
const OPERATORS_MAX: usize = 1_000;

/// Parses exactly one statement.
pub(super) fn parse(sql: &str) -> Result<Parsed, QueryError> {
    if sql.len() > BYTES_MAX {
        let message = format!("the statement is longer than {BYTES_MAX} bytes");
        return Err(QueryError::statement(message));
    }
    let in_sql = |error: DataFusionError| QueryError::from_datafusion(&error, sql);
    let tokens = Tokenizer::new(&GenericDialect, sql)
        .tokenize_with_location()
        .map_err(|error| in_sql(ParserError::from(error).into()))?;
    let operators = tokens.iter().filter(|token| is_operator(&token.token)).count();
    let mut parser = DFParserBuilder::new(called(tokens)).build().map_err(in_sql)?;
    // Commands are read without recursion, however many rows they bring.
    match command::parse(&mut parser.parser) {
        Ok(Some((database, command))) => return Ok(Parsed::Command { database, command }),
        Ok(None) => {}
        Err(Fault::Syntax(error)) => return Err(in_sql(error.into())),
        Err(Fault::Refused(why)) => return Err(QueryError::statement(why)),
    }
    if operators > OPERATORS_MAX {
        let message = format!("the statement has more than {OPERATORS_MAX} operators and keywords");
        return Err(QueryError::statement(message));
    }
    let mut statements = parser.parse_statements().map_err(in_sql)?;
    match (statements.pop_front(), statements.pop_front()) {
        (Some(statement), None) => admit(statement),
        (None, _) => Err(QueryError::statement("there is no statement")),
        (Some(_), Some(_)) => Err(QueryError::statement("one statement at a time")),
    }
}

/// A statement that begins with the call of a table function asks for its rows: `tables()`, `wal_tables() WHERE suspended`. Places of
/// faults stay where they are in the statement.
fn called(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let is_function = matches!(words.next().map(|token| &token.token),
        Some(Token::Word(word)) if word.quote_style.is_none() && is_function(&word.value));
    if !is_function || words.next().is_none_or(|token| token.token != Token::LParen) {
        return tokens;
    }
    let start = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
    start.into_iter().map(TokenWithSpan::wrap).chain(tokens).collect()
}

/// True for what can nest: all but names, values, commas and white space.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Comma | Token::Whitespace(_) | Token::Number(..) | Token::EOF => false,
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => false,
        _ => true,
    }
}

fn admit(statement: Statement) -> Result<Parsed, QueryError> {
    let refused = match &statement {
        Statement::Explain(_) => return Ok(Parsed::Query(Box::new(statement))),
        Statement::Statement(sql) => match sql.as_ref() {
            Sql::Query(_)
            | Sql::Explain { .. }
            | Sql::ExplainTable { .. }
            | Sql::ShowColumns { .. }
            | Sql::ShowFunctions { .. }
            | Sql::ShowVariable { .. } => return Ok(Parsed::Query(Box::new(statement))),
            Sql::ShowTables { .. } => return show_tables(sql),
            Sql::Drop { .. } => return drop_table(sql),
            Sql::Insert(_) => "rows come in as INSERT INTO name VALUES (…), or as line protocol",
            Sql::Update(_) | Sql::Delete(_) | Sql::Merge(_) | Sql::Copy { .. } => {
                "insert a row again under DEDUP UPSERT KEYS, or REPLACE RANGE FROM … TO … IN name"
            }
            Sql::Truncate(_) => "write TRUNCATE TABLE name",
            _ => REFUSED,
        },
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) => {
            "no statement reads or writes files; ask for the format you need over HTTP"
        }
        Statement::Reset(_) => REFUSED,
    };
    Err(QueryError::statement(format!("{} is not supported: {refused}", verb(&statement))))
}

const REFUSED: &str = "there are SELECT, EXPLAIN, DESCRIBE, SHOW, CREATE TABLE, ALTER TABLE, RENAME TABLE, TRUNCATE TABLE, DROP TABLE, INSERT INTO … VALUES, REPLACE RANGE and FLUSH";

/// `SHOW TABLES` answers one column, as QuestDB does, not the four of `information_schema`.
fn show_tables(statement: &Sql) -> Result<Parsed, QueryError> {
    if statement.to_string() != "SHOW TABLES" {
        return Err(QueryError::statement(
            "SHOW TABLES takes no more words: use SELECT … FROM tables() WHERE …",
        ));
    }
    let sql = "SELECT table_name FROM tables() ORDER BY table_name";
    let statement = DFParserBuilder::new(sql)
        .build()
        .and_then(|mut parser| parser.parse_statement())
        .map_err(|error| QueryError::from_datafusion(&error, sql))?;
    Ok(Parsed::Query(Box::new(statement)))
}

fn drop_table(statement: &Sql) -> Result<Parsed, QueryError> {
    match statement {
        Sql::Drop { object_type: ObjectType::Table, if_exists, names, .. } => match &names[..] {
            [name] => {
                let (database, name) = split(name)?;
                let command = Command::DropTable { if_exists: *if_exists, name };
                Ok(Parsed::Command { database, command })
            }
            _ => Err(QueryError::statement("DROP TABLE takes one table at a time")),
        },
        _ => Err(QueryError::statement("only tables can be dropped")),
    }
}

/// The words that a statement begins with, for a message.
fn verb(statement: &Statement) -> String {
    let words = |text: &str, count| {
        text.split_whitespace().take(count).collect::<Vec<_>>().join(" ").to_uppercase()
    };
    match statement {
        Statement::CopyTo(_) => "COPY".to_owned(),
        Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_owned(),
        Statement::Reset(_) => "RESET".to_owned(),
        other => words(&other.to_string(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Value;
    use crate::schema::{DedupRule, TableChange};
    use crate::types::{ColumnType, PartitionBy, SeqTxn};

    fn refusal(sql: &str) -> String {
        parse(sql).expect_err(sql).message
    }

    fn command(sql: &str) -> (Option<String>, Command) {
        match parse(sql).unwrap() {
            Parsed::Command { database, command } => (database, command),
            Parsed::Query(_) => panic!("{sql} is no command"),
        }
    }

    #[test]
    fn flush_and_drop_become_commands_with_the_names_as_written() {
        let flush = |table: Option<&str>| Command::Flush { table: table.map(str::to_owned) };
        let drop = |if_exists, name: &str| Command::DropTable { if_exists, name: name.to_owned() };
        assert_eq!(command("flush;"), (None, flush(None)));
        assert_eq!(command("FLUSH TABLE Cpu"), (None, flush(Some("Cpu"))));
        assert_eq!(
            command("FLUSH TABLE \"a b\".\"c.d\";"),
            (Some("a b".into()), flush(Some("c.d")))
        );
        assert_eq!(command("drop table cpu"), (None, drop(false, "cpu")));
        assert_eq!(command("DROP TABLE IF EXISTS 'a-b';"), (None, drop(true, "a-b")));
    }

    #[test]
    fn a_table_is_created_by_the_names_of_questdb_and_of_the_standard() {
        let (database, command) = command(
            "CREATE TABLE IF NOT EXISTS d.\"My t\" (ts TIMESTAMP, s SYMBOL CAPACITY 256 CACHE INDEX, v VARCHAR(20), \
             n LONG, x DOUBLE PRECISION, b BOOLEAN, u BIGINT UNSIGNED, INDEX(s CAPACITY 4)) TIMESTAMP(ts) \
             PARTITION BY HOUR TTL 2 DAYS WAL WITH maxUncommittedRows=5, o3MaxLag=600s DEDUP UPSERT KEYS(ts, s);",
        );
        let Command::CreateTable(create) = command else { panic!("{command:?}") };
        assert_eq!((database.as_deref(), create.name.as_str()), (Some("d"), "My t"));
        let types: Vec<&str> = create.columns.iter().map(|(_, ty)| ty.name()).collect();
        let expect = ["timestamp", "tag", "string", "integer", "float", "boolean", "unsigned"];
        assert_eq!(types, expect);
        assert_eq!(create.partition_by, Some(PartitionBy::Hour));
        assert_eq!((create.ttl_s, create.o3_max_lag_ms), (Some(172_800), Some(600_000)));
        let keys = ["ts", "s"].map(str::to_owned).to_vec();
        assert_eq!(create.dedup, Some(DedupRule::Replace(keys)));
        assert_eq!((create.time_column.as_deref(), create.if_not_exists), (Some("ts"), true));
    }

    #[test]
    fn changes_become_commands() {
        let alter = |sql: &str| match command(sql) {
            (None, Command::Alter { table, change }) if table == "t" => change,
            other => panic!("{sql}: {other:?}"),
        };
        let name = |name: &str| name.to_owned();
        for (sql, expect) in [
            ("RENAME TABLE t TO 'u v'", TableChange::Rename(name("u v"))),
            ("ALTER TABLE t RENAME TO u", TableChange::Rename(name("u"))),
            (
                "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, b SYMBOL",
                TableChange::AddColumns {
                    columns: vec![(name("a"), ColumnType::Integer), (name("b"), ColumnType::Tag)],
                    if_not_exists: true,
                },
            ),
            (
                "ALTER TABLE t DROP COLUMN a",
                TableChange::DropColumn { name: name("a"), if_exists: false },
            ),
            (
                "alter table t rename column a to b",
                TableChange::RenameColumn { from: name("a"), to: name("b") },
            ),
            (
                "ALTER TABLE t ALTER COLUMN a TYPE VARCHAR",
                TableChange::RetypeColumn { name: name("a"), ty: ColumnType::String },
            ),
            ("ALTER TABLE t DEDUP DISABLE", TableChange::Dedup(DedupRule::Append)),
            ("ALTER TABLE t DEDUP ENABLE MERGE", TableChange::Dedup(DedupRule::Merge)),
            (
                "ALTER TABLE t DEDUP ENABLE UPSERT KEYS(ts)",
                TableChange::Dedup(DedupRule::Replace(vec![name("ts")])),
            ),
            ("ALTER TABLE t SET TTL 3 WEEKS", TableChange::TtlS(Some(1_814_400))),
            ("ALTER TABLE t SET TTL 12h", TableChange::TtlS(Some(43_200))),
            ("ALTER TABLE t SET PARAM o3MaxLag = 20s", TableChange::O3MaxLagMs(Some(20_000))),
            (
                "ALTER TABLE t SET PARAM walSegmentRolloverRowCount = 1000000",
                TableChange::SegmentRows(Some(1_000_000)),
            ),
        ] {
            assert_eq!(alter(sql), expect, "{sql}");
        }
        let truncate = Command::Truncate { if_exists: false, name: name("t") };
        assert_eq!(command("TRUNCATE TABLE d.t;"), (Some(name("d")), truncate));
    }

    #[test]
    fn rows_become_commands_with_their_values_as_written() {
        let (_, command) = command(
            "REPLACE RANGE FROM '1970-01-01T00:00:00.000000001Z' TO 9 IN t (time, a) VALUES (1, -2.5), (now(), NULL)",
        );
        let number = |text: &str| Value::Number(text.to_owned());
        let expect = Command::Insert {
            table: "t".to_owned(),
            columns: Some(vec!["time".to_owned(), "a".to_owned()]),
            rows: vec![vec![number("1"), number("-2.5")], vec![Value::Now, Value::Null]],
            range: Some((1, 9)),
        };
        assert_eq!(command, expect);
        let many = format!("INSERT INTO t VALUES {}", vec!["('x', true)"; 5000].join(","));
        let Parsed::Command { command: Command::Insert { rows, columns: None, .. }, .. } =
            parse(&many).unwrap()
        else {
            panic!("an insert")
        };
        assert_eq!(rows.len(), 5000);
    }

    #[test]
    fn statements_that_write_or_touch_files_are_refused_by_name() {
        for (sql, begin) in [
            ("INSERT INTO t SELECT 1", "Expected: VALUES"),
            ("UPDATE t SET a = 1", "UPDATE is not supported"),
            ("DELETE FROM t", "DELETE is not supported"),
            ("CREATE TABLE t AS SELECT 1", "CREATE TABLE takes a list of columns"),
            ("CREATE TABLE t (a INT) BYPASS WAL", "every table has a WAL"),
            ("CREATE TABLE t (a BLOB)", "there is no type BLOB"),
            ("CREATE VIEW v AS SELECT 1", "CREATE is not supported"),
            ("CREATE DATABASE d", "CREATE is not supported"),
            (
                "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
                "CREATE EXTERNAL TABLE is not supported",
            ),
            ("COPY (SELECT 1) TO '/tmp/x.csv'", "COPY is not supported"),
            ("ALTER TABLE t SET PARAM x = 1", "unknown parameter 'x'"),
            ("ALTER TABLE t SET PARAM o3MaxLag = 366d", "o3MaxLag is at most 365d"),
            ("ALTER TABLE t SET PARAM o3MaxLag = 213503982335d", "o3MaxLag is at most 365d"),
            ("ALTER TABLE t DROP WAL", "Expected: ADD, DROP"),
            ("REPLACE RANGE FROM 5 TO 5 IN t", "the range is empty"),
            ("SET datafusion.execution.batch_size = 1", "SET is not supported"),
            ("DROP VIEW v", "only tables can be dropped"),
            ("DROP TABLE a, b", "DROP TABLE takes one table at a time"),
            ("SELECT 1; SELECT 2", "one statement at a time"),
            (" ; ", "there is no statement"),
        ] {
            let message = refusal(sql);
            assert!(message.starts_with(begin), "{sql}: {message}");
        }
    }

    #[test]
    fn the_wal_of_a_table_is_suspended_resumed_and_waited_for() {
        let name = || "Cpu".to_owned();
        let resume =
            |from: Option<u64>| Command::ResumeWal { name: name(), from: from.map(SeqTxn) };
        assert_eq!(
            command("alter table Cpu suspend wal;"),
            (None, Command::SuspendWal { name: name(), reason: None })
        );
        for (sql, tag) in [("28", "28"), ("'OUT OF MEMORY'", "OUT OF MEMORY")] {
            let (_, suspend) =
                command(&format!("ALTER TABLE Cpu SUSPEND WAL WITH {sql}, 'by hand';"));
            let reason = Some((tag.to_owned(), "by hand".to_owned()));
            assert_eq!(suspend, Command::SuspendWal { name: name(), reason });
        }
        assert_eq!(command("ALTER TABLE d.Cpu RESUME WAL"), (Some("d".into()), resume(None)));
        assert_eq!(command("ALTER TABLE Cpu RESUME WAL FROM TXN 12"), (None, resume(Some(12))));
        assert_eq!(command("ALTER TABLE Cpu RESUME WAL FROM TRANSACTION 1").1, resume(Some(1)));
        assert_eq!(command("ALTER TABLE 'Cpu' APPLY WAL").1, Command::ApplyWal { name: name() });
        for sql in [
            "ALTER TABLE t RESUME WAL FROM 3",
            "ALTER TABLE t APPLY WAL FROM TXN 3",
            "ALTER TABLE t SUSPEND WAL WITH 28",
        ] {
            parse(sql).expect_err(sql);
        }
    }

    #[test]
    fn a_table_function_is_a_statement() {
        for sql in ["tables()", "wal_tables();", "Wal_Transactions('t') WHERE rowCount > 1 LIMIT 3"]
        {
            assert!(matches!(parse(sql), Ok(Parsed::Query(_))), "{sql}");
        }
        for sql in ["tables", "now()", "wal_tables() FROM x"] {
            parse(sql).expect_err(sql);
        }
        assert_eq!(parse("wal_tables() WHERE )").expect_err("a bracket").position, Some(19));
    }

    #[test]
    fn a_syntax_error_says_where_it_is() {
        let error = parse("SELECT * FRM cpu").expect_err("no FROM");
        assert_eq!(error.position, Some(9), "{error}");
        let error = parse("FLUSH TABLES").expect_err("no such statement");
        assert_eq!(error.position, Some(6), "{error}");
        let error = parse("SELECT 'abc").expect_err("open string");
        assert_eq!(error.position, Some(7), "{error}");
    }
}
