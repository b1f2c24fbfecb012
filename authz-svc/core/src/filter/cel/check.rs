//! An expression, read and checked: what it names must be there, types must fit as far as they are
//! known; and it is rewritten to pay for what it does (`budget.rs`).

use std::collections::{BTreeSet, HashMap};

use cel::IdedExpr as Expression;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators as op,
};
use cel::common::types::{CelBool, CelUInt};
use regex::{Regex, RegexBuilder};

use super::budget::{MATCHES, SPEND, WEIGH};
use super::types::{Type, of_call};
use super::variables::Variable;
use super::{ENVIRONMENT, depth};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4096;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Loops in loops.
const MAX_LOOPS: usize = 4;
/// Most memory of a compiled pattern, in bytes.
const MAX_PATTERN: usize = 256 << 10;

/// An expression that can be evaluated.
pub(super) struct Checked {
    pub(super) expression: Expression,
    /// What it looks at.
    pub(super) variables: BTreeSet<Variable>,
    /// Patterns of its `matches`.
    pub(super) patterns: HashMap<String, Regex>,
}

/// What is wrong with one.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Reads and checks an expression.
pub(super) fn check(source: &str) -> Result<Checked, Fault> {
    if source.trim().is_empty() {
        return Err(Fault::new("the expression is missing"));
    }
    if source.len() > MAX_LENGTH {
        return Err(Fault::new(format!("the expression is longer than {MAX_LENGTH} bytes"))
            .hint("make several rules of it: all must hold"));
    }
    if depth::of(source).map_err(Fault::new)? > MAX_DEPTH {
        return Err(too_deep());
    }
    let expression =
        ENVIRONMENT.parser().error_recovery_limit(0).parse(source).map_err(|errors| {
            let first = errors.errors.first();
            let place = first.map_or((0, 0), |e| e.pos);
            let words = first.map_or("", |e| e.msg.as_str());
            Fault::new(format!("line {}, column {}: {words}", place.0, place.1))
                .hint("see the language definition of CEL")
        })?;
    let mut checker = Checker::default();
    let (expression, result) = checker.visit(expression, 0)?;
    if !result.may_be(&Type::Bool) {
        return Err(Fault::new(format!("the result is {result}, not a bool"))
            .hint("compare it with something"));
    }
    let Checker { variables, patterns, .. } = checker;
    Ok(Checked { expression, variables, patterns })
}

fn too_deep() -> Fault {
    Fault::new(format!("the expression is nested deeper than {MAX_DEPTH}"))
        .hint("make several rules of it: all must hold")
}

/// Name and type of a loop's variable.
type Local = (String, Type);

#[derive(Default)]
struct Checker {
    locals: Vec<Local>,
    loops: usize,
    nodes: u64,
    variables: BTreeSet<Variable>,
    patterns: HashMap<String, Regex>,
}

type Visited = Result<(Expression, Type), Fault>;

