#!/usr/bin/env bash
# TensorRT on a GPU machine that has no network: everything it needs, uploaded in parts.
#
#   deploy/gpu_kit/tensorrt.sh prepare RUN     locally, with network and all extras: build/gpu-kit/parts/
#   deploy/gpu_kit/tensorrt.sh work RUN        locally: of these only the run's bundles, images and reference logits
#   deploy/gpu_kit/tensorrt.sh unpack          on the GPU machine, with the parts in the same folder
#   deploy/gpu_kit/tensorrt.sh run [STEP...]   on the GPU machine: doctor fp16 test fp32 int8, or those named
#   deploy/gpu_kit/tensorrt.sh rehearse RUN    locally, without a GPU: all of it, with ONNX Runtime instead of TensorRT
#
# RUN is a finished run, such as runs/cifar100-resnet18_mate. A precision is built, measured and written before the next
# one starts; each can be repeated. Results: $RESULTS/tensorrt_<gpu>.json.
#
# Environment variables: the limits of the machine, in limits.sh (COMMAND_SECONDS limits all steps of one command together);
# KIT, folder of the kit; KEEP, RESULTS and OUT, see remote.sh; PYTHON310; TENSORRT, version of the wheel or path of a
# downloaded one; CUDA_RUNTIME, the requirement that brings libcudart (its CUDA must not be above the driver's).
#
# Not run on a GPU yet. `rehearse` shows what works without one.
set -euo pipefail
cd "$(dirname "$0")/../.."

KIT=${KIT:-$PWD/build/gpu-kit}
. deploy/gpu_kit/limits.sh
. deploy/gpu_kit/remote.sh
BIN=${BIN:-$PWD/.venv/bin}
PYTHON310=${PYTHON310:-}
TENSORRT=${TENSORRT:-8.5.3.1}
CUDA_RUNTIME=${CUDA_RUNTIME:-nvidia-cuda-runtime-cu12}
DEADLINE=$((SECONDS + COMMAND_SECONDS))
STARTED=$SECONDS
STEP=
TIMETABLE=()

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    trap timetable EXIT
    case $command in
        prepare) prepare "${1:?a run folder}" ;;
        work) prepare_work "${1:?a run folder}" ;;
        unpack) set_folders; prepare_folders; unpack ;;
        run) set_folders; prepare_folders; run_steps "${@:-doctor fp16 test fp32 int8}" ;;
        rehearse) rehearse "${1:?a run folder}" ;;
        *)
            trap - EXIT
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' deploy/gpu_kit/tensorrt.sh
            exit 2
            ;;
    esac
}

# step NAME COMMAND...: run it and record how long it took.
step() {
    local before=$SECONDS
    STEP=$1
    shift
    echo "== $STEP"
    local status
    "$@"  # ends the script if it fails, unless the caller handles the status
    status=$?
    TIMETABLE+=("$(printf '%6d s  %s' $((SECONDS - before)) "$STEP")")
    [ $status -eq 0 ] || TIMETABLE+=("          failed: $STEP (exit status $status)")
    STEP=
    return $status
}

timetable() {
    local status=$?
    printf '%s\n' "== timetable" "${TIMETABLE[@]}"
    printf '%6d s  total\n' $((SECONDS - STARTED))
    [ -z "$STEP" ] || echo "failed: $STEP (exit status $status)" >&2
}

# --- locally ---

