//! Control vectors, which are added to the outputs of layers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

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
    name: String,
    model_hint: Option<String>,
    directions: BTreeMap<u32, Vec<f32>>,
}

/// What is added in a context.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Control {
    /// The direction of every layer from 1 on, zeros where there is none.
    numbers: Vec<f32>,
    layers: RangeInclusive<u32>,
}

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
        let vector = ControlVector(Arc::new(Inner { name, model_hint, directions }));
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

impl Context {
    /// Has all decodes from now on add the sum of these control vectors, each times a scale, to what the layers give: all of them, or `layers`
    /// alone. No vectors, no change.
    ///
    /// Costs nothing where that is set already. What is in the context was computed with the vectors of its time: remove a sequence to compute it
    /// anew.
    ///
    /// # Errors
    /// See [`ControlVectorError`]. After an error what is added is what was added before.
    pub fn set_control_vectors(
        &mut self,
        vectors: &[(ControlVector, f32)],
        layers: Option<RangeInclusive<u32>>,
    ) -> Result<(), ControlVectorError> {
        let most = self.model().last_control_layer();
        let layers = layers.unwrap_or(1..=most);
        if !vectors.is_empty() && (*layers.start() < 1 || *layers.end() > most || layers.is_empty()) {
            return Err(ControlVectorError::Layers { first: *layers.start(), last: *layers.end(), most });
        }
        let width = self.model().facts().embedding_dim as usize;
        let mut numbers = Vec::new();
        for (vector, scale) in vectors {
            vector.check(self.model())?;
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
            return self.clear_control();
        }
        self.apply_control(Control { numbers, layers })
    }

    fn clear_control(&mut self) -> Result<(), ControlVectorError> {
        if self.control.is_none() {
            return Ok(());
        }
        self.send_control(std::ptr::null(), 0, &(0..=0))?;
        self.control = None;
        Ok(())
    }

    /// Sets numbers that were checked.
    pub(crate) fn apply_control(&mut self, control: Control) -> Result<(), ControlVectorError> {
        if self.control.as_ref() == Some(&control) {
            return Ok(());
        }
        self.send_control(control.numbers.as_ptr(), control.numbers.len(), &control.layers)?;
        self.control = Some(control);
        Ok(())
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
