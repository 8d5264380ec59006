#!/usr/bin/env python3
"""Makes the reference values that travel with the project.

    python3 make_golden.py [FOLDER]

needs torch, transformers, tokenizers and safetensors.  Developers run it when
a case is added; tests only read what it wrote.  Tiny models with random
weights are saved the way Hugging Face's libraries save them, and what these
libraries and PyTorch's autograd compute is written beside them:

    tokenizers/NAME  ids and texts
    decoders/NAME    logits, hidden states, log-probabilities, greedy texts
    training/NAME    losses, gradients and three AdamW steps of every method,
                     and of the value head

Weights are larger than in a fresh model, so that a wrong formula shows.  All
numbers follow from the seeds below.
"""
import copy
import json
import math
import os
import random
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import (Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig,
                          LlamaForCausalLM, PreTrainedTokenizerFast)

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

# ---------------------------------------------------------------- the texts

PEOPLE = ["the gardener", "my sister", "a sailor", "the baker", "our teacher",
          "an old friend", "the engineer", "a neighbour"]
DEEDS = ["keeps bees behind the house", "is looking for a lost key",
         "would like to learn the violin", "repairs clocks in winter",
         "asked how a database plans a query", "cooks soup with lentils",
         "wrote three letters on Monday", "has never seen the sea"]
QUESTIONS = ["What should I tell them?", "Is that a good idea?",
             "How long does it take?", "Could you explain it again?"]
ANSWERS = ["I think it's best to begin with something small.",
           "It takes about 25 minutes, or 40 if it rains.",
           "You'll need flour, water, salt and a little patience.",
           "They don't mind; we've asked them twice already.",
           "Start with the index, then look at the plan: it's there.",
           "No, I'm afraid that isn't possible before 2031."]
ODD = ["Grüße aus Köln, 3½ Stunden später…", "naïve café — déjà vu",
       "日本語のテキストです。", "Привет, мир!", "שלום עולם", "emoji 🚀🌍👩‍🔬!",
       "tabs\tand\nlines\r\n\r\nhere", "  two  spaces   three ", " ", "", "\n\n",
       "x = foo(bar)[0] != 'it''s';", "e\u0301 is not é", "ﬁne ½ ² ①",
       "don't DON'T we'll I'd you've he's", "10000 12.5 1,024 007",
       "<s> not a start </s>", "▁under▁score▁", "a\u00a0b\u3000c", "각 ᄀ ᅡ",
       "end <|endoftext|> of text", "<|begin|>hello<|end|>", "\u200bzero width"]


def corpus():
    lines = [f"{p.capitalize()} {d}. {q} {a}" for p in PEOPLE for d in DEEDS
             for q, a in zip(QUESTIONS, ANSWERS)]
    return lines + ODD * 3


def dialogues(count, seed):
    """(prompt, response) pairs of a few words."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        prompt = f"{rng.choice(PEOPLE).capitalize()} {rng.choice(DEEDS)}."
        words = rng.choice(ANSWERS).split(" ")
        start = rng.randrange(0, len(words) - 3)
        end = start + rng.randrange(2, 6)
        pairs.append((prompt[-rng.randrange(12, 32):],
                      " " + " ".join(words[start:end])))
    return pairs


# -------------------------------------------------------------- the numbers

def short(value):
    """A float32 with the fewest digits that read back as the same."""
    return float(str(np.float32(value)))


def long(value):
    return float("%.12g" % value)


def shorts(tensor):
    return [short(v) for v in tensor.detach().flatten().tolist()]


def longs(values):
    return [long(v) for v in values]


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


# ----------------------------------------------------------- the tokenizers

def byte_level(size, llama3=False):
    """GPT-2's kind, or LLaMA-3's: its pattern, BOS, ignore_merges."""
    specials = (["<|begin|>", "<|end|>"] if llama3 else ["<|endoftext|>"])
    tokenizer = Tokenizer(models.BPE(ignore_merges=llama3))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if llama3:
        split = pre_tokenizers.Split(
            pattern=__import__("tokenizers").Regex(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
                r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
                r"\s+(?!\S)|\s+"), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False,
                                             use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet,
        show_progress=False))
    if llama3:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1",
                special_tokens=[("<|begin|>", 0)])])
        return fast(tokenizer, "<|begin|>", "<|end|>")
    return fast(tokenizer, "<|endoftext|>", "<|endoftext|>")


def sentence_piece(size, metaspace=False):
    """LLaMA-2's kind, or Mistral's with a Metaspace pre-tokenizer."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learner.train_from_iterator(
        [t for t in corpus() if t.isascii()],
        trainers.BpeTrainer(vocab_size=size - 259, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names += sorted(learnt["vocab"], key=learnt["vocab"].get)
    model = models.BPE(vocab={name: i for i, name in enumerate(names)},
                       merges=[tuple(m) for m in learnt["merges"]],
                       unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1",
        special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)])
    return fast(tokenizer, "<s>", "</s>", "<unk>")


