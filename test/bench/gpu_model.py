#!/usr/bin/env python3
"""What a step of training should cost on a GPU.

    gpu_model.py             tables in Markdown: docs/gpu.md holds them
    gpu_model.py --detail    and for each case its dearest operations

Counts the bytes and the FLOPs of every operation of a step as cuda/ computes
it: activations in fp32, inputs of products rounded to bf16 once, by what makes
them or in front of the first product, trained weights packed in bf16 once a
step, frozen NF4 weights widened in front of each product, attention in one
pass forward and two backward.  An operation takes the longer of its bytes
over the memory's speed and its FLOPs over the tensor cores', each times the
share that is assumed below, and a launch at least.  What a GPU has shown stands in
docs/gpu.md.
"""

import sys
from dataclasses import dataclass

# What data sheets say: bf16 with fp32 sums, dense, FLOP/s; bytes/s; bytes.
# NVIDIA H200 and A100 80GB SXM data sheets; Ada GPU architecture white paper.
GPUS = {
    "H200": (989e12, 4.8e12, 141e9),
    "A100 80GB": (312e12, 2.04e12, 80e9),
    "RTX 4090": (165e12, 1.01e12, 24e9),
}

# Shares of these that are assumed to be reached, and seconds of a launch.
GEMM_SHARE = 0.75
ATTENTION_SHARE = 0.35
MEMORY_SHARE = 0.85
LAUNCH = 3e-6

SEQUENCES, PROMPT, RESPONSE = 16, 256, 64
NF4_BYTES = 36 / 64  # of a number: a float for each 64, four bits each


@dataclass
class Model:
    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    rank: int = 0  # of an adapter; 0: all weights
    stored: str = "fp32"  # of the frozen weights: nf4; trained ones are fp32
    coded: bool = False  # AdamW's moments are bytes, but for the embedding

    @property
    def queries(self):
        return self.heads * self.head_dim

    @property
    def keys(self):
        return self.kv_heads * self.head_dim

    def maps(self):
        """(name, outputs, inputs) of a layer's linear maps."""
        return [
            ("q", self.queries, self.hidden),
            ("k", self.keys, self.hidden),
            ("v", self.keys, self.hidden),
            ("o", self.hidden, self.queries),
            ("gate", self.feed_forward, self.hidden),
            ("up", self.feed_forward, self.hidden),
            ("down", self.hidden, self.feed_forward),
        ]

    def layer_numbers(self):
        return sum(n * k for _, n, k in self.maps())

    def numbers(self):
        """Of all parameters."""
        return self.layers * self.layer_numbers() + self.vocabulary * self.hidden * (
            1 if self.tied else 2
        )

    def moment_bytes(self):
        """Of both moments of what is trained: bytes have a scale each 256."""
        trained = self.adapter_numbers() if self.rank else self.numbers()
        coded = self.coded * (trained - self.vocabulary * self.hidden)
        return 8.0 * (trained - coded) + 2 * (1 + 4 / 256) * coded

    def adapter_numbers(self):
        return self.layers * sum((n + k) * self.rank for _, n, k in self.maps())


MODELS = [
    Model("135 M, all weights", 30, 576, 1536, 9, 3, 64, 49152, True),
    Model("1.3 B, all weights", 24, 2048, 5504, 16, 16, 128, 32000, False),
    Model(
        "1.3 B, adamw8bit", 24, 2048, 5504, 16, 16, 128, 32000, False, coded=True
    ),
    Model(
        "LLaMA 7 B, QLoRA 64", 32, 4096, 11008, 32, 32, 128, 32000, False, 64, "nf4"
    ),
]


