//! The filters that work on lists and dicts: picking, joining, reshaping.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::value::{Dict, Key, Val};
use super::eval::{Args, used};
use super::{Evaluator, Halt, fault, filters, tests_of_values};

pub(super) fn apply(
    ev: &Evaluator<'_>,
    name: &str,
    value: &Val,
    args: &Args,
) -> Result<Option<Val>, Halt> {
    Ok(Some(match name {
        "list" => Val::list(ev.items(value)?),
        "first" => end_of(ev.items(value)?.first(), name),
        "last" => end_of(ev.items(value)?.last(), name),
        "unique" => Val::list(unique(ev, ev.items(value)?)?),
        "union" | "difference" | "intersect" | "symmetric_difference" => {
            sets(ev, name, &ev.items(value)?, &ev.items(args.need(0, "b")?)?)?
        }
        "flatten" => {
            let levels = args.get(0, "levels").and_then(Val::whole).unwrap_or(i64::MAX);
            let skip_nulls = args.get(1, "skip_nulls").is_none_or(Val::truth);
            let mut out = Vec::new();
            flatten(ev, &ev.items(value)?, levels, skip_nulls, &mut out)?;
            Val::list(out)
        }
        "reverse" => {
            let mut items = ev.items(value)?;
            items.reverse();
            match value {
                Val::Str(_) => Val::str(&items.iter().map(Val::text).collect::<String>()),
                _ => Val::list(items),
            }
        }
        "sort" => sort(ev, value, args)?,
        "min" | "max" => {
            let best = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut items = ev.items(value)?.into_iter();
            let Some(mut found) = items.next() else { return Ok(Some(Val::Nothing)) };
            for item in items {
                if ordered(&item, &found)? == best {
                    found = item;
                }
            }
            found
        }
        "sum" => {
            let start = args.get(1, "start").cloned().unwrap_or(Val::Int(0));
            let mut sum = (start.number(), start.whole());
            for item in attributes(ev, value, args.get(0, "attribute"))? {
                sum = (
                    sum.0 + item.number(),
                    sum.1.zip(item.whole()).and_then(|(a, b)| a.checked_add(b)),
                );
            }
            sum.1.map_or(Val::Float(sum.0), Val::Int)
        }
        "map" => map(ev, value, args)?,
        "select" | "reject" => pick(ev, value, args, name == "select", false)?,
        "selectattr" | "rejectattr" => pick(ev, value, args, name == "selectattr", true)?,
        "dict2items" => dict2items(value, args)?,
        "items" => {
            let Some(dict) = value.as_map() else { return fault("items takes a dict") };
            Val::list(
                dict.iter()
                    .map(|(k, v)| Val::Tuple(Arc::new(vec![k.to_val(), v.clone()])))
                    .collect(),
            )
        }
        "dictsort" => {
            let Some(dict) = value.as_map() else { return fault("dictsort takes a dict") };
            let mut pairs: Vec<_> = dict.iter().map(|(k, v)| (k.to_val(), v.clone())).collect();
            pairs.sort_by_key(|(key, _)| key.text().to_lowercase());
            Val::list(pairs.into_iter().map(|(k, v)| Val::Tuple(Arc::new(vec![k, v]))).collect())
        }
        "items2dict" => items2dict(ev, value, args)?,
        "combine" => combine(ev, value, args)?,
        "zip" => {
            let mut columns = vec![ev.items(value)?];
            for other in &args.positional {
                columns.push(ev.items(other)?);
            }
            let length = columns.iter().map(Vec::len).min().unwrap_or(0);
            let row =
                |i: usize| Val::list(columns.iter().filter_map(|c| c.get(i).cloned()).collect());
            Val::list((0..length).map(row).collect())
        }
        "extract" => {
            let mut found = ev.item(args.need(0, "container")?, value)?;
            if let Some(more) = args.get(1, "morekeys") {
                let keys = more.as_items().map_or_else(|| vec![more.clone()], <[Val]>::to_vec);
                for key in keys {
                    found = ev.item(&found, &key)?;
                }
            }
            found
        }
        "groupby" => groupby(ev, value, args)?,
        "batch" => {
            let size = args.get(0, "linecount").and_then(Val::whole).unwrap_or(1).max(1);
            let items = ev.items(value)?;
            let batches = items.chunks(usize::try_from(size).unwrap_or(1));
            Val::list(batches.map(|batch| Val::list(batch.to_vec())).collect())
        }
        _ => return Ok(None),
    }))
}

