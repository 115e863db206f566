//! The tests behind `is`: Jinja's own and Ansible's.

use super::super::value::{Key, Val};
use super::eval::{Args, used};
use super::{Evaluator, Halt, fault, filters, regular, versions};

/// Whether `value is name(…)`.
pub(super) fn apply(ev: &Evaluator<'_>, name: &str, value: Val, args: &Args) -> Result<bool, Halt> {
    let name = filters::short(name);
    match name {
        "defined" => return Ok(!value.is_undefined()),
        "undefined" => return Ok(value.is_undefined()),
        _ => {}
    }
    let value = used(value)?;
    ev.spend(1)?;
    let other = || args.need(0, "other");
    let order = || -> Result<_, Halt> {
        let other = args.need(0, "other")?;
        value.order(other).ok_or_else(|| {
            Halt::Fault(format!("a {} and a {} have no order", value.kind(), other.kind()))
        })
    };
    Ok(match name {
        "none" => matches!(value, Val::None),
        "string" => matches!(value, Val::Str(_)),
        "number" => value.is_number(),
        "integer" => matches!(value, Val::Int(_)),
        "float" => matches!(value, Val::Float(_)),
        "boolean" => matches!(value, Val::Bool(_)),
        "mapping" => matches!(value, Val::Map(_) | Val::HostVars | Val::HostVarsOf(_)),
        "sequence" => matches!(value, Val::List(_) | Val::Tuple(_) | Val::Str(_) | Val::Map(_)),
        "iterable" => ev.items(&value).is_ok(),
        "true" => matches!(value, Val::Bool(true)),
        "false" => matches!(value, Val::Bool(false)),
        "truthy" => value.truth(),
        "falsy" => !value.truth(),
        "odd" => value.whole().is_some_and(|n| n % 2 != 0),
        "even" => value.whole().is_some_and(|n| n % 2 == 0),
        "divisibleby" => {
            let by = other()?.whole().filter(|n| *n != 0);
            value.whole().zip(by).is_some_and(|(n, by)| n.wrapping_rem(by) == 0)
        }
        "lower" => value.text() == value.text().to_lowercase(),
        "upper" => value.text() == value.text().to_uppercase(),
        "eq" | "equalto" | "==" | "sameas" => value.equals(other()?),
        "ne" | "!=" => !value.equals(other()?),
        "lt" | "lessthan" | "<" => order()?.is_lt(),
        "le" | "<=" => order()?.is_le(),
        "gt" | "greaterthan" | ">" => order()?.is_gt(),
        "ge" | ">=" => order()?.is_ge(),
        "in" => ev.contains(other()?, &value)?,
        "contains" => ev.contains(&value, other()?)?,
        "all" => ev
            .items(&value)?
            .into_iter()
            .try_fold(true, |all, v| Ok::<_, Halt>(used(v)?.truth() && all))?,
        "any" => ev
            .items(&value)?
            .into_iter()
            .try_fold(false, |any, v| Ok::<_, Halt>(used(v)?.truth() || any))?,
        "subset" | "issubset" => subset(ev, &value, other()?)?,
        "superset" | "issuperset" => subset(ev, other()?, &value)?,
        "version" | "version_compare" => versions::test(&value, args)?,
        "match" | "search" | "regex" => regular::test(name, &value, args)?,
        "skipped" | "succeeded" | "success" | "failed" | "changed" => result(name, &value),
        "filter" | "test" => return fault(format!("the test {name} is not supported")),
        _ => return fault(format!("the test {name} is not supported")),
    })
}

fn subset(ev: &Evaluator<'_>, part: &Val, whole: &Val) -> Result<bool, Halt> {
    let whole = ev.items(whole)?;
    let part = ev.items(part)?;
    ev.spend(part.len().saturating_mul(whole.len()))?;
    Ok(part.iter().all(|item| whole.iter().any(|one| one.equals(item))))
}

/// What a task that was registered says about itself.
fn result(name: &str, value: &Val) -> bool {
    let says = |key: &str| {
        value.as_map().and_then(|d| d.get(&Key::Str(key.into()))).is_some_and(Val::truth)
    };
    match name {
        "skipped" | "failed" | "changed" => says(name),
        _ => !says("failed"),
    }
}
