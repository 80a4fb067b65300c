//! Which git configuration sends a client through Darner's gateway, and what is known of the forges behind it.
//!
//! Owns: the settings and why each is there, once for everybody who hands them out (the command line prints them, the
//! manager's webhook puts them into pods). Never: writes or prints them.

pub mod lines;
pub mod provider;
