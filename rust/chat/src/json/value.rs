//! The value so far of a text that is being written.

use super::{JsonEvent, JsonFault, JsonReader};
use serde_json::{Map, Number, Value};

/// The value of a JSON text as far as it has come: strings grow, what is not certain yet (a number that may go on, a name without a value) is not
/// there, and what is there stays.
#[derive(Clone, Debug, Default)]
pub struct PartialValue {
    reader: JsonReader,
    builder: Builder,
}

#[derive(Clone, Debug, Default)]
struct Builder {
    /// Arrays and objects that are open, from the outermost one on, each with the name under which it goes into the one before.
    open: Vec<(Option<String>, Value)>,
    key: Option<String>,
    text: Option<String>,
    done: Option<Value>,
}

impl PartialValue {
    /// The value of a text that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// The text is not JSON, or nests too deeply.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), JsonFault> {
        let Self { reader, builder } = self;
        reader.feed(piece, |event| builder.add(&event))?;
        Ok(())
    }

    /// Says that the text ends here.
    ///
    /// # Errors
    ///
    /// The value is not complete.
    pub fn finish(&mut self) -> Result<(), JsonFault> {
        let Self { reader, builder } = self;
        reader.finish(|event| builder.add(&event))
    }

    /// Whether the value is complete.
    pub fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }

    /// A copy of the value so far; `None` before it has begun.
    pub fn value(&self) -> Option<Value> {
        self.builder.value()
    }
}

impl Builder {
    fn add(&mut self, event: &JsonEvent<'_>) {
        match event {
            JsonEvent::BeginObject => self.open.push((self.key.take(), Value::Object(Map::new()))),
            JsonEvent::BeginArray => self.open.push((self.key.take(), Value::Array(Vec::new()))),
            JsonEvent::EndObject | JsonEvent::EndArray => {
                if let Some((key, value)) = self.open.pop() {
                    self.key = key;
                    self.put(value);
                }
            }
            JsonEvent::Key(key) => self.key = Some(key.clone().into_owned()),
            JsonEvent::BeginString => self.text = Some(String::new()),
            JsonEvent::Text(text) => self.text.get_or_insert_default().push_str(text),
            JsonEvent::EndString => {
                let text = self.text.take().unwrap_or_default();
                self.put(Value::String(text));
            }
            JsonEvent::Number(number) => self.put(number_of(number)),
            JsonEvent::Bool(value) => self.put(Value::Bool(*value)),
            JsonEvent::Null => self.put(Value::Null),
        }
    }

    fn put(&mut self, value: Value) {
        let key = self.key.take();
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some((_, parent)) => insert(parent, key, value),
        }
    }

    fn value(&self) -> Option<Value> {
        let mut inner = self.text.clone().map(|text| (self.key.clone(), Value::String(text)));
        for (key, value) in self.open.iter().rev() {
            let mut value = value.clone();
            if let Some((key, part)) = inner {
                insert(&mut value, key, part);
            }
            inner = Some((key.clone(), value));
        }
        self.done.clone().or(inner.map(|(_, value)| value))
    }
}

fn insert(parent: &mut Value, key: Option<String>, value: Value) {
    match (parent, key) {
        (Value::Object(map), Some(key)) => drop(map.insert(key, value)),
        (Value::Array(items), _) => items.push(value),
        _ => {}
    }
}

/// The number; one beyond every type's range becomes the largest double of its sign.
fn number_of(text: &str) -> Value {
    // serde_json's own reading of doubles is not exact without a feature that would hold for the whole program.
    let is_whole = !text.contains(['.', 'e', 'E']);
    if let (true, Ok(number)) = (is_whole, text.parse::<Number>()) {
        return Value::Number(number);
    }
    let double: f64 = text.parse().unwrap_or_default();
    Number::from_f64(double.clamp(f64::MIN, f64::MAX)).map_or(Value::Null, Value::Number)
}
