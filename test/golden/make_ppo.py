#!/usr/bin/env python3
"""Writes test/golden/ppo/cases.json: method ppo as published, in PyTorch.

    test/golden/make_ppo.py [DIRECTORY]

A reference of its own for src/engine/method/ppo.c, in double precision and
with autograd for the gradients, written from the definitions:

* clipped surrogate and clipped value loss: Schulman et al., arXiv 1707.06347;
* generalised advantages: Schulman et al., arXiv 1506.02438;
* reward minus KL penalty a token, adaptive coefficient: Ziegler et al.,
  arXiv 1909.08593, section 2.2;
* whitening, order of the steps and constants: PPOTrainer of TRL 0.7 (padded
  responses there are ragged here, which masks make the same).
"""

import json
import pathlib
import sys

import numpy as np
import torch

torch.set_default_dtype(torch.float64)


def single(array):
    """Numbers that float32 holds exactly, as the engine gets them."""
    return np.asarray(array, dtype=np.float32).astype(np.float64)


class Moments:
    """Mean and deviation of all scores, by keeping all of them."""

    def __init__(self):
        self.all = []

    def normalize(self, scores, is_centred=True):
        self.all += list(scores)
        deviation = np.std(self.all, ddof=1) if len(self.all) > 1 else 1.0
        epsilon = np.finfo(np.float32).eps
        mean = np.mean(self.all) if is_centred else 0.0
        return (np.asarray(scores) - mean) / (deviation + epsilon)


def token_rewards(logp, reference, coefficient, score):
    rewards = -coefficient * (logp - reference)
    rewards[-1] += score
    return rewards


def advantages_by_definition(rewards, values, gamma, lam):
    """The double sum of the paper, not the recursion that computes it."""
    length = len(rewards)
    after = np.append(values[1:], 0.0)
    delta = rewards + gamma * after - values
    return np.array([
        sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length))
        for t in range(length)
    ])


def whiten(numbers):
    numbers = torch.as_tensor(numbers)
    return ((numbers - numbers.mean()) * torch.rsqrt(numbers.var() + 1e-8)).numpy()


def losses(logp, value, old_logp, old_value, advantage, target, options):
    ratio = torch.exp(logp - old_logp)
    surrogate = -advantage * ratio
    if options["clip_range"] is not None:
        clip = options["clip_range"]
        bounded = -advantage * torch.clamp(ratio, 1 - clip, 1 + clip)
        surrogate = torch.maximum(surrogate, bounded)
    width = options["cliprange_value"]
    near = torch.clamp(value, old_value - width, old_value + width)
    error = torch.maximum((value - target) ** 2, (near - target) ** 2)
    return surrogate.sum(), 0.5 * error.sum()


def make_case(seed, lengths, **changes):
    options = {
        "clip_range": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1,
        "gamma": 1.0, "lam": 0.95, "init_kl_coef": 0.2, "target_kl": 6.0,
        "kl_horizon": 10000.0, "score_norm": True, "score_scaling": False,
        "score_clip": None,
    }
    options.update(changes)
    rng = np.random.default_rng(seed)
    moments = Moments()
    coefficient = options["init_kl_coef"]
    steps = []
    for _ in range(2):
        responses = []
        scores = single(rng.normal(1.0, 2.0, len(lengths)))
        used = scores
        if options["score_norm"] or options["score_scaling"]:
            used = moments.normalize(scores, options["score_norm"])
        if options["score_clip"] is not None:
            used = np.clip(used, -options["score_clip"], options["score_clip"])
        for length, score in zip(lengths, used):
            old_logp = single(-rng.exponential(2.0, length))
            response = {
                "old_logp": old_logp,
                "old_value": single(rng.normal(0.0, 0.5, length)),
                "ref_logp": single(old_logp + rng.normal(-0.3, 0.5, length)),
                "logp": single(old_logp + rng.normal(0.0, 0.3, length)),
            }
            response["value"] = single(
                response["old_value"] + rng.normal(0.0, 0.3, length))
            rewards = token_rewards(old_logp, response["ref_logp"], coefficient, score)
            response["raw"] = advantages_by_definition(
                rewards, response["old_value"], options["gamma"], options["lam"])
            response["target"] = response["raw"] + response["old_value"]
            responses.append(response)
        white = whiten(np.concatenate([r.pop("raw") for r in responses]))
        kl = float(np.mean([np.sum(r["old_logp"] - r["ref_logp"]) for r in responses]))
        start = 0
        for response, length in zip(responses, lengths):
            response["advantage"] = white[start:start + length]
            start += length
            parts = {k: torch.as_tensor(v) for k, v in response.items()}
            logp = parts["logp"].requires_grad_()
            value = parts["value"].requires_grad_()
            policy, error = losses(
                logp, value, parts["old_logp"], parts["old_value"],
                parts["advantage"], parts["target"], options)
            loss = policy + options["vf_coef"] * error
            loss.backward()
            response.update(
                policy_loss=policy.item(), value_loss=error.item(),
                dlogp=logp.grad.numpy(), dvalue=value.grad.numpy())
        error = np.clip(kl / options["target_kl"] - 1, -0.2, 0.2)
        step = {"kl_coef": coefficient, "kl": kl, "scores": scores, "used": used}
        coefficient *= 1 + error * len(lengths) / options["kl_horizon"]
        step.update(next_kl_coef=coefficient, responses=responses)
        steps.append(step)
    return {"options": options, "steps": steps}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def main():
    here = pathlib.Path(__file__).parent / "ppo"
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    cases = [
        make_case(1, [5, 1, 9, 3]),
        make_case(2, [7, 2, 4], clip_range=None, gamma=0.9, lam=0.5, vf_coef=0.7),
        make_case(3, [6, 8], score_norm=False, init_kl_coef=0.5, target_kl=0.1,
                  kl_horizon=50.0, clip_range=0.05, cliprange_value=0.05),
        make_case(4, [3]),
        make_case(5, [2, 4, 3], score_norm=False, score_scaling=True),
        make_case(6, [2, 4, 3], score_clip=0.5),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "cases.json", "w", encoding="utf-8") as out:
        json.dump({"cases": plain(cases)}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
