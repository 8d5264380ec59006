#!/usr/bin/env bash
# bench.sh - speed and memory beside PyTorch's and llama.cpp's.
#
#	make bench PYTHON=/path/to/python      a python that has torch,
#	                                       transformers and peft (without: the
#	                                       engine only), and llama_cpp
#	make bench MODELS="DIRECTORY..."       Hugging Face directories to measure
#	make bench OUTPUT=docs/performance.md  the page that it writes, and beside
#	                                       it what was measured (.json)
#	make bench PARTS="training growth"     some of performance.py's parts; the
#	                                       page shows others as measured last
#	make bench ROUNDS=1                    runs of each program (3)
#
# Without MODELS: stories260K, where ../shared/models holds it, and random
# weights in the shapes of SmolLM2-135M, which torch makes.  Scoring and A-LoL
# steps of 16 responses on the same lengths, two threads (THREADS) each.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
command -v python3 > /dev/null || {
	echo "no python3: make engine-bench builds the engine's part alone"
	exit 1
}
# As the extension starts its engines.
export THREADS="${THREADS:-2}"
export GOMP_SPINCOUNT=2000 OMP_NUM_THREADS="$THREADS" \
	MKL_NUM_THREADS="$THREADS" PYTHONWARNINGS=ignore \
	TRANSFORMERS_VERBOSITY=error
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

make -s -j2 engine-bench
export ALOL_BENCH_ENGINE=build/engine/bench ALOL_BENCH_PEER="$python"
"$python" -c 'import torch, transformers, peft' 2> /dev/null || {
	echo "# PyTorch: skipped, $python has no torch, transformers and peft"
	ALOL_BENCH_PEER=
}

models=${MODELS:-}
if [ -z "$models" ]; then
	[ ! -d ../shared/models/stories260K ] || models=../shared/models/stories260K
	if [ -n "$ALOL_BENCH_PEER" ]; then
		"$python" test/bench/torch_bench.py make "$work/smollm2-135m" \
			> /dev/null 2>&1
		# Servers, which are not root, read it too.
		chmod -R a+rX "$work"
		models="$models $work/smollm2-135m"
	else
		echo "# shapes of SmolLM2-135M: skipped, they need PyTorch"
	fi
fi
export ALOL_BENCH_MODELS="$models"

# shellcheck disable=SC2086
python3 test/bench/performance.py ${OUTPUT:+--output "$OUTPUT"} \
	--rounds "${ROUNDS:-3}" ${PARTS:-}
