//! Git LFS: pointer files.
