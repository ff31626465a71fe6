//! Objects as rules, with the same recursion as lists.

use super::parts::Key;
use super::rules::Symbol;
use super::text::Text;
use super::values::{Class, Need, Object, Prop};
use super::writer::Writer;
use crate::constraint::GrammarError;

/// The most states in which the properties of one object are counted.
const MAX_STATES: u64 = 16_000;
/// How many properties of any name an object may need.
const MAX_NEEDS: usize = 3;
/// In how many ways such needs may be met by the properties that an object names.
const MAX_WAYS: usize = 128;

impl Writer<'_> {
    pub(super) fn object(&mut self, symbol: Symbol, key: &Key, shape: &Object) -> Result<(), GrammarError> {
        let mut shape = shape.clone();
        let mut classes = Vec::new();
        for class in std::mem::take(&mut shape.classes) {
            match &class.names {
                // Names that can be listed are written like those that are declared.
                Text::Only(names) => {
                    for name in names.iter() {
                        if shape.prop(name).is_none() {
                            shape.push(name, class.slot.clone(), false);
                        }
                    }
                }
                _ => classes.push(class),
            }
        }
        let declared = Text::only(shape.props.iter().map(|prop| prop.name.to_string())).not();
        for class in &mut classes {
            class.names = class.names.and(&declared);
        }
        classes.retain(|class| !class.slot.node.is_never());
        classes.retain(|class| self.meaning.work.is_nonempty(&class.names));
        shape.classes = classes;
        let needs = std::mem::take(&mut shape.needs);
        for (shape, needs) in self.with_needs(shape, needs) {
            self.object_of(symbol, key, &shape, &needs)?;
        }
        Ok(())
    }

    /// The ways to meet `needs`: by properties that the object names, or by others.
    fn with_needs(&mut self, shape: Object, needs: Vec<Need>) -> Vec<(Object, Vec<Need>)> {
        let mut ways = vec![(shape, Vec::new())];
        for need in needs {
            let mut more = Vec::new();
            for (shape, free) in &ways {
                for (i, prop) in shape.props.iter().enumerate() {
                    if more.len() > MAX_WAYS {
                        break;
                    }
                    if !prop.slot.node.is_never() && need.names.contains(&prop.name) {
                        let mut shape = shape.clone();
                        shape.props[i].required = true;
                        shape.props[i].slot.node = prop.slot.node.and(&need.node);
                        more.push((shape, free.clone()));
                    }
                }
                let mut free: Vec<Need> = free.clone();
                free.push(need.clone());
                more.push((shape.clone(), free));
            }
            let most_free = more.iter().map(|(_, free)| free.len()).max().unwrap_or(0);
            if more.len() > MAX_WAYS || most_free > MAX_NEEDS {
                let (place, keyword) = self.meaning.excluder(&need.node).unwrap_or((0, "not"));
                self.meaning.limit(place, keyword, "not enforced: there are too many ways to meet it");
                continue;
            }
            ways = more;
        }
        ways
    }

    fn object_of(
        &mut self,
        symbol: Symbol,
        key: &Key,
        shape: &Object,
        needs: &[Need],
    ) -> Result<(), GrammarError> {
        let props: Vec<&Prop> =
            shape.props.iter().filter(|prop| prop.required || !prop.slot.node.is_never()).collect();
        let n_required = props.iter().filter(|prop| prop.required).count() as u64;
        let member = self.member(&shape.classes)?;
        let is_bounded = shape.max.is_some_and(|max| member.is_some() || max < props.len() as u64);
        let counts = shape.min > n_required || is_bounded;
        let (mut min, mut max) = (if counts { shape.min } else { 0 }, shape.max.filter(|_| is_bounded));
        if shape.max.is_some_and(|max| max < n_required) {
            return Ok(());
        }
        let place = shape.counted.unwrap_or(0);
        let cap = max.unwrap_or(min);
        if counts && (props.len() as u64 + 1).saturating_mul(cap.min(props.len() as u64) + 1) > MAX_STATES {
            for key in ["minProperties", "maxProperties"] {
                self.meaning.limit(place, key, "not enforced: counting the properties takes too many states");
            }
            (min, max) = (0, None);
        }
        if member.is_some() && min.saturating_sub(n_required) >= 2 {
            self.meaning.limit(
                place,
                "minProperties",
                "a property whose name is not declared may be repeated, and then counts each time",
            );
        }
        let groups = self.groups(needs, &shape.classes)?;
        let [open, close] = self.marks.braces;
        let mut way = vec![open];
        if min == 0 && max.is_none() {
            way.extend(self.uncounted(&props, member, &groups)?);
        } else {
            way.push(self.counted(&props, member, &groups, (min, max))?);
        }
        way.push(close);
        let is_open = member.is_some() && max.is_none_or(|max| max - n_required > 1);
        // Needed ones come last; of two, the second may have the name of the first.
        if is_open && needs.len() > 1 {
            for need in needs {
                let (place, keyword) = self.meaning.excluder(&need.node).unwrap_or((place, "not"));
                self.meaning.limit(
                    place,
                    keyword,
                    "the name of the property that meets it may come again, with another value",
                );
            }
        }
        self.note_object(shape, key, &[way.as_slice(), member.as_slice()].concat(), is_open);
        self.rules.add(symbol, way);
        Ok(())
    }

    /// A property whose name is in one of `classes`.
    fn member(&mut self, classes: &[Class]) -> Result<Option<Symbol>, GrammarError> {
        let mut ways = Vec::new();
        for class in classes {
            let (name, value) = (self.names(&class.names)?, self.node(&class.slot.node));
            ways.push(vec![name, self.marks.colon, value]);
        }
        Ok((!ways.is_empty()).then(|| self.rules.choice(ways)))
    }

    /// The lists of properties, each in one order, that meet all `needs`.
    fn groups(&mut self, needs: &[Need], classes: &[Class]) -> Result<Vec<Vec<Symbol>>, GrammarError> {
        let mut groups = Vec::new();
        for partition in partitions(needs.len()) {
            let mut members = Vec::new();
            for block in partition {
                let mut fitting = Vec::new();
                for class in classes {
                    let mut class = class.clone();
                    for need in block.iter().map(|i| &needs[*i]) {
                        class.names = class.names.and(&need.names);
                        class.slot.node = class.slot.node.and(&need.node);
                    }
                    if !class.slot.node.is_never() && self.meaning.work.is_nonempty(&class.names) {
                        fitting.push(class);
                    }
                }
                members.push(self.member(&fitting)?);
            }
            groups.extend(members.into_iter().collect::<Option<Vec<Symbol>>>());
        }
        Ok(groups)
    }

    /// What may follow the declared properties.
    fn tail(
        &mut self,
        started: bool,
        member: Option<Symbol>,
        groups: &[Vec<Symbol>],
        min: u64,
        max: Option<u64>,
    ) -> Symbol {
        let mut ways = Vec::new();
        for group in groups {
            let n = group.len() as u64;
            if max.is_some_and(|max| max < n) {
                continue;
            }
            let (min, max) = (min.saturating_sub(n), max.map(|max| max - n));
            let commas = |started: bool, comma: Symbol| {
                group.iter().enumerate().flat_map(move |(i, symbol)| {
                    let comma = (started || i > 0).then_some(comma);
                    comma.into_iter().chain([*symbol])
                })
            };
            let comma = self.marks.comma;
            match member {
                None if min > 0 => {}
                None => ways.push(commas(started, comma).collect()),
                Some(_) if max == Some(0) => ways.push(commas(started, comma).collect()),
                Some(member) => {
                    if !started && min == 0 {
                        ways.push(commas(false, comma).collect());
                    }
                    let min = if started { min } else { min.max(1) };
                    let mut way = self.series(member, started, min, max);
                    way.extend(commas(true, comma));
                    ways.push(way);
                }
            }
        }
        self.rules.choice(ways)
    }

    fn item(&mut self, prop: &Prop) -> Result<[Symbol; 3], GrammarError> {
        Ok([self.name(&prop.name)?, self.marks.colon, self.node(&prop.slot.node)])
    }

    /// Properties of any number.
    fn uncounted(
        &mut self,
        props: &[&Prop],
        member: Option<Symbol>,
        groups: &[Vec<Symbol>],
    ) -> Result<Vec<Symbol>, GrammarError> {
        let comma = self.marks.comma;
        let first_required = props.iter().position(|prop| prop.required).unwrap_or(props.len());
        if first_required == props.len() && groups.iter().all(Vec::is_empty) {
            return self.all_optional(props, member);
        }
        let mut started = vec![self.tail(true, member, groups, 0, None)];
        let mut fresh = if first_required == props.len() {
            vec![self.tail(false, member, groups, 0, None)]
        } else {
            Vec::new()
        };
        // Written from the end, each list reversed, so that it grows at its end.
        for (i, prop) in props.iter().enumerate().rev() {
            let item = self.item(prop)?;
            let before_required = i <= first_required;
            if before_required {
                // What has begun here is used twice.
                started = vec![self.rules.choice(vec![started.iter().rev().copied().collect()])];
                let mut way = item.to_vec();
                way.push(started[0]);
                fresh = if prop.required {
                    way.into_iter().rev().collect()
                } else {
                    let without = fresh.iter().rev().copied().collect();
                    vec![self.rules.choice(vec![way, without])]
                };
            }
            let with_comma = [comma, item[0], item[1], item[2]];
            if prop.required {
                started.extend(with_comma.iter().rev());
            } else {
                started.push(self.rules.choice(vec![Vec::new(), with_comma.to_vec()]));
            }
        }
        fresh.reverse();
        Ok(fresh)
    }

    /// Properties of which none must be there.
    ///
    /// The engine finds out what may be empty in as many rounds as such rules are nested, each over all rules. So what may be empty has a way
    /// that is empty as it stands, and what is nested in it is not empty.
    fn all_optional(&mut self, props: &[&Prop], member: Option<Symbol>) -> Result<Vec<Symbol>, GrammarError> {
        let groups = [Vec::new()];
        // What comes after a property and at the beginning, each of one property at least.
        let mut more = self.tail(true, member, &groups, 1, None);
        let mut first = self.tail(false, member, &groups, 1, None);
        for prop in props.iter().rev() {
            let [name, colon, value] = self.item(prop)?;
            let rest = self.rules.choice(vec![Vec::new(), vec![more]]);
            first = self.rules.choice(vec![vec![name, colon, value, rest], vec![first]]);
            more = self.rules.choice(vec![vec![self.marks.comma, name, colon, value, rest], vec![more]]);
        }
        Ok(vec![self.rules.choice(vec![Vec::new(), vec![first]])])
    }

    /// Properties that are counted.
    fn counted(
        &mut self,
        props: &[&Prop],
        member: Option<Symbol>,
        groups: &[Vec<Symbol>],
        (min, max): (u64, Option<u64>),
    ) -> Result<Symbol, GrammarError> {
        let comma = self.marks.comma;
        let most = max.unwrap_or(min.max(1));
        let width = most.min(props.len() as u64);
        let mut after: Vec<Symbol> = Vec::new();
        for count in 0..=width {
            let left = max.map(|max| max - count);
            after.push(self.tail(count > 0, member, groups, min.saturating_sub(count), left));
        }
        for prop in props.iter().rev() {
            let item = self.item(prop)?;
            let mut here = Vec::new();
            for count in 0..=width {
                let rule = self.rules.rule();
                let next = if max.is_none() { (count + 1).min(width) } else { count + 1 };
                if let Some(target) = after.get(next as usize) {
                    let mut way = if count > 0 { vec![comma] } else { Vec::new() };
                    way.extend(item);
                    way.push(*target);
                    self.rules.add(rule, way);
                }
                if !prop.required {
                    self.rules.add(rule, vec![after[count as usize]]);
                }
                here.push(rule);
            }
            after = here;
        }
        Ok(after[0])
    }
}

/// The partitions of the numbers below `n` into blocks.
fn partitions(n: usize) -> Vec<Vec<Vec<usize>>> {
    let mut all: Vec<Vec<Vec<usize>>> = vec![Vec::new()];
    for number in 0..n {
        let mut more = Vec::new();
        for partition in all {
            for i in 0..partition.len() {
                let mut with: Vec<Vec<usize>> = partition.clone();
                with[i].push(number);
                more.push(with);
            }
            let mut with = partition;
            with.push(vec![number]);
            more.push(with);
        }
        all = more;
    }
    all
}
