//! Sets of strings: of values, and of names of properties.
//!
//! Sets are combined as they are; only [`Expressions`] turns one into what the engine matches. There a string is a sequence of characters,
//! each in all the spellings that JSON text may have here, so that conjunction and complement of expressions are those of the sets.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use llguidance::derivre::{ExprRef, Regex, RegexAst, RegexBuilder};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::pattern::{PatternError, translate};
use crate::constraint::engine::Fault;

/// What finding out whether a set is empty may cost, in the engine's measure.
const EMPTINESS_FUEL: u64 = 100_000;

/// A set of strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text {
    All,
    Never,
    Only(Rc<BTreeSet<String>>),
    Pattern(Pattern),
    /// Strings of at least and at most so many characters.
    Length(u32, Option<u32>),
    Not(Rc<Text>),
    And(Rc<Vec<Text>>),
    Or(Rc<Vec<Text>>),
}

/// A regular expression that finds something in a string.
#[derive(Clone)]
pub(super) struct Pattern {
    /// In Rust's syntax, anchored only at its ends.
    regex: Rc<str>,
    hir: Rc<Hir>,
    matcher: Rc<RefCell<Option<Regex>>>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex == other.regex
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.regex.hash(state);
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pattern").field(&self.regex).finish()
    }
}

impl Pattern {
    /// `regex` in Rust's syntax; `None` where it is beyond what can be parsed.
    pub(super) fn new(regex: &str) -> Option<Self> {
        let hir = regex_syntax::ParserBuilder::new().nest_limit(2_000).build().parse(regex).ok()?;
        Some(Self { regex: regex.into(), hir: Rc::new(hir), matcher: Rc::default() })
    }

    fn is_match(&self, text: &str) -> bool {
        let mut matcher = self.matcher.borrow_mut();
        let regex = matcher.get_or_insert_with(|| {
            let mut expressions = Expressions::new(RegexBuilder::new());
            let expr = expressions.pattern(&self.hir, Style::Raw).unwrap_or(ExprRef::NO_MATCH);
            expressions.builder.into_regex(expr)
        });
        regex.is_match(text)
    }
}

impl Text {
    /// The strings in which the ECMA-262 expression `text` finds something; then what it finds too much of, in words.
    pub(super) fn pattern(text: &str) -> Result<(Self, Option<&'static str>), PatternError> {
        let translated = translate(text)?;
        let pattern =
            Pattern::new(&translated.regex).ok_or(PatternError::Unsupported("it is beyond the engine"))?;
        Ok((Self::Pattern(pattern), translated.weaker))
    }

    /// The strings that `regex`, in Rust's syntax and anchored at both ends, matches.
    pub(super) fn regex(regex: &str) -> Self {
        Pattern::new(regex).map_or(Self::All, Self::Pattern)
    }

    pub(super) fn only(strings: impl IntoIterator<Item = String>) -> Self {
        let strings: BTreeSet<String> = strings.into_iter().collect();
        if strings.is_empty() { Self::Never } else { Self::Only(Rc::new(strings)) }
    }

