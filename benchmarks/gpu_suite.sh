#!/usr/bin/env bash
# The GPU tests and the GPU benchmarks on a machine without network. Every step leaves a log; figures are left as JSON.
#
#   benchmarks/gpu_suite.sh OUT [setup WHEELS] [aborts] [tests] [rtx FOLDER] [bench] [training] [paper]    in the clone
#
# One or several; that order is the order of worth. All of it ends after BUDGET seconds, and each command of a step has a
# limit of its own (ABORTS, TESTS, RTX, BENCH, TRAINING below). What was written by then is complete: the tests' results
# are a line each, the bench saves every row, and what was not reached is named in the end.
#
# It installs into the python3 that it finds, so give it a machine or an environment of its own. WHEELS holds what that
# python3 lacks (onnxruntime-gpu, pytest-xdist, pytest-timeout, pycuda's sdist with pytools, mako, siphash24 and platformdirs; tensorrt_rtx's two
# wheels). A step that fails does not stop the others, and is named at the end.
#
# A copy of the clone without git does not know its commit, which every JSON of figures names: set MIRNET_DEPLOY_COMMIT to
# what `git rev-parse HEAD` says where it was copied.
#
# An export takes minutes on a CPU. If ARTIFACTS names a folder that `mirnet-deploy export weights/lite.pt --fp16` has
# filled elsewhere, tests and benchmarks use that. GPU.md says what was seen, and how to make use of a short loan.
#
#   DEVICE=cpu SIZES="64x48" RUNS=1 benchmarks/gpu_suite.sh OUT bench       a rehearsal without a GPU; the step `aborts`
# rehearses with LD_LIBRARY_PATH and PYTHONPATH of the stand-in (tests/stand_in)
set -uo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "${1:?OUT: a folder for logs and JSON}")
shift
mkdir -p "$out"
device=${DEVICE:-cuda:0} runs=${RUNS:-20} warmup=${WARMUP:-20} failed=()
read -ra sizes <<<"${SIZES:-600x400 1920x1080 4000x3000}"
size_options=("${sizes[@]/#/--size=}")

aborts_s=${ABORTS:-60} tests_s=${TESTS:-300} bench_s=${BENCH:-120} training_s=${TRAINING:-60} rtx_s=${RTX:-120}

budget_s=${BUDGET:-720} not_reached=()

step() { # NAME COMMAND...: runs it; its stdout goes to NAME.txt or NAME.json, its stderr to NAME.log
    local name=$1 printed=$out/$1.txt left
    shift
    [[ $name == *.json ]] && printed=$out/$name
    left=$((budget_s - SECONDS))
    ((left > 0)) || { not_reached+=("$name") && return; }
    echo "+ $name: $*"
    timeout --kill-after 5 "$left" "$@" >"$printed" 2>"$out/$name.log" || { failed+=("$name"); tail -n 5 "$out/$name.log"; }
}

opens() { # NAME ARTIFACT: whether the runtime can open it here
    local left=$((budget_s - SECONDS))
    [[ -f $2 ]] && ((left > 0)) || return
    timeout "$left" python3 -c "import sys; from mirnet_deploy import MIRNetRuntime; print(MIRNetRuntime(sys.argv[1], device=sys.argv[2]).info)" \
        "$2" "$device" >"$out/$1.txt" 2>"$out/$1.log" || { echo "refused: $2: $(tail -n 1 "$out/$1.log")" && false; }
}

