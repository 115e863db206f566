//! Evaluates variables as Ansible up to core 2.18 does: lazily, and text stays text.
//!
//! In:   a host's variables ([`Env`]), any of which may be a template.
//! Out:  values; a template's result becomes a list, a dict or a boolean only where its text
//!       is a literal of one, as Ansible's `ansible_eval_concat` decides.
//! Never calls out: lookups that need the machine where Ansible runs are refused by name.
//!
//! minijinja reads the templates; what they mean (undefined values, Python's text, filters and
//! tests of Ansible) is decided here, since the two languages differ in just these points.
//! Work is counted ([`FUEL_MAX`]) and depth is bounded, so no template runs away.

mod eval;
mod filters;
mod ipaddr;
mod lists;
mod lookups;
mod methods;
mod operators;
mod output;
mod regular;
mod tests_of_values;
mod texts;
mod versions;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::machinery;
use minijinja::syntax::SyntaxConfig;

use output::Output;

use super::problem::{Place, Problem};
use super::value::{Dict, Missing, Val};
use super::vars::{Def, Layer};

/// Most steps that one question may cost (Kubespray's need 6 000).
const FUEL_MAX: u64 = 2_000_000;

/// Deepest nesting of expressions and variables together; Kubespray's needs about 100.
const DEPTH_MAX: usize = 400;

/// Why an evaluation stopped.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Something undefined was used; `default` and `is defined` may still rescue it.
    Undefined(Arc<Missing>),
    /// The template is at fault; the variable it stands in is not known yet.
    Fault(String),
    /// Needs a lookup of the machine where Ansible runs.
    Lookup(String),
    /// A problem that names its variable already.
    Stop(Box<Problem>),
}

pub(crate) fn fault<T>(reason: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Fault(reason.into()))
}

/// What templates can see besides a host's variables: the other hosts.
pub(crate) trait Others {
    /// The variables of another host as `hostvars` shows them, without those of roles.
    fn env_of(&self, host: &str) -> Option<Arc<Env>>;
    fn hosts(&self) -> Vec<Arc<str>>;
}

/// The variables of one host in one play, and what they evaluate to.
#[derive(Debug)]
pub(crate) struct Env {
    pub host: Arc<str>,
    pub vars: Layer,
    /// Results of Ansible since core 2.19 keep their type.
    pub native: bool,
    memo: Mutex<HashMap<Arc<str>, Result<Val, Problem>>>,
    stack: Mutex<Vec<Arc<str>>>,
}

impl Env {
    pub(crate) fn new(host: Arc<str>, vars: Layer, native: bool) -> Self {
        Self { host, vars, native, memo: Mutex::default(), stack: Mutex::default() }
    }
}

/// What a lock holds; never held while anything is evaluated.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Evaluates for one host; counts the work.
pub(crate) struct Evaluator<'w> {
    pub others: &'w dyn Others,
    pub env: &'w Env,
    fuel: &'w Cell<u64>,
    depth: Cell<usize>,
    locals: RefCell<Vec<HashMap<String, Val>>>,
}

impl<'w> Evaluator<'w> {
    pub(crate) fn new(others: &'w dyn Others, env: &'w Env, fuel: &'w Cell<u64>) -> Self {
        fuel.set(FUEL_MAX);
        Self { others, env, fuel, depth: Cell::new(0), locals: RefCell::default() }
    }

    /// The same evaluation going on with another host's variables.
    fn beside<'e>(&'e self, env: &'e Env) -> Evaluator<'e> {
        Evaluator {
            others: self.others,
            env,
            fuel: self.fuel,
            depth: Cell::new(self.depth.get()),
            locals: RefCell::default(),
        }
    }

    /// Sets names that templates see before all variables, as a task's `vars` and loop items.
    pub(crate) fn with_locals(self, locals: impl IntoIterator<Item = (String, Val)>) -> Self {
        self.locals.borrow_mut().push(locals.into_iter().collect());
        self
    }

