//! The `mbox` command: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    mbox::cli::main()
}
