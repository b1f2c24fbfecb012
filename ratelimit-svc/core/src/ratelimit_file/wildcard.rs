//! Texts with `*`: any run of characters.

/// Whether `pattern` matches the whole of `text`: the literal parts stand in it in order, the first
/// at its start, the last at its end, none overlapping.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_order_and_anchored() {
        assert!(matches("p_api/*/act", "p_api/x/y/act") && !matches("p_api/*/act", "p_api/act"));
        assert!(matches("r_a*b*c", "r_abc") && matches("r_a*b*c", "r_axbxc"));
        assert!(!matches("r_a*b*c", "r_acb") && !matches("/a*a", "/a"));
        assert!(matches("s_*", "s_") && matches("*", "") && matches("st*", "start"));
        assert!(!matches("s_*", "t_"));
    }
}
