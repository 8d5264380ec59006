#!/usr/bin/env python3
"""Makes the reference values of beam search.

    python3 make_generation.py

needs torch and transformers.  For models of decoders/ it writes what
model.generate() gives to generation/NAME.json: prompts, and runs of all of
them with many numbers of beams, ends, length and repetition penalties, and
stop texts.  Kept are those results that float64 gives, too.
"""
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))
LINES = ["The gardener keeps bees behind the house.", "a", "My sister asked",
         "No, I'm afraid that isn't possible before 2031. How long",
         "Is that a good idea?", "Start with the index, then look"]

# beams, early_stopping, length penalty, repetition penalty, new tokens
RUNS = [(2, False, 1.0, 1.0, 20), (3, True, 1.0, 1.0, 20),
        (4, "never", 1.0, 1.0, 16), (4, False, 0.0, 1.0, 16),
        (5, False, 2.0, 1.3, 12), (3, "never", -0.5, 1.0, 16),
        (8, True, 0.7, 1.2, 9), (2, False, 1.0, 4.0, 24),
        (6, False, 1.0, 0.8, 10), (3, False, 1.0, 1.0, 1)]


def generate(model, tokenizer, ids, run, stop):
    beams, early, length_penalty, penalty, tokens = run
    x = torch.tensor([ids])
    extra = {"stop_strings": stop, "tokenizer": tokenizer} if stop else {}
    out = model.generate(
        x, attention_mask=torch.ones_like(x), do_sample=False,
        max_new_tokens=tokens, num_beams=beams, early_stopping=early,
        length_penalty=length_penalty, repetition_penalty=penalty,
        return_dict_in_generate=True, output_scores=True, pad_token_id=0,
        **extra)
    return (out.sequences[0, len(ids):].tolist(),
            float(out.sequences_scores[0]))


def ended(model, tokenizer, ids, stop):
    stops = model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return ids[-1] in stops or any(s in text for s in stop)


def one_case(name):
    folder = os.path.join(HERE, "decoders", name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    single = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    double = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    prompts = [tokenizer(line).input_ids for line in LINES]
    runs = [(run, []) for run in RUNS]
    # letters that greedy responses hold, as stop texts
    letters = tokenizer.decode(
        single.generate(torch.tensor([prompts[0]]), do_sample=False,
                        max_new_tokens=12, pad_token_id=0)[0].tolist())
    found = [letters[-4:-2], letters[-2:]]
    found = [s for s in found if s.strip() and s.isascii()] or ["e", "s"]
    runs += [((3, False, 1.0, 1.0, 16), found),
             ((4, True, 1.0, 1.0, 16), found + ["e"])]
    rows = []
    for run, stop in runs:
        results = []
        for ids in prompts:
            new, score = generate(single, tokenizer, ids, run, stop)
            same, exact = generate(double, tokenizer, ids, run, stop)
            results.append(None if new != same or abs(score - exact) > 1e-4
                           else {"ids": new, "score": float("%.7g" % score),
                                 "ended": ended(single, tokenizer, new, stop)})
        rows.append({"beams": run[0], "early_stopping": run[1],
                     "length_penalty": run[2], "repetition_penalty": run[3],
                     "max_tokens": run[4], "stop": stop, "results": results})
    path = os.path.join(HERE, "generation", name + ".json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"prompts": prompts, "runs": rows}, out, ensure_ascii=False,
                  separators=(",", ":"))
        out.write("\n")
    print(name, sum(r is None for row in rows for r in row["results"]),
          "left out,", sum(r["ended"] for row in rows
                           for r in row["results"] if r), "ended")


if __name__ == "__main__":
    for case in ("gpt2", "llama", "llama3"):
        one_case(case)
