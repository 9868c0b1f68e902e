//! As many threads as the command line asks for.

use crate::terminal::Failure;
use dmac::runtime::{Rayon, Serial, ThreadPool};

/// The calling thread, all threads, or a pool of its own.
pub enum Threads {
    Serial,
    All,
    Pool(rayon::ThreadPool),
}

impl Threads {
    /// `None`: all.
    pub fn new(threads: Option<usize>) -> Result<Self, Failure> {
        match threads {
            None => Ok(Self::All),
            Some(0) => Err(Failure::usage("at least one thread is needed")),
            Some(1) => Ok(Self::Serial),
            Some(threads) => rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .map(Self::Pool)
                .map_err(|error| Failure::io(format!("cannot start {threads} threads: {error}"))),
        }
    }
}

impl ThreadPool for Threads {
    fn workers(&self) -> usize {
        match self {
            Self::Serial => Serial.workers(),
            Self::All => Rayon.workers(),
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    fn run(&self, count: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        match self {
            Self::Serial => Serial.run(count, f),
            Self::All => Rayon.run(count, f),
            Self::Pool(pool) => pool.install(|| Rayon.run(count, f)),
        }
    }
}
