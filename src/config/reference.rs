//! The page that lists every key: `docs/configuration.md` is this text, and a test holds it to it.

use super::layers::{Layers, variable};
use super::settings::{HELP, Help};
use toml::Value;

/// All keys as Markdown: one table a section, with variable, default and meaning.
#[must_use]
pub fn reference() -> String {
    let layers = Layers::defaults();
    let mut page = String::from(OPENING);
    for Help { section, about, keys } in HELP {
        let title =
            if section.is_empty() { "The server".to_owned() } else { format!("`[{section}]`") };
        page.push_str(&format!(
            "\n## {title}\n\n{}\n\n| key | variable | default | meaning |\n|---|---|---|---|\n",
            about.trim()
        ));
        for (name, help) in *keys {
            let key =
                if section.is_empty() { (*name).to_owned() } else { format!("{section}.{name}") };
            let Some((_, default)) = layers.known().find(|(known, _)| *known == key) else {
                continue; // A section named at the top level is no key.
            };
            page.push_str(&format!(
                "| `{key}` | `{}` | {} | {} |\n",
                variable(&key),
                spell(default),
                help.trim()
            ));
        }
    }
    page
}

fn spell(default: &Value) -> String {
    match default {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        other => format!("`{}`", other.to_string().replace('|', "\\|")),
    }
}

const OPENING: &str = "\
# Configuration

<!-- Printed by `headwater config --reference`; a test holds this file to it. -->

Every key has a default, so that `headwater serve` needs no file. Later layers win: defaults, then the file given by `--config`
(or `HEADWATER_CONFIG`), then the environment, then the command line. `headwater config` prints what they amount to. An unknown
key or a value that does not fit stops the start with one line that says where it stands and names the nearest key.

In a file, `wal.segment_bytes` is `segment_bytes` in section `[wal]`. Sizes are bytes (`_bytes`), times are milliseconds (`_ms`).
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_the_printed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).expect("docs/configuration.md is there");
        assert!(
            page == reference(),
            "docs/configuration.md is not what `headwater config --reference` prints; print it there"
        );
    }

    #[test]
    fn every_key_has_a_meaning_and_a_variable_of_its_own() {
        let page = reference();
        let layers = Layers::defaults();
        let mut variables = std::collections::HashSet::new();
        for (key, _) in layers.known() {
            assert!(page.contains(&format!("| `{key}` |")), "{key} is not on the page");
            assert!(variables.insert(variable(key)), "{} names two keys", variable(key));
        }
    }
}
