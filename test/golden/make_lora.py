#!/usr/bin/env python3
"""Makes the reference values of adapters, beside those of make_golden.py.

    python3 make_lora.py [FOLDER]

needs what make_golden.py needs, and peft.  Adapters with random weights are
saved by PEFT over models that are there already:

    lora/NAME               what PEFT computes with each of its adapters, and
                            from the weights it merges
    training/llama/adapter  three AdamW steps of an adapter (golden_lora.json),
                            the reference being the model without it
"""
import copy
import os
import random
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import make_golden as base

ADAPTERS = {
    "gpt2": {
        "adapter": dict(r=4, lora_alpha=16,
                        target_modules=["c_attn", "c_proj", "c_fc"]),
        "adapter_partial": dict(r=3, lora_alpha=5, target_modules=[
            "transformer.h.1.mlp.c_fc", "attn.c_proj"]),
    },
    "llama": {
        "adapter": dict(r=4, lora_alpha=8, target_modules="all-linear"),
        "adapter_rslora": dict(r=3, lora_alpha=6, use_rslora=True,
                               target_modules=["q_proj", "v_proj"]),
        "adapter_patterns": dict(
            r=4, lora_alpha=8, target_modules=r".*\.(q_proj|up_proj)",
            rank_pattern={"q_proj": 2},
            alpha_pattern={r"layers\.1\.mlp\.up_proj": 3}),
    },
    "gpt_neox": {
        "adapter": dict(r=4, lora_alpha=8, target_modules="all-linear"),
    },
}
TEXTS = ["The gardener keeps bees", " It takes about 25 minutes.", "A b"]
METHODS = ["nll", "a_lol", "a_lol_seq"]


def open_model(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def add_adapter(model, seed, **options):
    """Neither half is zero."""
    transposed = model.config.model_type == "gpt2"
    wrapped = get_peft_model(model, LoraConfig(
        task_type="CAUSAL_LM", fan_in_fan_out=transposed, **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if "lora_" in name:
                p.copy_(0.5 * torch.randn(p.shape, generator=generator)
                        / min(p.shape) ** 0.5)
    return wrapped


def save_adapter(wrapped, folder):
    config = wrapped.peft_config["default"]
    config.base_model_name_or_path = ""
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)
    wrapped.save_pretrained(folder)
    readme = os.path.join(folder, "README.md")
    if os.path.exists(readme):
        os.remove(readme)


def last_logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


def describe_adapter(source, folder, seed, options):
    tokenizer = AutoTokenizer.from_pretrained(source)
    plain = open_model(source)
    wrapped = add_adapter(open_model(source), seed, **options)
    save_adapter(wrapped, folder)
    wrapped = PeftModel.from_pretrained(open_model(source), folder).eval()
    merged = copy.deepcopy(wrapped).merge_and_unload()
    texts = []
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        texts.append({"text": text, "ids": ids, **{
            key: base.shorts(last_logits(model, ids)) for key, model in (
                ("base_logits", plain), ("adapter_logits", wrapped),
                ("merged_logits", merged))}})
    return {"texts": texts, "merged_tensors": {
        name: {"norm": base.long(p.double().norm()),
               "first": base.shorts(p.flatten()[:4])}
        for name, p in merged.named_parameters() if "head" not in name}}


def make_adapters(root):
    for seed, (case, adapters) in enumerate(ADAPTERS.items()):
        source = os.path.join(root, "decoders", case)
        folder = os.path.join(root, "lora", case)
        os.makedirs(folder)
        base.write_json(os.path.join(folder, "golden.json"), {
            "base": f"decoders/{case}",
            "adapters": {name: describe_adapter(
                source, os.path.join(folder, name), 31 + 10 * seed + i, options)
                for i, (name, options) in enumerate(adapters.items())}})


# ------------------------------------------------------------- the training

def trained_parameters(wrapped):
    return {n.replace(".default", ""): p
            for n, p in wrapped.named_parameters() if p.requires_grad}


def try_training(folder, seed):
    model = open_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wrapped = add_adapter(copy.deepcopy(model), seed, r=4, lora_alpha=8,
                          target_modules="all-linear")
    rng = random.Random(seed)
    rows = base.make_rows(wrapped, model, tokenizer, rng)
    positive = [i for i, x in enumerate(rows) if x["advantage"] > 0]
    if not 3 <= len(positive) <= 6:
        return None
    records = {}
    for method in METHODS:
        chosen = positive if method.startswith("a_lol") else list(range(8))
        record = base.train(wrapped, [rows[i] for i in chosen], method)
        if record["edge"]:
            return None
        records[method] = {"rows": chosen, "groups": [], **record}
    tensors = base.describe_tensors(trained_parameters(wrapped),
                                    list(records.values()), rng)
    for record in records.values():
        base.sample_parameters(record, tensors)
    save_adapter(wrapped, os.path.join(folder, "adapter"))
    return {"adapter": "adapter", "settings": base.SETTINGS, "rows": rows,
            "tensors": tensors, "methods": records}


def make_training(root):
    folder = os.path.join(root, "training", "llama")
    base.own_parameters = trained_parameters
    seed, golden = 1, None
    while golden is None:
        golden, seed = try_training(folder, seed), seed + 1
    base.write_json(os.path.join(folder, "golden_lora.json"), golden)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    for folder in ("lora", "training/llama/adapter"):
        shutil.rmtree(os.path.join(root, folder), ignore_errors=True)
    make_adapters(root)
    make_training(root)


if __name__ == "__main__":
    main()
