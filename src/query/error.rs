//! What went wrong with a query, whose fault it is, and where in the statement.

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Diagnostic, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use std::fmt;

/// A query that gave no answer, or not all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What to tell the caller; one line.
    pub message: String,
    /// Where in the statement, counted in characters from 0, when that is known.
    pub position: Option<usize>,
}

/// Whose fault a failed query is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The statement is wrong, or asks for what is not there.
    Statement,
    /// It ran longer than the time limit.
    Timeout,
    /// It needed more memory, temporary space or output than the limits allow.
    Resources,
    /// A part could not be read, or we have a bug.
    Internal,
}

impl QueryError {
    /// A statement that is wrong.
    pub(super) fn statement(message: impl Into<String>) -> QueryError {
        QueryError::new(ErrorKind::Statement, message)
    }

    /// An error without a position.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> QueryError {
        QueryError { kind, message: message.into(), position: None }
    }

    /// The caller's view of what DataFusion said about `sql`.
    pub(super) fn from_datafusion(error: &DataFusionError, sql: &str) -> QueryError {
        let position = error.diagnostic().and_then(|found| position_of(found, sql));
        let root = error.find_root();
        let (kind, message) = explain(root);
        let (message, located) = split_location(&message);
        let position = position
            .or_else(|| located.map(|at| character_offset(sql, at)))
            .or_else(|| message.ends_with("found: EOF").then(|| sql.trim_end().chars().count()))
            .or_else(|| position_of_word(sql, missing_field(root)?));
        QueryError { kind, message: message.to_owned(), position }
    }

    /// The error as `/api/v3/query_sql` answers it: `error` and, when it is known, `position`.
    pub fn to_value(&self) -> serde_json::Value {
        match self.position {
            Some(position) => serde_json::json!({ "error": self.message, "position": position }),
            None => serde_json::json!({ "error": self.message }),
        }
    }

    /// The error as `/exec` answers it: `query`, `error` and `position`, which is 0 when it is not known.
    pub fn to_json(&self, sql: &str) -> String {
        serde_json::json!({
            "query": sql,
            "error": self.message,
            "position": self.position.unwrap_or(0),
        })
        .to_string()
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.position {
            Some(position) => write!(f, " (at character {position})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QueryError {}

/// Whose fault an error is, and its first line.
fn explain(error: &DataFusionError) -> (ErrorKind, String) {
    let (kind, message) = match error {
        DataFusionError::Diagnostic(_, inner) => return explain(inner.find_root()),
        DataFusionError::Shared(inner) => return explain(inner.find_root()),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => return explain(first.find_root()),
            None => (ErrorKind::Internal, error.to_string()),
        },
        DataFusionError::SQL(parser, _) => (ErrorKind::Statement, parser_message(parser)),
        DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Execution(message)
        | DataFusionError::Configuration(message) => (ErrorKind::Statement, message.clone()),
        DataFusionError::SchemaError(schema, _) => (ErrorKind::Statement, schema.to_string()),
        DataFusionError::ArrowError(arrow, _)
            if !matches!(**arrow, ArrowError::IoError(..) | ArrowError::ParquetError(_)) =>
        {
            (ErrorKind::Statement, arrow.to_string())
        }
        DataFusionError::ResourcesExhausted(message) => (ErrorKind::Resources, exhausted(message)),
        // A full spill budget comes back through Arrow, as an error of its file.
        DataFusionError::ArrowError(arrow, _) if is_spill_limit(arrow) => {
            (ErrorKind::Resources, exhausted(&arrow.to_string()))
        }
        _ => (ErrorKind::Internal, error.strip_backtrace()),
    };
    (kind, message.lines().next().unwrap_or_default().to_owned())
}

fn exhausted(message: &str) -> String {
    format!("the query needs more memory or temporary space than it may use: {message}")
}

fn is_spill_limit(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IoError(message, _) if message.contains("max_temp_directory_size"))
}

fn parser_message(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
    }
}

fn position_of(diagnostic: &Diagnostic, sql: &str) -> Option<usize> {
    let start = diagnostic.span?.start;
    Some(character_offset(sql, (start.line, start.column)))
}

/// The column that a statement names and no table has. DataFusion does not say where in every clause.
fn missing_field(error: &DataFusionError) -> Option<&str> {
    match error {
        DataFusionError::Diagnostic(_, inner) => missing_field(inner.find_root()),
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, .. } => Some(&field.name),
            _ => None,
        },
        _ => None,
    }
}

/// Where a word stands, counted in characters, when it stands in one place only.
fn position_of_word(sql: &str, word: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = sql.match_indices(word).filter(|(at, found)| {
        !sql[..*at].ends_with(is_word) && !sql[at + found.len()..].starts_with(is_word)
    });
    let (at, _) = places.next().filter(|_| !word.is_empty())?;
    places.next().is_none().then(|| sql[..at].chars().count())
}

/// Takes ` at Line: L, Column: C` off the end of a parser's message.
fn split_location(message: &str) -> (&str, Option<(u64, u64)>) {
    let parse = || {
        let (head, location) = message.rsplit_once(" at Line: ")?;
        let (line, column) = location.split_once(", Column: ")?;
        Some((head, (line.parse().ok()?, column.parse().ok()?)))
    };
    match parse() {
        Some((head, location)) => (head, Some(location)),
        None => (message, None),
    }
}

/// Turns a line and a column, both from 1, into a count of characters from 0.
fn character_offset(sql: &str, (line, column): (u64, u64)) -> usize {
    let before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines: usize =
        sql.split_inclusive('\n').take(before).map(|line| line.chars().count()).sum();
    lines.saturating_add(usize::try_from(column.saturating_sub(1)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_at_the_end_of_a_message_becomes_a_count_of_characters() {
        let sql = "SELECT é,\n  x FRM t";
        let error = ParserError::ParserError(
            "Expected: end of statement, found: t at Line: 2, Column: 9".to_owned(),
        );
        let error = QueryError::from_datafusion(&DataFusionError::SQL(Box::new(error), None), sql);
        assert_eq!(error.message, "Expected: end of statement, found: t");
        assert_eq!(error.position, Some(18));
        assert_eq!(sql.chars().nth(18), Some('t'));
    }

    #[test]
    fn a_word_is_found_when_it_stands_in_one_place() {
        assert_eq!(position_of_word("SELECT é ORDER BY\n  nope", "nope"), Some(20));
        assert_eq!(position_of_word("SELECT no, nope FROM no_t", "no"), Some(7));
        assert_eq!(position_of_word("SELECT no FROM t WHERE no > 1", "no"), None);
        assert_eq!(position_of_word("SELECT 1", ""), None);
    }

    #[test]
    fn a_statement_that_breaks_off_is_wrong_at_its_end() {
        let error = ParserError::ParserError("Expected: an expression, found: EOF".to_owned());
        let error =
            QueryError::from_datafusion(&DataFusionError::SQL(Box::new(error), None), "SELECT é, ");
        assert_eq!(error.position, Some(9));
    }
}
