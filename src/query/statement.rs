//! Which statements there are: parses one, lets queries through, recognises commands, refuses the rest by name.

use super::{Command, QueryError};
use crate::types::SeqTxn;
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{ObjectName, ObjectType, Statement as Sql};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser as SqlParser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

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
    if tokens.iter().filter(|token| is_operator(&token.token)).count() > OPERATORS_MAX {
        let message = format!("the statement has more than {OPERATORS_MAX} operators and keywords");
        return Err(QueryError::statement(message));
    }
    let mut parser = DFParserBuilder::new(tokens).build().map_err(in_sql)?;
    if let Some(flush) = parse_flush(&mut parser, sql)? {
        return Ok(flush);
    }
    if let Some(command) = parse_wal(&mut parser, sql)? {
        return Ok(command);
    }
    let mut statements = parser.parse_statements().map_err(in_sql)?;
    match (statements.pop_front(), statements.pop_front()) {
        (Some(statement), None) => admit(statement),
        (None, _) => Err(QueryError::statement("there is no statement")),
        (Some(_), Some(_)) => Err(QueryError::statement("one statement at a time")),
    }
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

/// `FLUSH [TABLE name]`, which no dialect of the parser knows in this form.
fn parse_flush(parser: &mut DFParser<'_>, sql: &str) -> Result<Option<Parsed>, QueryError> {
    let tokens = &mut parser.parser;
    if !tokens.parse_keyword(Keyword::FLUSH) {
        return Ok(None);
    }
    let mut parse = || {
        let name = match tokens.parse_keyword(Keyword::TABLE) {
            true => Some(tokens.parse_object_name(false)?),
            false => None,
        };
        while tokens.consume_token(&Token::SemiColon) {}
        tokens.expect_token(&Token::EOF)?;
        Ok(name)
    };
    let name =
        parse().map_err(|error: ParserError| QueryError::from_datafusion(&error.into(), sql))?;
    let (database, table) = match name {
        Some(name) => split(&name).map(|(database, table)| (database, Some(table)))?,
        None => (None, None),
    };
    Ok(Some(Parsed::Command { database, command: Command::Flush { table } }))
}

/// `ALTER TABLE name { SUSPEND WAL | RESUME WAL [FROM TXN n] | APPLY WAL }`, which only servers with a WAL a table know.
fn parse_wal(parser: &mut DFParser<'_>, sql: &str) -> Result<Option<Parsed>, QueryError> {
    let tokens = &mut parser.parser;
    let begin = tokens.index();
    if !tokens.parse_keywords(&[Keyword::ALTER, Keyword::TABLE]) {
        return Ok(None);
    }
    let Ok(name) = tokens.parse_object_name(false) else {
        rewind(tokens, begin);
        return Ok(None);
    };
    let (verb, object) = (tokens.next_token(), tokens.next_token());
    let is = |token: &Token, word: &str| token.to_string().eq_ignore_ascii_case(word);
    if !is(&object.token, "WAL") {
        rewind(tokens, begin);
        return Ok(None);
    }
    let mut parse = || {
        let from = match is(&verb.token, "RESUME") && tokens.parse_keyword(Keyword::FROM) {
            true => {
                let unit = tokens.next_token();
                if !is(&unit.token, "TXN") && !is(&unit.token, "TRANSACTION") {
                    return tokens.expected("TXN", unit);
                }
                Some(SeqTxn(tokens.parse_literal_uint()?))
            }
            false => None,
        };
        while tokens.consume_token(&Token::SemiColon) {}
        tokens.expect_token(&Token::EOF)?;
        Ok(from)
    };
    let from =
        parse().map_err(|error: ParserError| QueryError::from_datafusion(&error.into(), sql))?;
    let (database, name) = split(&name)?;
    let command = match verb.token.to_string().to_ascii_uppercase().as_str() {
        "SUSPEND" => Command::SuspendWal { name },
        "RESUME" => Command::ResumeWal { name, from },
        "APPLY" => Command::ApplyWal { name },
        other => {
            let message =
                format!("there are SUSPEND WAL, RESUME WAL and APPLY WAL, not {other} WAL");
            return Err(QueryError::statement(message));
        }
    };
    Ok(Some(Parsed::Command { database, command }))
}

