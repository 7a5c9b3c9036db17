"""`mirnet-deploy doctor`: the facts about this machine, and a command for everything that is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import onnxruntime
import psutil
import pynvml
import pytest
import torch
from click.testing import CliRunner

from mirnet_deploy import machine
from mirnet_deploy.cli import main
from mirnet_deploy.cli.doctor import findings
from mirnet_deploy.machine import Gpu, Machine, describe_machine

BARE = Machine(
    python="3.12.1",
    os="Linux",
    cpu="A Processor",
    cores=4,
    bf16=None,
    memory_bytes=None,
    gpus=(),
    onnxruntime={},
    providers=(),
    openvino=None,
    tensorrt={},
    pycuda=None,
    torch=None,
    onnx=None,
)
GPU = Gpu("NVIDIA L4", 23034, "580.1", "8.9")
CPU_ORT = {"onnxruntime": {"onnxruntime": "1.2.3"}, "providers": ("CPUExecutionProvider",)}


def finding(described, start):
    return next(each for each in findings(described) if each.subject.startswith(start))


def test_facts_agree_with_other_libraries():
    here = describe_machine()
    assert here.python == platform.python_version()
    assert here.memory_bytes == psutil.virtual_memory().total
    assert here.cores == len(psutil.Process().cpu_affinity())
    assert here.providers == tuple(onnxruntime.get_available_providers())
    assert here.onnxruntime == {"onnxruntime": onnxruntime.__version__}
    assert here.torch == importlib.metadata.version("torch")
    if here.instructions is not None and platform.machine() == "x86_64":
        vectors = torch.backends.cpu.get_cpu_capability()
        assert ("AVX-512" in here.instructions, "AVX2" in here.instructions) == (
            vectors == "AVX512",
            vectors in ("AVX2", "AVX512"),
        )
    import tensorrt_rtx

    assert here.tensorrt["tensorrt_rtx"] == tensorrt_rtx.__version__


def test_describing_the_machine_imports_nothing_heavy():
    script = (
        "import sys; from mirnet_deploy.machine import describe_machine; describe_machine();"
        "print([name for name in ('torch', 'onnx', 'cv2', 'tensorrt_rtx', 'pycuda') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_json_report_exits_0():
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert report["machine"]["python"] == platform.python_version()
    states = {each["subject"]: each["status"] for each in report["findings"]}
    assert set(states.values()) <= {"ok", "missing", "broken", "none"}
    assert (states["Python"], states["ONNX Runtime (runs .onnx)"], states["torch (trains, exports)"]) == ("ok",) * 3


def test_the_table_exits_0():
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert onnxruntime.__version__ in result.output


@pytest.mark.parametrize(
    ("subject", "extra"),
    [
        ("ONNX Runtime", "cpu"),
        ("OpenVINO", "openvino"),
        ("TensorRT-RTX", "rtx"),
        ("torch", "train"),
        ("onnx", "export"),
    ],
)
def test_a_bare_machine_is_told_what_to_install(subject, extra):
    found = finding(BARE, subject)
    assert found.status == "missing"
    assert found.remedy == f'pip install "mirnet-deploy[{extra}]"'


def test_every_extra_in_a_remedy_exists():
    extras = importlib.metadata.metadata("mirnet-deploy").get_all("Provides-Extra")
    for described in (BARE, replace(BARE, gpus=(GPU,)), replace(BARE, gpus=(GPU,), **CPU_ORT)):
        for each in findings(described):
            if each.remedy:
                assert each.remedy.rpartition("[")[2].removesuffix(']"') in extras


def test_without_a_gpu_nothing_is_asked_for_that_needs_one():
    for subject in ("GPU", "TensorRT (", "pycuda"):
        assert finding(BARE, subject).status == "none"
        assert finding(BARE, subject).remedy is None


def test_a_machine_with_a_gpu_is_told_to_install_cuda_and_tensorrt():
    described = replace(BARE, gpus=(GPU,), **CPU_ORT)
    assert "NVIDIA L4, 23034 MiB" in finding(described, "GPU 0").found
    assert finding(described, "ONNX Runtime").remedy == (
        'pip uninstall -y onnxruntime && pip install "mirnet-deploy[cuda]"'
    )
    assert finding(described, "TensorRT (").remedy == 'pip install "mirnet-deploy[tensorrt]"'
    assert finding(described, "pycuda").remedy == 'pip install "mirnet-deploy[pycuda]"'


def test_two_onnxruntimes_in_one_environment_are_broken():
    both = {"onnxruntime": "1.2.3", "onnxruntime-gpu": "1.2.3"}
    found = finding(replace(BARE, onnxruntime=both, providers=("CPUExecutionProvider",)), "ONNX Runtime")
    assert found.status == "broken"
    assert found.remedy == 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "mirnet-deploy[cpu]"'


def test_an_onnxruntime_that_does_not_import_is_broken():
    assert finding(replace(BARE, onnxruntime={"onnxruntime": "1.2.3"}), "ONNX Runtime").status == "broken"


def answer_as_nvml(monkeypatch, **answers):
    """One NVIDIA L4, but for `answers`, which replace functions of NVML."""
    said = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=23034 << 20),
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (8, 9),
        "nvmlDeviceGetName": lambda handle: "NVIDIA L4",
    }
    for name, answer in (said | answers).items():
        monkeypatch.setattr(pynvml, name, answer)


def test_gpus_are_what_nvml_says(monkeypatch):
    answer_as_nvml(monkeypatch)
    assert machine.describe_machine().gpus == (GPU,)


def test_a_driver_that_does_not_answer_counts_as_no_gpu(monkeypatch):
    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert machine.describe_machine().gpus == ()


def test_a_gpu_that_does_not_answer_hides_no_other(monkeypatch):
    ended = []

    def name(handle):
        if handle == "handle 1":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return "NVIDIA L4"

    answers = {"nvmlDeviceGetCount": lambda: 3, "nvmlDeviceGetName": name, "nvmlShutdown": lambda: ended.append(1)}
    answer_as_nvml(monkeypatch, **answers)
    assert machine.describe_machine().gpus == (GPU, GPU)
    assert ended == [1]
