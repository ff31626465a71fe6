use super::*;
use crate::layout::TensorLayout;
use crate::layouts::KNOWN;
use crate::types::ggml_tensor;

const fn int(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Int, default: 0 }
}

const fn boolean(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Bool, default: 1 }
}

const fn word(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Word, default: 0 }
}

/// Some fields as builds of 2024 have them.
const OLD: AbiLayout = AbiLayout {
    stem: "b1",
    name: "an old llama.cpp",
    versions: None,
    model_params: StructLayout {
        name: "llama_model_params",
        size: 40,
        fields: &[
            int("n_gpu_layers", 0),
            word("progress_callback", 8),
            word("progress_callback_user_data", 16),
            word("kv_overrides", 24),
            boolean("vocab_only", 32),
            boolean("use_mmap", 33),
            boolean("use_mlock", 34),
            boolean("check_tensors", 35),
        ],
    },
    context_params: StructLayout {
        name: "llama_context_params",
        size: 40,
        fields: &[
            int("n_ctx", 0),
            int("n_batch", 4),
            int("n_ubatch", 8),
            int("n_seq_max", 12),
            int("n_threads", 16),
            int("n_threads_batch", 20),
            int("type_k", 24),
            int("type_v", 28),
            boolean("embeddings", 32),
            boolean("flash_attn", 33),
            int("pooling_type", 36),
        ],
    },
    tensor: TensorLayout { size: 336, kind: 0, counts: 16, strides: 48, sources: 152 },
};

/// The fields of the old context but for the last.
const WITHOUT_POOLING: &[Field] = OLD.context_params.fields.split_last().unwrap().1;

/// A field whose type differs from that of every build.
const NARROW: &[Field] = &[boolean("n_gpu_layers", 0)];

unsafe extern "C-unwind" fn on_progress(_part: f32, _data: *mut c_void) -> bool {
    true
}

fn model() -> ModelSettings {
    ModelSettings {
        gpu_layers: None,
        placement: PlacementSettings::default(),
        memory_map: false,
        memory_lock: true,
        vocab_only: true,
        check_tensors: false,
        plain_weights: false,
        dry_run: false,
        metadata_overrides: std::ptr::null(),
        progress: None,
    }
}

fn context() -> ContextSettings {
    ContextSettings {
        context_size: 1,
        batch_size: 2,
        micro_batch_size: 3,
        sequences: 4,
        outputs_per_decode: 5,
        threads: 6,
        prompt_threads: 7,
        embeddings: true,
        pooling: llama_pooling_type::LAST,
        flash_attention: llama_flash_attn_type::ENABLED,
        key_type: ggml_type::F16,
        value_type: ggml_type::Q8_0,
        full_sliding_window: true,
        unified_cache: true,
        cache_on_devices: true,
        offload_operations: true,
        watcher: None,
    }
}

/// The value of a field in a block, sign extended.
fn value(layout: &StructLayout, block: &ParamBlock, name: &str) -> i64 {
    let field = layout.fields.iter().find(|field| field.name == name).unwrap();
    match field.kind {
        FieldKind::Bool => i64::from(block.get::<1>(field.offset).unwrap()[0]),
        FieldKind::Word => i64::from_ne_bytes(block.get(field.offset).unwrap()),
        FieldKind::Int | FieldKind::Float => i64::from(i32::from_ne_bytes(block.get(field.offset).unwrap())),
    }
}

#[test]
fn how_weights_come_into_memory_is_one_field_or_two() {
    let newest = KNOWN.last().unwrap();
    for (map, lock, mode) in [(false, false, 0), (true, false, 1), (false, true, 2), (true, true, 3)] {
        let settings = ModelSettings { memory_map: map, memory_lock: lock, ..model() };
        let mut block = newest.model_params.default_block();
        newest.write_model(&mut block, &settings).unwrap();
        assert_eq!(value(&newest.model_params, &block, "load_mode"), mode);
        let mut block = OLD.model_params.default_block();
        OLD.write_model(&mut block, &settings).unwrap();
        let read = |name| value(&OLD.model_params, &block, name);
        assert_eq!((read("use_mmap"), read("use_mlock")), (i64::from(map), i64::from(lock)));
    }
}