    pub(super) fn length(least: u32, most: Option<u32>) -> Self {
        match (least, most) {
            (0, None) => Self::All,
            (least, Some(most)) if least > most => Self::Never,
            (least, most) => Self::Length(least, most),
        }
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::Never => false,
            Self::Only(strings) => strings.contains(text),
            Self::Pattern(pattern) => pattern.is_match(text),
            Self::Length(least, most) => {
                let n = text.chars().count();
                n >= *least as usize && most.is_none_or(|most| n <= most as usize)
            }
            Self::Not(inner) => !inner.contains(text),
            Self::And(parts) => parts.iter().all(|part| part.contains(text)),
            Self::Or(parts) => parts.iter().any(|part| part.contains(text)),
        }
    }

    pub(super) fn not(&self) -> Self {
        match self {
            Self::All => Self::Never,
            Self::Never => Self::All,
            Self::Not(inner) => (**inner).clone(),
            other => Self::Not(Rc::new(other.clone())),
        }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::All, set) | (set, Self::All) => set.clone(),
            (one, two) if one == two => one.clone(),
            (Self::Only(strings), set) | (set, Self::Only(strings)) => {
                Self::only(strings.iter().filter(|text| set.contains(text)).cloned())
            }
            (Self::Length(a, b), Self::Length(c, d)) => {
                Self::length(*a.max(c), b.iter().chain(d.iter()).min().copied())
            }
            (Self::Not(one), two) | (two, Self::Not(one)) if **one == *two => Self::Never,
            (one, two) => {
                let list = |set: &Self| match set {
                    Self::And(parts) => (**parts).clone(),
                    set => vec![set.clone()],
                };
                let mut parts = list(one);
                for part in list(two) {
                    if parts.contains(&part.not()) {
                        return Self::Never;
                    }
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                Self::And(Rc::new(parts))
            }
        }
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Never, set) | (set, Self::Never) => set.clone(),
            (one, two) if one == two => one.clone(),
            (Self::Only(one), Self::Only(two)) => Self::only(one.union(two).cloned()),
            (one, two) => {
                let list = |set: &Self| match set {
                    Self::Or(parts) => (**parts).clone(),
                    set => vec![set.clone()],
                };
                let mut parts = list(one);
                for part in list(two) {
                    if parts.contains(&part.not()) {
                        return Self::All;
                    }
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                Self::Or(Rc::new(parts))
            }
        }
    }

    /// The strings in at least one of `sets`.
    pub(super) fn any<'s>(sets: impl IntoIterator<Item = &'s Text>) -> Self {
        let (mut all, mut listed) = (Self::Never, BTreeSet::new());
        for set in sets {
            match set {
                Self::Only(strings) => listed.extend(strings.iter().cloned()),
                set => all = all.or(set),
            }
        }
        all.or(&Self::only(listed))
    }

    /// Whether no string is in the set; `None` where that would take too long to find out.
    pub(super) fn is_empty(&self) -> Option<bool> {
        match self {
            Self::All | Self::Only(_) | Self::Length(..) => Some(false),
            Self::Never => Some(true),
            set => {
                let mut expressions = Expressions::new(RegexBuilder::new());
                let expr = expressions.text(set, Style::Raw).ok()?;
                if expressions.builder.exprset().is_positive(expr) {
                    return Some(false);
                }
                let regex = expressions.builder.into_regex_limited(expr, EMPTINESS_FUEL);
                regex.ok().map(|mut regex| regex.always_empty())
            }
        }
    }
}

/// How characters are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Style {
    /// As they are.
    Raw,
    /// In JSON text, control characters in each of their escapes.
    Value,
    /// In JSON text, each in one way: escaped only where it must be, by its short escape if it has one.
    Name,
}

/// Sets as expressions of the engine.
pub(super) struct Expressions {
    pub(super) builder: RegexBuilder,
    classes: HashMap<(Vec<(char, char)>, Style), ExprRef>,
    texts: HashMap<(Text, Style), ExprRef>,
}

impl Expressions {
    pub(super) fn new(builder: RegexBuilder) -> Self {
        Self { builder, classes: HashMap::new(), texts: HashMap::new() }
    }

    /// The JSON strings of `text`, with their quotes.
    pub(super) fn quoted(&mut self, text: &Text, style: Style) -> Result<ExprRef, Fault> {
        let inner = self.text(text, style)?;
        let quote = || RegexAst::Byte(b'"');
        Ok(self.builder.mk(&RegexAst::Concat(vec![quote(), RegexAst::ExprRef(inner), quote()]))?)
    }

    fn text(&mut self, text: &Text, style: Style) -> Result<ExprRef, Fault> {
        if let Some(expr) = self.texts.get(&(text.clone(), style)) {
            return Ok(*expr);
        }
        let expr = match text {
            Text::All => self.any(style, 0, None)?,
            Text::Never => ExprRef::NO_MATCH,
            Text::Length(least, most) => self.any(style, *least, *most)?,
            Text::Pattern(pattern) => self.pattern(&pattern.hir, style)?,
            Text::Only(strings) => self.only(strings, style)?,
            Text::Not(inner) => {
                let all = self.any(style, 0, None)?;
                let inner = self.text(inner, style)?;
                let not = RegexAst::Not(Box::new(RegexAst::ExprRef(inner)));
                self.builder.mk(&RegexAst::And(vec![RegexAst::ExprRef(all), not]))?
            }
            Text::And(parts) => {
                let parts = self.list(parts, style)?;
                self.builder.mk(&RegexAst::And(parts))?
            }
            Text::Or(parts) => {
                let parts = self.list(parts, style)?;
                self.builder.mk(&RegexAst::Or(parts))?
            }
        };
        self.texts.insert((text.clone(), style), expr);
        Ok(expr)
    }

    fn list(&mut self, parts: &[Text], style: Style) -> Result<Vec<RegexAst>, Fault> {
        parts.iter().map(|part| Ok(RegexAst::ExprRef(self.text(part, style)?))).collect()
    }