    fn spend(&self, steps: usize) -> Result<(), Halt> {
        match self.fuel.get().checked_sub(steps as u64) {
            Some(left) => {
                self.fuel.set(left);
                Ok(())
            }
            None => fault("evaluating it takes too many steps"),
        }
    }

    fn deeper<T>(&self, work: impl FnOnce() -> Result<T, Halt>) -> Result<T, Halt> {
        let depth = self.depth.get();
        if depth >= DEPTH_MAX {
            return fault("values are nested too deeply");
        }
        self.depth.set(depth + 1);
        let result = work();
        self.depth.set(depth);
        result
    }

    /// What a variable evaluates to; [`Val::Undefined`] if it or what it needs is undefined.
    pub(crate) fn variable(&self, name: &str) -> Result<Val, Halt> {
        if let Some(known) = held(&self.env.memo).get(name) {
            return known.clone().map_err(|problem| Halt::Stop(Box::new(problem)));
        }
        let Some((name, def)) = self.env.vars.get_key_value(name) else {
            return Ok(Val::undefined(format!("'{name}' is undefined")));
        };
        if held(&self.env.stack).contains(name) {
            return Err(Halt::Stop(Box::new(self.circle(name, &def.place))));
        }
        held(&self.env.stack).push(name.clone());
        // Names of the asking template are none of this one's business.
        let outer = self.locals.take();
        let result = self.deeper(|| self.template(&def.value));
        self.locals.replace(outer);
        held(&self.env.stack).pop();
        let result = match result {
            Ok(value) => Ok(value),
            Err(Halt::Undefined(missing)) => {
                let reason = missing.reason.clone();
                let at = missing.at.clone().or_else(|| Some((name.clone(), def.place.clone())));
                Ok(Val::Undefined(Arc::new(Missing { reason, at })))
            }
            Err(halt) => Err(self.problem(name, &def.place, halt)),
        };
        held(&self.env.memo).insert(name.clone(), result.clone());
        result.map_err(|problem| Halt::Stop(Box::new(problem)))
    }

    fn circle(&self, name: &Arc<str>, place: &Place) -> Problem {
        let stack = held(&self.env.stack);
        let start = stack.iter().position(|n| n == name).unwrap_or(0);
        let mut chain: Vec<String> = stack.iter().skip(start).map(ToString::to_string).collect();
        chain.push(name.to_string());
        Problem::Loop { host: self.env.host.clone(), chain, place: place.clone() }
    }

    /// Names the variable that a halt stands in.
    pub(crate) fn problem(&self, name: &str, place: &Place, halt: Halt) -> Problem {
        let (host, name, place) = (self.env.host.clone(), Arc::from(name), place.clone());
        match halt {
            Halt::Undefined(missing) => {
                let (name, place) = missing.at.clone().unwrap_or((name, place));
                let reason = missing.reason.as_str().into();
                Problem::Undefined { host, name, place, reason }
            }
            Halt::Fault(reason) => Problem::Template { host, name, place, reason: reason.into() },
            Halt::Lookup(what) => Problem::Lookup { host, name, place, what: what.into() },
            Halt::Stop(problem) => match *problem {
                Problem::Vaulted { place: inner, .. } if inner.file.is_empty() => {
                    Problem::Vaulted { name, place }
                }
                problem => problem,
            },
        }
    }

