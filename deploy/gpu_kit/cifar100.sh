#!/usr/bin/env bash
# ResNet-18 on CIFAR-100: MATE first, then joint CE, EED, BYOT, DKS and BEED, seed after seed. Needs no network.
#
#   deploy/gpu_kit/cifar100.sh DATA [SECONDS] [OPTION...]
#
# DATA contains cifar100.npz or cifar-100-python. It stops after SECONDS, or when all runs are trained. It may be killed at
# any moment; the same command resumes from the last checkpoint. OPTIONs are those of cifar100.py:
# --methods a,b --seeds 0,1 --jobs 3 --set KEY=VALUE --collect.
#
# Environment variables: PYTHON, an interpreter with torch and torchvision; SITE, uploaded packages (training_wheels.py);
# RUNS, folder of runs and their checkpoints (runs/cifar100); RESULTS, folder of cifar100_resnet18.json
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
exec "$python" "$here/deploy/gpu_kit/cifar100.py" "$data" "${seconds[@]}" "$@"
