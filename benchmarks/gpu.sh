#!/bin/bash
# Measures the GPU table of benchmarks/README.md in one go, RecBole beside it, in under 8 minutes:
#   benchmarks/gpu.sh DATA_PATH [OUT]
# DATA_PATH holds citeulike/ and ml-1m/. Each row is printed, and written to OUT as JSON.
set -u
cd "$(dirname "$0")/.."
data=$(realpath "$1") out=$(realpath -m "${2:-gpu-results}")
mkdir -p "$out"
cost() { # NAME, then options of epoch_cost.py
    local name=$1
    shift
    python3 -W ignore benchmarks/epoch_cost.py --device=cuda --threads=2 --repeats=3 --json="$out/$name.json" "$@" || echo "$name: failed"
}
here=(--data_path="$data")
layers=(--teacher.embedding_size=64 --teacher.n_layers=3 --student.embedding_size=8)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
python3 -W ignore benchmarks/scale.py --device=cuda --sizes=29858x40981 --json="$out/gowalla-sized-refresh.json"
folder=$(mktemp -d)
begin=$(date +%s.%N)
python3 -W ignore run_bd.py --dataset=citeulike "${here[@]}" --device=cuda --show_progress=False --checkpoint_dir="$folder" \
    >"$out/default-run.log" 2>&1 || echo "default run: failed"
python3 - "$begin" "$folder" "$out/default-run.json" <<'PY'
import json, pathlib, sys, time

begin, folder, out = sys.argv[1:]
result = json.loads(next(pathlib.Path(folder).rglob("result.json")).read_text())
found = {"command_seconds": time.time() - float(begin), "timing": result["timing"]}
print(f"CiteULike, default run, warm-ups included: {found['command_seconds']:.1f} s")
pathlib.Path(out).write_text(json.dumps(found, indent=2) + "\n")
PY
rm -rf "$folder"
cost citeulike-bpr --dataset=citeulike "${here[@]}"
cost ml-1m-bpr --dataset=ml-1m "${here[@]}"
cost ml-1m-lightgcn --dataset=ml-1m "${here[@]}" --pair=LightGCN,LightGCN --without-evaluation "${layers[@]}"
cost citeulike-bpr-plain --dataset=citeulike "${here[@]}" --cuda_graphs=False --without-evaluation
