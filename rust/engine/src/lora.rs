//! Adapters: products of two narrow matrices that are added to what a model's matrices give (Hu et al., 2021, arXiv 2106.09685).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tabagent_gguf::{GgufModel, LoadableAdapter};

use crate::device::{Device, DeviceError};
use crate::error::LoadError;
use crate::loaded_model::LoadedModel;
use crate::weights_plan::{MatrixId, numbers};

/// What an adapter adds to one matrix.
struct Change<D: Device> {
    /// From the matrix's columns to the rank.
    down: D::Matrix,
    /// From the rank to the matrix's rows.
    up: D::Matrix,
    scale: f32,
}

/// An adapter on the device of a model.
pub struct LoraAdapter<D: Device> {
    model: Arc<LoadedModel<D>>,
    changes: HashMap<MatrixId, Change<D>>,
}

impl<D: Device> LoraAdapter<D> {
    /// Loads an adapter for `model`, which `file` is: a GGUF file, a folder of the `peft` library, or the `.safetensors` file in one.
    ///
    /// # Errors
    /// [`LoadError::Adapter`] if it is none, is damaged, or belongs to another model; [`LoadError::Tensor`] if it changes a tensor that this engine
    /// does not multiply with, such as the table of tokens; [`LoadError::System`].
    pub fn open(
        path: &Path,
        file: &GgufModel,
        model: &Arc<LoadedModel<D>>,
        device: &D,
    ) -> Result<Self, LoadError> {
        let system =
            |error: std::io::Error| LoadError::System(format!("cannot make a temporary folder: {error}"));
        let adapter = LoadableAdapter::open(path, file)?;
        if !adapter.invocation_tokens().is_empty() {
            let problem =
                "is of an adapter that works from certain tokens on, which this engine does not know"
                    .to_owned();
            return Err(LoadError::Key { key: "adapter.alora.invocation_tokens".to_owned(), problem });
        }
        // The adapter in one form, whichever it came in.
        let folder = tempfile::tempdir().map_err(system)?;
        let written = folder.path().join("adapter.gguf");
        adapter.write_to(&written)?;
        let written = GgufModel::open(&written)?;
        let alpha =
            written.metadata().get("adapter.lora.alpha").and_then(|alpha| alpha.as_f64()).unwrap_or(0.0);
        let mut changes = HashMap::new();
        for name in adapter.changed() {
            let parts: Vec<(usize, &crate::weights_plan::MatrixNeed)> = model
                .plan()
                .needs
                .matrices
                .iter()
                .enumerate()
                .filter(|(_, need)| need.tensor == name)
                .collect();
            if parts.is_empty() || MatrixId(parts[0].0) == model.plan().embedding {
                let problem = "is changed by the adapter, which this engine cannot do there".to_owned();
                return Err(LoadError::Tensor { name: name.to_owned(), problem });
            }
            for (index, need) in parts {
                let change = Self::change(name, need.part, need.n_parts, &written, alpha, device)?;
                changes.insert(MatrixId(index), change);
            }
        }
        Ok(Self { model: Arc::clone(model), changes })
    }

    /// The two matrices for part `part` of a tensor.
    fn change(
        name: &str,
        part: usize,
        n_parts: usize,
        file: &GgufModel,
        alpha: f64,
        device: &D,
    ) -> Result<Change<D>, LoadError> {
        let place = |mark: &str| {
            let name = format!("{name}.{mark}");
            let shape = file.tensor(&name).map(|tensor| tensor.info.shape);
            let (n_cols, n_rows) =
                shape.map_or((0, 0), |shape| (shape.dim(0) as usize, shape.dim(1) as usize));
            let all = numbers(file, &name, n_cols * n_rows * n_parts)?;
            let own = all.get(part * n_cols * n_rows..).and_then(|rest| rest.get(..n_cols * n_rows));
            let bytes: Vec<u8> =
                own.unwrap_or_default().iter().flat_map(|number| number.to_le_bytes()).collect();
            let matrix = device.place_matrix(tabagent_gguf::GgmlType::F32, n_cols, n_rows, &bytes);
            let failed = |DeviceError(problem)| LoadError::Tensor { name: name.clone(), problem };
            Ok::<_, LoadError>((matrix.map_err(failed)?, n_cols))
        };
        let ((down, _), (up, rank)) = (place("lora_a")?, place("lora_b")?);
        let scale = if alpha == 0.0 { 1.0 } else { (alpha / rank.max(1) as f64) as f32 };
        Ok(Change { down, up, scale })
    }

    /// Whether it was loaded for this model.
    pub(crate) fn is_for(&self, model: &Arc<LoadedModel<D>>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }
}

impl<D: Device> std::fmt::Debug for LoraAdapter<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoraAdapter").field("n_changes", &self.changes.len()).finish_non_exhaustive()
    }
}

/// Adapters with their scales: what a `tabagent_runtime::Group` holds for requests that an [`EngineDecoder`](crate::EngineDecoder) decodes with them.
///
/// ```no_run
/// use std::sync::Arc;
/// use tabagent_engine::{Cpu, LoraAdapter, LoraMix};
/// use tabagent_runtime::Group;
///
/// # fn group(adapter: Arc<LoraAdapter<Cpu>>) -> Group {
/// // The key tells this mix from all others.
/// let mix = LoraMix::new(vec![(adapter, 0.8)]);
/// Group::new([1, u64::from(0.8_f32.to_bits())], mix)
/// # }
/// ```
#[derive(Debug)]
pub struct LoraMix<D: Device>(Vec<(Arc<LoraAdapter<D>>, f32)>);

impl<D: Device> Clone for LoraMix<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Device> LoraMix<D> {
    /// Adapters, each with what its products are multiplied with.
    pub fn new(adapters: Vec<(Arc<LoraAdapter<D>>, f32)>) -> Self {
        Self(adapters)
    }

    pub(crate) fn is_for(&self, model: &Arc<LoadedModel<D>>) -> bool {
        self.0.iter().all(|(adapter, scale)| adapter.is_for(model) && scale.is_finite())
    }

    /// Adds what the adapters make of `input` to what matrix `id` made of it.
    pub(crate) fn add(
        &self,
        device: &mut D,
        id: MatrixId,
        input: &D::Buffer,
        out: &mut D::Buffer,
    ) -> Result<(), DeviceError> {
        for (adapter, scale) in &self.0 {
            let Some(change) = adapter.changes.get(&id) else { continue };
            let (mut narrow, mut wide) = (D::Buffer::default(), D::Buffer::default());
            device.multiply(&[&change.down], input, &mut [&mut narrow])?;
            device.multiply(&[&change.up], &narrow, &mut [&mut wide])?;
            device.add(&wide, change.scale * scale, out);
        }
        Ok(())
    }
}
