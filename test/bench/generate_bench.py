"""generate_bench.py - greedy generation beside llama.cpp, on the same weights.

    generate_bench.py run ENGINE MODEL [DTYPE...]
    generate_bench.py llama FILE PROMPT TOKENS COUNT

run: MODEL, a directory or GGUF file, is written as GGUF in each dtype (fp32,
bf16, q8_0) and given to both sides in turn, ROUNDS times; a file of its own
dtype ("as-is") is taken as it is.  One JSON line for each dtype and number of
prompts: tokens a second, and a second of processor time, of both sides (the
best and the median round), the ratio of the best, and ours as a share of what
the matrix products alone would do.  On a busy machine only
processor time on one thread (THREADS=1) says much.  llama: one round of llama-cpp-python, which run() starts in
a process of its own so that neither side's threads disturb the other's.

THREADS (2), ROUNDS (3), PROMPT (32), TOKENS (65), BATCH (128): from the
environment.
"""

import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = int(os.environ.get("THREADS", "2"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
PROMPT = int(os.environ.get("PROMPT", "32"))
TOKENS = int(os.environ.get("TOKENS", "65"))
BATCH = int(os.environ.get("BATCH", "128"))

# llama.cpp rounds to bf16 what meets bf16 weights, and to 8 bits what meets
# blocks of small integers; with our bf16 that has 16 bits.
PRODUCTS = {"bf16": "bf16", "q8_0": "bf16"}


class Llama:
    """A context for `count` sequences, and a batch to fill for it."""

    def __init__(self, path, length, tokens, count):
        import llama_cpp
        import numpy

        self.lib = llama_cpp
        self.numpy = numpy
        # Kept, as the library goes on calling it.
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params())
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.width = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.room = max(2048, count)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = count * (length + tokens)
        options.n_batch = self.room
        options.n_seq_max = count
        options.n_threads = options.n_threads_batch = THREADS
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.batch = llama_cpp.llama_batch_init(self.room, 0, 1)

    def put(self, token, position, sequence, wants_logits):
        i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = position
        self.batch.n_seq_id[i] = 1
        self.batch.seq_id[i][0] = sequence
        self.batch.logits[i] = wants_logits
        self.batch.n_tokens = i + 1

    def decode(self):
        """The most probable token of each row that wants logits."""
        if self.lib.llama_decode(self.context, self.batch) != 0:
            sys.exit("llama.cpp could not decode")
        rows = [i for i in range(self.batch.n_tokens) if self.batch.logits[i]]
        self.batch.n_tokens = 0
        return [int(self.numpy.ctypeslib.as_array(
            self.lib.llama_get_logits_ith(self.context, i),
            shape=(self.width,)).argmax()) for i in rows]


def llama_round(path, length, tokens, count):
    """Tokens a second: of prompts, and decoded."""
    llama = Llama(path, length, tokens, count)
    start = time.perf_counter()
    last = []
    llama.batch.n_tokens = 0
    for sequence in range(count):
        if llama.batch.n_tokens + length > llama.room:
            last += llama.decode()
        for t in range(length):
            # As make_prompts() of generate_bench.c has them.
            token = (sequence * 7919 + t * 104729 + 17) % llama.width
            llama.put(token, t, sequence, t == length - 1)
    last += llama.decode()
    prefilled = time.perf_counter()
    used = time.process_time()
    for step in range(tokens - 1):
        for sequence in range(count):
            llama.put(last[sequence], length + step, sequence, True)
        last = llama.decode()
    made = count * (tokens - 1)
    end = time.perf_counter()
    used = time.process_time() - used
    return {"prompts_per_second": count * length / (prefilled - start),
            "decoded_per_second": made / (end - prefilled),
            "decoded_per_cpu_second": made / used}


def run_json(command):
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS),
                       GOMP_SPINCOUNT="2000")
    out = subprocess.run(command, env=environment, check=True,
                         stdout=subprocess.PIPE).stdout
    return json.loads(out)


def compare(engine, path, dtype, count):
    sides = {
        "alol": [engine, "run", path, str(PROMPT), str(TOKENS), str(count),
                 "2", PRODUCTS.get(dtype, "fp32")],
        "llama": [sys.executable, __file__, "llama", path, str(PROMPT),
                  str(TOKENS), str(count)],
    }
    rounds = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, command in sides.items():
            rounds[side].append(run_json(command))
    line = {"work": "generate", "dtype": dtype, "prompts": count,
            "threads": THREADS}
    for what in ("decoded_per_second", "decoded_per_cpu_second",
                 "prompts_per_second"):
        best = {}
        for side in sides:
            rates = [one[what] for one in rounds[side]]
            best[side] = max(rates)
            line[f"{side}_{what}"] = round(max(rates), 1)
            line[f"{side}_{what}_median"] = round(statistics.median(rates), 1)
        line[f"{what}_ratio"] = round(best["alol"] / best["llama"], 2)
    fastest = max(rounds["alol"], key=lambda one: one["decoded_per_second"])
    line["limit"] = fastest["limit"]
    line["cpu_limit"] = max(one["cpu_limit"] for one in rounds["alol"])
    print(json.dumps(line), flush=True)
    return line


def run(engine, model, dtypes):
    with tempfile.TemporaryDirectory(prefix="alol-generate-") as directory:
        for dtype in dtypes:
            path = model
            if dtype != "as-is":
                path = os.path.join(directory, f"{dtype}.gguf")
                subprocess.run([engine, "export", model, dtype, path],
                               check=True)
            single = compare(engine, path, dtype, 1)
            batched = compare(engine, path, dtype, BATCH)
            rate = batched["alol_decoded_per_second"]
            print(json.dumps({
                "work": "generate", "dtype": dtype,
                "batched_to_own_single":
                    round(rate / single["alol_decoded_per_second"], 2),
                "batched_to_llama_single":
                    round(rate / single["llama_decoded_per_second"], 2),
            }), flush=True)


if len(sys.argv) >= 4 and sys.argv[1] == "run":
    run(sys.argv[2], sys.argv[3], sys.argv[4:] or ["fp32", "bf16", "q8_0"])
elif len(sys.argv) == 6 and sys.argv[1] == "llama":
    print(json.dumps(llama_round(sys.argv[2], *map(int, sys.argv[3:]))))
else:
    sys.exit(__doc__)
