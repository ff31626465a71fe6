//! Frames as a grammar: texts, special tokens and the schemas of one document.

use llguidance::derivre::RegexAst;
use serde_json::{Map, Value, json};

use super::meaning::Meaning;
use super::parts::Key;
use super::rules::Symbol;
use super::writer::{Writer, Written, internal, skip_of, too_many_symbols};
use crate::TokenId;
use crate::constraint::limits::MAX_SCHEMA_SYMBOLS;
use crate::constraint::{Frame, GrammarError, Whitespace};

/// Finds the special token of a text.
pub(crate) type FindSpecial<'a> = &'a dyn Fn(&str) -> Option<TokenId>;

/// Writes the grammar of a frame, and says what of its schemas it does not enforce.
pub(crate) fn write_frame(
    frame: &Frame,
    whitespace: Whitespace,
    special: FindSpecial<'_>,
) -> Result<Written, GrammarError> {
    let mut texts = Vec::new();
    frame.schemas(&mut texts);
    let document = document_of(&texts)?;
    let mut meaning = Meaning::new(&document)?;
    meaning.has_long_numbers = texts.iter().any(|text| super::decimal::has_long_numbers(text));
    let mut keys = Vec::with_capacity(texts.len());
    for number in 0..texts.len() {
        keys.push(meaning.at(&format!("/$defs/{number}"))?);
    }
    let writer = Writer::new(meaning).map_err(internal)?;
    let mut frames = Frames { writer, keys: keys.into_iter(), special, whitespace };
    let root = frames.symbol(frame)?;
    let mut writer = frames.writer;
    writer.write_all()?;
    let productive = writer.rules.productive();
    if let Symbol::Rule(rule) = root
        && !productive[rule as usize]
    {
        return Err(GrammarError::schema(
            "",
            "nothing can fit the schemas: their parts contradict each other; loosen them",
        ));
    }
    writer.tell_repeats(&productive);
    let limitations = writer.meaning.take_limitations();
    let grammar = writer
        .rules
        .grammar(root, &productive, writer.expressions.builder, skip_of(whitespace))
        .map_err(internal)?;
    if super::writer::n_symbols(&grammar) > MAX_SCHEMA_SYMBOLS {
        return Err(too_many_symbols());
    }
    Ok(Written { grammar, limitations })
}

/// One document of all schemas, each with a URI of its own, so that its references begin at itself.
fn document_of(texts: &[&str]) -> Result<Value, GrammarError> {
    let mut definitions = Map::new();
    let mut draft = None;
    for (number, text) in texts.iter().enumerate() {
        let mut schema: Value = serde_json::from_str(text)
            .map_err(|error| GrammarError::syntax(error.line(), error.column(), error.to_string()))?;
        if let Value::Object(fields) = &mut schema {
            let named = fields.remove("$schema");
            draft = draft.or(named);
            fields.entry("$id").or_insert_with(|| format!("frame:/{number}").into());
        }
        definitions.insert(number.to_string(), schema);
    }
    let mut document = json!({ "$defs": definitions });
    if let (Some(draft), Some(fields)) = (draft, document.as_object_mut()) {
        fields.insert("$schema".to_owned(), draft);
    }
    Ok(document)
}

struct Frames<'a, 's> {
    writer: Writer<'a>,
    /// The schemas that were not used yet, in the order in which the frame has them.
    keys: std::vec::IntoIter<Key>,
    special: FindSpecial<'s>,
    whitespace: Whitespace,
}

