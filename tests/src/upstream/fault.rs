//! The ways in which an upstream misbehaves.

/// One way to misbehave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// This status and nothing of the resource; 429 and 503 with `Retry-After: 1`.
    Status(u16),
    /// The connection ends after so many bytes of the body.
    BreakOff { after_bytes: u64 },
    /// `Content-Length` promises so many bytes too many; the connection ends before them.
    TooLong { by_bytes: u64 },
    /// `Content-Length` and the body lack the last bytes.
    TooShort { by_bytes: u64 },
    /// One bit of the body is not what it was.
    FlipBit { at_byte: u64 },
    /// The body comes at this speed.
    Slow { bytes_per_second: u64 },
}

/// Where and how often to misbehave.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub prefix: String,
    pub fault: Fault,
    pub times: u32,
}

/// Takes the first rule for `path` and counts it down.
pub(super) fn take(rules: &mut [Rule], path: &str) -> Option<Fault> {
    let rule = rules.iter_mut().find(|rule| 0 < rule.times && path.starts_with(&rule.prefix))?;
    if rule.times != u32::MAX {
        rule.times -= 1;
    }
    Some(rule.fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_wears_off_after_its_times() {
        let rule = Rule { prefix: "/a".into(), fault: Fault::Status(503), times: 2 };
        let mut rules = [rule];
        assert_eq!(take(&mut rules, "/b"), None);
        assert_eq!(take(&mut rules, "/a/b"), Some(Fault::Status(503)));
        assert_eq!(take(&mut rules, "/a/b"), Some(Fault::Status(503)));
        assert_eq!(take(&mut rules, "/a/b"), None);
    }
}
