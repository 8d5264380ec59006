#!/usr/bin/env python3
"""Makes the reference values for stored weights and GGUF files.

    python3 make_gguf.py [FOLDER]

needs torch, transformers and gguf.  It takes models and tokenizers from
decoders/NAME beside it (make_golden.py), and writes

    quant/golden.json  blocks of every type with the numbers the gguf package
                       reads from them; numbers, and what NF4 and Q8_0 make of
                       them by the plain numpy below
    ../fuzz/seeds/gguf the smallest files that open
    gguf/NAME/         one file each, and the logits that transformers gets
                       from the weights the gguf package reads from it

All numbers follow from the seeds below.
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
from transformers import (AutoModelForCausalLM, AutoTokenizer, LlamaConfig,
                          LlamaForCausalLM)

torch.set_num_threads(1)
TYPE = gguf.GGMLQuantizationType
TEXTS = ["The baker repairs clocks in winter, doesn't he?\n\n123 45",
         "naïve café 🚀  two  spaces"]

# ------------------------------------------------------------ stored numbers


def random_blocks(kind, count, seed):
    """Valid blocks of random integers; all scales are moderate halves."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == TYPE.Q6_K:
        places = [208]
    elif kind in (TYPE.Q4_0, TYPE.Q5_0, TYPE.Q8_0):
        places = [0]
    else:
        places = [0, 2]
    for place in places:
        scale = rng.normal(0, 0.1, count).astype(np.float16)
        data[:, place:place + 2] = scale.view(np.uint8).reshape(count, 2)
    return data


NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367,
                -0.39491748809814453, -0.28444138169288635,
                -0.18477343022823334, -0.09105003625154495, 0.0,
                0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
                0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
                0.7229568362236023, 1.0], dtype=np.float32)


def nearest(codes, x):
    """Index of the nearest code, the lower of two equally near."""
    middles = (codes[:-1] + codes[1:]) / np.float32(2)
    return (x[..., None] > middles).sum(-1)


def nf4(values, maxima_read):
    blocks = values.reshape(-1, 64)
    maxima = np.abs(blocks).max(1)
    inverse = np.float32(1) / maxima
    codes = NF4[nearest(NF4, blocks * inverse[:, None])]
    return (codes * maxima_read(maxima)[:, None]).reshape(-1)


