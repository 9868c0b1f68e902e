//! Memory for workspaces: aligned, zero at first, kept for the next call.

#![allow(unsafe_code, reason = "aligned memory comes from the global allocator directly")]

use crate::error::RunError;
use dmac_codegen_cranelift::layout::ALIGNMENT;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// A block of memory, aligned to [`ALIGNMENT`].
pub(crate) struct Workspace {
    start: *mut u64,
    layout: Layout,
}

// SAFETY: the block is owned and has no other user.
unsafe impl Send for Workspace {}
// SAFETY: shared access only reads the address.
unsafe impl Sync for Workspace {}

impl Workspace {
    /// At least `bytes` bytes.
    pub fn new(bytes: usize) -> Result<Self, RunError> {
        let out_of_memory = || RunError::OutOfMemory { bytes };
        let layout = Layout::from_size_align(bytes.max(ALIGNMENT), ALIGNMENT).map_err(|_| out_of_memory())?;
        #[allow(clippy::cast_ptr_alignment, reason = "the layout is aligned to more than a word")]
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) }.cast::<u64>();
        if start.is_null() { Err(out_of_memory()) } else { Ok(Self { start, layout }) }
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Where it begins.
    pub fn start(&self) -> *mut u64 {
        self.start
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.start.cast(), self.layout) }
    }
}
