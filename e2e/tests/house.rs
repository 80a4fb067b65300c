//! Everything that looks at the house from outside, as one program: one thing to link, one pool to run in.
//! `stock_git` is about the test origin alone; `tidy` about the sources; all others run real processes.

mod house {
    mod attacks;
    mod bad_input;
    mod contract;
    mod full_disk;
    mod moving_names;
    mod mtls;
    mod operator;
    mod printed_lines;
    mod promise_disk;
    mod promise_failure;
    mod promise_integrity;
    mod promise_proof;
    mod real_git;
    mod sixteen_clones;
    mod stock_git;
    mod tidy;
    mod traces;
}