impl Checker {
    fn visit(&mut self, expression: Expression, depth: usize) -> Visited {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.nodes += 1;
        let id = expression.id;
        let (expr, of) = match expression.expr {
            Expr::Literal(literal) => {
                let of = of_literal(&literal);
                (Expr::Literal(literal), of)
            }
            Expr::Ident(name) => self.name(name)?,
            Expr::Select(select) => self.select(select, depth)?,
            Expr::Call(call) => self.call(call, depth)?,
            Expr::List(mut list) => {
                let mut of = None;
                for element in &mut list.elements {
                    let (visited, item) = self.visit(std::mem::take(element), depth + 1)?;
                    of = Some(of.map_or_else(|| item.clone(), |of: Type| of.or(item.clone())));
                    *element = weighed(visited, &item);
                }
                (Expr::List(list), Type::list(of.unwrap_or(Type::Any)))
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                        return Err(Fault::new("an entry of a map has no key"));
                    };
                    for part in [&mut entry.key, &mut entry.value] {
                        let (visited, item) = self.visit(std::mem::take(part), depth + 1)?;
                        *part = weighed(visited, &item);
                    }
                }
                (Expr::Map(map), Type::map(Type::Any))
            }
            Expr::Comprehension(each) => self.comprehension(*each, depth)?,
            Expr::Struct(structure) => {
                return Err(Fault::new(format!("there is no type `{}`", structure.type_name)));
            }
            Expr::Unspecified => return Err(Fault::new("the expression is incomplete")),
        };
        Ok((Expression { id, expr }, of))
    }

    fn local(&self, name: &str) -> Option<&Type> {
        self.locals.iter().rev().find(|(n, _)| n == name).map(|(_, of)| of)
    }

    fn name(&mut self, name: String) -> Result<(Expr, Type), Fault> {
        if let Some(of) = self.local(&name) {
            let of = of.clone();
            return Ok((Expr::Ident(name), of));
        }
        if let Some(variable) = Variable::named(&name) {
            self.variables.insert(variable);
            return Ok((Expr::Ident(name), variable.type_of()));
        }
        // The names of types, as in `type(x) == string`.
        if ENVIRONMENT.types().find_type(&name).is_some() {
            return Ok((Expr::Ident(name), Type::Any));
        }
        let fields = Variable::fields_of(&name);
        Err(if fields.is_empty() {
            Fault::new(format!("there is no variable `{name}`"))
                .hint(format!("there are {}", Variable::roots().join(", ")))
        } else {
            Fault::new(format!("`{name}` is no value by itself"))
                .hint(format!("it has the fields {}", fields.join(", ")))
        })
    }

    fn select(&mut self, select: SelectExpr, depth: usize) -> Result<(Expr, Type), Fault> {
        if let Some(variable) = self.variable(&select)? {
            // All of them are always there.
            if select.test {
                return Ok((Expr::Literal(LiteralValue::Boolean(true.into())), Type::Bool));
            }
            self.variables.insert(variable);
            return Ok((Expr::Ident(variable.name().to_owned()), variable.type_of()));
        }
        let SelectExpr { operand, field, test } = select;
        let (operand, of) = self.visit(*operand, depth + 1)?;
        let of = match of {
            Type::Any => Type::Any,
            Type::Map(of) => Type::clone(&of),
            other => return Err(Fault::new(format!("{other} has no field `{field}`"))),
        };
        lower_case(&operand, &field)?;
        let select = SelectExpr { operand: Box::new(operand), field, test };
        Ok((Expr::Select(select), if test { Type::Bool } else { of }))
    }

    /// The variable that a field of a name is.
    fn variable(&self, select: &SelectExpr) -> Result<Option<Variable>, Fault> {
        let Expr::Ident(root) = &select.operand.expr else { return Ok(None) };
        let fields = Variable::fields_of(root);
        if self.local(root).is_some() || fields.is_empty() {
            return Ok(None);
        }
        let field = &select.field;
        let variable = Variable::named(&format!("{root}.{field}"));
        variable.map(Some).ok_or_else(|| {
            Fault::new(format!("`{root}` has no field `{field}`"))
                .hint(format!("it has {}", fields.join(", ")))
        })
    }

    fn call(&mut self, call: CallExpr, depth: usize) -> Result<(Expr, Type), Fault> {
        let CallExpr { func_name, target, args } = call;
        let is_optional = target.as_ref().is_some_and(
            |t| matches!(&t.expr, Expr::Ident(n) if n == "optional" && self.local(n).is_none()),
        );
        let is_method = target.is_some() && !is_optional;
        let count = args.len();
        let mut types = Vec::with_capacity(count + 1);
        let mut parts = Vec::with_capacity(count + 1);
        for part in target.into_iter().map(|t| *t).filter(|_| !is_optional).chain(args) {
            let (visited, of) = self.visit(part, depth + 1)?;
            types.push(of);
            parts.push(visited);
        }
        let qualified = format!("optional.{func_name}");
        let name = if is_optional { &qualified } else { &func_name };
        let result = of_call(name, is_method, &types).map_err(Fault::new)?;
        if func_name == op::INDEX
            && let [container, index] = parts.as_slice()
            && let Expr::Literal(LiteralValue::String(key)) = &index.expr
        {
            lower_case(container, key.inner())?;
        }
        if func_name == MATCHES {
            self.pattern(parts.get(1))?;
        }
        let is_logic = matches!(
            func_name.as_str(),
            op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::CONDITIONAL | op::INDEX
        );
        // The evaluator knows the step of a loop that adds to its result by its shape.
        let is_step = matches!(parts.first().map(|p| &p.expr),
            Some(Expr::Ident(name)) if name.starts_with('@'));
        if !is_logic && !is_step {
            parts = parts.into_iter().zip(&types).map(|(part, of)| weighed(part, of)).collect();
        }
        let target = match (is_method, is_optional) {
            (true, _) => Some(Box::new(parts.remove(0))),
            (_, true) => {
                let expr = Expr::Ident("optional".to_owned());
                Some(Box::new(Expression { id: 0, expr }))
            }
            _ => None,
        };
        Ok((Expr::Call(CallExpr { func_name, target, args: parts }), result))
    }

    /// Compiles the pattern of a `matches`.
    fn pattern(&mut self, argument: Option<&Expression>) -> Result<(), Fault> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = argument.map(|a| &a.expr) else {
            return Err(Fault::new("the pattern of `matches` is not a literal")
                .hint("write it like request.path.matches('^/v[0-9]+/')"));
        };
        let built = RegexBuilder::new(pattern.inner())
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_PATTERN)
            .nest_limit(64)
            .build();
        match built {
            Ok(regex) => {
                self.patterns.insert(pattern.inner().to_owned(), regex);
                Ok(())
            }
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(Fault::new(format!("the pattern `{}` is too large", pattern.inner())))
            }
            Err(_) => Err(Fault::new(format!("`{}` is no regular expression", pattern.inner()))
                .hint("patterns are those of RE2")),
        }
    }

    fn comprehension(
        &mut self,
        each: ComprehensionExpr,
        depth: usize,
    ) -> Result<(Expr, Type), Fault> {
        self.loops += 1;
        if self.loops > MAX_LOOPS {
            return Err(Fault::new(format!("there are more than {MAX_LOOPS} loops in each other")));
        }
        let (range, of) = self.visit(each.iter_range, depth + 1)?;
        let item = match &of {
            Type::List(of) => Type::clone(of),
            Type::Map(_) => Type::Text,
            Type::Any => Type::Any,
            other => return Err(Fault::new(format!("{other} has no elements"))),
        };
        let (init, result) = self.visit(each.accu_init, depth + 1)?;
        let before = self.nodes;
        let locals = self.locals.len();
        self.locals.push((each.accu_var.clone(), result));
        self.locals.push((each.iter_var.clone(), item));
        let (condition, _) = self.visit(each.loop_cond, depth + 1)?;
        let (step, _) = self.visit(each.loop_step, depth + 1)?;
        let (end, result) = self.visit(each.result, depth + 1)?;
        self.locals.truncate(locals);
        self.loops -= 1;
        let price = self.nodes - before;
        let each = ComprehensionExpr {
            iter_range: weighed(range, &of),
            accu_init: init,
            loop_cond: condition,
            loop_step: paid(step, &each.accu_var, price)?,
            result: end,
            ..each
        };
        Ok((Expr::Comprehension(Box::new(each)), result))
    }
}

