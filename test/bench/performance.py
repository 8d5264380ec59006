#!/usr/bin/env python3
"""Speed and memory beside the peers', as tables in Markdown.

    performance.py [--output FILE] [--rounds N] [PART...]

Parts: training, growth, generation, sharing, sql; all without a name.  Programs run in
turn, never at once, as many rounds as asked for, and a table shows medians.
make bench calls it with what it needs in the environment:

    ALOL_BENCH_ENGINE  the folder of the engine's benchmarks
    ALOL_BENCH_MODELS  directories of models, separated by spaces
    ALOL_BENCH_PEER    a python with torch, transformers, peft; empty: none
    THREADS PROMPT RESPONSE BATCH STEPS
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.environ.get("ALOL_BENCH_ENGINE", "build/engine/bench")
PEER = os.environ.get("ALOL_BENCH_PEER", "")
MODELS = os.environ.get("ALOL_BENCH_MODELS", "").split()
RANK = "64"
FORMS = tempfile.TemporaryDirectory(prefix="alol-forms-")


def setting(name, default):
    return os.environ.get(name) or default


def note(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def output(command, **settings):
    """What a program prints; nothing where it fails."""
    note(" ".join(os.path.basename(word) for word in command))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    if done.returncode != 0:
        note(f"failed: {done.stderr.strip().splitlines()[-1:]}")
        return ""
    return done.stdout.strip()


def run(command, **settings):
    """The JSON lines that a program prints."""
    lines = output(command, **settings).splitlines()
    return [json.loads(line) for line in lines if line[:1] == "{"]


class Results:
    """Values of repeated runs by what they are of."""

    def __init__(self):
        self.values = {}

    def add(self, key, line):
        for name, value in line.items():
            if isinstance(value, (int, float)):
                self.values.setdefault(key, {}).setdefault(name, []).append(value)

    def median(self, key, name):
        values = self.values.get(key, {}).get(name)
        return statistics.median(values) if values else None

    def has(self, key):
        return key in self.values


def number(value, digits=0, unit=""):
    return "" if value is None else f"{value:,.{digits}f}{unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        text = info.read()
    name = next(
        (line.split(":")[1].strip() for line in text.splitlines() if "model name" in line),
        platform.machine(),
    )
    known = [f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in text]
    return name, known[0] if known else ""


def multiplies_bf16():
    return processor()[1] in ("amx_bf16", "avx512_bf16")


# ------------------------------------------------------- training and scoring


def is_large(model):
    return os.path.getsize(os.path.join(model, "model.safetensors")) > 50e6


def shape(model):
    """Arguments: prompt, response, batch, steps.  A small model needs more
    steps for the clock to mean something."""
    return [
        setting("PROMPT", "128"),
        setting("RESPONSE", "64"),
        setting("BATCH", "16"),
        setting("STEPS", "2" if is_large(model) else "20"),
    ]


def forms(model):
    """Where packed weights are kept, as the server keeps them in its cache."""
    path = os.path.join(FORMS.name, os.path.basename(model))
    os.makedirs(path, exist_ok=True)
    return path


def train_once(model, results):
    dtypes = ["fp32"] + (["bf16"] if multiplies_bf16() else [])
    for dtype in dtypes:
        for rank in ("0", RANK):
            program = [f"{ENGINE}/engine_bench", model, *shape(model)]
            for line in run([*program, rank, dtype, forms(model)]):
                results.add(("alol", line["work"], dtype), line)
        for line in run([f"{ENGINE}/engine_bench", model, *shape(model), "0", dtype, "", "adamw8bit"]):
            results.add(("alol", line["work"], dtype), line)
    if not PEER:
        return
    for dtype in dtypes:
        for style, rank in (("tuned", "0"), ("tuned", RANK), ("naive", "0")):
            program = [PEER, f"{HERE}/torch_bench.py", style, model, *shape(model)]
            for line in run([*program, dtype, rank]):
                results.add((style, line["work"], dtype), line)


def best_peer(results, style, work):
    """(tokens per second, MiB, dtype) of a peer's fastest dtype."""
    speeds = [
        (results.median((style, work, dtype), "tokens_per_second") or 0, dtype)
        for dtype in ("fp32", "bf16")
    ]
    speed, dtype = max(speeds)
    if speed == 0:
        return None, None, ""
    return speed, results.median((style, work, dtype), "peak_mib"), dtype


def training(rounds):
    text = ""
    for model in MODELS:
        results = Results()
        for _ in range(rounds):
            train_once(model, results)
        rows = []
        for work in ("score", "train", "train adamw8bit", "train adapter", "generate 1"):
            tuned, memory, peer_dtype = best_peer(results, "tuned", work)
            naive, _, _ = best_peer(results, "naive", work)
            for dtype in ("fp32", "bf16"):
                key = ("alol", work, dtype)
                if not results.has(key):
                    continue
                speed = results.median(key, "tokens_per_second")
                peak = results.median(key, "peak_mib")
                share = results.median(key, "share")
                rows.append(
                    [
                        work,
                        dtype,
                        number(speed),
                        number(share and 100 * share, 0, " %"),
                        number(peak),
                        number(tuned) + (f" ({peer_dtype})" if tuned else ""),
                        number(memory),
                        number(tuned and speed / tuned, 2),
                        number(naive and speed / naive, 2),
                        number(memory and peak / memory, 2),
                    ]
                )
        prompt, response, batch, steps = shape(model)
        text += (
            f"\n### {os.path.basename(model)}\n\nPrompts of {prompt} and responses of {response} tokens on average, {batch} a step, "
            f"{steps} steps; rounds: {rounds}.\n\n"
        )
        text += table(
            [
                "work", "dtype", "tokens/s", "of GEMM limit", "MiB", "PyTorch, tuned",
                "MiB", "ratio", "ratio to naive", "memory ratio",
            ],
            rows,
        )
    return "## Training and scoring\n" + text