fn end_of(item: Option<&Val>, which: &str) -> Val {
    item.cloned().unwrap_or_else(|| Val::undefined(format!("an empty list has no {which} item")))
}

fn holds(ev: &Evaluator<'_>, items: &[Val], item: &Val) -> Result<bool, Halt> {
    ev.spend(items.len() / 4)?;
    Ok(items.iter().any(|one| one.equals(item)))
}

fn unique(ev: &Evaluator<'_>, items: Vec<Val>) -> Result<Vec<Val>, Halt> {
    let mut out = Vec::new();
    for item in items {
        if !holds(ev, &out, &item)? {
            out.push(item);
        }
    }
    Ok(out)
}

fn sets(ev: &Evaluator<'_>, name: &str, a: &[Val], b: &[Val]) -> Result<Val, Halt> {
    let mut out = Vec::new();
    for item in a {
        let both = holds(ev, b, item)?;
        if name == "union" || (name == "intersect") == both {
            out.push(item.clone());
        }
    }
    if matches!(name, "union" | "symmetric_difference") {
        for item in b {
            if !holds(ev, a, item)? {
                out.push(item.clone());
            }
        }
    }
    unique(ev, out).map(Val::list)
}

fn flatten(
    ev: &Evaluator<'_>,
    items: &[Val],
    levels: i64,
    skip: bool,
    out: &mut Vec<Val>,
) -> Result<(), Halt> {
    for item in items {
        match item {
            Val::None if skip => {}
            Val::List(inner) if levels > 0 => {
                ev.deeper(|| flatten(ev, inner, levels - 1, skip, out))?;
            }
            other => {
                ev.spend(1)?;
                out.push(other.clone());
            }
        }
    }
    Ok(())
}

fn ordered(a: &Val, b: &Val) -> Result<Ordering, Halt> {
    a.order(b)
        .ok_or_else(|| Halt::Fault(format!("a {} and a {} have no order", a.kind(), b.kind())))
}

fn attribute(ev: &Evaluator<'_>, item: &Val, path: &Val) -> Result<Val, Halt> {
    match path {
        Val::Str(path) => {
            path.split('.').try_fold(item.clone(), |value, key| ev.item(&value, &Val::str(key)))
        }
        key => ev.item(item, key),
    }
}

fn attributes(ev: &Evaluator<'_>, value: &Val, path: Option<&Val>) -> Result<Vec<Val>, Halt> {
    let items = ev.items(value)?;
    match path {
        None | Some(Val::None) => Ok(items),
        Some(path) => items.iter().map(|item| attribute(ev, item, path)).collect(),
    }
}