impl Frames<'_, '_> {
    fn symbol(&mut self, frame: &Frame) -> Result<Symbol, GrammarError> {
        Ok(match frame {
            Frame::Text(text) => {
                let way = self.text(text)?;
                self.writer.rules.choice(vec![way])
            }
            Frame::Until(text) => self.until(text)?,
            Frame::Regex(regex) => self.terminal(&RegexAst::Regex(regex.clone()))?,
            Frame::Value(_) => match self.keys.next() {
                Some(key) => self.writer.node(&key),
                None => {
                    return Err(GrammarError::Internal {
                        message: "a frame has more values than schemas".to_owned(),
                    });
                }
            },
            Frame::Sequence(parts) => {
                let way = parts.iter().map(|part| self.symbol(part)).collect::<Result<Vec<_>, _>>()?;
                self.writer.rules.choice(vec![way])
            }
            Frame::Choice(parts) => {
                let ways = parts
                    .iter()
                    .map(|part| Ok(vec![self.symbol(part)?]))
                    .collect::<Result<Vec<_>, GrammarError>>()?;
                self.writer.rules.choice(ways)
            }
            Frame::Optional(inner) => {
                let inner = self.symbol(inner)?;
                self.writer.rules.choice(vec![Vec::new(), vec![inner]])
            }
            Frame::Many { item, separator, max } => {
                let item = self.symbol(item)?;
                let mut next = match separator {
                    Some(separator) => vec![self.symbol(separator)?],
                    None => Vec::new(),
                };
                next.push(item);
                let next = self.writer.rules.choice(vec![next]);
                let mut way = vec![item];
                way.extend(self.writer.rules.repeat(next, 0, max.map(|max| max.saturating_sub(1))));
                self.writer.rules.choice(vec![way])
            }
        })
    }

    fn terminal(&mut self, ast: &RegexAst) -> Result<Symbol, GrammarError> {
        Ok(Symbol::Terminal(self.writer.expressions.builder.mk(ast).map_err(internal)?))
    }

    /// A text as its special tokens and what is between them.
    fn text(&mut self, text: &str) -> Result<Vec<Symbol>, GrammarError> {
        let mut way = Vec::new();
        for (part, token) in split(text, self.special) {
            let flexible = self.whitespace == Whitespace::Flexible;
            let part = if flexible { part.trim() } else { part };
            if part.is_empty() {
                continue;
            }
            let spelled = self.terminal(&RegexAst::Literal(part.to_owned()))?;
            way.push(match token {
                Some(token) => {
                    self.writer.rules.choice(vec![vec![Symbol::Token(token as u32)], vec![spelled]])
                }
                None => spelled,
            });
        }
        Ok(way)
    }

    /// Any text without `end`, then `end`.
    fn until(&mut self, end: &str) -> Result<Symbol, GrammarError> {
        let any = || RegexAst::Regex("(?s:.*)".to_owned());
        let holds = RegexAst::Concat(vec![any(), RegexAst::Literal(end.to_owned()), any()]);
        let without = || RegexAst::And(vec![any(), RegexAst::Not(Box::new(holds.clone()))]);
        let spelled = self.terminal(&RegexAst::Concat(vec![without(), RegexAst::Literal(end.to_owned())]))?;
        let Some(token) = (self.special)(end) else { return Ok(spelled) };
        let some = RegexAst::And(vec![without(), RegexAst::Regex("(?s:.+)".to_owned())]);
        let (text, token) = (self.terminal(&some)?, Symbol::Token(token as u32));
        Ok(self.writer.rules.choice(vec![vec![token], vec![text, token], vec![spelled]]))
    }
}

/// The parts of a text that are special tokens, and those that are not.
fn split<'t>(text: &'t str, special: FindSpecial<'_>) -> Vec<(&'t str, Option<TokenId>)> {
    let mut parts = Vec::new();
    let (mut from, mut place) = (0, 0);
    while place < text.len() {
        let rest = &text[place..];
        let ends = rest
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .filter(|_| rest.starts_with(['<', '[']))
            .take(64);
        let found = ends.filter_map(|end| special(&rest[..end]).map(|token| (end, token))).last();
        if let Some((length, token)) = found {
            if from < place {
                parts.push((&text[from..place], None));
            }
            parts.push((&rest[..length], Some(token)));
            place += length;
            from = place;
        } else {
            place += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    if from < text.len() {
        parts.push((&text[from..], None));
    }
    parts
}
