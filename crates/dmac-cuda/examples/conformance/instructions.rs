//! The interpreter's instruction tests, on both machines.
//!
//! Input → output: `conformance::cases()` → a test each. Both results are held against values computed independently, within
//! the case's bound; what is no output must have the same bits in both.

use crate::Outcome;
use crate::job::{Gpu, Job, JobArg};
use crate::kernels::Test;
use dmac_cuda::Error;
use dmac_ptx_interp::conformance::{Case, CaseArg, cases};

/// Every case as a test, with its name.
pub fn tests() -> Vec<(String, Test)> {
    cases()
        .into_iter()
        .map(|case| (case.name.clone(), Box::new(move |gpu: &Gpu| compare(&case, gpu)) as Test))
        .collect()
}

fn compare(case: &Case, gpu: &Gpu) -> Result<Outcome, Error> {
    if !gpu.has(case.target) {
        return Ok(Outcome::Skipped);
    }
    let job = Job {
        ptx: case.ptx.clone(),
        entry: "t".to_owned(),
        grid: [case.grid, 1, 1],
        threads: case.threads,
        cluster: case.cluster,
        smem: case.smem,
        buffers: case.buffers.iter().map(|b| b.bytes.clone()).collect(),
        args: case
            .args
            .iter()
            .map(|a| match a {
                CaseArg::Buffer(i) => JobArg::Buffer(*i),
                CaseArg::U32(v) => JobArg::U32(*v),
                CaseArg::TensorMap(i, map) => JobArg::Map(*i, map.clone()),
            })
            .collect(),
    };
    // The interpreter goes first: a kernel that leaves its buffers must not reach the GPU.
    let interpreted = match job.interpret() {
        Ok(after) => after,
        Err(message) => return Ok(Outcome::Differ(message)),
    };
    let (got, _) = job.run(gpu)?;
    if let Err(message) = case.compare(&interpreted) {
        return Ok(Outcome::Differ(format!("the interpreter: {message}")));
    }
    if let Err(message) = case.compare(&got) {
        return Ok(Outcome::Differ(format!("the GPU: {message}")));
    }
    for (i, buffer) in case.buffers.iter().enumerate() {
        if buffer.expected.is_none() && got[i] != interpreted[i] {
            return Ok(Outcome::Differ(format!("buffer {i}, an input, is not the same after both")));
        }
    }
    let bits = if got == interpreted { "the same bits" } else { "within the bound" };
    Ok(Outcome::Agree(bits.to_owned()))
}
