//! Each target for some seconds: `TABAGENT_FUZZ_SECONDS`, or 4. `TABAGENT_FUZZ_START` makes other damage.
#![allow(clippy::expect_used, reason = "what fails fails the test")]

use std::path::Path;
use std::time::Duration;

use tabagent_fuzz::{TARGETS, attack};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("there is such a target");
    let time = Duration::from_secs(number("TABAGENT_FUZZ_SECONDS", 4));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match attack(target, scratch, number("TABAGENT_FUZZ_START", 1), time) {
        Ok(count) => assert!(count > 1, "nothing was tried"),
        Err(failure) => panic!(
            "`{name}` does not survive `{}`: {}; mend it, and keep the file among the seeds",
            failure.file.display(),
            failure.what
        ),
    }
}

macro_rules! each {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name));
            }
        )*

        #[test]
        fn no_target_is_left_out() {
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            assert_eq!(names, TARGETS.map(|target| target.name));
        }
    };
}

each! {
    adapter_folder binary chat_output chat_request checkpoint control_vector gguf gguf_beginning imatrix lora options protocol sequence_state session
    template tokenizer tokenizer_json
}
