//! The chart as an operator meets it: real Helm renders it, refuses what is wrong, and every part understands the
//! configuration it is given. No cluster runs here; `e2e/cluster` is for that.

#![expect(
    clippy::indexing_slicing,
    reason = "an object without what a test looks for is null and fails the test"
)]

mod chart {
    mod contract;
    mod documents;
    mod golden;
    mod helm;
    mod identity;
    mod refusals;
    mod restricted;
    mod rights;
    mod understood;
    mod versions;
}
