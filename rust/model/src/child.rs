//! What the program of child processes does.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::{isolation, probe, rpc_server, trial};

/// Does what the arguments of the program `tabagent-child` ask for.
///
/// `trial LIBRARY MODEL` tries a model: the options of the load come as a line of JSON on standard input, llama.cpp's log goes to stderr, and what
/// came of it to stdout. `library LIBRARY` tries a library with the CPU module that such a line names, and `gpus LIBRARY` tells what GPUs there are for the
/// backends that it names. `rpc-server LIBRARY` offers devices to other machines. `serve` has a model for a parent, which asks on a socket that is the standard input. In all the process ends when its
/// standard input does, as it does with its parent.
#[doc(hidden)]
pub fn run_child(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    match arguments.as_slice() {
        [task, library, model] if task == "trial" => trial::attempt(library, model),
        [task, library] if task == "gpus" => probe::find_gpus(library),
        [task, library] if task == "library" => probe::prove_library(library),
        [task, library] if task == "rpc-server" => rpc_server::serve(library),
        [task] if task == "serve" => isolation::serve(),
        _ => {
            let _ = writeln!(
                io::stderr(),
                "tabagent starts this program for itself: `tabagent-child trial LIBRARY MODEL`, `tabagent-child library LIBRARY`, `tabagent-child gpus LIBRARY`, `tabagent-child rpc-server LIBRARY`, or `tabagent-child serve`"
            );
            ExitCode::from(2)
        }
    }
}
