//! Who runs the points of a grid: a pool of threads that the host program can replace.

/// Runs a function for many indices, on as many threads as it has.
pub trait ThreadPool: Sync {
    /// How many calls may run at the same time: each is told a worker number below this, which no other call at that time
    /// has.
    fn workers(&self) -> usize;

    /// Calls `f(index, worker)` for every `index` below `count`, and returns when all are done. Indices are started in
    /// order, as far as possible: earlier ones are longer.
    fn run(&self, count: usize, f: &(dyn Fn(usize, usize) + Sync));
}

/// The current rayon pool (the global one, or the one that the caller has installed).
#[derive(Clone, Copy, Default, Debug)]
pub struct Rayon;

impl ThreadPool for Rayon {
    fn workers(&self) -> usize {
        rayon::current_num_threads()
    }

    fn run(&self, count: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        let workers = self.workers().min(count);
        if workers <= 1 {
            (0..count).for_each(|index| f(index, 0));
            return;
        }
        let next = std::sync::atomic::AtomicUsize::new(0);
        rayon::scope(|scope| {
            for worker in 0..workers {
                let next = &next;
                scope.spawn(move |_| {
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if index >= count {
                            break;
                        }
                        f(index, worker);
                    }
                });
            }
        });
    }
}

/// The calling thread alone.
#[derive(Clone, Copy, Default, Debug)]
pub struct Serial;

impl ThreadPool for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, count: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        (0..count).for_each(|index| f(index, 0));
    }
}
