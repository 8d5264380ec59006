#!/usr/bin/env python3
"""Makes the reference values of pairs and ranked lists.

    python3 make_preferences.py [FOLDER]

Reads the models of training/, which make_golden.py made, and writes what
PyTorch's autograd computes for dpo, dpo_ref_free and pro:

    preferences/NAME  losses, gradients and three AdamW steps, with the model
                      and the reference of training/NAME

in the form of training/NAME/golden.json.  `groups` are positions within
`rows`, the best reward first; one list has two equal rewards, which keep the
order of the rows.
"""
import copy
import os
import random
import sys

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from make_golden import (SETTINGS, Adam, describe_tensors, dialogues,
                         encode_continuation, long, longs, own_parameters,
                         response_logprobs, sample_parameters, short,
                         write_json)

SETTINGS = {**SETTINGS, "pro_sft_weight": 0.05}

# Rewards of the responses to each prompt.
REWARDS = [[0.25, 0.875], [0.5, 0.75, 0.125], [0.375, 0.625, 0.375, 0.9375]]


def ranked(rewards):
    """Positions by falling reward; equal ones keep their order."""
    return sorted(range(len(rewards)), key=lambda i: -rewards[i])


def pair_loss(logp, rows, pair, uses_reference):
    margin = logp[pair[0]].sum() - logp[pair[1]].sum()
    if uses_reference:
        margin = margin - (sum(rows[pair[0]]["ref_logprobs"])
                           - sum(rows[pair[1]]["ref_logprobs"]))
    return -F.logsigmoid(SETTINGS["beta"] * margin)


def list_loss(logp, rows, group, _):
    score = [logp[i].sum() / len(logp[i]) for i in group]
    reward = [rows[i]["reward"] for i in group]
    total = 0
    for k in range(len(group) - 1):
        gaps = [reward[k] - r for r in reward[k + 1:]]
        attraction = score[k] * max(gaps)
        rivals = [s * gap for s, gap in zip(score[k + 1:], gaps)]
        total = total - F.log_softmax(torch.stack([attraction] + rivals), 0)[0]
    weight = SETTINGS["pro_sft_weight"] * (len(group) - 1) ** 2
    return total - weight * logp[group[0]].sum()


METHODS = {"dpo": (pair_loss, True), "dpo_ref_free": (pair_loss, False),
           "pro": (list_loss, False)}


def make_rows(model, reference, tokenizer, seed):
    """Rows, and the positions of each prompt's by falling reward."""
    texts = iter(dialogues(sum(len(r) for r in REWARDS), seed))
    rows, lists = [], []
    for number, rewards in enumerate(REWARDS):
        first = len(rows)
        lists.append([first + i for i in ranked(rewards)])
        prompt = None
        for reward in rewards:
            other, response = next(texts)
            prompt = prompt or other
            ids = tokenizer(prompt).input_ids
            y = encode_continuation(tokenizer, response)
            y.append(tokenizer.eos_token_id)
            row = {"prompt_number": number, "prompt": prompt,
                   "response": response, "ids": ids + y,
                   "prompt_length": len(ids), "reward": reward,
                   "value": 0, "advantage": reward}
            with torch.no_grad():
                for key, policy in (("logprobs", model),
                                    ("ref_logprobs", reference)):
                    row[key] = longs(response_logprobs(
                        policy, row["ids"], len(ids)).tolist())
            rows.append(row)
    return rows, lists


def train(model, rows, groups, loss_of, uses_reference):
    """Three steps on the groups; parameters are kept whole for now."""
    model = copy.deepcopy(model)
    parameters = own_parameters(model)
    optimizer = Adam(parameters)
    record = {"rows": list(range(len(rows))), "groups": groups, "steps": [],
              "gradients": []}
    for step in range(SETTINGS["steps"] + 1):
        logp = [response_logprobs(model, x["ids"], x["prompt_length"])
                for x in rows]
        for l in logp:
            l.retain_grad()
        loss = sum(loss_of(logp, rows, group, uses_reference)
                   for group in groups) / len(groups)
        if step == SETTINGS["steps"]:
            record["final_loss"] = long(loss.item())
            return record
        optimizer.optimizer.zero_grad()
        loss.backward()
        record["gradients"].append(
            {n: p.grad.clone() for n, p in parameters.items()})
        if step == 0:
            record["dloss_dlogprob"] = [
                longs(l.grad.tolist()) for l in logp]
            record["grad_norms"] = {
                n: long(p.grad.double().norm()) for n, p in parameters.items()}
        norm = optimizer.step()
        record["steps"].append({
            "loss": long(loss.item()), "grad_norm": short(norm),
            "whole": {n: p.detach().clone() for n, p in parameters.items()}})


def make_case(root, name, seed):
    source = os.path.join(root, "training", name)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model, reference = (
        AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager").eval()
        for path in (source, os.path.join(source, "reference")))
    rows, lists = make_rows(model, reference, tokenizer, seed)
    ends = [[x[0], x[-1]] for x in lists]
    # dpo's rows are those of its pairs alone.
    paired = sorted(i for pair in ends for i in pair)
    pairs = [[paired.index(i) for i in pair] for pair in ends]
    records = {}
    for method, (loss_of, uses_reference) in METHODS.items():
        if method == "pro":
            record = train(model, rows, lists, loss_of, uses_reference)
        else:
            record = train(model, [rows[i] for i in paired], pairs, loss_of,
                           uses_reference)
            record["rows"] = paired
        records[method] = record
    tensors = describe_tensors(own_parameters(model), list(records.values()),
                               random.Random(seed))
    for record in records.values():
        sample_parameters(record, tensors)
    folder = os.path.join(root, "preferences", name)
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, "golden.json"), {
        "case": name, "settings": SETTINGS, "rows": rows, "tensors": tensors,
        "methods": records})


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    for seed, name in enumerate(("gpt2", "llama")):
        make_case(root, name, 31 + seed)


if __name__ == "__main__":
    main()
