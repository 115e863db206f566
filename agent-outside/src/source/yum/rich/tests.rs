use super::*;

/// Reads a dependency on `a` to `e`, met by packages 0 to 4; `ab` is met by 0 and 1.
fn read(text: &str) -> Resolved {
    parse(text).unwrap().map(&mut |atom| atom.name.bytes().map(|b| usize::from(b - b'a')).collect())
}

#[test]
fn clauses_mean_what_the_words_mean() {
    type Meaning = fn([bool; 5]) -> bool;
    let table: [(&str, Meaning); 17] = [
        ("(a)", |[a, ..]| a),
        ("(a and b)", |[a, b, ..]| a && b),
        ("(a or b or c)", |[a, b, c, ..]| a || b || c),
        ("(a if b)", |[a, b, ..]| a || !b),
        ("(a if b else c)", |[a, b, c, ..]| if b { a } else { c }),
        ("(a unless b)", |[a, b, ..]| a && !b),
        ("(a unless b else c)", |[a, b, c, ..]| if b { c } else { a }),
        ("(ab with bc)", |[_, b, ..]| b),
        ("(abc with bcd with cde)", |[_, _, c, ..]| c),
        ("(abc without b)", |[a, _, c, ..]| a || c),
        ("(a if (b and c))", |[a, b, c, ..]| a || !(b && c)),
        ("(a if (b or c))", |[a, b, c, ..]| a || !(b || c)),
        ("((a or b) if c)", |[a, b, c, ..]| a || b || !c),
        ("((a and b) if c else (d or e))", |[a, b, c, d, e]| if c { a && b } else { d || e }),
        ("((a if b) or (c if d))", |[a, b, c, d, _]| (a || !b) || (c || !d)),
        ("((a if b) and (c unless d))", |[a, b, c, d, _]| (a || !b) && c && !d),
        ("(a if (b if c))", |[a, b, c, ..]| a || (!b && c)),
    ];
    for (text, meaning) in table {
        let rich = read(text);
        for there in 0..32_usize {
            let has = |id: usize| there & (1 << id) != 0;
            let expected = meaning([0, 1, 2, 3, 4].map(has));
            assert_eq!(rich.holds(&has), expected, "{text} {there:b}");
            for asked in [true, false] {
                let clauses = rich.clauses(asked).unwrap();
                let met =
                    clauses.iter().all(|clause| clause.iter().any(|(id, want)| has(*id) == *want));
                assert_eq!(met, expected == asked, "{text} {there:b} {asked}");
            }
        }
    }
}

#[test]
fn names_may_hold_brackets_and_versions_follow_signs() {
    let text = "(perl(Foo::Bar) >= 1:2.0-3 if (libx.so.1(X_1)(64bit) and python3.9dist(a[b])))";
    let atom = |name, op, evr| Rich::Atom(Atom { name, op, evr });
    let expected = Rich::If(
        Box::new([
            atom("perl(Foo::Bar)", Op::GreaterEqual, "1:2.0-3"),
            Rich::And(vec![
                atom("libx.so.1(X_1)(64bit)", Op::Any, ""),
                atom("python3.9dist(a[b])", Op::Any, ""),
            ]),
        ]),
        None,
    );
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn what_is_no_rich_dependency_is_refused() {
    for (text, error) in [
        ("a", RichError::Brackets),
        ("(a", RichError::Brackets),
        ("(a))", RichError::Brackets),
        ("((a)", RichError::Brackets),
        ("()", RichError::Words),
        ("(a or)", RichError::Words),
        ("(a b)", RichError::Words),
        ("(a >= )", RichError::Words),
        ("(a and b or c)", RichError::Mixed),
        ("(a if b if c)", RichError::Mixed),
    ] {
        assert_eq!(parse(text).unwrap_err(), error, "{text}");
    }
    let deep = "(".repeat(10_000) + "a";
    assert_eq!(parse(&deep).unwrap_err(), RichError::Large);
    let wide = format!("({})", ["(a and b and c and d)"; 9].join(" or "));
    assert_eq!(read(&wide).clauses(true), None);
}
