//! Whole numbers and characters.

use super::Printer;
use super::text::{is_printable, quoted};
use crate::value::Value;

impl Printer {
    pub(super) fn signed(&mut self, value: &Value, n: i64, verb: char) {
        if matches!(verb, 'c' | 'q' | 'U') {
            // As in Go a negative number is far above any character.
            #[allow(clippy::cast_sign_loss)]
            return self.unsigned(value, n as u64, verb);
        }
        self.integer(value, n < 0, n.unsigned_abs(), verb);
    }

    pub(super) fn unsigned(&mut self, value: &Value, n: u64, verb: char) {
        match verb {
            'v' if self.flags.sharp_v => self.hexadecimal(n, true),
            'c' => self.padded(&character(n).to_string()),
            'q' => {
                let text = quoted(&character(n).to_string(), '\'', self.flags.plus);
                self.padded(&text);
            }
            'U' => self.code_point(n),
            verb => self.integer(value, false, n, verb),
        }
    }

    /// `0x…` of an address, or of an unsigned number in Go's syntax.
    pub(super) fn hexadecimal(&mut self, n: u64, prefix: bool) {
        let sharp = std::mem::replace(&mut self.flags.sharp, prefix);
        self.digits(false, n, 'x');
        self.flags.sharp = sharp;
    }

    fn integer(&mut self, value: &Value, negative: bool, n: u64, verb: char) {
        match verb {
            'v' => self.digits(negative, n, 'd'),
            'd' | 'b' | 'o' | 'O' | 'x' | 'X' => self.digits(negative, n, verb),
            verb => self.complain(value, verb),
        }
    }

    /// Sign, prefix and at least as many digits as precision or zero-filled width ask for.
    fn digits(&mut self, negative: bool, n: u64, verb: char) {
        let flags = self.flags;
        let sign = match (negative, flags.plus, flags.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        };
        let least = match (flags.precision, flags.width) {
            (Some(0), _) if n == 0 => {
                return self.repeat(' ', flags.width.unwrap_or(0));
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let digits = match verb {
            'b' => format!("{n:b}"),
            'o' | 'O' => format!("{n:o}"),
            'x' => format!("{n:x}"),
            'X' => format!("{n:X}"),
            _ => n.to_string(),
        };
        let zeros = least.saturating_sub(digits.len());
        if zeros > self.limit {
            self.too_long = true;
            return;
        }
        let prefix = match verb {
            'O' if flags.sharp && zeros == 0 && n != 0 => "0o0",
            'O' => "0o",
            'b' if flags.sharp => "0b",
            'x' if flags.sharp => "0x",
            'X' if flags.sharp => "0X",
            'o' if flags.sharp && zeros == 0 && !digits.starts_with('0') => "0",
            _ => "",
        };
        let zeros = "0".repeat(zeros);
        self.padded_with_spaces(&format!("{sign}{prefix}{zeros}{digits}"));
    }

    /// `U+0078`, or `U+0078 'x'` with `#`.
    fn code_point(&mut self, n: u64) {
        let digits = self.flags.precision.unwrap_or(4).max(4);
        if digits > self.limit {
            self.too_long = true;
            return;
        }
        let hex = format!("{n:X}");
        let mut text = format!("U+{}{hex}", "0".repeat(digits.saturating_sub(hex.len())));
        let known = u32::try_from(n).ok().and_then(char::from_u32);
        if let Some(c) = known.filter(|c| self.flags.sharp && is_printable(*c)) {
            text.push_str(&format!(" '{c}'"));
        }
        self.padded_with_spaces(&text);
    }
}

/// The character of a code; U+FFFD when it has none.
fn character(n: u64) -> char {
    u32::try_from(n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}
