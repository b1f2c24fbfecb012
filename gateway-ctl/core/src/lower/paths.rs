//! Divides the routes of a virtual host by path, so that of thousands Envoy tries but a few.
//!
//! A bucket has, in the order in which they are tried, all routes that can match a path which
//! begins with its prefix and with no longer prefix of another bucket. So the bucket with the
//! longest prefix of a path decides about it as the whole list would. This module knows no more
//! of a route than which paths it can match.

/// Virtual hosts with no more routes are not divided: trying them all costs about a microsecond.
pub const UNDIVIDED: usize = 128;
/// Most routes of a bucket that is not divided further.
const FULL: usize = 64;
/// Fewer routes that go on alike get no bucket of their own.
const FEW: usize = 8;
/// Most buckets inside each other.
const DEEPEST: usize = 48;

/// What a route is to the division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach<'a> {
    /// Paths that it can match begin with it; without it there is no telling.
    pub path: Option<&'a str>,
    /// It can match but this path.
    pub exact: bool,
    /// It matches all that begins with the path, so that what comes later is not tried there.
    pub always: bool,
}

/// Routes by the beginning of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The beginning.
    pub prefix: String,
    /// Places of the routes in the undivided list, ascending.
    pub routes: Vec<usize>,
}

/// A divided list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// The buckets.
    pub buckets: Vec<Bucket>,
    /// For paths that begin with no bucket's prefix.
    pub rest: Vec<usize>,
}

/// Divides routes, which come in the order in which they are tried. The result depends on nothing
/// else. None when a division would not help: few routes, or so many that can match so much that
/// most would be in many buckets.
pub fn divide(routes: &[Reach<'_>]) -> Option<Division> {
    if routes.len() <= UNDIVIDED {
        return None;
    }
    let (located, anywhere): (Vec<usize>, Vec<usize>) =
        (0..routes.len()).partition(|at| path_of(routes, *at).is_some());
    let mut divider = Divider { routes, buckets: Vec::new(), room: 3 * routes.len() };
    divider.split(&located, &anywhere, 0)?;
    let rest = divider.list(b"", &[], &anywhere)?;
    (divider.buckets.len() > 1).then_some(Division { buckets: divider.buckets, rest })
}

/// The path, if buckets can be made of it: Envoy looks for a bucket in the path as it came, with
/// its query, and a cut inside a character would be no text.
fn path_of<'a>(routes: &[Reach<'a>], at: usize) -> Option<&'a [u8]> {
    let path = routes.get(at)?.path?.as_bytes();
    let usable = |b: &u8| b.is_ascii() && !matches!(b, b'?' | b'#');
    path.iter().all(usable).then_some(path)
}

struct Divider<'a> {
    routes: &'a [Reach<'a>],
    buckets: Vec<Bucket>,
    /// Places that are left in lists.
    room: usize,
}

impl<'a> Divider<'a> {
    /// Makes buckets of `set`. `above` can match what begins alike, too.
    fn split(&mut self, set: &[usize], above: &[usize], depth: usize) -> Option<()> {
        let prefix = self.common_prefix(set);
        if set.len() <= FULL {
            return self.add(prefix, set, above);
        }
        if depth == DEEPEST {
            return None;
        }
        let mut here = Vec::new();
        let mut by_next: [Vec<usize>; 128] = [const { Vec::new() }; 128];
        for &at in set {
            match path_of(self.routes, at)?.get(prefix.len()) {
                None => here.push(at),
                Some(next) => by_next.get_mut(usize::from(*next))?.push(at),
            }
        }
        let scattered: usize = by_next.iter().map(Vec::len).filter(|n| *n < FEW).sum();
        let few = if scattered > FULL { 1 } else { FEW };
        let mut inherited = above.to_vec();
        inherited.extend(here.iter().filter(|at| self.routes.get(**at).is_some_and(|r| !r.exact)));
        inherited.sort_unstable();
        for group in by_next {
            if group.len() >= few {
                self.split(&group, &inherited, depth + 1)?;
            } else {
                here.extend(group);
            }
        }
        if here.is_empty() { Some(()) } else { self.add(prefix, &here, above) }
    }

