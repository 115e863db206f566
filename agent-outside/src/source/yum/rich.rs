//! Rich dependencies: `(A if B else C)` and their like.
//!
//! In:   the text of a relation that begins with a bracket.
//! Out:  a tree; from it the clauses that a solver takes.
//! Pure.
//!
//! rpm.org, "Boolean Dependencies": operators are words between blanks, brackets group, `and`,
//! `or` and `with` may be repeated, others stand between two operands, `if` and `unless` may
//! have an `else`.

use super::evr::Op;

/// Most brackets inside each other.
const DEPTH_MAX: usize = 32;

/// Longest rich dependency, in bytes. Those of language packs have some hundred.
const LEN_BYTES_MAX: usize = 16 << 10;

/// Most clauses of one rich dependency.
pub const CLAUSES_MAX: usize = 4096;

/// A rich dependency; `A` is what its leaves are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rich<A> {
    Atom(A),
    And(Vec<Rich<A>>),
    Or(Vec<Rich<A>>),
    /// Kept, if: the first unless the second does not hold, else the third where there is one.
    If(Box<[Rich<A>; 2]>, Option<Box<Rich<A>>>),
    Unless(Box<[Rich<A>; 2]>, Option<Box<Rich<A>>>),
    /// One package that meets all.
    With(Vec<Rich<A>>),
    /// One package that meets the first and not the second.
    Without(Box<[Rich<A>; 2]>),
}

/// A leaf as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atom<'a> {
    pub name: &'a str,
    pub op: Op,
    pub evr: &'a str,
}

/// Why a rich dependency is not understood.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum RichError {
    #[error("a bracket is missing, or there is one too many")]
    Brackets,
    #[error("an operand or an operator is missing")]
    Words,
    #[error("different operators stand beside each other without brackets")]
    Mixed,
    #[error("it is too long or too deep")]
    Large,
}

/// Reads a rich dependency, from its first bracket to its last.
///
/// # Errors
///
/// [`RichError`].
pub fn parse(text: &str) -> Result<Rich<Atom<'_>>, RichError> {
    if LEN_BYTES_MAX < text.len() {
        return Err(RichError::Large);
    }
    let words = words(text);
    let mut rest = words.as_slice();
    if take(&mut rest) != Some("(") {
        return Err(RichError::Brackets);
    }
    let rich = group(&mut rest, 0)?;
    if rest.is_empty() { Ok(rich) } else { Err(RichError::Brackets) }
}

/// Words, and the brackets that group: those inside a name, as in `perl(Foo)`, belong to it.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with(['(', ')']) {
            let (bracket, after) = rest.split_at(1);
            words.push(bracket);
            rest = after.trim_start();
            continue;
        }
        let (mut open, mut end) = (0_usize, rest.len());
        for (at, c) in rest.char_indices() {
            match c {
                '(' => open += 1,
                ')' if open == 0 => end = at,
                ')' => open -= 1,
                c if c.is_whitespace() => end = at,
                _ => {}
            }
            if end == at {
                break;
            }
        }
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn take<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(first)
}

/// Reads what follows an opening bracket, to the one that closes it.
fn group<'a>(rest: &mut &[&'a str], depth: usize) -> Result<Rich<Atom<'a>>, RichError> {
    if DEPTH_MAX < depth {
        return Err(RichError::Large);
    }
    let first = operand(rest, depth)?;
    let Some(operator) = take(rest) else { return Err(RichError::Brackets) };
    let second = match operator {
        ")" => return Ok(first),
        _ => operand(rest, depth)?,
    };
    match operator {
        "and" | "or" | "with" => {
            let mut operands = vec![first, second];
            loop {
                match take(rest) {
                    Some(")") => break,
                    Some(again) if again == operator => operands.push(operand(rest, depth)?),
                    Some(_) => return Err(RichError::Mixed),
                    None => return Err(RichError::Brackets),
                }
            }
            Ok(match operator {
                "and" => Rich::And(operands),
                "or" => Rich::Or(operands),
                _ => Rich::With(operands),
            })
        }
        "without" => {
            close(rest)?;
            Ok(Rich::Without(Box::new([first, second])))
        }
        "if" | "unless" => {
            let otherwise = if rest.first() == Some(&"else") {
                take(rest);
                Some(Box::new(operand(rest, depth)?))
            } else {
                None
            };
            close(rest)?;
            let pair = Box::new([first, second]);
            Ok(if operator == "if" {
                Rich::If(pair, otherwise)
            } else {
                Rich::Unless(pair, otherwise)
            })
        }
        _ => Err(RichError::Words),
    }
}

fn close(rest: &mut &[&str]) -> Result<(), RichError> {
    match take(rest) {
        Some(")") => Ok(()),
        Some(_) => Err(RichError::Mixed),
        None => Err(RichError::Brackets),
    }
}

fn operand<'a>(rest: &mut &[&'a str], depth: usize) -> Result<Rich<Atom<'a>>, RichError> {
    let name = match take(rest) {
        Some("(") => return group(rest, depth + 1),
        None => return Err(RichError::Brackets),
        Some(")" | "and" | "or" | "if" | "unless" | "else" | "with" | "without") => {
            return Err(RichError::Words);
        }
        Some(name) => name,
    };
    let Some(op) = rest.first().copied().and_then(Op::from_sign) else {
        return Ok(Rich::Atom(Atom { name, op: Op::Any, evr: "" }));
    };
    take(rest);
    match take(rest) {
        None | Some("(" | ")") => Err(RichError::Words),
        Some(evr) => Ok(Rich::Atom(Atom { name, op, evr })),
    }
}

/// A package that is there, or one that is not: `true` and `false`.
pub type Literal = (usize, bool);

