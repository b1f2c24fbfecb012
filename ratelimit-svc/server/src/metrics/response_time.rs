//! How long answers took: atomics that a request adds to without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Ends of the buckets, in microseconds.
const BOUNDS: [u64; 20] = [
    25, 50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000,
    20_000, 50_000, 100_000, 500_000, 1_000_000,
];
/// Milliseconds that have a slot of their own; then come 64 slots for each power of two.
const EXACT: u64 = 1 << EXACT_BITS;
const EXACT_BITS: u32 = 11;
const FINE_BITS: u32 = 6;
/// The last slot holds everything from half an hour on.
const MOST_BITS: u32 = 21;
/// How many slots of whole milliseconds there are.
pub(super) const SLOTS: usize = EXACT as usize + (((MOST_BITS - EXACT_BITS) as usize) << FINE_BITS);

/// Times of answers.
#[derive(Debug)]
pub(super) struct ResponseTime {
    /// Those up to each bound, and the rest.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    /// By whole milliseconds, which is what envoyproxy/ratelimit reports.
    millis: Box<[AtomicU64]>,
}

impl Default for ResponseTime {
    fn default() -> Self {
        Self {
            buckets: Default::default(),
            micros: AtomicU64::default(),
            millis: (0..SLOTS).map(|_| AtomicU64::default()).collect(),
        }
    }
}

impl ResponseTime {
    pub(super) fn add(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(BOUNDS.partition_point(|bound| *bound < micros)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
        if let Some(slot) = self.millis.get(slot(micros / 1_000)) {
            slot.fetch_add(1, Relaxed);
        }
    }

    /// How many answers there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }

    /// Answers by slot.
    pub(super) fn millis(&self) -> Vec<u64> {
        self.millis.iter().map(|slot| slot.load(Relaxed)).collect()
    }
}

/// The slot of a time in whole milliseconds.
fn slot(millis: u64) -> usize {
    if millis < EXACT {
        return millis as usize;
    }
    let bits = millis.ilog2();
    if bits >= MOST_BITS {
        return SLOTS - 1;
    }
    let fine = (millis >> (bits - FINE_BITS)) & ((1 << FINE_BITS) - 1);
    EXACT as usize + (((bits - EXACT_BITS) as usize) << FINE_BITS) + fine as usize
}

/// The time of a slot in milliseconds: exact below two seconds, then the least of the slot, which
/// is less than two per cent off.
pub(super) fn millis_of(slot: usize) -> u64 {
    let Some(beyond) = (slot as u64).checked_sub(EXACT) else { return slot as u64 };
    let bits = EXACT_BITS as u64 + (beyond >> FINE_BITS);
    (1 << bits) + ((beyond & ((1 << FINE_BITS) - 1)) << (bits - u64::from(FINE_BITS)))
}

/// `ratelimit_response_seconds`.
#[allow(clippy::cast_precision_loss)] // a sum of seconds is no exact number
impl Collector for ResponseTime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(self.buckets.iter().map(|b| b.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let sum = self.micros.load(Relaxed) as f64 / 1e6;
        let help = "From a request's reading to its answer";
        encoder
            .encode_descriptor("ratelimit_response_seconds", help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_each_other_without_a_gap() {
        for slot_number in 0..SLOTS {
            assert_eq!(slot(millis_of(slot_number)), slot_number);
        }
        assert_eq!(
            (slot(2_047), slot(2_048), slot(2_079), slot(2_080)),
            (2_047, 2_048, 2_048, 2_049)
        );
        assert_eq!(slot(u64::MAX), SLOTS - 1);
    }

    #[test]
    fn a_time_is_in_the_bucket_it_fits() {
        let times = std::sync::Arc::new(ResponseTime::default());
        for micros in [10, 25, 26, 999, 1_000, 1_001, 70_000_000] {
            times.add(Duration::from_micros(micros));
        }
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(times.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"ratelimit_response_seconds_bucket{le="0.000025"} 2"#,
            r#"ratelimit_response_seconds_bucket{le="0.001"} 5"#,
            r#"ratelimit_response_seconds_bucket{le="1.0"} 6"#,
            r#"ratelimit_response_seconds_bucket{le="+Inf"} 7"#,
            "ratelimit_response_seconds_sum 70.003061",
            "ratelimit_response_seconds_count 7",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        assert_eq!(times.count(), 7);
        assert_eq!(times.millis()[..2], [4, 2]);
    }
}
