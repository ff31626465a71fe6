//! YAML as the heads of model cards use it: texts, lists and mappings. Numbers and other scalars stay the texts that they are written as.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// How deep lists and mappings of a card may nest.
const MAX_DEPTH: usize = 32;

/// The most values of a card, counting those that aliases stand for.
const MAX_VALUES: usize = 1 << 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Yaml {
    Null,
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// The first document of `text`; `None` if it is not YAML, or deeper or larger than any card.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { events: Parser::new_from_str(text), anchors: Vec::new(), n_values: 0 };
        loop {
            match reader.next()? {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => return Some(Self::Null),
                event => return reader.value(event, 0),
            }
        }
    }

    /// The value of `key` of a mapping; the last if there are several.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The text, or the first one of a list.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(items) => items.first()?.text(),
            Self::Null | Self::Map(_) => None,
        }
    }

    /// All texts of a list, or the one text.
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::List(items) => items.iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
            Self::Null | Self::Map(_) => Vec::new(),
        }
    }

    /// How many values it consists of.
    fn count(&self) -> usize {
        match self {
            Self::Null | Self::Text(_) => 1,
            Self::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Self::Map(entries) => 1 + entries.iter().map(|(_, value)| value.count()).sum::<usize>(),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: Vec<(usize, Yaml)>,
    n_values: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Event<'a>> {
        Some(self.events.next()?.ok()?.0)
    }

    /// The value that starts with `event`.
    fn value(&mut self, event: Event<'a>, depth: usize) -> Option<Yaml> {
        self.n_values += 1;
        if depth > MAX_DEPTH || self.n_values > MAX_VALUES {
            return None;
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
                (anchor, Yaml::List(items))
            }
            Event::MappingStart(anchor, _) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        Event::MappingEnd => break,
                        event => {
                            let key = self.value(event, depth + 1)?;
                            let event = self.next()?;
                            let value = self.value(event, depth + 1)?;
                            if let Yaml::Text(key) = key {
                                entries.push((key, value));
                            }
                        }
                    }
                }
                (anchor, Yaml::Map(entries))
            }
            Event::Alias(anchor) => {
                let value = self.anchors.iter().rev().find(|(id, _)| *id == anchor)?.1.clone();
                self.n_values += value.count();
                (0, value)
            }
            _ => return None,
        };
        if anchor != 0 {
            self.anchors.push((anchor, value.clone()));
        }
        Some(value)
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Yaml {
    let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if is_null { Yaml::Null } else { Yaml::Text(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lists_and_mappings_are_read_as_written() {
        let card = Yaml::parse(
            "a: 1.10\nb: [x, 'y z']\nc:\n- name: n\n  url: http://u\n- plain\nd: >\n  one\n  two\ne: null\nf: no\na: 2\n",
        )
        .unwrap();
        assert_eq!(card.get("a").unwrap().text(), Some("2"));
        assert_eq!(card.get("b").unwrap().texts(), ["x", "y z"]);
        let Some(Yaml::List(items)) = card.get("c") else { panic!() };
        assert_eq!(items[0].get("url").unwrap().text(), Some("http://u"));
        assert_eq!(items[1].text(), Some("plain"));
        assert_eq!(card.get("d").unwrap().text(), Some("one two\n"));
        assert_eq!(card.get("e"), Some(&Yaml::Null));
        assert_eq!(card.get("f").unwrap().text(), Some("no"));
    }

    #[test]
    fn what_is_no_card_is_none() {
        assert_eq!(Yaml::parse(""), Some(Yaml::Null));
        assert_eq!(Yaml::parse("a: [1"), None);
        assert_eq!(Yaml::parse("a: *unknown"), None);
        assert_eq!(Yaml::parse(&"[".repeat(1000)), None);
        let mut bomb = "a: &a [x, x]\n".to_owned();
        for line in 1..24 {
            let old = if line == 1 { "a".to_owned() } else { format!("k{}", line - 1) };
            bomb = format!("{bomb}k{line}: &k{line} [*{old}, *{old}]\n");
        }
        assert_eq!(Yaml::parse(&bomb), None);
    }
}