    fn common_prefix(&self, set: &[usize]) -> &'a [u8] {
        let mut paths = set.iter().filter_map(|at| path_of(self.routes, *at));
        let first = paths.next().unwrap_or_default();
        let length = paths.fold(first.len(), |length, path| {
            first.iter().zip(path).take(length).take_while(|(a, b)| a == b).count()
        });
        first.get(..length).unwrap_or_default()
    }

    fn add(&mut self, prefix: &[u8], own: &[usize], above: &[usize]) -> Option<()> {
        let routes = self.list(prefix, own, above)?;
        let prefix = String::from_utf8(prefix.to_vec()).ok()?;
        self.buckets.push(Bucket { prefix, routes });
        Some(())
    }

    /// The routes of a bucket; none when there is no room for them.
    fn list(&mut self, prefix: &[u8], own: &[usize], above: &[usize]) -> Option<Vec<usize>> {
        let mut routes: Vec<usize> = own.iter().chain(above).copied().collect();
        routes.sort_unstable();
        let decides = |at: &usize| {
            self.routes.get(*at).is_some_and(|r| r.always)
                && path_of(self.routes, *at).is_some_and(|path| prefix.starts_with(path))
        };
        if let Some(last) = routes.iter().position(decides) {
            routes.truncate(last + 1);
        }
        self.room = self.room.checked_sub(routes.len())?;
        Some(routes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: Reach<'_> = Reach { path: None, exact: false, always: true };

    /// Whether a route matches; its conditions other than the path are met by chance.
    fn matches(route: &Reach<'_>, at: usize, request: &str, chance: usize) -> bool {
        let path = request.split(['?', '#']).next().unwrap_or_default();
        let met = route.always || (at * 7 + chance).is_multiple_of(3);
        met && match route.path {
            // A regular expression, say.
            None => (at + path.len()).is_multiple_of(2),
            Some(text) if route.exact => path == text,
            Some(text) => path.starts_with(text),
        }
    }

    fn undivided(routes: &[Reach<'_>], request: &str, chance: usize) -> Option<usize> {
        (0..routes.len()).find(|at| matches(&routes[*at], *at, request, chance))
    }

    fn divided(
        division: &Division,
        routes: &[Reach<'_>],
        request: &str,
        chance: usize,
    ) -> Option<usize> {
        let fitting = division.buckets.iter().filter(|b| request.starts_with(&b.prefix));
        let list = fitting.max_by_key(|b| b.prefix.len()).map_or(&division.rest, |b| &b.routes);
        list.iter().copied().find(|at| matches(&routes[*at], *at, request, chance))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_bucket_decides_as_the_whole_list_does(
            routes in proptest::collection::vec(("(/[abxy]{0,4}){1,3}", 0..64_u8), 129..500),
            requests in proptest::collection::vec(("(/[abxy]{0,5}){1,4}[?é]?", 0..3_usize), 200),
        ) {
            let mut routes = routes;
            for (path, kind) in &mut routes {
                path.push_str(["?", "é", ""][usize::from(*kind).clamp(3, 5) - 3]);
            }
            // Mostly as the engine orders them, longest first.
            routes.sort_by_key(|(path, kind)| (*kind == 0, std::cmp::Reverse(path.len())));
            let reaches: Vec<Reach<'_>> = routes
                .iter()
                .map(|(path, kind)| Reach {
                    path: (*kind != 1).then_some(path.as_str()),
                    exact: *kind % 8 == 2,
                    always: *kind % 8 > 4 && *kind != 1,
                })
                .collect();
            if let Some(division) = divide(&reaches) {
                for (request, chance) in &requests {
                    prop_assert_eq!(
                        divided(&division, &reaches, request, *chance),
                        undivided(&reaches, request, *chance),
                        "{}", request
                    );
                }
            }
        }
    }

    #[test]
    fn many_prefixes_are_divided_into_small_buckets() {
        let paths: Vec<String> = (0..10_000).rev().map(|i| format!("/other/{i}/")).collect();
        let mut routes: Vec<_> = paths.iter().map(|p| Reach { path: Some(p), ..PREFIX }).collect();
        routes.push(Reach { path: Some("/"), ..PREFIX });
        routes.push(Reach { path: None, exact: false, always: false });
        let division = divide(&routes).unwrap();
        let longest = division.buckets.iter().map(|b| b.routes.len()).max().unwrap();
        assert!(longest <= FULL + 2, "{longest}");
        let all: usize = division.buckets.iter().map(|b| b.routes.len()).sum();
        assert!(all < routes.len() + 3 * division.buckets.len(), "{all}");
        assert_eq!(division.rest, [10_001]);
    }

    #[test]
    fn what_cannot_be_divided_stays_whole() {
        let regex = Reach { path: None, exact: false, always: false };
        assert_eq!(divide(&vec![regex; 1000]), None);
        let chain: Vec<String> = (1..1000).rev().map(|n| "a".repeat(n)).collect();
        let conditional: Vec<_> =
            chain.iter().map(|p| Reach { path: Some(p), exact: false, always: false }).collect();
        assert_eq!(divide(&conditional), None);
        assert_eq!(divide(&[PREFIX; 10]), None);
    }
}