    fn only(&mut self, strings: &BTreeSet<String>, style: Style) -> Result<ExprRef, Fault> {
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for text in strings {
            let spelled = if style == Style::Raw { text.clone() } else { spell(text) };
            if style == Style::Value && text.chars().any(char::is_control) {
                others.push(self.literal(text, style)?);
            } else {
                plain.push((spelled.into_bytes(), ExprRef::EMPTY_STRING));
            }
        }
        if !plain.is_empty() {
            others.push(RegexAst::ExprRef(self.builder.mk_prefix_tree(plain)?));
        }
        Ok(self.builder.mk(&RegexAst::Or(others))?)
    }

    fn literal(&mut self, text: &str, style: Style) -> Result<RegexAst, Fault> {
        let mut parts = Vec::new();
        let mut run = String::new();
        for c in text.chars() {
            if style == Style::Raw || !(c < ' ' || c == '"' || c == '\\') {
                run.push(c);
                continue;
            }
            parts.push(RegexAst::Literal(std::mem::take(&mut run)));
            parts.push(RegexAst::ExprRef(self.class(&[ClassUnicodeRange::new(c, c)], style)?));
        }
        parts.push(RegexAst::Literal(run));
        Ok(RegexAst::Concat(parts))
    }

    fn any(&mut self, style: Style, least: u32, most: Option<u32>) -> Result<ExprRef, Fault> {
        let any = self.class(&[ClassUnicodeRange::new('\0', char::MAX)], style)?;
        let most = most.unwrap_or(u32::MAX);
        Ok(self.builder.mk(&RegexAst::Repeat(Box::new(RegexAst::ExprRef(any)), least, most))?)
    }

    fn pattern(&mut self, hir: &Hir, style: Style) -> Result<ExprRef, Fault> {
        let ast = self.find(hir, style, true, true)?;
        Ok(self.builder.mk(&ast)?)
    }

    /// What `hir` matches, with anything before it where a string `starts` with it, and after it where one `ends` with it.
    fn find(&mut self, hir: &Hir, style: Style, starts: bool, ends: bool) -> Result<RegexAst, Fault> {
        let (ast, starts, ends) = match hir.kind() {
            HirKind::Empty => (RegexAst::EmptyString, starts, ends),
            HirKind::Look(Look::Start) => (RegexAst::EmptyString, false, ends),
            HirKind::Look(Look::End) => (RegexAst::EmptyString, starts, false),
            HirKind::Look(_) => return Err("an assertion that no translation has".into()),
            HirKind::Literal(literal) => {
                let text = String::from_utf8(literal.0.to_vec())?;
                (self.literal(&text, style)?, starts, ends)
            }
            HirKind::Class(class) => {
                let class = match class {
                    Class::Unicode(class) => class.clone(),
                    Class::Bytes(class) => class.to_unicode_class().unwrap_or_else(ClassUnicode::empty),
                };
                (RegexAst::ExprRef(self.class(class.ranges(), style)?), starts, ends)
            }
            HirKind::Repetition(repetition) => {
                let inner = self.find(&repetition.sub, style, false, false)?;
                let most = repetition.max.unwrap_or(u32::MAX);
                (RegexAst::Repeat(Box::new(inner), repetition.min, most), starts, ends)
            }
            HirKind::Capture(capture) => return self.find(&capture.sub, style, starts, ends),
            HirKind::Alternation(branches) => {
                let branches = branches.iter().map(|branch| self.find(branch, style, starts, ends));
                return Ok(RegexAst::Or(branches.collect::<Result<_, _>>()?));
            }
            HirKind::Concat(parts) => {
                let is = |part: &Hir, look: Look| *part.kind() == HirKind::Look(look);
                let first = parts.iter().position(|part| !is(part, Look::Start)).unwrap_or(parts.len());
                let last = parts.iter().rposition(|part| !is(part, Look::End)).map_or(0, |last| last + 1);
                let (starts, ends) = (starts && first == 0, ends && last == parts.len());
                let parts = parts.get(first..last).unwrap_or_default();
                if !parts.is_empty() {
                    let n = parts.len();
                    let parts = parts
                        .iter()
                        .enumerate()
                        .map(|(i, part)| self.find(part, style, starts && i == 0, ends && i + 1 == n));
                    return Ok(RegexAst::Concat(parts.collect::<Result<_, _>>()?));
                }
                (RegexAst::EmptyString, starts, ends)
            }
        };
        if !starts && !ends {
            return Ok(ast);
        }
        let any = self.any(style, 0, None)?;
        let pad = |there: bool| there.then_some(RegexAst::ExprRef(any));
        Ok(RegexAst::Concat(pad(starts).into_iter().chain([ast]).chain(pad(ends)).collect()))
    }

