//! A model whose weights are placed on a device.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use tabagent_gguf::{GgufError, GgufModel, Progress, check_data};
use tabagent_kernels::RopeOptions;

use crate::blueprint::Blueprint;
use crate::device::Device;
use crate::error::LoadError;
use crate::rope_plan::RopePlan;
use crate::weights_plan::{MatrixId, MatrixNeed, VectorId, WeightsPlan, numbers};

/// A model, ready to be computed: its blueprint, and its weights on a device. Decoders share it.
#[derive(Debug)]
pub struct LoadedModel<D: Device> {
    blueprint: Blueprint,
    plan: WeightsPlan,
    matrices: Vec<D::Matrix>,
    vectors: Vec<D::Vector>,
    /// The tensors that rotations may be divided by, by name.
    factors: Vec<(&'static str, Vec<f32>)>,
    fingerprint: [u8; 32],
}

impl<D: Device> LoadedModel<D> {
    /// Opens a GGUF file, and its other parts, and loads it; see [`LoadedModel::load`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(path: &Path, device: &D, progress: Progress<'_>) -> Result<Self, LoadError> {
        Self::load(&GgufModel::open(path)?, device, progress)
    }

    /// Places a model's weights on `device`, on all of its threads. The file is not needed afterwards.
    ///
    /// `progress` is called from any thread with bytes of the file that are placed and the total, and ends the work by returning false. All weights are
    /// looked through on the way: one that is NaN or infinite is an error.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(file: &GgufModel, device: &D, progress: Progress<'_>) -> Result<Self, LoadError> {
        if let Some(part) = file.parts().iter().find(|part| part.is_header_only()) {
            return Err(LoadError::System(format!("`{}` was read without its tensors", part.file_name())));
        }
        let blueprint = Blueprint::read(file.metadata())?;
        let plan = WeightsPlan::new(&blueprint, file)?;
        check_data(file, &|_, _| progress(0, file.file_size())).map_err(|error| match error {
            GgufError::Cancelled => LoadError::Cancelled,
            other => LoadError::Gguf(other),
        })?;
        for tensor in file.tensors() {
            tensor.file.let_go(tensor.info, 0..usize::MAX);
        }
        let factors = rope_factors(&blueprint, file)?;
        let matrices = place_matrices(&plan, file, device, progress)?;
        let place = |(name, n): &(String, usize)| {
            device.place_vector(numbers(file, name, *n)?).map_err(|error| LoadError::System(error.0))
        };
        let vectors = plan.needs.vectors.iter().map(place).collect::<Result<_, _>>()?;
        let mut digest = Sha256::new();
        digest.update(format!("{blueprint:?}"));
        for tensor in file.tensors() {
            let info = tensor.info;
            digest.update(format!("{} {} {}", info.name, info.ggml_type, info.shape));
        }
        Ok(Self { blueprint, plan, matrices, vectors, factors, fingerprint: digest.finalize().into() })
    }

    /// What it computes.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// How many tokens it knows: the numbers of a row of logits.
    pub fn n_vocab(&self) -> usize {
        self.plan.n_vocab
    }

    /// Bytes of its matrices on the device.
    pub fn n_bytes(&self) -> usize {
        self.matrices.iter().map(D::matrix_bytes).sum()
    }

    /// Tells apart models of different structure.
    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    pub(crate) fn plan(&self) -> &WeightsPlan {
        &self.plan
    }

    pub(crate) fn matrix(&self, id: MatrixId) -> &D::Matrix {
        &self.matrices[id.0]
    }

    pub(crate) fn vector(&self, id: VectorId) -> &D::Vector {
        &self.vectors[id.0]
    }

    /// A rotation's options for contexts of `n_ctx` tokens.
    pub(crate) fn rope_options(&self, rope: &RopePlan, n_ctx: usize) -> RopeOptions {
        let find = |name: &str| self.factors.iter().find(|(known, _)| *known == name);
        let factors = rope.factor_tensors(n_ctx).into_iter().find_map(find).filter(|_| rope.has_factors);
        RopeOptions { freq_factors: factors.map(|(_, factors)| factors.clone()), ..rope.options.clone() }
    }
}

