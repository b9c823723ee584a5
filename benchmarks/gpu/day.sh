#!/usr/bin/env bash
# GPU day: everything that only a real GPU can show, in 30 minutes on a machine that has torch but no network.
#
#   benchmarks/gpu/day.sh prepare DATA [RUN]   here, beforehand: the parts to bring, of at most 60 MiB each
#   benchmarks/gpu/day.sh --timetable          here: the plan, minute by minute, with the upload as it was measured
#   benchmarks/gpu/day.sh STEP                 there, none longer than ten minutes: setup data train status wait stop
#                                              bundle rtx tensorrt clock speed table home
#   benchmarks/gpu/day.sh --rehearse           here, without a GPU: the steps on little data, on the CPU
#
# DATA is a folder with cifar100.npz; RUN any finished run, for the tests that travel with TensorRT. What the steps do is
# in benchmarks/gpu/day.md. Every step can be run again, and writes its results as it goes.
#
# Settings: KIT the kit (build/gpu-kit); RUNS runs and checkpoints (runs/cifar100); RESULTS results (benchmarks/results);
# PYTHON an interpreter with torch; DEVICE cuda or cpu; SETTINGS recipe settings for the trainings, KEY=VALUE each;
# THERE the other machine's `pip list --format=freeze`; PYTHON_THERE its Python (3.12); TORCHVISION a version to bring;
# RTX the version of TensorRT-RTX; STEP_SECONDS longest step (570).
#
# Not run on a GPU yet.
set -euo pipefail
cd "$(dirname "$0")/../.."

export KIT=${KIT:-$PWD/build/gpu-kit}
export RUNS=${RUNS:-$PWD/runs/cifar100}
export RESULTS=${RESULTS:-$PWD/benchmarks/results}
export SITE=${SITE:-$KIT/day/site}
export STEP_SECONDS=${STEP_SECONDS:-570}
BIN=${BIN:-$PWD/.venv/bin}
PYTHON=${PYTHON:-$([ -x "$BIN/python" ] && echo "$BIN/python" || echo python3)}
export PYTHON
DEVICE=${DEVICE:-cuda}
PYTHON_THERE=${PYTHON_THERE:-3.12}
SETTINGS=${SETTINGS:-}
RTX=${RTX:-1.7.1.116}
PART=60m
HOME_PART=15m
FIRST=resnet18_mate-seed0
TIMETABLE="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  1.0 | setup: packages beside torch                                              | wheels
 2.5 |  2.0 | data: CIFAR-100                                                           | data
 4.5 |  0.1 | train: MATE, seed 0, in the background                                    |
 4.6 |  5.0 | TensorRT comes meanwhile                                                  | tensorrt
 9.6 |  0.9 | TensorRT-RTX comes meanwhile                                              | rtx
10.5 |  4.5 | wait: until MATE's 200 epochs are over                                    |
15.0 |  1.5 | bundle: export of that run, and what ONNX Runtime says                    |
16.5 |  0.5 | rtx: does TensorRT-RTX take this GPU                                      |
17.0 |  4.5 | tensorrt: engines, pytest -m gpu, agreement, latency                      |
21.5 |  1.5 | clock: early exit in PyTorch on the 10,000 test pictures                  |
23.0 |  4.0 | speed: what helps training by how much; a step's cost                     |
27.0 |  2.5 | table: joint CE, EED, BYOT, DKS, BEED as far as they come                 |
29.5 |  0.5 | home: results, and the run's files in parts                               |"

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    case $command in
        prepare) prepare "${1:?a folder with cifar100.npz}" "${2:-}" ;;
        --timetable) timetable ;;
        --rehearse) rehearse ;;
        setup | data | train | status | wait | stop | bundle | rtx | tensorrt | clock | speed | table | home)
            local before=$SECONDS
            echo "== $command"
            "there_$command" "$@"
            echo "== $command: $((SECONDS - before)) s"
            ;;
        *)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' benchmarks/gpu/day.sh
            exit 2
            ;;
    esac
}

# --- here ---

prepare() {
    local data=$1 run=$2
    mkdir -p "$KIT/day"
    "$PYTHON" benchmarks/gpu/training_wheels.py collect "$KIT/day/wheels" --python "$PYTHON_THERE" \
        ${THERE:+--there "$THERE"} ${TORCHVISION:+--torchvision "$TORCHVISION"}
    pack wheels cat "$KIT/day/wheels"
    if [ -f "$data/cifar100.npz" ]; then
        pack data "xz -T0 -1" "$data/cifar100.npz"
    else
        pack data "xz -T0 -1" "$data/cifar-100-python"
    fi
    if [ -z "${REHEARSING:-}" ]; then
        pack_rtx
        if [ -n "$run" ]; then benchmarks/gpu/tensorrt.sh prepare "$run"; fi
    fi
    timetable
}