def fast(tokenizer, bos, eos, unknown=None):
    specials = sorted({bos, eos} | ({unknown} if unknown else set()))
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos,
        unk_token=unknown, clean_up_tokenization_spaces=False)


def encode_continuation(wrapped, text):
    """The text as it goes on after a prompt: nothing is put in front."""
    twin = json.loads(wrapped.backend_tokenizer.to_str())
    for part in (twin["normalizer"] or {}).get("normalizers", []):
        if part["type"] == "Prepend":
            part["prepend"] = ""
    if (twin["pre_tokenizer"] or {}).get("type") == "Metaspace":
        twin["pre_tokenizer"]["prepend_scheme"] = "never"
    return Tokenizer.from_str(json.dumps(twin)).encode(
        text, add_special_tokens=False).ids


def describe_string(backend, text):
    ids = backend.encode(text).ids
    plain = backend.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "ids_plain": plain,
            "decoded": backend.decode(ids, skip_special_tokens=False),
            "decoded_plain": backend.decode(plain, skip_special_tokens=False),
            "decoded_skip": backend.decode(ids, skip_special_tokens=True)}


def make_tokenizer(folder, wrapped, seed):
    rng = random.Random(seed)
    backend = wrapped.backend_tokenizer
    size = backend.get_vocab_size()
    texts = ODD + rng.sample(corpus(), 12)
    texts += ["".join(rng.choice(ODD + PEOPLE + ["'s", " ", "  ", "\n"])
                      for _ in range(4)) for _ in range(40)]
    golden = {"vocab_size": size, "kind": "BPE",
              "strings": [describe_string(backend, t) for t in texts],
              "decode": [], "pairs": []}
    for _ in range(40):
        ids = [rng.randrange(size) for _ in range(rng.randrange(1, 9))]
        golden["decode"].append(
            {"ids": ids, "text": backend.decode(ids, skip_special_tokens=False),
             "text_skip": backend.decode(ids, skip_special_tokens=True)})
    for first, second in zip(texts[:8], reversed(texts[:8])):
        both = backend.encode(first, second)
        golden["pairs"].append({"first": first, "second": second,
                                "ids": both.ids, "type_ids": both.type_ids})
    os.makedirs(folder)
    wrapped.save_pretrained(folder)
    write_json(os.path.join(folder, "golden.json"), golden)


# --------------------------------------------------------------- the models

