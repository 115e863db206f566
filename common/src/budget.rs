//! A budget of memory: work waits until what it will need is free.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes for all work together.
#[derive(Debug)]
pub struct Budget {
    total_bytes: u64,
    free_bytes: Mutex<u64>,
    freed: Condvar,
}

/// A share of a budget, given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    len_bytes: u64,
}

impl Budget {
    pub const fn new(total_bytes: u64) -> Self {
        Self { total_bytes, free_bytes: Mutex::new(total_bytes), freed: Condvar::new() }
    }

    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Waits for `len_bytes`; what needs more than there is gets all of it, alone.
    ///
    /// Whoever holds a share never takes a second one, so nobody waits for ever.
    pub fn take(&self, len_bytes: u64) -> Share<'_> {
        let len_bytes = len_bytes.min(self.total_bytes);
        let free = self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.freed.wait_while(free, |free| *free < len_bytes);
        *free.unwrap_or_else(PoisonError::into_inner) -= len_bytes;
        Share { budget: self, len_bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let free = self.budget.free_bytes.lock();
        *free.unwrap_or_else(PoisonError::into_inner) += self.len_bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn work_never_has_more_than_the_budget_and_what_needs_more_runs_alone() {
        let budget = Budget::new(10);
        let (now, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for need in [3, 4, 5, 6, 99, 2, 8] {
                let (budget, now, peak) = (&budget, &now, &peak);
                scope.spawn(move || {
                    let share = budget.take(need);
                    peak.fetch_max(
                        now.fetch_add(share.len_bytes, Ordering::SeqCst) + share.len_bytes,
                        Ordering::SeqCst,
                    );
                    std::thread::yield_now();
                    now.fetch_sub(share.len_bytes, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(peak.into_inner(), 10, "the one that asked for 99 had all of it");
        assert_eq!(*budget.free_bytes.lock().unwrap(), 10);
    }
}