class Step:
    """The operations of a step, each with its FLOPs and bytes."""

    def __init__(self, model):
        self.model = model
        self.operations = {}  # name: [times, flops, bytes, share of peak]
        self.tokens = SEQUENCES * (PROMPT + RESPONSE)
        self.targets = SEQUENCES * RESPONSE
        self.layers()
        self.head()
        self.update()

    def add(self, name, flops, moved, share=GEMM_SHARE, times=1):
        entry = self.operations.setdefault(name, [0, 0.0, 0.0, share])
        entry[0] += times
        entry[1] += times * flops
        entry[2] += times * moved

    def round(self, name, numbers, times=1):
        """fp32 numbers to bf16."""
        self.add(name, 0, 6 * numbers, times=times)

    def product(self, m, n, k, times=1):
        self.add(
            "products", 2.0 * m * n * k, 2 * (m * k + n * k) + 4 * m * n, times=times
        )

    def weights(self, n, k, trained, times):
        """Of a product; those of fp32 are packed."""
        if not trained and self.model.stored == "nf4":
            self.add("NF4 to bf16", 0, (NF4_BYTES + 2) * n * k, times=times)

    def forward(self, m, n, k, trained, times):
        self.weights(n, k, trained, times)
        self.product(m, n, k, times)

    def backward(self, m, n, k, trained, times):
        self.weights(n, k, trained, times)
        self.product(m, k, n, times)
        if trained:
            self.product(n, k, m, times)

    def linear(self, name, n, k):
        model, m, times = self.model, self.tokens, self.model.layers
        trained = model.rank == 0
        self.forward(m, n, k, trained, times)
        self.backward(m, n, k, trained, times)
        # Norms and activations leave their results rounded, backward too.
        if name == "o":
            self.round("inputs to bf16", m * k, (2 if trained else 1) * times)
        if name in "qkv":
            self.round("inputs to bf16", m * n, times)
        if trained:
            self.round("weights to bf16", n * k, times)
            return
        self.round("weights to bf16", model.rank * (n + k), times)
        self.round("inputs to bf16", m * model.rank, 3 * times)
        self.add("scale", 0, 8 * m * model.rank, times=2 * times)
        self.forward(m, n, model.rank, True, times)
        self.backward(m, n, model.rank, True, times)

    def low(self, maps, k):
        """Dropout of what so many maps read, and the products with their A."""
        m, times, rank = self.tokens, self.model.layers, maps * self.model.rank
        # Both passes leave what is dropped rounded, the gradient is added.
        self.add("dropout", 0, 10 * m * k, times=2 * times)
        self.add("dropout, backward", 0, 12 * m * k, times=times)
        self.forward(m, rank, k, True, times)
        self.backward(m, rank, k, True, times)

    def layers(self):
        model, m, times = self.model, self.tokens, self.model.layers
        for name, n, k in model.maps():
            self.linear(name, n, k)
        if model.rank > 0:
            for maps, k in (
                (3, model.hidden),
                (1, model.queries),
                (2, model.hidden),
                (1, model.feed_forward),
            ):
                self.low(maps, k)
        # Each makes 2 bytes besides: its result in bf16.  Backward the norms'
        # results are made again.
        self.add("norm", 0, 10 * m * model.hidden, times=4 * times)
        self.add("norm, backward", 0, 18 * m * model.hidden, times=2 * times)
        self.add("residual sums", 0, 12 * m * model.hidden, times=4 * times)
        self.add("rotation", 0, 8 * m * (model.queries + model.keys), times=2 * times)
        self.add("activation", 0, 14 * m * model.feed_forward, times=2 * times)
        self.add(
            "activation, backward", 0, 24 * m * model.feed_forward, times=times
        )
        length = PROMPT + RESPONSE
        product = 2.0 * m * length / 2 * model.queries
        moved = 4 * m * (2 * model.queries + 2 * model.keys)
        self.add("attention", 2 * product, moved, ATTENTION_SHARE, times)
        self.add(
            "attention, backward", 7 * product, 3 * moved, ATTENTION_SHARE, 2 * times
        )
        # Two kernels share these products.
        entry = self.operations["attention, backward"]
        entry[1] /= 2
        entry[2] /= 2

    def head(self):
        model, m = self.model, self.targets
        n, k = model.vocabulary, model.hidden
        trained = model.rank == 0
        self.product(m, n, k)
        self.product(m, k, n)
        if trained:
            self.product(n, k, m)
            self.round("weights to bf16", n * k)
        self.add("log-probabilities", 0, 8 * m * n)
        self.add("log-probabilities, backward", 0, 10 * m * n)

    def update(self):
        model = self.model
        numbers = model.adapter_numbers() if model.rank else model.numbers()
        self.add("gradient norm and zeros", 0, 8 * numbers)
        self.add("AdamW", 0, 12 * numbers + 2 * model.moment_bytes())

    def useful_flops(self):
        """2 for each weight and token in each pass that training needs, and
        attention's own, as usually counted for shares of peak."""
        model = self.model
        passes = 3 if model.rank == 0 else 2
        each = self.tokens * model.layers * model.layer_numbers()
        each += self.targets * model.vocabulary * model.hidden
        seen = (PROMPT + RESPONSE) / 2
        attention = 12.0 * self.tokens * seen * model.queries * model.layers
        adapters = 6.0 * self.tokens * model.adapter_numbers() if model.rank else 0
        return 2.0 * passes * each + attention + adapters

    def seconds(self, gpu):
        """{operation: seconds}"""
        peak, speed, _ = GPUS[gpu]
        return {
            name: max(
                times * LAUNCH,
                flops / (peak * share),
                moved / (speed * MEMORY_SHARE),
            )
            for name, (times, flops, moved, share) in self.operations.items()
        }

    def memory(self, tokens):
        """Bytes: weights, gradients and moments, and the activations that are
        kept of a micro-batch of so many tokens.  Copies of weights in bf16 are
        made only where there is room besides."""
        model = self.model
        trained = model.adapter_numbers() if model.rank else model.numbers()
        frozen = 0.0
        if model.rank:
            frozen = (
                NF4_BYTES * model.layers * model.layer_numbers()
                + 4.0 * 2 * model.vocabulary * model.hidden
            )
        width = (
            3 * model.hidden
            + 2 * model.queries
            + 2 * model.keys
            + 2 * model.feed_forward
        )
        state = 8.0 * trained + model.moment_bytes()
        return frozen + state + 4.0 * tokens * width * model.layers


