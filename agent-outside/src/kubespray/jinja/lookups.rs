//! The functions that templates call by name, `lookup` above all.
//!
//! Only variables are looked up. What lies on the machine where Ansible runs (its environment,
//! files, passwords, commands) is refused by name: guessing it would give wrong rows.

use super::super::value::{Key, Val};
use super::eval::{Args, used};
use super::{Evaluator, Halt, fault, filters};

/// Calls the function `name`.
pub(super) fn call(ev: &Evaluator<'_>, name: &str, args: &Args) -> Result<Val, Halt> {
    match name {
        "lookup" => lookup(ev, args, args.named.get("wantlist").is_some_and(Val::truth)),
        "query" | "q" => lookup(ev, args, true),
        "undef" => {
            let hint = args.text(0, "hint").unwrap_or_else(|| "marked as not defined".into());
            Ok(Val::undefined(hint))
        }
        "range" => range(ev, args),
        "dict" => {
            let pairs = args.named.iter().map(|(k, v)| (Key::Str(k.as_str().into()), v.clone()));
            Ok(Val::map(pairs.collect()))
        }
        "now" => Err(Halt::Lookup("the present time".into())),
        _ => fault(format!("the function {name} is not supported")),
    }
}

fn lookup(ev: &Evaluator<'_>, args: &Args, wants_list: bool) -> Result<Val, Halt> {
    let plugin = args.need(0, "plugin")?.text();
    let terms: Vec<Val> = args.positional.iter().skip(1).cloned().collect();
    let first = || terms.first().map(Val::text).unwrap_or_default();
    let found = match filters::short(&plugin) {
        "vars" => {
            let mut found = Vec::new();
            for term in terms {
                let value = ev.variable(&used(term)?.text())?;
                found.push(match (value, args.named.get("default")) {
                    (Val::Undefined(_), Some(default)) => default.clone(),
                    (value, _) => used(value)?,
                });
            }
            found
        }
        "dict" => {
            let mut found = Vec::new();
            for term in terms {
                let pairs = filters::apply(ev, "dict2items", term, &Args::default())?;
                found.extend(ev.items(&pairs)?);
            }
            found
        }
        "list" | "items" | "flattened" => {
            let mut found = Vec::new();
            for term in terms {
                match used(term)? {
                    Val::List(items) => found.extend(items.iter().cloned()),
                    one => found.push(one),
                }
            }
            found
        }
        "env" => return Err(Halt::Lookup(format!("the environment variable {}", first()))),
        "password" => return Err(Halt::Lookup(format!("the password in {}", first()))),
        "file" => return Err(Halt::Lookup(format!("the file {}", first()))),
        "pipe" => return Err(Halt::Lookup(format!("the command {}", first()))),
        other => return Err(Halt::Lookup(format!("the lookup {other}"))),
    };
    if wants_list {
        return Ok(Val::list(found));
    }
    // Ansible joins what a lookup finds, unless it is one thing.
    match <[Val; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(many) if many.iter().all(|one| one.as_str().is_some()) => {
            Ok(Val::str(&many.iter().map(Val::text).collect::<Vec<_>>().join(",")))
        }
        Err(many) => Ok(Val::list(many)),
    }
}

fn range(ev: &Evaluator<'_>, args: &Args) -> Result<Val, Halt> {
    let number = |place| args.positional.get(place).and_then(Val::whole);
    let (start, stop) = match (number(0), number(1)) {
        (Some(stop), None) => (0, stop),
        (Some(start), Some(stop)) => (start, stop),
        _ => return fault("range takes whole numbers"),
    };
    let step = number(2).unwrap_or(1);
    if step == 0 {
        return fault("range takes a step that is not zero");
    }
    let mut items = Vec::new();
    let mut i = start;
    while (step > 0 && i < stop) || (step < 0 && i > stop) {
        ev.spend(1)?;
        items.push(Val::Int(i));
        i = i.saturating_add(step);
    }
    Ok(Val::list(items))
}
