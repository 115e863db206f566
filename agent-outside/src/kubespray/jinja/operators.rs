//! Operators of templates: arithmetic, comparison, membership and slices, as Python has them.

use std::sync::Arc;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr, Slice};

use super::super::value::Val;
use super::eval::{at, used};
use super::{Evaluator, Halt, fault, methods};

impl Evaluator<'_> {
    pub(super) fn slice(&self, node: &Slice<'_>) -> Result<Val, Halt> {
        let value = used(self.eval(&node.expr)?)?;
        let bound = |expr: &Option<Expr<'_>>| -> Result<Option<i64>, Halt> {
            expr.as_ref().map_or(Ok(None), |e| Ok(used(self.eval(e)?)?.whole()))
        };
        let (start, stop) = (bound(&node.start)?, bound(&node.stop)?);
        let step = bound(&node.step)?.unwrap_or(1);
        let items = self.items(&value)?;
        let picked = slice(&items, start, stop, step);
        Ok(match value {
            Val::Str(_) => Val::str(&picked.iter().map(Val::text).collect::<String>()),
            Val::Tuple(_) => Val::Tuple(Arc::new(picked)),
            _ => Val::list(picked),
        })
    }

    pub(super) fn binary(
        &self,
        op: BinOpKind,
        left: &Expr<'_>,
        right: &Expr<'_>,
    ) -> Result<Val, Halt> {
        let left = used(self.eval(left)?)?;
        match op {
            BinOpKind::ScAnd if !left.truth() => return Ok(left),
            BinOpKind::ScOr if left.truth() => return Ok(left),
            BinOpKind::ScAnd | BinOpKind::ScOr => return self.eval(right),
            _ => {}
        }
        let right = used(self.eval(right)?)?;
        let compared = match op {
            BinOpKind::Eq => Some(CompareOpKind::Eq),
            BinOpKind::Ne => Some(CompareOpKind::Ne),
            BinOpKind::Lt => Some(CompareOpKind::Lt),
            BinOpKind::Lte => Some(CompareOpKind::Lte),
            BinOpKind::Gt => Some(CompareOpKind::Gt),
            BinOpKind::Gte => Some(CompareOpKind::Gte),
            BinOpKind::In => Some(CompareOpKind::In),
            _ => None,
        };
        match compared {
            Some(op) => self.compare(op, &left, &right).map(Val::Bool),
            None => self.arithmetic(op, &left, &right),
        }
    }

    pub(super) fn compare(&self, op: CompareOpKind, left: &Val, right: &Val) -> Result<bool, Halt> {
        let order = || {
            left.order(right).ok_or_else(|| {
                Halt::Fault(format!("a {} and a {} have no order", left.kind(), right.kind()))
            })
        };
        Ok(match op {
            CompareOpKind::Eq => left.equals(right),
            CompareOpKind::Ne => !left.equals(right),
            CompareOpKind::Lt => order()?.is_lt(),
            CompareOpKind::Lte => order()?.is_le(),
            CompareOpKind::Gt => order()?.is_gt(),
            CompareOpKind::Gte => order()?.is_ge(),
            CompareOpKind::In => self.contains(right, left)?,
            CompareOpKind::NotIn => !self.contains(right, left)?,
        })
    }

    pub(super) fn contains(&self, container: &Val, item: &Val) -> Result<bool, Halt> {
        Ok(match container {
            Val::Str(text) | Val::Unsafe(text) => match item.as_str() {
                Some(part) => text.contains(part),
                None => return fault(format!("a text cannot hold a {}", item.kind())),
            },
            Val::Map(dict) => item.key().is_some_and(|key| dict.get(&key).is_some()),
            Val::HostVarsOf(host) => self
                .others
                .env_of(host)
                .is_some_and(|env| env.vars.contains_key(item.text().as_str())),
            other => self.items(other)?.iter().any(|one| one.equals(item)),
        })
    }

    fn arithmetic(&self, op: BinOpKind, left: &Val, right: &Val) -> Result<Val, Halt> {
        let numbers = left.is_number() && right.is_number();
        let wholes = left.whole().zip(right.whole());
        let (x, y) = (left.number(), right.number());
        let value = match (op, left, right) {
            (BinOpKind::Concat, _, _) => {
                self.charge_text(left)?;
                self.charge_text(right)?;
                Some(Val::str(&(left.text() + &right.text())))
            }
            (BinOpKind::Add, Val::List(a), Val::List(b)) => {
                self.spend(a.len() + b.len())?;
                Some(Val::list(a.iter().chain(b.iter()).cloned().collect()))
            }
            (BinOpKind::Add, Val::Str(a), Val::Str(b)) => {
                self.spend((a.len() + b.len()) / 16)?;
                Some(Val::str(&format!("{a}{b}")))
            }
            (BinOpKind::Mul, Val::Str(s), Val::Int(n)) => {
                let times = usize::try_from(*n).unwrap_or(0);
                self.spend(s.len().saturating_mul(times))?;
                Some(Val::str(&s.repeat(times)))
            }
            (BinOpKind::Rem, Val::Str(format), _) => {
                let args = match right {
                    Val::Tuple(items) => items.to_vec(),
                    one => vec![one.clone()],
                };
                Some(Val::str(&methods::percent_format(format, &args)?))
            }
            _ if !numbers => None,
            (BinOpKind::Div, ..) if y != 0.0 => Some(Val::Float(x / y)),
            (BinOpKind::FloorDiv, ..) if y != 0.0 => Some(match wholes {
                Some((a, b)) => Val::Int((a - floor_rem(a, b)).wrapping_div(b)),
                None => Val::Float((x / y).floor()),
            }),
            (BinOpKind::Rem, ..) if y != 0.0 => Some(match wholes {
                Some((a, b)) => Val::Int(floor_rem(a, b)),
                None => Val::Float(x - y * (x / y).floor()),
            }),
            (BinOpKind::Add | BinOpKind::Sub | BinOpKind::Mul | BinOpKind::Pow, ..) => match wholes
            {
                Some((a, b)) => whole_op(op, a, b).map(Val::Int),
                None => Some(Val::Float(match op {
                    BinOpKind::Add => x + y,
                    BinOpKind::Sub => x - y,
                    BinOpKind::Mul => x * y,
                    _ => x.powf(y),
                })),
            },
            _ => None,
        };
        value.ok_or_else(|| {
            Halt::Fault(format!("a {} and a {} cannot be computed with", left.kind(), right.kind()))
        })
    }
}

