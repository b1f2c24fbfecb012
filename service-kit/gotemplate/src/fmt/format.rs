//! `Sprintf`: the format's verbs one after the other.

use super::flags::Flags;
use super::{Printer, TooLong};
use crate::value::Value;

/// Largest width or precision that Go takes.
const MAX_SIZE: i64 = 1_000_000;

/// `format` with `values` in the places of its verbs.
pub(crate) fn sprintf(format: &str, values: &[Value], limit: usize) -> Result<String, TooLong> {
    let mut run = Format {
        rest: format,
        values,
        next: 0,
        reordered: false,
        good_index: true,
        printer: Printer::new(limit),
    };
    while let Some(at) = run.rest.find('%') {
        let (text, rest) = run.rest.split_at(at);
        run.printer.push(text);
        run.rest = rest.get(1..).unwrap_or("");
        run.verb();
    }
    run.printer.push(run.rest);
    run.extra();
    run.printer.finish()
}

struct Format<'a> {
    rest: &'a str,
    values: &'a [Value],
    /// The operand of the next verb.
    next: usize,
    /// An index like `[2]` was used.
    reordered: bool,
    /// The index of this verb is one of an operand.
    good_index: bool,
    printer: Printer,
}

impl Format<'_> {
    /// One verb, whose `%` was read.
    fn verb(&mut self) {
        self.good_index = true;
        self.printer.flags = Flags::default();
        self.flags();
        let mut after_index = self.index();
        after_index = self.width(after_index);
        after_index = self.precision(after_index);
        if !after_index {
            self.index();
        }
        let Some(verb) = self.rest.chars().next() else {
            return self.printer.push("%!(NOVERB)");
        };
        self.rest = self.rest.get(verb.len_utf8()..).unwrap_or("");
        match (verb, self.values.get(self.next)) {
            ('%', _) => self.printer.push("%"),
            (verb, _) if !self.good_index => self.printer.push(&format!("%!{verb}(BADINDEX)")),
            (verb, None) => self.printer.push(&format!("%!{verb}(MISSING)")),
            (verb, Some(value)) => {
                if matches!(verb, 'v' | 'w') {
                    let flags = &mut self.printer.flags;
                    flags.sharp_v = std::mem::take(&mut flags.sharp);
                    flags.plus_v = std::mem::take(&mut flags.plus);
                }
                self.printer.value(value, verb);
                self.next += 1;
            }
        }
    }

    fn flags(&mut self) {
        let flags = &mut self.printer.flags;
        loop {
            match self.rest.as_bytes().first() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return,
            }
            self.rest = self.rest.get(1..).unwrap_or("");
        }
    }

    /// `[n]`: the operand to take next; whether there was one.
    fn index(&mut self) -> bool {
        let Some(inside) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let closed = inside.find(']').filter(|_| self.rest.len() >= 3);
        let Some(end) = closed else {
            self.rest = inside;
            self.good_index = false;
            return false;
        };
        let (digits, rest) = inside.split_at(end);
        self.rest = rest.get(1..).unwrap_or("");
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<usize>().ok().filter(|_| all_digits);
        match number.and_then(|n| n.checked_sub(1)).filter(|n| *n < self.values.len()) {
            Some(index) => self.next = index,
            None => self.good_index = false,
        }
        number.is_some()
    }

    fn width(&mut self, after_index: bool) -> bool {
        if self.star() {
            match self.operand_size() {
                Some(size) if size < 0 => {
                    self.printer.flags.width = usize::try_from(-size).ok();
                    self.printer.flags.minus = true;
                    self.printer.flags.zero = false;
                }
                Some(size) => self.printer.flags.width = usize::try_from(size).ok(),
                None => self.printer.push("%!(BADWIDTH)"),
            }
            return false;
        }
        let width = self.number();
        if after_index && width.is_some() {
            self.good_index = false; // "%[3]2d"
        }
        self.printer.flags.width = width;
        after_index
    }

    fn precision(&mut self, mut after_index: bool) -> bool {
        // As in Go a point at the very end is no precision.
        let Some(rest) = self.rest.strip_prefix('.').filter(|rest| !rest.is_empty()) else {
            return after_index;
        };
        self.rest = rest;
        if after_index {
            self.good_index = false; // "%[3].2d"
        }
        after_index = self.index();
        if self.star() {
            self.printer.flags.precision =
                self.operand_size().and_then(|size| usize::try_from(size).ok());
            if self.printer.flags.precision.is_none() {
                self.printer.push("%!(BADPREC)");
            }
            return false;
        }
        self.printer.flags.precision = Some(self.number().unwrap_or(0));
        after_index
    }

    fn star(&mut self) -> bool {
        match self.rest.strip_prefix('*') {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The next operand as a width or precision.
    fn operand_size(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let size = match value {
            Value::Int(n) | Value::Duration(n) => *n,
            Value::Uint(n) => i64::try_from(*n).ok()?,
            Value::Byte(n) => i64::from(*n),
            _ => return None,
        };
        (-MAX_SIZE..=MAX_SIZE).contains(&size).then_some(size)
    }

    /// Digits; when they say too much, Go takes the rest of the format for the number.
    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(10)) {
            let before = number.unwrap_or(0);
            if before > usize::try_from(MAX_SIZE).unwrap_or(usize::MAX) {
                self.rest = "";
                return None;
            }
            number = Some(before * 10 + usize::try_from(digit).unwrap_or(0));
            self.rest = self.rest.get(1..).unwrap_or("");
        }
        number
    }

    /// Complains about operands that no verb took.
    fn extra(&mut self) {
        if self.reordered {
            return;
        }
        let Some(extra) = self.values.get(self.next..).filter(|extra| !extra.is_empty()) else {
            return;
        };
        self.printer.flags = Flags::default();
        self.printer.push("%!(EXTRA ");
        for (at, value) in extra.iter().enumerate() {
            if at > 0 {
                self.printer.push(", ");
            }
            if !matches!(value, Value::Missing | Value::Nil) {
                self.printer.push(value.type_name());
                self.printer.push("=");
            }
            self.printer.value(value, 'v');
        }
        self.printer.push(")");
    }
}
