//! `anyOf` and `oneOf`.

use serde_json::Value;

use super::meaning::{Here, Meaning, Meant};
use super::parts::Key;
use super::text::Text;
use super::values::{Array, Object, TooMany, Values};
use crate::constraint::limits::MAX_SCHEMA_STEPS;

/// Up to how many branches of a `oneOf` are kept apart.
const MAX_ONE_OF: usize = 300;
/// Of how many branches of an `anyOf` all combinations are formed where it matters which of them apply.
const MAX_COMBINED: usize = 6;
/// How deep two schemas are compared for a property or an item that tells them apart.
const MAX_COMPARE_DEPTH: usize = 4;

impl<'a> Meaning<'a> {
    pub(super) fn any_of(&mut self, branches: &'a [Value], here: Here<'a>) -> Meant<Values> {
        let mut matter = Vec::new();
        for branch in branches {
            let values = self.applied(branch, here)?;
            if *values == Values::all() && !here.annotate {
                return Ok(Values::all());
            }
            if !values.is_none() {
                matter.push(values);
            }
        }
        let all = Values::any(matter.iter().map(|values| &**values));
        if !here.annotate {
            return Ok(all);
        }
        // Every branch that fits evaluates what it knows, so that it matters which ones do.
        if matter.len() > MAX_COMBINED {
            return Ok(super::unevaluated::all_evaluated(all));
        }
        let mut combined: Vec<Values> = Vec::new();
        for branch in matter {
            for i in 0..combined.len() {
                match self.and(&combined[i], &branch) {
                    Ok(both) if both.is_none() => {}
                    Ok(both) => combined.push(both),
                    Err(TooMany) => return Ok(super::unevaluated::all_evaluated(all)),
                }
            }
            combined.push((*branch).clone());
        }
        Ok(Values::any(&combined))
    }

    pub(super) fn one_of(&mut self, branches: &'a [Value], here: Here<'a>) -> Meant<Values> {
        let sets = branches.iter().map(|branch| self.applied(branch, here)).collect::<Meant<Vec<_>>>()?;
        if branches.len() > MAX_ONE_OF {
            self.limit(here.place, "oneOf", "more than one of the schemas may fit");
            return Ok(Values::any(sets.iter().map(|set| &**set)).inexact());
        }
        let mut all = Vec::new();
        let mut overlapping = vec![Vec::new(); branches.len()];
        for i in 0..branches.len() {
            for j in 0..i {
                if !self.are_disjoint(&sets[i], &sets[j], MAX_COMPARE_DEPTH) {
                    overlapping[i].push(j);
                    overlapping[j].push(i);
                }
            }
        }
        for (set, others) in sets.iter().zip(overlapping) {
            let mut only = (**set).clone();
            for other in others {
                if only.is_none() {
                    break;
                }
                let not = self.not_applied(&branches[other], here, "oneOf")?;
                only = self.and_or_limit(
                    &only,
                    &not,
                    (here.place, "oneOf"),
                    "more than one of the schemas may fit",
                );
            }
            all.push(only);
        }
        Ok(Values::any(&all))
    }

    /// Whether no value is in both, as far as types, values, properties and items tell.
    fn are_disjoint(&mut self, one: &Values, two: &Values, depth: usize) -> bool {
        let scalars = one.null && two.null || one.yes && two.yes || one.no && two.no;
        if scalars || !one.numbers.and(&two.numbers).is_none() || one.strings.and(&two.strings) != Text::Never
        {
            return false;
        }
        self.work.steps += one.objects.len() * two.objects.len() + one.arrays.len() * two.arrays.len();
        if self.work.steps > MAX_SCHEMA_STEPS {
            return false;
        }
        for a in &one.arrays {
            for b in &two.arrays {
                let long = |a: &Array, b: &Array| a.max.is_some_and(|max| max < b.min);
                let shared = usize::try_from(a.min.max(b.min))
                    .unwrap_or(usize::MAX)
                    .min(a.prefix.len().max(b.prefix.len()) + 1);
                let apart = long(a, b)
                    || long(b, a)
                    || (0..shared).any(|i| self.nodes_disjoint(&a.item(i).node, &b.item(i).node, depth));
                if !apart {
                    return false;
                }
            }
        }
        for a in &one.objects {
            for b in &two.objects {
                if !self.objects_disjoint(a, b, depth) && !self.objects_disjoint(b, a, depth) {
                    return false;
                }
            }
        }
        true
    }

    fn objects_disjoint(&mut self, one: &Object, two: &Object, depth: usize) -> bool {
        one.props.iter().filter(|prop| prop.required).any(|prop| {
            let other = two.slot(&prop.name).0.node;
            self.nodes_disjoint(&prop.slot.node, &other, depth)
        })
    }

    fn nodes_disjoint(&mut self, one: &Key, two: &Key, depth: usize) -> bool {
        if one.is_never() || two.is_never() {
            return true;
        }
        if one.is_any() || two.is_any() || depth == 0 || one == two {
            return false;
        }
        // A schema whose set is being found tells nothing yet.
        let (Ok(one), Ok(two)) = (self.values(one), self.values(two)) else { return false };
        self.are_disjoint(&one, &two, depth - 1)
    }
}
