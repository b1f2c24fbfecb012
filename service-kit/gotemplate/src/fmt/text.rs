//! Strings, and Go's quoting.

use std::fmt::Write as _;

use super::Printer;

impl Printer {
    /// A text with one of the verbs `v s q x X`.
    pub(super) fn string(&mut self, text: &str, verb: char) {
        if matches!(verb, 'x' | 'X') {
            return self.bytes(text.as_bytes(), verb == 'X');
        }
        let text = match self.flags.precision.and_then(|p| text.char_indices().nth(p)) {
            Some((end, _)) => text.get(..end).unwrap_or(text),
            None => text,
        };
        if verb != 'q' && !(verb == 'v' && self.flags.sharp_v) {
            return self.padded(text);
        }
        if self.flags.sharp && can_backquote(text) {
            return self.padded(&format!("`{text}`"));
        }
        if text.len() > self.limit {
            self.too_long = true;
            return;
        }
        let text = quoted(text, '"', self.flags.plus);
        self.padded(&text);
    }

    fn bytes(&mut self, bytes: &[u8], upper: bool) {
        let flags = self.flags;
        let bytes = bytes.get(..flags.precision.unwrap_or(bytes.len())).unwrap_or(bytes);
        let prefix = match (flags.sharp, upper) {
            (false, _) => "",
            (true, false) => "0x",
            (true, true) => "0X",
        };
        let mut text = String::new();
        for (at, byte) in bytes.iter().enumerate() {
            if at == 0 || flags.space {
                text.push_str(if at > 0 { " " } else { "" });
                text.push_str(prefix);
            }
            let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
            if text.len() > self.limit {
                self.too_long = true;
                return;
            }
        }
        self.padded(&text);
    }
}

/// Go's `strconv.CanBackquote`.
fn can_backquote(text: &str) -> bool {
    text.chars().all(|c| (c == '\t' || c >= ' ') && !matches!(c, '`' | '\u{7f}' | '\u{feff}'))
}

/// Go's `strconv.Quote` (or with `ascii` `QuoteToASCII`).
pub(super) fn quoted(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match c {
            c if c == quote || c == '\\' => write!(out, "\\{c}"),
            c if if ascii { matches!(c, ' '..='~') } else { is_printable(c) } => {
                write!(out, "{c}")
            }
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{b}' => write!(out, "\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push(quote);
    out
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    // Within a text the standard library escapes just what is not printable.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}
