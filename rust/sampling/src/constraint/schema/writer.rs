//! Sets of values as a grammar.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use llguidance::api::GrammarInit;
use llguidance::derivre::{RegexAst, RegexBuilder};

use super::meaning::{Meaning, Stop};
use super::name_sets::NameSets;
use super::parts::Key;
use super::repeats::Repeats;
use super::rules::{Rules, Symbol};
use super::text::{Expressions, Style, Text, spell};
use super::values::Values;
use crate::constraint::engine::Fault;
use crate::constraint::limits::{MAX_SCHEMA_RULES, MAX_SCHEMA_SYMBOLS};
use crate::constraint::{GrammarError, Limitation, Whitespace};

/// A schema as a grammar of the engine.
pub(crate) struct Written {
    pub(crate) grammar: GrammarInit,
    pub(crate) limitations: Vec<Limitation>,
}

/// Writes the grammar of the texts of JSON values that fit `schema`, and says what it does not enforce.
pub(crate) fn write(text: &str, whitespace: Whitespace) -> Result<Written, GrammarError> {
    let schema: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| GrammarError::syntax(error.line(), error.column(), error.to_string()))?;
    let mut meaning = Meaning::new(&schema)?;
    meaning.has_long_numbers = super::decimal::has_long_numbers(text);
    let mut writer = Writer::new(meaning).map_err(internal)?;
    let key = writer.meaning.root();
    let root = writer.node(&key);
    writer.write_all()?;
    if writer.rules.len() + writer.literals.len() > MAX_SCHEMA_SYMBOLS {
        return Err(too_many_symbols());
    }
    let productive = writer.rules.productive();
    if let Symbol::Rule(rule) = root
        && !productive[rule as usize]
    {
        return Err(writer.nothing_fits(rule, &productive));
    }
    writer.tell_repeats(&productive);
    let limitations = writer.meaning.take_limitations();
    let grammar = writer
        .rules
        .grammar(root, &productive, writer.expressions.builder, skip_of(whitespace))
        .map_err(internal)?;
    if n_symbols(&grammar) > MAX_SCHEMA_SYMBOLS {
        return Err(too_many_symbols());
    }
    Ok(Written { grammar, limitations })
}

/// The white space between tokens.
pub(super) fn skip_of(whitespace: Whitespace) -> RegexAst {
    match whitespace {
        Whitespace::Flexible => RegexAst::Regex(r"[\x20\x0A\x0D\x09]{1,64}".to_owned()),
        Whitespace::Compact => RegexAst::NoMatch,
    }
}

pub(super) fn too_many_symbols() -> GrammarError {
    GrammarError::too_large(format!(
        "the schema becomes more than `{MAX_SCHEMA_SYMBOLS}` symbols of a grammar; split it"
    ))
}

pub(super) fn n_symbols(grammar: &GrammarInit) -> usize {
    match grammar {
        GrammarInit::Internal(grammar, _) => grammar.num_symbols(),
        GrammarInit::Serialized(_) => 0,
    }
}

pub(super) fn internal(fault: impl std::fmt::Display) -> GrammarError {
    GrammarError::Internal { message: fault.to_string() }
}

pub(super) struct Writer<'a> {
    pub(super) meaning: Meaning<'a>,
    pub(super) rules: Rules,
    pub(super) expressions: Expressions,
    nodes: HashMap<Key, Symbol>,
    /// What is still to be written.
    queue: VecDeque<Key>,
    /// The node that a rule stands for.
    keys: HashMap<u32, Key>,
    literals: HashMap<Rc<str>, Symbol>,
    pub(super) name_sets: NameSets,
    pub(super) repeats: Repeats,
    pub(super) marks: Marks,
}

/// The punctuation of JSON.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) comma: Symbol,
    pub(super) colon: Symbol,
    pub(super) braces: [Symbol; 2],
    pub(super) brackets: [Symbol; 2],
}

impl<'a> Writer<'a> {
    pub(super) fn new(meaning: Meaning<'a>) -> Result<Self, Fault> {
        let mut expressions = Expressions::new(RegexBuilder::new());
        let mut mark = |text: &str| -> Result<Symbol, Fault> {
            Ok(Symbol::Terminal(expressions.builder.mk(&RegexAst::Literal(text.to_owned()))?))
        };
        let marks = Marks {
            comma: mark(",")?,
            colon: mark(":")?,
            braces: [mark("{")?, mark("}")?],
            brackets: [mark("[")?, mark("]")?],
        };
        Ok(Self {
            meaning,
            rules: Rules::default(),
            expressions,
            nodes: HashMap::new(),
            queue: VecDeque::new(),
            keys: HashMap::new(),
            literals: HashMap::new(),
            name_sets: NameSets::default(),
            repeats: Repeats::default(),
            marks,
        })
    }

