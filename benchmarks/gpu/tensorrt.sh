#!/usr/bin/env bash
# TensorRT on a GPU machine that has no network: everything it needs, brought in parts of at most 60 MiB.
#
#   benchmarks/gpu/tensorrt.sh prepare RUN     here, with network and the full environment: build/gpu-kit/parts/
#   benchmarks/gpu/tensorrt.sh unpack          there, with the parts in the same place (in any number of trips)
#   benchmarks/gpu/tensorrt.sh run [STEP...]   there: doctor build test measure, or those named; each can be run again
#   benchmarks/gpu/tensorrt.sh rehearse RUN    here, without a GPU: all of it, with ONNX Runtime in TensorRT's place
#
# RUN is a finished run, such as runs/cifar100-resnet18_mate. What comes of it: benchmarks/results/tensorrt_<gpu>.json.
#
# Settings: KIT folder of the kit; PYTHON310; TENSORRT version of the wheel, or the path of one that is here already;
# CUDA_BINDINGS requirement (its major version must not be above the driver's CUDA); STEP_SECONDS longest step.
#
# Not run on a GPU yet. `rehearse` shows what works without one; what a GPU alone can show is unproved until it ran.
# Rehearsed on 2 cores with the digits run and TensorRT 8.5.3.1: 7 parts, 420 MB; preparing them 5 minutes, most of it
# compression; unpacking 31 s.
set -euo pipefail
cd "$(dirname "$0")/../.."

KIT=${KIT:-$PWD/build/gpu-kit}
BIN=${BIN:-$PWD/.venv/bin}
PYTHON310=${PYTHON310:-}
TENSORRT=${TENSORRT:-8.5.3.1}
CUDA_BINDINGS=${CUDA_BINDINGS:-cuda-bindings>=12,<13}
STEP_SECONDS=${STEP_SECONDS:-590}
PART=60m
STARTED=$SECONDS
STEP=
TIMETABLE=()

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    trap timetable EXIT
    case $command in
        prepare) prepare "${1:?a run folder}" ;;
        unpack) unpack ;;
        run) run_steps "${@:-doctor build test measure}" ;;
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
    "$@"
    TIMETABLE+=("$(printf '%6d s  %s' $((SECONDS - before)) "$STEP")")
    STEP=
}

timetable() {
    local status=$?
    printf '%s\n' "== timetable" "${TIMETABLE[@]}"
    printf '%6d s  altogether\n' $((SECONDS - STARTED))
    [ -z "$STEP" ] || echo "failed: $STEP (exit status $status)" >&2
}

# --- here ---

prepare() {
    rm -rf "$KIT/tree" "$KIT/parts"
    mkdir -p "$KIT/tree" "$KIT/parts"
    step "bundles, pictures, ONNX Runtime's answers" "$BIN/python" benchmarks/gpu/prepare.py "$1" "$KIT/tree/work"
    step "the tests' bundles" "$BIN/python" tests/support/bundles.py "$KIT/tree/test-bundles"
    step "edgemate and its tests" pack_sources
    step "Python 3.10" pack_python
    step "packages" pack_packages
    # A rehearsal takes it along only where its wheel is here already: it is large, and without a GPU it is never called.
    if [ -z "${REHEARSING:-}" ] || [ -f "$TENSORRT" ]; then step "TensorRT $TENSORRT" pack_tensorrt; fi
    step "parts" pack_parts
    du -sh "$KIT"/tree/* | sed 's/^/   /'
    ls -lh "$KIT/parts" | awk 'NR > 1 { print "   " $5, $9 }'
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

pack_parts() {
    tar -c -C "$KIT/tree" . | xz -T0 -1 | split -b $PART -d - "$KIT/parts/kit.tar.xz."
    (cd "$KIT/parts" && sha256sum kit.tar.xz.* >SHA256SUMS)
}

# --- there ---

unpack() {
    step "parts are whole" check_parts
    rm -rf "$KIT/there"
    mkdir -p "$KIT/there"
    step "unpack" unpack_parts
}

check_parts() { (cd "$KIT/parts" && sha256sum --quiet --check SHA256SUMS); }

unpack_parts() { cat "$KIT"/parts/kit.tar.xz.* | tar -xJ -C "$KIT/there"; }

run_steps() {
    local name
    for name in $*; do
        case $name in
            doctor | build | test | measure) step "$name" "there_$name" ;;
            *) echo "no step $name: doctor build test measure" >&2; exit 2 ;;
        esac
    done
}

# The kit's interpreter, unless the machine has a 3.10 of its own; nothing of the machine's packages.
there_python() (
    there=$KIT/there
    libraries=$there/site/tensorrt
    if ! python=$(find_python310); then
        python=$there/python/bin/python3.10
        export PYTHONHOME=$there/python
        libraries=$libraries:$there/python/lib
    fi
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PYTHONPATH=$there/source:$there/site PYTHONNOUSERSITE=1
    cd "$there/source"
    exec timeout "$STEP_SECONDS" "$python" "$@"
)

there_doctor() { there_python -m edgemate doctor; }

# The conditional engine by itself: where a version cannot build it, the others are there.
there_build() {
    local bundle layouts failed=0
    for bundle in "$KIT"/there/work/bundles/*; do
        for layouts in segments,prefixes conditional; do
            there_python -m edgemate build "$bundle" --layouts "$layouts" --batch 1:1:8 \
                --timing-cache "$KIT/there/timing" || failed=$?
        done
    done
    return "$failed"
}

there_test() {
    EDGEMATE_TEST_BUNDLES=$KIT/there/test-bundles there_python -m pytest -q -p no:cacheprovider \
        -m "${MARKED:-gpu}" tests/runtime --ignore tests/runtime/test_bare_environment.py
}

there_measure() {
    there_python benchmarks/gpu/measure.py "$KIT/there/work" --output "$PWD/benchmarks/results" \
        --backend "${BACKEND:-tensorrt}" ${MEASURE:-}
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
    export REHEARSING=1 BACKEND=onnxruntime MARKED="not slow" MEASURE="--repeats 20 --timed 100 --output $KIT/rehearsed"
    prepare "$1"
    unpack
    find_python310() { return 1; }  # so that the interpreter in the kit is tried, not this machine's
    step "doctor" doctor_without_gpu
    step "build is refused without a GPU" refused_build
    run_steps test measure
}

# With TensorRT in the kit it ends with 2, because nothing here can run that.
doctor_without_gpu() {
    local status=0 expected=0
    [ ! -d "$KIT/there/site/tensorrt" ] || expected=2
    there_doctor || status=$?
    [ "$status" -eq "$expected" ]
}

refused_build() {
    local said status=0
    said=$(there_build 2>&1) || status=$?
    echo "$said" | sort | uniq -c
    [ "$status" -eq 2 ] && ! grep -qv '^error: TensorRT' <<<"$said"
}

main "$@"; exit
