//! What was served until a moment ago, for clients that a switch finds between two requests.
//!
//! Some clients read in turn documents that must be of one generation: apt the heads of its
//! suites and pip the pages of its projects, on one connection; dnf `repomd.xml` and then its
//! signature, each on a connection of its own, so that its address is all there is to know it by.
//!
//! In:   the sites that switches replaced; what a connection or an address has read.
//! Out:  the site that a client goes on with, until [`GRACE`] after the switch.
//! Pure: no sockets, no clock; the caller passes `now`.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gapferry_proto::limits;

use super::site::Site;

/// How long after a switch a client may go on with the generation that it began with. pip takes
/// seconds to read the pages of a long list of requirements.
const GRACE: Duration = Duration::from_secs(10);

/// Most replaced sites that are kept: each takes as much memory as the one that is served.
const REPLACED_MAX: usize = 8;

/// One connection: the activation whose documents it reads in turn, 0 before the first.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<AtomicU64>);

/// What was served until a moment ago, and who read it.
#[derive(Debug, Default)]
pub struct Recent {
    /// Oldest first, with the time of their replacement.
    replaced: Mutex<VecDeque<(Arc<Site>, Instant)>>,
    /// The activation of the head that an address read last, by address and head.
    readers: Mutex<HashMap<(IpAddr, String), (u64, Instant)>>,
}

impl Recent {
    /// Keeps a site that is being replaced.
    pub fn replace(&self, site: Arc<Site>, now: Instant) {
        let mut replaced = lock(&self.replaced);
        replaced.push_back((site, now));
        if REPLACED_MAX < replaced.len() {
            replaced.pop_front();
        }
    }

    /// Drops the sites that nobody goes on with any more.
    pub fn forget(&self, now: Instant) {
        lock(&self.replaced).retain(|(_, at)| is_fresh(*at, now));
    }

    /// The site that `connection` goes on with, when `current` is the one that is served.
    pub fn in_turn(&self, connection: &Connection, current: &Arc<Site>, now: Instant) -> Arc<Site> {
        let began_with = connection.0.load(Ordering::Relaxed);
        let site = self.replaced(began_with, now).unwrap_or_else(|| Arc::clone(current));
        connection.0.store(site.activation, Ordering::Relaxed);
        site
    }

    /// Notes that `client` reads `head` as `activation` has it. When too many addresses are
    /// noted, this one is not.
    pub fn read_head(&self, client: IpAddr, head: &str, activation: u64, now: Instant) {
        let mut readers = lock(&self.readers);
        if limits::HEAD_READERS_MAX <= readers.len() {
            readers.retain(|_, (_, at)| is_fresh(*at, now));
        }
        let key = (client, head.to_owned());
        if readers.len() < limits::HEAD_READERS_MAX || readers.contains_key(&key) {
            readers.insert(key, (activation, now));
        }
    }

    /// The replaced site whose `head` this client read last; none when it read the current one.
    pub fn site_of_head(&self, client: IpAddr, head: &str, now: Instant) -> Option<Arc<Site>> {
        let (activation, _) = *lock(&self.readers).get(&(client, head.to_owned()))?;
        self.replaced(activation, now)
    }

    fn replaced(&self, activation: u64, now: Instant) -> Option<Arc<Site>> {
        let replaced = lock(&self.replaced);
        let mut fresh = replaced.iter().filter(|(_, at)| is_fresh(*at, now));
        fresh.find(|(site, _)| site.activation == activation).map(|(site, _)| Arc::clone(site))
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < GRACE
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gapferry_proto::{Sequence, Snapshot};

    use super::*;
    use crate::serve::{Activation, Generation};

    /// A site without anything, as an activation shows it.
    fn site(number: u64) -> Arc<Site> {
        let snapshot = Snapshot::default();
        let current = Generation { sequence: Sequence(1), snapshot, documents: "none".into() };
        let heads = "none".into();
        Arc::new(Site::new(Activation { number, heads, current, kept: vec![] }).unwrap())
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn a_connection_goes_on_with_what_it_began_with_until_the_grace_is_over() {
        let (recent, began) = (Recent::default(), Instant::now());
        let (early, late) = (Connection::default(), Connection::default());
        let [first, second] = [site(1), site(2)];
        let read = |connection, current, now| recent.in_turn(connection, current, now).activation;
        assert_eq!(read(&early, &first, began), 1);
        recent.replace(Arc::clone(&first), began);
        assert_eq!((read(&late, &second, began), read(&early, &second, began)), (2, 1));
        let last = began + GRACE.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(read(&early, &second, last), 1);
        assert_eq!(read(&early, &second, began + GRACE), 2);
        assert_eq!(read(&early, &second, last), 2, "nobody goes back");
    }

    #[test]
    fn a_signature_is_of_the_head_that_its_reader_read_last() {
        let (recent, now) = (Recent::default(), Instant::now());
        let activation = |client, head, now| {
            recent.site_of_head(address(client), head, now).map(|site| site.activation)
        };
        recent.read_head(address(1), "a", 1, now);
        recent.read_head(address(2), "a", 1, now);
        recent.replace(site(1), now);
        recent.read_head(address(2), "a", 2, now);
        assert_eq!(activation(1, "a", now), Some(1));
        assert_eq!(activation(2, "a", now), None, "it read the current one");
        assert_eq!((activation(1, "b", now), activation(3, "a", now)), (None, None));
        assert_eq!(activation(1, "a", now + GRACE), None);
    }

    #[test]
    fn what_is_kept_for_late_clients_is_bounded() {
        let (recent, now) = (Recent::default(), Instant::now());
        let numbers =
            || lock(&recent.replaced).iter().map(|(s, _)| s.activation).collect::<Vec<_>>();
        (1..=10).for_each(|number| recent.replace(site(number), now));
        assert_eq!(numbers(), [3, 4, 5, 6, 7, 8, 9, 10]);
        recent.forget(now + GRACE);
        assert_eq!(numbers(), [0; 0]);

        let count = || lock(&recent.readers).len();
        for number in 0..limits::HEAD_READERS_MAX + 1 {
            recent.read_head(address(1), &number.to_string(), 1, now);
        }
        assert_eq!(count(), limits::HEAD_READERS_MAX);
        recent.read_head(address(1), "0", 2, now);
        recent.replace(site(2), now);
        assert!(recent.site_of_head(address(1), "0", now).is_some(), "who is noted stays noted");
        recent.read_head(address(1), "new", 1, now + GRACE);
        assert_eq!(count(), 1);
    }
}