    /// Evaluates what a file says: text that may be a template, or a collection of such.
    pub(crate) fn template(&self, raw: &Val) -> Result<Val, Halt> {
        self.spend(1)?;
        match raw {
            Val::Str(text) => self.template_text(text),
            Val::Unsafe(text) => Ok(Val::Str(text.clone())),
            Val::Vault => {
                let place = Place { file: "".into(), line: 0 };
                Err(Halt::Stop(Box::new(Problem::Vaulted { name: "".into(), place })))
            }
            Val::List(items) => self.deeper(|| {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| self.template(item)).collect();
                Ok(Val::list(items?))
            }),
            Val::Map(dict) => self.deeper(|| {
                let mut out = Dict::default();
                for (key, value) in dict.iter() {
                    out.insert(key.clone(), self.template(value)?);
                }
                Ok(Val::map(out))
            }),
            other => Ok(other.clone()),
        }
    }

    pub(crate) fn template_text(&self, text: &Arc<str>) -> Result<Val, Halt> {
        if !["{{", "{%", "{#"].iter().any(|start| text.contains(start)) {
            return Ok(Val::Str(text.clone()));
        }
        if let Some(value) = self.bare_number(text) {
            return Ok(value);
        }
        let source = double_backslashes(text);
        let stmt = parse(&source)?;
        let mut output = Output::default();
        self.render(&stmt, &mut output)?;
        output.finish(text, self.env.native)
    }

    /// A template that only names a number or nothing keeps its type, unlike all others.
    fn bare_number(&self, text: &str) -> Option<Val> {
        let name = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
        if self.locals.borrow().iter().any(|frame| frame.contains_key(name)) {
            return None;
        }
        let raw = &self.env.vars.get(name)?.value;
        (raw.is_number() || matches!(raw, Val::None)).then(|| raw.clone())
    }

    /// Whether an expression without braces holds, as `when` takes it.
    pub(crate) fn truth(&self, condition: &Val) -> Result<bool, Halt> {
        let mut condition = condition.clone();
        if let Val::Str(text) = &condition
            && (text.contains("{{") || text.contains("{%"))
        {
            condition = self.template_text(text)?;
        }
        match &condition {
            Val::Str(text) if text.is_empty() => Ok(false),
            Val::Str(text) => Ok(self.expression(text)?.truth()),
            Val::List(all) => {
                for one in all.iter() {
                    if !self.truth(one)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            other => Ok(other.truth()),
        }
    }

    /// The value of an expression without braces.
    ///
    /// An undefined result halts.
    pub(crate) fn expression(&self, text: &str) -> Result<Val, Halt> {
        let source = format!("{{{{ {text} }}}}");
        let source = double_backslashes(&source);
        let stmt = parse(&source)?;
        match self.only_expression(&stmt)? {
            Some(Val::Undefined(reason)) => Err(Halt::Undefined(reason)),
            Some(value) => Ok(value),
            None => fault(format!("{text} is not an expression")),
        }
    }
}

/// Keeps backslashes of string constants within `{{ }}` as they are, as Ansible does.
fn double_backslashes(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, inside) = rest.split_at(start);
        out.push_str(before);
        let (code, after) = split_code(inside);
        let mut quote = None;
        for c in code.chars() {
            match quote {
                Some(_) if c == '\\' => out.push('\\'),
                Some(q) if c == q => quote = None,
                None if matches!(c, '\'' | '"') => quote = Some(c),
                _ => {}
            }
            out.push(c);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Divides behind the `}}` that ends the code, which quotes may hold too.
fn split_code(code: &str) -> (&str, &str) {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in code.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == '}' && code.get(at..).is_some_and(|r| r.starts_with("}}")) => {
                return code.split_at(at + 2);
            }
            _ => {}
        }
    }
    (code, "")
}

fn parse(source: &str) -> Result<machinery::ast::Stmt<'_>, Halt> {
    let syntax = SyntaxConfig::builder().trim_blocks(true).build();
    let syntax = syntax.map_err(|e| Halt::Fault(e.to_string()))?;
    machinery::parse(source, "template", syntax).map_err(|e| {
        let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
        Halt::Fault(format!("the template cannot be read: {detail}"))
    })
}

/// A definition that no file holds.
pub(crate) fn made(value: Val) -> Arc<Def> {
    Arc::new(Def { value, place: Place { file: "(known before any file)".into(), line: 0 } })
}
