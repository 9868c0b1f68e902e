//! Tensors, workspaces, CPU threads: runs what was compiled.
