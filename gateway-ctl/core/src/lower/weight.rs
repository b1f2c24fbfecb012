//! Shares of the members of a group.

/// What the weights of a group come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For each member: which of a hundred requests that come to it it takes (those below the
    /// number; cumulative over members), and its own share in percent.
    pub members: Vec<(u32, u32)>,
    /// The sum of the written weights.
    pub written: u32,
    /// Whether some requests go to none of them.
    pub leaves_some: bool,
}

/// Divides a hundred by the members' weights. Members without one share what is left; the last of
/// those takes what rounding left. A single member takes all. Sums above 100 go as far as they
/// reach. Members are tried in the order of the result: those with a weight first.
pub fn divide(weights: &[Option<u32>]) -> (Vec<usize>, Shares) {
    let written = weights.iter().flatten().fold(0_u32, |sum, w| sum.saturating_add(*w));
    if weights.len() == 1 {
        return (vec![0], Shares { members: vec![(100, 100)], written, leaves_some: false });
    }
    let (with, without): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|i| weights.get(*i).is_some_and(Option::is_some));
    let mut sum = 0_u32;
    let mut members = Vec::new();
    for i in &with {
        let weight = weights.get(*i).copied().flatten().unwrap_or(0);
        let before = sum;
        sum = sum.saturating_add(weight).min(100);
        members.push((sum, sum - before));
    }
    let count = u32::try_from(without.len()).unwrap_or(u32::MAX).max(1);
    let left = 100 - sum;
    // Rounded to the nearest, as users of the older gateway know it.
    let each = (2 * left + count) / count.saturating_mul(2);
    for (n, _) in without.iter().enumerate() {
        let before = sum;
        sum = if n + 1 == without.len() { 100 } else { (sum + each).min(100) };
        members.push((sum, sum - before));
    }
    let order = with.into_iter().chain(without).collect();
    (order, Shares { members, written, leaves_some: sum < 100 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[Option<u32>]) -> (Vec<(u32, u32)>, bool) {
        let (_, shares) = divide(weights);
        (shares.members, shares.leaves_some)
    }

    #[test]
    fn weights_are_cumulative() {
        assert_eq!(shares(&[Some(10), None]), (vec![(10, 10), (100, 90)], false));
        assert_eq!(
            shares(&[None, Some(30), Some(20)]),
            (vec![(30, 30), (50, 20), (100, 50)], false)
        );
        assert_eq!(shares(&[None, None, None]), (vec![(33, 33), (66, 33), (100, 34)], false));
    }

    #[test]
    fn above_a_hundred_goes_as_far_as_it_reaches() {
        assert_eq!(shares(&[Some(60), Some(50)]), (vec![(60, 60), (100, 40)], false));
        assert_eq!(shares(&[Some(100), None]), (vec![(100, 100), (100, 0)], false));
    }

    #[test]
    fn below_a_hundred_leaves_some() {
        assert_eq!(shares(&[Some(10), Some(20)]), (vec![(10, 10), (30, 20)], true));
        assert_eq!(shares(&[Some(10)]), (vec![(100, 100)], false));
    }
}
