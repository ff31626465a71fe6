//! What is attacked.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tabagent_chat::format::{OutputParser, ToolTypes};
use tabagent_chat::{ChatTemplate, Conversation, Message, ToolCall, ToolDefinition};
use tabagent_gguf::{
    ControlVectorFile, ConvertOptions, GgmlType, GgufFile, GgufModel, Imatrix, LoadableAdapter, check_model,
    convert, convert_adapter, no_progress,
};
use tabagent_model::{MemoryKind, SessionError, SessionFile, StateShape};
use tabagent_tokenizer::Tokenizer;

/// A parser, as a function of bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of the folder of its seeds.
    pub name: &'static str,
    /// Reads bytes, and lets errors be.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 17] = [
    Target { name: "adapter_folder", run: adapter_folder },
    Target { name: "binary", run: binary },
    Target { name: "chat_output", run: chat_output },
    Target { name: "chat_request", run: chat_request },
    Target { name: "checkpoint", run: checkpoint },
    Target { name: "control_vector", run: control_vector },
    Target { name: "gguf", run: gguf },
    Target { name: "gguf_beginning", run: gguf_beginning },
    Target { name: "imatrix", run: imatrix },
    Target { name: "lora", run: lora },
    Target { name: "options", run: options },
    Target { name: "protocol", run: protocol },
    Target { name: "sequence_state", run: sequence_state },
    Target { name: "session", run: session },
    Target { name: "template", run: template },
    Target { name: "tokenizer", run: tokenizer },
    Target { name: "tokenizer_json", run: tokenizer_json },
];

/// What stands between the files of a folder in an input: the name of the next one follows, up to the end of the line.
const FILE: &str = "\n@@@ ";

