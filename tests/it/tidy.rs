//! Holds the source tree to the picture in ARCHITECTURE.md: who may import whom, headers, lengths, one Arrow family.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A stage and what it may import from the crate. Everything absent is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("planted", &[]),
    ("clock", &[]),
    ("metrics", &[]),
    ("io", &["planted"]),
    ("schema", &["types"]),
    ("codec", &["types"]),
    ("wal", &["types", "planted", "clock", "io", "metrics", "schema"]),
    ("sequencer", &["types", "planted", "clock", "io", "metrics", "schema"]),
    ("storage", &["types", "planted", "clock", "io", "metrics", "schema"]),
    ("apply", &["types", "planted", "clock", "io", "metrics", "schema", "wal", "storage"]),
    ("hooks", &["types", "planted", "clock", "metrics", "schema"]),
    ("query", &["types", "clock", "metrics", "schema", "storage"]),
    (
        "engine",
        &[
            "types",
            "planted",
            "clock",
            "io",
            "metrics",
            "schema",
            "codec",
            "wal",
            "sequencer",
            "storage",
            "apply",
            "hooks",
            "query",
        ],
    ),
    (
        "config",
        &["engine", "wal", "sequencer", "apply", "hooks", "query", "codec", "types", "server"],
    ),
    ("server", &["types", "clock", "io", "metrics", "codec", "query", "engine", "config"]),
    ("bench", &["types", "clock", "codec"]),
];

/// Lines of a source file, tests included, above which it holds more than one noun.
const FILE_LINES_MAX: usize = 800;

