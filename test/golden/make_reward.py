#!/usr/bin/env python3
"""Makes the reference values of training classifiers.

    python3 make_reward.py [FOLDER]

Reads models that the other scripts made and writes what PyTorch's autograd
computes for their ...ForSequenceClassification classes without dropout:

    reward/NAME.json  three AdamW steps on a few rows: losses, norms of the
                      gradient, parameters

`model` is the folder of the model; `head` holds the first values of the parts
of the head that it does not have.  `rows` have `ids`, `first` (how many of them
are of type 0) and `label`: an index, a number, or for pairs what orders them;
`groups` are positions within them, the better first.  With `adapter` its maps
are trained, and the head.
"""
import json
import os
import random
import sys

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from make_golden import (SETTINGS, Adam, describe_tensors, long, longs,
                         sample_parameters, short, write_json)

ROWS = 6

CASES = {
    "bert": ("classifiers/bert", "classification", 3),
    "distilbert": ("classifiers/distilbert", "classification", 2),
    "gpt_neox": ("classifiers/gpt_neox", "classification", 2),
    "qwen2": ("classifiers/qwen2", "classification", 4),
    "roberta": ("classifiers/roberta", "regression", 1),
    "roberta_pairs": ("classifiers/roberta", "pairwise", 1),
    "gpt2": ("classifiers/gpt2", "regression", 1),
    "bert_body": ("encoders/bert_body", "regression", 1),
    "llama_body": ("training/llama", "pairwise", 1),
    "qwen2_lora": ("classifiers/qwen2", "classification", 4),
    "deberta": ("classifiers/deberta_v2", "classification", 2),
}


def read_rows(folder, objective, labels, rng):
    with open(os.path.join(folder, "golden.json"), encoding="utf-8") as file:
        golden = json.load(file)
    rows = []
    for text in golden["texts" if "texts" in golden else "rows"][:ROWS]:
        types = text.get("type_ids", [0] * len(text["ids"]))
        label = rng.randrange(labels) if objective == "classification" \
            else round(rng.uniform(-2, 2), 3)
        rows.append({"ids": text["ids"], "first": types.count(0),
                     "label": label})
    return rows


def groups_of(rows, objective):
    if objective != "pairwise":
        return [[i] for i in range(len(rows))]
    pairs = [[i, i + 1] for i in range(0, len(rows), 2)]
    return [sorted(pair, key=lambda i: -rows[i]["label"]) for pair in pairs]


def logits_of(model, row):
    ids = torch.tensor([row["ids"]])
    more = {}
    if model.config.model_type == "bert":
        more["token_type_ids"] = torch.tensor(
            [[int(t >= row["first"]) for t in range(len(row["ids"]))]])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids),
                 **more).logits[0]


def loss_of(model, rows, groups, objective):
    total = 0
    for group in groups:
        z = [logits_of(model, rows[i]) for i in group]
        label = rows[group[0]]["label"]
        if objective == "classification":
            total = total + F.cross_entropy(z[0][None], torch.tensor([label]))
        elif objective == "regression":
            total = total + F.mse_loss(z[0][0], torch.tensor(label))
        else:
            total = total - F.logsigmoid(z[0][0] - z[1][0])
    return total / len(groups)


def train(model, parameters, rows, groups, objective):
    optimizer = Adam(parameters)
    record = {"steps": [], "gradients": []}
    for step in range(SETTINGS["steps"] + 1):
        loss = loss_of(model, rows, groups, objective)
        if step == SETTINGS["steps"]:
            record["final_loss"] = long(loss.item())
            return record
        optimizer.optimizer.zero_grad()
        loss.backward()
        record["gradients"].append(
            {n: p.grad.clone() for n, p in parameters.items()})
        if step == 0:
            record["grad_norms"] = {
                n: long(p.grad.double().norm()) for n, p in parameters.items()}
        norm = optimizer.step()
        record["steps"].append({
            "loss": long(loss.item()), "grad_norm": short(norm),
            "whole": {n: p.detach().clone() for n, p in parameters.items()}})


def draw_head(model, folder, seed):
    """What is not in the folder's file; its first values."""
    from safetensors import safe_open
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
        known = set(file.keys())
    generator = torch.Generator().manual_seed(seed)
    head = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            plain = name.removeprefix("bert.")
            if name in known or plain in known:
                continue
            p.copy_(0.4 * torch.randn(p.shape, generator=generator))
            head[name] = longs(p.flatten().tolist())
    return head


def add_adapter(model, folder, seed):
    """Neither half is zero; the head is trained, too."""
    wrapped = get_peft_model(model, LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"]))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if "lora_" in name:
                p.copy_(0.5 * torch.randn(p.shape, generator=generator)
                        / min(p.shape) ** 0.5)
    wrapped.peft_config["default"].base_model_name_or_path = ""
    wrapped.save_pretrained(folder)
    readme = os.path.join(folder, "README.md")
    if os.path.exists(readme):
        os.remove(readme)
    model.score.weight.requires_grad_(True)
    names = {}
    for name, p in wrapped.named_parameters():
        if p.requires_grad:
            name = name.replace(".default", "")
            names["score.weight" if "score" in name else name] = p
    return wrapped, names


def make_case(root, case, seed):
    path, objective, labels = CASES[case]
    folder = os.path.join(root, path)
    rng = random.Random(seed)
    rows = read_rows(folder, objective, labels, rng)
    groups = groups_of(rows, objective)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=labels, dtype=torch.float32,
        attn_implementation="eager").eval()
    golden = {"case": case, "model": path, "objective": objective,
              "labels": labels, "settings": SETTINGS,
              "head": draw_head(model, folder, seed)}
    if path.startswith("training"):
        model.config.pad_token_id = None
    parameters = dict(model.named_parameters())
    if case.endswith("_lora"):
        golden["adapter"] = "reward/adapter"
        model, parameters = add_adapter(
            model, os.path.join(root, golden["adapter"]), seed)
    record = train(model.eval(), parameters, rows, groups, objective)
    tensors = describe_tensors(parameters, [record], rng)
    for name, norm in record["grad_norms"].items():
        if norm < 1e-6:  # a key's bias: nothing but rounding moves it
            tensors[name].update(positions=[], initial=[])
    sample_parameters(record, tensors)
    os.makedirs(os.path.join(root, "reward"), exist_ok=True)
    write_json(os.path.join(root, "reward", case + ".json"), {
        **golden, "rows": rows, "groups": groups, "tensors": tensors,
        **record})


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    for seed, name in enumerate(CASES):
        make_case(root, name, 61 + seed)


if __name__ == "__main__":
    main()
