//! A bound on the brackets of a policy, found without a parser: the parser tries each `[` and `{` in
//! two ways, so that its time doubles with each that is in another one.

/// Deepest nesting.
const MAX_DEPTH: usize = 12;
/// Most work, where a bracket is 2 to the power of its depth.
const MAX_WORK: usize = 50_000;

/// Whether the parser can be given this.
pub(super) fn is_bounded(policy: &str) -> bool {
    let (mut depth, mut work) = (0_usize, 0);
    let mut bytes = policy.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'#' => drop(bytes.by_ref().find(|b| *b == b'\n')),
            b'`' => drop(bytes.by_ref().find(|b| *b == b'`')),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => drop(bytes.next()),
                    None | Some(b'"' | b'\n') => break,
                    Some(_) => {}
                }
            },
            b'[' | b'{' | b'(' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
                work += 1 << depth;
            }
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    work <= MAX_WORK
}