#[test]
fn all_layers_are_the_negative_default_or_more_than_any_model_has() {
    let layers = |layout: &AbiLayout, gpu_layers| {
        let mut block = layout.model_params.default_block();
        layout.write_model(&mut block, &ModelSettings { gpu_layers, ..model() }).unwrap();
        value(&layout.model_params, &block, "n_gpu_layers")
    };
    let newest = KNOWN.last().unwrap();
    assert_eq!((layers(newest, None), layers(newest, Some(7))), (-1, 7));
    assert_eq!((layers(&OLD, None), layers(&OLD, Some(0))), (i64::from(i32::MAX), 0));
    assert_eq!(layers(newest, Some(u32::MAX)), i64::from(i32::MAX));
}

#[test]
fn what_is_not_asked_for_stays_at_the_default() {
    let overrides = [0_u64; 33];
    let progress = Some((on_progress as llama_progress_callback, 0x40 as *mut c_void));
    let metadata_overrides = overrides.as_ptr().cast();
    let read = |settings: &ModelSettings| {
        let mut block = OLD.model_params.default_block();
        OLD.write_model(&mut block, settings).unwrap();
        ["progress_callback", "progress_callback_user_data", "kv_overrides", "vocab_only", "check_tensors"]
            .map(|name| value(&OLD.model_params, &block, name))
    };
    assert_eq!(read(&model()), [0, 0, 0, 1, 0]);
    let given = read(&ModelSettings { metadata_overrides, progress, ..model() });
    assert_eq!(given[0], (on_progress as *const ()).addr() as i64);
    assert_eq!(given[1..3], [0x40, overrides.as_ptr().addr() as i64]);
}

#[test]
fn every_setting_of_a_context_reaches_its_field() {
    let layout = KNOWN.last().unwrap();
    let mut block = layout.context_params.default_block();
    layout.write_context(&mut block, &context()).unwrap();
    for (field, expected) in [
        ("n_ctx", 1),
        ("n_batch", 2),
        ("n_ubatch", 3),
        ("n_seq_max", 4),
        ("n_outputs_max", 5),
        ("n_threads", 6),
        ("n_threads_batch", 7),
        ("embeddings", 1),
        ("flash_attn_type", 1),
        ("type_k", 1),
        ("type_v", 8),
        ("swa_full", 1),
        ("kv_unified", 1),
        ("offload_kqv", 1),
        ("op_offload", 1),
        ("n_outputs_max_per_seq", 1),
        ("pooling_type", 3),
    ] {
        assert_eq!(value(&layout.context_params, &block, field), expected, "{field}");
    }
}

unsafe extern "C-unwind" fn on_tensor(_tensor: *mut ggml_tensor, _asks: bool, _data: *mut c_void) -> bool {
    false
}

#[test]
fn a_watcher_of_tensors_reaches_both_of_its_fields_or_is_refused() {
    let layout = KNOWN.last().unwrap();
    let watcher = Some((on_tensor as ggml_backend_sched_eval_callback, 0x40 as *mut c_void));
    let read = |settings: &ContextSettings| {
        let mut block = layout.context_params.default_block();
        layout.write_context(&mut block, settings).unwrap();
        ["cb_eval", "cb_eval_user_data"].map(|name| value(&layout.context_params, &block, name))
    };
    assert_eq!(read(&context()), [0, 0]);
    assert_eq!(
        read(&ContextSettings { watcher, ..context() }),
        [(on_tensor as *const ()).addr() as i64, 0x40]
    );
    let mut block = OLD.context_params.default_block();
    let refused = OLD.write_context(&mut block, &ContextSettings { watcher, ..context() });
    assert_eq!(refused.map_err(|error| error.setting), Err("watcher"));
}

#[test]
fn switches_of_devices_can_be_turned_off() {
    let layout = KNOWN.last().unwrap();
    let mut block = layout.context_params.default_block();
    let off = ContextSettings {
        cache_on_devices: false,
        offload_operations: false,
        unified_cache: false,
        ..context()
    };
    layout.write_context(&mut block, &off).unwrap();
    for field in ["offload_kqv", "op_offload", "kv_unified"] {
        assert_eq!(value(&layout.context_params, &block, field), 0, "{field}");
    }
    let mut block = layout.model_params.default_block();
    layout.write_model(&mut block, &ModelSettings { dry_run: true, ..model() }).unwrap();
    assert_eq!(value(&layout.model_params, &block, "no_alloc"), 1);
}

