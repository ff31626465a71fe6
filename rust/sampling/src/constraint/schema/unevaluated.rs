//! `unevaluatedProperties` and `unevaluatedItems`: what no schema that applies to the same value has evaluated.

use std::rc::Rc;

use super::meaning::{Here, Meaning};
use super::parts::Key;
use super::values::{Array, Object, Slot, Values};

/// What is said where it is not found out which schemas have evaluated what.
const LOOSE: &str = "what branches of an `anyOf` know that do not apply is allowed, too";

/// `values` as if every property and item had been evaluated.
pub(super) fn all_evaluated(mut values: Values) -> Values {
    for shape in &mut values.arrays {
        let shape = Rc::make_mut(shape);
        slots_of_array(shape).for_each(|slot| slot.evaluated = true);
        (shape.loose, shape.exact) = (true, false);
    }
    for shape in &mut values.objects {
        let shape = Rc::make_mut(shape);
        slots_of_object(shape).for_each(|slot| slot.evaluated = true);
        (shape.loose, shape.exact) = (true, false);
    }
    values
}

fn slots_of_array(array: &mut Array) -> impl Iterator<Item = &mut Slot> {
    array.prefix.iter_mut().chain([&mut array.rest])
}

fn slots_of_object(object: &mut Object) -> impl Iterator<Item = &mut Slot> {
    let props = object.props.iter_mut().map(|prop| &mut prop.slot);
    props.chain(object.classes.iter_mut().map(|class| &mut class.slot))
}

fn evaluate(slot: &mut Slot, node: &Key) {
    if !slot.evaluated {
        *slot = Slot::of(slot.node.and(node), true);
    }
}

impl<'a> Meaning<'a> {
    pub(super) fn unevaluated(&mut self, mut values: Values, here: Here<'a>) -> Values {
        if let Some(schema) = here.map.get("unevaluatedProperties") {
            let node = self.child(schema, here);
            if !node.is_any() && values.objects.iter().any(|shape| shape.loose) {
                self.limit(here.place, "unevaluatedProperties", LOOSE);
            }
            for shape in &mut values.objects {
                let shape = Rc::make_mut(shape);
                slots_of_object(shape).for_each(|slot| evaluate(slot, &node));
                shape.classes.retain(|class| class.names != super::text::Text::Never);
            }
            let is_dead =
                |shape: &Object| shape.props.iter().any(|prop| prop.required && prop.slot.node.is_never());
            values.objects.retain(|shape| !is_dead(shape));
        }
        if let Some(schema) = here.map.get("unevaluatedItems") {
            let node = self.child(schema, here);
            if !node.is_any() && values.arrays.iter().any(|shape| shape.loose) {
                self.limit(here.place, "unevaluatedItems", LOOSE);
            }
            for shape in &mut values.arrays {
                let shape = Rc::make_mut(shape);
                // An item that some `contains` matches is evaluated by it.
                let mut ways = vec![node.clone()];
                ways.append(&mut shape.contained);
                let node = self.parts.either(&ways);
                slots_of_array(shape).for_each(|slot| evaluate(slot, &node));
            }
        }
        values
    }
}
