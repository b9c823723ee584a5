#!/usr/bin/env bash
# Everything that needs a real GPU, on a machine that has torch but no network: one session of 30 minutes, or two of 15.
#
#   deploy/gpu_kit/day.sh prepare DATA [RUN]   locally, beforehand: archives to upload, split into parts
#   deploy/gpu_kit/day.sh --timetable          locally: the plan, minute by minute, with the measured upload sizes
#   deploy/gpu_kit/day.sh STEP                 on the GPU machine, one command each: take setup data probe train status
#                                              wait stop bundle rtx tensorrt clock speed table home
#   deploy/gpu_kit/day.sh --rehearse           locally, without a GPU: the steps on little data, on the CPU
#
# DATA is a folder with cifar100.npz. RUN is any finished run; its bundles are uploaded together with TensorRT. The steps
# are described in deploy/gpu_kit/README.md. Every step can be repeated, writes its results as it runs, and ends by
# copying them to OUT.
#
# Limits of the machine, as environment variables (defaults in limits.sh): TOTAL_MINUTES of the plan (30);
# COMMAND_SECONDS, the longest command (570); UPLOAD_MIB, the largest uploaded file (60); OUT_FILES (8), OUT_FILE_MIB (16)
# and OUT_MIB (64), what can be downloaded after a command; KEEP_GIB (12).
#
# Other environment variables: KIT, the kit (build/gpu-kit); KEEP and OUT, see remote.sh; RUNS, runs and checkpoints
# (KEEP/runs); RESULTS, results (KEEP/results); PYTHON, an interpreter with torch; DEVICE, cuda or cpu; SETTINGS, recipe
# settings for the trainings, KEY=VALUE each; INSTALLED, the GPU machine's `pip list --format=freeze`; REMOTE_PYTHON, its
# Python version (3.12); TORCHVISION, a version to upload; RTX, the version of TensorRT-RTX.
#
# Not run on a GPU yet.
set -euo pipefail
cd "$(dirname "$0")/../.."

export KIT=${KIT:-$PWD/build/gpu-kit}
. deploy/gpu_kit/limits.sh
. deploy/gpu_kit/remote.sh
BIN=${BIN:-$PWD/.venv/bin}
PYTHON=${PYTHON:-$([ -x "$BIN/python" ] && echo "$BIN/python" || echo python3)}
export PYTHON
DEVICE=${DEVICE:-cuda}
REMOTE_PYTHON=${REMOTE_PYTHON:-3.12}
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
 5.6 |  5.0 | take: TensorRT, meanwhile                                                 | kit
10.6 |  1.0 | take: TensorRT-RTX, meanwhile                                             | rtx
11.6 |  4.4 | wait: until MATE's 200 epochs end                                         |
16.0 |  1.5 | bundle: export that run; ONNX Runtime's reference logits                  |
17.5 |  0.5 | rtx: check TensorRT-RTX on this GPU                                       |
18.0 |  5.0 | tensorrt: fp16, pytest -m gpu, fp32, int8                                 |
23.0 |  1.0 | clock: early exit in PyTorch on the 10,000 test images                    |
24.0 |  3.0 | speed: training settings compared; cost of a step                         |
27.0 |  2.0 | table: joint CE, EED, BYOT, DKS, BEED as time allows                      |
29.0 |  1.0 | home: the run's files, in parts                                           |"
# In another session than A: the upload is made from A's run.
IN_15_A="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  0.3 | setup: packages beside torch                                              | wheels
 1.8 |  1.7 | data: CIFAR-100                                                           | data
 3.5 |  1.2 | probe: eager, compiled or CUDA graphs                                     |
 4.7 |  0.1 | train: MATE, seed 0, in the background                                    |
 4.8 |  6.7 | wait: until MATE's 200 epochs end                                         |
11.5 |  1.0 | clock: early exit in PyTorch on the 10,000 test images                    |
12.5 |  1.5 | speed: as time allows                                                     |
14.0 |  1.0 | home: the run's files, in parts                                           |"
IN_15_B="\
 0.0 |  1.5 | the machine starts                                                        |
 1.5 |  4.2 | take: TensorRT                                                            | kit
 5.7 |  1.0 | take: the bundles of A's run                                              | work
 6.7 |  0.5 | tensorrt unpack                                                           |
 7.2 |  3.0 | tensorrt doctor fp16: engines, agreement, latency, early exit             |