#[test]
fn stages_import_only_what_the_picture_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(stage, may)| (*stage, may.iter().copied().collect())).collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(stage) = stage_of(&path).filter(|_| !is_test(&path)) else { continue };
        let Some(may) = allowed.get(stage.as_str()) else {
            faults.push(format!("{}: stage {stage} is not in the picture", path.display()));
            continue;
        };
        for (number, line) in code_lines(&text) {
            for imported in imports(line) {
                if imported != stage && allowed.contains_key(imported) && !may.contains(imported) {
                    faults.push(format!("{}:{number}: {stage} imports {imported}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for_and_holds_one_noun() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//! ") {
            faults.push(format!("{}: the first line must be `//!`", path.display()));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
        if is_specification(&path) {
            for (number, line) in code_lines(&text) {
                let logic = ["fn ", "pub fn ", "impl ", "struct ", "pub struct "];
                if logic.iter().any(|word| line.starts_with(word)) {
                    faults.push(format!("{}:{number}: mod.rs holds logic", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn one_version_of_each_family_that_must_fit_together() {
    let lock = read(&root().join("Cargo.lock"));
    for name in ["arrow", "arrow-array", "parquet", "datafusion", "object_store", "tokio", "bytes"]
    {
        let versions = lock.matches(&format!("\nname = \"{name}\"\n")).count();
        assert!(versions <= 1, "{versions} versions of {name} in Cargo.lock");
    }
}

#[test]
fn docs_list_every_metric_and_dashboards_use_no_other() {
    let docs = read(&root().join("docs/metrics.md"));
    let known: BTreeSet<&str> = headwater::metrics::FAMILIES.iter().map(|f| f.name).collect();
    for family in headwater::metrics::FAMILIES {
        assert!(
            docs.contains(&format!("`{}`", family.name)),
            "docs/metrics.md lacks {}",
            family.name
        );
        assert!(docs.contains(family.help), "docs/metrics.md has another help for {}", family.name);
    }
    for dir in ["grafana/dashboards", "docs"] {
        for path in files(&root().join(dir)) {
            let text = read(&path);
            for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
                let is_metric = word.starts_with("headwater_") && word.len() > "headwater_".len();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| word.strip_suffix(s));
                if is_metric && !known.contains(word) && !base.is_some_and(|b| known.contains(b)) {
                    panic!("{}: unknown metric {word}", path.display());
                }
            }
        }
    }
}

#[test]
fn the_project_stands_alone() {
    let mut faults = Vec::new();
    let top = std::fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> =
        top.filter(|path| path.is_file() && !path.ends_with(".git")).collect();
    for dir in [
        "src",
        "tests",
        "benches",
        "docs",
        "grafana",
        "scripts",
        "examples",
        "fuzz/fuzz_targets",
        ".ci",
    ] {
        all.extend(files(&root().join(dir)));
    }
    for path in all {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // Spelled in pieces, so that this file does not find itself.
        for foreign in [
            concat!("../sha", "red"),
            concat!("/wo", "rk/"),
            concat!("/ro", "ot/"),
            concat!("/tm", "p/hw"),
        ] {
            if text.contains(foreign) {
                faults.push(format!("{}: names {foreign}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_row_of_a_recovery_table_stands_in_the_code_and_in_a_test() {
    let docs = files(&root().join("docs/formats"));
    let rows = docs.iter().flat_map(|path| {
        let text = read(path);
        let rows: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(label).collect();
        rows
    });
    let documented: Vec<String> = rows.collect();
    // Each table has a letter of its own. Elsewhere only those are labels.
    let letters: BTreeSet<&str> = documented.iter().map(|label| &label[..1]).collect();
    let row = |text: &str| label(text).filter(|label| letters.contains(&label[..1]));
    let distinct: BTreeSet<&String> = documented.iter().collect();
    assert_eq!(documented.len(), distinct.len(), "two rows have one label: {documented:?}");
    let (mut coded, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in sources() {
        let is_test = is_test(&path) || path.ends_with("tests.rs");
        let place = if is_test { &mut tested } else { &mut coded };
        for line in text.lines() {
            let line = line.trim_start();
            // In code, in a comment that speaks of a row; in a test, as a string by itself.
            let words = match is_test {
                true => line.split('"').filter_map(row).collect::<Vec<_>>(),
                false if line.starts_with("//") && line.to_lowercase().contains("row") => {
                    line.split([' ', ',', '.', ':', ';']).filter_map(row).collect()
                }
                false => Vec::new(),
            };
            place.extend(words);
        }
    }
    let documented: BTreeSet<String> = documented.into_iter().collect();
    assert!(documented.len() > 60, "{documented:?}");
    for (what, found) in [("code", coded), ("tests", tested)] {
        let missing: Vec<_> = documented.difference(&found).collect();
        let unknown: Vec<_> = found.difference(&documented).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{what}: lacks {missing:?}, has {unknown:?}"
        );
    }
}

#[test]
fn every_fault_of_the_list_names_tests_that_there_are() {
    let faults = read(&root().join("docs/faults.md"));
    let tests: String = sources().into_iter().map(|(_, text)| text).collect();
    let integration: String =
        files(&root().join("tests/it")).iter().map(|path| read(path)).collect();
    let programs = read(&root().join("tests/e2e/run.py"));
    let mut listed = BTreeSet::new();
    for line in faults.lines().filter(|line| line.starts_with("| F")) {
        let (label, names) = (line.split('|').nth(1).unwrap(), line.rsplit('|').nth(1).unwrap());
        let numbers: Vec<u32> =
            label.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        listed.extend(first..=last);
        for name in names.split('`').skip(1).step_by(2) {
            let is_there = match name.strip_prefix("e2e:") {
                Some(name) => programs.contains(&format!("(\"{name}\", ")),
                None if name == "models" || name == "planted" => true,
                None => {
                    let signature = format!("fn {name}(");
                    tests.contains(&signature) || integration.contains(&signature)
                }
            };
            assert!(is_there, "{label} names {name}, which is no test");
        }
    }
    assert_eq!(listed, (1..=53).collect());
}

/// The label of a table's row at the beginning of a text: a letter and a number.
fn label(text: &str) -> Option<String> {
    let label = text.split(' ').next()?;
    let number = label.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| label.to_owned())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn sources() -> Vec<(PathBuf, String)> {
    let all =
        files(&root().join("src")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    all.map(|p| (p.clone(), read(&p))).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The stage that a file belongs to: the first name below `src/`. The crate's root has none.
fn stage_of(path: &Path) -> Option<String> {
    let below = path.strip_prefix(root().join("src")).ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    let stage = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(stage, "lib" | "main")).then(|| stage.to_owned())
}

/// True for the `mod.rs` of a stage, which is its specification; those of folders within a stage may hold code.
fn is_specification(path: &Path) -> bool {
    let below = path.strip_prefix(root().join("src")).unwrap_or(path);
    below.components().count() == 2 && below.ends_with("mod.rs")
}

/// True below a folder `tests`, where fixtures may bring in what the stage itself must not know.
fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests")
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l))
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// The stages that a line of code names as `crate::stage`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices("crate::").flat_map(move |(at, word)| {
        let rest = &line[at + word.len()..];
        // In `crate::{a::b, c}` each name is taken for a stage; those that are none are passed over by the caller.
        let named = rest
            .strip_prefix('{')
            .unwrap_or_else(|| &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]);
        named.split(move |c| !is_name(c)).filter(|name| !name.is_empty())
    })
}

#[test]
fn an_import_is_seen_alone_and_in_a_group() {
    let seen = |line| imports(line).collect::<Vec<_>>();
    assert_eq!(seen("use crate::wal::{Batch, Lease};"), ["wal"]);
    assert_eq!(seen("use crate::{io, wal::Batch};"), ["io", "wal", "Batch"]);
    assert_eq!(seen("let at = crate::clock::now();"), ["clock"]);
}
