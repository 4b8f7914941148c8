//! What docs/protocol.md says, as far as a program can read it: its examples and its tables.

use crate::harness::wire::message::Reason;

/// The document.
pub const TEXT: &str = include_str!("../../../docs/protocol.md");

/// An example: a fenced block that is marked `hex`, with what it is of behind that.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it is of.
    pub head: String,
    /// Its lines.
    pub text: String,
}

/// All examples in their order.
pub fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = TEXT.lines();
    while let Some(line) = lines.next() {
        if let Some(head) = line.strip_prefix("```hex ") {
            let text = lines.by_ref().take_while(|line| *line != "```");
            examples.push(Example {
                head: head.to_owned(),
                text: text.map(|line| format!("{line}\n")).collect(),
            });
        }
    }
    examples
}

impl Example {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.text.lines().flat_map(|line| parts(line).0).collect()
    }

    /// The bytes of each line, and what the line says of them.
    pub fn lines(&self) -> impl Iterator<Item = (Vec<u8>, &str)> {
        self.text.lines().map(parts)
    }
}

/// A line of an example: bytes, two blanks, what they say.
fn parts(line: &str) -> (Vec<u8>, &str) {
    let (hex, says) = line.split_once("  ").unwrap_or((line, ""));
    (unhex(hex), says.trim_start())
}

/// The bytes that hexadecimal digits stand for; blanks between them are skipped.
pub fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &str| {
        assert_eq!(pair.len(), 2, "{pair:?} in {text:?}");
        u8::from_str_radix(pair, 16).unwrap()
    };
    text.split_whitespace().map(byte).collect()
}

/// The rows of all tables in the section of this title, cell by cell, without their heads.
pub fn rows(title: &str) -> Vec<Vec<&'static str>> {
    let heading = format!("\n## {title}\n");
    let section = TEXT.split_once(&heading).expect(title).1;
    let section = section.split("\n## ").next().unwrap();
    let mut rows = Vec::new();
    for line in section.lines() {
        match line.strip_prefix('|') {
            // The rule below a head.
            Some(cells) if cells.starts_with("---") => drop(rows.pop()),
            Some(cells) => {
                let cells = cells.trim_end_matches('|').split('|');
                rows.push(cells.map(str::trim).collect());
            }
            None => {}
        }
    }
    rows
}

/// Whether the document has this text among those that a refusal for this reason may bear.
pub fn has_refusal(reason: Reason, text: &str) -> bool {
    let name = format!("`{reason:?}`");
    let rows = rows("Refusals");
    let mut patterns: Vec<_> = rows
        .iter()
        .filter(|row| row.len() == 4 && row[1] == name)
        .flat_map(|row| row[2].split(" – or – "))
        .collect();
    if reason == Reason::Protocol {
        patterns = rows
            .iter()
            .filter(|row| row.len() == 2)
            .map(|row| row[0])
            .collect();
    }
    patterns.iter().any(|pattern| matches(text, pattern))
}

/// Whether the text is the pattern with one word in place of each `*n*` and `*address*`.
fn matches(text: &str, pattern: &str) -> bool {
    let pattern = pattern.replace("*address*", "*n*");
    let Some((before, after)) = pattern.split_once("*n*") else {
        return text == pattern;
    };
    text.strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .is_some_and(|word| !word.is_empty() && !word.contains(' '))
}
