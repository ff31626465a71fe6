//! What a render has used, and what it may use.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;

use super::fault::{Fault, FaultKind, Outcome};

/// How deep values may lie in each other.
pub(crate) const VALUE_DEPTH: u32 = 200;

/// Bytes that are copied or compared at the price of one step.
const BYTES_A_STEP: usize = 64;

/// After so many steps, and so much time, a render asks whether it is to end.
const STEPS_UNASKED: u64 = 4096;
const TIME_UNASKED: Duration = Duration::from_millis(20);

/// Counts the steps and the live bytes of one render.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: Cell<u64>,
    live: Cell<usize>,
    most: Cell<usize>,
    interrupt: Option<Interrupt>,
    /// How many steps are left at the next look at the clock, and when the render began or last asked.
    look_at: Cell<u64>,
    asked: Cell<Instant>,
}

impl Meter {
    pub(crate) fn new(steps: u64, bytes: usize, interrupt: Option<Interrupt>) -> Rc<Self> {
        Rc::new(Self {
            steps: Cell::new(steps),
            live: Cell::new(0),
            most: Cell::new(bytes),
            look_at: Cell::new(if interrupt.is_some() { steps.saturating_sub(STEPS_UNASKED) } else { 0 }),
            interrupt,
            asked: Cell::new(Instant::now()),
        })
    }

    /// Uses `n` steps.
    pub(crate) fn spend(&self, n: u64) -> Outcome<()> {
        match self.steps.get().checked_sub(n) {
            Some(left) => {
                self.steps.set(left);
                if left < self.look_at.get() { self.ask(left) } else { Ok(()) }
            }
            None => Err(Fault::new(FaultKind::Limit, "the template takes more steps than a render may take")),
        }
    }

    /// Asks whether the render is to end, if it is time to.
    #[cold]
    fn ask(&self, left: u64) -> Outcome<()> {
        self.look_at.set(left.saturating_sub(STEPS_UNASKED));
        let Some(interrupt) = &self.interrupt else { return Ok(()) };
        let is_time = self.asked.get().elapsed() >= TIME_UNASKED;
        if is_time {
            self.asked.set(Instant::now());
        }
        if interrupt.came() || (is_time && interrupt.is_wanted()) {
            return Err(Fault::new(FaultKind::Limit, "the render was interrupted"));
        }
        Ok(())
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
