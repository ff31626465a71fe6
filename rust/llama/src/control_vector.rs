//! Control vectors, which are added to the outputs of layers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tabagent_gguf::ControlVectorFile;

use crate::adapter_error::ControlVectorError;
use crate::context::Context;
use crate::log;
use crate::model::Model;

/// A direction for some layers of a model. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlVector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Identifies it: unlike an address, it is never used twice.
    id: u64,
    name: String,
    model_hint: Option<String>,
    directions: BTreeMap<u32, Vec<f32>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Architectures whose graphs do not call `build_cvec` (`src/models`).
const WITHOUT: [&str; 6] = ["dflash", "eagle3", "gemma4-assistant", "hy_v4", "plamo2", "qwen3tts"];

impl ControlVector {
    /// The name of its file, or of the argument that it was made of.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The architecture of the model that it was made for, if its file says so.
    pub fn model_hint(&self) -> Option<&str> {
        self.0.model_hint.as_deref()
    }

    /// The layers that it moves, in order.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = u32> {
        self.0.directions.keys().copied()
    }
}

impl Model {
    /// The last layer that a control vector can move; 0 if there is none. Layer 0 cannot be moved.
    pub fn last_control_layer(&self) -> u32 {
        self.facts().layers.saturating_sub(1)
    }

    /// Reads a control vector, a GGUF file of the architecture `controlvector`, for this model.
    ///
    /// # Errors
    /// See [`ControlVectorError`].
    pub fn load_control_vector(&self, path: impl AsRef<Path>) -> Result<ControlVector, ControlVectorError> {
        let path = path.as_ref();
        let ControlVectorFile { model_hint, directions, .. } = ControlVectorFile::open(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.check_control_vector(name, model_hint, directions)
    }

    /// A control vector of numbers: the direction of each layer that it moves.
    ///
    /// # Errors
    /// [`ControlVectorError::Unfit`], [`ControlVectorError::Architecture`].
    pub fn control_vector(
        &self,
        name: &str,
        directions: BTreeMap<u32, Vec<f32>>,
    ) -> Result<ControlVector, ControlVectorError> {
        self.check_control_vector(name.to_owned(), None, directions)
    }

    fn check_control_vector(
        &self,
        name: String,
        model_hint: Option<String>,
        directions: BTreeMap<u32, Vec<f32>>,
    ) -> Result<ControlVector, ControlVectorError> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let vector = ControlVector(Arc::new(Inner { id, name, model_hint, directions }));
        vector.check(self)?;
        Ok(vector)
    }
}

impl ControlVector {
    /// Proves that it fits `model`: llama.cpp passes over layers that it does not have, and adds NaN as it does other numbers.
    fn check(&self, model: &Model) -> Result<(), ControlVectorError> {
        let architecture = &model.facts().architecture;
        if WITHOUT.contains(&architecture.as_str()) {
            return Err(ControlVectorError::Architecture { architecture: architecture.clone() });
        }
        let unfit = |problem: String| ControlVectorError::Unfit { name: self.0.name.clone(), problem };
        let (width, most) = (model.facts().embedding_dim as usize, model.last_control_layer());
        if self.0.directions.is_empty() {
            return Err(unfit("it moves no layer".to_owned()));
        }
        for (layer, direction) in &self.0.directions {
            if !(1..=most).contains(layer) {
                let problem = format!(
                    "it moves layer `{layer}`, but control vectors move layers `1` to `{most}` of this model"
                );
                return Err(unfit(problem));
            }
            if direction.len() != width {
                let problem = format!(
                    "its direction of layer `{layer}` has `{}` numbers, but this model's layers give `{width}`",
                    direction.len()
                );
                return Err(unfit(problem));
            }
            if let Some(index) = direction.iter().position(|number| !number.is_finite()) {
                let problem = format!(
                    "number `{index}` of its direction of layer `{layer}` is `{}`, which is not finite",
                    direction[index]
                );
                return Err(unfit(problem));
            }
        }
        Ok(())
    }
}

/// Control vectors that are added together, each times a scale, to what some layers give. Cheap to clone; the default adds nothing.
///
/// Sums are equal if they add the same numbers to the same layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlSum(Option<Arc<Sum>>);

#[derive(Debug)]
struct Sum {
    /// The direction of every layer from 1 on, zeros where there is none.
    numbers: Vec<f32>,
    layers: RangeInclusive<u32>,
    /// What it was made of: the layers, and of each vector the number and the bits of the scale.
    key: Vec<u64>,
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key || (self.layers == other.layers && self.numbers == other.numbers)
    }
}

