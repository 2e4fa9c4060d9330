//! What a file holds, for people: line by line, with the byte ranges that do not verify.

/// A file, printed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dump {
    /// What is there, in the order of the file.
    pub lines: Vec<String>,
    /// What is wrong, in the order of the file. None: the file is sound.
    pub damage: Vec<Damage>,
}

/// Bytes that are not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The first byte in doubt.
    pub from: u64,
    /// The byte after the last one in doubt.
    pub to: u64,
    /// What does not hold.
    pub what: String,
}

impl Dump {
    /// Adds a line.
    pub fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Adds damaged bytes, as a line too.
    pub fn damaged(&mut self, from: u64, to: u64, what: impl Into<String>) {
        let what = what.into();
        self.lines.push(format!("{from:>10}  DAMAGED up to byte {to}: {what}"));
        self.damage.push(Damage { from, to, what });
    }
}
