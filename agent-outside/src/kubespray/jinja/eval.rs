//! Walks a parsed template: statements print, expressions have values.
//!
//! In:   minijinja's syntax tree.
//! Out:  values with Python's meaning; using an undefined one halts, looking into it does not.

use std::collections::HashMap;
use std::sync::Arc;

use minijinja::machinery::ast::{Call, CallArg, CallType, Expr, ForLoop, Stmt, UnaryOpKind};

use super::super::value::{Dict, Key, Val};
use super::{Evaluator, Halt, Output, fault, filters, lookups, methods, tests_of_values};

/// Arguments of a filter, test, method or function.
#[derive(Default)]
pub(super) struct Args {
    pub positional: Vec<Val>,
    pub named: HashMap<String, Val>,
}

impl Args {
    /// An argument by place or name.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Val> {
        self.positional.get(place).or_else(|| self.named.get(name))
    }

    /// An argument that has to be there and defined.
    pub(super) fn need(&self, place: usize, name: &str) -> Result<&Val, Halt> {
        match self.get(place, name) {
            Some(Val::Undefined(reason)) => Err(Halt::Undefined(reason.clone())),
            Some(value) => Ok(value),
            None => fault(format!("argument {name} is missing")),
        }
    }

    pub(super) fn flag(&self, place: usize, name: &str) -> bool {
        self.get(place, name).is_some_and(Val::truth)
    }

    pub(super) fn text(&self, place: usize, name: &str) -> Option<String> {
        self.get(place, name).filter(|v| !matches!(v, Val::None)).map(Val::text)
    }
}

/// The value, or a halt if it is undefined.
pub(super) fn used(value: Val) -> Result<Val, Halt> {
    match value {
        Val::Undefined(reason) => Err(Halt::Undefined(reason)),
        value => Ok(value),
    }
}