def enlarge(model, seed):
    """Random weights of a size at which every part of a formula matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:
                is_norm = name.endswith("weight")
                p.copy_(1 + 0.3 * noise if is_norm else 0.2 * noise)
            elif "wte" in name or "embed_tokens" in name:
                p.copy_(0.4 * noise)
            elif "wpe" in name:
                p.copy_(0.3 * noise)
            else:
                p.copy_(noise * 1.1 / math.sqrt(min(p.shape)))
    return model.eval()


def gpt2(tokenizer, seed, hidden=32, heads=4, layers=2, positions=128,
         epsilon=1e-5):
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=hidden, n_head=heads,
        n_layer=layers, n_positions=positions, layer_norm_epsilon=epsilon,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, attn_implementation="eager")
    return enlarge(GPT2LMHeadModel(config), seed)


def llama(tokenizer, seed, hidden=32, heads=4, groups=2, layers=2,
          extra_rows=0, **more):
    config = LlamaConfig(
        vocab_size=len(tokenizer) + extra_rows, hidden_size=hidden,
        intermediate_size=hidden * 3 // 2, num_attention_heads=heads,
        num_key_value_heads=groups, num_hidden_layers=layers,
        max_position_embeddings=256, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, rms_norm_eps=1e-5,
        attn_implementation="eager", **more)
    return enlarge(LlamaForCausalLM(config), seed)


def run(model, ids):
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return out.logits[0], out.hidden_states[-1][0]


def response_logprobs(model, ids, prompt_length):
    """[response tokens], differentiable, in double from float logits."""
    logits, _ = run(model, ids)
    chosen = torch.tensor(ids[prompt_length:])[:, None]
    return logits[prompt_length - 1:-1].double().log_softmax(-1).gather(
        -1, chosen)[:, 0]


def sampling(logits):
    """What temperature 0.7, top_k 20, top_p 0.9 leave, and how likely."""
    values, ids = torch.topk(logits.double() / 0.7, 20)
    p = values.softmax(-1)
    before = p.cumsum(-1) - p
    if float((before - 0.9).abs().min()) < 1e-4:
        return None  # rounding could decide
    kept = before < 0.9
    p = p[kept] / p[kept].sum()
    return {"ids": ids[kept].tolist(), "probabilities": longs(p.tolist())}


def greedy(model, prompt, stop, penalty):
    """Up to 24 tokens and the least distance of a best to a second best."""
    ids, margin = list(prompt), math.inf
    while len(ids) < len(prompt) + 24:
        scores = run(model, ids)[0][-1].clone()
        seen = torch.tensor(sorted(set(ids)))
        x = scores[seen]
        scores[seen] = torch.where(x < 0, x * penalty, x / penalty)
        best = torch.topk(scores, 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        if ids[-1] in stop:
            break
    return ids[len(prompt):], margin


def generations(model, tokenizer, prompts):
    stop = [tokenizer.eos_token_id]
    rows = []
    for prompt in prompts:
        ids = tokenizer(prompt).input_ids
        results, sure = {}, True
        for mode, penalty in (("greedy", 1.0), ("greedy_penalty", 2.5)):
            new, margin = greedy(model, ids, stop, penalty)
            theirs = model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                max_new_tokens=24, do_sample=False, pad_token_id=stop[0],
                repetition_penalty=penalty)[0, len(ids):].tolist()
            sure = sure and margin > 2e-3 and theirs == new
            results[mode] = {
                "ids": new, "ended": new[-1] in stop,
                "text": tokenizer.decode(new, skip_special_tokens=True)}
        if sure and len(rows) < 3:
            rows.append({"prompt": prompt, "prompt_ids": ids,
                         "results": results})
    assert rows
    return rows


def describe_pair(model, tokenizer, prompt, response):
    ids = tokenizer(prompt).input_ids or [tokenizer.bos_token_id]
    y = encode_continuation(tokenizer, response) + [tokenizer.eos_token_id]
    logits, hidden = run(model, ids + y)
    at = len(ids) - 1
    logp = response_logprobs(model, ids + y, len(ids))
    return {"kind": "plain", "prompt": prompt, "response": response,
            "prompt_ids": ids, "response_ids": y,
            "logprobs": longs(logp.tolist()), "logprob_sum": long(logp.sum()),
            "last_prompt_logits": shorts(logits[at]),
            "last_prompt_hidden": shorts(hidden[at]),
            "sampling": sampling(logits[at])}


def make_decoder(folder, case, model, tokenizer, seed, generates=True):
    """Writes golden.json for a model whose files are in folder already."""
    texts = dialogues(3, seed) + [("", " Hello"), (ODD[5], ODD[0]), ("A b", "")]
    if getattr(model.config, "rope_parameters", {}).get(
            "rope_type") == "llama3":
        texts.append((" ".join(ANSWERS), " " + PEOPLE[0]))  # a long one
    with torch.no_grad():
        pairs = [describe_pair(model, tokenizer, *t) for t in texts]
        twin = copy.deepcopy(model).double()
        apart = max(float((run(model, p["prompt_ids"])[0]
                           - run(twin, p["prompt_ids"])[0]).abs().max())
                    for p in pairs)
        golden = {
            "case": case, "saved_as": case_dtype(folder),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "stop_token_ids": [tokenizer.eos_token_id],
            "vocab_size": model.config.vocab_size,
            "tokenizer_size": len(tokenizer),
            "fp64_max_abs_diff": long(apart), "pairs": pairs}
        if generates:
            prompts = [p for p, _ in dialogues(9, seed + 1)]
            golden["generation"] = generations(model, tokenizer, prompts)
    assert apart < 3e-5, apart
    write_json(os.path.join(folder, "golden.json"), golden)


def case_dtype(folder):
    files = [f for f in os.listdir(folder) if f.endswith(".safetensors")]
    tensors = load_file(os.path.join(folder, sorted(files)[0]))
    return str(next(iter(tensors.values())).dtype).replace("torch.", "")


def old_config(folder, **changes):
    """config.json as transformers 4 wrote it: most files in the world."""
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    rope = config.pop("rope_parameters", None)
    if rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        scaled = rope.get("rope_type", "default") != "default"
        config["rope_scaling"] = rope if scaled else None
    config["torch_dtype"] = config.pop("dtype", None)
    config["transformers_version"] = "4.44.2"
    config.update(changes)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")


def save(folder, model, tokenizer, **more):
    os.makedirs(folder)
    model.save_pretrained(folder, **more)
    tokenizer.save_pretrained(folder)


def make_hub_layout(folder):
    """GPT-2's first files: no prefix, and masks stored as buffers."""
    path = os.path.join(folder, "model.safetensors")
    tensors = {n.removeprefix("transformer."): t
               for n, t in load_file(path).items()}
    layers = {n.split(".")[1] for n in tensors if n.startswith("h.")}
    for layer in sorted(layers):
        mask = torch.tril(torch.ones(128, 128, dtype=torch.uint8))
        tensors[f"h.{layer}.attn.bias"] = mask.view(1, 1, 128, 128)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path, metadata={"format": "pt"})
    old_config(folder)


