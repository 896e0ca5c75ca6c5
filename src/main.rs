//! Calls the library and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rruntime::cli::run(std::env::args_os(), rruntime::verbs::run))
}