/// Writes the files that an input has, and no others: none leaves the folder.
fn write_folder(input: &[u8], folder: &Path, allowed: &[&str]) {
    let mut rest = input;
    while let Some(at) = find(rest, FILE.as_bytes()) {
        let (name, body) = line(&rest[at + FILE.len()..]);
        let end = find(body, FILE.as_bytes()).unwrap_or(body.len());
        if let Some(name) = allowed.iter().find(|allowed| allowed.as_bytes() == name) {
            // A test that cannot write finds nothing wrong, and says so by its count.
            let _ = std::fs::write(folder.join(name), &body[..end]);
        }
        rest = &body[end..];
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Lets `work` have a folder.
fn in_folder(work: impl FnOnce(&Path)) {
    if let Ok(folder) = tempfile::tempdir() {
        work(folder.path());
    }
}

/// Lets `work` have the input as a file.
fn as_file(input: &[u8], name: &str, work: impl FnOnce(&Path)) {
    in_folder(|folder| {
        let file = folder.join(name);
        if std::fs::write(&file, input).is_ok() {
            work(&file);
        }
    });
}

fn look_through(file: &GgufFile) {
    for (key, value) in file.metadata().iter() {
        let text = value.to_string();
        assert!(key.len() + text.len() < usize::MAX);
    }
    for tensor in file.tensors() {
        if !file.is_header_only() {
            let data = file.tensor_data(tensor);
            assert!(data.len() as u64 <= file.file_size());
        }
    }
}

fn gguf(input: &[u8]) {
    let Ok(file) = GgufFile::from_bytes(input.to_vec()) else { return };
    look_through(&file);
    let _ = check_model(&file);
}

fn tokenizer(input: &[u8]) {
    let Ok(file) = GgufFile::from_bytes(input.to_vec()) else { return };
    tokenize_with(file.metadata());
}

fn tokenizer_json(input: &[u8]) {
    as_file(input, "tokenizer.json", |file| {
        let Ok(bytes) = tabagent_gguf::tokenizer_metadata(file) else { return };
        tokenize_with(GgufFile::from_bytes(bytes).expect("it was just written").metadata());
    });
}

/// Tokenizes some texts with whatever tokenizer there is, and back.
fn tokenize_with(metadata: &tabagent_gguf::Metadata) {
    let Ok(tokenizer) = Tokenizer::from_metadata(metadata) else { return };
    let text = " Hello, hello ab a<s>b\n\n123 \u{e9}\u{301}\u{65e5}\u{1f600} ▁\0".repeat(40);
    for (add_special, parse_special) in [(true, true), (false, false)] {
        // A table that does not fit a text is an error.
        let Ok(encoding) = tokenizer.encode(&text, add_special, parse_special) else { return };
        assert!(encoding.spans.iter().all(|span| span.start <= span.end && span.end <= text.len()));
        tokenizer.detokenize(&encoding.tokens, true, true).expect("they are its own tokens");
    }
    for token in 0..tokenizer.len().min(1000) as i32 {
        tokenizer.token_bytes(token, true).expect("it exists");
    }
}

fn gguf_beginning(input: &[u8]) {
    // The first bytes say how long the file is said to be.
    let Some((size, beginning)) = input.split_at_checked(8) else { return };
    let size = size.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    if let Ok(tabagent_gguf::Header::Complete(file)) =
        GgufFile::from_beginning(beginning.to_vec(), size, "remote.gguf")
    {
        look_through(&file);
    }
}

fn imatrix(input: &[u8]) {
    let Ok(imatrix) = Imatrix::from_bytes(input.to_vec()) else { return };
    let n: usize = imatrix.iter().map(|(name, values)| name.len() + values.len()).sum();
    assert!(n <= 2 * input.len());
}

fn control_vector(input: &[u8]) {
    as_file(input, "v.gguf", |file| drop(ControlVectorFile::open(file)));
}

/// An adapter as a GGUF file, for the model of the first seed of `gguf`.
fn lora(input: &[u8]) {
    static MODEL: &[u8] = include_bytes!("../seeds/gguf/tiny-llama");
    in_folder(|folder| {
        let (model, adapter) = (folder.join("model.gguf"), folder.join("adapter.gguf"));
        if std::fs::write(&model, MODEL).and_then(|()| std::fs::write(&adapter, input)).is_err() {
            return;
        }
        if let Ok(model) = GgufModel::open(&model) {
            let _ = LoadableAdapter::open(&adapter, &model);
        }
    });
}

/// The folder of an adapter, and the `config.json` of its model.
fn adapter_folder(input: &[u8]) {
    in_folder(|folder| {
        write_folder(input, folder, &["adapter_config.json", "adapter_model.safetensors", "config.json"]);
        let out = folder.join("out.gguf");
        let _ = convert_adapter(folder, Some(folder), &out, GgmlType::F32, &no_progress);
    });
}

/// The folder of a model as its makers publish it.
fn checkpoint(input: &[u8]) {
    let names = [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
        "README.md",
    ];
    in_folder(|folder| {
        write_folder(input, folder, &names);
        let _ = convert(folder, &folder.join("out.gguf"), &ConvertOptions::default(), &no_progress);
    });
}

fn conversation() -> Conversation {
    let call = ToolCall::new(Some("1"), "f", json!({"a": 1, "s": "x"}));
    let messages = [
        json!({"role": "system", "content": "s"}),
        json!({"role": "user", "content": "a <b> \u{1f642}"}),
        json!({"role": "assistant", "content": "", "tool_calls": [call.fields()]}),
        json!({"role": "tool", "content": "2", "tool_call_id": "1"}),
    ];
    let messages = messages.into_iter().filter_map(|message| Message::from_json(message).ok()).collect();
    Conversation::new(messages).with_tools(tools()).with_generation_prompt(true)
}

fn tools() -> Vec<ToolDefinition> {
    let parameters =
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "s": {"type": "string"}}});
    vec![ToolDefinition::new("f", "does f", parameters)]
}

/// A chat template: compiled, rendered, and its way of writing calls found out.
fn template(input: &[u8]) {
    let Ok(template) = ChatTemplate::new(String::from_utf8_lossy(input), "<s>", "</s>") else { return };
    let _ = template.render(&conversation());
    let _ = template.capabilities();
    let _ = template.parse("<tool_call>{\"name\": \"f\"}</tool_call>", Some(&tools()), true);
}

