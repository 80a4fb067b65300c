//! The migrations are compiled in: a change of one builds the crate anew.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
