//! What a render has used, and what it may use.

use std::cell::Cell;
use std::rc::Rc;

use super::fault::{Fault, FaultKind, Outcome};

/// How deep values may lie in each other.
pub(crate) const VALUE_DEPTH: u32 = 200;

/// Bytes that are copied or compared at the price of one step.
const BYTES_A_STEP: usize = 64;

/// Counts the steps and the live bytes of one render.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: Cell<u64>,
    live: Cell<usize>,
    most: Cell<usize>,
}

impl Meter {
    pub(crate) fn new(steps: u64, bytes: usize) -> Rc<Self> {
        Rc::new(Self { steps: Cell::new(steps), live: Cell::new(0), most: Cell::new(bytes) })
    }

    /// Uses `n` steps.
    pub(crate) fn spend(&self, n: u64) -> Outcome<()> {
        match self.steps.get().checked_sub(n) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(Fault::new(FaultKind::Limit, "the template takes more steps than a render may take")),
        }
    }

    /// Uses the steps that an operation over `bytes` bytes costs.
    pub(crate) fn scan(&self, bytes: usize) -> Outcome<()> {
        self.spend((bytes / BYTES_A_STEP) as u64)
    }

    /// Lets the render hold `bytes` more: what the caller handed in is no fault of the template.
    pub(crate) fn allow(&self, bytes: usize) {
        self.most.set(self.most.get().saturating_add(bytes));
    }

    /// Takes memory until the charge is dropped.
    pub(crate) fn take(self: &Rc<Self>, bytes: usize) -> Outcome<Charge> {
        let mut charge = Charge { meter: Rc::clone(self), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }
}

/// Memory that a value holds.
#[derive(Debug)]
pub(crate) struct Charge {
    meter: Rc<Meter>,
    bytes: usize,
}

impl Charge {
    /// Takes `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Outcome<()> {
        let live = self.meter.live.get().saturating_add(bytes);
        if live > self.meter.most.get() {
            return Err(Fault::new(FaultKind::Limit, "the template needs more memory than a render may use"));
        }
        self.meter.live.set(live);
        self.bytes += bytes;
        self.meter.scan(bytes)
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.live.set(self.meter.live.get() - self.bytes);
    }
}
