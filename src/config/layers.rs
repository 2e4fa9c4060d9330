//! Putting defaults, file, environment and flags together, with errors that say where a value stands.

use super::Settings;
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// A value that cannot be used: where it stands and what is wrong with it, in one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ConfigError {
    /// A file with a line number, an environment variable, or a flag.
    pub place: String,
    /// What is wrong and what would be right.
    pub fault: String,
}

/// The layers applied so far.
#[derive(Clone, Debug)]
pub struct Layers {
    effective: Table,
    /// Every key and its default, which says what type it has.
    known: BTreeMap<String, Value>,
    warnings: Vec<String>,
}

impl Layers {
    /// The defaults.
    #[must_use]
    pub fn defaults() -> Layers {
        let effective =
            Table::try_from(Settings::default()).expect("the defaults are plain TOML values");
        let mut known = BTreeMap::new();
        collect(&effective, "", &mut known);
        Layers { effective, known, warnings: Vec::new() }
    }

    /// Every key, with its default, sorted.
    pub fn known(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.known.iter().map(|(key, default)| (key.as_str(), default))
    }

    /// Puts a file's keys on top. `path` is for messages.
    ///
    /// # Errors
    /// The text is not TOML, or a key or value in it is none of ours.
    pub fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let place = |offset: usize| {
            let line = 1 + text.as_bytes()[..offset.min(text.len())]
                .iter()
                .filter(|&&b| b == b'\n')
                .count();
            format!("{}:{line}", path.display())
        };
        let parsed = DeTable::parse(text).map_err(|e| ConfigError {
            place: place(e.span().map_or(0, |s| s.start)),
            fault: one_line(e.message()),
        })?;
        // Read once more as plain values: the tree above is there to find the lines.
        let values: Table = toml::from_str(text)
            .map_err(|e| ConfigError { place: place(0), fault: one_line(e.message()) })?;
        let mut leaves = Vec::new();
        flatten(parsed.get_ref(), "", &self.known, &mut leaves);
        for (key, offset) in leaves {
            let value = lookup(&values, &key).cloned().expect("both readings are of one text");
            self.set(&key, value).map_err(|fault| ConfigError { place: place(offset), fault })?;
        }
        Ok(())
    }

    /// Puts the environment's keys on top. Variables without our prefix are ignored; one with the prefix that names no key is
    /// a warning.
    ///
    /// # Errors
    /// The value of a variable does not fit its key.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let by_variable: BTreeMap<String, String> =
            self.known.keys().map(|key| (variable(key), key.clone())).collect();
        for (name, text) in variables {
            if !name.starts_with(PREFIX) || NOT_KEYS.contains(&name.as_str()) {
                continue;
            }
            let Some(key) = by_variable.get(&name) else {
                let nearest = nearest(&name, by_variable.keys().map(String::as_str));
                self.warnings.push(format!(
                    "environment variable {name} is no key and is ignored; the nearest is {nearest}"
                ));
                continue;
            };
            self.set_text(key, &text).map_err(|fault| ConfigError { place: name, fault })?;
        }
        Ok(())
    }

    /// Puts one flag on top.
    ///
    /// # Errors
    /// The value does not fit the key.
    pub fn flag(&mut self, flag: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        self.set_text(key, text).map_err(|fault| ConfigError { place: flag.to_owned(), fault })
    }

    /// What the layers amount to, and what deserves a warning.
    ///
    /// # Errors
    /// Values that fit their keys but not each other.
    pub fn finish(self) -> Result<(Settings, Vec<String>), ConfigError> {
        let settings: Settings = self.effective.try_into().map_err(|e: toml::de::Error| {
            ConfigError { place: "configuration".to_owned(), fault: one_line(e.message()) }
        })?;
        settings.validate()?;
        Ok((settings, self.warnings))
    }

    /// Sets a key from text: a string as it is, anything else as TOML spells it.
    fn set_text(&mut self, key: &str, text: &str) -> Result<(), String> {
        let value = match self.known.get(key) {
            Some(Value::String(_)) | None => Value::String(text.to_owned()),
            Some(default) => toml::from_str::<Table>(&format!("value = {text}"))
                .ok()
                .and_then(|mut table| table.remove("value"))
                .ok_or_else(|| format!("{key} takes {}, not {text:?}", article(default)))?,
        };
        self.set(key, value)
    }

    /// Sets a key, or says why not.
    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        let Some(default) = self.known.get(key) else {
            let nearest = nearest(key, self.known.keys().map(String::as_str));
            return Err(format!("unknown key `{key}`; did you mean `{nearest}`?"));
        };
        if !default.same_type(&value) {
            return Err(format!("{key} takes {}, not {value}", article(default)));
        }
        let old = replace(&mut self.effective, key, value.clone());
        if let Err(e) = self.effective.clone().try_into::<Settings>() {
            if let Some(old) = old {
                replace(&mut self.effective, key, old);
            }
            return Err(format!("{key} cannot be {value}: {}", one_line(e.message())));
        }
        Ok(())
    }
}