10.2 |  1.0 | tensorrt test: pytest -m gpu                                              |
11.2 |  1.7 | tensorrt fp32                                                             |
12.9 |  1.7 | tensorrt int8                                                             |
14.6 |  0.4 | check the downloaded results                                              |"

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    case $command in
        prepare) prepare "${1:?a folder with cifar100.npz}" "${2:-}" ;;
        --timetable) timetable ;;
        --rehearse) rehearse ;;
        take | setup | data | probe | train | status | wait | stop | bundle | rtx | tensorrt | clock | speed | table | home)
            set_folders
            prepare_folders
            trap ended EXIT
            trap 'exit 143' TERM
            trap 'exit 130' INT
            local before=$SECONDS
            DEADLINE=$((SECONDS + COMMAND_SECONDS))
            echo "== $command"
            "remote_$command" "$@"
            echo "== $command: $((SECONDS - before)) s"
            ;;
        *)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' deploy/gpu_kit/day.sh
            exit 2
            ;;
    esac
}

# However a step ends, finished results are copied to OUT. Training continues, except in a rehearsal.
ended() {
    [ -z "${REHEARSING:-}" ] || remote_stop
    copy_results
}

# --- locally ---

prepare() {
    local data=$1 run=$2 failed=0
    mkdir -p "$KIT/day"
    "$PYTHON" deploy/gpu_kit/training_wheels.py collect "$KIT/day/wheels" --python "$REMOTE_PYTHON" \
        ${INSTALLED:+--installed "$INSTALLED"} ${TORCHVISION:+--torchvision "$TORCHVISION"}
    pack_parts wheels cat -C "$KIT/day" wheels
    if [ -f "$data/cifar100.npz" ]; then
        pack_parts data "xz -T0 -1" -C "$data" cifar100.npz
    else
        pack_parts data "xz -T0 -1" -C "$data" cifar-100-python
    fi
    if [ -z "${REHEARSING:-}" ]; then
        pack_rtx
        if [ -n "$run" ]; then deploy/gpu_kit/tensorrt.sh prepare "$run" || failed=$?; fi
    fi
    timetable
    return $failed
}

# The strongest compression takes ten minutes and still leaves more than one part of 60 MiB.
pack_rtx() {
    local part
    rm -rf "$KIT/day/rtx" "$KIT/day/wheels-rtx"
    for part in bindings libs; do
        "$PYTHON" -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: \
            --python-version "$REMOTE_PYTHON" --platform manylinux_2_28_x86_64 --dest "$KIT/day/wheels-rtx" \
            "tensorrt-rtx-cu13-$part==$RTX"
    done
    "$PYTHON" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$KIT/day/wheels-rtx" \
        "tensorrt-rtx-cu13==$RTX"
    for part in "$KIT"/day/wheels-rtx/*.whl; do "$PYTHON" -m zipfile -e "$part" "$KIT/day/rtx"; done
    pack_parts rtx "xz -T0 -1" -C "$KIT/day" rtx
}

timetable() {
    if [ "$TOTAL_MINUTES" -ge 30 ]; then
        plan "$IN_30"
    elif [ "$TOTAL_MINUTES" -ge 15 ]; then
        echo "session A: training"
        plan "$IN_15_A"
        echo
        echo "session B: TensorRT, with bundles made locally from A's run (tensorrt.sh work RUN)"
        plan "$IN_15_B"
    else
        echo "TOTAL_MINUTES=$TOTAL_MINUTES: too short; there are plans for one session of 30 and two of 15 minutes" >&2
        exit 2
    fi
    echo
    echo "minutes are planned, not measured; the sizes are those of the parts prepared on this machine"
}

plan() {
    local at takes what group parts=() long=()
    echo " at  | takes | step                                                                      | parts | MiB"
    while IFS='|' read -r at takes what group; do
        group=${group// /}
        parts+=($(parts_of "$group"))
        printf '%s|%s |%s|%s\n' "$at" "$takes" "$what" "$(measured "$group" "$(parts_of "$group")")"
        if awk "BEGIN { exit !($takes * 60 > $COMMAND_SECONDS) }"; then long+=("${what%%:*}"); fi
    done <<<"$1"
    echo "total upload: $(total_mib "${parts[@]}") MiB in ${#parts[@]} parts"
    [ ${#long[@]} -eq 0 ] || echo "longer than COMMAND_SECONDS=$COMMAND_SECONDS, so repeat the command:${long[*]}"
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

# --- on the GPU machine ---

remote_python() {
    PYTHONPATH=$PWD:$SITE${PYTHONPATH:+:$PYTHONPATH} EDGEMATE_DATA=$KEEP/data until_deadline "$PYTHON" "$@"
}

# Every step first copies uploaded parts to KEEP; this one does nothing else.
remote_take() {
    local group
    for group in $GROUPS_OF_PARTS; do
        if [ -d "$KEEP/parts/$group" ]; then ls -l "$KEEP/parts/$group"; fi
    done
    df -h "$KEEP" | tail -n 1
}

remote_setup() {
    nvidia-smi || echo "nvidia-smi: not found"
    # For the next session: packages that need not be uploaded.
    "$PYTHON" -m pip list --format=freeze --disable-pip-version-check >"$RESULTS/installed_packages.txt" || true
    unpack_parts wheels "$KEEP"
    "$PYTHON" deploy/gpu_kit/training_wheels.py install "$KEEP/wheels" "$SITE"
    remote_python -m edgemate --help >/dev/null && echo "edgemate starts"
}

remote_data() {
    unpack_parts data "$KEEP/data" -J
    ls -l "$KEEP/data"
}

# A run resumes with the settings it was started with, so the probe's choice is stored beside the runs.
remote_probe() {
    local setting settings=()
    if [ -f "$RUNS/settings" ] && ls -d "$RUNS"/resnet18_*/ >/dev/null 2>&1; then
        echo "runs were started with $(cat "$RUNS/settings") and resume with it"
        return
    fi
    for setting in $SETTINGS; do settings+=(--set "$setting"); done
    remote_python deploy/gpu_kit/probe.py "$KEEP/data" --settings "$RUNS/settings" --output "$RESULTS/probe.json" \
        "${settings[@]}" ${PROBE:-}
}