# -------------------------------------------------------------------- growth


def measured(model, results, key, shape_of_step, rank="0"):
    dtype = "bf16" if multiplies_bf16() else "fp32"
    steps = "1" if is_large(model) else "20"
    program = [f"{ENGINE}/engine_bench", model, *shape_of_step, steps]
    for line in run([*program, rank, dtype, forms(model)]):
        results.add((line["work"], key), line)


def growth(rounds):
    """How speed and memory change with the rows of a step, and with their
    length."""
    rows, lengths = [], []
    for model in MODELS:
        prompt, response, batch, _ = shape(model)
        sizes = [int(batch) // 4, int(batch), 4 * int(batch)]
        # The context of small models is short.
        means = [192, 384, 768] if is_large(model) else [48, 96, 192]
        results = Results()
        for _ in range(rounds):
            for size in sizes:
                measured(model, results, size, [prompt, response, str(size)])
            for mean in means:
                step = [str(mean * 2 // 3), str(mean // 3), batch]
                measured(model, results, f"of {mean}", step)
                measured(model, results, f"of {mean}", step, RANK)
        name = os.path.basename(model)
        for work in ("score", "train"):
            rows.append([name, work] + grown(results, work, sizes))
        for work in ("score", "train", "train adapter"):
            keys = [f"of {mean}" for mean in means]
            lengths.append([name, work, batch, str(means[0])] + grown(results, work, keys))
    head = ["1x", "4x", "16x", "MiB at 1x", "4x", "16x"]
    text = "## Growth with rows\n\nFrom a quarter of the responses above to four times as many.\n\n"
    text += table(["model", "work", "tokens/s at " + head[0], *head[1:]], rows)
    head = ["1x", "2x", "4x", "MiB at 1x", "2x", "4x"]
    text += "\n## Growth with length\n\nTokens of prompt and response on average at 1x; twice, and four times as many.\n\n"
    text += table(["model", "work", "responses", "tokens", "tokens/s at " + head[0], *head[1:]], lengths)
    return text


def grown(results, work, keys):
    return [
        number(results.median((work, key), name))
        for name in ("tokens_per_second", "peak_mib")
        for key in keys
    ]


# ---------------------------------------------------------------- generation


def generation(_):
    """The larger model beside llama.cpp; without it nothing."""
    if not PEER or not MODELS:
        return ""
    program = [PEER, f"{HERE}/generate_bench.py", "run", f"{ENGINE}/generate_bench"]
    rows = []
    for line in run([*program, MODELS[-1]], BATCH="128"):
        if "prompts" not in line:
            continue
        rows.append(
            [line["dtype"], number(line["prompts"])]
            + [number(line["limit"] * 100, 0, " %") if line["limit"] else ""]
            + [
                number(line[f"{side}_decoded_per_second"], 1)
                for side in ("alol", "llama")
            ]
            + [number(line["decoded_per_second_ratio"], 2)]
            + [number(line["decoded_per_cpu_second_ratio"], 2)]
        )
    return (
        f"## Generation\n\n{os.path.basename(MODELS[-1])}: greedy, decoded tokens/s, the best of the rounds; llama.cpp by llama-cpp-python on the same "
        "GGUF file.\n\n"
        + table(
            ["weights", "prompts", "of GEMM limit", "alol", "llama.cpp", "ratio", "ratio of processor time"],
            rows,
        )
    )


# ----------------------------------------------------------- shared prompts


def sharing(rounds):
    rows = []
    for model in MODELS:
        prompt, response, _, _ = shape(model)
        for line in run([f"{ENGINE}/share_bench", model, prompt, response, "4", str(rounds)]):
            rows.append(
                [os.path.basename(model), line["work"]]
                + [number(line[name], 3) for name in ("apart", "shared")]
                + [number(line["ratio"], 2), number(line["tokens"], 2)]
            )
    return "## Prompts that responses share\n\nFour pairs with a prompt each, and with two.\n\n" + table(
        ["model", "work", "s apart", "s shared", "ratio", "ratio of tokens"], rows
    )


# ------------------------------------------------------- scripts of their own


def script(name, *arguments):
    """What a script prints, as it prints it."""
    printed = output([f"{HERE}/{name}", *arguments])
    return printed and f"```\n$ test/bench/{name}\n{printed}\n```\n\n"


def sql(_):
    text = script("score.sh") + script("rewards.sh")
    if MODELS:
        text += script("sessions.sh", MODELS[-1])
    return "## What SQL adds\n\n" + text


PARTS = {
    "training": training,
    "growth": growth,
    "generation": generation,
    "sharing": sharing,
    "sql": sql,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("parts", nargs="*", metavar="PART")
    options = parser.parse_args()
    name, isa = processor()
    text = (
        "# Performance\n\nMeasured by `make bench`, which wrote this page: programs run in turn on one machine, and medians of their rounds stand "
        "here. *Tuned* is PyTorch with transformers and PEFT as a careful user has them (reference once, head on response positions, rows of similar "
        "length together), in its faster dtype; *naive* as the paper's released code does it. The GEMM limit is that of the same products alone, in the "
        "same run.\n\n"
        f"{name} ({isa}), {setting('THREADS', '2')} threads, {datetime.date.today()}.\n\n"
    )
    for part in options.parts or PARTS:
        if part not in PARTS:
            parser.error(f"unknown part {part}; parts are {', '.join(PARTS)}")
        text += PARTS[part](options.rounds) + "\n"
    print(text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
