//! What `tracing` is told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::fake::{FakeDecoder, prompt, request, run};
use crate::Request;

type Fields = BTreeMap<&'static str, String>;

/// The fields of the spans that were closed, of all tests of the process.
static CLOSED: Mutex<Vec<Fields>> = Mutex::new(Vec::new());

struct Kept(Fields);

impl Visit for Kept {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

struct Keeper;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut kept = Kept(Fields::new());
        attributes.record(&mut kept);
        context.span(id).unwrap().extensions_mut().insert(kept);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        values.record(context.span(id).unwrap().extensions_mut().get_mut::<Kept>().unwrap());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let kept = context.span(&id).unwrap().extensions_mut().remove::<Kept>().unwrap();
        CLOSED.lock().unwrap().push(kept.0);
    }
}

#[test]
fn each_request_is_a_span_that_tells_what_it_had() {
    tracing::subscriber::set_global_default(Registry::default().with(Keeper)).unwrap();
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let prompt = prompt(3, 20);
    let wanted = || Request { priority: 4242, cache_prompt: true, ..request(&prompt, 5) };
    run(&engine, wanted());
    run(&engine, wanted());
    // Both are closed: a consumer that has seen the end sees its span.
    let closed = CLOSED.lock().unwrap();
    let ours: Vec<&Fields> = closed.iter().filter(|fields| fields["priority"] == "4242").collect();
    assert_eq!(ours.len(), 2);
    for (fields, cached) in ours.iter().zip(["0", "19"]) {
        let expected = [
            ("prompt_tokens", "20"),
            ("cached_tokens", cached),
            ("completion_tokens", "5"),
            ("finish", "\"length\""),
        ];
        for (name, value) in expected {
            assert_eq!(fields[name], value, "{name}");
        }
        assert!(fields["first_token_s"].parse::<f64>().unwrap() > 0.0);
        assert!(fields["queued_s"].parse::<f64>().unwrap() >= 0.0);
    }
}
