"""The peer's side of the benchmark: the same work in PyTorch and transformers.

    torch_bench.py STYLE MODEL PROMPT RESPONSE BATCH STEPS [DTYPE [RANK]]
    torch_bench.py make DIRECTORY [SHAPE]     random weights in the shapes of
                                              SmolLM2-135M, or of SHAPES

STYLE is "naive", as the paper's released code does it: a padded batch, the
reference policy in every step, logits at every position; or "tuned", as a
careful user would: the reference once per row, rows grouped by length, the
head on response positions only; or "mixed", as tuned, but without groups, and
weights, gradients and moments are fp32 whatever DTYPE says.  DTYPE is that of
weights and products, fp32 or bf16; with a RANK the steps train an adapter of
it (PEFT) on every linear map but the head.  Lengths are those of
engine_bench.c, row by row.  With DEVICE=cuda in the environment it computes on
a GPU, without groups, and memory is the GPU's.  Prints one JSON line for
scoring, one for training steps and, where tuned, one for generation.
"""

import json
import os
import resource
import statistics
import sys
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

MASK = (1 << 64) - 1
DEVICE = os.environ.get("DEVICE", "cpu")
GROUP = 4 if DEVICE == "cpu" else 1 << 30  # sequences that "tuned" pads together

# hidden size, layers, heads, key/value heads, feed forward, vocabulary, tied
SHAPES = {
    "smollm2-135m": (576, 30, 9, 3, 1536, 49152, True),
    "1.3b": (2048, 24, 16, 16, 5504, 32000, False),
    "llama-7b": (4096, 32, 32, 32, 11008, 32000, False),
}


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def random_bits(seed, stream, counter):
    """As in src/engine/base/random.c."""
    z = mix((seed + 0x9E3779B97F4A7C15) & MASK)
    z = mix(z ^ ((stream * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & MASK))
    return mix((z + counter * 0x9E3779B97F4A7C15) & MASK)


def length_near(mean, stream, counter):
    """Spread evenly between half and one and a half of the mean."""
    return mean // 2 + random_bits(1, stream, counter) % mean


def make_batch(prompt, response, rows, seed, vocabulary):
    """[(token ids, prompt length)], as make_batch() in engine_bench.c."""
    batch = []
    for i in range(rows):
        before = length_near(prompt, seed, 2 * i) + 1
        after = length_near(response, seed, 2 * i + 1) + 1
        batch.append((torch.randint(0, vocabulary, (before + after,)), before))
    return batch


def pad(rows):
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (row, _) in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids.to(DEVICE), mask.to(DEVICE)


def naive_logprobs(model, rows):
    """Sum of response log-probabilities of each row, all logits at once."""
    ids, mask = pad(rows)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    token = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    keep = mask[:, 1:].clone()
    for i, (_, before) in enumerate(rows):
        keep[i, : before - 1] = 0
    return (token * keep).sum(1)


def tuned_logprobs(model, rows):
    ids, mask = pad(rows)
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    head = causal.get_output_embeddings()
    output = causal.model(input_ids=ids, attention_mask=mask)
    hidden = output.last_hidden_state
    sums = []
    for i, (row, before) in enumerate(rows):
        logits = head(hidden[i, before - 1 : len(row) - 1]).float()
        sums.append(
            -torch.nn.functional.cross_entropy(
                logits, ids[i, before : len(row)], reduction="sum"
            )
        )
    return torch.stack(sums)


def groups(style, rows):
    if style != "tuned":
        return [rows]
    rows = sorted(rows, key=lambda row: len(row[0]))
    return [rows[i : i + GROUP] for i in range(0, len(rows), GROUP)]


def score(style, model, rows, autocast):
    logprobs = naive_logprobs if style == "naive" else tuned_logprobs
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        return [logprobs(model, group) for group in groups(style, rows)]


def train(style, model, reference, optimizer, rows, autocast):
    """One A-LoL step with advantages of 0.3."""
    logprobs = naive_logprobs if style == "naive" else tuned_logprobs
    optimizer.zero_grad(set_to_none=True)
    for group in groups(style, rows):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
            policy = logprobs(model, group)
        if style == "naive":
            with torch.no_grad():
                before = logprobs(reference, group)
        else:
            before = policy.detach()
        ratio = (policy - before).exp().clamp(0.1, 1.9).detach()
        (-(0.3 / len(rows)) * (ratio * policy).sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def report(work, style, dtype, tokens_per_second):
    if DEVICE == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    else:
        peak = torch.cuda.max_memory_allocated() / 2**20
    line = {
        "work": work,
        "style": style,
        "dtype": dtype,
        "tokens_per_second": round(tokens_per_second, 1),
        "peak_mib": round(peak),
    }
    print(json.dumps(line), flush=True)


def wait():
    """Until a GPU has done what it was asked."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def measure(work, style, dtype, steps, make, run):
    """Runs one batch to warm up, then steps batches by the clock: the median
    speed, so that a step that was disturbed does not count against it."""
    run(make(8))
    wait()
    speeds = []
    for step in range(steps):
        rows = make(step + 9)
        tokens = sum(len(ids) for ids, _ in rows)
        start = time.monotonic()
        run(rows)
        wait()
        speeds.append(tokens / (time.monotonic() - start))
    report(work, style, dtype, statistics.median(speeds))


def generate(dtype, model, prompt):
    """64 greedy tokens of one prompt, as bench_generation() in engine_bench.c."""
    row, before = make_batch(prompt, 4, 1, 7, model.config.vocab_size)[0]
    ids = row[None, :before].to(DEVICE)

    def run(tokens):
        with torch.no_grad():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )

    run(4)
    start = time.monotonic()
    run(64)
    report("generate 1", "tuned", dtype, 64 / (time.monotonic() - start))


def make_model(directory, shape="smollm2-135m"):
    hidden, layers, heads, kv_heads, feed_forward, vocabulary, tied = SHAPES[shape]
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=feed_forward,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32 if DEVICE == "cpu" else torch.bfloat16
        )
    model.save_pretrained(directory)
    # The engine opens no model without a tokenizer: here, bytes and an end.
    letters = ["<|endoftext|>"] + sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(directory + "/tokenizer.json")


def add_adapter(model, rank):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            r=rank, lora_alpha=16, lora_dropout=0.05, target_modules="all-linear"
        ),
    )


def main():
    if sys.argv[1] == "make":
        make_model(*sys.argv[2:])
        return
    style, directory = sys.argv[1:3]
    prompt, response, batch, steps = map(int, sys.argv[3:7])
    dtype = sys.argv[7] if len(sys.argv) > 7 else "fp32"
    rank = int(sys.argv[8]) if len(sys.argv) > 8 else 0
    keeps_bf16 = dtype == "bf16" and style != "mixed"
    torch_dtype = torch.bfloat16 if keeps_bf16 else torch.float32
    # Adapters stay fp32 over a base of bf16, and are multiplied in bf16, too.
    autocast = dtype == "bf16" and (rank > 0 or style == "mixed")

    def load():
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch_dtype)
        return model.to(DEVICE)

    model = load()
    vocabulary = model.config.vocab_size

    def make(seed):
        return make_batch(prompt, response, batch, seed, vocabulary)

    if rank == 0:
        measure(
            "score",
            style,
            dtype,
            steps,
            make,
            lambda rows: score(style, model, rows, autocast),
        )
        if style == "tuned":
            generate(dtype, model, prompt)
    else:
        model = add_adapter(model, rank).train()
    reference = load() if style == "naive" else None
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-5, fused=True)
    measure(
        "train adapter" if rank else "train",
        style,
        dtype,
        steps,
        make,
        lambda rows: train(style, model, reference, optimizer, rows, autocast),
    )


if __name__ == "__main__":
    main()
