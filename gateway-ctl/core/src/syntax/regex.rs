//! Regular expressions as RE2 (Envoy's engine) takes them.
//!
//! The syntax tree of the `regex` crate is nearly RE2's; what only the crate knows is refused
//! here, and the size of RE2's program is estimated from the tree.

use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{Class, Hir, HirKind};

/// RE2's limit on `{n,m}`.
const MAX_REPEAT: u32 = 1000;

/// Checks an expression and estimates the size of its program, which `regex_max_size` of the
/// Module limits. The estimate is not below one instruction per character that must match.
///
/// # Errors
/// The text for the user.
pub fn check(pattern: &str) -> Result<usize, String> {
    let wrong = |why: String| format!("not a regular expression that Envoy takes (RE2): {why}");
    if pattern.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    let tree = ast::parse::ParserBuilder::new()
        .nest_limit(200)
        .build()
        .parse(pattern)
        .map_err(|e| wrong(format!("{} at position {}", e.kind(), e.span().start.column)))?;
    let foreign = ast::visit(&tree, Foreign);
    foreign.map_err(|what| wrong(format!("{what} is not known to RE2")))?;
    // RE2's \w, \d, \s and, as Envoy sets it, `.` are of bytes; only \p needs more.
    let translate = |unicode| {
        regex_syntax::hir::translate::TranslatorBuilder::new()
            .unicode(unicode)
            .utf8(false)
            .build()
            .translate(pattern, &tree)
    };
    let hir =
        translate(false).or_else(|_| translate(true)).map_err(|e| wrong(e.kind().to_string()))?;
    Ok(size(&hir).saturating_add(4))
}

/// Checks what replaces a match: `\0` to `\9` name groups that exist, `\\` is a backslash.
///
/// # Errors
/// The text for the user.
pub fn check_substitution(pattern: &str, substitution: &str) -> Result<(), String> {
    let groups =
        regex_syntax::parse(pattern).map_or(0, |hir| hir.properties().explicit_captures_len());
    if substitution.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err("a substitution has no line end and no NUL".to_owned());
    }
    let mut chars = substitution.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('\\') => {}
            Some(d) if d.is_ascii_digit() => {
                let group = d.to_digit(10).unwrap_or_default() as usize;
                if group > groups {
                    return Err(format!(
                        "`\\{group}` names a group, and the pattern has {groups} of them"
                    ));
                }
            }
            _ => return Err("a backslash is followed by a digit or a backslash".to_owned()),
        }
    }
    Ok(())
}

/// Finds what the `regex` crate takes and RE2 does not.
struct Foreign;

impl ast::Visitor for Foreign {
    type Output = ();
    type Err = &'static str;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, node: &Ast) -> Result<(), Self::Err> {
        match node {
            Ast::Flags(f) => flags(&f.flags),
            Ast::Group(group) => group.flags().map_or(Ok(()), flags),
            Ast::Assertion(a) => match a.kind {
                ast::AssertionKind::StartLine
                | ast::AssertionKind::EndLine
                | ast::AssertionKind::StartText
                | ast::AssertionKind::EndText
                | ast::AssertionKind::WordBoundary
                | ast::AssertionKind::NotWordBoundary => Ok(()),
                _ => Err("this kind of word boundary"),
            },
            Ast::Literal(l) => literal(l),
            Ast::Repetition(r) if matches!(*r.ast, Ast::Repetition(_)) => {
                Err("a repetition of a repetition without brackets")
            }
            Ast::Repetition(r) => match &r.op.kind {
                ast::RepetitionKind::Range(range) => {
                    let most = match range {
                        ast::RepetitionRange::Exactly(n) | ast::RepetitionRange::AtLeast(n) => *n,
                        ast::RepetitionRange::Bounded(_, n) => *n,
                    };
                    if most > MAX_REPEAT { Err("a repetition of more than 1000") } else { Ok(()) }
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Bracketed(_) => Err("a class inside a class"),
            ast::ClassSetItem::Literal(l) => literal(l),
            ast::ClassSetItem::Range(r) => literal(&r.start).and_then(|()| literal(&r.end)),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        _: &ast::ClassSetBinaryOp,
    ) -> Result<(), Self::Err> {
        Err("`&&`, `--` or `~~` in a class")
    }
}

fn flags(flags: &ast::Flags) -> Result<(), &'static str> {
    let known = |item: &ast::FlagsItem| {
        !matches!(
            item.kind,
            ast::FlagsItemKind::Flag(
                ast::Flag::IgnoreWhitespace | ast::Flag::Unicode | ast::Flag::CRLF
            )
        )
    };
    if flags.items.iter().all(known) { Ok(()) } else { Err("one of the flags u, x, R") }
}

fn literal(literal: &ast::Literal) -> Result<(), &'static str> {
    use ast::{HexLiteralKind, LiteralKind};
    match literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("`\\u` or `\\U`")
        }
        LiteralKind::HexBrace(_) if u32::from(literal.c) > 0xff => Err("`\\x{…}` above FF"),
        _ => Ok(()),
    }
}

/// Instructions that RE2 needs, roughly.
fn size(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(l) => l.0.len(),
        HirKind::Class(Class::Bytes(c)) => c.ranges().len(),
        HirKind::Class(Class::Unicode(c)) => {
            // RE2 writes a range as byte sequences with shared tails; 3 is a fair mean.
            c.ranges()
                .iter()
                .map(|r| if r.end() <= '\u{7f}' { 1 } else { 3 })
                .sum::<usize>()
                .min(60)
        }
        HirKind::Repetition(r) => {
            let one = size(&r.sub);
            let times = match r.max {
                Some(max) => max as usize,
                None => (r.min as usize).max(1),
            };
            one.saturating_mul(times.max(1)).saturating_add(match r.max {
                Some(max) => (max.saturating_sub(r.min)) as usize,
                None => 1,
            })
        }
        HirKind::Capture(c) => size(&c.sub).saturating_add(2),
        HirKind::Concat(parts) => parts.iter().fold(0, |n, p| n.saturating_add(size(p))),
        HirKind::Alternation(parts) => {
            parts.iter().fold(parts.len(), |n, p| n.saturating_add(size(p)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_re2_takes() {
        for pattern in ["/a/[0-9]+", "(?i)/x", "/(a|b)/.*", r"/v\d+/\w*", "(?P<x>a)", r"\/a\-b"] {
            assert!(check(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn refuses_what_re2_refuses() {
        for pattern in [
            "",
            "/x(",
            "a{2000}",
            r"(a)\1",
            "(?=a)",
            "(?x)a b",
            "[a&&b]",
            "a++",
            r"\x{100}",
            "[[a]b]",
            r"\u0041",
            r"\bstart\b{start}",
            "*a",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn size_grows_with_the_expression() {
        assert!(check("/abc").unwrap() < 20);
        assert!(check(r"/\w+/\d+/[^/]+/.*").unwrap() < 60);
        assert!(check("(abcdefghij){100}").unwrap() > 1000);
        assert!(check("((a{1000}){1000}){1000}").unwrap() > 1_000_000);
    }

    #[test]
    fn substitutions_name_groups_that_exist() {
        assert!(check_substitution("/(a)/(b)", r"/\2/\1/\0\\").is_ok());
        assert!(check_substitution("/(a)", r"\2").is_err());
        assert!(check_substitution("/(a)", r"\x").is_err());
        assert!(check_substitution("/(a)", "\\").is_err());
    }
}
