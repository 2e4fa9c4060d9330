//! What a table gets when a line creates it, by the pattern that its name matches.

use crate::hooks::REPORTS_TABLE;
use crate::schema::{Dedup, Keys, TableDef, TablePolicy, check_column_name};
use crate::types::PartitionBy;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[tables]` of the configuration: defaults for new tables, and rules by name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct TablesConfig {
    /// Width of the partitions of new tables.
    pub partition_by: PartitionBy,
    /// Name of the designated timestamp of new tables.
    pub time_column: String,
    /// What becomes of rows with one time and tag set in new tables.
    pub duplicates: Duplicates,
    /// Whole partitions older than this go; 0 keeps everything.
    pub ttl_s: u64,
    /// Longest that rows wait in memory for late ones before they are flushed; 0 leaves it to `apply.flush_age_ms`.
    pub o3_max_lag_ms: u64,
    /// The earliest timestamp taken, nanoseconds since 1970.
    pub time_min: i64,
    /// The latest timestamp taken, nanoseconds since 1970.
    pub time_max: i64,
    /// Whether a line may create a table.
    pub new_tables: bool,
    /// Whether a line may add a column to a table.
    pub new_columns: bool,
    /// Exceptions by name; the first that matches holds.
    pub rule: Vec<TableRule>,
}

/// `[[tables.rule]]`: what differs for tables whose name matches.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableRule {
    /// A name in which `*` stands for any text.
    pub pattern: String,
    /// Width of the partitions of new tables.
    pub partition_by: Option<PartitionBy>,
    /// Whole partitions older than this go; 0 keeps everything.
    pub ttl_s: Option<u64>,
    /// Longest that rows wait in memory for late ones before they are flushed; 0 leaves it to `apply.flush_age_ms`.
    pub o3_max_lag_ms: Option<u64>,
    /// Rows of the table at which a segment is followed by the next one; the limits of all segments hold as well.
    pub segment_rows: Option<u64>,
    /// What becomes of rows with one time and tag set in new tables.
    pub duplicates: Option<Duplicates>,
}

/// What becomes of rows with one time and tag set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// All are kept.
    #[default]
    Append,
    /// The last one replaces those before it.
    Replace,
    /// They become one row: in each column the last value.
    Merge,
}

impl Default for TablesConfig {
    fn default() -> TablesConfig {
        TablesConfig {
            partition_by: PartitionBy::Day,
            time_column: "time".to_owned(),
            duplicates: Duplicates::Append,
            ttl_s: 0,
            o3_max_lag_ms: 0,
            time_min: i64::MIN,
            time_max: i64::MAX,
            new_tables: true,
            new_columns: true,
            rule: Vec::new(),
        }
    }
}

impl TablesConfig {
    /// Judges what the type of a key cannot tell.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        check_column_name(&self.time_column, usize::MAX)
            .map_err(|fault| ("tables.time_column", format!("names no column: {fault}")))?;
        if self.time_min > self.time_max {
            let fault = "must not be later than tables.time_max".to_owned();
            return Err(("tables.time_min", fault));
        }
        let fault = self.rule.iter().find_map(|rule| match rule {
            _ if rule.pattern.is_empty() => Some("a rule needs a pattern".to_owned()),
            TableRule {
                pattern,
                partition_by: None,
                ttl_s: None,
                o3_max_lag_ms: None,
                segment_rows: None,
                duplicates: None,
            } => Some(format!("the rule for {pattern:?} sets nothing")),
            _ => None,
        });
        fault.map_or(Ok(()), |fault| Err(("tables.rule", fault)))
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct TablePolicies {
    config: TablesConfig,
    reports_reserved: bool,
}

impl TablePolicies {
    /// `reports_reserved`: clients may not write to [`REPORTS_TABLE`].
    pub fn new(config: TablesConfig, reports_reserved: bool) -> TablePolicies {
        TablePolicies { config, reports_reserved }
    }

    /// Whether a line may create a table.
    pub fn may_create_tables(&self) -> bool {
        self.config.new_tables
    }

    /// Whether a line may add a column to a table.
    pub fn may_add_columns(&self) -> bool {
        self.config.new_columns
    }

    /// True for a table that clients may not write to, in any case: names that differ by case only stand in each other's way.
    pub fn is_reserved(&self, table: &str) -> bool {
        self.reports_reserved && table.eq_ignore_ascii_case(REPORTS_TABLE)
    }

    /// What a new table of this name gets.
    pub fn of(&self, table: &str) -> TablePolicy {
        let by = self.rules(table).find_map(|r| r.partition_by);
        let duplicates = self.rules(table).find_map(|r| r.duplicates);
        let dedup = match duplicates.unwrap_or(self.config.duplicates) {
            // Reports of one time and table are distinct counts.
            _ if table == REPORTS_TABLE => Dedup::Append,
            Duplicates::Append => Dedup::Append,
            Duplicates::Replace => Dedup::Replace(Keys::Tags),
            Duplicates::Merge => Dedup::Merge,
        };
        TablePolicy {
            dedup,
            partition_by: by.unwrap_or(self.config.partition_by),
            time_column: self.config.time_column.as_str().into(),
        }
    }

    /// How long a table's rows are kept; `None` is for ever. What a statement said of the table goes before the configuration.
    pub fn ttl(&self, def: &TableDef) -> Option<Duration> {
        let by_rule = || self.rules(&def.name).find_map(|r| r.ttl_s);
        let ttl_s = def.options.ttl_s.or_else(by_rule).unwrap_or(self.config.ttl_s);
        (ttl_s > 0).then(|| Duration::from_secs(ttl_s))
    }

    /// How long rows of a table of this name may wait in memory; `None` as the pool decides.
    pub fn max_lag(&self, def: &TableDef) -> Option<Duration> {
        let by_rule = || self.rules(&def.name).find_map(|r| r.o3_max_lag_ms);
        let set = def.options.o3_max_lag_ms.or_else(by_rule);
        let max_lag_ms = set.unwrap_or(self.config.o3_max_lag_ms);
        (max_lag_ms > 0).then(|| Duration::from_millis(max_lag_ms))
    }

    /// Rows of a table at which a segment is followed by the next one, if it has such a limit of its own.
    pub fn segment_rows(&self, def: &TableDef) -> Option<u64> {
        let by_rule = || self.rules(&def.name).find_map(|rule| rule.segment_rows);
        def.options.segment_rows.or_else(by_rule)
    }

    /// The earliest and the latest time taken.
    pub fn window(&self) -> (i64, i64) {
        (self.config.time_min, self.config.time_max)
    }

    /// Refuses a time outside of the window.
    ///
    /// # Errors
    /// What to tell the client.
    pub fn check_time(&self, time: i64) -> Result<(), String> {
        let (min, max) = self.window();
        if time < min || time > max {
            return Err(format!(
                "{time} ns is outside of {min} to {max}, the window of the server"
            ));
        }
        Ok(())
    }

    fn rules<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a TableRule> {
        self.config.rule.iter().filter(move |rule| matches(&rule.pattern, table))
    }
}

/// Whether `name` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return name.ends_with(piece);
        }
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::TableOptions;
    use crate::types::TableId;

    #[test]
    fn stars_match_any_text() {
        for (pattern, name, expect) in [
            ("cpu", "cpu", true),
            ("cpu", "cpu2", false),
            ("cpu*", "cpu2", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*_total", "x_total", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_matching_rule_that_speaks_of_it_holds() {
        let rule = |pattern: &str, partition_by, ttl_s| TableRule {
            pattern: pattern.to_owned(),
            partition_by,
            ttl_s,
            o3_max_lag_ms: ttl_s.map(|s| s * 100),
            segment_rows: None,
            duplicates: None,
        };
        let config = TablesConfig {
            ttl_s: 9,
            rule: vec![rule("a*", None, Some(0)), rule("ab", Some(PartitionBy::Hour), Some(5))],
            ..TablesConfig::default()
        };
        let policies = TablePolicies::new(config, true);
        assert_eq!(policies.of("ab").partition_by, PartitionBy::Hour);
        let def = |name: &str, ttl_s| TableDef {
            id: TableId(1),
            database: "public".into(),
            name: name.into(),
            partition_by: PartitionBy::Day,
            time_column: "time".into(),
            time_place: u32::MAX,
            created: 0,
            options: TableOptions { ttl_s, ..TableOptions::default() },
        };
        assert_eq!(policies.ttl(&def("ab", None)), None);
        assert_eq!(policies.ttl(&def("x", None)), Some(Duration::from_secs(9)));
        assert_eq!(policies.ttl(&def("x", Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(policies.ttl(&def("x", Some(0))), None);
        assert_eq!(policies.max_lag(&def("ab", None)), None, "the first rule says 0");
        assert_eq!(policies.max_lag(&def("x", None)), None);
        assert!(policies.is_reserved("write_reports") && policies.is_reserved("Write_Reports"));
    }
}
