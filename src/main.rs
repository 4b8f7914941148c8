//! The `vft` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vft::run(std::env::args_os())
}
