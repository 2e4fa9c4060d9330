//! Which names a table or a column may have.

/// Why a name is refused, in words for a reply.
type NameFault = &'static str;

/// Checks a table name that came from outside: 1 to `bytes_max` bytes, nothing that a file system, a shell or a reader of
/// logs could trip over.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_table_name(name: &str, bytes_max: usize) -> Result<(), NameFault> {
    check(name, bytes_max)
}

/// Checks a column name that came from outside; the rules are those of tables.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_column_name(name: &str, bytes_max: usize) -> Result<(), NameFault> {
    check(name, bytes_max)
}

fn check(name: &str, bytes_max: usize) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.len() > bytes_max {
        return Err("the name is longer than the limit");
    }
    if name.chars().any(|c| c.is_control()) {
        return Err("the name holds a control character");
    }
    if name.chars().any(is_deceptive) {
        return Err("the name holds an invisible character that changes how text is shown");
    }
    Ok(())
}

/// True for marks that reorder or hide text around them: a name with one reads as another name.
pub fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass_and_harmful_ones_say_why() {
        for good in ["cpu", "../x", "a b", "ΔT", "NUL", "a.b-c/d", "\u{1f600}"] {
            assert_eq!(check_table_name(good, 127), Ok(()), "{good:?}");
        }
        let long = "x".repeat(128);
        for bad in ["", "a\0b", "a\nb", "a\u{7f}", "a\u{202e}b", "\u{feff}a", long.as_str()] {
            assert!(check_table_name(bad, 127).is_err(), "{bad:?}");
        }
    }
}