impl Evaluator<'_> {
    pub(super) fn only_expression(&self, stmt: &Stmt<'_>) -> Result<Option<Val>, Halt> {
        match stmt {
            Stmt::Template(template) => match template.children.as_slice() {
                [one] => self.only_expression(one),
                _ => Ok(None),
            },
            Stmt::EmitExpr(emit) => self.eval(&emit.expr).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn render(&self, stmt: &Stmt<'_>, out: &mut Output) -> Result<(), Halt> {
        self.spend(1)?;
        match stmt {
            Stmt::Template(template) => self.render_all(&template.children, out),
            Stmt::EmitRaw(raw) => out.push_text(raw.raw),
            Stmt::EmitExpr(emit) => {
                let value = self.eval(&emit.expr)?;
                self.charge_text(&value)?;
                let stays_text = matches!(&emit.expr, Expr::Filter(f) if matches!(
                    f.name, "string" | "to_json" | "to_nice_json" | "to_yaml" | "to_nice_yaml"
                ));
                out.push_value(value, stays_text)
            }
            Stmt::IfCond(cond) => {
                let body = if used(self.eval(&cond.expr)?)?.truth() {
                    &cond.true_body
                } else {
                    &cond.false_body
                };
                self.render_all(body, out)
            }
            Stmt::ForLoop(for_loop) => self.deeper(|| self.render_loop(for_loop, out)),
            Stmt::Set(set) => {
                let value = self.eval(&set.expr)?;
                self.assign(&set.target, value)
            }
            Stmt::WithBlock(with) => {
                let mut frame = HashMap::new();
                for (target, expr) in &with.assignments {
                    if let Expr::Var(var) = target {
                        frame.insert(var.id.to_owned(), self.eval(expr)?);
                    }
                }
                self.within(frame, |this| this.render_all(&with.body, out))
            }
            _ => fault("the template uses a statement that is not supported"),
        }
    }

    fn render_all(&self, stmts: &[Stmt<'_>], out: &mut Output) -> Result<(), Halt> {
        self.deeper(|| stmts.iter().try_for_each(|stmt| self.render(stmt, out)))
    }

    fn within<T>(
        &self,
        frame: HashMap<String, Val>,
        work: impl FnOnce(&Self) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        self.locals.borrow_mut().push(frame);
        let result = work(self);
        self.locals.borrow_mut().pop();
        result
    }

    fn assign(&self, target: &Expr<'_>, value: Val) -> Result<(), Halt> {
        let mut bound = HashMap::new();
        bind(target, value, &mut bound)?;
        let mut locals = self.locals.borrow_mut();
        if locals.is_empty() {
            locals.push(HashMap::new());
        }
        if let Some(frame) = locals.last_mut() {
            frame.extend(bound);
        }
        Ok(())
    }

    fn render_loop(&self, node: &ForLoop<'_>, out: &mut Output) -> Result<(), Halt> {
        let mut items = Vec::new();
        for item in self.items(&self.eval(&node.iter)?)? {
            let mut frame = HashMap::new();
            bind(&node.target, item, &mut frame)?;
            if let Some(filter) = &node.filter_expr {
                let keep = self.within(frame.clone(), |this| used(this.eval(filter)?))?.truth();
                if !keep {
                    continue;
                }
            }
            items.push(frame);
        }
        if items.is_empty() {
            return self.render_all(&node.else_body, out);
        }
        let length = items.len();
        for (index, mut frame) in items.into_iter().enumerate() {
            self.spend(1)?;
            frame.insert("loop".to_owned(), loop_values(index, length));
            self.within(frame, |this| this.render_all(&node.body, out))?;
        }
        Ok(())
    }

    /// What iterating over a value gives.
    pub(super) fn items(&self, value: &Val) -> Result<Vec<Val>, Halt> {
        let items: Vec<Val> = match value {
            Val::List(items) | Val::Tuple(items) => items.to_vec(),
            Val::Map(dict) => dict.iter().map(|(key, _)| key.to_val()).collect(),
            Val::Str(s) | Val::Unsafe(s) => s.chars().map(|c| Val::str(&c.to_string())).collect(),
            Val::HostVars => self.others.hosts().into_iter().map(Val::Str).collect(),
            Val::Nothing => Vec::new(),
            Val::Undefined(reason) => return Err(Halt::Undefined(reason.clone())),
            other => return fault(format!("a {} cannot be iterated over", other.kind())),
        };
        self.spend(items.len())?;
        Ok(items)
    }

    pub(super) fn eval(&self, expr: &Expr<'_>) -> Result<Val, Halt> {
        self.spend(1)?;
        self.deeper(|| self.eval_inner(expr))
    }

    fn eval_inner(&self, expr: &Expr<'_>) -> Result<Val, Halt> {
        match expr {
            Expr::Var(var) => self.name(var.id),
            Expr::Const(constant) => constant_value(&constant.value),
            Expr::List(list) => Ok(Val::list(self.eval_all(&list.items)?)),
            Expr::Tuple(tuple) => Ok(Val::Tuple(Arc::new(self.eval_all(&tuple.items)?))),
            Expr::Map(map) => {
                let mut dict = Dict::default();
                for (key, value) in map.keys.iter().zip(&map.values) {
                    let key = used(self.eval(key)?)?.key();
                    let key =
                        key.ok_or_else(|| Halt::Fault("a key is no text or number".into()))?;
                    dict.insert(key, self.eval(value)?);
                }
                Ok(Val::map(dict))
            }
            Expr::UnaryOp(op) => {
                let value = used(self.eval(&op.expr)?)?;
                match op.op {
                    UnaryOpKind::Not => Ok(Val::Bool(!value.truth())),
                    UnaryOpKind::Neg => match value {
                        Val::Float(f) => Ok(Val::Float(-f)),
                        other => other.whole().and_then(i64::checked_neg).map(Val::Int).ok_or_else(
                            || Halt::Fault(format!("a {} has no negative", other.kind())),
                        ),
                    },
                }
            }
            Expr::BinOp(op) => self.binary(op.op, &op.left, &op.right),
            Expr::Compare(compare) => {
                let mut left = used(self.eval(&compare.expr)?)?;
                for op in &compare.ops {
                    let right = used(self.eval(&op.expr)?)?;
                    if !self.compare(op.op, &left, &right)? {
                        return Ok(Val::Bool(false));
                    }
                    left = right;
                }
                Ok(Val::Bool(true))
            }
            Expr::IfExpr(node) => {
                if used(self.eval(&node.test_expr)?)?.truth() {
                    self.eval(&node.true_expr)
                } else {
                    node.false_expr.as_ref().map_or(Ok(Val::Nothing), |e| self.eval(e))
                }
            }
            Expr::GetAttr(node) => {
                let value = self.eval(&node.expr)?;
                self.item(&value, &Val::str(node.name))
            }
            Expr::GetItem(node) => {
                let value = self.eval(&node.expr)?;
                if value.is_undefined() {
                    return Ok(value);
                }
                let key = used(self.eval(&node.subscript_expr)?)?;
                self.item(&value, &key)
            }
            Expr::Slice(node) => self.slice(node),
            Expr::Filter(node) => {
                let Some(inner) = &node.expr else { return fault("a filter without a value") };
                let value = self.eval(inner)?;
                let args = self.args(&node.args)?;
                filters::apply(self, node.name, value, &args)
            }
            Expr::Test(node) => {
                let value = self.eval(&node.expr)?;
                let args = self.args(&node.args)?;
                tests_of_values::apply(self, node.name, value, &args).map(Val::Bool)
            }
            Expr::Call(call) => self.call(call),
        }
    }

    fn eval_all(&self, exprs: &[Expr<'_>]) -> Result<Vec<Val>, Halt> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    /// A name: a local of the template, then a variable, then nothing.
    fn name(&self, name: &str) -> Result<Val, Halt> {
        let local = self.locals.borrow().iter().rev().find_map(|frame| frame.get(name).cloned());
        match local {
            Some(value) => Ok(value),
            None => self.variable(name),
        }
    }

    /// `value.key` or `value[key]`; undefined if there is none.
    pub(super) fn item(&self, value: &Val, key: &Val) -> Result<Val, Halt> {
        let found = match value {
            Val::Undefined(_) | Val::Nothing => return Ok(value.clone()),
            Val::Map(dict) => key.key().and_then(|key| dict.get(&key).cloned()),
            Val::List(items) | Val::Tuple(items) => {
                let index = match key {
                    Val::Str(s) => s.parse().ok(),
                    other => other.whole(),
                };
                index.and_then(|i| at(items, i))
            }
            Val::Str(s) => {
                let chars: Vec<Val> = s.chars().map(|c| Val::str(&c.to_string())).collect();
                key.whole().and_then(|i| at(&chars, i))
            }
            Val::HostVars => match key {
                Val::Str(host) if self.others.hosts().contains(host) => {
                    Some(Val::HostVarsOf(host.clone()))
                }
                _ => None,
            },
            Val::HostVarsOf(host) => match self.others.env_of(host) {
                Some(env) if env.vars.contains_key(key.text().as_str()) => {
                    Some(self.beside(&env).variable(&key.text())?)
                }
                _ => None,
            },
            _ => None,
        };
        Ok(found.unwrap_or_else(|| {
            let key = key.text();
            let (kind, shown) = (value.kind(), key.get(..80).unwrap_or(&key));
            Val::undefined(format!("a {kind} has no '{shown}'"))
        }))
    }

    pub(super) fn charge_text(&self, value: &Val) -> Result<(), Halt> {
        match value {
            Val::List(items) | Val::Tuple(items) => {
                self.spend(items.len())?;
                items.iter().try_for_each(|item| self.charge_text(item))
            }
            Val::Map(dict) => {
                self.spend(dict.len())?;
                dict.iter().try_for_each(|(_, item)| self.charge_text(item))
            }
            Val::Str(s) => self.spend(s.len() / 16),
            _ => Ok(()),
        }
    }

    pub(super) fn args(&self, args: &[CallArg<'_>]) -> Result<Args, Halt> {
        let mut out = Args::default();
        for arg in args {
            match arg {
                CallArg::Pos(expr) => out.positional.push(self.eval(expr)?),
                CallArg::Kwarg(name, expr) => {
                    out.named.insert((*name).to_owned(), self.eval(expr)?);
                }
                CallArg::PosSplat(expr) => {
                    let items = self.eval(expr)?;
                    out.positional.extend(self.items(&items)?);
                }
                CallArg::KwargSplat(expr) => {
                    if let Val::Map(dict) = self.eval(expr)? {
                        let named = dict.iter().filter_map(|(key, value)| match key {
                            Key::Str(name) => Some((name.to_string(), value.clone())),
                            _ => None,
                        });
                        out.named.extend(named);
                    }
                }
            }
        }
        Ok(out)
    }

    fn call(&self, call: &Call<'_>) -> Result<Val, Halt> {
        let kind = call.identify_call();
        if let CallType::Function(name) = kind {
            lookups::call(self, name, &self.args(&call.args)?)
        } else if let CallType::Method(expr, name) = kind {
            let value = used(self.eval(expr)?)?;
            methods::call(self, &value, name, &self.args(&call.args)?)
        } else {
            fault("the template calls something that is not supported")
        }
    }
}

pub(super) fn at(items: &[Val], index: i64) -> Option<Val> {
    let len = i64::try_from(items.len()).ok()?;
    let index = if index < 0 { index.checked_add(len)? } else { index };
    items.get(usize::try_from(index).ok()?).cloned()
}

fn bind(target: &Expr<'_>, value: Val, frame: &mut HashMap<String, Val>) -> Result<(), Halt> {
    let targets = match target {
        Expr::Var(var) => {
            frame.insert(var.id.to_owned(), value);
            return Ok(());
        }
        Expr::List(list) => &list.items,
        Expr::Tuple(tuple) => &tuple.items,
        _ => return fault("the template assigns to something that is not supported"),
    };
    match value.as_items() {
        Some(items) if items.len() == targets.len() => {
            targets.iter().zip(items).try_for_each(|(t, v)| bind(t, v.clone(), frame))
        }
        _ => fault("a loop's items do not fit its names"),
    }
}

fn loop_values(index: usize, length: usize) -> Val {
    let int = |n: usize| Val::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let pairs = [
        ("index", int(index + 1)),
        ("index0", int(index)),
        ("first", Val::Bool(index == 0)),
        ("last", Val::Bool(index + 1 == length)),
        ("length", int(length)),
        ("revindex", int(length - index)),
        ("revindex0", int(length - index - 1)),
    ];
    Val::map(pairs.into_iter().map(|(k, v)| (Key::Str(k.into()), v)).collect())
}

fn constant_value(value: &minijinja::Value) -> Result<Val, Halt> {
    use minijinja::value::ValueKind;
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => Val::None,
        ValueKind::Bool => Val::Bool(value.is_true()),
        ValueKind::String => Val::str(value.as_str().unwrap_or_default()),
        ValueKind::Number => match value.as_i64() {
            Some(i) if value.is_integer() => Val::Int(i),
            _ => match value.to_string().parse() {
                Ok(f) => Val::Float(f),
                Err(_) => return fault("a number is too large"),
            },
        },
        _ => return fault("a constant is not supported"),
    })
}
