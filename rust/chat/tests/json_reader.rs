//! The reader of JSON in pieces: every cut, every value, and what is not JSON.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;
use tabagent_chat::json::{JsonEvent, JsonFault, JsonReader, JsonWriter, MAX_DEPTH, PartialValue};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|items| Value::Object(items.into_iter().collect())),
        ]
    })
}

/// Whether `part` may become `whole` by writing on.
fn is_beginning(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() <= whole.len()
                && part.iter().zip(whole).enumerate().all(|(index, (item, other))| {
                    if index + 1 == part.len() { is_beginning(item, other) } else { item == other }
                })
        }
        (Value::Object(part), Value::Object(whole)) => {
            part.len() <= whole.len()
                && part.iter().zip(whole).enumerate().all(|(index, ((key, item), (name, other)))| {
                    key == name
                        && if index + 1 == part.len() { is_beginning(item, other) } else { item == other }
                })
        }
        _ => part == whole,
    }
}

fn texts(value: &Value) -> [String; 2] {
    [value.to_string(), serde_json::to_string_pretty(value).unwrap()]
}

proptest! {
    #[test]
    fn value_so_far_is_a_beginning_of_the_value_at_every_cut(value in values()) {
        for text in texts(&value) {
            let mut partial = PartialValue::new();
            let mut before = None;
            for byte in text.as_bytes() {
                partial.feed(&[*byte]).unwrap();
                let now = partial.value();
                if let Some(now) = &now {
                    prop_assert!(is_beginning(now, &value), "{now} of {value}");
                }
                if let (Some(before), Some(now)) = (&before, &now) {
                    prop_assert!(is_beginning(before, now), "{before} then {now}");
                }
                before = now;
            }
            partial.finish().unwrap();
            prop_assert_eq!(partial.value(), Some(value.clone()));
        }
    }

    #[test]
    fn pieces_do_not_matter(value in values(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let text = value.to_string();
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
        borders.sort_unstable();
        let mut partial = PartialValue::new();
        for pair in borders.windows(2) {
            partial.feed(&text.as_bytes()[pair[0]..pair[1]]).unwrap();
        }
        partial.finish().unwrap();
        prop_assert_eq!(partial.value(), Some(value));
    }

    #[test]
    fn written_events_say_the_same(value in values()) {
        let text = value.to_string();
        let (mut reader, mut writer, mut written) = (JsonReader::new(), JsonWriter::new(), String::new());
        for byte in text.as_bytes() {
            reader.feed(&[*byte], |event| writer.write(&event, &mut written)).unwrap();
        }
        reader.finish(|event| writer.write(&event, &mut written)).unwrap();
        let mut read = PartialValue::new();
        read.feed(written.as_bytes()).unwrap();
        read.finish().unwrap();
        prop_assert_eq!(read.value(), Some(value));
    }

    #[test]
    fn takes_what_serde_takes_and_nothing_else(text in "[\\[\\]{}:,\"a0-9.eE+\\- \\\\untrf/]{0,12}") {
        let mut partial = PartialValue::new();
        let fed = JsonReader::new().feed(text.as_bytes(), |_| {});
        let is_whole = fed.is_ok_and(|read| text[read..].trim().is_empty());
        let taken = is_whole && partial.feed(text.as_bytes()).is_ok() && partial.finish().is_ok();
        let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() || has_lone_surrogate(&text);
        prop_assert_eq!(taken, expected, "{}", text);
    }
}

/// serde refuses halves of pairs, and the texts here can write nothing else that it refuses and JSON allows.
fn has_lone_surrogate(text: &str) -> bool {
    text.contains("\\u")
        && serde_json::from_str::<Value>(&text.replace("\\u", "u")).is_ok()
        && PartialValue::new().feed(text.as_bytes()).is_ok()
}

#[test]
fn keys_come_in_order_and_only_with_a_value() {
    let mut partial = PartialValue::new();
    let mut seen = Vec::new();
    for piece in [
        "{\"b",
        "\"",
        ": ",
        "12",
        "3, \"a\": \"",
        "x",
        "\\",
        "n\\u00",
        "e4",
        "\\ud83d",
        "\\ude00",
        "\", \"c\": [tru",
        "e",
        "]}",
    ] {
        partial.feed(piece.as_bytes()).unwrap();
        seen.push(partial.value().unwrap().to_string());
    }
    let expected = [
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({"b": 123, "a": ""}),
        json!({"b": 123, "a": "x"}),
        json!({"b": 123, "a": "x"}),
        json!({"b": 123, "a": "x\n"}),
        json!({"b": 123, "a": "x\nä"}),
        json!({"b": 123, "a": "x\nä"}),
        json!({"b": 123, "a": "x\nä😀"}),
        json!({"b": 123, "a": "x\nä😀", "c": []}),
        json!({"b": 123, "a": "x\nä😀", "c": [true]}),
        json!({"b": 123, "a": "x\nä😀", "c": [true]}),
    ];
    assert_eq!(seen, expected.map(|value| value.to_string()));
    assert!(partial.is_complete());
}

#[test]
fn halves_of_pairs_are_replaced() {
    for (text, expected) in [
        (r#""\ud800""#, "\u{FFFD}"),
        (r#""\ud800x""#, "\u{FFFD}x"),
        (r#""\ud800\n""#, "\u{FFFD}\n"),
        (r#""\ud800\ud801\udc00""#, "\u{FFFD}\u{10400}"),
        (r#""\ud800ä""#, "\u{FFFD}ä"),
        (r#""\udc00\u0041""#, "\u{FFFD}A"),
        (r#""\ud800\u0041""#, "\u{FFFD}A"),
    ] {
        for size in 1..text.len() {
            let mut partial = PartialValue::new();
            for piece in text.as_bytes().chunks(size) {
                partial.feed(piece).unwrap();
            }
            assert_eq!(partial.value(), Some(Value::from(expected)), "{text}");
        }
    }
}

#[test]
fn faults_say_where() {
    let fault = |text: &[u8]| JsonReader::new().feed(text, |_| {}).unwrap_err();
    assert_eq!(fault(b"[1,]"), JsonFault::Unexpected { at: 3 });
    assert_eq!(fault(b"{\"a\" 1}"), JsonFault::Unexpected { at: 5 });
    assert_eq!(fault(b"{]"), JsonFault::Unexpected { at: 1 });
    assert_eq!(fault(b"[}"), JsonFault::Unexpected { at: 1 });
    assert_eq!(fault(b"[1}"), JsonFault::Unexpected { at: 2 });
    assert_eq!(fault(b"-x"), JsonFault::Unexpected { at: 1 });
    assert_eq!(fault(b"[01]"), JsonFault::Unexpected { at: 2 });
    assert_eq!(fault(b"nul "), JsonFault::Unexpected { at: 3 });
    assert_eq!(fault(b"\"\\x\""), JsonFault::Unexpected { at: 2 });
    assert_eq!(fault(b"\"a\xff\""), JsonFault::NotUtf8 { at: 2 });
    assert_eq!(fault(b"\"\xc3\""), JsonFault::NotUtf8 { at: 1 });
    let mut reader = JsonReader::new();
    reader.feed(b"[1", |_| {}).unwrap();
    assert_eq!(reader.finish(|_| {}), Err(JsonFault::Incomplete { at: 2 }));
}

#[test]
fn text_after_the_value_is_left() {
    let mut reader = JsonReader::new();
    assert_eq!(reader.feed(b" {\"a\": 1} </tool_call>", |_| {}), Ok(9));
    assert!(reader.is_complete());
    assert_eq!(reader.feed(b"more", |_| {}), Ok(0));
    assert_eq!(reader.offset(), 9);
}

#[test]
fn nesting_has_a_limit() {
    let text = "[".repeat(MAX_DEPTH);
    assert!(JsonReader::new().feed(text.as_bytes(), |_| {}).is_ok());
    let fault = JsonReader::new().feed("[".repeat(MAX_DEPTH + 1).as_bytes(), |_| {}).unwrap_err();
    assert_eq!(fault, JsonFault::TooDeep { at: MAX_DEPTH, limit: MAX_DEPTH });
    let fault = JsonReader::with_max_depth(1).feed(b"{\"a\":{}}", |_| {}).unwrap_err();
    assert_eq!(fault, JsonFault::TooDeep { at: 5, limit: 1 });
}

#[test]
fn work_grows_with_the_length_alone() {
    let one =
        r#"{"name": "a long enough text with \n escapes", "items": [1, 2.5, true, null, {"x": "äöü"}]},"#;
    let seconds = |count: usize| {
        let text = format!("[{}1]", one.repeat(count));
        let mut best = f64::MAX;
        for _ in 0..3 {
            let (mut reader, mut events) = (JsonReader::new(), 0usize);
            let start = Instant::now();
            for piece in text.as_bytes().chunks(4) {
                reader.feed(piece, |event| events += usize::from(event != JsonEvent::Null)).unwrap();
            }
            best = best.min(start.elapsed().as_secs_f64());
            assert!(reader.is_complete() && events > count * 10);
        }
        best
    };
    let (small, large) = (seconds(13_000), seconds(104_000));
    assert!(large < small * 16.0, "8 times the text took {:.1} times as long", large / small);
}
