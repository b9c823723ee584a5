#!/usr/bin/env bash
# TensorRT on a GPU machine that has no network: everything it needs, brought in parts of at most 60 MiB.
#
#   benchmarks/gpu/tensorrt.sh prepare RUN     here, with network and the full environment: build/gpu-kit/parts/
#   benchmarks/gpu/tensorrt.sh work RUN        here: of these only the run's bundles, images and reference logits
#   benchmarks/gpu/tensorrt.sh unpack          there, with the parts in the same place (in any number of trips)
#   benchmarks/gpu/tensorrt.sh run [STEP...]   there: doctor fp16 test fp32 int8, or those named; each can be run again
#   benchmarks/gpu/tensorrt.sh rehearse RUN    here, without a GPU: all of it, with ONNX Runtime in TensorRT's place
#
# RUN is a finished run, such as runs/cifar100-resnet18_mate. A precision is built, measured and written before the next
# is begun. What comes of it: $RESULTS/tensorrt_<gpu>.json.
#
# Settings: KIT folder of the kit; KEEP, RESULTS and OUT as in there.sh; PYTHON310; TENSORRT version of the wheel, or the
# path of one that is here already; CUDA_BINDINGS requirement (its major version must not be above the driver's CUDA);
# STEP_SECONDS for all that one command does; PART largest part.
#
# Not run on a GPU yet. `rehearse` shows what works without one; what a GPU alone can show is unproved until it ran.
set -euo pipefail
cd "$(dirname "$0")/../.."

KIT=${KIT:-$PWD/build/gpu-kit}
. benchmarks/gpu/there.sh
BIN=${BIN:-$PWD/.venv/bin}
PYTHON310=${PYTHON310:-}
TENSORRT=${TENSORRT:-8.5.3.1}
CUDA_BINDINGS=${CUDA_BINDINGS:-cuda-bindings>=12,<13}
DEADLINE=$((SECONDS + ${STEP_SECONDS:-570}))
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
        unpack) places; settle; unpack ;;
        run) places; settle; run_steps "${@:-doctor fp16 test fp32 int8}" ;;
        rehearse) rehearse "${1:?a run folder}" ;;
        *)
            trap - EXIT
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' benchmarks/gpu/tensorrt.sh
            exit 2
            ;;
    esac
}

# step NAME COMMAND...: run it, and remember how long it took.
step() {
    local before=$SECONDS
    STEP=$1
    shift
    echo "== $STEP"
    local status
    "$@"  # ends the program where it fails, unless the caller looks at the status
    status=$?
    TIMETABLE+=("$(printf '%6d s  %s' $((SECONDS - before)) "$STEP")")
    [ $status -eq 0 ] || TIMETABLE+=("          failed: $STEP (exit status $status)")
    STEP=
    return $status
}

timetable() {
    local status=$?
    printf '%s\n' "== timetable" "${TIMETABLE[@]}"
    printf '%6d s  altogether\n' $((SECONDS - STARTED))
    [ -z "$STEP" ] || echo "failed: $STEP (exit status $status)" >&2
}

# --- here ---

