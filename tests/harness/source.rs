//! Rust source as far as the rules about layers need it: which paths a file names.
//!
//! Comments, text in quotes and what is compiled for tests only are left out.

#![expect(
    clippy::string_slice,
    reason = "lengths are those of characters and words just read"
)]

/// A path as it stands in a file, spelt out: `use crate::{a::B, c}` names `crate::a::B` and
/// `crate::c`.
pub type Path = Vec<String>;

/// All paths of two parts or more that a file names.
pub fn paths(source: &str) -> Vec<Path> {
    let tokens = without_tests(&tokens(source));
    let mut paths = Vec::new();
    let mut rest = &tokens[..];
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            Token::Word(_) => tree(&Vec::new(), rest, &mut paths),
            // What comes behind `>::` is a part of a path, and not its beginning.
            Token::Colons => after.get(1..).unwrap_or_default(),
            Token::Mark(_) => after,
        };
    }
    paths.retain(|path| path.len() > 1);
    paths
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Mark(char),
}

/// Reads a path, or several with a common beginning, and returns what comes behind.
fn tree<'a>(before: &Path, mut rest: &'a [Token], paths: &mut Vec<Path>) -> &'a [Token] {
    let mut path = before.clone();
    loop {
        match rest {
            [Token::Word(word), Token::Colons, after @ ..] => {
                path.push(word.clone());
                rest = after;
            }
            [Token::Word(word), after @ ..] => {
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                paths.push(path);
                return after;
            }
            [Token::Mark('{'), after @ ..] => return group(&path, after, paths),
            // `*`, or the `<` of a type's parameters.
            _ => {
                paths.push(path);
                return rest;
            }
        }
    }
}

/// Reads what stands between braces behind `before`.
fn group<'a>(before: &Path, mut rest: &'a [Token], paths: &mut Vec<Path>) -> &'a [Token] {
    loop {
        rest = match rest {
            [] => return rest,
            [Token::Mark('}'), after @ ..] => return after,
            [Token::Word(name), Token::Word(_), after @ ..] if name == "as" => after,
            [Token::Word(_), ..] => tree(before, rest, paths),
            [_, after @ ..] => after,
        };
    }
}

/// The tokens without items marked `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let word = |text: &str| Token::Word(text.to_owned());
    let mark = [
        Token::Mark('#'),
        Token::Mark('['),
        word("cfg"),
        Token::Mark('('),
        word("test"),
        Token::Mark(')'),
        Token::Mark(']'),
    ];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if let Some(item) = rest.strip_prefix(&mark) {
            rest = behind_item(item);
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    kept
}

/// What comes behind an item: behind its semicolon, or behind its braces.
fn behind_item(tokens: &[Token]) -> &[Token] {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark('{' | '(' | '[') => depth += 1,
            Token::Mark('}' | ')' | ']') => depth -= 1,
            _ => {}
        }
        let ends = matches!(token, Token::Mark('}' | ';'));
        if depth == 0 && ends {
            return &tokens[index + 1..];
        }
    }
    &[]
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = quoted(rest) {
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::Colons);
            2
        } else if is_of_word(next) {
            let length = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            if !next.is_whitespace() {
                tokens.push(Token::Mark(next));
            }
            next.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment between `/*` and `*/`, with those within it.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().unwrap().len_utf8();
        }
    }
    at
}

/// The length of a character or a text in quotes that `text` begins with, if it does.
fn quoted(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let behind = text.strip_prefix(prefix);
        behind.is_some_and(|rest| rest.starts_with(['"', '\'', '#']))
    })?;
    let rest = &text[prefix.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if hashes > 0 || prefix.ends_with('r') {
        let opening = prefix.len() + hashes + 1;
        if !prefix.ends_with('r') || !rest[hashes..].starts_with('"') {
            return None;
        }
        let closing = format!("\"{}", "#".repeat(hashes));
        let end = text[opening..].find(&closing)?;
        return Some(opening + end + closing.len());
    }
    let quote = rest.chars().next()?;
    if quote == '\'' && !is_character(rest) {
        return None;
    }
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(prefix.len() + index + 1);
        }
    }
    Some(text.len())
}

/// Whether this is a character in quotes, and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::paths;

    fn names(source: &str) -> Vec<String> {
        paths(source).iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn groups_are_spelt_out() {
        let source = "use crate::{a::{self, B as C, d::*}, e};";
        let expected = ["crate::a", "crate::a::B", "crate::a::d", "crate::e"];
        assert_eq!(names(source), expected);
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let source = "fn f(x: &'a crate::a::A) -> Vec<crate::b::B> { crate::c::d::<u8>(x) }";
        let expected = ["crate::a::A", "crate::b::B", "crate::c::d"];
        assert_eq!(names(source), expected);
        assert_eq!(names("let x = <T as crate::a::B>::NAME;"), ["crate::a::B"]);
    }

    #[test]
    fn what_is_not_code_or_for_tests_only_is_left_out() {
        let source = r##"
            //! See [`crate::a`].
            /* crate::b /* crate::c */ crate::d */
            const A: &str = "crate::e \" crate::f";
            const B: &[u8] = br#"crate::g " crate::h"#;
            const C: [char; 3] = ['"', '\'', 'x'];
            fn f<'a>(x: &'a str) -> crate::i::I<'a> {}
            #[cfg(test)]
            use crate::j::J;
            #[cfg(test)]
            mod tests {
                use crate::k::K;
            }
            use crate::l::L;
        "##;
        assert_eq!(names(source), ["crate::i::I", "crate::l::L"]);
    }
}
