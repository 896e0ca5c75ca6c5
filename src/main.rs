//! Calls the library and nothing else.

fn main() {}
