//! Calls on a GPU.
//!
//! Input → output: tensors' bytes and launches → results and times. Outputs and workspaces are allocated before anything
//! runs; a run allocates nothing and is captured into a graph where it is timed.

#![allow(unsafe_code, reason = "kernels are launched; each launch states what makes it sound")]

use super::{Executor, cannot_launch, device_error};
use dmac_codegen_ptx::{Launch, PtxProgram};
use dmac_cuda::{Buffer, Device, Error, Kernels};
use dmac_runtime::{Bound, RunError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A kernel that takes longer is taken for stuck.
const LIMIT: Duration = Duration::from_mins(2);

/// Device memory of a call.
pub(super) struct OnCuda {
    device: Arc<Device>,
    kernels: Arc<Kernels>,
    program: Arc<PtxProgram>,
    /// By address.
    buffers: BTreeMap<u64, Buffer>,
}

impl OnCuda {
    pub fn new(device: Arc<Device>, kernels: Arc<Kernels>, program: Arc<PtxProgram>) -> Self {
        Self { device, kernels, program, buffers: BTreeMap::new() }
    }

    fn keep(&mut self, buffer: Buffer) -> u64 {
        let address = buffer.address();
        self.buffers.insert(address, buffer);
        address
    }

    /// After a fault or a timeout memory cannot be freed without waiting for ever, so it is left to the process's end.
    fn abandon(&mut self, error: &Error) -> RunError {
        if matches!(error, Error::Timeout { .. } | Error::Driver { .. }) {
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
        device_error(error)
    }

    fn launch_all(&self, launches: &[Launch]) -> Result<Vec<(String, Duration)>, Error> {
        let prepared = self.kernels.prepare(launches)?;
        let mut timings = Vec::new();
        for (at, launch) in launches.iter().enumerate() {
            // SAFETY: the launches were computed from the places of this call's buffers, which this struct holds, and
            // the program's sizes; kernels stay inside the tensors that these describe.
            let milliseconds =
                self.device.milliseconds(|| unsafe { prepared.launch_one(&self.device, at) }, LIMIT)?;
            timings.push((
                self.program.entries[launch.entry].name.clone(),
                Duration::from_secs_f64(milliseconds / 1e3),
            ));
        }
        Ok(timings)
    }

    fn time_groups(&self, launches: &[Launch], groups: usize, runs: usize) -> Result<Vec<f64>, Error> {
        let prepared = self.kernels.prepare(launches)?;
        if prepared.is_empty() {
            return Ok(vec![0.0; groups]);
        }
        let graph = self.device.capture(|| {
            (0..runs).try_for_each(|_| {
                // SAFETY: as in `launch_all`.
                unsafe { prepared.launch(&self.device) }
            })
        })?;
        let once = || {
            // SAFETY: the buffers live longer than the graph, and each launch of it is waited for.
            self.device.milliseconds(|| unsafe { graph.launch() }, LIMIT)
        };
        once()?;
        (0..groups).map(|_| Ok(once()? / 1e3 / runs as f64)).collect()
    }
}

impl Executor for OnCuda {
    fn upload(&mut self, bytes: &[u8]) -> Result<u64, RunError> {
        let mut buffer = self.device.allocate(bytes.len()).map_err(|error| device_error(&error))?;
        if !bytes.is_empty() {
            buffer.write(&self.device, bytes).map_err(|error| device_error(&error))?;
        }
        Ok(self.keep(buffer))
    }

    fn workspaces(&mut self, program: &PtxProgram, bound: &Bound<'_>) -> Result<Vec<Option<u64>>, RunError> {
        let spaces = program.workspaces(&bound.sizes, &bound.params).map_err(cannot_launch)?;
        let start = self.allocate(spaces.bytes as usize)?;
        Ok(spaces.offsets.into_iter().map(|offset| offset.map(|offset| start + offset)).collect())
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, RunError> {
        let buffer = self.device.allocate(bytes).map_err(|error| device_error(&error))?;
        Ok(self.keep(buffer))
    }

    fn fill(&mut self, address: u64, word: u32, count: usize) -> Result<(), RunError> {
        // SAFETY: the words are those of a tensor that was placed in a buffer of this call.
        unsafe { self.device.fill_words(address, word, count) }.map_err(|error| device_error(&error))
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Vec<(String, Duration)>, RunError> {
        self.launch_all(launches).map_err(|error| self.abandon(&error))
    }

    fn seconds(
        &mut self,
        launches: &[Launch],
        groups: usize,
        runs: usize,
    ) -> Result<Option<Vec<f64>>, RunError> {
        self.time_groups(launches, groups, runs).map(Some).map_err(|error| self.abandon(&error))
    }

    fn download(&self, address: u64, bytes: usize) -> Result<Vec<u8>, RunError> {
        let (start, buffer) =
            self.buffers.range(..=address).next_back().expect("a placed tensor is in a buffer");
        let offset = (address - start) as usize;
        buffer.download_range(&self.device, offset..offset + bytes).map_err(|error| device_error(&error))
    }
}
