//! How hits are counted. A store keeps the state; what becomes of it is here.

pub mod fixed_window;
pub mod sliding_window;
pub mod token_bucket;

/// The algorithm of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// A count that starts at zero with each window of the clock.
    #[default]
    FixedWindow,
    /// A count over the last window, wherever that began.
    SlidingWindow,
    /// Tokens that come at the rate of the limit.
    TokenBucket {
        /// How many windows' worth of tokens the bucket holds; at least 1.
        burst_factor: u32,
    },
}

impl Algorithm {
    /// The names of the resource; files have them in snake case.
    pub const NAMES: [&str; 3] = ["FixedWindow", "SlidingWindow", "TokenBucket"];

    /// Its name in the resource.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedWindow => "FixedWindow",
            Self::SlidingWindow => "SlidingWindow",
            Self::TokenBucket { .. } => "TokenBucket",
        }
    }

    /// By name, in any case, with or without underscores; `burst_factor` makes a fixed window, if
    /// that is not asked for by name, a bucket.
    ///
    /// # Errors
    /// In words, without the place.
    pub fn read(name: Option<&str>, burst_factor: Option<u32>) -> Result<Self, String> {
        let plain = name.unwrap_or_default().replace('_', "").to_ascii_lowercase();
        match (plain.as_str(), burst_factor) {
            ("", None) | ("fixedwindow", None) => Ok(Self::FixedWindow),
            ("slidingwindow", None) => Ok(Self::SlidingWindow),
            ("" | "tokenbucket", factor) => {
                Ok(Self::TokenBucket { burst_factor: factor.unwrap_or(1).max(1) })
            }
            ("fixedwindow" | "slidingwindow", Some(_)) => {
                Err("only a token bucket has a burst factor".to_owned())
            }
            _ => Err(format!("`{}` is not an algorithm", name.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_read_by_name() {
        let bucket = |burst_factor| Ok(Algorithm::TokenBucket { burst_factor });
        assert_eq!(Algorithm::read(None, None), Ok(Algorithm::FixedWindow));
        assert_eq!(Algorithm::read(Some("sliding_window"), None), Ok(Algorithm::SlidingWindow));
        assert_eq!(Algorithm::read(Some("TokenBucket"), None), bucket(1));
        assert_eq!(Algorithm::read(None, Some(3)), bucket(3));
        for name in Algorithm::NAMES {
            assert_eq!(Algorithm::read(Some(name), None).unwrap().name(), name);
        }
        assert!(Algorithm::read(Some("SlidingWindow"), Some(2)).is_err());
        assert!(Algorithm::read(Some("leaky"), None).unwrap_err().contains("leaky"));
    }
}
