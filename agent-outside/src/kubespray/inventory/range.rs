//! Host patterns of inventories: `node[01:10]`, `[a:c].example`, `host:2222`.

/// Most hosts that one pattern may name.
const PATTERN_HOSTS_MAX: usize = 20_000;

/// The hosts that a pattern names, and the port behind it.
pub(super) fn expand(pattern: &str) -> Result<(Vec<String>, Option<u16>), String> {
    let (pattern, port) = split_port(pattern);
    let mut done = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((range, more)) = after.split_once(']').filter(|(range, _)| range.contains(':'))
        else {
            break;
        };
        let items = items(range)?;
        if done.len().saturating_mul(items.len()) > PATTERN_HOSTS_MAX {
            return Err(format!("{pattern} names too many hosts"));
        }
        done = done
            .iter()
            .flat_map(|head| items.iter().map(move |item| format!("{head}{before}{item}")))
            .collect();
        rest = more;
    }
    Ok((done.into_iter().map(|head| head + rest).collect(), port))
}

/// A port stands behind the last colon outside brackets, unless it is an IPv6 address.
fn split_port(pattern: &str) -> (&str, Option<u16>) {
    let Some((host, port)) = pattern.rsplit_once(':') else { return (pattern, None) };
    let open = host.matches('[').count() == host.matches(']').count();
    let bare = host.replace(['[', ']'], "");
    let is_v6 = bare.contains(':') && !host.contains('[');
    match port.parse() {
        Ok(port) if open && !is_v6 => (without_brackets(host), Some(port)),
        _ => (pattern, None),
    }
}

/// Brackets go only where they are around an address.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        .unwrap_or(host)
}

fn items(range: &str) -> Result<Vec<String>, String> {
    let bad = || format!("[{range}] is no range");
    let mut parts = range.split(':');
    let first = parts.next().filter(|p| !p.is_empty()).unwrap_or("0");
    let last = parts.next().filter(|p| !p.is_empty()).ok_or_else(bad)?;
    let step: usize = parts.next().map_or(Ok(1), str::parse).map_err(|_| bad())?;
    if step == 0 || parts.next().is_some() {
        return Err(bad());
    }
    if let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>()) {
        let width = if first.len() > 1 && first.starts_with('0') { first.len() } else { 0 };
        if width > 0 && last.len() != width {
            return Err(format!("[{range}] has ends of different length"));
        }
        if to < from || (to - from) / step as u64 >= PATTERN_HOSTS_MAX as u64 {
            return Err(bad());
        }
        return Ok((from..=to).step_by(step).map(|n| format!("{n:0>width$}")).collect());
    }
    let letter = |text: &str| match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    };
    match (letter(first), letter(last)) {
        (Some(from), Some(to)) if from <= to => Ok((from..=to)
            .filter(u8::is_ascii_alphabetic)
            .step_by(step)
            .map(|letter| char::from(letter).to_string())
            .collect()),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(pattern: &str) -> Vec<String> {
        expand(pattern).unwrap().0
    }

    #[test]
    fn ranges_count_numbers_and_letters_both_ends_included() {
        assert_eq!(hosts("node[1:3]"), ["node1", "node2", "node3"]);
        assert_eq!(hosts("n[08:10]"), ["n08", "n09", "n10"]);
        assert_eq!(hosts("n[0:4:2].[a:b]"), ["n0.a", "n0.b", "n2.a", "n2.b", "n4.a", "n4.b"]);
        assert_eq!(hosts("plain"), ["plain"]);
        assert_eq!(expand("h[1:2]:2222").unwrap(), (vec!["h1".into(), "h2".into()], Some(2222)));
        assert_eq!(expand("[fd00::1]:22").unwrap(), (vec!["fd00::1".into()], Some(22)));
        assert_eq!(hosts("fd00::1"), ["fd00::1"]);
    }

    #[test]
    fn ranges_without_end_or_sense_are_refused() {
        assert!(expand("n[1:99999999]").is_err());
        assert!(expand("n[3:1]").is_err());
        assert!(expand("n[1:9999][1:9999]").is_err());
        assert!(expand("n[01:100]").is_err());
    }
}