fn rope_factors(blueprint: &Blueprint, file: &GgufModel) -> Result<Vec<(&'static str, Vec<f32>)>, LoadError> {
    let mut found = Vec::new();
    let Some(rope) = blueprint.ropes.iter().find(|rope| rope.has_factors) else { return Ok(found) };
    let n_pairs = rope.options.n_dims / 2;
    for name in ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"] {
        let Some(tensor) = file.tensor(name) else { continue };
        let error = |problem| Err(LoadError::Tensor { name: name.to_owned(), problem });
        if tensor.info.shape.dims() != [n_pairs as u64] {
            return error(format!("has shape `{}`, but must have `[{n_pairs}]`", tensor.info.shape));
        }
        let factors = numbers(file, name, n_pairs)?;
        if let Some(wrong) = factors.iter().find(|factor| **factor <= 0.0) {
            return error(format!("has a factor `{wrong}`, but all must be above `0`"));
        }
        found.push((name, factors));
    }
    Ok(found)
}

/// Places all matrices, the largest first, so that no thread is left with one at the end.
fn place_matrices<D: Device>(
    plan: &WeightsPlan,
    file: &GgufModel,
    device: &D,
    progress: Progress<'_>,
) -> Result<Vec<D::Matrix>, LoadError> {
    let needs = &plan.needs.matrices;
    let size = |need: &MatrixNeed| {
        file.tensor(&need.tensor).map_or(0, |tensor| tensor.info.n_bytes / need.n_parts as u64)
    };
    let total = needs.iter().map(size).sum();
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(size(&needs[*index])));
    let (done, is_cancelled) = (AtomicU64::new(0), AtomicBool::new(!progress(0, total)));
    let placed: Vec<OnceLock<D::Matrix>> = needs.iter().map(|_| OnceLock::new()).collect();
    let failed = Mutex::new(None);
    let place = |turn: usize| {
        if is_cancelled.load(Ordering::Relaxed) {
            return;
        }
        let index = order[turn];
        match place_matrix(&needs[index], file, device) {
            Ok(matrix) => _ = placed[index].set(matrix),
            Err(error) => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                is_cancelled.store(true, Ordering::Relaxed);
            }
        }
        let bytes = size(&needs[index]);
        if !progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            is_cancelled.store(true, Ordering::Relaxed);
        }
    };
    device.spread(needs.len(), &place).map_err(|error| LoadError::System(error.0))?;
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if is_cancelled.into_inner() {
        return Err(LoadError::Cancelled);
    }
    placed.into_iter().map(|matrix| matrix.into_inner().ok_or(LoadError::Cancelled)).collect()
}

fn place_matrix<D: Device>(need: &MatrixNeed, file: &GgufModel, device: &D) -> Result<D::Matrix, LoadError> {
    let name = || need.tensor.clone();
    let Some(tensor) = file.tensor(&need.tensor) else {
        return Err(LoadError::Tensor { name: name(), problem: "is missing".to_owned() });
    };
    let ggml_type = tensor.info.ggml_type;
    let failed = |reason: String| LoadError::Type { name: name(), ggml_type, reason };
    let bytes = tensor.little_endian_data();
    let n_bytes = bytes.len() / need.n_parts;
    if n_bytes * need.n_parts != bytes.len() || bytes.is_empty() {
        return Err(failed(format!("its bytes cannot be divided among `{}` experts", need.n_parts)));
    }
    let part = bytes.get(need.part * n_bytes..).and_then(|rest| rest.get(..n_bytes)).unwrap_or_default();
    let placed =
        device.place_matrix(ggml_type, need.n_cols, need.n_rows, part).map_err(|error| failed(error.0));
    // What is placed need not be in memory twice.
    tensor.file.let_go(tensor.info, need.part * n_bytes..(need.part + 1) * n_bytes);
    placed
}