# Two parts either way: to pack it as small as can be takes ten minutes and leaves a little more than one.
pack_rtx() {
    local part
    rm -rf "$KIT/day/rtx" "$KIT/day/wheels-rtx"
    for part in bindings libs; do
        "$PYTHON" -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: \
            --python-version "$PYTHON_THERE" --platform manylinux_2_28_x86_64 --dest "$KIT/day/wheels-rtx" \
            "tensorrt-rtx-cu13-$part==$RTX"
    done
    "$PYTHON" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$KIT/day/wheels-rtx" \
        "tensorrt-rtx-cu13==$RTX"
    for part in "$KIT"/day/wheels-rtx/*.whl; do "$PYTHON" -m zipfile -e "$part" "$KIT/day/rtx"; done
    pack rtx "xz -T0 -1" "$KIT/day/rtx"
}

# pack GROUP COMPRESSOR PATH: parts of PATH under $KIT/day/parts/GROUP.
pack() {
    local to=$KIT/day/parts/$1
    rm -rf "$to"
    mkdir -p "$to"
    tar -c -C "$(dirname "$3")" "$(basename "$3")" | $2 | split -b $PART -d - "$to/$1."
    (cd "$to" && sha256sum "$1".* >SHA256SUMS)
}

timetable() {
    local at takes what group files
    echo " at  | takes | step                                                                      | parts | MiB"
    while IFS='|' read -r at takes what group; do
        group=${group// /}
        files=$(parts_of "$group")
        printf '%s|%s |%s|%s\n' "$at" "$takes" "$what" "$(measured "$group" "$files")"
    done <<<"$TIMETABLE"
    echo
    echo "minutes are a plan, not a measurement; the sizes are those of the parts that are prepared here"
    echo "upload altogether: $(total_mib $(for group in wheels data tensorrt rtx; do parts_of $group; done)) MiB"
}

parts_of() {
    case $1 in
        "") ;;
        tensorrt) ls "$KIT"/parts/kit.tar.xz.* 2>/dev/null || true ;;
        *) ls "$KIT/day/parts/$1/$1".* 2>/dev/null || true ;;
    esac
}

measured() {
    if [ -z "$1" ]; then
        printf '       |'
    elif [ -z "$2" ]; then
        printf ' not prepared'
    else
        printf ' %5d | %5.1f' "$(wc -w <<<"$2")" "$(total_mib $2)"
    fi
}

total_mib() {
    [ $# -gt 0 ] || { echo 0; return; }
    stat -c %s "$@" | awk '{ sum += $1 } END { printf "%.1f", sum / 1048576 }'
}

# --- there ---

unpack() {
    local from=$KIT/day/parts/$1
    (cd "$from" && sha256sum --quiet --check SHA256SUMS)
    case $1 in
        wheels) cat "$from/$1".[0-9]* | tar -x -C "$KIT/day" ;;
        data) mkdir -p "$KIT/day/data" && cat "$from/$1".[0-9]* | tar -xJ -C "$KIT/day/data" ;;
        rtx) cat "$from/$1".[0-9]* | tar -xJ -C "$KIT/day" ;;
    esac
}

python_there() {
    PYTHONPATH=$PWD:$SITE${PYTHONPATH:+:$PYTHONPATH} EDGEMATE_DATA=$KIT/day/data \
        timeout --foreground "$STEP_SECONDS" "$PYTHON" "$@"
}

there_setup() {
    mkdir -p "$RESULTS"
    nvidia-smi || echo "no nvidia-smi here"
    # For the next time: what need not be brought.
    "$PYTHON" -m pip list --format=freeze --disable-pip-version-check >"$RESULTS/packages_there.txt" || true
    unpack wheels
    "$PYTHON" benchmarks/gpu/training_wheels.py install "$KIT/day/wheels" "$SITE"
    python_there -m edgemate --help >/dev/null && echo "edgemate starts"
}

there_data() { unpack data && ls -l "$KIT/day/data"; }

# cifar100 SECONDS OPTION...: the trainings, with the settings of the day.
cifar100() {
    local setting settings=()
    for setting in $SETTINGS; do settings+=(--set "$setting"); done
    benchmarks/gpu/cifar100.sh "$KIT/day/data" "$@" "${settings[@]}"
}

# A session of its own lets it go on when the command that started it has returned.
there_train() {
    mkdir -p "$RUNS"
    export -f cifar100
    export SETTINGS
    setsid nohup bash -c 'cifar100 "$@"' cifar100 "${TRAIN_SECONDS:-1500}" --methods "${METHODS:-mate}" --seeds 0 \
        --jobs "${JOBS:-1}" "$@" >>"$RUNS/day.log" 2>&1 </dev/null &
    echo $! >"$RUNS/day.pid"
    sleep "${LOOK_AFTER:-20}"
    there_status
}

there_status() {
    tail -n 3 "$RUNS/day.log" || true
    tail -qn 2 "$RUNS"/resnet18_*.log 2>/dev/null || true
    tail -qn 1 "$RUNS"/*/speed.csv 2>/dev/null || true
}

training() {
    local state
    [ -f "$RUNS/day.pid" ] && state=$(sed 's/.*) //;s/ .*//' "/proc/$(cat "$RUNS/day.pid")/stat" 2>/dev/null) &&
        [ "$state" != Z ]  # ended, though nobody has asked how
}