prepare() {
    rm -rf "$KIT/tree"
    mkdir -p "$KIT/tree"
    step "the tests' bundles" "$BIN/python" tests/support/bundles.py "$KIT/tree/test-bundles"
    step "edgemate and its tests" pack_sources
    step "Python 3.10" pack_python
    step "packages" pack_packages
    # A rehearsal takes it along only where its wheel is here already: it is large, and without a GPU it is never called.
    if [ -z "${REHEARSING:-}" ] || [ -f "$TENSORRT" ]; then step "TensorRT $TENSORRT" pack_tensorrt; fi
    step "parts of TensorRT" pack_parts kit "xz -T0 -1" -C "$KIT/tree" .
    du -sh "$KIT"/tree/* | sed 's/^/   /'
    local failed=0
    prepare_work "$1" || failed=$?
    du -ach "$KIT"/parts/{kit,work}/*.[0-9]* | sed 's/^/   /'
    return $failed
}

# Segments, prefixes and the conditional graph hold the same weights: a dictionary that spans them packs these once.
# Where a precision is unavailable, the others travel all the same, and the exit status says so at the end.
prepare_work() {
    local failed=0
    step "bundles, images, ONNX Runtime's answers" \
        "$BIN/python" benchmarks/gpu/prepare.py "$1" "$KIT/work" || failed=$?
    if compgen -G "$KIT/work/reference_*.npz" >/dev/null; then
        step "parts of these" pack_parts work "xz --lzma2=preset=1,dict=256MiB" -C "$KIT/work" . || failed=$?
    fi
    return $failed
}

pack_sources() {
    mkdir -p "$KIT/tree/source"
    tar -c --exclude=__pycache__ --exclude='*.pyc' edgemate tests benchmarks/gpu pyproject.toml recipes |
        tar -x -C "$KIT/tree/source"
}

# An interpreter that runs from wherever it lies, with the libraries that its modules need except the C library's own.
pack_python() {
    local python to=$KIT/tree/python
    python=$(find_python310) || { echo "no Python 3.10 here; set PYTHON310" >&2; exit 2; }
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

# By Python 3.10's own pip, so that it is 3.10 whose requirements are looked up.
pack_packages() {
    local wanted=(numpy pillow pydantic pyyaml typer rich "$CUDA_BINDINGS" pytest pytest-timeout hypothesis)
    [ -z "${REHEARSING:-}" ] || wanted+=(onnxruntime)
    "$(find_python310)" -m pip install -qq --no-warn-conflicts --disable-pip-version-check --only-binary=:all: \
        --target "$KIT/tree/site" "${wanted[@]}"
    find "$KIT/tree/site" -name __pycache__ -prune -exec rm -rf {} +
}

# Of TensorRT only what builds and runs ONNX: nvinfer, its builder, the parser, the Python extension. The libraries of
# plugins and of the legacy parsers, which would bring cuBLAS and cuDNN with them, are stubs that have no more than the
# symbols the others look for.
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
    rm -rf "$all" "$to"  # another version's
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

# --- there ---

# Either part of the kit, or both, as they have come.
unpack() {
    local there=$KEEP/tensorrt
    if come kit; then
        rm -rf "$there"
        step "unpack TensorRT" unpack_parts kit "$there" -J
    fi
    if come work; then step "unpack bundles" unpack_parts work "$KEEP/work" -J; fi
}

run_steps() {
    local name failed=0
    for name in $*; do
        case $name in
            doctor | test | fp16 | fp32 | int8) ;;
            *) echo "no step $name: doctor fp16 test fp32 int8" >&2; exit 2 ;;
        esac
    done
    for name in $*; do
        if [ $SECONDS -ge $DEADLINE ]; then
            echo "the time is over before $name; the same command goes on from there: run $name ..."
            return 124
        fi
        case $name in
            doctor | test) step "$name" "there_$name" || failed=$? ;;
            *) step "$name" there_precision "$name" || failed=$? ;;
        esac
        bring_out
    done
    return "$failed"
}

# The kit's interpreter, unless the machine has a 3.10 of its own; nothing of the machine's packages.
there_python() (
    there=$KEEP/tensorrt
    libraries=$there/site/tensorrt
    if ! python=$(find_python310); then
        python=$there/python/bin/python3.10
        export PYTHONHOME=$there/python
        libraries=$libraries:$there/python/lib
    fi
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PYTHONPATH=$there/source:$there/site PYTHONNOUSERSITE=1
    cd "$there/source"
    until_deadline "$python" "$@"
)

there_doctor() { there_python -m edgemate doctor; }

# The conditional engine by itself: where a version cannot build it, the others are there.
there_build() {
    local layouts failed=0
    for layouts in segments,prefixes conditional; do
        there_python -m edgemate build "$KEEP/work/bundles/$1" --layouts "$layouts" --batch 1:1:8 \
            --timing-cache "$KEEP/timing" || failed=$?
    done
    return "$failed"
}

there_precision() {
    local failed=0
    if [ "${BACKEND:-tensorrt}" = tensorrt ]; then there_build "$1" || failed=$?; fi
    there_python benchmarks/gpu/measure.py "$KEEP/work" --precisions "$1" --output "$RESULTS" \
        --backend "${BACKEND:-tensorrt}" ${MEASURE:-} || failed=$?
    return "$failed"
}

there_test() {
    EDGEMATE_TEST_BUNDLES=$KEEP/tensorrt/test-bundles there_python -m pytest -q -p no:cacheprovider \
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
    places
    settle
    unpack
    DEADLINE=$((SECONDS + 1800))
    find_python310() { return 1; }  # so that the interpreter in the kit is tried, not this machine's
    step "doctor" doctor_without_gpu
    step "build is refused without a GPU" refused_build
    run_steps fp16 test fp32 int8
    ls -l "$OUT"
}

# With TensorRT in the kit it ends with 2, because nothing here can run that.
doctor_without_gpu() {
    local status=0 expected=0
    [ ! -d "$KEEP/tensorrt/site/tensorrt" ] || expected=2
    there_doctor || status=$?
    [ "$status" -eq "$expected" ]
}

refused_build() {
    local said status=0
    said=$(there_build fp32 2>&1) || status=$?
    echo "$said" | sort | uniq -c
    [ "$status" -eq 2 ] && ! grep -qv '^error: TensorRT' <<<"$said"
}

main "$@"; exit
