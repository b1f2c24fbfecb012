//! Flags, width and precision of a verb, and padding.

use super::Printer;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub width: Option<usize>,
    pub precision: Option<usize>,
    pub minus: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    /// `%+v`: names of fields.
    pub plus_v: bool,
    /// `%#v`: Go's syntax.
    pub sharp_v: bool,
}

impl Printer {
    /// `text`, padded to the width: with zeros only on the left.
    pub(super) fn padded(&mut self, text: &str) {
        let fill = self.flags.width.unwrap_or(0).saturating_sub(text.chars().count());
        if self.flags.minus {
            self.push(text);
            self.repeat(' ', fill);
        } else {
            self.repeat(if self.flags.zero { '0' } else { ' ' }, fill);
            self.push(text);
        }
    }

    /// The same, never with zeros.
    pub(super) fn padded_with_spaces(&mut self, text: &str) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.padded(text);
        self.flags.zero = zero;
    }
}
