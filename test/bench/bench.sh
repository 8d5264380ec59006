#!/usr/bin/env bash
# bench.sh - speed and peak memory of the engine beside PyTorch's.
#
#	make bench PYTHON=/path/to/python      a python that has torch and
#	                                       transformers; without: engine only
#	make bench MODELS="DIRECTORY..."       Hugging Face directories to measure
#
# Without MODELS: stories260K, where ../shared/models holds it, and random
# weights in the shapes of SmolLM2-135M, which torch makes.  Scoring and A-LoL
# steps of 16 responses on the same lengths, two threads (THREADS) each, in
# turn and never at once; our steps also of an adapter of rank 64.  One JSON
# line for each kind of work.
set -euo pipefail
cd "$(dirname "$0")/../.."

threads=${THREADS:-2}
python=${PYTHON:-python3}
prompt=${PROMPT:-256}
response=${RESPONSE:-64}
batch=${BATCH:-16}
# As the extension starts its engines.
export GOMP_SPINCOUNT=2000 OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads"
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

make -s -j2 engine-bench
engine=build/engine/bench/engine_bench

torch=yes
"$python" -c 'import torch, transformers' 2> /dev/null || torch=no
[ "$torch" = yes ] ||
	echo "# PyTorch: skipped, $python has no torch and transformers"

models=${MODELS:-}
if [ -z "$models" ]; then
	[ ! -d ../shared/models/stories260K ] || models=../shared/models/stories260K
	if [ "$torch" = yes ]; then
		"$python" test/bench/torch_bench.py make "$work/smollm2-135m" \
			> /dev/null 2>&1
		models="$models $work/smollm2-135m"
	else
		echo "# shapes of SmolLM2-135M: skipped, they need PyTorch"
	fi
fi

for model in $models; do
	steps=${STEPS:-3}
	# A small model needs more steps for the clock to mean something.
	[ "$(du -skL "$model" | cut -f1)" -gt 50000 ] || steps=${STEPS:-20}
	echo "# $(basename "$model"): prompts of $prompt, responses of $response" \
		"tokens on average, $batch a step, $steps steps, $threads threads"
	"$engine" "$model" "$prompt" "$response" "$batch" "$steps"
	"$engine" "$model" "$prompt" "$response" "$batch" "$steps" 64
	[ "$torch" = yes ] || continue
	for style in tuned naive; do
		PYTHONWARNINGS=ignore TRANSFORMERS_VERBOSITY=error \
			"$python" test/bench/torch_bench.py "$style" "$model" "$prompt" \
			"$response" "$batch" "$steps"
	done
done