def make_decoders(root, tokenizers):
    scaled = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
              "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    cases = {
        "gpt2": (tokenizers["byte_level"], lambda t: gpt2(t, 11)),
        "gpt2_hub": (tokenizers["byte_level"],
                     lambda t: gpt2(t, 12, heads=2, epsilon=1e-3)),
        "llama": (tokenizers["sentence_piece"], lambda t: llama(
            t, 13, tie_word_embeddings=False, rope_parameters=plain)),
        "llama3": (tokenizers["llama3"], lambda t: llama(
            t, 14, hidden=48, heads=3, groups=1, tie_word_embeddings=True,
            rope_parameters=scaled)),
        "llama_bf16": (tokenizers["metaspace"], lambda t: llama(
            t, 15, layers=3, extra_rows=5, head_dim=12,
            tie_word_embeddings=True, rope_parameters=plain)),
    }
    for seed, (name, (tokenizer, build)) in enumerate(cases.items()):
        folder = os.path.join(root, "decoders", name)
        model = build(tokenizer)
        if name == "llama_bf16":
            save(folder, model.to(torch.bfloat16), tokenizer,
                 max_shard_size="40KB")
            old_config(folder)
            model = LlamaForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager")
        else:
            save(folder, model, tokenizer)
        if name == "gpt2_hub":
            make_hub_layout(folder)
        make_decoder(folder, name, model, tokenizer, 100 + seed,
                     generates=name != "gpt2_hub")


# ------------------------------------------------------------- the training

