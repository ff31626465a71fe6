//! A skipped test is seen, although the harness captures what tests print.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Output;

/// Runs the test `needy` of this program in a process of its own.
fn needy_with(variable: &str, value: Option<&str>) -> Output {
    let mut command = tabagent_material::this_program();
    command.args(["--exact", "needy", "--test-threads", "2"]).env("TABAGENT_TEST_NEEDY", "1");
    for name in ["CI", "TABAGENT_TEST_MODELS"] {
        command.env_remove(name);
    }
    if let Some(value) = value {
        command.env(variable, value);
    }
    command.output().unwrap()
}

#[test]
fn needy() {
    if std::env::var_os("TABAGENT_TEST_NEEDY").is_some() {
        let _ = tabagent_material::model("no such model");
    }
}

#[test]
fn skip_names_the_test_and_the_variable() {
    let done = needy_with("", None);
    assert!(done.status.success());
    let expected = "\nskipped: needy: `TABAGENT_TEST_MODELS` is not set; `make test` sets it\n";
    assert_eq!(String::from_utf8(done.stderr).unwrap(), expected);
}

#[test]
fn an_empty_variable_counts_as_none() {
    let done = needy_with("TABAGENT_TEST_MODELS", Some(""));
    assert!(done.status.success());
    assert!(String::from_utf8(done.stderr).unwrap().contains("skipped: needy"));
}

#[test]
fn nothing_is_skipped_in_ci() {
    let done = needy_with("CI", Some("true"));
    assert!(!done.status.success());
    assert!(String::from_utf8(done.stdout).unwrap().contains("CI must set `TABAGENT_TEST_MODELS`"));
}

#[test]
fn a_named_file_must_be_there() {
    let done = needy_with("TABAGENT_TEST_MODELS", Some("/"));
    assert!(!done.status.success());
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(out.contains("`TABAGENT_TEST_MODELS` is set, but `/no such model` does not exist"), "{out}");
}
