//! The statements that change something, word by word: most are in no dialect of the parser that queries use.

use super::{Command, CreateTable, QueryError, Value};
use crate::schema::{DedupRule, TableChange};
use crate::types::{ColumnType, PartitionBy, SeqTxn, parse_time};
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

/// A command, and the database that it names, if it names one.
pub(super) type Named = (Option<String>, Command);

/// Why a statement is no command.
pub(super) enum Fault {
    /// The parser's complaint, with its place.
    Syntax(ParserError),
    /// What it asks for is not there to be had.
    Refused(String),
}

impl From<ParserError> for Fault {
    fn from(error: ParserError) -> Fault {
        Fault::Syntax(error)
    }
}

type Result<T> = std::result::Result<T, Fault>;

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Fault::Refused(why.into()))
}

/// Parses a command to its end; `None` when the statement begins as none does.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Option<Named>> {
    let mut words = Words(parser);
    let named = if words.take("FLUSH") {
        words.flush()?
    } else if words.take_all(&["CREATE", "TABLE"]) {
        words.create()?
    } else if words.take_all(&["ALTER", "TABLE"]) {
        words.alter()?
    } else if words.take_all(&["RENAME", "TABLE"]) {
        let (database, table) = words.table()?;
        words.expect("TO")?;
        let to = words.new_name(database.as_deref())?;
        (database, Command::Alter { table, change: TableChange::Rename(to) })
    } else if words.take_all(&["TRUNCATE", "TABLE"]) {
        let if_exists = words.take_all(&["IF", "EXISTS"]);
        let (database, name) = words.table()?;
        words.take_all(&["KEEP", "SYMBOL", "MAPS"]);
        (database, Command::Truncate { if_exists, name })
    } else if words.take_all(&["INSERT", "INTO"]) {
        let (database, table) = words.table()?;
        let columns = words.columns()?;
        words.expect("VALUES")?;
        let rows = words.rows()?;
        (database, Command::Insert { table, columns, rows, range: None })
    } else if words.take_all(&["REPLACE", "RANGE"]) {
        words.replace_range()?
    } else {
        return Ok(None);
    };
    while words.0.consume_token(&Token::SemiColon) {}
    words.0.expect_token(&Token::EOF)?;
    Ok(Some(named))
}

/// Takes `[database.]table` apart.
pub(super) fn split(
    name: &ObjectName,
) -> std::result::Result<(Option<String>, String), QueryError> {
    let word = |index: usize| {
        name.0.get(index).and_then(|part| part.as_ident()).map(|word| word.value.clone())
    };
    match (name.0.len(), word(0), word(1)) {
        (1, Some(table), _) => Ok((None, table)),
        (2, Some(database), Some(table)) => Ok((Some(database), table)),
        _ => Err(QueryError::statement(format!("'{name}' is not the name of a table"))),
    }
}

struct Words<'a, 'p>(&'a mut Parser<'p>);

impl Words<'_, '_> {
    /// Takes the next token if it is this one.
    fn skip(&mut self, token: &Token) {
        if self.peek() == *token {
            self.0.advance_token();
        }
    }

    fn peek(&self) -> Token {
        self.0.peek_token().token
    }

    /// Takes the next token if it is this word, in any case and without quotes.
    fn take(&mut self, word: &str) -> bool {
        let is_next = is_word(&self.peek(), word);
        if is_next {
            self.0.advance_token();
        }
        is_next
    }

