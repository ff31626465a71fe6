//! The program of child processes, which try models and have them; see [`tabagent_model::run_child`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tabagent_model::run_child(std::env::args_os().skip(1))
}
