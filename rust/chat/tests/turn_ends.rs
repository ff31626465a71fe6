//! What ends a turn, in every template of the pinned tree.
//!
//! Needs `TABAGENT_LLAMA_CPP_TREE`, which `make test` provides.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use tabagent_chat::ChatTemplate;

/// Templates whose turns end in no tag (`[e~[`, a line break, the next speaker's name), or in one that also stands between content and calls.
const WITHOUT: [&str; 9] = [
    "GigaChat3-10B-A1.8B",
    "MiniMax-M2",
    "MiniMax-M3",
    "NVIDIA-Nemotron-Nano-v2",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "fireworks-ai-llama-3-firefunction-v2",
    "llama-cpp-deepseek-r1",
    "llama-cpp-rwkv-world",
    "upstage-Solar-Open-100B",
];

fn turn_ends() -> BTreeMap<String, Vec<String>> {
    let Some(tree) = tabagent_material::tree() else { return BTreeMap::new() };
    let files = std::fs::read_dir(tree.join("models/templates")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let templates = paths.filter(|path| path.extension().is_some_and(|end| end == "jinja"));
    let ends = templates.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let template = ChatTemplate::new(text, "<BOS>", "<EOS>").unwrap();
        (path.file_stem().unwrap().display().to_string(), template.output_format().turn_ends.clone())
    });
    ends.collect()
}

#[test]
fn turns_end_in_the_markers_of_their_templates() {
    let found = turn_ends();
    if found.is_empty() {
        return;
    }
    let without: Vec<&str> =
        found.iter().filter(|(_, ends)| ends.is_empty()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(without, WITHOUT);
    for (name, end) in [
        ("Qwen-Qwen3-0.6B", "<|im_end|>"),
        ("meta-llama-Llama-3.1-8B-Instruct", "<|eot_id|>"),
        ("mistralai-Mistral-Nemo-Instruct-2407", "<EOS>"),
        ("google-gemma-4-31B-it", "<turn|>"),
        ("microsoft-Phi-3.5-mini-instruct", "<|end|>"),
        ("GLM-4.6", "<|user|>"),
        ("Kimi-K3", "<|end_of_msg|>"),
    ] {
        assert_eq!(found[name], [end], "{name}");
    }
    // Thoughts end in `<|end|>`, and the message goes on.
    assert_eq!(found["openai-gpt-oss-120b"], ["<|return|>", "<|call|>"]);
}