SETTINGS = {"clip_range": 0.9, "beta": 0.1, "gold_floor": 0.1,
            "learning_rate": 1e-3, "betas": [0.9, 0.999], "eps": 1e-6,
            "weight_decay": 0, "max_grad_norm": 1.0, "steps": 3}
LOW, HIGH = 1 - SETTINGS["clip_range"], 1 + SETTINGS["clip_range"]

# L of one response: token log-probabilities l, r under the reference, the
# reward R and the advantage A.  detach() is the paper's sg[].
METHODS = {
    "nll": lambda l, r, R, A: -l.sum(),
    "wbc": lambda l, r, R, A: -R * l.sum(),
    "r_gold": lambda l, r, R, A: -R * (
        l.detach().exp().clamp(min=SETTINGS["gold_floor"]) * l).sum(),
    "r_lol": lambda l, r, R, A: -R * (l.sum() - r.sum()).detach().exp().clamp(
        LOW, HIGH) * l.sum(),
    "a_lol": lambda l, r, R, A: -A * (l.sum() - r.sum()).detach().exp().clamp(
        LOW, HIGH) * l.sum(),
    "a_lol_ref_free": lambda l, r, R, A: -A * l.sum(),
    "a_lol_seq": lambda l, r, R, A: -A * (
        (l - r).detach().exp().clamp(LOW, HIGH) * l).sum(),
    "a_lol_kl": lambda l, r, R, A: -A * l.sum() + SETTINGS["beta"] * (
        l.sum() - r.sum()),
}


def near_an_edge(method, l, r):
    """Whether float32 could fall on the other side of a clip than float64."""
    def close(ratio):
        return bool((((ratio - LOW).abs() < 2e-3)
                     | ((ratio - HIGH).abs() < 2e-3)).any())
    if method in ("r_lol", "a_lol"):
        return close((l.sum() - r.sum()).exp()[None])
    if method == "a_lol_seq":
        return close((l - r).exp())
    if method == "r_gold":
        return bool(((l.exp() - SETTINGS["gold_floor"]).abs() < 1e-3).any())
    return False


