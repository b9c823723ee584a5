"""What TensorRT's Python module offers, version by version: the names that edgemate touches and their neighbors that
came or went, and no more.
"""

from __future__ import annotations

# In order. TensorRT-RTX 1.7 came out of 11.4 and has what that has, except what a range keeps for or from it.
VERSIONS = ("8.5.3.1", "8.6.1", "10.3.0", "10.13.2", "10.16.1", "11.4.0.106", "rtx1.7.1.116")

# Owner → (first, last) version → names. Versions are written `major.minor`; None is open.
ALWAYS = (None, None)
RTX_ONLY = ("rtx", None)
Range = tuple["str | None", "str | None"]

API: dict[str, dict[Range, str]] = {
    "module": {
        ALWAYS: "Builder BuilderFlag DataType DeviceType EngineInspector IBuilderConfig ICudaEngine IExecutionContext "
        "ILogger INetworkDefinition IOptimizationProfile ITimingCache LayerInformationFormat LayerType Logger "
        "MemoryPoolType NetworkDefinitionCreationFlag OnnxParser PreviewFeature ProfilingVerbosity Refitter Runtime "
        "TacticSource TensorFormat",
        ("8.6", None): "HardwareCompatibilityLevel",
        (None, "10.16"): "IInt8EntropyCalibrator2 QuantizationFlag",
        ("10.3", None): "ExecutionContextAllocationStrategy IProgressMonitor OnnxParserRefitter",
        ("10.13", None): "IRuntimeConfig",
        RTX_ONLY: "ComputeCapability CudaGraphStrategy DynamicShapesKernelSpecializationStrategy IRuntimeCache",
    },
    "BuilderFlag": {
        ALWAYS: "DEBUG DIRECT_IO DISABLE_TIMING_CACHE GPU_FALLBACK REFIT SPARSE_WEIGHTS TF32",
        ("8.6", None): "EXCLUDE_LEAN_RUNTIME VERSION_COMPATIBLE",
        (None, "8.6"): "ENABLE_TACTIC_HEURISTIC STRICT_TYPES",
        (None, "10.16"): "FP16 INT8 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS",
        ("10.3", "10.16"): "BF16 WEIGHTLESS",
        ("10.3", None): "ERROR_ON_TIMING_CACHE_MISS REFIT_IDENTICAL STRIP_PLAN WEIGHT_STREAMING",
        ("10.13", None): "EDITABLE_TIMING_CACHE STRICT_NANS",
        RTX_ONLY: "REQUIRE_USER_ALLOCATION",
    },
    "NetworkDefinitionCreationFlag": {
        (None, "8.6"): "EXPLICIT_PRECISION",
        (None, "10.16"): "EXPLICIT_BATCH",
        ("10.3", None): "STRONGLY_TYPED",
    },
    "HardwareCompatibilityLevel": {ALWAYS: "NONE AMPERE_PLUS", ("10.13", None): "SAME_COMPUTE_CAPABILITY"},
    "PreviewFeature": {
        (None, "8.6"): "FASTER_DYNAMIC_SHAPES_0805 DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805",
        ("8.6", "10.16"): "PROFILE_SHARING_0806",
        ("10.3", None): "ALIASED_PLUGIN_IO_10_03",
    },
    "ComputeCapability": {RTX_ONLY: "NONE CURRENT SM75 SM80 SM86 SM89 SM120 SM121"},
    "CudaGraphStrategy": {RTX_ONLY: "DISABLED WHOLE_GRAPH_CAPTURE"},
    "DynamicShapesKernelSpecializationStrategy": {RTX_ONLY: "LAZY EAGER NONE"},
    "ProfilingVerbosity": {ALWAYS: "LAYER_NAMES_ONLY NONE DETAILED", (None, "8.6"): "DEFAULT VERBOSE"},
    "TacticSource": {ALWAYS: "EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS", (None, "10.16"): "CUBLAS CUBLAS_LT CUDNN"},
    "MemoryPoolType": {ALWAYS: "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM"},
    "DataType": {ALWAYS: "FLOAT HALF INT8 INT32 BOOL", ("10.3", None): "BF16 INT64"},
    "TensorFormat": {ALWAYS: "LINEAR CHW2 CHW4 CHW16 CHW32 HWC8 HWC HWC16"},
    "DeviceType": {ALWAYS: "GPU DLA"},
    "LayerInformationFormat": {ALWAYS: "ONELINE JSON"},
    "LayerType": {
        ALWAYS: "CONVOLUTION CONSTANT IDENTITY QUANTIZE DEQUANTIZE SHAPE SHUFFLE SOFTMAX",
        ("8.6", None): "CAST NORMALIZATION",
        (None, "8.6"): "FULLY_CONNECTED RNN_V2",
    },
    "ExecutionContextAllocationStrategy": {ALWAYS: "STATIC ON_PROFILE_CHANGE USER_MANAGED"},
    "Logger": {ALWAYS: "INTERNAL_ERROR ERROR WARNING INFO VERBOSE"},
    "Builder": {
        ALWAYS: "build_serialized_network create_builder_config create_network create_optimization_profile "
        "is_network_supported logger max_DLA_batch_size num_DLA_cores",
        (None, "8.6"): "build_engine max_batch_size",
        (None, "10.16"): "platform_has_fast_fp16 platform_has_fast_int8 platform_has_tf32",
    },
    "IBuilderConfig": {
        ALWAYS: "DLA_core add_optimization_profile can_run_on_DLA clear_flag create_timing_cache default_device_type "
        "flags get_flag get_memory_pool_limit get_tactic_sources get_timing_cache profiling_verbosity set_device_type "
        "set_flag set_memory_pool_limit set_preview_feature set_tactic_sources set_timing_cache",
        ("8.6", None): "builder_optimization_level hardware_compatibility_level max_aux_streams",
        (None, "8.6"): "max_workspace_size min_timing_iterations",
        (None, "10.16"): "int8_calibrator set_calibration_profile set_quantization_flag",
        ("10.3", None): "progress_monitor runtime_platform",
        RTX_ONLY: "get_compute_capability num_compute_capabilities set_compute_capability",
    },
    "INetworkDefinition": {
        ALWAYS: "add_if_conditional add_input get_input get_layer get_output mark_output name num_inputs num_layers "
        "num_outputs remove_tensor unmark_output",
        (None, "8.6"): "has_explicit_precision",
    },
    "ILayer": {
        ALWAYS: "get_input get_output name num_inputs num_outputs set_input type",
        (None, "10.16"): "precision precision_is_set set_output_type",
    },
    "ITensor": {
        ALWAYS: "allowed_formats dtype is_network_input is_network_output name shape",
        (None, "10.16"): "dynamic_range set_dynamic_range",
    },
    "IOptimizationProfile": {ALWAYS: "get_shape set_shape"},
    "ITimingCache": {ALWAYS: "combine reset serialize", ("10.13", None): "query update"},
    "OnnxParser": {
        ALWAYS: "get_error num_errors parse parse_from_file",
        (None, "10.16"): "supports_model",
        ("10.3", None): "supports_model_v2",
    },
    "ParserError": {ALWAYS: "code desc node", ("10.3", None): "node_name node_operator"},
    "Runtime": {
        ALWAYS: "DLA_core deserialize_cuda_engine logger num_DLA_cores",
        ("8.6", None): "engine_host_code_allowed load_runtime",
    },
    "ICudaEngine": {
        ALWAYS: "create_engine_inspector create_execution_context get_tensor_format get_tensor_name num_io_tensors "
        "num_layers serialize",
        ("8.6", None): "hardware_compatibility_level num_aux_streams",
        (None, "8.6"): "binding_is_input get_binding_shape max_batch_size num_bindings",
        (None, "10.16"): "create_execution_context_without_device_memory device_memory_size",
        ("10.3", None): "device_memory_size_v2 streamable_weights_size",
        ("10.13", None): "create_runtime_config",
    },
    "IRuntimeConfig": {
        ("10.13", None): "get_execution_context_allocation_strategy set_execution_context_allocation_strategy",
        RTX_ONLY: "create_runtime_cache cuda_graph_strategy dynamic_shapes_kernel_specialization_strategy "
        "get_runtime_cache set_runtime_cache",
    },
    "IRuntimeCache": {RTX_ONLY: "deserialize reset serialize"},
    "IExecutionContext": {
        ALWAYS: "device_memory execute_async_v3 set_input_shape set_tensor_address",
        (None, "8.6"): "execute execute_async execute_async_v2 get_binding_shape set_binding_shape",
        ("10.3", None): "set_device_memory",
        RTX_ONLY: "is_stream_capturable",
    },
    "EngineInspector": {ALWAYS: "get_engine_information get_layer_information"},
    "Refitter": {ALWAYS: "get_missing refit_cuda_engine set_weights"},
    "OnnxParserRefitter": {ALWAYS: "get_error num_errors refit_from_bytes refit_from_file"},
}


def names(owner: str, version: str) -> tuple[str, ...]:
    """What `owner` has in `version`, one of VERSIONS."""
    rank = VERSIONS.index(version)
    found: list[str] = []
    for (first, last), listed in API[owner].items():
        if (first is None or rank >= _rank(first)) and (last is None or rank <= _rank(last)):
            found += listed.split()
    return tuple(found)


def _rank(version: str) -> int:
    return next(rank for rank, known in enumerate(VERSIONS) if known.startswith(version))
