#!/usr/bin/env bash
# GPU day: everything that only a real GPU can show, on a machine that has torch but no network, for 30 minutes or for
# 15 minutes on each of two days.
#
#   benchmarks/gpu/day.sh prepare DATA [RUN]   here, beforehand: the parts to bring, of at most 60 MiB each
#   benchmarks/gpu/day.sh --timetable          here: the plan, minute by minute, with the upload as it was measured
#   benchmarks/gpu/day.sh STEP                 there, none longer than ten minutes: take setup data probe train status
#                                              wait stop bundle rtx tensorrt clock speed table home
#   benchmarks/gpu/day.sh --rehearse           here, without a GPU: the steps on little data, on the CPU
#
# DATA is a folder with cifar100.npz; RUN any finished run, whose bundles travel with TensorRT. What the steps do is in
# benchmarks/gpu/day.md. Every step can be run again, writes its results as it goes, and ends by putting them into OUT.
#
# Settings: MINUTES of the plan (30, or 15); KIT the kit (build/gpu-kit); KEEP, OUT and their limits as in there.sh; RUNS
# runs and checkpoints (KEEP/runs); RESULTS results (KEEP/results); PYTHON an interpreter with torch; DEVICE cuda or cpu;
# SETTINGS recipe settings for the trainings, KEY=VALUE each; THERE the other machine's `pip list --format=freeze`;
# PYTHON_THERE its Python (3.12); TORCHVISION a version to bring; RTX the version of TensorRT-RTX; STEP_SECONDS longest
# step (570); PART largest part (60m).
#
# Not run on a GPU yet.
set -euo pipefail
cd "$(dirname "$0")/../.."

export KIT=${KIT:-$PWD/build/gpu-kit}
. benchmarks/gpu/there.sh
export STEP_SECONDS=${STEP_SECONDS:-570}
BIN=${BIN:-$PWD/.venv/bin}
PYTHON=${PYTHON:-$([ -x "$BIN/python" ] && echo "$BIN/python" || echo python3)}
export PYTHON
DEVICE=${DEVICE:-cuda}
PYTHON_THERE=${PYTHON_THERE:-3.12}
SETTINGS=${SETTINGS:-}
RTX=${RTX:-1.7.1.116}
FIRST=resnet18_mate-seed0
GROUPS_OF_PARTS="wheels data kit work rtx"
IN_30="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  0.5 | setup: packages beside torch                                              | wheels
 2.0 |  2.0 | data: CIFAR-100                                                           | data
 4.0 |  1.5 | probe: eager, compiled or CUDA graphs                                     |
 5.5 |  0.1 | train: MATE, seed 0, in the background                                    |
 5.6 |  5.0 | take: TensorRT comes meanwhile                                            | kit
10.6 |  1.0 | take: TensorRT-RTX comes meanwhile                                        | rtx
11.6 |  4.4 | wait: until MATE's 200 epochs are over                                    |
16.0 |  1.5 | bundle: export of that run, and what ONNX Runtime says                    |
17.5 |  0.5 | rtx: does TensorRT-RTX take this GPU                                      |
18.0 |  5.0 | tensorrt: fp16, pytest -m gpu, fp32, int8                                 |
23.0 |  1.0 | clock: early exit in PyTorch on the 10,000 test images                  |
24.0 |  3.0 | speed: what helps training by how much; a step's cost                     |
27.0 |  2.0 | table: joint CE, EED, BYOT, DKS, BEED as far as they come                 |
29.0 |  1.0 | home: the run's files in parts                                            |"
# On another day than A: what is brought is made from A's run.
IN_15_A="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  0.3 | setup: packages beside torch                                              | wheels
 1.8 |  1.7 | data: CIFAR-100                                                           | data
 3.5 |  1.2 | probe: eager, compiled or CUDA graphs                                     |
 4.7 |  0.1 | train: MATE, seed 0, in the background                                    |
 4.8 |  6.7 | wait: until MATE's 200 epochs are over                                    |
