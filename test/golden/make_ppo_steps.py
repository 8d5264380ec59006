#!/usr/bin/env python3
"""Writes test/golden/ppo/steps.json: whole steps of method ppo, in PyTorch.

    test/golden/make_ppo_steps.py [DIRECTORY]

Needs torch and transformers.  The policy is test/golden/training/llama, the
reference the same, frozen; a linear map from the last hidden state, all zeros
at the beginning, gives the value of the token that follows.  Responses and
scores are given, three steps of them; each step is evaluated once and then
passed over several times, in batches of all its responses, by AdamW with a
clipped gradient.  The formulas, and whose they are, are those of make_ppo.py;
all in double precision.
"""

import copy
import json
import pathlib
import sys

import numpy as np
import torch
from transformers import LlamaForCausalLM

from make_ppo import (Moments, advantages_by_definition, losses, plain, single,
                      token_rewards, whiten)

torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)

STOP_MARGIN = 1.5
OPTIONS = {
    "batch_size": 4, "ppo_epochs": 3, "clip_range": 0.2,
    "cliprange_value": 0.2, "vf_coef": 0.1, "gamma": 1.0, "lam": 0.95,
    "init_kl_coef": 0.2, "target_kl": 0.01, "kl_horizon": 100.0,
    "score_norm": True, "score_clip": None, "early_stopping_kl": None,
    "learning_rate": 3e-3, "adam_beta1": 0.9, "adam_beta2": 0.999,
    "adam_eps": 1e-8, "weight_decay": 0.01, "max_grad_norm": 1.0,
}


class Policy(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.value = torch.nn.Linear(model.config.hidden_size, 1)
        torch.nn.init.zeros_(self.value.weight)
        torch.nn.init.zeros_(self.value.bias)

    def forward(self, prompt, response):
        """Log-probability and value of each token of the response."""
        ids = torch.tensor([prompt + response])
        out = self.model(ids, output_hidden_states=True)
        places = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        logp = torch.log_softmax(out.logits[0, places], -1)
        logp = logp.gather(1, torch.tensor(response)[:, None])[:, 0]
        return logp, self.value(out.hidden_states[-1][0, places])[:, 0]


def groups(policy, decay):
    """Decay touches matrices only; the value's map is one number a row."""
    matrices = [p for p in policy.parameters() if p.dim() == 2 and p.shape[0] > 1]
    others = [p for p in policy.parameters() if p.dim() != 2 or p.shape[0] == 1]
    return [{"params": matrices, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0}]


def one_step(policy, reference, optimizer, state, rollouts, options):
    moments, coefficient = state["moments"], state["kl_coef"]
    scores = [r["score"] for r in rollouts]
    used = np.asarray(scores)
    if options["score_norm"]:
        used = moments.normalize(scores)
    if options["score_clip"] is not None:
        used = np.clip(used, -options["score_clip"], options["score_clip"])
    olds = []
    with torch.no_grad():
        for rollout, score in zip(rollouts, used):
            logp, value = policy(rollout["prompt"], rollout["response"])
            ref = torch.as_tensor(reference(rollout["prompt"], rollout["response"])[0])
            rewards = token_rewards((logp).numpy().copy(), ref.numpy(), coefficient, score)
            raw = advantages_by_definition(rewards, value.numpy(), options["gamma"],
                                           options["lam"])
            olds.append({"logp": logp, "value": value, "raw": raw,
                         "kl": (logp - ref).sum().item(),
                         "target": torch.as_tensor(raw) + value})
    white = torch.as_tensor(whiten(np.concatenate([o["raw"] for o in olds])))
    tokens = len(white)
    whole, policies, values, norms, epochs = [], [], [], [], 0
    for _ in range(options["ppo_epochs"]):
        optimizer.zero_grad()
        start, surrogate, error, distance = 0, 0.0, 0.0, 0.0
        for rollout, old in zip(rollouts, olds):
            count = len(rollout["response"])
            logp, value = policy(rollout["prompt"], rollout["response"])
            one, two = losses(logp, value, old["logp"], old["value"],
                              white[start:start + count], old["target"], options)
            surrogate, error = surrogate + one, error + two
            distance += (old["logp"] - logp).sum().item()
            start += count
        loss = (surrogate + options["vf_coef"] * error) / tokens
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), options["max_grad_norm"])
        optimizer.step()
        whole.append(loss.item())
        policies.append(surrogate.item() / tokens)
        values.append(error.item() / tokens)
        norms.append(norm.item())
        epochs += 1
        limit = options["early_stopping_kl"]
        if limit is not None and distance / tokens > STOP_MARGIN * limit:
            break
    kl = float(np.mean([o["kl"] for o in olds]))
    share = np.clip(kl / options["target_kl"] - 1, -0.2, 0.2)
    state["kl_coef"] *= 1 + share * len(rollouts) / options["kl_horizon"]
    return {
        "rollouts": rollouts,
        "metrics": {
            "loss": np.mean(whole), "grad_norm": np.mean(norms),
            "objective/kl": kl, "objective/kl_coef": coefficient,
            "env/reward_mean": np.mean(scores),
            "ppo/loss/policy": np.mean(policies),
            "ppo/loss/value": np.mean(values),
            "ppo/epochs": epochs,
            "ppo/val/mean": torch.cat([o["value"] for o in olds]).mean().item(),
            "ppo/returns/mean": torch.cat([o["target"] for o in olds]).mean().item(),
        },
    }


def make_case(path, seed, **changes):
    options = {**OPTIONS, **changes}
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float64).eval()
    policy, reference = Policy(model), Policy(copy.deepcopy(model))
    optimizer = torch.optim.AdamW(
        groups(policy, options["weight_decay"]), lr=options["learning_rate"],
        betas=(options["adam_beta1"], options["adam_beta2"]), eps=options["adam_eps"])
    state = {"moments": Moments(), "kl_coef": options["init_kl_coef"]}
    vocabulary = model.config.vocab_size
    prompts = [[int(i) for i in rng.integers(3, vocabulary, n)] for n in (3, 1, 6, 4)]
    steps = []
    for _ in range(3):
        rollouts = [
            {"prompt": prompt,
             "response": [int(i) for i in rng.integers(3, vocabulary, rng.integers(1, 8))],
             "score": float(single(rng.normal(0.5, 1.0)))}
            for prompt in prompts
        ]
        steps.append(one_step(policy, reference, optimizer, state, rollouts, options))
    weights = {}
    for name, parameter in model.named_parameters():
        numbers = parameter.detach().reshape(-1)
        at = rng.integers(0, len(numbers), 6)
        weights[name] = {"positions": [int(i) for i in at], "values": numbers[at].numpy()}
    head = torch.cat([policy.value.weight.detach()[0], policy.value.bias.detach()])
    return {"options": options, "steps": steps, "weights": weights,
            "value_head": head.numpy()}


def main():
    here = pathlib.Path(__file__).parent
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "ppo"
    path = str(here / "training" / "llama")
    cases = [
        make_case(path, 1),
        make_case(path, 2, score_norm=False, score_clip=0.6, gamma=0.9, lam=0.5,
                  vf_coef=0.7, max_grad_norm=1e9),
        make_case(path, 3, ppo_epochs=8, early_stopping_kl=0.01),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "steps.json", "w", encoding="utf-8") as out:
        json.dump({"cases": plain(cases)}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