def dynamic_levels():
    """bitsandbytes' signed 8-bit numbers: seven decades, finer each."""
    levels = [0.0, 1.0]
    for i in range(7):
        edges = np.linspace(0.1, 1, 2 ** i + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (i - 6)
        levels += list(middles) + list(-middles)
    return np.sort(np.array(levels)).astype(np.float32)


def double(maxima):
    """Maxima as 8-bit numbers, in groups of 256, less the mean of all."""
    levels = dynamic_levels()
    mean = np.float32(maxima.astype(np.float64).mean())
    out = np.empty_like(maxima)
    for first in range(0, len(maxima), 256):
        group = maxima[first:first + 256] - mean
        scale = np.abs(group).max()
        which = np.abs(group[:, None] / scale - levels).argmin(1)
        out[first:first + 256] = levels[which] * scale + mean
    return out


def floats(array):
    return [float(np.format_float_positional(x, unique=True, trim="0"))
            for x in np.asarray(array, dtype=np.float32).reshape(-1)]


def make_quant(folder):
    golden = {"blocks": {}, "quantized": {}}
    for seed, name in enumerate(["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                 "Q4_K", "Q5_K", "Q6_K"]):
        kind = TYPE[name]
        data = random_blocks(kind, 2, seed)
        golden["blocks"][name.lower()] = {
            "bytes": data.tobytes().hex(),
            "numbers": floats(gguf.dequantize(data, kind))}
    values = np.random.default_rng(100).normal(0, 0.02, 64 * 6)
    values[128:192] *= 40                              # one block of outliers
    values = values.astype(np.float32)
    packed = gguf.quantize(values.reshape(1, -1), TYPE.Q8_0)
    golden["quantized"] = {
        "values": floats(values),
        "nf4": floats(nf4(values, lambda x: x)),
        "nf4_double": floats(nf4(values, double)),
        "q8_0": floats(gguf.dequantize(packed, TYPE.Q8_0))}
    write_json(os.path.join(folder, "quant"), golden)


def write_json(folder, golden):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump(golden, file, separators=(",", ":"), ensure_ascii=False)
        file.write("\n")

# ------------------------------------------------------------------ the files


def pack_q5_k(rows):
    """Plain rounding: per 32 numbers a scale and a least number of 6 bits."""
    out = []
    for block in rows.reshape(-1, 256):
        parts = block.reshape(8, 32)
        low = np.minimum(parts.min(1), 0)
        width = np.maximum(parts.max(1) - low, 1e-8) / 31
        d = np.float16(width.max() / 63)
        m = np.float16(max((-low).max() / 63, 1e-8))
        scale = np.clip(np.round(width / np.float32(d)), 1, 63).astype(int)
        least = np.clip(np.round(-low / np.float32(m)), 0, 63).astype(int)
        q = np.round((parts + np.float32(m) * least[:, None]) /
                     (np.float32(d) * scale[:, None]))
        q = np.clip(q, 0, 31).astype(int)
        pairs = np.zeros(12, dtype=np.uint8)
        for i in range(4):
            pairs[i] = scale[i] | (scale[i + 4] >> 4) << 6
            pairs[i + 4] = least[i] | (least[i + 4] >> 4) << 6
            pairs[i + 8] = (scale[i + 4] & 15) | (least[i + 4] & 15) << 4
        high = np.zeros(32, dtype=np.uint8)
        for i in range(8):
            high |= ((q[i] >> 4) << i).astype(np.uint8)
        low_bits = [(q[2 * i] & 15 | (q[2 * i + 1] & 15) << 4).astype(np.uint8)
                    for i in range(4)]
        out.append(np.concatenate([np.array([d, m]).view(np.uint8), pairs,
                                   high] + low_bits))
    return np.stack(out).reshape(rows.shape[0], -1)


def neighbours(weight, heads):
    """The halves of every head, which rotate together, side by side."""
    shape = weight.shape
    split = weight.reshape(heads, 2, shape[0] // heads // 2, -1)
    return split.transpose(0, 2, 1, 3).reshape(shape)


def halves(weight, heads):
    shape = weight.shape
    split = weight.reshape(heads, shape[0] // heads // 2, 2, -1)
    return split.transpose(0, 2, 1, 3).reshape(shape)


def apart(weight, heads):
    """[head][q, k, v] as [q, k, v][head]."""
    shape = weight.shape
    return weight.reshape(heads, 3, shape[0] // heads // 3,
                          -1).swapaxes(0, 1).reshape(shape)


def together(weight, heads):
    shape = weight.shape
    return weight.reshape(3, heads, shape[0] // heads // 3,
                          -1).swapaxes(0, 1).reshape(shape)


def orders(config, name):
    """From transformers' rows to the file's, and back."""
    heads = config.num_attention_heads
    if config.model_type == "llama" and "q_proj" in name:
        return lambda w: neighbours(w, heads), lambda w: halves(w, heads)
    if config.model_type == "llama" and "k_proj" in name:
        heads = config.num_key_value_heads
        return lambda w: neighbours(w, heads), lambda w: halves(w, heads)
    if config.model_type == "gpt_neox" and "query_key_value" in name:
        return lambda w: apart(w, heads), lambda w: together(w, heads)
    if config.model_type == "gpt2" and name.endswith(
            ("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return np.transpose, np.transpose
    return (lambda w: w), (lambda w: w)


def add_tokenizer(writer, folder, pre, rows):
    with open(os.path.join(folder, "tokenizer.json")) as file:
        data = json.load(file)
    special = {x["id"]: x for x in data["added_tokens"]}
    tokens = {i: t for t, i in data["model"]["vocab"].items()}
    tokens.update({i: x["content"] for i, x in special.items()})
    is_llama = data["model"].get("byte_fallback", False)
    kinds = []
    for i in range(rows):
        if i not in tokens:
            kinds.append(5)
        elif tokens[i] == data["model"].get("unk_token"):
            kinds.append(2)
        elif i in special:
            kinds.append(3 if special[i]["special"] else 4)
        else:
            is_byte = is_llama and tokens[i].startswith("<0x")
            kinds.append(6 if is_byte else 1)
    writer.add_tokenizer_model("llama" if is_llama else "gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(rows)])
    writer.add_token_types(kinds)
    merges = [x if isinstance(x, str) else " ".join(x)
              for x in data["model"]["merges"]]
    if is_llama:
        rank = {x.replace(" ", ""): i for i, x in reversed(list(enumerate(merges)))}
        writer.add_token_scores([-float(rank[tokens[i]]) if tokens.get(i) in rank
                                 else -1e4 for i in range(rows)])
    else:
        writer.add_token_merges(merges)


def add_config(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if config.model_type == "gpt_neox":
        width = config.hidden_size // config.num_attention_heads
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_parallel_residual(config.use_parallel_residual)
        writer.add_rope_dimension_count(
            int(width * rope["partial_rotary_factor"]))
        return
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(
            rope["original_max_position_embeddings"])
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    width = getattr(config, "head_dim", None)
    if width:
        writer.add_key_length(width)
        writer.add_value_length(width)
        if config.model_type == "llama":
            writer.add_rope_dimension_count(width)


def divisors(config):
    """rope_freqs.weight: plain frequencies over LLaMA-3's."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    width = config.head_dim
    plain = config.rope_parameters["rope_theta"] ** (
        -torch.arange(0, width, 2).double() / width)
    return (plain / scaled.double()).numpy().astype(np.float32)


def make_file(folder, name, model, tokens_of, pre, kind_of):
    """Writes gguf/NAME; kind_of(tensor's name) is the type of a matrix."""
    config, path = model.config, os.path.join(folder, "gguf", name)
    os.makedirs(path, exist_ok=True)
    arch = config.model_type.replace("_", "")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()],
                                     config.num_hidden_layers)
    tokenizer = AutoTokenizer.from_pretrained(tokens_of)
    file = os.path.join(path, "model.gguf")
    writer = gguf.GGUFWriter(file, arch)
    writer.add_name("golden " + name)
    add_config(writer, config)
    add_tokenizer(writer, tokens_of, pre, config.vocab_size)
    for key in ("bos", "eos"):
        if getattr(tokenizer, key + "_token_id") is not None:
            getattr(writer, f"add_{key}_token_id")(
                getattr(tokenizer, key + "_token_id"))
    first = tokenizer("x").input_ids[0]
    writer.add_add_bos_token(first == tokenizer.bos_token_id)
    read = {}
    for key, parameter in model.named_parameters():
        there, back = orders(config, key)
        own = names.get_name(key, try_suffixes=(".weight", ".bias"))
        weight = np.ascontiguousarray(
            there(parameter.detach().float().numpy()), dtype=np.float32)
        kind = kind_of(own) if weight.ndim == 2 else TYPE.F32
        if own.startswith("position_embd"):
            kind = TYPE.F32
        packed = (pack_q5_k(weight) if kind == TYPE.Q5_K
                  else gguf.quantize(weight, kind))
        writer.add_tensor(own, packed, raw_dtype=kind)
        read[key] = back(gguf.dequantize(packed, kind).reshape(weight.shape))
    if (config.model_type == "llama" and
            config.rope_parameters["rope_type"] == "llama3"):
        writer.add_tensor("rope_freqs.weight", divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(read[key])))
        texts, logits = [], []
        for text in TEXTS:
            ids = tokenizer(text).input_ids
            texts.append({"text": text, "ids": ids})
            out = model(torch.tensor([ids])).logits[0, -1]
            logits.append(floats(out.numpy()))
    write_json(path, {"texts": texts,
                      "files": {"model.gguf": {"last_logits": logits}}})


def make_gguf(folder):
    def load(name):
        model = AutoModelForCausalLM.from_pretrained(
            os.path.join(folder, "decoders", name), dtype=torch.float32,
            attn_implementation="eager")
        return model.eval(), os.path.join(folder, "decoders", name)

    for name, source, pre, kind in [
            ("qwen3", "qwen3", "qwen2", TYPE.BF16),
            ("gptneox", "gpt_neox", "olmo", TYPE.F16),
            ("gpt2", "gpt2", "gpt-2", TYPE.F16),
            ("llama3", "llama3", "llama-bpe", TYPE.F16)]:
        model, tokens = load(source)
        make_file(folder, name, model, tokens, pre, lambda own: kind)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=356, hidden_size=32, intermediate_size=256,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, max_position_embeddings=128, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
        initializer_range=0.3)
    model = LlamaForCausalLM(config).eval()
    make_file(folder, "q5", model, os.path.join(folder, "decoders", "llama"),
              "default",
              lambda own: TYPE.Q5_K if "ffn_down" in own else TYPE.Q5_1
              if "o_proj" not in own else TYPE.Q5_0)


def make_seeds(folder):
    """Files of a kilobyte for test/fuzz, one of each kind of tokenizer."""
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(9)
    for name, arch in (("pieces", "llama"), ("bytes", "qwen2")):
        writer = gguf.GGUFWriter(os.path.join(folder, name), arch)
        writer.add_context_length(16)
        writer.add_embedding_length(32)
        writer.add_block_count(1)
        writer.add_head_count(2)
        writer.add_head_count_kv(1)
        writer.add_feed_forward_length(32)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(16)
        space, bytes_ = "\u2581", "\u0120"
        tokens = (["<unk>", "<s>", "</s>", "<0x0A>", space, "H", "e", "l", "o",
                   "ll", "ell", space + "H"] if name == "pieces" else
                  ["<s>", "</s>", "H", "e", "l", "o", bytes_, "ll", "1", "ello",
                   "'", "[PAD11]"])
        writer.add_tokenizer_model("llama" if name == "pieces" else "gpt2")
        writer.add_tokenizer_pre("default" if name == "pieces" else "qwen2")
        writer.add_token_list(tokens)
        if name == "pieces":
            writer.add_token_scores([float(-i) for i in range(12)])
            writer.add_token_types([2, 3, 3, 6] + [1] * 8)
            writer.add_unk_token_id(0)
            writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
        else:
            writer.add_token_types([3, 4] + [1] * 9 + [5])
            writer.add_token_merges(["l l", "ll o"])
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(2.0)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_chat_template("{{ messages[0].content }}")
        matrix = rng.normal(0, 1, (12, 32)).astype(np.float32)
        kind = TYPE.Q8_0 if name == "pieces" else TYPE.Q4_1
        writer.add_tensor("token_embd.weight", gguf.quantize(matrix, kind),
                          raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    make_quant(where)
    make_gguf(where)
    make_seeds(os.path.join(where, "..", "fuzz", "seeds", "gguf"))