11.5 |  1.0 | clock: early exit in PyTorch on the 10,000 test images                  |
12.5 |  1.5 | speed: as far as it comes                                                 |
14.0 |  1.0 | home: the run's files in parts                                            |"
IN_15_B="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  4.2 | take: TensorRT                                                            | kit
 5.7 |  1.0 | take: the bundles of A's run                                              | work
 6.7 |  0.5 | tensorrt unpack                                                           |
 7.2 |  3.0 | tensorrt doctor fp16: engines, agreement, latency, early exit             |
10.2 |  1.0 | tensorrt test: pytest -m gpu                                              |
11.2 |  1.7 | tensorrt fp32                                                             |
12.9 |  1.7 | tensorrt int8                                                             |
14.6 |  0.4 | what has come home is looked at                                           |"

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    case $command in
        prepare) prepare "${1:?a folder with cifar100.npz}" "${2:-}" ;;
        --timetable) timetable ;;
        --rehearse) rehearse ;;
        take | setup | data | probe | train | status | wait | stop | bundle | rtx | tensorrt | clock | speed | table | home)
            places
            settle
            trap ended EXIT
            trap 'exit 143' TERM
            trap 'exit 130' INT
            local before=$SECONDS
            DEADLINE=$((SECONDS + STEP_SECONDS))
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

# Whatever ends a step, what is finished comes home. Training goes on, except that a rehearsal leaves nothing running.
ended() {
    [ -z "${REHEARSING:-}" ] || there_stop
    bring_out
}

# --- here ---

prepare() {
    local data=$1 run=$2 failed=0
    mkdir -p "$KIT/day"
    "$PYTHON" benchmarks/gpu/training_wheels.py collect "$KIT/day/wheels" --python "$PYTHON_THERE" \
        ${THERE:+--there "$THERE"} ${TORCHVISION:+--torchvision "$TORCHVISION"}
    pack_parts wheels cat -C "$KIT/day" wheels
    if [ -f "$data/cifar100.npz" ]; then
        pack_parts data "xz -T0 -1" -C "$data" cifar100.npz
    else
        pack_parts data "xz -T0 -1" -C "$data" cifar-100-python
    fi
    if [ -z "${REHEARSING:-}" ]; then
        pack_rtx
        if [ -n "$run" ]; then benchmarks/gpu/tensorrt.sh prepare "$run" || failed=$?; fi
    fi
    timetable
    return $failed
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
    pack_parts rtx "xz -T0 -1" -C "$KIT/day" rtx
}

timetable() {
    case ${MINUTES:-30} in
        30) plan "$IN_30" ;;
        15)
            echo "day A: training"
            plan "$IN_15_A"
            echo
            echo "day B: TensorRT, with bundles made at home from A's run (tensorrt.sh work RUN)"
            plan "$IN_15_B"
            ;;
        *) echo "MINUTES=$MINUTES: there is a plan for 30, and one for 15 on each of two days" >&2; exit 2 ;;
    esac
    echo
    echo "minutes are a plan, not a measurement; the sizes are those of the parts that are prepared here"
}

