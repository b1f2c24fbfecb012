//! How much, how it is counted, and what happens when it cannot be: alike in every dialect.

use crate::algorithm::Algorithm;
use crate::limit::Unit;

/// Longest window in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;
/// Highest multiplier, burst factor and lease.
const MAX_FACTOR: i64 = 1_000_000;

/// What becomes of a request when the store cannot count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreError {
    /// The call fails, and Envoy's `failure_mode_deny` decides.
    #[default]
    Error,
    /// It passes.
    Allow,
    /// It is over the limit.
    Deny,
    /// It is counted in the memory of this process.
    Local,
}

impl OnStoreError {
    /// The names of the resource; files have them in lower case.
    pub const NAMES: [&str; 4] = ["Error", "Allow", "Deny", "Local"];

    /// By name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "error" => Self::Error,
            "allow" => Self::Allow,
            "deny" => Self::Deny,
            "local" => Self::Local,
            _ => return None,
        })
    }
}

/// How a limit counts, whatever it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window.
    pub requests: u32,
    /// The unit of a window.
    pub unit: Unit,
    /// How many units make a window; at least 1.
    pub multiplier: u32,
    /// How hits are counted.
    pub algorithm: Algorithm,
    /// What happens while the store fails; none for the default of the installation.
    pub on_store_error: Option<OnStoreError>,
    /// Hits that a replica may take from the store ahead of need; 0 for none.
    pub lease: u32,
}

impl Quota {
    /// A plain window, as of envoyproxy/ratelimit.
    pub const fn plain(requests: u32, unit: Unit) -> Self {
        Self {
            requests,
            unit,
            multiplier: 1,
            algorithm: Algorithm::FixedWindow,
            on_store_error: None,
            lease: 0,
        }
    }

    /// Length of the window in seconds; at least 1.
    pub fn seconds(&self) -> u64 {
        self.unit.seconds().saturating_mul(u64::from(self.multiplier.max(1)))
    }
}

/// The optional parts of a quota as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written<'a> {
    pub unit_multiplier: Option<i64>,
    pub algorithm: Option<&'a str>,
    pub burst_factor: Option<i64>,
    pub on_store_error: Option<&'a str>,
    pub lease: Option<i64>,
}

/// What is wrong with a part of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub part: Part,
    pub words: String,
    pub hint: &'static str,
}

/// A part, which each dialect names in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    UnitMultiplier,
    Algorithm,
    BurstFactor,
    OnStoreError,
    Lease,
}

impl Written<'_> {
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn read(self, requests: u32, unit: Unit) -> Result<Quota, Vec<Fault>> {
        let mut faults = Vec::new();
        let multiplier = self.multiplier(unit, &mut faults);
        let burst_factor = self
            .burst_factor
            .filter(|f| *f != 0)
            .map(|f| factor(f, Part::BurstFactor, "not a burst factor", &mut faults));
        let algorithm = Algorithm::read(self.algorithm.filter(|a| !a.is_empty()), burst_factor)
            .unwrap_or_else(|words| {
                let hint = match words.contains("burst") {
                    true => "leave burstFactor out, or take TokenBucket",
                    false => "use FixedWindow, SlidingWindow or TokenBucket",
                };
                faults.push(Fault { part: Part::Algorithm, words, hint });
                Algorithm::FixedWindow
            });
        let on_store_error = self.on_store_error.filter(|p| !p.is_empty()).and_then(|name| {
            let found = OnStoreError::parse(name);
            if found.is_none() {
                let words = format!("`{name}` is nothing that could happen");
                let hint = "use Error, Allow, Deny or Local";
                faults.push(Fault { part: Part::OnStoreError, words, hint });
            }
            found
        });
        let lease = self.lease(algorithm, &mut faults);
        match faults.is_empty() {
            true => Ok(Quota { requests, unit, multiplier, algorithm, on_store_error, lease }),
            false => Err(faults),
        }
    }

    fn multiplier(self, unit: Unit, faults: &mut Vec<Fault>) -> u32 {
        let Some(written) = self.unit_multiplier else { return 1 };
        let multiplier = factor(written, Part::UnitMultiplier, "not a multiplier", faults);
        if unit.seconds().saturating_mul(u64::from(multiplier)) > MAX_SECONDS {
            let words = "the window is longer than ten years".to_owned();
            faults.push(Fault { part: Part::UnitMultiplier, words, hint: "make it shorter" });
        }
        multiplier
    }

    fn lease(self, algorithm: Algorithm, faults: &mut Vec<Fault>) -> u32 {
        let Some(written) = self.lease.filter(|l| *l != 0) else { return 0 };
        if algorithm != Algorithm::FixedWindow {
            let words = "only a fixed window can be leased".to_owned();
            let hint = "leave the lease out, or take FixedWindow";
            faults.push(Fault { part: Part::Lease, words, hint });
        }
        factor(written, Part::Lease, "not a number of requests", faults)
    }
}

/// A number from 1 to [`MAX_FACTOR`]; 1 when it is not.
fn factor(written: i64, part: Part, what: &str, faults: &mut Vec<Fault>) -> u32 {
    let fits = u32::try_from(written).ok().filter(|_| (1..=MAX_FACTOR).contains(&written));
    fits.unwrap_or_else(|| {
        let words = format!("{written} is {what}");
        faults.push(Fault { part, words, hint: "use a whole number from 1 to 1000000" });
        1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(written: Written<'_>) -> Vec<Part> {
        match written.read(5, Unit::Minute) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.part).collect(),
        }
    }

    #[test]
    fn windows_are_units_times_their_multiplier() {
        let ten = Written { unit_multiplier: Some(10), ..Written::default() };
        assert_eq!(ten.read(5, Unit::Minute).unwrap().seconds(), 600);
        assert_eq!(Written::default().read(5, Unit::Hour), Ok(Quota::plain(5, Unit::Hour)));
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let wrong = Written {
            unit_multiplier: Some(0),
            algorithm: Some("leaky"),
            burst_factor: Some(-1),
            on_store_error: Some("panic"),
            lease: Some(2_000_000),
        };
        let all = [
            Part::UnitMultiplier,
            Part::BurstFactor,
            Part::Algorithm,
            Part::OnStoreError,
            Part::Lease,
        ];
        assert_eq!(parts(wrong), all);
        let long = Written { unit_multiplier: Some(1_000_000), ..Written::default() };
        assert!(long.read(1, Unit::Year).is_err() && long.read(1, Unit::Second).is_ok());
        let leased = Written { lease: Some(5), burst_factor: Some(2), ..Written::default() };
        assert_eq!(parts(leased), [Part::Lease]);
    }
}
