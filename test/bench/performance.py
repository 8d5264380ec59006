#!/usr/bin/env python3
"""Speed and memory beside the peers', as tables in Markdown.

    performance.py [--output FILE] [--rounds N] [PART...]

Parts: training, mixed, growth, generation, sharing, sql; all without a name.  Programs run in
turn, never at once, as many rounds as asked for, and a table shows medians.
What was measured is kept beside FILE, whose ending is then .json: parts that
are not named are shown as they were measured last, so the page is whole.
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
    """Lines of repeated runs by what they are of; as a list they are JSON."""

    def __init__(self, runs=()):
        self.runs = list(runs)

    def add(self, key, line):
        self.runs.append([list(key), line])

    def median(self, key, name):
        values = [line[name] for of, line in self.runs if of == list(key) and name in line]
        return statistics.median(values) if values else None

    def has(self, key):
        return any(of == list(key) for of, _ in self.runs)


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
        setting("STEPS", "3" if is_large(model) else "20"),
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


def measure_training(rounds):
    models = []
    for model in MODELS:
        results = Results()
        for _ in range(rounds):
            train_once(model, results)
        models.append({"name": os.path.basename(model), "shape": shape(model), "runs": results.runs})
    return models


def show_training(models):
    text = ""
    for model in models:
        results = Results(model["runs"])
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
        prompt, response, batch, steps = model["shape"]
        text += (
            f"\n### {model['name']}\n\nPrompts of {prompt} and responses of {response} tokens on average, {batch} a step, "
            f"{steps} steps.\n\n"
        )
        text += table(
            [
                "work", "dtype", "tokens/s", "of GEMM limit", "MiB", "PyTorch, tuned",
                "MiB", "ratio", "ratio to naive", "memory ratio",
            ],
            rows,
        )
    return text


# ----------------------------------------------------------- mixed precision


def measure_mixed(rounds):
    """The larger model in bf16, beside a peer whose weights are fp32, too."""
    if not PEER or not MODELS or not multiplies_bf16():
        return {"name": "", "runs": []}
    model = MODELS[-1]
    results = Results()
    for _ in range(rounds):
        for rank in ("0", RANK):
            arguments = [model, *shape(model)]
            for line in run([f"{ENGINE}/engine_bench", *arguments, rank, "bf16", forms(model)]):
                results.add(("alol", line["work"]), line)
            for line in run([PEER, f"{HERE}/torch_bench.py", "mixed", *arguments, "bf16", rank]):
                results.add(("mixed", line["work"]), line)
    return {"name": os.path.basename(model), "runs": results.runs}


def show_mixed(measured_runs):
    results = Results(measured_runs["runs"])
    rows = []
    for work in ("score", "train", "train adapter"):
        alol, mixed = (
            [results.median((side, work), name) for name in ("tokens_per_second", "peak_mib")]
            for side in ("alol", "mixed")
        )
        if alol[0] and mixed[0]:
            rows.append(
                [work, number(alol[0]), number(alol[1]), number(mixed[0]), number(mixed[1])]
                + [number(alol[0] / mixed[0], 2), number(alol[1] / mixed[1], 2)]
            )
    if not rows:
        return ""
    return (
        f"\n{measured_runs['name']}, in bf16, beside PyTorch that keeps weights, gradients and moments in fp32 as alol does, and multiplies in bf16 by "
        "autocast (*tuned* has all of them in bf16): reference once, head on response positions, the responses of a step padded together.\n\n"
        + table(["work", "tokens/s", "MiB", "PyTorch, mixed", "MiB", "ratio", "memory ratio"], rows)
    )


# -------------------------------------------------------------------- growth


def measured(model, results, key, shape_of_step, rank="0"):
    dtype = "bf16" if multiplies_bf16() else "fp32"
    steps = "1" if is_large(model) else "20"
    program = [f"{ENGINE}/engine_bench", model, *shape_of_step, steps]
    for line in run([*program, rank, dtype, forms(model)]):
        results.add((line["work"], key), line)


def measure_growth(rounds):
    """How speed and memory change with the rows of a step, and with their
    length."""
    models = []
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
        models.append({"name": os.path.basename(model), "batch": batch, "sizes": sizes, "means": means, "runs": results.runs})
    return models


def show_growth(models):
    rows, lengths = [], []
    for model in models:
        results = Results(model["runs"])
        name, batch, means = model["name"], model["batch"], model["means"]
        for work in ("score", "train"):
            rows.append([name, work] + grown(results, work, model["sizes"]))
        for work in ("score", "train", "train adapter"):
            keys = [f"of {mean}" for mean in means]
            lengths.append([name, work, batch, str(means[0])] + grown(results, work, keys))
    head = ["1x", "4x", "16x", "MiB at 1x", "4x", "16x"]
    text = "\nWith rows: from a quarter of the responses above to four times as many.\n\n"
    text += table(["model", "work", "tokens/s at " + head[0], *head[1:]], rows)
    head = ["1x", "2x", "4x", "MiB at 1x", "2x", "4x"]
    text += "\nWith length: tokens of prompt and response on average at 1x; twice, and four times as many.\n\n"
    text += table(["model", "work", "responses", "tokens", "tokens/s at " + head[0], *head[1:]], lengths)
    return text


def grown(results, work, keys):
    return [
        number(results.median((work, key), name))
        for name in ("tokens_per_second", "peak_mib")
        for key in keys
    ]


# ---------------------------------------------------------------- generation


def measure_generation(_):
    """The larger model beside llama.cpp, in rounds of its own; without it
    nothing."""
    if not PEER or not MODELS:
        return {"name": "", "lines": []}
    program = [PEER, f"{HERE}/generate_bench.py", "run", f"{ENGINE}/generate_bench"]
    lines = [line for line in run([*program, MODELS[-1]], BATCH="128") if "prompts" in line]
    return {"name": os.path.basename(MODELS[-1]), "lines": lines}


def show_generation(measured_lines):
    rows = []
    for line in measured_lines["lines"]:
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
        f"\n{measured_lines['name']}: greedy, decoded tokens/s, the best of the rounds; llama.cpp by llama-cpp-python on the same "
        "GGUF file.\n\n"
        + table(
            ["weights", "prompts", "of GEMM limit", "alol", "llama.cpp", "ratio", "ratio of processor time"],
            rows,
        )
    )


# ----------------------------------------------------------- shared prompts


def measure_sharing(rounds):
    models = []
    for model in MODELS:
        prompt, response, _, _ = shape(model)
        lines = run([f"{ENGINE}/share_bench", model, prompt, response, "4", str(rounds)])
        models.append({"name": os.path.basename(model), "lines": lines})
    return models


def show_sharing(models):
    rows = []
    for model in models:
        for line in model["lines"]:
            rows.append(
                [model["name"], line["work"]]
                + [number(line[name], 3) for name in ("apart", "shared")]
                + [number(line["ratio"], 2), number(line["tokens"], 2)]
            )
    return "\nFour pairs with a prompt each, and with two; the best of the rounds.\n\n" + table(
        ["model", "work", "s apart", "s shared", "ratio", "ratio of tokens"], rows
    )


# ------------------------------------------------------- scripts of their own


def measure_sql(_):
    """What scripts print, which have rounds of their own."""
    scripts = [["score.sh"], ["rewards.sh"]]
    if MODELS:
        scripts.append(["sessions.sh", MODELS[-1]])
    return [[name, output([f"{HERE}/{name}", *arguments])] for name, *arguments in scripts]


def show_sql(scripts):
    return "".join(
        f"\n```\n$ test/bench/{name}\n{printed}\n```\n" for name, printed in scripts if printed
    )


# ------------------------------------------------------------------ the page

# Title, what measures (given the rounds: something that JSON can hold), and
# what makes text of that.
PARTS = {
    "training": ("Training and scoring", measure_training, show_training),
    "mixed": ("Beside weights in fp32", measure_mixed, show_mixed),
    "growth": ("Growth", measure_growth, show_growth),
    "generation": ("Generation", measure_generation, show_generation),
    "sharing": ("Prompts that responses share", measure_sharing, show_sharing),
    "sql": ("What SQL adds", measure_sql, show_sql),
}


def git(*arguments):
    return subprocess.run(
        ["git", "-C", f"{HERE}/../..", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def revision():
    """Of the code that is measured, as git names it."""
    name = git("describe", "--always", "--exclude=*").stdout.strip()
    changed = git("diff-index", "--quiet", "HEAD", "--", "src", "sql", "test").returncode
    return (name or "no commit") + (", changed" if name and changed else "")


def measure(part, rounds):
    name, isa = processor()
    return {
        "where": f"{name} ({isa}), {setting('THREADS', '2')} threads",
        "when": f"{datetime.date.today()}, {revision()}",
        "rounds": rounds,
        "results": PARTS[part][1](rounds),
    }


def page(kept):
    text = (
        "# Performance\n\nMeasured by `make bench`, which wrote this page: programs run in turn on one machine, and medians of their rounds stand "
        "here. *Tuned* is PyTorch with transformers and PEFT as a careful user has them (reference once, head on response positions, rows of similar "
        "length together), in its faster dtype; *naive* as the paper's released code does it. The GEMM limit is that of the same products alone, in the "
        "same run. What each part was measured with stands below its title.\n"
    )
    for part, (title, _, show) in PARTS.items():
        if part in kept:
            record = kept[part]
            text += f"\n## {title}\n\n{record['where']}, rounds: {record['rounds']}, {record['when']}.\n"
            text += show(record["results"])
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("parts", nargs="*", metavar="PART")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part}; parts are {', '.join(PARTS)}")
    kept_path = options.output and os.path.splitext(options.output)[0] + ".json"
    kept = {}
    if kept_path and os.path.exists(kept_path):
        with open(kept_path, encoding="utf-8") as file:
            kept = json.load(file)
    for part in options.parts or PARTS:
        kept[part] = measure(part, options.rounds)
        # After each part: one that is broken off loses no other.
        if options.output:
            with open(kept_path, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1)
                file.write("\n")
            with open(options.output, "w", encoding="utf-8") as file:
                file.write(page(kept))
    print(page(kept))


if __name__ == "__main__":
    main()