#[test]
fn placements_reach_their_fields_and_are_refused_by_builds_without_them() {
    let layout = KNOWN.last().unwrap();
    let read = |placement| {
        let mut block = layout.model_params.default_block();
        layout.write_model(&mut block, &ModelSettings { placement, ..model() }).unwrap();
        ["devices", "tensor_split", "tensor_buft_overrides", "split_mode", "main_gpu"]
            .map(|name| value(&layout.model_params, &block, name))
    };
    assert_eq!(read(PlacementSettings::default()), [0, 0, 0, 1, 0]);
    let (devices, split) = ([std::ptr::null_mut()], [1.0_f32]);
    let overrides =
        [llama_model_tensor_buft_override { pattern: std::ptr::null(), buft: std::ptr::null_mut() }];
    let all = PlacementSettings {
        devices: devices.as_ptr(),
        split_mode: Some(llama_split_mode::ROW),
        main_gpu: Some(3),
        tensor_split: split.as_ptr(),
        overrides: overrides.as_ptr(),
    };
    let address = |pointer: *const ()| pointer.addr() as i64;
    assert_eq!(
        read(all),
        [
            address(devices.as_ptr().cast()),
            address(split.as_ptr().cast()),
            address(overrides.as_ptr().cast()),
            2,
            3
        ]
    );
    let none = PlacementSettings::default();
    for (placement, setting) in [
        (PlacementSettings { devices: all.devices, ..none }, "devices"),
        (PlacementSettings { tensor_split: all.tensor_split, ..none }, "tensor_split"),
        (PlacementSettings { overrides: all.overrides, ..none }, "override_tensors"),
        (PlacementSettings { split_mode: all.split_mode, ..none }, "split_mode"),
        (PlacementSettings { main_gpu: all.main_gpu, ..none }, "main_gpu"),
    ] {
        let mut block = OLD.model_params.default_block();
        let refused = OLD.write_model(&mut block, &ModelSettings { placement, ..model() });
        assert_eq!(refused.map_err(|error| error.setting), Err(setting));
    }
}

#[test]
fn an_old_switch_stands_for_fused_attention() {
    for (wanted, expected) in [
        (llama_flash_attn_type::ENABLED, 1),
        (llama_flash_attn_type::DISABLED, 0),
        (llama_flash_attn_type::AUTO, 1),
    ] {
        let mut block = OLD.context_params.default_block();
        OLD.write_context(&mut block, &ContextSettings { flash_attention: wanted, ..context() }).unwrap();
        assert_eq!(value(&OLD.context_params, &block, "flash_attn"), expected, "{wanted:?}");
    }
}

#[test]
fn a_setting_that_a_build_does_not_have_is_named() {
    let mut block = OLD.context_params.default_block();
    let apart = ContextSettings { unified_cache: false, ..context() };
    let error = OLD.write_context(&mut block, &apart).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`an old llama.cpp` has no setting for `unified_cache`; use another build of llama.cpp or leave `unified_cache` at its default"
    );
    let setting = |settings| {
        OLD.write_context(&mut OLD.context_params.default_block(), &settings).map_err(|e| e.setting)
    };
    assert_eq!(setting(context()), Ok(()));
    let here = ContextSettings { cache_on_devices: false, ..context() };
    assert_eq!(setting(here), Err("cache_on_devices"));
    let here = ContextSettings { offload_operations: false, ..context() };
    assert_eq!(setting(here), Err("offload_operations"));
    let dry = OLD.write_model(&mut block, &ModelSettings { dry_run: true, ..model() });
    assert_eq!(dry.map_err(|error| error.setting), Err("dry_run"));
    let pooled =
        AbiLayout { context_params: StructLayout { fields: WITHOUT_POOLING, ..OLD.context_params }, ..OLD };
    let setting = pooled.write_context(&mut block, &context()).map_err(|error| error.setting);
    assert_eq!(setting, Err("pooling"));
    let model_own = ContextSettings { pooling: llama_pooling_type::UNSPECIFIED, ..context() };
    pooled.write_context(&mut block, &model_own).unwrap();
    let bare = AbiLayout { model_params: StructLayout { fields: &[], ..OLD.model_params }, ..OLD };
    let setting = bare.write_model(&mut block, &model()).map_err(|error| error.setting);
    assert_eq!(setting, Err("gpu_layers"));
    // A field of the right name but another type does not count.
    let narrow = StructLayout { fields: NARROW, ..OLD.model_params };
    let setting = AbiLayout { model_params: narrow, ..OLD }.write_model(&mut block, &model());
    assert_eq!(setting.map_err(|error| error.setting), Err("gpu_layers"));
}