impl ControlSum {
    /// The sum of `vectors` for all layers of `model`, or for `layers` alone. No vectors, no change.
    ///
    /// # Errors
    /// See [`ControlVectorError`].
    pub fn new(
        model: &Model,
        vectors: &[(ControlVector, f32)],
        layers: Option<RangeInclusive<u32>>,
    ) -> Result<Self, ControlVectorError> {
        let most = model.last_control_layer();
        let layers = layers.unwrap_or(1..=most);
        if !vectors.is_empty() && (*layers.start() < 1 || *layers.end() > most || layers.is_empty()) {
            return Err(ControlVectorError::Layers { first: *layers.start(), last: *layers.end(), most });
        }
        let width = model.facts().embedding_dim as usize;
        let mut key = vec![u64::from(*layers.start()), u64::from(*layers.end())];
        let mut numbers = Vec::new();
        for (vector, scale) in vectors {
            vector.check(model)?;
            key.extend([vector.0.id, u64::from(scale.to_bits())]);
            numbers.resize(width * most as usize, 0.0);
            for (layer, direction) in &vector.0.directions {
                let start = width * (*layer as usize - 1);
                for (sum, number) in numbers.iter_mut().skip(start).zip(direction) {
                    *sum += number * scale;
                }
            }
            if !scale.is_finite() || numbers.iter().any(|number| !number.is_finite()) {
                return Err(ControlVectorError::Scale { name: vector.name().to_owned(), scale: *scale });
            }
        }
        if numbers.iter().all(|number| *number == 0.0) {
            return Ok(Self::default());
        }
        Ok(Self(Some(Arc::new(Sum { numbers, layers, key }))))
    }

    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Its numbers, for every layer from 1 on, and the layers that they are added to; `None` for one that adds nothing.
    pub fn numbers(&self) -> Option<(&[f32], RangeInclusive<u32>)> {
        self.0.as_ref().map(|sum| (sum.numbers.as_slice(), sum.layers.clone()))
    }

    /// The sum that another process made, with its [`numbers`](Self::numbers) and its [`key`](Self::key). [`Context::set_control`] checks that it fits.
    pub fn from_numbers(numbers: Vec<f32>, layers: RangeInclusive<u32>, key: Vec<u64>) -> Self {
        Self(Some(Arc::new(Sum { numbers, layers, key })))
    }

    /// What it was made of: sums of equal keys are equal. Empty for one that adds nothing.
    pub fn key(&self) -> &[u64] {
        self.0.as_ref().map_or(&[], |sum| &sum.key)
    }
}

impl Context {
    /// Has all decodes from now on add the sum of these control vectors, each times a scale, to what the layers give: all of them, or `layers`
    /// alone; see [`Context::set_control`].
    ///
    /// # Errors
    /// See [`ControlVectorError`]. After an error what is added is what was added before.
    pub fn set_control_vectors(
        &mut self,
        vectors: &[(ControlVector, f32)],
        layers: Option<RangeInclusive<u32>>,
    ) -> Result<(), ControlVectorError> {
        let sum = ControlSum::new(self.model(), vectors, layers)?;
        self.set_control(&sum)
    }

    /// Has all decodes from now on add `sum`, in place of what was added before.
    ///
    /// Costs nothing where that is set already. What is in the context was computed with the vectors of its time: remove a sequence to compute it
    /// anew.
    ///
    /// # Errors
    /// [`ControlVectorError::Unfit`] for a sum that was made for a model of another shape, and [`ControlVectorError::Refused`]. After an error what is
    /// added is what was added before.
    pub fn set_control(&mut self, sum: &ControlSum) -> Result<(), ControlVectorError> {
        if self.control == *sum {
            return Ok(());
        }
        match &sum.0 {
            Some(added) => {
                self.check_sum(added)?;
                self.send_control(added.numbers.as_ptr(), added.numbers.len(), &added.layers)?;
            }
            None => self.send_control(std::ptr::null(), 0, &(0..=0))?,
        }
        self.control = sum.clone();
        Ok(())
    }

    /// Refuses what was summed up for a model of another shape.
    fn check_sum(&self, sum: &Sum) -> Result<(), ControlVectorError> {
        let wanted = self.model().facts().embedding_dim as usize * self.model().last_control_layer() as usize;
        if sum.numbers.len() == wanted {
            return Ok(());
        }
        let problem = format!(
            "it was made for a model whose layers take `{}` numbers together, but those of this one take `{wanted}`",
            sum.numbers.len()
        );
        Err(ControlVectorError::Unfit { name: "sum".to_owned(), problem })
    }

    fn send_control(
        &mut self,
        numbers: *const f32,
        len: usize,
        layers: &RangeInclusive<u32>,
    ) -> Result<(), ControlVectorError> {
        let width = self.model().facts().embedding_dim.cast_signed();
        let (first, last) = (layers.start().cast_signed(), layers.end().cast_signed());
        // SAFETY: the context is live; no decode is left to finish when the numbers are replaced.
        unsafe { (self.api().llama_synchronize)(self.ptr()) };
        let set = self.api().llama_set_adapter_cvec;
        let context = self.ptr();
        // SAFETY: the context is live; `numbers` is null, which clears, or has `len` numbers: those of every layer from 1 on, so that none of an
        // earlier vector stays (`llama_adapter_cvec::apply` in `src/llama-adapter.cpp` leaves layers alone that are not given).
        let (code, log) = log::capture(|| unsafe { set(context, numbers, len, width, first, last) });
        self.reserves = true;
        if code == 0 { Ok(()) } else { Err(ControlVectorError::Refused { log }) }
    }
}
