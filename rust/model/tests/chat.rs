//! Conversations as an application in plain Rust has them.
//!
//! Needs `TABAGENT_LIBRARY_PATH` and `TABAGENT_TEST_MODELS`, which `make test` provides.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;
use tabagent_chat::{Conversation, Message, ToolDefinition};
use tabagent_model::{
    ChatFinish, ChatPoll, ChatRequest, ChatStream, Delta, FinishReason, GenerateOptions, GrammarOptions,
    GrammarRequest, GrammarSource, LoadOptions, Model, ToolChoice,
};

fn model() -> Option<Model> {
    let (library, path) =
        (tabagent_material::library()?, tabagent_material::model("smollm2-135m-instruct-q4_1.gguf")?);
    let options = LoadOptions { context_size: Some(512), threads: Some(1), ..LoadOptions::default() };
    Some(Model::load(path, &library, None, &options, |_| true).unwrap())
}

fn request(max_tokens: usize) -> ChatRequest {
    let mut request = ChatRequest::new(Conversation::new(vec![Message::user("Say hello.")]));
    let options =
        GenerateOptions::read(json!({"max_tokens": max_tokens, "sampling": {"temperature": 0}}).into());
    request.options = GenerateOptions { cache_prompt: Some(true), ..options.unwrap() };
    request
}

/// What came piece by piece, and the whole.
fn read(mut stream: ChatStream) -> (String, ChatFinish) {
    let mut text = String::new();
    loop {
        match stream.next_timeout(Duration::from_mins(1)) {
            ChatPoll::Event(event) => {
                for delta in event.deltas {
                    if let Delta::Content(more) = delta {
                        text += &more;
                    }
                }
            }
            ChatPoll::Finished => return (text, stream.finish().unwrap()),
            ChatPoll::Pending => panic!("no progress"),
        }
    }
}

#[test]
fn an_answer_comes_in_pieces_that_are_the_whole() {
    let Some(model) = model() else { return };
    let (text, whole) = read(model.chat(request(12)).unwrap());
    assert_eq!((whole.message.content.as_str(), whole.finish.reason), (text.as_str(), FinishReason::Length));
    assert_eq!(whole.finish.usage.completion_tokens, 12);
    let plain = ChatRequest { plain: true, ..request(12) };
    assert_eq!(read(model.chat(plain).unwrap()).0.trim_start(), text.trim_start());
    let prepared = model.prepare_chat(request(12)).unwrap();
    assert_eq!(prepared.prompt.tokens.len(), whole.finish.usage.prompt_tokens);
}

#[test]
fn content_is_held_to_its_form() {
    let Some(model) = model() else { return };
    let source = GrammarSource::Choices(vec!["yes".to_owned(), "no".to_owned()]);
    let structure = Some(GrammarRequest { source, options: GrammarOptions::default() });
    let (text, whole) =
        read(model.chat(ChatRequest { structure: structure.clone(), ..request(20) }).unwrap());
    assert!(text == "yes" || text == "no", "{text}");
    assert_eq!(whole.finish.constraint_complete, Some(true));
    let mut both = ChatRequest { structure, tool_choice: ToolChoice::Required, ..request(120) };
    both.conversation.tools = Some(vec![ToolDefinition::new(
        "f",
        "",
        json!({"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": false}),
    )]);
    let (text, whole) = read(model.chat(both.clone()).unwrap());
    assert_eq!((text.as_str(), whole.message.tool_calls.len()), ("", 1), "a call that is demanded comes");
    both.tool_choice = ToolChoice::Auto;
    let (text, whole) = read(model.chat(both).unwrap());
    assert!(text == "yes" || text == "no" || !whole.message.tool_calls.is_empty(), "{text}");
}

#[test]
fn a_stream_that_is_cancelled_keeps_what_came() {
    let Some(model) = model() else { return };
    let mut long = request(400);
    long.options.ignore_eos = true;
    let stream = model.chat(long).unwrap();
    assert!(stream.finish().is_none());
    stream.cancel();
    let (text, whole) = read(stream);
    assert_eq!((whole.message.content, whole.finish.reason), (text, FinishReason::Cancelled));
}
