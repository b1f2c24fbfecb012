//! What a limit is, whichever dialect it was written in.

use std::sync::Arc;

use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit as ResponseUnit;

use crate::quota::Quota;

/// Index of a limit among all of a configuration; names its metrics.
pub type LimitId = usize;

/// A unit of time of envoyproxy/ratelimit: no calendar, a month has 30 days and a year 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// 1 s
    Second,
    /// 60 s
    Minute,
    /// 3,600 s
    Hour,
    /// 86,400 s
    Day,
    /// 604,800 s
    Week,
    /// 2,592,000 s
    Month,
    /// 31,536,000 s
    Year,
}

impl Unit {
    /// Reads a name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// Its length in seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }

    /// Its number in `RateLimitResponse.RateLimit.Unit` and, equally, in the other enums of units
    /// of Envoy's rate limit API.
    pub const fn number(self) -> i32 {
        match self {
            Self::Second => ResponseUnit::Second as i32,
            Self::Minute => ResponseUnit::Minute as i32,
            Self::Hour => ResponseUnit::Hour as i32,
            Self::Day => ResponseUnit::Day as i32,
            Self::Week => ResponseUnit::Week as i32,
            Self::Month => ResponseUnit::Month as i32,
            Self::Year => ResponseUnit::Year as i32,
        }
    }

    /// The unit of a number of Envoy's API; none for UNKNOWN and for numbers it does not have.
    pub fn from_number(number: i32) -> Option<Self> {
        const ALL: [Unit; 7] = [
            Unit::Second,
            Unit::Minute,
            Unit::Hour,
            Unit::Day,
            Unit::Week,
            Unit::Month,
            Unit::Year,
        ];
        ALL.into_iter().find(|unit| unit.number() == number)
    }
}

/// A limit in force.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Names its metrics.
    pub id: LimitId,
    /// Sent as `current_limit.name`; may be empty.
    pub name: Arc<str>,
    /// How much, and how it is counted.
    pub quota: Quota,
    /// Counted and reported in metrics, but never over.
    pub shadow: bool,
    /// Counts for the request only together with all other quotas.
    pub is_quota: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_go_to_envoy_and_back() {
        for name in ["second", "MINUTE", "Hour", "day", "week", "month", "year"] {
            let unit = Unit::parse(name).unwrap();
            assert_eq!(Unit::from_number(unit.number()), Some(unit));
        }
        assert_eq!(Unit::parse("unknown"), None);
        assert_eq!(Unit::from_number(0), None);
        assert_eq!(Unit::from_number(99), None);
    }
}
