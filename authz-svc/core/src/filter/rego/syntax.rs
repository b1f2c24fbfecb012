//! What can be seen in the text of policies: which functions they call, and which parts of the input
//! they read.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use serde_json::Value as Json;

use super::functions::{BUILTINS, instead_of};

/// What policies look at. Functions have names as in `data.PACKAGE.NAME`, or those of a builtin.
#[derive(Debug, Default)]
pub(super) struct Syntax {
    /// Fields of the input.
    fields: BTreeSet<String>,
    /// The input as a whole, in which any field can be meant.
    whole: bool,
    functions: BTreeSet<String>,
    /// By the function that is called: the functions that do, if it is not done in rules alone.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// Names of functions as they are written, by their whole names.
    written: BTreeMap<String, String>,
    rules: usize,
}

/// A module, as far as names depend on it.
struct Module {
    package: String,
    /// Names of imports, and what they stand for.
    imports: BTreeMap<String, String>,
    /// The function that is looked at.
    function: Option<String>,
}

/// What is wrong, and what to do.
pub(super) type Fault = (String, &'static str);

impl Syntax {
    /// Of all policies of an engine.
    ///
    /// # Errors
    /// In words.
    pub(super) fn of(engine: &Engine) -> Result<Self, Fault> {
        let nested = |_| ("a policy is nested too deeply".to_owned(), "make rules of its parts");
        let text = engine.get_ast_as_json().map_err(|e| (e.to_string(), ""))?;
        // The reader has a bound on nesting, which is one for this, too.
        let modules: Json = serde_json::from_str(&text).map_err(nested)?;
        let mut syntax = Self::default();
        let sources = engine.get_policies().map_err(|e| (e.to_string(), ""))?;
        let asts = modules.as_array().into_iter().flatten().map(|module| &module["ast"]);
        let mut modules: Vec<(&Json, Module)> = asts
            .zip(&sources)
            .map(|(ast, source)| (ast, Module::of(ast, source.contents())))
            .collect();
        for (ast, module) in &modules {
            let names = ast["rules"].as_array().into_iter().flatten().filter_map(|r| path(head(r)));
            syntax.functions.extend(names.map(|name| module.own(&name)));
        }
        for (ast, module) in &mut modules {
            syntax.module(ast, module);
        }
        syntax.check()?;
        Ok(syntax)
    }

    /// Whether a policy may read this field of the input.
    pub(super) fn reads(&self, field: &str) -> bool {
        self.whole || self.fields.contains(field)
    }

    /// How many rules and functions there are.
    pub(super) fn rules(&self) -> usize {
        self.rules
    }

    /// Whether all functions are there, and none calls itself: a stack that is used up would end the
    /// program.
    fn check(&self) -> Result<(), Fault> {
        let is_there =
            |name: &&String| BUILTINS.contains(&name.as_str()) || self.functions.contains(*name);
        if let Some(name) = self.calls.keys().find(|name| !is_there(name)) {
            let name = self.written.get(name).unwrap_or(name);
            return Err((format!("there is no function `{name}`"), instead_of(name)));
        }
        for function in &self.functions {
            let (mut reached, mut next) = (BTreeSet::new(), vec![function]);
            while let Some(callers) = next.pop().and_then(|name| self.calls.get(name)) {
                next.extend(callers.iter().filter(|caller| reached.insert(*caller)));
            }
            if reached.contains(function) {
                let name = function.trim_start_matches("data.");
                return Err((
                    format!("the function `{name}` calls itself"),
                    "Rego has no recursion",
                ));
            }
        }
        Ok(())
    }

    fn module(&mut self, ast: &Json, module: &mut Module) {
        for (kind, part) in ast.as_object().into_iter().flatten() {
            match (kind.as_str(), part) {
                ("rules", Json::Array(rules)) => {
                    for rule in rules {
                        self.rules += 1;
                        module.function = path(head(rule)).map(|name| module.own(&name));
                        self.visit(rule, module);
                    }
                }
                ("package", _) => {}
                _ => self.visit(part, module),
            }
        }
    }

    fn visit(&mut self, node: &Json, module: &Module) {
        match node {
            Json::Array(items) => items.iter().for_each(|item| self.visit(item, module)),
            Json::Object(fields) => {
                for (kind, value) in fields {
                    self.visit_kind(kind, value, module);
                }
            }
            _ => {}
        }
    }

    fn visit_kind(&mut self, kind: &str, value: &Json, module: &Module) {
        match kind {
            "span" => {}
            "Var" if value["value"] == "input" => self.whole = true,
            "RefDot" if is_input(&value["refr"]) => self.read(&value["field"][1]),
            "RefBrack" if is_input(&value["refr"]) => {
                self.read(&value["index"]["String"]["value"]);
                self.visit(&value["index"], module);
            }
            "Call" => {
                match path(&value["fcn"]) {
                    Some(name) => {
                        let whole = module.resolve(&name);
                        let callers = self.calls.entry(whole.clone()).or_default();
                        callers.extend(module.function.clone());
                        self.written.insert(whole, name);
                    }
                    None => self.visit(&value["fcn"], module),
                }
                self.visit(&value["params"], module);
            }
            // `with f as g`: a call of f is one of g.
            "with_mods" => {
                for modifier in value.as_array().into_iter().flatten() {
                    let to = path(&modifier["as"]);
                    if let (Some(from), Some(to)) = (path(&modifier["refr"]), to) {
                        let to = module.resolve(&to);
                        if self.functions.contains(&to) || BUILTINS.contains(&to.as_str()) {
                            self.calls.entry(to).or_default().insert(module.resolve(&from));
                        }
                    }
                }
                value.as_array().into_iter().flatten().for_each(|m| self.visit(m, module));
            }
            _ => self.visit(value, module),
        }
    }

    fn read(&mut self, field: &Json) {
        match field.as_str() {
            Some(field) => drop(self.fields.insert(field.to_owned())),
            None => self.whole = true,
        }
    }
}

impl Module {
    fn of(ast: &Json, source: &str) -> Self {
        let package = path(&ast["package"]["refr"]).unwrap_or_default();
        let mut imports = BTreeMap::new();
        for import in ast["imports"].as_array().into_iter().flatten() {
            let Some(whole) = path(&import["refr"]) else { continue };
            let last = whole.rsplit('.').next().unwrap_or_default();
            let place = |end: &str| usize::try_from(import["as"][end].as_u64()?).ok();
            let alias = place("start").zip(place("end"));
            let alias = alias.and_then(|(start, end)| source.get(start..end));
            imports.insert(alias.unwrap_or(last).to_owned(), whole.clone());
        }
        Self { package, imports, function: None }
    }

    fn own(&self, name: &str) -> String {
        format!("data.{}.{name}", self.package)
    }

    /// The whole name of a function that is called so.
    fn resolve(&self, name: &str) -> String {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        if first == "data" {
            return name.to_owned();
        }
        if let Some(import) = self.imports.get(first) {
            return format!("{import}.{rest}").trim_end_matches('.').to_owned();
        }
        if BUILTINS.contains(&name) {
            return name.to_owned();
        }
        self.own(name)
    }
}

/// The name of a function's rule.
fn head(rule: &Json) -> &Json {
    let head = &rule["Spec"]["head"]["Func"]["refr"];
    if head.is_null() && !rule["Default"]["args"].as_array().is_none_or(Vec::is_empty) {
        return &rule["Default"]["refr"];
    }
    head
}

fn is_input(node: &Json) -> bool {
    node["Var"]["value"] == "input"
}

/// As in `a.b.c`.
fn path(node: &Json) -> Option<String> {
    if let Some(name) = node["Var"]["value"].as_str() {
        return Some(name.to_owned());
    }
    let (dot, bracket) = (&node["RefDot"], &node["RefBrack"]);
    let (first, last) = match (dot.is_object(), bracket.is_object()) {
        (true, _) => (&dot["refr"], &dot["field"][1]),
        (_, true) => (&bracket["refr"], &bracket["index"]["String"]["value"]),
        _ => return None,
    };
    Some(format!("{}.{}", path(first)?, last.as_str()?))
}
