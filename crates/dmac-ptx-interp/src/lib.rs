//! Executes and sanitizes PTX text without a GPU.
