//! Git LFS: Batch API JSON (and the v0.5 shapes).
