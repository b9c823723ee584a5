#!/usr/bin/env bash
# ResNet-18 on CIFAR-100, MATE first, then joint CE, EED, BYOT, DKS and BEED, seed after seed. Needs no network.
#
#   benchmarks/gpu/cifar100.sh DATA [SECONDS] [OPTION...]
#
# DATA holds cifar100.npz or cifar-100-python. After SECONDS it stops; without, when all is trained. It may be stopped at
# any moment, by anything, and the same command goes on from the last checkpoint. OPTIONs are those of cifar100.py:
# --methods a,b --seeds 0,1 --jobs 3 --set KEY=VALUE --collect.
#
# Settings: PYTHON an interpreter that has torch and torchvision; SITE packages brought along (training_kit.py);
# RUNS where runs and their checkpoints lie (runs/cifar100); RESULTS where cifar100_resnet18.json goes
# (benchmarks/results).
set -euo pipefail
data=${1:?a folder with cifar100.npz or cifar-100-python}
shift
seconds=()
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=(--seconds "$1")
    shift
fi
here=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python3)}
site=${SITE:-$here/build/gpu-kit/training/site}
export PYTHONPATH=$here:$site${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$here/benchmarks/gpu/cifar100.py" "$data" "${seconds[@]}" "$@"
