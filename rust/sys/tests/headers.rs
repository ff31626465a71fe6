//! Compiles the pinned headers and compares every size, offset and enum value that this crate uses.
//!
//! Needs `TABAGENT_LLAMA_CPP_TREE`, the unpacked pinned tree, a C and a C++ compiler (`CC` and `CXX`, or `cc` and `c++`), and Python (`PYO3_PYTHON`,
//! or `python3`). `make test` provides the tree and Python.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;
use tabagent_sys::*;

/// Prints `name value` lines from a C program over the pinned headers.
fn compiled(expressions: &[String]) -> Option<BTreeMap<String, i64>> {
    let tree = tabagent_material::tree()?;
    let dir = tempfile::tempdir().unwrap();
    let mut source = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include \"llama.h\"\n#include \"ggml-backend.h\"\nint main(void) {\n",
    );
    for expression in expressions {
        writeln!(source, "printf(\"%s %lld\\n\", \"{expression}\", (long long) ({expression}));").unwrap();
    }
    source.push_str("return 0; }\n");
    let file = dir.path().join("layout.c");
    std::fs::write(&file, source).unwrap();
    let program = dir.path().join("layout");
    let output = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .arg("-std=c11")
        .args([tree.join("include"), tree.join("ggml/include")].iter().map(|d| format!("-I{}", d.display())))
        .arg(&file)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = Command::new(&program).output().unwrap().stdout;
    let values = String::from_utf8(printed)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    Some(values)
}

fn assert_values(expected: &[(String, i64)]) {
    let Some(values) = compiled(&expected.iter().map(|(e, _)| e.clone()).collect::<Vec<_>>()) else { return };
    assert_eq!(
        values.len(),
        expected.iter().map(|(e, _)| e).collect::<std::collections::BTreeSet<_>>().len()
    );
    for (expression, ours) in expected {
        assert_eq!(values[expression], *ours, "{expression}");
    }
}

/// Sizes, offsets, types, defaults and symbols of the pinned build are those that the tool finds in its tree.
#[test]
fn the_pinned_layout_is_what_the_tool_writes() {
    let Some(tree) = tabagent_material::tree() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let layouts = root.join("rust/sys/src/layouts");
    let layout = AbiLayout::named("llama.cpp 0.5.0").unwrap();
    let (lowest, highest) = layout.versions.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let symbols = std::fs::read_to_string(layouts.join("symbols.txt")).unwrap();
    std::fs::write(dir.path().join("symbols.txt"), &symbols).unwrap();
    let output = Command::new(std::env::var_os("PYO3_PYTHON").unwrap_or_else(|| "python3".into()))
        .arg(root.join("tools/make_layout.py"))
        .args([tree.as_os_str(), dir.path().as_os_str()])
        .args(["--stem", layout.stem, "--name", layout.name, "--versions", lowest, highest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in [&format!("{}.rs", layout.stem), "symbols.txt"] {
        let committed = std::fs::read_to_string(layouts.join(file)).unwrap();
        let made = std::fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(made == committed, "`{file}` is not what `tools/make_layout.py` writes; it writes\n{made}");
    }
}

#[test]
fn our_structs_have_the_sizes_and_offsets_of_the_headers() {
    macro_rules! offsets {
        ($out:ident, $rust:ident, $c:literal, [$($field:ident),*]) => {
            $( $out.push((format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field) as i64)); )*
        };
    }
    let mut expected = vec![
        ("sizeof(struct llama_model_kv_override)".to_owned(), size_of::<llama_model_kv_override>() as i64),
        (
            "offsetof(struct llama_model_kv_override, val_i64)".to_owned(),
            offset_of!(llama_model_kv_override, value) as i64,
        ),
        ("sizeof(struct ggml_threadpool_params)".to_owned(), size_of::<ggml_threadpool_params>() as i64),
        ("sizeof(llama_batch)".to_owned(), offset_of!(llama_batch, legacy) as i64),
    ];
    offsets!(expected, llama_model_kv_override, "struct llama_model_kv_override", [tag, key]);
    expected.push((
        "sizeof(struct llama_model_tensor_buft_override)".to_owned(),
        size_of::<llama_model_tensor_buft_override>() as i64,
    ));
    offsets!(
        expected,
        llama_model_tensor_buft_override,
        "struct llama_model_tensor_buft_override",
        [pattern, buft]
    );
    offsets!(expected, llama_batch, "llama_batch", [n_tokens, token, embd, pos, n_seq_id, seq_id, logits]);
    offsets!(
        expected,
        ggml_threadpool_params,
        "struct ggml_threadpool_params",
        [cpumask, n_threads, prio, poll, strict_cpu, paused]
    );
    assert_values(&expected);
}

#[test]
fn enum_values_are_those_of_the_headers() {
    let families: [(&str, &[(&str, i32)]); 10] = [
        ("LLAMA_VOCAB_TYPE_", llama_vocab_type::ALL),
        ("LLAMA_LOAD_MODE_", llama_load_mode::ALL),
        ("LLAMA_SPLIT_MODE_", llama_split_mode::ALL),
        ("LLAMA_POOLING_TYPE_", llama_pooling_type::ALL),
        ("LLAMA_FLASH_ATTN_TYPE_", llama_flash_attn_type::ALL),
        ("GGML_TYPE_", ggml_type::ALL),
        ("GGML_LOG_LEVEL_", ggml_log_level::ALL),
        ("GGML_BACKEND_DEVICE_TYPE_", ggml_backend_dev_type::ALL),
        ("LLAMA_KV_OVERRIDE_TYPE_", llama_model_kv_override_type::ALL),
        ("GGML_SCHED_PRIO_", &[("NORMAL", 0)]),
    ];
    let expected: Vec<_> = families
        .iter()
        .flat_map(|(prefix, values)| {
            values.iter().map(move |(name, value)| (format!("{prefix}{name}"), i64::from(*value)))
        })
        .collect();
    assert_values(&expected);
}