/// The environment variable of a key.
#[must_use]
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

const PREFIX: &str = "HEADWATER_";
/// Variables with our prefix that are read elsewhere.
const NOT_KEYS: &[&str] = &["HEADWATER_CONFIG"];

fn collect(table: &Table, prefix: &str, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        match value {
            Value::Table(inner) => collect(inner, &format!("{prefix}{name}."), into),
            leaf => {
                into.insert(format!("{prefix}{name}"), leaf.clone());
            }
        }
    }
}

/// The dotted keys of a file in order, each with where it stands. Descends into known sections only, so an unknown section is
/// one unknown key.
fn flatten(
    table: &DeTable<'_>,
    prefix: &str,
    known: &BTreeMap<String, Value>,
    into: &mut Vec<(String, usize)>,
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let section = format!("{key}.");
        match value.get_ref() {
            DeValue::Table(inner) if known.keys().any(|k| k.starts_with(&section)) => {
                flatten(inner, &section, known, into);
            }
            _ => into.push((key, name.span().start)),
        }
    }
}

fn lookup<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => table.get(section)?.as_table().and_then(|t| lookup(t, rest)),
    }
}

fn replace(table: &mut Table, key: &str, value: Value) -> Option<Value> {
    match key.split_once('.') {
        None => table.insert(key.to_owned(), value),
        Some((section, rest)) => replace(table.get_mut(section)?.as_table_mut()?, rest, value),
    }
}

/// The known name that is most like `name`, whole or by its last part: `[wall] segment_byte` finds `wal.segment_bytes`.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> &'k str {
    let last = |s: &str| s.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |k: &str| {
        let whole = strsim::normalized_damerau_levenshtein(name, k);
        let part = strsim::normalized_damerau_levenshtein(&last(name), &last(k));
        whole.max(0.9 * part)
    };
    // A section can be misspelt as a key can.
    let sections = |k: &'k str| [Some(k), k.rsplit_once('.').map(|(section, _)| section)];
    let names = known.flat_map(sections).flatten();
    names.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or_default()
}

