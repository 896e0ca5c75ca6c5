//! Calls the library and nothing else.

#![no_main]

rruntime::entry!(rruntime::cli::run(std::env::args_os(), rruntime::verbs::run));