prepare() {
    rm -rf "$KIT/tree"
    mkdir -p "$KIT/tree"
    step "the tests' bundles" "$BIN/python" tests/support/bundles.py "$KIT/tree/test-bundles"
    step "edgemate and its tests" pack_sources
    step "Python 3.10" pack_python
    step "packages" pack_packages
    # A rehearsal packs it only if its wheel is downloaded already: it is large, and never called without a GPU.
    if [ -z "${REHEARSING:-}" ] || [ -f "$TENSORRT" ]; then step "TensorRT $TENSORRT" pack_tensorrt; fi
    step "parts of TensorRT" pack_parts kit "xz -T0 -1" -C "$KIT/tree" .
    du -sh "$KIT"/tree/* | sed 's/^/   /'
    local failed=0
    prepare_work "$1" || failed=$?
    du -ach "$KIT"/parts/{kit,work}/*.[0-9]* | sed 's/^/   /'
    return $failed
}

# Segments, prefixes and the conditional graph hold the same weights: a dictionary that spans them packs these once.
# Where a precision fails, the others are packed all the same, and the exit status is 1.
prepare_work() {
    local failed=0
    step "bundles, images, reference logits" \
        "$BIN/python" deploy/gpu_kit/prepare.py "$1" "$KIT/work" || failed=$?
    if compgen -G "$KIT/work/reference_*.npz" >/dev/null; then
        step "parts of the bundles" pack_parts work "xz --lzma2=preset=1,dict=256MiB" -C "$KIT/work" . || failed=$?
    fi
    return $failed
}

pack_sources() {
    mkdir -p "$KIT/tree/source"
    tar -c --exclude=__pycache__ --exclude='*.pyc' edgemate tests deploy/gpu_kit pyproject.toml recipes |
        tar -x -C "$KIT/tree/source"
}

# A relocatable interpreter, with the libraries that its modules need except the C library's own.
pack_python() {
    local python to=$KIT/tree/python
    python=$(find_python310) || { echo "Python 3.10 not found; set PYTHON310" >&2; exit 2; }
    local prefix
    prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
    mkdir -p "$to/bin" "$to/lib"
    cp "$prefix/bin/python3.10" "$to/bin/"
    tar -c -C "$prefix/lib" --exclude=__pycache__ --exclude=site-packages --exclude=test --exclude=tests \
        --exclude=idlelib --exclude=tkinter --exclude=turtledemo --exclude=ensurepip --exclude='config-3*' \
        --exclude=lib2to3 python3.10 | tar -x -C "$to/lib"
    cp -P "$prefix"/lib/libpython3.10.so* "$to/lib/" 2>/dev/null || true
    ldd "$to"/lib/python3.10/lib-dynload/*.so "$to/bin/python3.10" | awk '$3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|librt|libutil)\.so' | xargs -r -I{} cp -Lu {} "$to/lib/"
    strip "$to/bin/python3.10" "$to"/lib/python3.10/lib-dynload/*.so "$to"/lib/*.so* 2>/dev/null || true
}

# With Python 3.10's own pip, so that requirements are resolved for 3.10.
pack_packages() {
    local wanted=(numpy pillow pydantic pyyaml typer rich "$CUDA_RUNTIME" pytest pytest-timeout hypothesis)
    [ -z "${REHEARSING:-}" ] || wanted+=(onnxruntime)
    "$(find_python310)" -m pip install -qq --no-warn-conflicts --disable-pip-version-check --only-binary=:all: \
        --target "$KIT/tree/site" "${wanted[@]}"
    find "$KIT/tree/site" -name __pycache__ -prune -exec rm -rf {} +
}

# Only the parts of TensorRT that build and run ONNX: nvinfer, its builder, the parser, the Python extension. The plugin
# and legacy parser libraries, which would need cuBLAS and cuDNN, are replaced by stubs with the symbols that are linked.
pack_tensorrt() {
    local wheel to=$KIT/tree/site/tensorrt all=$KIT/tensorrt
    if [ -f "$TENSORRT" ]; then
        wheel=$TENSORRT
    else
        mkdir -p "$KIT/wheels"
        "$BIN/python" -m pip download -qq --no-deps --python-version 3.10 --only-binary=:all: \
            --dest "$KIT/wheels" "tensorrt==$TENSORRT"
        wheel=$(ls "$KIT"/wheels/tensorrt-"$TENSORRT"-*.whl)
    fi
    rm -rf "$all" "$to"  # of another version
    mkdir -p "$all" "$to"
    "$BIN/python" -m zipfile -e "$wheel" "$all"
    cp "$all"/tensorrt/*.py "$all"/tensorrt/tensorrt.so "$to/"
    cp -L "$all"/tensorrt/libnvinfer.so.8 "$all"/tensorrt/libnvinfer_builder_resource.so.* \
        "$all"/tensorrt/libnvonnxparser.so.8 "$to/"
    local library
    for library in libnvinfer_plugin.so.8 libnvparsers.so.8; do
        comm -12 <(nm -D --undefined-only "$to/tensorrt.so" "$to/libnvonnxparser.so.8" | awk '{ print $NF }' | sort -u) \
            <(nm -D --defined-only "$all/tensorrt/$library" | awk '{ print $NF }' | sort -u) |
            awk '{ print "long " $1 "(void) { return 1; }" }' >"$all/stub.c"
        gcc -shared -fPIC -w -Wl,-soname,$library -o "$to/$library" "$all/stub.c"
        echo "   $library: a stub with $(wc -l <"$all/stub.c") symbols"
    done
}

# --- on the GPU machine ---

# TensorRT, the bundles, or both: whatever has been uploaded.
unpack() {
    local root=$KEEP/tensorrt
    if uploaded kit; then
        rm -rf "$root"
        step "unpack TensorRT" unpack_parts kit "$root" -J
    fi
    if uploaded work; then step "unpack bundles" unpack_parts work "$KEEP/work" -J; fi
}

run_steps() {
    local name failed=0
    for name in $*; do
        case $name in
            doctor | test | fp16 | fp32 | int8) ;;
            *) echo "$name: unknown step; choose from doctor fp16 test fp32 int8" >&2; exit 2 ;;
        esac
    done
    for name in $*; do
        if [ $SECONDS -ge $DEADLINE ]; then
            echo "time is up before $name; continue with: run $name ..."
            return 124
        fi
        case $name in
            doctor | test) step "$name" "remote_$name" || failed=$? ;;
            *) step "$name" remote_precision "$name" || failed=$? ;;
        esac
        copy_results
    done
    return "$failed"
}

# The kit's interpreter, unless the machine has Python 3.10; none of the machine's packages.
remote_python() (
    root=$KEEP/tensorrt
    libraries=$root/site/tensorrt
    if ! python=$(find_python310); then
        python=$root/python/bin/python3.10
        export PYTHONHOME=$root/python
        libraries=$libraries:$root/python/lib
    fi
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PYTHONPATH=$root/source:$root/site PYTHONNOUSERSITE=1
    cd "$root/source"
    until_deadline "$python" "$@"
)

remote_doctor() { remote_python -m edgemate doctor; }

# The conditional engine separately: some versions cannot build it, and the others are then still built.
remote_build() {
    local layouts failed=0
    for layouts in segments,prefixes conditional; do
        remote_python -m edgemate build "$KEEP/work/bundles/$1" --layouts "$layouts" --batch 1:1:8 \
            --timing-cache "$KEEP/timing" || failed=$?
    done
    return "$failed"
}

remote_precision() {
    local failed=0
    if [ "${BACKEND:-tensorrt}" = tensorrt ]; then remote_build "$1" || failed=$?; fi
    remote_python deploy/gpu_kit/measure.py "$KEEP/work" --precisions "$1" --output "$RESULTS" \
        --backend "${BACKEND:-tensorrt}" ${MEASURE:-} || failed=$?
    return "$failed"
}

remote_test() {
    EDGEMATE_TEST_BUNDLES=$KEEP/tensorrt/test-bundles remote_python -m pytest -q -p no:cacheprovider \
        -m "${MARKED:-gpu}" tests/runtime --ignore tests/runtime/test_bare_environment.py
}

find_python310() {
    local python
    for python in "$PYTHON310" python3.10 "$HOME"/.pyenv/versions/3.10.*/bin/python3.10; do
        if [ -n "$python" ] && "$python" -c 'import ctypes' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# --- without a GPU ---

rehearse() {
    export REHEARSING=1 BACKEND=onnxruntime MARKED="not slow" MEASURE="--repeats 20 --timed 100"
    KEEP=$KIT/rehearsed/tensorrt RUNS= RESULTS= SITE= OUT=$KIT/rehearsed/out
    prepare "$1"
    set_folders
    prepare_folders
    unpack
    DEADLINE=$((SECONDS + 1800))
    find_python310() { return 1; }  # so that the kit's interpreter is used, not this machine's
    step "doctor" doctor_without_gpu
    step "build is refused without a GPU" refused_build
    run_steps fp16 test fp32 int8
    ls -l "$OUT"
}

# With TensorRT in the kit its exit status is 2, since this machine cannot run TensorRT.
doctor_without_gpu() {
    local status=0 expected=0
    [ ! -d "$KEEP/tensorrt/site/tensorrt" ] || expected=2
    remote_doctor || status=$?
    [ "$status" -eq "$expected" ]
}

refused_build() {
    local output status=0
    output=$(remote_build fp32 2>&1) || status=$?
    echo "$output" | sort | uniq -c
    [ "$status" -eq 2 ] && ! grep -qv '^error: TensorRT' <<<"$output"
}

main "$@"; exit
