//! The program of child processes: `tabagent-child trial LIBRARY MODEL` tries a model; see [`tabagent_model::run_child`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tabagent_model::run_child(std::env::args_os().skip(1))
}
