//! Windows that have their time to live already, so that not each hit sets it again.

/// Slots; a power of two. 512 KiB.
const SLOTS: usize = 1 << 16;

/// The newest window of each slot. What is pushed out is only asked for once more.
#[derive(Debug)]
pub(super) struct Seen(Box<[u64]>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![0; SLOTS].into())
    }
}

impl Seen {
    /// Whether the window with that hash is new.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        // The low bits choose the slot; 0 is the empty slot's.
        let (at, mark) = (usize::try_from(hash).unwrap_or_default() % SLOTS, hash | 1 << 63);
        self.0.get_mut(at).is_none_or(|slot| std::mem::replace(slot, mark) != mark)
    }

    /// Forgets all: the server may have.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.add(7) && !seen.add(7));
        assert!(seen.add(7 + SLOTS as u64) && seen.add(7));
        seen.clear();
        assert!(seen.add(7));
    }
}