    /// The characters of a class.
    fn class(&mut self, ranges: &[ClassUnicodeRange], style: Style) -> Result<ExprRef, Fault> {
        let key = (ranges.iter().map(|range| (range.start(), range.end())).collect(), style);
        if let Some(expr) = self.classes.get(&key) {
            return Ok(*expr);
        }
        let set = ClassUnicode::new(ranges.iter().copied());
        let text = if style == Style::Raw { class_text(&set) } else { class_in_json(&set, style) };
        let expr =
            if text.is_empty() { ExprRef::NO_MATCH } else { self.builder.mk(&RegexAst::Regex(text))? };
        self.classes.insert(key, expr);
        Ok(expr)
    }
}

/// `text` between quotes of JSON, as serializers write it.
pub(super) fn spell(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn class_text(class: &ClassUnicode) -> String {
    use std::fmt::Write;
    if class.ranges().is_empty() {
        return String::new();
    }
    let mut text = String::from("[");
    for range in class.ranges() {
        // Writing to a string does not fail.
        let _ = write!(text, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(range.start()), u32::from(range.end()));
    }
    text.push(']');
    text
}

fn class_in_json(class: &ClassUnicode, style: Style) -> String {
    let escaped = ClassUnicode::new([
        ClassUnicodeRange::new('\0', '\x1F'),
        ClassUnicodeRange::new('"', '"'),
        ClassUnicodeRange::new('\\', '\\'),
    ]);
    let mut plain = class.clone();
    plain.difference(&escaped);
    let mut special = class.clone();
    special.intersect(&escaped);
    let mut spellings = Vec::new();
    if !plain.ranges().is_empty() {
        spellings.push(class_text(&plain));
    }
    for c in special.iter().flat_map(|range| range.start()..=range.end()) {
        let short = spell(&c.to_string());
        if !short.starts_with("\\u") || style == Style::Name {
            spellings.push(format!(r"\\{}", regex_syntax::escape(&short[1..])));
        }
        if c < ' ' && style == Style::Value {
            spellings.push(format!(r"\\u00{}(?i:{:x})", u32::from(c) / 16, u32::from(c) % 16));
        }
    }
    spellings.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &Text, json: &str) -> bool {
        let mut expressions = Expressions::new(RegexBuilder::new());
        let expr = expressions.quoted(text, Style::Value).unwrap();
        expressions.builder.into_regex(expr).is_match(json)
    }

    fn pattern(text: &str) -> Text {
        Text::pattern(text).unwrap().0
    }

    #[test]
    fn classes_take_the_characters_that_are_written_with_escapes() {
        let no_quote = pattern("^[^\"]*$");
        assert!(matches(&no_quote, r#""a\\b\n\u000a\t""#) && !matches(&no_quote, r#""a\"b""#));
        let no_backslash = pattern(r"^[^\\]*$");
        assert!(matches(&no_backslash, r#""a\"\n""#) && !matches(&no_backslash, r#""a\\b""#));
        assert!(matches(&pattern("^[\"-a]$"), r#""\\""#) && !matches(&pattern("^[#-a]$"), r#""\"""#));
        assert!(!matches(&Text::All, "\"\n\"") && !matches(&Text::All, r#""\u0041""#));
    }

    #[test]
    fn what_is_not_anchored_is_found_anywhere() {
        for (text, found, not_found) in [
            ("a", "xay", "xy"),
            ("^a|b$", "aq", "qa"),
            ("^a|b$", "qb", "bq"),
            ("(^a|b)c", "qbcq", "qac"),
            ("^$", "", "a"),
            ("", "", "\""),
        ] {
            assert!(pattern(text).contains(found), "{text} {found}");
            assert!(pattern(text).contains(not_found) == text.is_empty(), "{text} {not_found}");
        }
    }

    #[test]
    fn sets_combine() {
        let (a, b) = (pattern("^a"), pattern("b$"));
        let both = a.and(&b);
        assert!(both.contains("ab") && !both.contains("a") && both.is_empty() == Some(false));
        assert_eq!(a.and(&pattern("^b")).is_empty(), Some(true));
        assert_eq!(a.and(&a.not()), Text::Never);
        assert_eq!(a.or(&a.not()), Text::All);
        let listed = Text::only(["ab".to_owned(), "c".to_owned()]);
        assert_eq!(listed.and(&a), Text::only(["ab".to_owned()]));
        assert_eq!(Text::length(3, Some(2)), Text::Never);
        let open = listed.not();
        assert!(matches(&open, "\"d\"") && !matches(&open, "\"c\""));
    }
}
