//! Slows down who guesses passwords, by the address they guess from.
//!
//! In:   which credential was wrong, from where, and when.
//! Out:  whether an address must wait, and whether a credential is known to be wrong there.
//! Pure: the time is an argument. Holds digests of credentials under a key of this run, never
//!       the credentials.
//!
//! Only *different* wrong credentials count: a machine that keeps sending its old password is
//! told so at no cost and locks nobody out, while each guess of a guesser is another one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A credential under the key of this run.
pub type Mark = [u8; 32];

/// Most different wrong credentials from one address within [`WINDOW`].
pub const WRONG_MAX: usize = 10;

/// How long wrong credentials count, and how long an address waits at most.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Most addresses that are remembered: what has the oldest mistake makes room.
const ADDRESSES_MAX: usize = 4096;

/// Where wrong credentials came from of late.
#[derive(Debug, Default)]
pub struct Throttle {
    addresses: HashMap<IpAddr, Wrong>,
}

#[derive(Debug)]
struct Wrong {
    since: Instant,
    marks: Vec<Mark>,
}

impl Throttle {
    /// How long an address must still wait before another credential of it is looked at.
    pub fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = self.recent(client, now)?;
        let is_full = WRONG_MAX <= wrong.marks.len();
        is_full.then(|| WINDOW.saturating_sub(now.duration_since(wrong.since)))
    }

    /// Whether this credential was found wrong at this address of late.
    pub fn is_wrong(&self, client: IpAddr, mark: &Mark, now: Instant) -> bool {
        self.recent(client, now).is_some_and(|wrong| wrong.marks.contains(mark))
    }

    /// Takes note of a credential that was found wrong.
    pub fn note(&mut self, client: IpAddr, mark: Mark, now: Instant) {
        if self.recent(client, now).is_none() {
            self.make_room(now);
            let fresh = Wrong { since: now, marks: Vec::new() };
            self.addresses.insert(network(client), fresh);
        }
        if let Some(wrong) = self.addresses.get_mut(&network(client))
            && wrong.marks.len() < WRONG_MAX
            && !wrong.marks.contains(&mark)
        {
            wrong.marks.push(mark);
        }
    }

    fn recent(&self, client: IpAddr, now: Instant) -> Option<&Wrong> {
        let wrong = self.addresses.get(&network(client))?;
        (now.duration_since(wrong.since) < WINDOW).then_some(wrong)
    }

    fn make_room(&mut self, now: Instant) {
        if self.addresses.len() < ADDRESSES_MAX {
            return;
        }
        self.addresses.retain(|_, wrong| now.duration_since(wrong.since) < WINDOW);
        if self.addresses.len() < ADDRESSES_MAX {
            return;
        }
        let oldest = self.addresses.iter().min_by_key(|(_, wrong)| wrong.since);
        if let Some(oldest) = oldest.map(|(&address, _)| address) {
            self.addresses.remove(&oldest);
        }
    }
}

/// The part of an address that one client cannot change at will: all of IPv4, the first 64 bits
/// of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    fn mark(n: usize) -> Mark {
        [u8::try_from(n).unwrap(); 32]
    }

    #[test]
    fn guesses_end_in_a_wait_and_one_old_password_never() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..100 {
            throttle.note(CLIENT, mark(0), now);
        }
        assert_eq!(throttle.wait(CLIENT, now), None);
        assert!(throttle.is_wrong(CLIENT, &mark(0), now));
        (1..WRONG_MAX).for_each(|n| throttle.note(CLIENT, mark(n), now));
        let later = now + Duration::from_secs(20);
        assert_eq!(throttle.wait(CLIENT, later), Some(Duration::from_secs(40)));
        assert_eq!(throttle.wait("10.0.0.6".parse().unwrap(), later), None);
        assert_eq!(throttle.wait("::ffff:10.0.0.5".parse().unwrap(), now), Some(WINDOW));
        assert_eq!(throttle.wait(CLIENT, now + WINDOW), None);
        assert!(!throttle.is_wrong(CLIENT, &mark(0), now + WINDOW));
        throttle.note(CLIENT, mark(0), now + WINDOW);
        assert_eq!(throttle.wait(CLIENT, now + WINDOW), None);
    }

    #[test]
    fn a_client_does_not_get_away_within_its_ipv6_network() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..WRONG_MAX {
            throttle.note(format!("fd00::1:{n}").parse().unwrap(), mark(n), now);
        }
        assert_eq!(throttle.wait("fd00::9".parse().unwrap(), now), Some(WINDOW));
        assert_eq!(throttle.wait("fd00:0:0:1::9".parse().unwrap(), now), None);
    }

    #[test]
    fn so_many_addresses_are_remembered_and_no_more() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..ADDRESSES_MAX + 5 {
            let at = now + Duration::from_millis(u64::try_from(n).unwrap());
            throttle.note(address(n), mark(0), at);
        }
        assert_eq!(throttle.addresses.len(), ADDRESSES_MAX);
        assert!(!throttle.is_wrong(address(4), &mark(0), now));
        assert!(throttle.is_wrong(address(5), &mark(0), now + Duration::from_secs(5)));
        throttle.note(CLIENT, mark(0), now + WINDOW * 2);
        assert_eq!(throttle.addresses.len(), 1);
    }
}
