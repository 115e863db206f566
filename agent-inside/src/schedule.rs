//! Does work on all cores in an order: a piece begins when those that it builds on are done.
//!
//! What a piece does is the caller's.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, PoisonError},
};

/// How one piece of work ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Done,
    /// What builds on it is not begun.
    Failed,
}

/// Runs `work` for every piece; `before` lists, for each, the earlier pieces that it builds on.
///
/// The first piece that can begin is taken first. A piece whose ground failed is not begun.
///
/// # Errors
///
/// The first error of `work`: no further piece is begun.
pub fn run<S, E: Send>(
    before: &[Vec<usize>],
    threads: usize,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<Ended, E> + Sync,
) -> Result<(), E> {
    let board = Board::new(before);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, before.len().max(1)) {
            scope.spawn(|| {
                let mut own = start();
                while let Some(piece) = board.next() {
                    let mut running = Running { board: &board, piece, ended: None };
                    running.ended = Some(work(&mut own, piece));
                }
            });
        }
    });
    let state = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}

/// A piece at work, which counts as failed when the work panics: others would wait for ever.
struct Running<'a, E> {
    board: &'a Board<E>,
    piece: usize,
    ended: Option<Result<Ended, E>>,
}

impl<E> Drop for Running<'_, E> {
    fn drop(&mut self) {
        self.board.ended(self.piece, self.ended.take().unwrap_or(Ok(Ended::Failed)));
    }
}

struct State<E> {
    /// Pieces that can begin.
    ready: BTreeSet<usize>,
    /// For each piece how many of those that it builds on are not done; one that failed never is.
    lacking: Vec<usize>,
    running: usize,
    error: Option<E>,
}

struct Board<E> {
    /// For each piece those that build on it.
    after: Vec<Vec<usize>>,
    state: Mutex<State<E>>,
    changed: Condvar,
}

impl<E> Board<E> {
    fn new(before: &[Vec<usize>]) -> Self {
        let mut after = vec![vec![]; before.len()];
        for (piece, before) in before.iter().enumerate() {
            before.iter().for_each(|&earlier| after[earlier].push(piece));
        }
        let lacking: Vec<usize> = before.iter().map(Vec::len).collect();
        let ready = (0..before.len()).filter(|&piece| lacking[piece] == 0).collect();
        let state = State { ready, lacking, running: 0, error: None };
        Self { after, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next piece that can begin; waits for one, and gives none when all are begun.
    fn next(&self) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(piece) = state.ready.pop_first() {
                state.running += 1;
                return Some(piece);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ended(&self, piece: usize, ended: Result<Ended, E>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.running -= 1;
        match ended {
            Ok(Ended::Done) => {
                for &after in &self.after[piece] {
                    state.lacking[after] -= 1;
                    if state.lacking[after] == 0 {
                        state.ready.insert(after);
                    }
                }
            }
            Ok(Ended::Failed) => {}
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces in the order in which they ended.
    fn order(
        before: &[Vec<usize>],
        threads: usize,
        ended: impl Fn(usize) -> Result<Ended, &'static str> + Sync,
    ) -> (Vec<usize>, Result<(), &'static str>) {
        let order = Mutex::new(vec![]);
        let result = run(
            before,
            threads,
            || (),
            |(), piece| {
                let ended = ended(piece)?;
                order.lock().unwrap().push(piece);
                Ok(ended)
            },
        );
        (order.into_inner().unwrap(), result)
    }

    #[test]
    fn nothing_begins_before_what_it_builds_on() {
        let before = [vec![], vec![0], vec![], vec![1, 2], vec![3]];
        for threads in [1, 2, 8] {
            let (order, result) = order(&before, threads, |_| Ok(Ended::Done));
            assert_eq!(result, Ok(()));
            let at = |piece| order.iter().position(|p| *p == piece).unwrap();
            assert!(at(0) < at(1) && at(1) < at(3) && at(2) < at(3) && at(3) < at(4), "{order:?}");
        }
    }

    #[test]
    fn a_long_list_takes_no_time_of_its_own() {
        let before: Vec<Vec<usize>> =
            (0..200_000_usize).map(|n| n.checked_sub(1).into_iter().collect()).collect();
        let (order, result) = order(&before, 2, |_| Ok(Ended::Done));
        assert_eq!((order.len(), result), (200_000, Ok(())));
        assert!(order.is_sorted());
    }

    #[test]
    fn what_builds_on_a_failure_is_not_begun_and_the_rest_is() {
        let before = [vec![], vec![0], vec![1], vec![]];
        let failing = |piece| Ok(if piece == 0 { Ended::Failed } else { Ended::Done });
        let (order, result) = order(&before, 2, failing);
        assert_eq!(result, Ok(()));
        let mut order = order;
        order.sort_unstable();
        assert_eq!(order, [0, 3]);
    }

    #[test]
    fn a_panic_ends_the_work_and_nobody_waits_for_ever() {
        let before = [vec![], vec![0], vec![]];
        let panicked = std::panic::catch_unwind(|| {
            order(&before, 2, |piece| if piece == 0 { panic!("meant") } else { Ok(Ended::Done) })
        });
        assert!(panicked.is_err(), "the panic is passed on");
    }

    #[test]
    fn an_error_ends_the_work() {
        let before = [vec![], vec![], vec![1]];
        let (order, result) = order(&before, 1, |piece| match piece {
            1 => Err("disk full"),
            _ => Ok(Ended::Done),
        });
        assert_eq!((order, result), (vec![0], Err("disk full")));
        assert_eq!(run(&[], 2, || (), |(), _| Ok::<_, ()>(Ended::Done)), Ok(()));
    }
}