setup() { # the folder of wheels
    local wheels=$1 nvcc
    python3 -m pip uninstall -qy onnxruntime # onnxruntime-gpu would overwrite its files and break it
    step wheels python3 -m pip install --no-index --no-deps "$wheels"/*.whl
    nvcc=$(command -v nvcc) && export CUDA_ROOT=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    # curand.h may lie with the pip packages of CUDA instead of with the compiler.
    export CPATH=$(python3 -c 'import glob, site; print(":".join(glob.glob(site.getsitepackages()[0] + "/nvidia/*/include")))')
    for sdist in "$wheels"/*.tar.gz; do
        step "$(basename "$sdist" .tar.gz)" python3 -m pip install --no-index --no-deps --no-build-isolation "$sdist"
    done
    step package python3 -m pip install --no-index --no-deps --no-build-isolation -e .
    step doctor python3 -m mirnet_deploy doctor
}

bench() { # NAME ENGINE...: latency of all engines, taking turns, relative to the first
    local name=$1 engines=()
    shift
    for engine in "$@"; do engines+=(--engine "$engine"); done
    step "bench-$name" timeout $((bench_s + 60)) python3 -m mirnet_deploy bench "${engines[@]}" "${size_options[@]}" \
        --runs "$runs" --warmup "$warmup" --device "$device" --no-memory --max-seconds "$bench_s" --force \
        --json "$out/bench-$name.json"
}

compare() { # NAME CHECKPOINT: its artifacts through the runtime, the engine alone, a plain session, and PyTorch
    local name=$1 checkpoint=$2 folder=$out/$1 engines=()
    if [[ $name == lite && -n ${ARTIFACTS:-} ]]; then
        folder=$ARTIFACTS
    else
        step "export-$name" python3 -m mirnet_deploy export "$checkpoint" --fp16 --force --output-dir "$folder"
    fi
    engines=("$folder"/mirnet.onnx{,@alone,@session} "$folder"/mirnet.fp16.onnx{,@alone})
    # A plan runs only on the GPUs it was built for: a refusal is not a failure, and its reason is in the log.
    opens "open-$name-plan" "$folder/mirnet.plan" && engines+=("$folder"/mirnet.plan{,@alone})
    bench "$name" "${engines[@]}"
    bench "$name-torch" "$folder/mirnet.fp16.onnx" "$checkpoint@fp16" "$checkpoint@compiled"
    step "ort-cuda-$name" timeout $((bench_s + 60)) python3 -m mirnet_deploy bench ort-cuda "$out/ort-cuda.json" \
        --engine "$folder/mirnet.fp16.onnx" --engine "$folder/mirnet.onnx" "${size_options[@]}" --runs "$runs" \
        --device "$device" --max-seconds "$bench_s"
    [[ $device == cpu ]] && return # a CPU copies nothing that could overlap
    for size in "${sizes[@]}"; do
        for flight in 1 3; do
            step "overlap-$name-$size-$flight.json" python3 -m mirnet_deploy bench overlap \
                --engine "$folder/mirnet.fp16.onnx" --device "$device" --size "$size" --in-flight "$flight"
        done
    done
}

gpu_tests() { # NAME WORKERS PYTEST_ARGUMENT...: each process is replaced when it dies; a result is a line of NAME.jsonl
    local name=$1 workers=$2 results=$out/$1.jsonl
    shift 2
    rm -f "$results"
    # No capture: what a library prints before a process dies would be lost.
    step "$name" env MIRNET_GPU_ARTIFACTS="${ARTIFACTS:-}" PYTHONPATH="tests/support${PYTHONPATH:+:$PYTHONPATH}" \
        timeout --kill-after 5 "$tests_s" python3 -m pytest -m "${TESTS_MARKED:-gpu}" -n "$workers" \
        --max-worker-restart 999 --capture=no --timeout 120 --timeout-method thread \
        -p results_log --results "$results" "$@"
    [[ -f $results ]] && python3 tests/support/results_log.py "$results" | tee "$out/$name-summary.txt"
}

while (($#)); do
    case $1 in
    setup)
        setup "${2:?WHEELS: the folder of wheels}"
        shift
        ;;
    aborts) # closing a session, many times: as the engine opens it, and as it was opened before, which must abort
        # A session plans its kernels for 1 to 2 s before its first run.
        step aborts.json timeout "$aborts_s" python3 tests/stand_in/sessions.py lite 12 50 2
        # This one must abort: 134 is its success.
        step aborts-before timeout "$aborts_s" bash -c \
            'WITH_FUSION=1 python3 tests/stand_in/sessions.py lite 12 50 2; echo "with the fusion: ended with $?"'
        [[ -f $out/aborts-before.txt ]] && cat "$out/aborts-before.txt"
        ;;
    tests)
        # Only these files: other tests need libraries that such a machine lacks, and would fail to be collected.
        gpu_tests tests "${WORKERS:-1}" ${TESTS_IN:-$(grep -rlE "pytest\.mark\.gpu" tests --include="test_*.py" --exclude=test_gpu_memory.py)}
        # These look at the memory of the whole GPU.
        [[ -n ${TESTS_IN:-} ]] || gpu_tests tests-memory 1 tests/mirnet_deploy/test_gpu_memory.py
        ;;
    rtx) # FOLDER holds a version of TensorRT-RTX in each of its folders, as `pip install --target` makes them
        for version in "${2:?FOLDER: the versions of TensorRT-RTX}"/*/; do
            [[ -d $version ]] || continue
            name=rtx-$(basename "$version") with=(env PYTHONPATH="$version${PYTHONPATH:+:$PYTHONPATH}" timeout "$rtx_s")
            step "$name" "${with[@]}" python3 -m mirnet_deploy export weights/lite.pt --fp16 \
                --builder tensorrt_rtx --target current --force --output-dir "$out/$name"
            [[ -f $out/$name/mirnet.plan ]] || continue
            step "$name-enhance" "${with[@]}" python3 -m mirnet_deploy enhance examples/pairs/low/1.jpg \
                --model "$out/$name/mirnet.plan" --device "$device" --force --output "$out/$name"
        done
        shift
        ;;
    bench) compare lite weights/lite.pt ;;
    training)
        for preset in lite base paper; do
            step "training-$preset" timeout "$training_s" python3 -m mirnet_deploy bench training-step --preset "$preset" \
                --device "$device" --batch "${BATCH:-16}" --crop "${CROP:-96}" --runs "$runs" --force --json "$out/training-$preset.json"
        done
        ;;
    paper) # random weights: for time and memory only
        step paper python3 -c "import pathlib, sys
from mirnet_deploy.training.checkpoint import save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
network = MIRNet(MIRNetConfig(64, 3, 2))
save_checkpoint(pathlib.Path(sys.argv[1]), {'config': network.config.to_dict(), 'network': network.state_dict()})" "$out/paper.pt"
        compare paper "$out/paper.pt"
        ;;
    *)
        echo "error: no step $1; expected setup WHEELS, aborts, tests, rtx FOLDER, bench, training or paper" >&2
        exit 2
        ;;
    esac
    shift
done
((${#not_reached[@]})) && echo "not reached in $budget_s s: ${not_reached[*]}" >&2
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}; see $out/NAME.log" >&2
    exit 1
fi
