//! The house seen from outside: a forge that counts what it is asked, clusters of real processes, real git, and the
//! rules of the house itself. Nothing of this is ever part of a service.

pub mod apart;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod crowd;
pub mod http;
pub mod lfs;
pub mod liar;
pub mod names;
pub mod operator;
pub mod origin;
pub mod scene;
pub mod wait;