# cifar100 SECONDS OPTION...: the trainings, with the probe's choice and SETTINGS.
cifar100() {
    local setting settings=()
    for setting in $(cat "$RUNS/settings" 2>/dev/null) $SETTINGS; do settings+=(--set "$setting"); done
    deploy/gpu_kit/cifar100.sh "$KEEP/data" "$@" "${settings[@]}"
}

# In a process session of its own, training continues after the command that started it has returned.
remote_train() {
    export -f cifar100
    export SETTINGS
    setsid nohup bash -c 'cifar100 "$@"' cifar100 "${TRAIN_SECONDS:-1500}" --methods "${METHODS:-mate}" --seeds 0 \
        --jobs "${JOBS:-1}" "$@" >>"$RUNS/day.log" 2>&1 </dev/null &
    echo $! >"$RUNS/day.pid"
    sleep "${LOOK_AFTER:-20}"
    remote_status
}

remote_status() {
    tail -n 3 "$RUNS/day.log" || true
    tail -qn 2 "$RUNS"/resnet18_*.log 2>/dev/null || true
    tail -qn 1 "$RUNS"/*/speed.csv 2>/dev/null || true
}

training() {
    local state
    [ -f "$RUNS/day.pid" ] && state=$(sed 's/.*) //;s/ .*//' "/proc/$(cat "$RUNS/day.pid")/stat" 2>/dev/null) &&
        [ "$state" != Z ]  # a zombie has ended
}

remote_wait() {
    local until=$((SECONDS + ${1:-$COMMAND_SECONDS}))
    [ $until -lt $DEADLINE ] || until=$DEADLINE
    while training && [ $SECONDS -lt $until ]; do sleep 2; done
    remote_status
    if training; then echo "still training: wait again, or stop"; fi
}

# Training may be killed at any moment.
remote_stop() { if training; then kill -KILL "-$(cat "$RUNS/day.pid")"; fi; }

# Needs onnx, onnxscript and onnxruntime in the machine's own Python; where they are missing, make the bundles locally from
# the downloaded run. A precision that fails says why, and the next step continues with the others.
remote_bundle() {
    remote_python deploy/gpu_kit/prepare.py "$RUNS/$FIRST" "$KEEP/work" --images "${IMAGES:-10000}" ||
        compgen -G "$KEEP/work/reference_*.npz" >/dev/null
}

remote_rtx() {
    unpack_parts rtx "$KEEP" -J
    PYTHONPATH=$KEEP/rtx remote_python -m edgemate doctor
    PYTHONPATH=$KEEP/rtx remote_python -m edgemate build "$KEEP/work/bundles/fp32" --backend tensorrt_rtx \
        --layouts segments,prefixes --batch 1:1:8
    PYTHONPATH=$KEEP/rtx remote_python deploy/gpu_kit/measure.py "$KEEP/work" --backend tensorrt_rtx \
        --precisions fp32 --output "$RESULTS/rtx"
}

remote_tensorrt() {
    if [ "${1:-}" = unpack ]; then
        deploy/gpu_kit/tensorrt.sh unpack
    else
        deploy/gpu_kit/tensorrt.sh run "${@:-doctor fp16 test fp32 int8}"
    fi
}