fn sort(ev: &Evaluator<'_>, value: &Val, args: &Args) -> Result<Val, Halt> {
    let items = ev.items(value)?;
    let keys = attributes(ev, value, args.get(2, "attribute"))?;
    let mut pairs = Vec::new();
    for (item, key) in items.into_iter().zip(keys) {
        let key = match used(key)? {
            Val::Str(s) if !args.flag(1, "case_sensitive") => Val::str(&s.to_lowercase()),
            key => key,
        };
        pairs.push((key, item));
    }
    if let [(first, _), rest @ ..] = pairs.as_slice() {
        rest.iter().try_for_each(|(key, _)| ordered(first, key).map(drop))?;
    }
    pairs.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    if args.flag(0, "reverse") {
        pairs.reverse();
    }
    Ok(Val::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn map(ev: &Evaluator<'_>, value: &Val, args: &Args) -> Result<Val, Halt> {
    let mut out = Vec::new();
    for item in ev.items(value)? {
        ev.spend(1)?;
        out.push(match args.named.get("attribute") {
            Some(path) => match attribute(ev, &item, path)? {
                Val::Undefined(reason) => match args.named.get("default") {
                    Some(other) => other.clone(),
                    None => Val::Undefined(reason),
                },
                found => found,
            },
            None => {
                let name = args.need(0, "filter")?.text();
                let rest = Args {
                    positional: args.positional.iter().skip(1).cloned().collect(),
                    named: args.named.clone(),
                };
                filters::apply(ev, &name, item, &rest)?
            }
        });
    }
    Ok(Val::list(out))
}

/// `select`, `reject` and, with `by_attribute`, `selectattr` and `rejectattr`.
fn pick(
    ev: &Evaluator<'_>,
    value: &Val,
    args: &Args,
    keep: bool,
    by_attribute: bool,
) -> Result<Val, Halt> {
    let skipped = usize::from(by_attribute);
    let test = args.positional.get(skipped).map(Val::text);
    let rest = Args {
        positional: args.positional.iter().skip(skipped + 1).cloned().collect(),
        named: args.named.clone(),
    };
    let mut out = Vec::new();
    for item in ev.items(value)? {
        let tested = if by_attribute {
            attribute(ev, &item, args.need(0, "attribute")?)?
        } else {
            item.clone()
        };
        let holds = match &test {
            Some(test) => tests_of_values::apply(ev, test, tested, &rest)?,
            None => used(tested)?.truth(),
        };
        if holds == keep {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn pair_names(args: &Args) -> (Arc<str>, Arc<str>) {
    let name = |place, name, other: &str| {
        Arc::from(args.text(place, name).unwrap_or_else(|| other.to_owned()))
    };
    (name(0, "key_name", "key"), name(1, "value_name", "value"))
}

fn dict2items(value: &Val, args: &Args) -> Result<Val, Halt> {
    let Some(dict) = value.as_map() else {
        return fault(format!("dict2items takes a dict, not a {}", value.kind()));
    };
    let (key_name, value_name) = pair_names(args);
    let pair = |(key, value): (&Key, &Val)| {
        let entries = [
            (Key::Str(key_name.clone()), key.to_val()),
            (Key::Str(value_name.clone()), value.clone()),
        ];
        Val::map(entries.into_iter().collect())
    };
    Ok(Val::list(dict.iter().map(pair).collect()))
}

fn items2dict(ev: &Evaluator<'_>, value: &Val, args: &Args) -> Result<Val, Halt> {
    let (key_name, value_name) = pair_names(args);
    let mut dict = Dict::default();
    for item in ev.items(value)? {
        let key = used(ev.item(&item, &Val::Str(key_name.clone()))?)?;
        let value = ev.item(&item, &Val::Str(value_name.clone()))?;
        match key.key() {
            Some(key) => dict.insert(key, value),
            None => return fault("items2dict takes texts or numbers as keys"),
        };
    }
    Ok(Val::map(dict))
}

fn combine(ev: &Evaluator<'_>, value: &Val, args: &Args) -> Result<Val, Halt> {
    let recursive = args.named.get("recursive").is_some_and(Val::truth);
    let lists = args.named.get("list_merge").map_or_else(|| "replace".to_owned(), Val::text);
    if lists != "replace" {
        return fault(format!("combine with list_merge={lists} is not supported"));
    }
    let mut dicts = Vec::new();
    for one in std::iter::once(value).chain(&args.positional) {
        match one {
            Val::Map(dict) => dicts.push(dict.clone()),
            Val::List(items) => {
                for item in items.iter() {
                    let Val::Map(dict) = item else { return fault("combine takes dicts") };
                    dicts.push(dict.clone());
                }
            }
            Val::Undefined(reason) => return Err(Halt::Undefined(reason.clone())),
            other => return fault(format!("combine takes dicts, not a {}", other.kind())),
        }
    }
    let mut merged = Dict::default();
    for dict in dicts {
        merged = merge(ev, &merged, &dict, recursive)?;
    }
    Ok(Val::map(merged))
}

fn merge(ev: &Evaluator<'_>, under: &Dict, over: &Dict, recursive: bool) -> Result<Dict, Halt> {
    ev.spend(under.len() + over.len())?;
    let mut out = under.clone();
    for (key, value) in over.iter() {
        let value = match (out.get(key), value) {
            (Some(Val::Map(a)), Val::Map(b)) if recursive => {
                Val::map(ev.deeper(|| merge(ev, a, b, true))?)
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Ok(out)
}

fn groupby(ev: &Evaluator<'_>, value: &Val, args: &Args) -> Result<Val, Halt> {
    let path = args.need(0, "attribute")?;
    let mut groups: Vec<(Val, Vec<Val>)> = Vec::new();
    for item in ev.items(value)? {
        let key = used(attribute(ev, &item, path)?)?;
        ev.spend(groups.len())?;
        match groups.iter_mut().find(|(other, _)| other.equals(&key)) {
            Some((_, items)) => items.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    let pair = |(key, items): (Val, Vec<Val>)| Val::Tuple(Arc::new(vec![key, Val::list(items)]));
    Ok(Val::list(groups.into_iter().map(pair).collect()))
}