/// Python's slice.
fn slice(items: &[Val], start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<Val> {
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let clamp = |bound: i64, low: i64, high: i64| {
        (if bound < 0 { bound.saturating_add(len) } else { bound }).clamp(low, high)
    };
    let mut out = Vec::new();
    if step > 0 {
        let (mut i, stop) =
            (start.map_or(0, |b| clamp(b, 0, len)), stop.map_or(len, |b| clamp(b, 0, len)));
        while i < stop {
            out.extend(at(items, i));
            i = i.saturating_add(step);
        }
    } else if step < 0 {
        let mut i = start.map_or(len - 1, |b| clamp(b, -1, len - 1));
        let stop = stop.map_or(-1, |b| clamp(b, -1, len - 1));
        while i > stop {
            out.extend(at(items, i));
            i = i.saturating_add(step);
        }
    }
    out
}

fn floor_rem(a: i64, b: i64) -> i64 {
    let rem = a.wrapping_rem(b);
    if rem != 0 && (rem < 0) != (b < 0) { rem + b } else { rem }
}

fn whole_op(op: BinOpKind, a: i64, b: i64) -> Option<i64> {
    match op {
        BinOpKind::Add => a.checked_add(b),
        BinOpKind::Sub => a.checked_sub(b),
        BinOpKind::Mul => a.checked_mul(b),
        _ => a.checked_pow(u32::try_from(b).ok()?),
    }
}