class Adam:
    """Clipping of the whole norm, then AdamW as torch has it."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.step_number = 0
        self.optimizer = torch.optim.AdamW(
            parameters.values(), lr=SETTINGS["learning_rate"],
            betas=SETTINGS["betas"], eps=SETTINGS["eps"],
            weight_decay=SETTINGS["weight_decay"])

    def step(self):
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(),
                                              SETTINGS["max_grad_norm"])
        self.optimizer.step()
        return float(norm)


def own_parameters(model):
    """Name in the safetensors file -> parameter."""
    return dict(model.named_parameters())


def train(model, rows, method):
    """Three steps on rows; parameters are kept whole for now."""
    model = copy.deepcopy(model)
    parameters = own_parameters(model)
    optimizer = Adam(parameters)
    record = {"steps": [], "gradients": [], "edge": False}
    for step in range(SETTINGS["steps"] + 1):
        logp = [response_logprobs(model, x["ids"], x["prompt_length"])
                for x in rows]
        for l in logp:
            l.retain_grad()
        reference = [torch.tensor(x["ref_logprobs"], dtype=torch.float64)
                     for x in rows]
        loss = sum(METHODS[method](l, r, x["reward"], x["advantage"])
                   for l, r, x in zip(logp, reference, rows)) / len(rows)
        record["edge"] |= any(near_an_edge(method, l.detach(), r)
                              for l, r in zip(logp, reference))
        if step == SETTINGS["steps"]:
            record["final_loss"] = long(loss.item())
            return record
        optimizer.optimizer.zero_grad()
        loss.backward()
        record["gradients"].append(
            {n: p.grad.clone() for n, p in parameters.items()})
        if step == 0:
            record["dloss_dlogprob"] = [longs(l.grad.tolist()) for l in logp]
            record["grad_norms"] = {
                n: long(p.grad.double().norm()) for n, p in parameters.items()}
        norm = optimizer.step()
        record["steps"].append({
            "loss": long(loss.item()), "grad_norm": short(norm),
            "whole": {n: p.detach().clone() for n, p in parameters.items()}})


def choose_positions(records, name, rng):
    """Up to 12 places whose gradient is none or well above rounding."""
    good = None
    for record in records:
        for gradients in record["gradients"]:
            g = gradients[name].flatten().abs()
            fine = (g == 0) | (g > 2e-3 * g.max())
            good = fine if good is None else good & fine
    places = good.nonzero().flatten().tolist()
    moving = records[0]["gradients"][0][name].flatten()
    places.sort(key=lambda i: (float(moving[i]) == 0, rng.random()))
    return sorted(places[:12])


def sample_parameters(record, tensors):
    """Replaces whole parameters by norms and sampled values."""
    for step in record["steps"]:
        whole = step.pop("whole")
        step["parameters"] = {
            n: {"norm": long(p.double().norm()),
                "values": shorts(p.flatten()[tensors[n]["positions"]])}
            for n, p in whole.items()}
    record.pop("gradients")
    record.pop("edge", None)


def describe_tensors(parameters, records, rng):
    tensors = {}
    for name, p in parameters.items():
        positions = choose_positions(records, name, rng)
        tensors[name] = {"shape": list(p.shape), "positions": positions,
                         "initial": shorts(p.flatten()[positions])}
    return tensors


def make_rows(model, reference, tokenizer, rng):
    """Eight rows, two responses to each of four prompts."""
    rows = []
    pairs = dialogues(8, rng.random())
    for i, (_, response) in enumerate(pairs):
        prompt = pairs[i // 2][0]
        ids = tokenizer(prompt).input_ids
        y = encode_continuation(tokenizer, response) + [tokenizer.eos_token_id]
        row = {"prompt_number": i // 2, "prompt": prompt, "response": response,
               "ids": ids + y, "prompt_length": len(ids),
               "response_mask": [0] * len(ids) + [1] * len(y),
               "reward": round(rng.uniform(0.05, 0.95), 6),
               "value": round(rng.uniform(0.2, 0.6), 6)}
        row["advantage"] = round(row["reward"] - row["value"], 6)
        with torch.no_grad():
            for key, policy in (("logprobs", model),
                                ("ref_logprobs", reference)):
                row[key] = longs(response_logprobs(
                    policy, row["ids"], len(ids)).tolist())
        rows.append(row)
    return rows


def disturb(model, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += scale * p.std() * torch.randn(p.shape, generator=generator)
    return model


def try_training(model, tokenizer, seed):
    """(golden, reference), or None if a clip is too close to its edge."""
    rng = random.Random(seed)
    reference = disturb(copy.deepcopy(model), 0.1, seed)
    rows = make_rows(model, reference, tokenizer, rng)
    ratios = [math.exp(min(50, sum(x["logprobs"]) - sum(x["ref_logprobs"])))
              for x in rows]
    counts = [sum(x < LOW for x in ratios),
              sum(LOW <= x <= HIGH for x in ratios),
              sum(x > HIGH for x in ratios)]
    positive = [i for i, x in enumerate(rows) if x["advantage"] > 0]
    if min(counts) == 0 or not 3 <= len(positive) <= 6:
        return None
    records = {}
    for method in METHODS:
        chosen = positive if method.startswith("a_lol") else list(range(8))
        record = train(model, [rows[i] for i in chosen], method)
        if record["edge"]:
            return None
        records[method] = {"rows": chosen, "groups": [], **record}
    tensors = describe_tensors(own_parameters(model), list(records.values()),
                               rng)
    for record in records.values():
        sample_parameters(record, tensors)
    return {"reference": "reference", "settings": SETTINGS,
            "ratios": {"responses_all": counts}, "rows": rows,
            "tensors": tensors, "methods": records}, reference


class ValueHead(torch.nn.Module):
    """Attention pooling with one learnt query, then a sigmoid."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.query = torch.nn.Parameter(torch.zeros(hidden))
        self.attention = torch.nn.MultiheadAttention(hidden, heads,
                                                     batch_first=True)
        self.linear = torch.nn.Linear(hidden, 1)

    def forward(self, states):
        pooled, weights = self.attention(self.query[None, None], states[None],
                                         states[None])
        return self.linear(pooled)[0, 0, 0], weights[0, 0]


