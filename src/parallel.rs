//! The crate's own thread pool.
//!
//! Rayon's global pool hangs in a forked child (its threads do not survive the fork), and `DataLoader` workers are
//! forked children. So parallel work runs in a pool of ours that [`reset`] forgets; the Python module calls it after
//! every fork.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

static POOL: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

/// Runs `work` so that rayon's parallel iterators inside of it use this crate's pool.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    pool().install(work)
}

/// Runs many short tasks; with a single thread, on the caller's own, whose caches hold what it has just computed.
pub(crate) fn for_each<T: Send>(tasks: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if tasks.len() < 2 || threads() < 2 {
        tasks.into_iter().for_each(work);
    } else {
        install(|| tasks.into_par_iter().for_each(work));
    }
}

/// Number of threads that parallel work uses.
pub fn threads() -> usize {
    pool().current_num_threads()
}

/// Sets the number of threads that parallel work uses; 0 means one for each available core.
///
/// Results never depend on it.
pub fn set_threads(count: usize) {
    *lock() = Some(build(count));
}

/// Forgets the pool without joining its threads; the next parallel call starts a new one.
///
/// For the child of a fork, where the pool's threads no longer exist.
pub fn reset() {
    if let Some(pool) = lock().take() {
        std::mem::forget(pool);
    }
}

fn pool() -> Arc<ThreadPool> {
    lock().get_or_insert_with(|| build(0)).clone()
}

fn lock() -> std::sync::MutexGuard<'static, Option<Arc<ThreadPool>>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build(count: usize) -> Arc<ThreadPool> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|index| format!("interpix-{index}"))
        .build()
        .expect("the operating system starts threads");
    Arc::new(pool)
}
