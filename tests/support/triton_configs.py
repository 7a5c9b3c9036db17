"""What Triton demands of a model's configuration: its schema, and the checks of its backends.

Sources: model_config.proto as tritonclient ships it; `ValidateInputs` and `ValidateOutputs` in
https://github.com/triton-inference-server/onnxruntime_backend (src/onnxruntime.cc); `CompareDimsSupported` in
https://github.com/triton-inference-server/tensorrt_backend (src/tensorrt_utils.cc).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as schema

Tensors = Mapping[str, tuple[str, list[int]]]
"""Name -> Triton's type without `TYPE_`, and sizes; -1 is any."""


def parsed(text: str) -> Any:
    """The `ModelConfig` of a config.pbtxt; raises `text_format.ParseError` where the schema does not allow it."""
    return text_format.Parse(text, schema.ModelConfig())


def faults(config: Any, inputs: Tensors, outputs: Tensors, defaults: Tensors | None = None) -> list[str]:
    """Why a backend would refuse a model with these tensors under this configuration.

    Args:
        defaults: inputs that have a default, which ONNX Runtime counts apart.
    """
    return list(_faults(config, inputs, outputs, defaults or {}))


def _faults(config: Any, inputs: Tensors, outputs: Tensors, defaults: Tensors) -> Iterator[str]:
    batched = config.max_batch_size > 0
    required = [each for each in config.input if not each.optional]
    if len(required) != len(inputs):
        yield f"{len(required)} inputs, and the model has {len(inputs)}"
    if batched and len(required) != len(config.input):
        yield "optional inputs are not supported with batches"
    for each in config.input:
        yield from _tensor_faults(each, {**inputs, **defaults}, batched, exact=False)
    for each in config.output:
        yield from _tensor_faults(each, outputs, batched, exact=True)
    if config.HasField("dynamic_batching"):
        if not batched:
            yield "batches without a largest size"
        if any(not 0 < size <= config.max_batch_size for size in config.dynamic_batching.preferred_batch_size):
            yield "a preferred batch is larger than the largest"
    for sample in config.model_warmup:
        if missing := {each.name for each in required} - set(sample.inputs):
            yield f"the warm-up lacks {missing}"
        yield from _warmup_faults(config, sample)


def _warmup_faults(config: Any, sample: Any) -> Iterator[str]:
    if not 1 <= sample.batch_size <= max(1, config.max_batch_size):
        yield f"a warm-up of {sample.batch_size}"
    for name, given in sample.inputs.items():
        wanted = next((each for each in config.input if each.name == name), None)
        if wanted is None:
            yield f"the warm-up has {name}"
        elif given.data_type != wanted.data_type or not _fits(list(given.dims), list(wanted.dims), exact=False):
            yield f"the warm-up's {name} is {list(given.dims)}"
        elif min(given.dims) < 1:
            yield f"the warm-up's {name} has no size"


def _tensor_faults(each: Any, model: Tensors, batched: bool, *, exact: bool) -> Iterator[str]:
    if each.name not in model:
        yield f"the model has no {each.name}"
        return
    kind, dims = model[each.name]
    if schema.DataType.Name(each.data_type) != f"TYPE_{kind}":
        yield f"{each.name} is {schema.DataType.Name(each.data_type)}, in the model {kind}"
    whole = [-1, *each.dims] if batched else list(each.dims)
    if not _fits(whole, dims, exact=exact):
        yield f"{each.name} is {whole}, in the model {dims}"


def _fits(dims: list[int], others: list[int], *, exact: bool) -> bool:
    return len(dims) == len(others) and all(
        a == b or (not exact and -1 in (a, b)) for a, b in zip(dims, others, strict=True)
    )


def onnx_tensors(model: bytes) -> tuple[Tensors, Tensors, Tensors]:
    """Inputs, outputs and defaults of an ONNX file, as ONNX Runtime tells them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "FP32", "tensor(uint8)": "UINT8"}

    def told(tensors: Any) -> Tensors:
        return {
            each.name: (kinds[each.type], [size if isinstance(size, int) else -1 for size in each.shape])
            for each in tensors
        }

    return told(session.get_inputs()), told(session.get_outputs()), told(session.get_overridable_initializers())
