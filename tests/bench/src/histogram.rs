//! Latencies in buckets of equal relative width.

/// Buckets for each power of two: an answer is at most 1/64 too small.
const STEPS: u64 = 64;

/// Counts of latencies in microseconds; any value has a bucket.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; index(u64::MAX) + 1], total: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, micros: u64) {
        if let Some(count) = self.counts.get_mut(index(micros)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// Adds the counts of another one.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// How many were counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The latency in microseconds that `share` (0 to 1) of all did not exceed; 0 when empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lowest(index);
            }
        }
        0
    }
}

/// The bucket of a value: exact below `STEPS`, then `STEPS` buckets for each power of two.
fn index(micros: u64) -> usize {
    let shift = (micros / STEPS).checked_ilog2().unwrap_or(0);
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

/// The lowest value of a bucket.
fn lowest(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    (index - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_most_one_part_in_64_below_its_values() {
        for value in (0..5_000).chain([1 << 20, (1 << 20) + 12_345, u64::MAX / 3, u64::MAX]) {
            let low = lowest(index(value));
            assert!(low <= value && value - low <= value / STEPS, "{value} -> {low}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|v| histogram.record(v));
        let mut both = Histogram::default();
        both.add(&histogram);
        assert_eq!(both.total(), 1000);
        assert_eq!(both.quantile(0.0), 1);
        assert_eq!(both.quantile(0.5), 500);
        assert_eq!(both.quantile(0.99), 984); // its bucket goes to 991
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
