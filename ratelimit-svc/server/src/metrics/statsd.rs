//! Statistics as lines of statsd and of DogStatsD. Pure: what has changed since what was sent; a
//! [`Receiver`] sends it.

mod receiver;
mod style;

use std::collections::{BTreeMap, HashMap};

pub(super) use receiver::Receiver;
pub(crate) use receiver::Target;
pub(crate) use style::{Mogrifier, Style};

use super::response_time::millis_of;
use super::{RESPONSE_TIME, Value};

/// Most lines of times in one go; more are sampled.
const MAX_TIMES: u64 = 1_000;

/// What was sent, and how lines look.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    counters: HashMap<Box<str>, u64>,
    /// By slot of the response time.
    times: Vec<u64>,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    /// What is sent with them.
    counters: Vec<(Box<str>, u64)>,
    times: Vec<(usize, u64)>,
}

impl Lines {
    pub(super) fn new(style: Style) -> Self {
        Self { style, counters: HashMap::new(), times: Vec::new() }
    }

    /// What is to be sent: counters that grew, all gauges, times that are new. No chunk is longer
    /// than `most` bytes, unless a single line is.
    pub(super) fn chunks(
        &mut self,
        readings: &BTreeMap<Box<str>, Value>,
        times: &[u64],
        most: usize,
    ) -> Vec<Chunk> {
        self.counters.retain(|name, sent| match readings.get(name) {
            // A part of a sum was forgotten; what it had counted was sent.
            Some(value) => {
                *sent = value.number().min(*sent);
                true
            }
            None => false,
        });
        self.times.resize(times.len(), 0);
        let mut chunks = vec![Chunk::default()];
        for (name, value) in readings {
            let grown = value.number().saturating_sub(*self.counters.get(name).unwrap_or(&0));
            let line = match value {
                Value::Counter(_) if grown == 0 => continue,
                Value::Counter(_) => self.style.line(name, &grown.to_string(), "c", None),
                Value::Gauge(n) => self.style.line(name, &n.to_string(), "g", None),
            };
            let chunk = put(&mut chunks, &line, most);
            if let Value::Counter(n) = value {
                chunk.counters.push((name.clone(), *n));
            }
        }
        self.put_times(&mut chunks, times, most);
        chunks.retain(|chunk| !chunk.bytes.is_empty());
        chunks
    }

    /// A line for each answer, as the original does; of very many answers, a sample.
    fn put_times(&self, chunks: &mut Vec<Chunk>, times: &[u64], most: usize) {
        let new: Vec<(usize, u64, u64)> = times
            .iter()
            .zip(&self.times)
            .enumerate()
            .map(|(slot, (now, sent))| (slot, *now, now.saturating_sub(*sent)))
            .filter(|(_, _, new)| *new > 0)
            .collect();
        let total: u64 = new.iter().map(|(_, _, new)| new).sum();
        for (slot, now, new) in new {
            let (lines, rate) = sample(new, total);
            let line =
                self.style.line(RESPONSE_TIME, &self.style.time(millis_of(slot)), "ms", rate);
            for _ in 1..lines {
                put(chunks, &line, most);
            }
            // With the last of them all are sent.
            put(chunks, &line, most).times.push((slot, now));
        }
    }

    /// Notes that a chunk was sent.
    pub(super) fn sent(&mut self, chunk: Chunk) {
        self.counters.extend(chunk.counters);
        for (slot, now) in chunk.times {
            if let Some(sent) = self.times.get_mut(slot) {
                *sent = now;
            }
        }
    }
}

/// How many lines stand for `new` of `total` equal times, and the rate that says so.
#[allow(clippy::cast_precision_loss)] // a rate
fn sample(new: u64, total: u64) -> (u64, Option<f64>) {
    if total <= MAX_TIMES {
        return (new, None);
    }
    let lines = (u128::from(new) * u128::from(MAX_TIMES) / u128::from(total)).max(1);
    let lines = u64::try_from(lines).unwrap_or(MAX_TIMES);
    (lines, (lines < new).then(|| lines as f64 / new as f64))
}

/// Adds a line; gives the chunk it is in.
fn put<'c>(chunks: &'c mut Vec<Chunk>, line: &str, most: usize) -> &'c mut Chunk {
    let fits =
        chunks.last().is_some_and(|c| c.bytes.is_empty() || c.bytes.len() + line.len() <= most);
    if !fits {
        chunks.push(Chunk::default());
    }
    let last = chunks.len() - 1;
    let chunk = &mut chunks[last];
    chunk.bytes.extend_from_slice(line.as_bytes());
    chunk
}

#[cfg(test)]
#[path = "statsd/tests.rs"]
mod tests;