there_wait() {
    local until=$((SECONDS + ${1:-$STEP_SECONDS}))
    while training && [ $SECONDS -lt $until ]; do sleep 2; done
    there_status
    if training; then echo "still training: wait again, or stop"; fi
}

# It may be ended at any moment, and its trainings end with it.
there_stop() { if training; then kill -KILL "-$(cat "$RUNS/day.pid")"; fi; }

# The machine's own Python makes the bundles, so onnx, onnxscript and onnxruntime must be there; where they are not, make
# them from the run at home.
there_bundle() {
    python_there benchmarks/gpu/prepare.py "$RUNS/$FIRST" "$KIT/there/work" --pictures "${PICTURES:-2000}"
}

there_rtx() {
    unpack rtx
    PYTHONPATH=$KIT/day/rtx python_there -m edgemate doctor
    PYTHONPATH=$KIT/day/rtx python_there -m edgemate build "$KIT/there/work/bundles/fp32" --backend tensorrt_rtx \
        --layouts segments,prefixes --batch 1:1:8
    PYTHONPATH=$KIT/day/rtx python_there benchmarks/gpu/measure.py "$KIT/there/work" --backend tensorrt_rtx \
        --precisions fp32 --output "$RESULTS/rtx"
}

# Unpacking would wipe the bundles of this day, so it stands before `bundle`: `tensorrt unpack` as soon as all is there.
there_tensorrt() {
    if [ "${1:-}" = unpack ]; then
        benchmarks/gpu/tensorrt.sh unpack
    else
        MEASURE="--output $RESULTS" benchmarks/gpu/tensorrt.sh run "${@:-doctor build test measure}"
    fi
}

there_clock() {
    python_there benchmarks/gpu/early_exit.py "$RUNS/$FIRST" --device "$DEVICE" --output "$RESULTS" \
        --pictures "${PICTURES:-10000}"
}

there_speed() {
    python_there benchmarks/train_throughput.py --device "$DEVICE" --rounds "${ROUNDS:-3}" \
        --output "$RESULTS/train_throughput_$DEVICE.json" ${THROUGHPUT:---grid --batches 60}
    python_there benchmarks/step_cost.py --device "$DEVICE" --rounds "${ROUNDS:-100}" \
        --output "$RESULTS/step_cost_$DEVICE.json" ${STEP_COST:-}
}

there_table() {
    cifar100 "${1:-150}" --methods "${METHODS:-mate,joint_ce,eed,byot,dks,beed}" --seeds "${SEEDS:-0}" \
        --jobs "${JOBS:-3}"
}

# home [RUN]: a run in parts small enough to bring home; with its checkpoint where it is to go on another day.
there_home() {
    local run=${1:-$FIRST} to=$KIT/day/home leave=()
    rm -rf "$to"
    mkdir -p "$to"
    [ -f "$RUNS/$run/metrics.json" ] && leave=(--exclude=checkpoints)
    tar -c -C "$RUNS" --exclude=tensorboard "${leave[@]}" "$run" | split -b $HOME_PART -d - "$to/$run.tar."
    (cd "$to" && sha256sum "$run".tar.* >SHA256SUMS)
    ls -l "$to"
    cifar100 --collect
}

# --- without a GPU ---

rehearse() {
    local before=$SECONDS
    export REHEARSING=1 DEVICE=cpu KIT=$KIT/rehearsed STEP_SECONDS=300 LOOK_AFTER=1 PICTURES=60
    rm -rf "$KIT"
    RUNS=$KIT/runs RESULTS=$KIT/results SITE=$KIT/day/site
    mkdir -p "$KIT/little"
    "$PYTHON" - "$KIT/little/cifar100.npz" <<'END'
import sys
import numpy as np

draw, labels = np.random.default_rng(0), np.arange(600) % 10
colours = draw.integers(60, 196, (10, 1, 1, 3))  # a class is a colour: easily learnt, so that exports can be judged
pictures = (colours[labels] + draw.integers(-60, 60, (600, 32, 32, 3))).astype(np.uint8)
np.savez(sys.argv[1], x_train=pictures[:500], y_train=labels[:500], x_test=pictures[500:], y_test=labels[500:])
END
    SETTINGS="model.backbone=resnet8 exits.at=[stage1,stage2,stage3] exits.head=bottleneck optimization.epochs=6"
    SETTINGS+=" optimization.schedule_options.milestones=[5] optimization.batch_size=32 training.accelerator=cpu"
    PYTHON_THERE=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    prepare "$KIT/little" ""
    main setup
    main data
    main train
    main stop
    main train
    main wait
    main bundle
    main clock
    THROUGHPUT="--random --batches 2 --variants bf16 --set optimization.batch_size=4"
    STEP_COST="--networks resnet8 --batch 8" ROUNDS=2 main speed
    METHODS=mate,joint_ce main table 200
    main home
    ls -l "$RESULTS"
    echo "rehearsed in $((SECONDS - before)) s; TensorRT has a rehearsal of its own: benchmarks/gpu/tensorrt.sh rehearse"
}

main "$@"; exit