def main():
    steps = [(model, Step(model)) for model in MODELS]
    print(
        f"A step of {SEQUENCES} responses, prompts of {PROMPT} and responses of "
        f"{RESPONSE} tokens: {SEQUENCES * (PROMPT + RESPONSE)} tokens.\n"
    )
    print(
        "| model | GPU | GiB, one response at a time | all at once | step, ms "
        "| tokens/s | share of peak | in products | in memory's time |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for model, step in steps:
        for gpu, (peak, _, memory) in GPUS.items():
            seconds = step.seconds(gpu)
            total = sum(seconds.values())
            least = step.memory(PROMPT + RESPONSE)
            most = step.memory(step.tokens)
            product = seconds["products"] / total
            attention = seconds["attention"] + seconds["attention, backward"]
            print(
                f"| {model.name} | {gpu} "
                f"| {least / 2**30:.1f}{' (too much)' if least > memory else ''} "
                f"| {most / 2**30:.1f}{' (too much)' if most > memory else ''} "
                f"| {1e3 * total:.0f} | {step.tokens / total:,.0f} "
                f"| {step.useful_flops() / total / peak:.0%} | {product:.0%} "
                f"| {1 - product - attention / total:.0%} |"
            )
    if "--detail" not in sys.argv[1:]:
        return
    for model, step in steps:
        print(f"\n{model.name}, H200: operation, launches, GFLOP, MB, ms\n")
        print("| operation | launches | GFLOP | MB | ms |")
        print("|---|---|---|---|---|")
        seconds = step.seconds("H200")
        for name in sorted(seconds, key=seconds.get, reverse=True):
            times, flops, moved, _ = step.operations[name]
            print(
                f"| {name} | {times} | {flops / 1e9:,.0f} | {moved / 1e6:,.0f} "
                f"| {1e3 * seconds[name]:.2f} |"
            )


if __name__ == "__main__":
    main()