    /// What the values that fit `key` are written by.
    pub(super) fn node(&mut self, key: &Key) -> Symbol {
        if let Some(symbol) = self.nodes.get(key) {
            return *symbol;
        }
        let symbol = self.rules.rule();
        if let Symbol::Rule(rule) = symbol {
            self.keys.insert(rule, key.clone());
        }
        self.nodes.insert(key.clone(), symbol);
        self.queue.push_back(key.clone());
        symbol
    }

    pub(super) fn write_all(&mut self) -> Result<(), GrammarError> {
        // What lies further out comes first.
        while let Some(key) = self.queue.pop_front() {
            let symbol = self.nodes[&key];
            if self.rules.len() > MAX_SCHEMA_RULES
                && let Some(place) = self.meaning.place(&key)
            {
                self.meaning.limit(
                    place,
                    "schema",
                    "any value fits: the schema is too large to be enforced as a whole",
                );
                let any = self.node(&Key::any());
                self.rules.add(symbol, vec![any]);
                continue;
            }
            match self.meaning.values(&key) {
                Ok(values) => self.values(symbol, &key, &values)?,
                Err(Stop::Error(error)) => return Err(error),
                Err(Stop::Endless) => {
                    return Err(GrammarError::schema(
                        "",
                        "the schema leads back to itself without anything between",
                    ));
                }
            }
        }
        Ok(())
    }

    fn values(&mut self, symbol: Symbol, key: &Key, values: &Values) -> Result<(), GrammarError> {
        if let Some(scalars) = self.scalars(values, key).map_err(internal)? {
            self.rules.add(symbol, vec![scalars]);
        }
        for shape in &values.arrays {
            self.array(symbol, key, shape)?;
        }
        for shape in &values.objects {
            self.object(symbol, key, shape)?;
        }
        Ok(())
    }

    /// One expression for all values that are neither lists nor objects.
    pub(super) fn scalars(&mut self, values: &Values, key: &Key) -> Result<Option<Symbol>, Fault> {
        let mut ways = Vec::new();
        for (is_in, text) in [(values.null, "null"), (values.yes, "true"), (values.no, "false")] {
            if is_in {
                ways.push(RegexAst::Literal(text.to_owned()));
            }
        }
        ways.extend(values.numbers.expression(&mut self.expressions)?);
        let mut strings = &values.strings;
        if !self.meaning.work.is_nonempty(strings) {
            strings = &Text::Never;
        }
        if let (Text::And(parts), None) = (strings, strings.is_empty()) {
            // Both were found to have members, which together takes too long.
            if let Some(place) = self.meaning.place(key) {
                self.meaning.limit(
                    place,
                    "pattern",
                    "not enforced beside the other schemas of the value: together they are beyond the engine",
                );
            }
            strings = &parts[0];
        }
        if *strings != Text::Never {
            ways.push(RegexAst::ExprRef(self.expressions.quoted(strings, Style::Value)?));
        }
        if ways.is_empty() {
            return Ok(None);
        }
        Ok(Some(Symbol::Terminal(self.expressions.builder.mk(&RegexAst::Or(ways))?)))
    }

    /// The text of a name or a mark.
    pub(super) fn name(&mut self, name: &Rc<str>) -> Result<Symbol, GrammarError> {
        if let Some(symbol) = self.literals.get(name) {
            return Ok(*symbol);
        }
        let text = format!("\"{}\"", spell(name));
        let expr = self.expressions.builder.mk(&RegexAst::Literal(text)).map_err(internal)?;
        let symbol = Symbol::Terminal(expr);
        self.literals.insert(Rc::clone(name), symbol);
        Ok(symbol)
    }

    /// Why the schema of `rule` has no instance, with the path of the schema that is to blame.
    fn nothing_fits(&self, rule: u32, productive: &[bool]) -> GrammarError {
        let path_of = |key: &Key| {
            let place = self.meaning.place(key);
            place.map_or(String::new(), |place| self.meaning.document.place(place).path.clone())
        };
        let mut seen = HashSet::new();
        let mut here = rule;
        loop {
            let key = &self.keys[&here];
            if !seen.insert(here) {
                let message = "nothing can fit this schema: whatever fits it would have to go on without an end; give its recursion a way to end";
                return GrammarError::schema(&path_of(key), message);
            }
            match self.dead_node_in(here, productive) {
                Some(inner) if !self.keys[&inner].is_never() => here = inner,
                _ => {
                    let message = "nothing can fit this schema: its parts contradict each other; loosen it";
                    return GrammarError::schema(&path_of(key), message);
                }
            }
        }
    }

    /// A node inside of `rule` without which it could be written.
    fn dead_node_in(&self, rule: u32, productive: &[bool]) -> Option<u32> {
        let mut seen = HashSet::from([rule]);
        let mut stack = vec![rule];
        while let Some(rule) = stack.pop() {
            for symbol in self.rules.ways(rule).iter().flatten() {
                let Symbol::Rule(inner) = symbol else { continue };
                if productive[*inner as usize] {
                    continue;
                }
                if self.keys.contains_key(inner) {
                    return Some(*inner);
                }
                if seen.insert(*inner) {
                    stack.push(*inner);
                }
            }
        }
        None
    }
}