/// A template, and after a mark what a model writes, which comes in pieces.
fn chat_output(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some((template, text)) = text.split_once(FILE) else { return };
    let Ok(template) = ChatTemplate::new(template, "<s>", "</s>") else { return };
    let definitions: Vec<Value> = tools().iter().map(|tool| Value::Object(tool.fields().clone())).collect();
    let whole = template.parse(text, Some(&tools()), false);
    let mut parser = OutputParser::new(template.output_format(), ToolTypes::new(Some(&definitions)), false);
    let mut rest = text;
    let mut width = 1;
    while !rest.is_empty() {
        let at = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let (piece, more) = rest.split_at(at);
        drop(parser.feed(piece));
        (rest, width) = (more, width % 7 + 1);
    }
    drop(parser.finish());
    assert_eq!(parser.message().tool_calls.len(), whole.tool_calls.len(), "in pieces as at once");
}

/// Messages and tools as a client sends them.
fn chat_request(input: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(input) else { return };
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let messages: Vec<Message> =
        list("messages").into_iter().filter_map(|message| Message::from_json(message).ok()).collect();
    let tools: Vec<ToolDefinition> =
        list("tools").into_iter().filter_map(|tool| ToolDefinition::from_json(tool).ok()).collect();
    let conversation = Conversation::new(messages).with_tools(tools);
    for name in ChatTemplate::names().take(4) {
        if let Ok(template) = ChatTemplate::named(name, "<s>", "</s>") {
            let _ = template.render(&conversation);
        }
    }
}

/// A shared library of any platform.
fn binary(input: &[u8]) {
    as_file(input, "libllama.so", |file| drop(tabagent_sys::inspect(file)));
}

/// What the processes of a model say to each other.
fn protocol(input: &[u8]) {
    tabagent_model::read_messages(input);
}

/// Options of requests and loads, as JSON.
fn options(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    let _ = tabagent_model::LoadOptions::read(value.clone().into());
    let _ = tabagent_model::GenerateOptions::read(value.clone().into());
    let _ = tabagent_model::SamplerSettings::read(value.clone().into());
    let _ = tabagent_model::GrammarRequest::read(value.into());
}

/// The file of a saved session. Its digest is made right, as anybody can make it, so that damage gets past it.
fn session(input: &[u8]) {
    /// Where the digest is, and what it is of.
    const DIGEST: std::ops::Range<usize> = 12..44;
    let mut bytes = input.to_vec();
    if let Some((head, rest)) = bytes.split_at_mut_checked(DIGEST.end) {
        head[DIGEST].copy_from_slice(&Sha256::digest(rest));
    }
    let failed = |_| SessionError::Damaged;
    let Ok((file, is_whole)) = SessionFile::read(&bytes[..], bytes.len() as u64, |_| 1 << 16, failed) else {
        return;
    };
    let (_, _, n_cells) = (file.note(), file.sampler(), file.n_cells());
    assert!(n_cells.is_err() || n_cells.is_ok_and(|n_cells| n_cells < file.tokens.len().max(1)));
    if is_whole {
        let again = [file.head(), file.token_bytes(), file.cells.clone()].concat();
        let read = SessionFile::read(&again[..], again.len() as u64, |_| u64::MAX, failed);
        assert!(read.is_ok_and(|(read, is_whole)| is_whole && read == file));
    }
}

/// The cells of a sequence, after what they have to be: the kind of memory, how many streams, and how many tokens, a byte each.
fn sequence_state(input: &[u8]) {
    let Some((&[kind, n_streams, n_tokens], state)) = input.split_first_chunk() else { return };
    let kinds = [MemoryKind::Whole, MemoryKind::Windowed, MemoryKind::Recurrent, MemoryKind::Hybrid];
    let shape = StateShape {
        n_tokens: n_tokens.into(),
        n_streams: n_streams.into(),
        memory: kinds[usize::from(kind) % kinds.len()],
    };
    if shape.fits(state) {
        assert!(!StateShape { n_tokens: shape.n_tokens + 1, ..shape }.fits(state));
    }
}