/// Header names are in lower case, so that no other finds one.
fn lower_case(container: &Expression, key: &str) -> Result<(), Fault> {
    let is_headers =
        matches!(&container.expr, Expr::Ident(name) if name == Variable::Headers.name());
    if is_headers && key.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = key.to_ascii_lowercase();
        return Err(Fault::new(format!("there is never a header `{key}`"))
            .hint(format!("names of headers are in lower case: request.headers['{lower}']")));
    }
    Ok(())
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Number,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
    }
}

fn call(name: &str, args: Vec<Expression>) -> Expression {
    let expr = Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args });
    Expression { id: 0, expr }
}

/// Pays for the size of what it gives, if that can be large.
fn weighed(expression: Expression, of: &Type) -> Expression {
    let is_known = matches!(&expression.expr, Expr::Literal(_))
        || matches!(&expression.expr, Expr::Ident(name) if name.starts_with('@'));
    if is_known || of.is_small() { expression } else { call(WEIGH, vec![expression]) }
}

/// A step of a loop that pays for its turn before it does anything. The evaluator knows the shapes
/// of steps, which stay: `result && x`, `result + [x]`, and each with a condition.
fn paid(step: Expression, accumulator: &str, price: u64) -> Result<Expression, Fault> {
    let id = step.id;
    let is_result = |e: &Expression| matches!(&e.expr, Expr::Ident(name) if name == accumulator);
    let Expr::Call(CallExpr { func_name, target: None, mut args }) = step.expr else {
        return Err(Fault::new("this loop is not supported"));
    };
    match (func_name.as_str(), args.as_mut_slice()) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [first, body]) if is_result(first) => {
            *body = pay(std::mem::take(body), price);
        }
        (op::CONDITIONAL, [condition, _, last]) if is_result(last) => {
            *condition = pay(std::mem::take(condition), price);
        }
        (op::ADD, [first, Expression { expr: Expr::List(list), .. }]) if is_result(first) => {
            for element in &mut list.elements {
                *element = pay(std::mem::take(element), price);
            }
        }
        _ => return Err(Fault::new("this loop is not supported")),
    }
    Ok(Expression { id, expr: Expr::Call(CallExpr { func_name, target: None, args }) })
}

/// `@spend(price) ? body : false`: nothing of the body is evaluated when it cannot be paid.
fn pay(body: Expression, price: u64) -> Expression {
    let literal = |value| Expression { id: 0, expr: Expr::Literal(value) };
    let price = literal(LiteralValue::UInt(CelUInt::from(price)));
    let no = literal(LiteralValue::Boolean(CelBool::from(false)));
    call(op::CONDITIONAL, vec![call(SPEND, vec![price]), body, no])
}