fn article(default: &Value) -> &'static str {
    match default {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings, ConfigError> {
        let mut layers = Layers::defaults();
        layers.file(Path::new("hw.toml"), text)?;
        Ok(layers.finish()?.0)
    }

    fn fault(text: &str) -> String {
        file(text).unwrap_err().to_string()
    }

    fn env(variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), ConfigError> {
        let mut layers = Layers::defaults();
        layers.environment(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))?;
        layers.finish()
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::defaults();
        layers
            .file(
                Path::new("hw.toml"),
                "data_dir = 'a'\n[ilp]\naddr = 'f:1'\n[wal]\nsegment_rows = 7",
            )
            .unwrap();
        layers
            .environment([
                ("HEADWATER_ILP_ADDR".to_owned(), "e:2".to_owned()),
                ("HEADWATER_DATA_DIR".to_owned(), "b".to_owned()),
            ])
            .unwrap();
        layers.flag("--data-dir", "data_dir", "c").unwrap();
        let (settings, warnings) = layers.finish().unwrap();
        assert_eq!(settings.data_dir, Path::new("c"));
        assert_eq!((settings.ilp.addr.as_str(), settings.wal.segment_rows), ("e:2", 7));
        assert!(warnings.is_empty());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        for (text, expect) in [
            (
                "\n[wal]\nsegment_byte = 1",
                "hw.toml:3: unknown key `wal.segment_byte`; did you mean `wal.segment_bytes`?",
            ),
            (
                "durabilty = 'sync'",
                "hw.toml:1: unknown key `durabilty`; did you mean `durability`?",
            ),
            (
                "segment_bytes = 1",
                "hw.toml:1: unknown key `segment_bytes`; did you mean `wal.segment_bytes`?",
            ),
            (
                "[ilp]\naddr = 'x:1'\n[http]\naddress = 'x:1'",
                "hw.toml:4: unknown key `http.address`; did you mean `http.addr`?",
            ),
        ] {
            assert_eq!(fault(text), expect);
        }
        let section = fault("[wall]\nsegment_bytes = 1");
        assert_eq!(section, "hw.toml:1: unknown key `wall`; did you mean `wal`?");
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_line() {
        for (text, expect) in [
            (
                "[wal]\n\nsegment_bytes = 'big'",
                "hw.toml:3: wal.segment_bytes takes an integer, not \"big\"",
            ),
            (
                "durability = 'sometimes'",
                "hw.toml:1: durability cannot be \"sometimes\": unknown variant `sometimes`, expected one of",
            ),
            ("[wal]\nsegment_bytes = -1", "hw.toml:2: wal.segment_bytes cannot be -1"),
            ("[wal]\nsegment_bytes = 5", "wal.segment_bytes: must be at least 1048576"),
            ("[ilp]\nprecision = 'h'", "ilp.precision: must be ns, us, ms or s"),
            ("[ilp\n", "hw.toml:1: "),
            ("data_dir = ''", "data_dir: must not be empty"),
            ("[apply]\nmemory_bytes = 0", "apply.memory_bytes: must be at least 1048576"),
            ("[limits]\ncolumns = 1", "limits.columns: must be at least 2"),
            ("[tables]\ntime_column = \"a\\n\"", "tables.time_column: names no column"),
            (
                "[tables]\ntime_min = 5\ntime_max = 4",
                "tables.time_min: must not be later than tables.time_max",
            ),
            ("[[tables.rule]]\nttl_s = 5", "tables.rule: a rule needs a pattern"),
            ("[[tables.rule]]\npattern = 'x'", "tables.rule: the rule for \"x\" sets nothing"),
            ("[[tables.rule]]\npatern = 'x'", "hw.toml:1: tables.rule cannot be"),
        ] {
            let fault = fault(text);
            assert!(fault.starts_with(expect), "{fault}");
            assert!(!fault.contains('\n'), "{fault}");
        }
    }

    #[test]
    fn every_key_can_be_set_by_its_variable() {
        let layers = Layers::defaults();
        for (key, default) in layers.known() {
            let text = match default {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert!(env(&[(&variable(key), &text)]).is_ok(), "{key}");
        }
        let (settings, _) = env(&[
            ("HEADWATER_WAL_SEGMENT_BYTES", "2_000_000"),
            ("HEADWATER_HOOK_ENABLED", "false"),
            ("HEADWATER_TABLES_RULE", "[{ pattern = 'cpu*', partition_by = 'hour' }]"),
        ])
        .unwrap();
        assert_eq!((settings.wal.segment_bytes, settings.hook.enabled), (2_000_000, false));
        assert_eq!(settings.tables.rule[0].pattern, "cpu*");
    }

    #[test]
    fn a_foreign_variable_with_our_prefix_is_a_warning_and_a_bad_value_an_error() {
        let (_, warnings) =
            env(&[("HEADWATER_PORT", "tcp://10.0.0.1:9009"), ("PATH", "/bin")]).unwrap();
        assert_eq!(warnings.len(), 1);
        let fault = env(&[("HEADWATER_WAL_SEGMENT_BYTES", "64MiB")]).unwrap_err().to_string();
        assert_eq!(
            fault,
            "HEADWATER_WAL_SEGMENT_BYTES: wal.segment_bytes takes an integer, not \"64MiB\""
        );
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        let printed = toml::to_string_pretty(&Settings::default()).unwrap();
        assert_eq!(file(&printed).unwrap(), Settings::default());
    }
}
