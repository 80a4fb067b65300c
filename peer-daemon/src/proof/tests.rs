//! Who is proved, by what, and at which price.