plan() {
    local at takes what group parts=()
    echo " at  | takes | step                                                                      | parts | MiB"
    while IFS='|' read -r at takes what group; do
        group=${group// /}
        parts+=($(parts_of "$group"))
        printf '%s|%s |%s|%s\n' "$at" "$takes" "$what" "$(measured "$group" "$(parts_of "$group")")"
    done <<<"$1"
    echo "upload altogether: $(total_mib "${parts[@]}") MiB in ${#parts[@]} parts"
}

parts_of() { [ -z "$1" ] || ls "$KIT/parts/$1/$1".[0-9]* 2>/dev/null || true; }

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

python_there() {
    PYTHONPATH=$PWD:$SITE${PYTHONPATH:+:$PYTHONPATH} EDGEMATE_DATA=$KEEP/data until_deadline "$PYTHON" "$@"
}

# Every step takes what has come; this one does nothing else.
there_take() {
    local group
    for group in $GROUPS_OF_PARTS; do
        if [ -d "$KEEP/parts/$group" ]; then ls -l "$KEEP/parts/$group"; fi
    done
    df -h "$KEEP" | tail -n 1
}

there_setup() {
    nvidia-smi || echo "no nvidia-smi here"
    # For the next time: what need not be brought.
    "$PYTHON" -m pip list --format=freeze --disable-pip-version-check >"$RESULTS/packages_there.txt" || true
    unpack_parts wheels "$KEEP"
    "$PYTHON" benchmarks/gpu/training_wheels.py install "$KEEP/wheels" "$SITE"
    python_there -m edgemate --help >/dev/null && echo "edgemate starts"
}

there_data() {
    unpack_parts data "$KEEP/data" -J
    ls -l "$KEEP/data"
}

# A run is gone on with by the settings that it was begun with, so what the probe found stays beside the runs.
there_probe() {
    local setting settings=()
    if [ -f "$RUNS/settings" ] && ls -d "$RUNS"/resnet18_*/ >/dev/null 2>&1; then
        echo "runs have been begun with $(cat "$RUNS/settings"), and go on with that"
        return
    fi
    for setting in $SETTINGS; do settings+=(--set "$setting"); done
    python_there benchmarks/gpu/probe.py "$KEEP/data" --settings "$RUNS/settings" --output "$RESULTS/probe.json" \
        "${settings[@]}" ${PROBE:-}
}

# cifar100 SECONDS OPTION...: the trainings, with what the probe found and the settings of the day.
cifar100() {
    local setting settings=()
    for setting in $(cat "$RUNS/settings" 2>/dev/null) $SETTINGS; do settings+=(--set "$setting"); done
    benchmarks/gpu/cifar100.sh "$KEEP/data" "$@" "${settings[@]}"
}

# A session of its own lets it go on when the command that started it has returned.
there_train() {
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
    [ $until -lt $DEADLINE ] || until=$DEADLINE
    while training && [ $SECONDS -lt $until ]; do sleep 2; done
    there_status
    if training; then echo "still training: wait again, or stop"; fi
}

# It may be ended at any moment, and its trainings end with it.
there_stop() { if training; then kill -KILL "-$(cat "$RUNS/day.pid")"; fi; }

# The machine's own Python makes the bundles, so onnx, onnxscript and onnxruntime must be there; where they are not, make
# them from the run at home. One precision that is unavailable, which says why, does not keep the next step from the others.
there_bundle() {
    python_there benchmarks/gpu/prepare.py "$RUNS/$FIRST" "$KEEP/work" --images "${IMAGES:-10000}" ||
        compgen -G "$KEEP/work/reference_*.npz" >/dev/null
}

there_rtx() {
    unpack_parts rtx "$KEEP" -J
    PYTHONPATH=$KEEP/rtx python_there -m edgemate doctor
    PYTHONPATH=$KEEP/rtx python_there -m edgemate build "$KEEP/work/bundles/fp32" --backend tensorrt_rtx \
        --layouts segments,prefixes --batch 1:1:8
    PYTHONPATH=$KEEP/rtx python_there benchmarks/gpu/measure.py "$KEEP/work" --backend tensorrt_rtx \
        --precisions fp32 --output "$RESULTS/rtx"
}

there_tensorrt() {
    if [ "${1:-}" = unpack ]; then
        benchmarks/gpu/tensorrt.sh unpack
    else
        benchmarks/gpu/tensorrt.sh run "${@:-doctor fp16 test fp32 int8}"
    fi
}

there_clock() {
    python_there benchmarks/gpu/early_exit.py "$RUNS/$FIRST" --device "$DEVICE" --output "$RESULTS" \
        --images "${IMAGES:-10000}"
}

there_speed() {
    python_there benchmarks/train_throughput.py --device "$DEVICE" --rounds "${ROUNDS:-3}" \
        --output "$RESULTS/train_throughput_$DEVICE.json" ${THROUGHPUT:---grid --batches 60}
    python_there benchmarks/step_cost.py --device "$DEVICE" --rounds "${ROUNDS:-100}" \
        --output "$RESULTS/step_cost_$DEVICE.json" ${STEP_COST:-}
}

# One method at a time: most of them to the end is worth more than all of them half way.
there_table() {
    cifar100 "${1:-150}" --methods "${METHODS:-mate,joint_ce,eed,byot,dks,beed}" --seeds "${SEEDS:-0}" \
        --jobs "${JOBS:-1}"
    if grep -q '"finished": false' "$RESULTS/cifar100_resnet18.json"; then
        echo "to go on another day with a run that is not finished, bring it home: day.sh home RUN"
    fi
}

# home [RUN [FIRST_PART]]: a run in parts, with its checkpoint where it is to go on another day, and as many of them
# into OUT as it takes.
there_home() {
    local run=${1:-$FIRST} first=${2:-0} to leave=() size
    to=$KEEP/home/$run
    if [ "$first" -eq 0 ]; then
        [ -d "$RUNS/$run" ] || { echo "there is no run $RUNS/$run" >&2; exit 2; }
        rm -rf "$to"
        mkdir -p "$to"
        [ -f "$RUNS/$run/metrics.json" ] && leave=(--exclude=checkpoints)
        size=$((OUT_FILE_MIB << 20))
        tar -c -C "$RUNS" --exclude=tensorboard "${leave[@]}" $([ -f "$RUNS/settings" ] && echo settings) "$run" |
            split -b "$size" -d - "$to/$run.tar."
        (cd "$to" && sha256sum "$run".tar.* >SHA256SUMS)
        cifar100 --collect
    fi
    [ -f "$to/SHA256SUMS" ] || { echo "no parts of $run yet: day.sh home $run" >&2; exit 2; }
    PARTS=("$to/$run".tar.*)
    ls -l "$to"
    if [ -z "${OUT:-}" ]; then return; fi
    bring_out  # first, since it decides what room there is
    cp "$to/SHA256SUMS" "$OUT/"
    send_home "$first" "${PARTS[@]}"
    if [ "$NEXT" -lt ${#PARTS[@]} ]; then
        echo "parts $first to $((NEXT - 1)) of ${#PARTS[@]} come home; go on: day.sh home $run $NEXT"
    else
        echo "the last of ${#PARTS[@]} parts comes home"
    fi
}

# --- without a GPU ---

rehearse() {
    local before=$SECONDS
    export REHEARSING=1 DEVICE=cpu KIT=$KIT/rehearsed STEP_SECONDS=570 LOOK_AFTER=1 IMAGES=60
    export OUT_FILE_MIB=1 OUT_MIB=4 OUT=$KIT/out
    rm -rf "$KIT"
    KEEP=$KIT/keep RUNS= RESULTS= SITE=
    mkdir -p "$KIT/little"
    "$PYTHON" - "$KIT/little/cifar100.npz" <<'END'
import sys
import numpy as np

draw, labels = np.random.default_rng(0), np.arange(600) % 10
colors = draw.integers(60, 196, (10, 1, 1, 3))  # a class is a color: easily learned, so that exports can be judged
images = (colors[labels] + draw.integers(-60, 60, (600, 32, 32, 3))).astype(np.uint8)
np.savez(sys.argv[1], x_train=images[:500], y_train=labels[:500], x_test=images[500:], y_test=labels[500:])
END
    SETTINGS="model.backbone=resnet8 exits.at=[stage1,stage2,stage3] exits.head=bottleneck optimization.epochs=6"
    SETTINGS+=" optimization.schedule_options.milestones=[5] optimization.batch_size=32 training.accelerator=cpu"
    PYTHON_THERE=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    prepare "$KIT/little" ""
    MINUTES=15 timetable
    main take
    main setup
    main data
    PROBE="--seconds 150 --epochs 2" main probe
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
    while [ "$NEXT" -lt ${#PARTS[@]} ]; do
        rm -f "$OUT"/*
        main home "$FIRST" "$NEXT"
    done
    ls -l "$RESULTS" "$OUT"
    echo "rehearsed in $((SECONDS - before)) s; TensorRT has a rehearsal of its own: benchmarks/gpu/tensorrt.sh rehearse"
}

main "$@"; exit