remote_clock() {
    remote_python deploy/gpu_kit/early_exit.py "$RUNS/$FIRST" --device "$DEVICE" --output "$RESULTS" \
        --images "${IMAGES:-10000}"
}

remote_speed() {
    remote_python benchmarks/train_throughput.py --device "$DEVICE" --rounds "${ROUNDS:-3}" \
        --output "$RESULTS/train_throughput_$DEVICE.json" ${THROUGHPUT:---grid --batches 60}
    remote_python benchmarks/step_cost.py --device "$DEVICE" --rounds "${ROUNDS:-100}" \
        --output "$RESULTS/step_cost_$DEVICE.json" ${STEP_COST:-}
}

# One method at a time: several finished runs are worth more than many unfinished ones.
remote_table() {
    cifar100 "${1:-150}" --methods "${METHODS:-mate,joint_ce,eed,byot,dks,beed}" --seeds "${SEEDS:-0}" \
        --jobs "${JOBS:-1}"
    if grep -q '"finished": false' "$RESULTS/cifar100_resnet18.json"; then
        echo "to resume an unfinished run in another session, download it: day.sh home RUN"
    fi
}

# home [RUN [FIRST_PART]]: a run in parts, with its checkpoint if it is unfinished, and as many parts into OUT as fit.
remote_home() {
    local run=${1:-$FIRST} first=${2:-0} to leave=() size
    to=$KEEP/home/$run
    if [ "$first" -eq 0 ]; then
        [ -d "$RUNS/$run" ] || { echo "$RUNS/$run: run not found" >&2; exit 2; }
        rm -rf "$to"
        mkdir -p "$to"
        [ -f "$RUNS/$run/metrics.json" ] && leave=(--exclude=checkpoints)
        size=$((OUT_FILE_MIB << 20))
        tar -c -C "$RUNS" --exclude=tensorboard "${leave[@]}" $([ -f "$RUNS/settings" ] && echo settings) "$run" |
            split -b "$size" -d - "$to/$run.tar."
        (cd "$to" && sha256sum "$run".tar.* >SHA256SUMS)
        cifar100 --collect
    fi
    [ -f "$to/SHA256SUMS" ] || { echo "$run: no parts yet; run: day.sh home $run" >&2; exit 2; }
    PARTS=("$to/$run".tar.*)
    ls -l "$to"
    if [ -z "${OUT:-}" ]; then return; fi
    copy_results  # first, since it takes part of OUT's limits
    cp "$to/SHA256SUMS" "$OUT/"
    copy_parts "$first" "${PARTS[@]}"
    if [ "$NEXT" -lt ${#PARTS[@]} ]; then
        echo "parts $first to $((NEXT - 1)) of ${#PARTS[@]} are in OUT; next: day.sh home $run $NEXT"
    else
        echo "the last of ${#PARTS[@]} parts is in OUT"
    fi
}

# --- without a GPU ---

rehearse() {
    local before=$SECONDS
    export REHEARSING=1 DEVICE=cpu KIT=$KIT/rehearsed COMMAND_SECONDS=570 LOOK_AFTER=1 IMAGES=60
    export OUT_FILE_MIB=1 OUT_MIB=4 OUT=$KIT/out
    rm -rf "$KIT"
    KEEP=$KIT/keep RUNS= RESULTS= SITE=
    mkdir -p "$KIT/little"
    "$PYTHON" - "$KIT/little/cifar100.npz" <<'END'
import sys
import numpy as np

draw, labels = np.random.default_rng(0), np.arange(600) % 10
colors = draw.integers(60, 196, (10, 1, 1, 3))  # one color per class: easily learned, so that exports can be verified
images = (colors[labels] + draw.integers(-60, 60, (600, 32, 32, 3))).astype(np.uint8)
np.savez(sys.argv[1], x_train=images[:500], y_train=labels[:500], x_test=images[500:], y_test=labels[500:])
END
    SETTINGS="model.backbone=resnet8 exits.at=[stage1,stage2,stage3] exits.head=bottleneck optimization.epochs=6"
    SETTINGS+=" optimization.schedule_options.milestones=[5] optimization.batch_size=32 training.accelerator=cpu"
    REMOTE_PYTHON=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    prepare "$KIT/little" ""
    TOTAL_MINUTES=15 timetable
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
    echo "rehearsed in $((SECONDS - before)) s; for TensorRT: deploy/gpu_kit/tensorrt.sh rehearse"
}

main "$@"; exit
