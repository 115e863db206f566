//! What was served until a moment ago, for clients that a switch finds between two requests.
//!
//! Some clients read in turn documents that must be of one generation: apt the heads of its
//! suites and pip the pages of its projects, on one connection; dnf `repomd.xml` and then its
//! signature, each on a connection of its own, so that its address is all there is to know it by.
//!
//! In:   the sites that switches replaced; what a connection or an address has read.
//! Out:  the site that a client goes on with, until [`GRACE`] after the switch. Whoever asks for a
//!       document again begins anew: it wants what is served now.
//! Pure: no sockets, no clock; the caller passes `now`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gapferry_proto::limits;

use super::site::Site;

/// How long after a switch a client may go on with the generation that it began with. pip takes
/// seconds to read the pages of a long list of requirements.
const GRACE: Duration = Duration::from_secs(10);

/// Most replaced sites that are kept: each takes as much memory as the one that is served.
const REPLACED_MAX: usize = 8;

/// One connection, and what it reads in turn.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<Mutex<Turn>>);

/// Documents of one activation, 0 before the first.
#[derive(Debug, Default)]
struct Turn {
    activation: u64,
    read: HashSet<String>,
}

/// What was served until a moment ago, and who read it.
#[derive(Debug, Default)]
pub struct Recent {
    /// Oldest first, with the time of their replacement.
    replaced: Mutex<VecDeque<(Arc<Site>, Instant)>>,
    /// The activation of the head that an address read last, by address and head.
    readers: Mutex<HashMap<(IpAddr, String), (u64, Instant)>>,
}

#[cfg(test)]
impl Connection {
    /// How many documents are remembered.
    pub fn count(&self) -> usize {
        lock(&self.0).read.len()
    }
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

    /// The site that `connection` goes on with, when `current` is the one that is served. `document`
    /// is the address of one that changes with the site; what never changes has none.
    pub fn in_turn(
        &self,
        connection: &Connection,
        document: Option<&str>,
        current: &Arc<Site>,
        now: Instant,
    ) -> Arc<Site> {
        let mut turn = lock(&connection.0);
        let begins_anew = document.is_some_and(|document| turn.read.contains(document));
        let began_with = self.replaced(turn.activation, now).filter(|_| !begins_anew);
        let site = began_with.unwrap_or_else(|| Arc::clone(current));
        if site.activation != turn.activation {
            *turn = Turn { activation: site.activation, read: HashSet::new() };
        }
        if let Some(document) = document
            && turn.read.len() < limits::DOCUMENTS_IN_TURN_MAX
        {
            turn.read.insert(document.to_owned());
        }
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
        Arc::new(
            Site::new(Activation { number, heads, current, kept: vec![], holds: vec![] }).unwrap(),
        )
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn a_connection_goes_on_with_what_it_began_with_until_the_grace_is_over() {
        let (recent, began) = (Recent::default(), Instant::now());
        let (early, late) = (Connection::default(), Connection::default());
        let [first, second] = [site(1), site(2)];
        let read = |connection, document, current, now| {
            recent.in_turn(connection, Some(document), current, now).activation
        };
        assert_eq!(read(&early, "a", &first, began), 1);
        recent.replace(Arc::clone(&first), began);
        assert_eq!((read(&late, "a", &second, began), read(&early, "b", &second, began)), (2, 1));
        let last = began + GRACE.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(read(&early, "c", &second, last), 1);
        assert_eq!(read(&early, "d", &second, began + GRACE), 2);
        assert_eq!(read(&early, "e", &second, last), 2, "nobody goes back");
    }

    #[test]
    fn who_asks_for_a_document_again_gets_what_is_served_now() {
        let (recent, now) = (Recent::default(), Instant::now());
        let connection = Connection::default();
        let [first, second] = [site(1), site(2)];
        let read =
            |document, current| recent.in_turn(&connection, document, current, now).activation;
        assert_eq!((read(Some("a"), &first), read(Some("a"), &first)), (1, 1));
        recent.replace(Arc::clone(&first), now);
        assert_eq!((read(None, &second), read(None, &second)), (1, 1), "a package is no document");
        assert_eq!(read(Some("b"), &second), 1);
        assert_eq!(read(Some("a"), &second), 2);
        assert_eq!(read(Some("b"), &second), 2);
    }

    #[test]
    fn what_is_remembered_of_a_connection_is_bounded() {
        let (recent, connection, site) = (Recent::default(), Connection::default(), site(1));
        for number in 0..=limits::DOCUMENTS_IN_TURN_MAX {
            recent.in_turn(&connection, Some(&number.to_string()), &site, Instant::now());
        }
        assert_eq!(connection.count(), limits::DOCUMENTS_IN_TURN_MAX);
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
