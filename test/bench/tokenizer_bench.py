#!/usr/bin/env python3
"""Speed of the engine's tokenizers beside that of the library `tokenizers`.

    make engine-bench && python3 test/bench/tokenizer_bench.py TEXTS DIRECTORY...

TEXTS is a .jsonl.gz file, of whose rows the first string is taken.  Both read
the same texts on one thread, one by one; the library also as one batch.
"""
import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402  (reads the settings above)

ROUNDS = 3
MOST_TEXTS = 3000
PROGRAM = "build/engine/bench/tokenizer_bench"


def read_texts(path):
    texts = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            texts.append(next(v for v in row.values() if isinstance(v, str)))
            if len(texts) == MOST_TEXTS:
                break
    return texts


def fastest(work):
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    texts = read_texts(sys.argv[1])
    with tempfile.NamedTemporaryFile() as packed:
        for text in texts:
            data = text.encode()
            packed.write(struct.pack("<I", len(data)) + data)
        packed.flush()
        print(f"{'tokenizer':24} {'engine':>8} {'one by one':>11} {'batch':>8}"
              "  MB/s, and how much faster the engine is")
        for folder in sys.argv[2:]:
            size, seconds, tokens = subprocess.run(
                [PROGRAM, folder, packed.name, str(ROUNDS)], check=True,
                capture_output=True, text=True).stdout.split()
            library = Tokenizer.from_file(os.path.join(folder,
                                                       "tokenizer.json"))
            library.no_truncation()
            library.no_padding()
            counted = sum(len(library.encode(text)) for text in texts)
            if counted != int(tokens):
                sys.exit(f"{folder}: {tokens} tokens, not {counted}")
            single = fastest(lambda: [library.encode(t) for t in texts])
            batch = fastest(lambda: library.encode_batch(texts))
            speed = [int(size) / 1e6 / s
                     for s in (float(seconds), single, batch)]
            name = os.path.basename(os.path.abspath(folder))
            print(f"{name:24} {speed[0]:8.1f} {speed[1]:11.1f} {speed[2]:8.1f}"
                  f"  {speed[0] / speed[1]:.1f}x, {speed[0] / speed[2]:.1f}x",
                  flush=True)


if __name__ == "__main__":
    main()