impl<A> Rich<A> {
    /// Turns each leaf into something else.
    pub fn map<B>(&self, each: &mut impl FnMut(&A) -> B) -> Rich<B> {
        let mut all = |list: &[Self]| list.iter().map(|rich| rich.map(each)).collect::<Vec<_>>();
        match self {
            Self::And(list) => Rich::And(all(list)),
            Self::Or(list) => Rich::Or(all(list)),
            Self::With(list) => Rich::With(all(list)),
            Self::Atom(atom) => Rich::Atom(each(atom)),
            Self::Without(pair) => Rich::Without(Box::new([pair[0].map(each), pair[1].map(each)])),
            Self::If(pair, otherwise) => Rich::If(
                Box::new([pair[0].map(each), pair[1].map(each)]),
                otherwise.as_ref().map(|other| Box::new(other.map(each))),
            ),
            Self::Unless(pair, otherwise) => Rich::Unless(
                Box::new([pair[0].map(each), pair[1].map(each)]),
                otherwise.as_ref().map(|other| Box::new(other.map(each))),
            ),
        }
    }
}

/// A rich dependency whose leaves are the packages that meet them.
pub type Resolved = Rich<Vec<usize>>;

impl Resolved {
    /// The packages of which one meets it, where it asks for one package.
    fn set(&self) -> Vec<usize> {
        match self {
            Self::Atom(ids) => ids.clone(),
            Self::With(list) => {
                let mut sets = list.iter().map(Self::set);
                let mut common = sets.next().unwrap_or_default();
                for set in sets {
                    common.retain(|id| set.contains(id));
                }
                common
            }
            Self::Without(pair) => {
                let (mut set, without) = (pair[0].set(), pair[1].set());
                set.retain(|id| !without.contains(id));
                set
            }
            // rpm allows no other operator below `with`; of `or` the meaning is plain.
            Self::Or(list) => {
                let mut set: Vec<usize> = list.iter().flat_map(Self::set).collect();
                set.sort_unstable();
                set.dedup();
                set
            }
            Self::And(_) | Self::If(..) | Self::Unless(..) => Vec::new(),
        }
    }

    /// Whether it holds where `there` says which packages are there.
    pub fn holds(&self, there: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Atom(_) | Self::With(_) | Self::Without(_) => self.set().into_iter().any(there),
            Self::And(list) => list.iter().all(|rich| rich.holds(there)),
            Self::Or(list) => list.iter().any(|rich| rich.holds(there)),
            Self::If(pair, otherwise) => {
                if pair[1].holds(there) {
                    pair[0].holds(there)
                } else {
                    otherwise.as_ref().is_none_or(|other| other.holds(there))
                }
            }
            Self::Unless(pair, otherwise) => {
                if pair[1].holds(there) {
                    otherwise.as_ref().is_some_and(|other| other.holds(there))
                } else {
                    pair[0].holds(there)
                }
            }
        }
    }

    /// Clauses that all hold exactly when it holds (or does not hold, when `asked` is false);
    /// each clause needs one of its literals. `None` when there are more than [`CLAUSES_MAX`].
    pub fn clauses(&self, asked: bool) -> Option<Vec<Vec<Literal>>> {
        match self {
            Self::Atom(_) | Self::With(_) | Self::Without(_) => {
                let set = self.set().into_iter().map(|id| (id, asked));
                Some(if asked { vec![set.collect()] } else { set.map(|l| vec![l]).collect() })
            }
            Self::And(list) => join(list.iter().map(|rich| rich.clauses(asked)), asked),
            Self::Or(list) => join(list.iter().map(|rich| rich.clauses(asked)), !asked),
            Self::If(pair, otherwise) => {
                choice(&pair[1], Some(&pair[0]), otherwise.as_deref(), asked, true)
            }
            Self::Unless(pair, otherwise) => {
                choice(&pair[1], otherwise.as_deref(), Some(&pair[0]), asked, false)
            }
        }
    }
}

/// `yes` where `condition` holds, else `no`; one that is missing is `missing`.
fn choice(
    condition: &Resolved,
    yes: Option<&Resolved>,
    no: Option<&Resolved>,
    asked: bool,
    missing: bool,
) -> Option<Vec<Vec<Literal>>> {
    let side = |rich: Option<&Resolved>| match rich {
        Some(rich) => rich.clauses(asked),
        None if missing == asked => Some(Vec::new()),
        None => Some(vec![Vec::new()]),
    };
    // (not condition or yes) and (condition or no)
    let when = join([condition.clauses(false), side(yes)].into_iter(), false);
    let otherwise = join([condition.clauses(true), side(no)].into_iter(), false);
    join([when, otherwise].into_iter(), true)
}

/// All clauses of all parts; or, for alternatives, each union of one clause from each part.
fn join(
    parts: impl Iterator<Item = Option<Vec<Vec<Literal>>>>,
    all: bool,
) -> Option<Vec<Vec<Literal>>> {
    let mut joined: Vec<Vec<Literal>> = if all { Vec::new() } else { vec![Vec::new()] };
    for part in parts {
        let part = part?;
        if all {
            joined.extend(part);
        } else {
            if CLAUSES_MAX < joined.len().saturating_mul(part.len()) {
                return None;
            }
            joined = joined
                .iter()
                .flat_map(|left| part.iter().map(move |right| [&left[..], right].concat()))
                .collect();
        }
        if CLAUSES_MAX < joined.len() {
            return None;
        }
    }
    // A clause with a package that is there or is not there always holds.
    joined.retain(|clause| !clause.iter().any(|(id, there)| clause.contains(&(*id, !there))));
    for clause in &mut joined {
        clause.sort_unstable();
        clause.dedup();
    }
    Some(joined)
}

#[cfg(test)]
mod tests;
