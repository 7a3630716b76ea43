//! The crate's own thread pool.
//!
//! Rayon's global pool hangs in a forked child (its threads do not survive the fork), and `DataLoader` workers are
//! forked children. So parallel work runs in a pool of ours that [`reset`] forgets; the Python module calls it after
//! every fork. A lock that another thread held at the fork stays locked in the child forever, so that each process has
//! its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Whether to stop: asked often, from any thread.
///
/// ```
/// use interpix::{Error, color::lab_from_srgb, parallel::Interrupted};
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// let stop = AtomicBool::new(true); // somebody has pressed a button
/// let interrupted: &Interrupted<'_> = &|| stop.load(Ordering::Relaxed);
/// let photo = ndarray::Array3::from_elem((2, 3, 3), 255_u8);
/// assert!(matches!(lab_from_srgb(photo.view(), interrupted), Err(Error::Interrupted)));
/// stop.store(false, Ordering::Relaxed);
/// assert!(lab_from_srgb(photo.view(), interrupted).is_ok());
/// ```
pub type Interrupted<'a> = dyn Fn() -> bool + Sync + 'a;

/// A process' pool, and after it that of its forked child.
struct Slot {
    pool: Mutex<Option<Arc<ThreadPool>>>,
    next: OnceLock<Box<Slot>>,
}

impl Slot {
    const fn new() -> Self {
        Self { pool: Mutex::new(None), next: OnceLock::new() }
    }
}

static FIRST: Slot = Slot::new();
/// How many forks lie between the first process and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Runs `work` so that rayon's parallel iterators inside of it use this crate's pool.
///
/// ```
/// use interpix::parallel;
/// use rayon::prelude::*;
///
/// parallel::set_threads(2);
/// let work = || (rayon::current_num_threads(), (1..=100).into_par_iter().sum::<u32>());
/// assert_eq!(parallel::install(work), (2, 5050));
/// parallel::set_threads(0);
/// ```
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
///
/// ```
/// use interpix::parallel;
///
/// // A share of the work for each of them.
/// parallel::set_threads(3);
/// assert_eq!(10_usize.div_ceil(parallel::threads()), 4);
/// parallel::set_threads(0);
/// ```
pub fn threads() -> usize {
    pool().current_num_threads()
}

/// The same hook, which stays true once it has been: where a thread has left its work undone, all must stop.
pub(crate) fn lasting(interrupted: &Interrupted<'_>) -> impl Fn() -> bool + Sync {
    let stopped = AtomicBool::new(false);
    move || {
        let stop = stopped.load(Ordering::Relaxed) || interrupted();
        if stop {
            stopped.store(true, Ordering::Relaxed);
        }
        stop
    }
}

/// [`Error::Interrupted`] if it is time to stop.
pub(crate) fn stop_if(interrupted: &Interrupted<'_>) -> Result<()> {
    if interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Sets the number of threads that parallel work uses; 0 means one for each available core.
///
/// Results never depend on it.
///
/// ```
/// use interpix::{color::lab_from_srgb, parallel};
///
/// let photo = ndarray::Array3::from_shape_fn((5, 4, 3), |(y, x, channel)| (40 * y + 20 * x + channel) as u8);
/// let [alone, together] = [1, 4].map(|count| {
///     parallel::set_threads(count);
///     lab_from_srgb(photo.view(), &|| false)
/// });
/// assert_eq!(alone?, together?); // to the last bit
/// parallel::set_threads(0);
/// # Ok::<(), interpix::Error>(())
/// ```
pub fn set_threads(count: usize) {
    *lock() = Some(build(count));
}

/// Forgets the pool without joining its threads; the next parallel call starts a new one.
///
/// For the child of a fork, where the pool's threads no longer exist, before it starts other threads.
///
/// ```
/// use interpix::parallel;
///
/// parallel::set_threads(1);
/// let worker = || parallel::install(|| std::thread::current().id());
/// let old = worker();
/// assert_eq!(worker(), old);
/// parallel::reset();
/// assert_ne!(worker(), old);
/// ```
pub fn reset() {
    // Made here, where there is one thread only, so that no fork comes upon a slot that is half made.
    slot().next.get_or_init(|| Box::new(Slot::new()));
    FORKS.fetch_add(1, Ordering::Release);
}

fn slot() -> &'static Slot {
    let forks = FORKS.load(Ordering::Acquire);
    (0..forks).fold(&FIRST, |slot, _| slot.next.get().expect("`reset` made one for each fork"))
}

fn pool() -> Arc<ThreadPool> {
    lock().get_or_insert_with(|| build(0)).clone()
}

fn lock() -> std::sync::MutexGuard<'static, Option<Arc<ThreadPool>>> {
    slot().pool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build(count: usize) -> Arc<ThreadPool> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|index| format!("interpix-{index}"))
        .build()
        .expect("the operating system starts threads");
    Arc::new(pool)
}
