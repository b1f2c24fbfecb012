//! The ways in which servers read a path. Envoy sends it as it came or normalised a little; what
//! stands behind Envoy may decode it, take backslashes for slashes, drop the parameters of segments
//! (`;x`), merge slashes and resolve dot segments. A guard must hold for each of them.

use std::borrow::Cow;

use smallvec::SmallVec;

/// Most paths fit, so reading one takes nothing from the heap.
type Bytes = SmallVec<[u8; 512]>;

/// Whether there is only one way to read a path.
pub(super) fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let special = |b: &u8| matches!(b, b'%' | b'\\' | b';' | 0);
    let double = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    (bytes.first() == Some(&b'/') || path.is_empty() || path == "*")
        && !bytes.iter().any(special)
        && !bytes.windows(2).any(double)
}

/// What a server does with percent signs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decode {
    /// Nothing.
    Nothing,
    /// Decodes all but slashes and backslashes.
    AllButSlashes,
    /// Decodes all.
    All,
}

/// A way to read paths; dot segments are always resolved.
#[derive(Clone, Copy)]
struct Reading {
    decode: Decode,
    backslash_is_slash: bool,
    drop_parameters: bool,
    merge_slashes: bool,
}

/// Shows every reading of `path`. False when one of them has a malformed percent sequence, bytes
/// that are no UTF-8, or a NUL.
pub(super) fn readings(path: &str, mut see: impl FnMut(&str)) -> bool {
    let both = |relevant: bool| if relevant { &[true, false][..] } else { &[true][..] };
    let decodes: &[Decode] = if path.contains('%') {
        &[Decode::All, Decode::AllButSlashes, Decode::Nothing]
    } else {
        &[Decode::All]
    };
    let encoded = path.contains('%');
    let mut well_formed = true;
    for &decode in decodes {
        for &backslash_is_slash in both(encoded || path.contains('\\')) {
            for &drop_parameters in both(encoded || path.contains(';')) {
                for &merge_slashes in both(true) {
                    let way =
                        Reading { decode, backslash_is_slash, drop_parameters, merge_slashes };
                    well_formed &= way.read(path, &mut see);
                }
            }
        }
    }
    well_formed
}

impl Reading {
    fn read(self, path: &str, see: &mut impl FnMut(&str)) -> bool {
        let (bytes, mut well_formed) = self.decode(path.as_bytes());
        let bytes = self.resolve(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        well_formed &= matches!(text, Cow::Borrowed(_));
        see(&text);
        if let Some(nul) = text.find('\0') {
            well_formed = false;
            see(text.get(..nul).unwrap_or_default());
        }
        well_formed
    }

    /// Also false when a percent sequence is malformed, which stays as it is.
    fn decode(self, path: &[u8]) -> (Bytes, bool) {
        let (mut bytes, mut well_formed) = (Bytes::with_capacity(path.len()), true);
        let mut rest = path;
        while let [first, after @ ..] = rest {
            rest = after;
            let mut byte = *first;
            if byte == b'%' && self.decode != Decode::Nothing {
                match after {
                    [high, low, after @ ..]
                        if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                    {
                        let decoded = hex(*high) << 4 | hex(*low);
                        let slash = matches!(decoded, b'/' | b'\\');
                        if self.decode == Decode::All || !slash {
                            (byte, rest) = (decoded, after);
                        }
                    }
                    _ => well_formed = false,
                }
            }
            bytes.push(if byte == b'\\' && self.backslash_is_slash { b'/' } else { byte });
        }
        (bytes, well_formed)
    }

    /// Resolves dot segments (RFC 3986 section 5.2.4).
    fn resolve(self, path: &[u8]) -> Bytes {
        let mut out = Bytes::with_capacity(path.len() + 1);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let mut segments = path.split(|b| *b == b'/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let name = match segment.iter().position(|b| *b == b';') {
                Some(at) if self.drop_parameters => segment.get(..at).unwrap_or_default(),
                _ => segment,
            };
            match name {
                b"." => {}
                b".." => out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0)),
                b"" if self.merge_slashes => {}
                name => {
                    out.push(b'/');
                    out.extend_from_slice(name);
                    continue;
                }
            }
            if last {
                out.push(b'/');
            }
        }
        if out.is_empty() {
            out.push(b'/');
        }
        out
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(path: &str) -> (BTreeSet<String>, bool) {
        let mut seen = BTreeSet::new();
        let well_formed = readings(path, |r| {
            seen.insert(r.to_owned());
        });
        (seen, well_formed)
    }

    #[test]
    fn each_way_of_hiding_a_path_shows_it() {
        for path in [
            "/admin/x",
            "//admin/x",
            "/admin//x",
            "/%61dmin/x",
            "/a/../admin/x",
            "/a/%2e%2e/admin/x",
            "/a%2f..%2fadmin/x",
            "/a\\..\\admin\\x",
            "/a%5c..%5cadmin%5Cx",
            "/admin;v=1/x",
            "/a/..;/admin/x",
            "/./admin/./x",
            "/;/admin/x",
            "/admin%3bv/x",
            "/../admin/x",
            "admin/x",
            "/a/b/.././../admin/x",
            "/a%2fb/../admin/x",
            "/a/;p/../../admin/x",
            "/a\\b/../admin/x",
            "/a;/../admin/x",
        ] {
            assert!(all(path).0.contains("/admin/x"), "{path}: {:?}", all(path));
        }
        assert!(all("/a//../admin/x").0.contains("/admin/x"));
        assert!(all("/a//../admin/x").0.contains("/a/admin/x"), "where slashes are not merged");
        assert!(all("/admin%00.html").0.contains("/admin"));
    }

    #[test]
    fn ends_are_kept() {
        assert_eq!(all("/a/./").0, ["/a/".to_owned()].into());
        assert_eq!(all("/a/b/..").0, ["/a/".to_owned()].into());
        assert_eq!(all("/..").0, ["/".to_owned()].into());
        assert!(all("/a//").0.contains("/a/") && all("/a//").0.contains("/a//"));
    }

    #[test]
    fn what_is_malformed_is_told() {
        for path in ["/%", "/%4", "/%zz", "/%ff", "/%c0%ae", "/a%00"] {
            assert!(!all(path).1, "{path}");
        }
        assert!(all("/%41;x//..").1);
    }

    #[test]
    fn plain_paths_are_told_apart() {
        for plain in ["/", "/a/b.c/d-e_~", "*", "", "/a."] {
            assert!(is_plain(plain), "{plain}");
        }
        for special in ["/a%20", "/a;b", "//", "/a\\b", "/.", "/a/../b", "x"] {
            assert!(!is_plain(special), "{special}");
        }
    }
}