def make_value(folder, model, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = model.config.hidden_size
    heads = max(h for h in range(1, 9) if hidden % h == 0)
    head = ValueHead(hidden, heads)
    with torch.no_grad():
        for p in head.parameters():
            scale = 1.5 / math.sqrt(hidden) if p.dim() == 2 else 0.5
            p.copy_(scale * torch.randn(p.shape, generator=generator))
        states = [run(model, x["ids"][:x["prompt_length"]])[1]
                  for x in rows[::2]]
    save_file({n: p.detach().clone() for n, p in head.named_parameters()},
              os.path.join(folder, "value_head.safetensors"))
    prompts = []
    for row, state in zip(rows[::2], states):
        logit, weights = head(state)
        prompts.append({
            "text": row["prompt"], "ids": row["ids"][:row["prompt_length"]],
            "reward": row["reward"], "value": short(logit.sigmoid().item()),
            "attention": shorts(weights), "logit": short(logit.item())})
    parameters = dict(head.named_parameters())
    initial = {n: p.detach().clone() for n, p in parameters.items()}
    optimizer = Adam(parameters)
    record = {"steps": [], "gradients": []}
    for step in range(SETTINGS["steps"] + 1):
        loss = sum((head(s)[0].sigmoid() - x["reward"]) ** 2
                   for s, x in zip(states, rows[::2])) / len(states)
        if step == SETTINGS["steps"]:
            break
        optimizer.optimizer.zero_grad()
        loss.backward()
        record["gradients"].append(
            {n: p.grad.clone() for n, p in parameters.items()})
        norms = {n: long(p.grad.double().norm())
                 for n, p in parameters.items()}
        record["steps"].append({
            "loss": short(loss.item()), "grad_norms": norms,
            "grad_norm": short(optimizer.step()),
            "whole": {n: p.detach().clone() for n, p in parameters.items()}})
    tensors = describe_tensors(initial, [record], random.Random(seed))
    sample_parameters(record, tensors)
    write_json(os.path.join(folder, "golden_value.json"), {
        "head": "value_head.safetensors", "heads": heads, "range": [0, 1],
        "settings": SETTINGS, "prompts": prompts, "tensors": tensors,
        "steps": record["steps"], "final_loss": short(loss.item())})


def make_training(root, tokenizers):
    cases = {
        "gpt2": (tokenizers["byte_level"],
                 lambda t: gpt2(t, 21, hidden=24, heads=3, positions=96)),
        "llama": (tokenizers["sentence_piece"], lambda t: llama(
            t, 22, tie_word_embeddings=False, rope_parameters={
                "rope_type": "default", "rope_theta": 10000.0})),
    }
    for name, (tokenizer, build) in cases.items():
        folder = os.path.join(root, "training", name)
        model = build(tokenizer)
        seed, found = 1, None
        while found is None:
            found, seed = try_training(model, tokenizer, seed), seed + 1
        golden, reference = found
        save(folder, model, tokenizer)
        reference.save_pretrained(os.path.join(folder, "reference"))
        write_json(os.path.join(folder, "golden.json"),
                   {"case": name, **golden})
        make_value(folder, model, golden["rows"], seed)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    tokenizers = {"byte_level": byte_level(330),
                  "sentence_piece": sentence_piece(350),
                  "metaspace": sentence_piece(345, metaspace=True),
                  "llama3": byte_level(340, llama3=True)}
    for part in ("tokenizers", "decoders", "training"):
        shutil.rmtree(os.path.join(root, part), ignore_errors=True)
    for seed, (name, tokenizer) in enumerate(tokenizers.items()):
        make_tokenizer(os.path.join(root, "tokenizers", name), tokenizer, seed)
    make_decoders(root, tokenizers)
    make_training(root, tokenizers)


if __name__ == "__main__":
    main()
