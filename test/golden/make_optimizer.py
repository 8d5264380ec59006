#!/usr/bin/env python3
"""Writes test/golden/optimizer/steps.json: AdamW with moments as bytes.

    test/golden/make_optimizer.py [DIRECTORY]

A reference of its own for src/engine/base/dynamic8.c and the operation
adamw_coded, in double precision with plain numpy, written from:

* dynamic tree quantization and its unsigned form, blocks with a largest number
  each, and the order of a step (widen, update, quantize): Dettmers et al., "8-bit
  Optimizers via Block-wise Quantization", arXiv 2110.02861, sections 1.3, 2.1
  and 2.2;
* AdamW: Loshchilov and Hutter, arXiv 1711.05101, with PyTorch's decay of
  learning rate times weight decay.

Where this library differs: squares above 0 do not become 0.  No number of a
case lies so near to the middle of two levels that fp32 could choose the other.
"""

import json
import pathlib
import sys

import numpy as np

BLOCK = 256
BITS = 7  # of exponent and fraction, sign (or the bit in its place) apart


def magnitudes(fixed_bits):
    """Of 0 ... 01f...f: each zero is a decade, the bits behind the first one
    a fraction of [0.1, 1]; fixed_bits more of fraction in all of them."""
    found = [0.0, 1.0]
    for zeros in range(BITS):
        parts = 2 ** (BITS - 1 - zeros + fixed_bits)
        edge = np.linspace(0.1, 1.0, parts + 1)
        found += list(10.0 ** -zeros * (edge[:-1] + edge[1:]) / 2)
    return np.sort(np.array(found))


def signed_levels():
    positive = magnitudes(0)[1:]
    return np.concatenate([-positive[:-1][::-1], [0.0], positive])


SIGNED = signed_levels()
SQUARE = magnitudes(1)


def quantize(numbers, levels, is_square):
    """Codes of a block and its scale."""
    scale = np.abs(numbers).max()
    if scale == 0:
        return np.full(len(numbers), np.argmin(np.abs(levels))), 0.0
    x = numbers / scale
    middle = (levels[1:] + levels[:-1]) / 2
    code = np.searchsorted(middle, x)
    if is_square:
        code = np.where((x > 0) & (code == 0), 1, code)
    near = np.abs(x[:, None] - middle[None, :]).min(axis=1)
    bad = (near < 1e-5 * np.abs(x)) & (x != 0)
    if bad.any():
        raise SystemExit("a number lies between two levels: another seed")
    return code, scale


def step(state, gradient, settings, number):
    keep = 1 - settings["learning_rate"] * settings["weight_decay"]
    beta1, beta2 = settings["beta1"], settings["beta2"]
    codes = {"m": [], "v": []}
    for first in range(0, len(gradient), BLOCK):
        part = slice(first, first + BLOCK)
        g = gradient[part] * settings["gradient_scale"]
        m = SIGNED[state["m"][part]] * state["m_scale"][first // BLOCK]
        v = SQUARE[state["v"][part]] * state["v_scale"][first // BLOCK]
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        denominator = np.sqrt(v / (1 - beta2**number)) + settings["eps"]
        state["p"][part] = (keep * state["p"][part]
                            - settings["learning_rate"] / (1 - beta1**number)
                            * m / denominator)
        code, scale = quantize(m, SIGNED, False)
        codes["m"].append(code)
        state["m_scale"][first // BLOCK] = scale
        code, scale = quantize(v, SQUARE, True)
        codes["v"].append(code)
        state["v_scale"][first // BLOCK] = scale
    state["m"] = np.concatenate(codes["m"])
    state["v"] = np.concatenate(codes["v"])


def short(array):
    return [float(np.format_float_scientific(np.float32(x))) for x in array]


def as_single(array):
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def case(rng, count, steps, settings):
    blocks = (count + BLOCK - 1) // BLOCK
    state = {"p": as_single(rng.normal(size=count)),
             "m": np.zeros(count, dtype=int), "v": np.zeros(count, dtype=int),
             "m_scale": np.zeros(blocks), "v_scale": np.zeros(blocks)}
    result = {"settings": settings, "before": short(state["p"]), "steps": []}
    for number in range(1, steps + 1):
        spread = 10 ** rng.uniform(-4, 0, size=count)
        gradient = as_single(np.round(rng.normal(size=count) * spread, 7))
        gradient[rng.random(count) < 0.1] = 0
        # A block without any gradient for a while.
        if number == 1:
            gradient[BLOCK:] = 0
        step(state, gradient, settings, number)
        result["steps"].append({
            "gradient": short(gradient),
            "m": bytes(state["m"].tolist()).hex(),
            "v": bytes(state["v"].tolist()).hex(),
            "m_scale": list(state["m_scale"]),
            "v_scale": list(state["v_scale"])})
    result["after"] = list(state["p"])
    return result


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                             pathlib.Path(__file__).parent / "optimizer")
    rng = np.random.default_rng(35)
    plain = {"learning_rate": 1e-3, "weight_decay": 0.01, "beta1": 0.9,
             "beta2": 0.999, "eps": 1e-8, "gradient_scale": 1.0}
    clipped = {"learning_rate": 0.02, "weight_decay": 0, "beta1": 0.8,
               "beta2": 0.95, "eps": 1e-6, "gradient_scale": 0.37}
    json_text = json.dumps({
        "signed": list(SIGNED), "square": list(SQUARE),
        "cases": [case(rng, 1, 3, plain), case(rng, 300, 5, plain),
                  case(rng, 260, 3, clipped)]})
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "steps.json").write_text(json_text + "\n")


if __name__ == "__main__":
    main()
