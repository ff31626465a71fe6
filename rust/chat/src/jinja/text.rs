//! Strings that know which of their bytes the template wrote and which came in with the conversation.

use std::ops::Range;
use std::rc::Rc;

use super::fault::Outcome;
use super::meter::{Charge, Meter};

/// What a string costs apart from its bytes.
const TEXT_BYTES: usize = 96;

/// Bytes up to `end` that have one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) end: usize,
    pub(crate) user: bool,
}

#[derive(Debug)]
enum Origin {
    All(bool),
    Mixed(Vec<Run>),
}

/// An immutable string of the template's language.
#[derive(Debug, Clone)]
pub(crate) struct Text(Rc<Body>);

#[derive(Debug)]
struct Body {
    text: Box<str>,
    origin: Origin,
    ascii: bool,
    /// Made by `safe` or `escape`: what is added to it is escaped.
    markup: bool,
    charge: Charge,
}

impl Text {
    pub(crate) fn new(meter: &Rc<Meter>, text: &str, user: bool) -> Outcome<Self> {
        let charge = meter.take(text.len() + TEXT_BYTES)?;
        Ok(Self(Rc::new(Body {
            text: text.into(),
            origin: Origin::All(user),
            ascii: text.is_ascii(),
            markup: false,
            charge,
        })))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0.text
    }

    pub(crate) fn is_markup(&self) -> bool {
        self.0.markup
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        self.0.charge.meter()
    }

    /// The same text with another mark for escaping.
    pub(crate) fn with_markup(&self, markup: bool) -> Outcome<Self> {
        if self.0.markup == markup {
            return Ok(self.clone());
        }
        let mut out = Builder::new(self.meter())?;
        out.push(self)?;
        let mut text = out.finish();
        if let Some(body) = Rc::get_mut(&mut text.0) {
            body.markup = markup;
        }
        Ok(text)
    }

    /// The number of characters.
    pub(crate) fn chars(&self) -> usize {
        if self.0.ascii { self.0.text.len() } else { self.0.text.chars().count() }
    }

    /// Where the character with this number begins, or the end of the text.
    pub(crate) fn byte_of(&self, char: usize) -> usize {
        if self.0.ascii {
            char.min(self.0.text.len())
        } else {
            self.0.text.char_indices().nth(char).map_or(self.0.text.len(), |(at, _)| at)
        }
    }

    /// The number of the character that begins at this byte.
    pub(crate) fn char_of(&self, byte: usize) -> usize {
        if self.0.ascii { byte } else { self.0.text[..byte].chars().count() }
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> Outcome<Self> {
        if range == (0..self.0.text.len()) {
            return Ok(self.clone());
        }
        let mut out = Builder::new(self.meter())?;
        out.push_slice(self, range)?;
        let text = out.finish();
        if self.0.markup { text.with_markup(true) } else { Ok(text) }
    }

    /// The parts of a range that have one origin each.
    pub(crate) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
        let (runs, uniform): (&[Run], _) = match &self.0.origin {
            Origin::All(user) => (&[], Some(*user)),
            Origin::Mixed(runs) => (runs, None),
        };
        let first = runs.partition_point(|run| run.end <= range.start);
        let mut start = range.start;
        let end = range.end;
        let whole = uniform.filter(|_| start < end).map(|user| (start..end, user));
        whole.into_iter().chain(runs[first..].iter().map_while(move |run| {
            if start >= end {
                return None;
            }
            let part = start..run.end.min(end);
            start = part.end;
            Some((part, run.user))
        }))
    }
}

/// Builds a string, piece by piece, inside the limits of its meter.
#[derive(Debug)]
pub(crate) struct Builder {
    text: String,
    runs: Vec<Run>,
    charge: Charge,
}

impl Builder {
    pub(crate) fn new(meter: &Rc<Meter>) -> Outcome<Self> {
        Ok(Self { text: String::new(), runs: Vec::new(), charge: meter.take(TEXT_BYTES)? })
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn push_str(&mut self, text: &str, user: bool) -> Outcome<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.charge.grow(text.len())?;
        self.text.push_str(text);
        let end = self.text.len();
        match self.runs.last_mut() {
            Some(run) if run.user == user => run.end = end,
            _ => {
                self.charge.grow(size_of::<Run>())?;
                self.runs.push(Run { end, user });
            }
        }
        Ok(())
    }

    pub(crate) fn push_char(&mut self, char: char, user: bool) -> Outcome<()> {
        self.push_str(char.encode_utf8(&mut [0; 4]), user)
    }

    pub(crate) fn push(&mut self, text: &Text) -> Outcome<()> {
        self.push_slice(text, 0..text.as_str().len())
    }

    pub(crate) fn push_slice(&mut self, text: &Text, range: Range<usize>) -> Outcome<()> {
        for (part, user) in text.runs(range) {
            self.push_str(&text.as_str()[part], user)?;
        }
        Ok(())
    }

    /// Adds `text` changed by `map`, each part with the origin it had.
    pub(crate) fn push_mapped(&mut self, text: &Text, mut map: impl FnMut(&str) -> String) -> Outcome<()> {
        for (part, user) in text.runs(0..text.as_str().len()) {
            self.push_str(&map(&text.as_str()[part]), user)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Text {
        let origin = match self.runs.as_slice() {
            [] => Origin::All(false),
            [run] => Origin::All(run.user),
            _ => Origin::Mixed(self.runs),
        };
        let ascii = self.text.is_ascii();
        Text(Rc::new(Body {
            text: self.text.into_boxed_str(),
            origin,
            ascii,
            markup: false,
            charge: self.charge,
        }))
    }

    /// The text and its parts, without making a value of it.
    pub(crate) fn into_parts(self) -> (String, Vec<Run>) {
        (self.text, self.runs)
    }
}
