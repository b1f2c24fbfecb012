//! Which claims a token must have, and when it is valid. An expectation is checked when the claim
//! is there; `require…` makes its absence a fault.

use std::time::Duration;

use serde_json::Value as Json;

use super::bits;

/// Compiled rules.
#[derive(Clone, Debug, Default)]
pub struct ClaimRules {
    /// Expected in `aud`.
    pub audience: Option<String>,
    /// `aud` must be there.
    pub require_audience: bool,
    /// Expected as `iss`.
    pub issuer: Option<String>,
    /// `iss` must be there.
    pub require_issuer: bool,
    /// `exp`
    pub expires_at: TimeRule,
    /// `nbf`
    pub not_before: TimeRule,
    /// `iat`
    pub issued_at: TimeRule,
}

/// A claim that is a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeRule {
    /// It must be there.
    pub required: bool,
    /// By how much clocks may differ.
    pub leeway: Duration,
}

impl ClaimRules {
    /// Checks `claims` at `now` (since the Unix epoch).
    ///
    /// # Errors
    /// The bits and words of everything that is wrong.
    pub fn check(&self, claims: &Json, now: Duration) -> Result<(), (u32, String)> {
        let now = now.as_secs_f64();
        let mut wrong: Vec<(u32, &str)> = Vec::new();
        let mut fault = |bit, text| wrong.push((bit, text));
        match self.expires_at.of(claims, "exp") {
            Ok(Some((exp, leeway))) if now >= exp + leeway => {
                fault(bits::EXPIRED, "the token is expired");
            }
            Ok(_) => {}
            Err(()) => fault(bits::EXPIRED, "the token has no valid exp"),
        }
        match self.not_before.of(claims, "nbf") {
            Ok(Some((nbf, leeway))) if now < nbf - leeway => {
                fault(bits::NOT_BEFORE, "the token is not valid yet");
            }
            Ok(_) => {}
            Err(()) => fault(bits::NOT_BEFORE, "the token has no valid nbf"),
        }
        match self.issued_at.of(claims, "iat") {
            Ok(Some((iat, leeway))) if now < iat - leeway => {
                fault(bits::ISSUED_AT, "the token is issued in the future");
            }
            Ok(_) => {}
            Err(()) => fault(bits::ISSUED_AT, "the token has no valid iat"),
        }
        if !self.audience_fits(claims.get("aud")) {
            fault(bits::AUDIENCE, "the token is for another audience");
        }
        if !self.issuer_fits(claims.get("iss")) {
            fault(bits::ISSUER, "the token is of another issuer");
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let bits = wrong.iter().fold(0, |bits, (bit, _)| bits | bit);
        Err((bits, wrong.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("; ")))
    }

    fn audience_fits(&self, claim: Option<&Json>) -> bool {
        let claim = match claim {
            None => return !self.require_audience,
            Some(claim) => claim,
        };
        let Some(wanted) = &self.audience else {
            return !(self.require_audience && claim.is_null());
        };
        match claim {
            Json::String(one) => one == wanted,
            Json::Array(many) => many.iter().any(|a| a.as_str() == Some(wanted)),
            _ => false,
        }
    }

    fn issuer_fits(&self, claim: Option<&Json>) -> bool {
        match (claim, &self.issuer) {
            (None, _) => !self.require_issuer,
            (Some(Json::Null), None) => !self.require_issuer,
            (_, None) => true,
            (Some(claim), Some(wanted)) => claim.as_str() == Some(wanted),
        }
    }
}

impl TimeRule {
    /// The claim and the leeway in seconds; none when it is absent and may be.
    fn of(self, claims: &Json, name: &str) -> Result<Option<(f64, f64)>, ()> {
        match claims.get(name) {
            None => {
                if self.required {
                    Err(())
                } else {
                    Ok(None)
                }
            }
            Some(claim) => claim.as_f64().map(|t| Some((t, self.leeway.as_secs_f64()))).ok_or(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rules: &ClaimRules, claims: Json, now: u64) -> u32 {
        rules.check(&claims, Duration::from_secs(now)).err().map_or(0, |(bits, _)| bits)
    }

    #[test]
    fn edges_of_time() {
        let leeway = TimeRule { required: false, leeway: Duration::from_secs(5) };
        let rules = ClaimRules {
            expires_at: leeway,
            not_before: leeway,
            issued_at: leeway,
            ..ClaimRules::default()
        };
        assert_eq!(check(&rules, json!({"exp": 100}), 104), 0);
        assert_eq!(check(&rules, json!({"exp": 100}), 105), bits::EXPIRED);
        assert_eq!(check(&rules, json!({"nbf": 100}), 95), 0);
        assert_eq!(check(&rules, json!({"nbf": 100}), 94), bits::NOT_BEFORE);
        assert_eq!(check(&rules, json!({"iat": 100}), 95), 0);
        assert_eq!(check(&rules, json!({"iat": 100}), 94), bits::ISSUED_AT);
        assert_eq!(
            check(&rules, json!({"exp": "soon", "nbf": []}), 0),
            bits::EXPIRED | bits::NOT_BEFORE
        );
    }

    #[test]
    fn what_is_required_must_be_there() {
        let must = TimeRule { required: true, leeway: Duration::ZERO };
        let rules = ClaimRules {
            audience: Some("shop".into()),
            require_audience: true,
            issuer: Some("me".into()),
            require_issuer: true,
            expires_at: must,
            not_before: must,
            issued_at: must,
        };
        let all =
            bits::AUDIENCE | bits::ISSUER | bits::EXPIRED | bits::NOT_BEFORE | bits::ISSUED_AT;
        assert_eq!(check(&rules, json!({}), 1), all);
        let good = json!({"aud": ["blog", "shop"], "iss": "me", "exp": 9, "nbf": 0, "iat": 0});
        assert_eq!(check(&rules, good, 1), 0);
    }

    #[test]
    fn what_is_not_required_may_be_absent_but_not_wrong() {
        let rules = ClaimRules {
            audience: Some("shop".into()),
            issuer: Some("me".into()),
            ..ClaimRules::default()
        };
        assert_eq!(check(&rules, json!({}), 1), 0);
        assert_eq!(
            check(&rules, json!({"aud": "x", "iss": "y"}), 1),
            bits::AUDIENCE | bits::ISSUER
        );
        assert_eq!(check(&rules, json!({"aud": 1}), 1), bits::AUDIENCE);
        assert_eq!(check(&rules, json!({"aud": null}), 1), bits::AUDIENCE, "null is no audience");
        assert_eq!(check(&rules, json!({"iss": null}), 1), bits::ISSUER);
        assert_eq!(check(&rules, json!({"exp": null}), 1), bits::EXPIRED, "null is no time");
    }
}
