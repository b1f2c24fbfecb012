//! The keys of a request's counters, one after the other in one buffer that lies on the stack.

use smallvec::SmallVec;

use crate::request::Entry;

/// Keys of ordinary requests fit without a heap allocation.
const INLINE: usize = 256;

/// A growing text, as bytes.
#[derive(Debug, Default)]
pub struct KeyBuffer(SmallVec<[u8; INLINE]>);

impl KeyBuffer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// In decimal.
    pub(crate) fn push_number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            // A digit fits.
            digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[start..]);
        self
    }

    /// `key_value_` of each.
    pub(crate) fn push_entries(&mut self, entries: &[Entry<'_>]) {
        for entry in entries {
            self.push(entry.key).push("_").push(entry.value).push("_");
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl std::ops::Deref for KeyBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 1_893_499_200, u64::MAX] {
            let mut key = KeyBuffer::new();
            key.push("k_").push_number(number);
            assert_eq!(*key, *format!("k_{number}").as_bytes());
        }
    }
}