    /// Takes all of these words, or none.
    fn take_all(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(n, word)| is_word(&self.0.peek_nth_token(n).token, word));
        if all {
            words.iter().for_each(|_| self.0.advance_token());
        }
        all
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(word) { Ok(()) } else { self.unexpected(word) }
    }

    fn unexpected<T>(&mut self, expected: &str) -> Result<T> {
        let found = self.0.peek_token();
        Ok(self.0.expected(expected, found)?)
    }

    /// `[database.]table`.
    fn table(&mut self) -> Result<(Option<String>, String)> {
        let name = self.0.parse_object_name(false)?;
        split(&name).map_err(|error| Fault::Refused(error.message))
    }

    /// A table's name in `database`, which it may repeat.
    fn new_name(&mut self, database: Option<&str>) -> Result<String> {
        match self.table()? {
            (None, name) => Ok(name),
            (Some(named), name) if Some(named.as_str()) == database => Ok(name),
            _ => refuse("a table stays in its database"),
        }
    }

    fn name(&mut self) -> Result<String> {
        Ok(self.0.parse_identifier()?.value)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(self.0.parse_literal_uint()?)
    }

    /// Names in brackets, if there are any.
    fn columns(&mut self) -> Result<Option<Vec<String>>> {
        if self.peek() == Token::LParen { self.names().map(Some) } else { Ok(None) }
    }

    fn names(&mut self) -> Result<Vec<String>> {
        self.0.expect_token(&Token::LParen)?;
        let mut names = vec![self.name()?];
        while self.0.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        self.0.expect_token(&Token::RParen)?;
        Ok(names)
    }

    fn flush(&mut self) -> Result<Named> {
        if !self.take("TABLE") {
            return Ok((None, Command::Flush { table: None }));
        }
        let (database, table) = self.table()?;
        Ok((database, Command::Flush { table: Some(table) }))
    }

    fn create(&mut self) -> Result<Named> {
        let if_not_exists = self.take_all(&["IF", "NOT", "EXISTS"]);
        let (database, name) = self.table()?;
        if self.peek() != Token::LParen {
            return refuse("CREATE TABLE takes a list of columns, not AS or LIKE");
        }
        let mut table = CreateTable { if_not_exists, name, ..CreateTable::default() };
        self.0.expect_token(&Token::LParen)?;
        loop {
            if is_word(&self.peek(), "INDEX") && self.0.peek_nth_token(1).token == Token::LParen {
                self.ignore_index()?;
            } else {
                let name = self.name()?;
                let ty = self.column_type()?;
                table.columns.push((name, ty));
            }
            if !self.0.consume_token(&Token::Comma) {
                break;
            }
        }
        self.0.expect_token(&Token::RParen)?;
        while self.create_clause(&mut table)? {}
        Ok((database, Command::CreateTable(table)))
    }

    /// One of the clauses after the columns; false at the end of them.
    fn create_clause(&mut self, table: &mut CreateTable) -> Result<bool> {
        self.skip(&Token::Comma);
        if is_word(&self.peek(), "TIMESTAMP") {
            self.0.advance_token();
            let mut names = self.names()?;
            table.time_column = names.pop();
            if !names.is_empty() {
                return refuse("TIMESTAMP takes one column");
            }
        } else if self.take_all(&["PARTITION", "BY"]) {
            let width = self.name()?;
            table.partition_by = Some(match width.to_uppercase().as_str() {
                "HOUR" => PartitionBy::Hour,
                "DAY" => PartitionBy::Day,
                "WEEK" => PartitionBy::Week,
                "MONTH" => PartitionBy::Month,
                "YEAR" => PartitionBy::Year,
                "NONE" => {
                    return refuse("every table is partitioned: by HOUR, DAY, WEEK, MONTH or YEAR");
                }
                _ => return refuse(format!("'{width}' is none of HOUR, DAY, WEEK, MONTH, YEAR")),
            });
        } else if self.take("TTL") {
            table.ttl_s = Some(self.ttl()?);
        } else if self.take("WAL") {
        } else if self.take_all(&["BYPASS", "WAL"]) {
            return refuse(NO_BYPASS);
        } else if self.take("WITH") {
            loop {
                let (key, value) = self.parameter()?;
                match parameter(&key, &value)? {
                    Some(TableChange::O3MaxLagMs(lag)) => table.o3_max_lag_ms = lag,
                    Some(TableChange::SegmentRows(rows)) => table.segment_rows = rows,
                    _ => {}
                }
                if !self.0.consume_token(&Token::Comma) {
                    break;
                }
            }
        } else if self.take("DEDUP") {
            table.dedup = Some(self.dedup_rule()?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `UPSERT KEYS(…)`, or `MERGE`.
    fn dedup_rule(&mut self) -> Result<DedupRule> {
        if self.take("MERGE") {
            return Ok(DedupRule::Merge);
        }
        self.expect("UPSERT")?;
        self.expect("KEYS")?;
        Ok(DedupRule::Replace(self.names()?))
    }

    fn alter(&mut self) -> Result<Named> {
        let (database, table) = self.table()?;
        let command = if self.take("ADD") {
            self.take("COLUMN");
            let if_not_exists = self.take_all(&["IF", "NOT", "EXISTS"]);
            let mut columns = Vec::new();
            loop {
                let name = self.name()?;
                columns.push((name, self.column_type()?));
                if !self.0.consume_token(&Token::Comma) {
                    break;
                }
                self.take("ADD");
                self.take("COLUMN");
            }
            Command::Alter { table, change: TableChange::AddColumns { columns, if_not_exists } }
        } else if self.take_all(&["DROP", "COLUMN"]) {
            let if_exists = self.take_all(&["IF", "EXISTS"]);
            let name = self.name()?;
            Command::Alter { table, change: TableChange::DropColumn { name, if_exists } }
        } else if self.take_all(&["RENAME", "COLUMN"]) {
            let from = self.name()?;
            self.expect("TO")?;
            let to = self.name()?;
            Command::Alter { table, change: TableChange::RenameColumn { from, to } }
        } else if self.take_all(&["RENAME", "TO"]) {
            let to = self.new_name(database.as_deref())?;
            Command::Alter { table, change: TableChange::Rename(to) }
        } else if self.take("ALTER") {
            self.take("COLUMN");
            let name = self.name()?;
            if !self.take_all(&["SET", "DATA", "TYPE"]) {
                self.expect("TYPE")?;
            }
            let ty = self.column_type()?;
            Command::Alter { table, change: TableChange::RetypeColumn { name, ty } }
        } else if self.take_all(&["DEDUP", "ENABLE"]) {
            let rule = self.dedup_rule()?;
            Command::Alter { table, change: TableChange::Dedup(rule) }
        } else if self.take_all(&["DEDUP", "DISABLE"]) {
            Command::Alter { table, change: TableChange::Dedup(DedupRule::Append) }
        } else if self.take_all(&["SET", "PARAM"]) {
            let (key, value) = self.parameter()?;
            match parameter(&key, &value)? {
                Some(change) => Command::Alter { table, change },
                None => {
                    return refuse(format!(
                        "'{key}' cannot be changed: a commit is bounded by the server's configuration"
                    ));
                }
            }
        } else if self.take_all(&["SET", "TTL"]) {
            let ttl = self.ttl()?;
            Command::Alter { table, change: TableChange::TtlS(Some(ttl)) }
        } else if self.take_all(&["SET", "TYPE", "WAL"]) {
            return refuse("every table has a WAL already");
        } else if self.take_all(&["SET", "TYPE", "BYPASS", "WAL"]) {
            return refuse(NO_BYPASS);
        } else if self.take_all(&["APPLY", "WAL"]) {
            Command::ApplyWal { name: table }
        } else if self.take_all(&["SUSPEND", "WAL"]) {
            let reason = if self.take("WITH") { Some(self.reason()?) } else { None };
            Command::SuspendWal { name: table, reason }
        } else if self.take_all(&["RESUME", "WAL"]) {
            let mut from = None;
            if self.take("FROM") {
                if !self.take("TXN") {
                    self.expect("TRANSACTION")?;
                }
                from = Some(SeqTxn(self.number()?));
            }
            Command::ResumeWal { name: table, from }
        } else {
            return self.unexpected(
                "ADD, DROP, RENAME or ALTER COLUMN, RENAME TO, DEDUP, SET PARAM, SET TTL, APPLY WAL, SUSPEND WAL or RESUME WAL",
            );
        };
        Ok((database, command))
    }

    /// A tag or an error number, then a message.
    fn reason(&mut self) -> Result<(String, String)> {
        let token = self.0.next_token();
        let (Token::Number(tag, _) | Token::SingleQuotedString(tag)) = token.token else {
            return Ok(self.0.expected("a tag in quotes or an error number", token)?);
        };
        self.0.expect_token(&Token::Comma)?;
        let token = self.0.next_token();
        match token.token {
            Token::SingleQuotedString(message) => Ok((tag, message)),
            _ => Ok(self.0.expected("a message in quotes", token)?),
        }
    }

    fn replace_range(&mut self) -> Result<Named> {
        self.expect("FROM")?;
        let from = self.time()?;
        self.expect("TO")?;
        let to = self.time()?;
        if from >= to {
            return refuse("the range is empty: its end must be after its beginning");
        }
        if !self.take("IN") {
            self.expect("INTO")?;
        }
        let (database, table) = self.table()?;
        let columns = self.columns()?;
        let rows = if self.take("VALUES") { self.rows()? } else { Vec::new() };
        Ok((database, Command::Insert { table, columns, rows, range: Some((from, to)) }))
    }

    /// A time as text or as nanoseconds since 1970.
    fn time(&mut self) -> Result<i64> {
        match self.value()? {
            Value::Text(text) => parse_time(&text).map_err(Fault::Refused),
            Value::Number(text) => text
                .parse()
                .map_err(|_| Fault::Refused(format!("'{text}' is no time in nanoseconds"))),
            _ => refuse("a time is expected: text, or nanoseconds since 1970"),
        }
    }

    fn rows(&mut self) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        loop {
            self.0.expect_token(&Token::LParen)?;
            let mut row = vec![self.value()?];
            while self.0.consume_token(&Token::Comma) {
                row.push(self.value()?);
            }
            self.0.expect_token(&Token::RParen)?;
            rows.push(row);
            if !self.0.consume_token(&Token::Comma) {
                return Ok(rows);
            }
        }
    }

    /// A literal, or `now()`.
    fn value(&mut self) -> Result<Value> {
        // TIMESTAMP '2026-…' is the standard's way to say what the text is.
        if is_word(&self.peek(), "TIMESTAMP")
            && matches!(self.0.peek_nth_token(1).token, Token::SingleQuotedString(_))
        {
            self.0.advance_token();
        }
        let is_minus = self.0.consume_token(&Token::Minus);
        if !is_minus {
            self.skip(&Token::Plus);
        }
        let token = self.0.next_token();
        Ok(match &token.token {
            Token::Number(text, _) if is_minus => Value::Number(format!("-{text}")),
            Token::Number(text, _) => Value::Number(text.clone()),
            Token::SingleQuotedString(text) if !is_minus => Value::Text(text.clone()),
            word if is_word(word, "NULL") && !is_minus => Value::Null,
            word if is_word(word, "TRUE") && !is_minus => Value::Boolean(true),
            word if is_word(word, "FALSE") && !is_minus => Value::Boolean(false),
            word if (is_word(word, "NOW") || is_word(word, "SYSTIMESTAMP")) && !is_minus => {
                self.0.expect_token(&Token::LParen)?;
                self.0.expect_token(&Token::RParen)?;
                Value::Now
            }
            _ => return Ok(self.0.expected("a literal or now()", token)?),
        })
    }

    /// A type by QuestDB's name or the standard's, and what QuestDB has after one.
    fn column_type(&mut self) -> Result<ColumnType> {
        let name = match self.peek() {
            Token::Word(word) => word.value,
            _ => return self.unexpected("a type"),
        };
        self.0.advance_token();
        if self.0.consume_token(&Token::LParen) {
            // VARCHAR(20), DECIMAL(…): lengths bound nothing here.
            while !self.0.consume_token(&Token::RParen) {
                if self.0.next_token().token == Token::EOF {
                    return self.unexpected(")");
                }
            }
        }
        let mut name = name.to_uppercase();
        if name == "DOUBLE" {
            self.take("PRECISION");
        }
        if name == "TIMESTAMP" && (self.take("WITH") || self.take("WITHOUT")) {
            self.expect("TIME")?;
            self.expect("ZONE")?;
        }
        if self.take("UNSIGNED") {
            name.push_str(" UNSIGNED");
        }
        let ty = match name.as_str() {
            "SYMBOL" | "TAG" => ColumnType::Tag,
            "VARCHAR" | "STRING" | "TEXT" | "CHAR" | "UUID" | "IPV4" => ColumnType::String,
            "LONG" | "INT" | "SHORT" | "BYTE" | "BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT" => {
                ColumnType::Integer
            }
            "UBIGINT" | "BIGINT UNSIGNED" | "INT UNSIGNED" | "INTEGER UNSIGNED" => {
                ColumnType::Unsigned
            }
            "DOUBLE" | "FLOAT" | "REAL" => ColumnType::Float,
            "BOOLEAN" | "BOOL" => ColumnType::Boolean,
            "TIMESTAMP" | "TIMESTAMP_NS" | "DATE" => ColumnType::Timestamp,
            _ => {
                return refuse(format!(
                    "there is no type {name}: use SYMBOL, VARCHAR, LONG, BIGINT UNSIGNED, DOUBLE, BOOLEAN or TIMESTAMP"
                ));
            }
        };
        loop {
            if self.take("CAPACITY") {
                self.number()?;
            } else if !(self.take("CACHE")
                || self.take("NOCACHE")
                || self.take("INDEX")
                || self.take("NULL"))
            {
                return Ok(ty);
            }
        }
    }

    /// `INDEX(column CAPACITY n)`: every column is found without one.
    fn ignore_index(&mut self) -> Result<()> {
        self.0.advance_token();
        self.0.expect_token(&Token::LParen)?;
        self.name()?;
        if self.take("CAPACITY") {
            self.number()?;
        }
        self.0.expect_token(&Token::RParen)?;
        Ok(())
    }

    /// `n HOURS`, or days, weeks, months of 30 days, years of 365; or `0`, or as `7d`. In seconds.
    fn ttl(&mut self) -> Result<u64> {
        let number = self.number_with_unit()?;
        let (text, unit) = match number {
            (text, Some(unit)) => (text, unit),
            (text, None) => match self.peek() {
                Token::Word(word) => {
                    self.0.advance_token();
                    (text, word.value)
                }
                _ if text == "0" => return Ok(0),
                _ => return self.unexpected("HOURS, DAYS, WEEKS, MONTHS or YEARS"),
            },
        };
        let hours = match unit.to_uppercase().trim_end_matches('S') {
            "H" | "HOUR" => 1,
            "D" | "DAY" => 24,
            "W" | "WEEK" => 24 * 7,
            "M" | "MONTH" => 24 * 30,
            "Y" | "YEAR" => 24 * 365,
            _ => return refuse(format!("'{unit}' is none of HOURS, DAYS, WEEKS, MONTHS, YEARS")),
        };
        let count: u64 =
            text.parse().map_err(|_| Fault::Refused(format!("'{text}' is no count")))?;
        Ok(count.saturating_mul(hours * 3600))
    }

    /// `key = value`, the value with its unit if it has one.
    fn parameter(&mut self) -> Result<(String, (String, Option<String>))> {
        let key = self.name()?;
        self.0.expect_token(&Token::Eq)?;
        Ok((key, self.number_with_unit()?))
    }

    /// A number, and the word written right behind it.
    fn number_with_unit(&mut self) -> Result<(String, Option<String>)> {
        let token = self.0.next_token();
        let text = match &token.token {
            Token::Number(text, _) => text.clone(),
            Token::SingleQuotedString(text) => text.clone(),
            // `600s` is one word where a dialect lets words begin with digits.
            Token::Word(Word { value, .. }) if value.starts_with(|c: char| c.is_ascii_digit()) => {
                value.clone()
            }
            _ => return Ok(self.0.expected("a number", token)?),
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if !unit.is_empty() {
            return Ok((number.to_owned(), Some(unit.to_owned())));
        }
        let next = self.0.peek_token();
        let follows = next.span.start == token.span.end;
        match next.token {
            Token::Word(word) if follows => {
                self.0.advance_token();
                Ok((number.to_owned(), Some(word.value)))
            }
            _ => Ok((number.to_owned(), None)),
        }
    }
}

/// A slip of a unit is said, rather than kept as a table that never becomes files by age.
const O3_MAX_LAG_MS_MAX: u64 = 365 * 86_400_000;

const NO_BYPASS: &str = "every table has a WAL; there is no other kind";

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// What a parameter of a table changes; `None` for one that means nothing here.
fn parameter(key: &str, (number, unit): &(String, Option<String>)) -> Result<Option<TableChange>> {
    let number: u64 =
        number.parse().map_err(|_| Fault::Refused(format!("the value of '{key}' is no number")))?;
    match key.to_lowercase().as_str() {
        "o3maxlag" => {
            let micros_per_unit = match unit.as_deref().unwrap_or("us") {
                "us" => 1,
                "ms" => 1000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                unit => return refuse(format!("'{unit}' is none of us, ms, s, m, h, d")),
            };
            let millis = number.saturating_mul(micros_per_unit) / 1000;
            if millis > O3_MAX_LAG_MS_MAX {
                return refuse("o3MaxLag is at most 365d: what waits is in memory");
            }
            Ok(Some(TableChange::O3MaxLagMs(Some(millis))))
        }
        "walsegmentrolloverrowcount" if number > 0 => {
            Ok(Some(TableChange::SegmentRows(Some(number))))
        }
        "walsegmentrolloverrowcount" => refuse("a segment has at least one row"),
        "maxuncommittedrows" => Ok(None),
        _ => refuse(format!(
            "unknown parameter '{key}': there are o3MaxLag and walSegmentRolloverRowCount"
        )),
    }
}
