//! The filters that order and group values.

use super::arguments::Call;
use super::ast::BinaryOp;
use super::compare::{equal, order, sort_by_key};
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::number;
use super::repr;
use super::value::{Items, Value};

impl Interpreter<'_> {
    /// Applies `dictsort`, `sort`, `groupby`, `min`, `max` or `sum`.
    pub(crate) fn ordered(&mut self, name: &str, value: &Value, call: Call) -> Outcome<Value> {
        match name {
            "dictsort" => self.sorted_dict(value, call),
            "sort" => self.sorted(value, call),
            "groupby" => self.grouped(value, call),
            "sum" => self.sum(value, call),
            _ => self.extreme(name, value, call),
        }
    }

    fn sorted_dict(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let bound = call.bind("do_dictsort", &["case_sensitive", "by", "reverse"], 0)?;
        let by_value = match bound.get(1).and_then(Value::as_str).unwrap_or("key") {
            "key" => false,
            "value" => true,
            _ => return Err(value_fault("You can only sort by either \"key\" or \"value\"")),
        };
        let Value::Dict(dict) = value else {
            value.must_exist()?;
            let owner = repr::quoted(value.type_name());
            return Err(type_fault(format!("{owner} object has no attribute 'items'")));
        };
        let mut entries = Vec::with_capacity(dict.len());
        for (key, value) in dict.iter() {
            let by = if by_value { value.clone() } else { key.clone() };
            let by = if bound.flag(0) { by } else { self.ignore_case(by)? };
            entries.push((by, vec![key.clone(), value.clone()]));
        }
        sort_by_key(&self.meter, &mut entries, bound.flag(2))?;
        let mut pairs = Vec::with_capacity(entries.len());
        for (_, pair) in entries {
            pairs.push(Value::tuple(&self.meter, pair)?);
        }
        Value::list(&self.meter, pairs)
    }

    fn sorted(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_sort", &["reverse", "case_sensitive", "attribute"], 0)?;
        let mut paths = Vec::new();
        match bound.take(2) {
            Some(Value::Str(text)) => {
                for part in text.as_str().split(',') {
                    let part = self.made(part)?;
                    paths.push(self.path(Some(part))?);
                }
            }
            other => paths.push(self.path(other)?),
        }
        let mut entries = Vec::new();
        for item in self.collect(value)? {
            let mut keys = Vec::with_capacity(paths.len());
            for path in &paths {
                let key = self.path_of(&item, path, None)?;
                keys.push(if bound.flag(1) { key } else { self.ignore_case(key)? });
            }
            entries.push((Value::list(&self.meter, keys)?, item));
        }
        sort_by_key(&self.meter, &mut entries, bound.flag(0))?;
        Value::list(&self.meter, entries.into_iter().map(|(_, item)| item).collect())
    }

    fn grouped(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_groupby", &["attribute", "default", "case_sensitive"], 1)?;
        let path = self.path(bound.take(0))?;
        let default = bound.take(1).filter(|default| !matches!(default, Value::None));
        let sensitive = bound.flag(2);
        let mut entries = Vec::new();
        for item in self.collect(value)? {
            let key = self.path_of(&item, &path, default.as_ref())?;
            entries.push((if sensitive { key } else { self.ignore_case(key)? }, item));
        }
        sort_by_key(&self.meter, &mut entries, false)?;
        let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
        for (key, item) in entries {
            match groups.last_mut() {
                Some((last, items)) if equal(&self.meter, last, &key)? => items.push(item),
                _ => groups.push((key, vec![item])),
            }
        }
        let mut made = Vec::with_capacity(groups.len());
        for (key, items) in groups {
            let key = if sensitive { key } else { self.path_of(&items[0], &path, default.as_ref())? };
            let items = Value::list(&self.meter, items)?;
            made.push(Value::Tuple(Items::with_group(&self.meter, vec![key, items], true)?));
        }
        Value::list(&self.meter, made)
    }

    fn extreme(&mut self, name: &str, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind(name, &["case_sensitive", "attribute"], 0)?;
        let path = self.path(bound.take(1))?;
        let mut best: Option<(Value, Value)> = None;
        for item in self.collect(value)? {
            let key = self.path_of(&item, &path, None)?;
            let key = if bound.flag(0) { key } else { self.ignore_case(key)? };
            let better = match &best {
                None => true,
                Some((held, _)) if name == "min" => {
                    order(&self.meter, &key, held, "<")?.is_some_and(std::cmp::Ordering::is_lt)
                }
                Some((held, _)) => {
                    order(&self.meter, &key, held, ">")?.is_some_and(std::cmp::Ordering::is_gt)
                }
            };
            if better {
                best = Some((key, item));
            }
        }
        Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
    }

    fn sum(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_sum", &["attribute", "start"], 0)?;
        let path = self.path(bound.take(0))?;
        let mut total = bound.take(1).unwrap_or(Value::Int(0));
        if matches!(total, Value::Str(_)) {
            return Err(type_fault("sum() can't sum strings [use ''.join(seq) instead]"));
        }
        for item in self.collect(value)? {
            let item = self.path_of(&item, &path, None)?;
            total = number::binary(&self.meter, BinaryOp::Add, &total, &item)?;
        }
        Ok(total)
    }
}