fn rewind(tokens: &mut SqlParser<'_>, index: usize) {
    while tokens.index() > index {
        tokens.prev_token();
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
            Sql::Insert(_) | Sql::Update(_) | Sql::Delete(_) | Sql::Merge(_) | Sql::Copy { .. } => {
                "rows come in as line protocol, and SQL only reads them"
            }
            Sql::CreateTable(_) => "a table is created by the first line that names it",
            Sql::AlterTable(_) => "columns are created by the first line that names them",
            Sql::Truncate(_) => "drop the table instead; its next line creates it anew",
            _ => REFUSED,
        },
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) => {
            "no statement reads or writes files; ask for the format you need over HTTP"
        }
        Statement::Reset(_) => REFUSED,
    };
    Err(QueryError::statement(format!("{} is not supported: {refused}", verb(&statement))))
}

const REFUSED: &str = "there are SELECT, EXPLAIN, DESCRIBE, SHOW, DROP TABLE [IF EXISTS] name, FLUSH [TABLE name] and \
     ALTER TABLE name SUSPEND | RESUME | APPLY WAL";

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

/// Takes `[database.]table` apart.
fn split(name: &ObjectName) -> Result<(Option<String>, String), QueryError> {
    let word = |index: usize| {
        name.0.get(index).and_then(|part| part.as_ident()).map(|word| word.value.clone())
    };
    match (name.0.len(), word(0), word(1)) {
        (1, Some(table), _) => Ok((None, table)),
        (2, Some(database), Some(table)) => Ok((Some(database), table)),
        _ => Err(QueryError::statement(format!("'{name}' is not the name of a table"))),
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
        Statement::Statement(sql) if matches!(**sql, Sql::CreateTable(_)) => {
            "CREATE TABLE".to_owned()
        }
        Statement::Statement(sql) if matches!(**sql, Sql::AlterTable(_)) => {
            "ALTER TABLE".to_owned()
        }
        other => words(&other.to_string(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn statements_that_write_or_touch_files_are_refused_by_name() {
        for (sql, begin) in [
            ("INSERT INTO t VALUES (1)", "INSERT is not supported"),
            ("UPDATE t SET a = 1", "UPDATE is not supported"),
            ("DELETE FROM t", "DELETE is not supported"),
            ("CREATE TABLE t (a INT)", "CREATE TABLE is not supported"),
            ("CREATE VIEW v AS SELECT 1", "CREATE is not supported"),
            ("CREATE DATABASE d", "CREATE is not supported"),
            (
                "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
                "CREATE EXTERNAL TABLE is not supported",
            ),
            ("COPY (SELECT 1) TO '/tmp/x.csv'", "COPY is not supported"),
            ("ALTER TABLE t ADD COLUMN a INT", "ALTER TABLE is not supported"),
            ("TRUNCATE TABLE t", "TRUNCATE is not supported"),
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
            (None, Command::SuspendWal { name: name() })
        );
        assert_eq!(command("ALTER TABLE d.Cpu RESUME WAL"), (Some("d".into()), resume(None)));
        assert_eq!(command("ALTER TABLE Cpu RESUME WAL FROM TXN 12"), (None, resume(Some(12))));
        assert_eq!(command("ALTER TABLE Cpu RESUME WAL FROM TRANSACTION 1").1, resume(Some(1)));
        assert_eq!(command("ALTER TABLE 'Cpu' APPLY WAL").1, Command::ApplyWal { name: name() });
        for sql in ["ALTER TABLE t RESUME WAL FROM 3", "ALTER TABLE t APPLY WAL FROM TXN 3"] {
            parse(sql).expect_err(sql);
        }
        assert!(refusal("ALTER TABLE t DROP WAL").contains("not DROP WAL"));
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
