//! Finds a filter by its name, with or without the collection it is in.
//!
//! In:   a value, which only `default` may get undefined, and arguments.
//! Out:  what Jinja's or Ansible's filter of that name gives; an unknown name is a fault.

use super::super::value::Val;
use super::eval::{Args, used};
use super::{Evaluator, Halt, fault, ipaddr, lists, regular, texts};

/// Applies the filter `name`.
pub(super) fn apply(ev: &Evaluator<'_>, name: &str, value: Val, args: &Args) -> Result<Val, Halt> {
    let name = short(name);
    if matches!(name, "default" | "d") {
        return Ok(default(value, args));
    }
    let value = used(value)?;
    let value = if matches!(value, Val::Nothing) { Val::str("") } else { value };
    ev.spend(1)?;
    if let Some(result) = scalars(name, &value, args)? {
        return Ok(result);
    }
    if let Some(result) = texts::apply(ev, name, &value, args)? {
        return Ok(result);
    }
    if let Some(result) = lists::apply(ev, name, &value, args)? {
        return Ok(result);
    }
    if let Some(result) = regular::apply(ev, name, &value, args)? {
        return Ok(result);
    }
    if let Some(result) = ipaddr::apply(name, &value, args)? {
        return Ok(result);
    }
    fault(format!("the filter {name} is not supported"))
}

/// A plugin's name without its collection.
pub(super) fn short(name: &str) -> &str {
    ["ansible.builtin.", "ansible.utils.", "ansible.netcommon.", "ansible.legacy."]
        .iter()
        .find_map(|collection| name.strip_prefix(collection))
        .unwrap_or(name)
}

fn default(value: Val, args: &Args) -> Val {
    let other = || args.get(0, "default_value").cloned().unwrap_or_else(|| Val::str(""));
    match value {
        Val::Undefined(_) | Val::Nothing => other(),
        value if args.flag(1, "boolean") && !value.truth() => other(),
        value => value,
    }
}

fn scalars(name: &str, value: &Val, args: &Args) -> Result<Option<Val>, Halt> {
    Ok(Some(match name {
        "bool" => to_bool(value),
        "int" => to_int(value, args)?,
        "float" => match value {
            v if v.is_number() => Val::Float(v.number()),
            v => match v.text().trim().parse() {
                Ok(f) => Val::Float(f),
                Err(_) => args.get(0, "default").cloned().unwrap_or(Val::Float(0.0)),
            },
        },
        "string" => Val::str(&value.text()),
        "abs" => match value {
            Val::Float(f) => Val::Float(f.abs()),
            v => Val::Int(v.whole().unwrap_or(0).saturating_abs()),
        },
        "round" => {
            let scale = 10_f64.powi(
                args.get(0, "precision")
                    .and_then(Val::whole)
                    .unwrap_or(0)
                    .clamp(-15, 15)
                    .try_into()
                    .unwrap_or(0),
            );
            let x = value.number() * scale;
            Val::Float(
                match args.text(1, "method").as_deref() {
                    Some("ceil") => x.ceil(),
                    Some("floor") => x.floor(),
                    _ => x.round_ties_even(),
                } / scale,
            )
        }
        "ternary" => ternary(value, args)?,
        "mandatory" => value.clone(),
        "type_debug" => Val::str(match value {
            Val::Str(_) => "str",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Float(_) => "float",
            Val::Map(_) => "dict",
            Val::None => "NoneType",
            _ => "list",
        }),
        _ => return Ok(None),
    }))
}

/// Ansible's `bool`: only these words are true.
fn to_bool(value: &Val) -> Val {
    match value {
        Val::None => Val::None,
        Val::Bool(b) => Val::Bool(*b),
        Val::Str(s) => {
            let word = s.to_lowercase();
            Val::Bool(matches!(word.as_str(), "yes" | "on" | "1" | "true"))
        }
        other => Val::Bool(other.is_number() && other.number() == 1.0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "Python truncates; the range is checked")]
fn to_int(value: &Val, args: &Args) -> Result<Val, Halt> {
    let base = args.get(1, "base").and_then(Val::whole).unwrap_or(10);
    let Ok(base) = u32::try_from(base) else { return fault("int takes a base of 2 to 36") };
    if !(2..=36).contains(&base) {
        return fault("int takes a base of 2 to 36");
    }
    if let Some(whole) = value.whole() {
        return Ok(Val::Int(whole));
    }
    let float = |f: f64| (f.abs() < 9e18).then_some(f as i64);
    let text = value.text();
    let text = text.trim();
    let digits = match base {
        16 => text.trim_start_matches("0x"),
        8 => text.trim_start_matches("0o"),
        2 => text.trim_start_matches("0b"),
        _ => text,
    };
    let parsed = match value {
        Val::Float(f) => float(*f),
        _ => i64::from_str_radix(digits, base)
            .ok()
            .or_else(|| text.parse().ok().filter(|_| base == 10).and_then(float)),
    };
    Ok(match parsed {
        Some(whole) => Val::Int(whole),
        None => args.get(0, "default").cloned().unwrap_or(Val::Int(0)),
    })
}

fn ternary(value: &Val, args: &Args) -> Result<Val, Halt> {
    if matches!(value, Val::None)
        && let Some(none) = args.get(2, "none_val")
    {
        return Ok(none.clone());
    }
    let chosen = if value.truth() { args.get(0, "true_val") } else { args.get(1, "false_val") };
    chosen.cloned().ok_or_else(|| Halt::Fault("ternary takes two values".into()))
}
