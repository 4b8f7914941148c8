//! Untrusted bytes made printable.
//!
//! Strangers choose what they send, and holders of the secret choose their names. Before such
//! text reaches a terminal, a log line or an alert it goes through here: control characters,
//! line ends, bidirectional overrides and invisible characters are escaped, and the length is
//! bounded.

/// `text` as one printable line of at most `limit` characters; what is cut off shows as `…`.
pub fn line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (written, character) in text.chars().enumerate() {
        if written == limit {
            out.push('…');
            break;
        }
        if is_plain(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

fn is_plain(character: char) -> bool {
    let invisible = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_people_write() {
        assert_eq!(line("web-7 Zürich 東京", 64), "web-7 Zürich 東京");
    }

    #[test]
    fn escapes_what_moves_a_cursor_or_hides() {
        assert_eq!(line("a\u{1b}[2J\nb", 64), "a\\u{1b}[2J\\u{a}b");
        assert_eq!(line("\u{202e}gpj.exe", 64), "\\u{202e}gpj.exe");
        assert_eq!(line("in\u{200b}visible", 64), "in\\u{200b}visible");
    }

    #[test]
    fn bounds_the_length() {
        assert_eq!(line("abcdef", 3), "abc…");
        assert_eq!(line("abc", 3), "abc");
    }
}
