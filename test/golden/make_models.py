#!/usr/bin/env python3
"""Makes the reference values of the architectures beside GPT-2 and LLaMA.

    python3 make_models.py [FOLDER]

Beside make_golden.py, whose texts and helpers it uses, and in the same forms:

    decoders/NAME     as there
    classifiers/NAME  logits of texts and of pairs, some cut to the context
    encoders/NAME     bodies without a head: hidden states
"""
import collections
import copy
import os
import re
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from tokenizers import (Tokenizer, models, normalizers, pre_tokenizers,
                        processors, trainers)
from transformers import (
    BertConfig, BertForSequenceClassification, BertModel, DebertaV2Config,
    DebertaV2ForSequenceClassification, DistilBertConfig,
    DistilBertForSequenceClassification, GPT2Config,
    GPT2ForSequenceClassification, GPTNeoXConfig, GPTNeoXForCausalLM,
    GPTNeoXForSequenceClassification, MistralConfig, MistralForCausalLM,
    PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM,
    Qwen2ForSequenceClassification, Qwen3Config, Qwen3ForCausalLM,
    RobertaConfig, RobertaForSequenceClassification)

from make_golden import (ANSWERS, PEOPLE, byte_level, corpus, dialogues, long,
                         make_decoder, old_config, sentence_piece, shorts,
                         write_json)

CONTEXT = 48  # of the classifiers: long texts are cut


def enlarge(model, seed):
    """Weights at which every part of a formula matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:
                is_norm = "norm" in name.lower() and name.endswith("weight")
                p.copy_(1 + 0.3 * noise if is_norm else 0.3 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(0.4 * noise)
            else:
                p.copy_(noise * 1.3 / p.shape[1] ** 0.5)
    return model.eval()


def sizes(tokenizer, hidden=32, heads=4, more=0, **numbers):
    return dict(vocab_size=len(tokenizer) + more, hidden_size=hidden,
                num_attention_heads=heads, num_hidden_layers=2,
                intermediate_size=hidden * 3 // 2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                attn_implementation="eager", **numbers)


def rope(theta=10000.0, **more):
    return dict(dict(rope_type="default", rope_theta=theta), **more)


# ------------------------------------------------------------- the decoders

def decoder_cases():
    spm, bytes_ = sentence_piece(320, metaspace=True), byte_level(300)
    yarn = rope(rope_type="yarn", factor=4.0,
                original_max_position_embeddings=16)
    neox = rope(20000.0, partial_rotary_factor=0.25)
    return {
        "mistral": (spm, MistralForCausalLM, MistralConfig(
            **sizes(spm, num_key_value_heads=2, head_dim=12, sliding_window=6,
                    max_position_embeddings=128, rms_norm_eps=1e-3,
                    rope_parameters=rope(1e6)))),
        "qwen2": (bytes_, Qwen2ForCausalLM, Qwen2Config(
            **sizes(bytes_, more=9, num_key_value_heads=2, sliding_window=5,
                    use_sliding_window=True, max_window_layers=1,
                    max_position_embeddings=128, rope_parameters=rope()))),
        "qwen3": (bytes_, Qwen3ForCausalLM, Qwen3Config(
            **sizes(bytes_, num_key_value_heads=1, head_dim=12,
                    max_position_embeddings=128, tie_word_embeddings=True,
                    rope_parameters=yarn))),
        "gpt_neox": (bytes_, GPTNeoXForCausalLM, GPTNeoXConfig(
            **sizes(bytes_, heads=2, max_position_embeddings=128,
                    rope_parameters=neox))),
        "gpt_neox_serial": (bytes_, GPTNeoXForCausalLM, GPTNeoXConfig(
            **sizes(bytes_, heads=2, max_position_embeddings=128,
                    use_parallel_residual=False, hidden_act="gelu_fast",
                    attention_bias=False, layer_norm_eps=1e-3,
                    rope_parameters=rope(partial_rotary_factor=0.5)))),
    }


def make_decoders(root):
    for seed, (name, case) in enumerate(decoder_cases().items()):
        tokenizer, build, config = case
        folder = os.path.join(root, "decoders", name)
        model = enlarge(build(config), 50 + seed)
        if name == "gpt_neox":  # half precision, as most Pythias are
            model = model.half()
        save(folder, model, tokenizer)
        shutil.copy(os.path.join(folder, "config.json"),
                    os.path.join(folder, "config.v5.json"))
        describe_old(folder)
        model = build.from_pretrained(folder, dtype=torch.float32,
                                      attn_implementation="eager")
        make_decoder(folder, name, model.eval(), tokenizer, 150 + seed)


def describe_old(folder):
    """config.json as transformers 4 wrote it, config.v5.json as it is now."""
    old_config(folder)
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if '"gpt_neox"' in text:
        share = "0.5" if "gelu_fast" in text else "0.25"
        text = text.replace('"rope_theta"', '"rotary_emb_base"')
        text = text.replace('"rope_scaling": null', '"rotary_pct": ' + share)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def save(folder, model, tokenizer):
    os.makedirs(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# ---------------------------------------------------------- the classifiers

def word_pieces(size):
    """BERT's kind: lower case, [CLS] first [SEP] second [SEP]."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = re.findall(r"[a-z]+|[^a-z\s]", " ".join(
        t for t in corpus() if t.isascii()).lower())
    letters = sorted(set("".join(words)))
    vocabulary += letters + ["##" + c for c in letters if c.isalnum()]
    # Not trained: that would not always give the same.
    counts = collections.Counter(w[:5] for w in words if len(w) > 1)
    counts.update("##" + w[5:] for w in words if len(w) > 6)
    common = sorted(counts, key=lambda w: (-counts[w], w))
    vocabulary += common[:size - len(vocabulary)]
    tokenizer = Tokenizer(models.WordPiece(
        {w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def roberta_bytes(size):
    """RoBERTa's kind: bytes, <s> first </s></s> second </s>."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
        pad_token="<pad>", unk_token="<unk>", cls_token="<s>",
        sep_token="</s>", mask_token="<mask>")


def classifier_cases():
    words, roberta, bytes_ = word_pieces(180), roberta_bytes(290), byte_level(300)
    end = bytes_.eos_token_id
    off = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return {
        "bert": (words, BertForSequenceClassification, BertConfig(
            num_labels=3, max_position_embeddings=CONTEXT, pad_token_id=0,
            **sizes(words, hidden=24, heads=3), **off)),
        "distilbert": (words, DistilBertForSequenceClassification,
                       DistilBertConfig(
                           vocab_size=len(words), dim=24, n_heads=2,
                           n_layers=2, hidden_dim=40, num_labels=2,
                           max_position_embeddings=CONTEXT, pad_token_id=0,
                           attn_implementation="eager")),
        "roberta": (roberta, RobertaForSequenceClassification, RobertaConfig(
            num_labels=1, max_position_embeddings=CONTEXT + 2, pad_token_id=1,
            type_vocab_size=1, hidden_act="gelu_new", layer_norm_eps=1e-3,
            **sizes(roberta, hidden=24), **off)),
        "gpt2": (bytes_, GPT2ForSequenceClassification, GPT2Config(
            vocab_size=len(bytes_), n_embd=24, n_head=3, n_layer=2,
            n_positions=CONTEXT, num_labels=1, pad_token_id=end,
            bos_token_id=end, eos_token_id=end, attn_implementation="eager")),
        "gpt_neox": (bytes_, GPTNeoXForSequenceClassification, GPTNeoXConfig(
            num_labels=2, max_position_embeddings=CONTEXT, pad_token_id=None,
            rope_parameters=rope(partial_rotary_factor=0.5),
            **sizes(bytes_, hidden=24, heads=2))),
        "qwen2": (bytes_, Qwen2ForSequenceClassification, Qwen2Config(
            num_labels=4, max_position_embeddings=CONTEXT, pad_token_id=end,
            num_key_value_heads=2, rope_parameters=rope(),
            **sizes(bytes_, hidden=24))),
        # Maps of distances of its own, and positions besides.
        "deberta_v2": (words, DebertaV2ForSequenceClassification,
                       DebertaV2Config(
                           num_labels=2, max_position_embeddings=CONTEXT,
                           pad_token_id=0, relative_attention=True,
                           position_buckets=8, norm_rel_ebd="layer_norm",
                           share_att_key=False, pos_att_type=["p2c", "c2p"],
                           position_biased_input=True, type_vocab_size=0,
                           **dict(sizes(words, hidden=24, heads=2),
                                  attn_implementation=None), **off)),
    }


def texts_for(seed, tokenizer):
    pairs = dialogues(4, seed) + [
        (ANSWERS[0], ""), ("", ANSWERS[1]), (ANSWERS[2], None), ("a", None),
        # Beyond the context: the first, the second, both, a text alone.
        (" ".join(ANSWERS), PEOPLE[0]), (PEOPLE[1], " ".join(ANSWERS)),
        (" ".join(ANSWERS), " ".join(ANSWERS[::-1])),
        (" ".join(ANSWERS[1:]), None)]
    if tokenizer.eos_token is not None:
        pairs.append((PEOPLE[2] + tokenizer.eos_token, None))
        pairs.append((tokenizer.eos_token * 2, None))
    if tokenizer.mask_token is not None:  # padding inside of a text counts
        pairs.append((PEOPLE[3] + tokenizer.pad_token + " b", None))
    return pairs


def make_classifiers(root):
    for seed, (name, case) in enumerate(classifier_cases().items()):
        tokenizer, build, config = case
        is_decoder = name in ("gpt2", "gpt_neox", "qwen2")
        folder = os.path.join(root, "classifiers", name)
        model = enlarge(build(config), 70 + seed)
        save(folder, model, tokenizer)
        twin, worst, rows = copy.deepcopy(model).double(), 0.0, []
        for first, second in texts_for(170 + seed, tokenizer):
            args = [first, second] if second else [first]
            if is_decoder:
                args = [first + (second or "")]
            x = tokenizer(*args, truncation=True, max_length=CONTEXT,
                          return_tensors="pt")
            if name == "distilbert" or is_decoder:
                x.pop("token_type_ids", None)
            with torch.no_grad():
                logits = model(**x).logits[0]
                worst = max(worst,
                            float((twin(**x).logits[0] - logits).abs().max()))
            row = {"first": first, "second": second,
                   "ids": x["input_ids"][0].tolist(), "logits": shorts(logits)}
            if "token_type_ids" in x:
                row["type_ids"] = x["token_type_ids"][0].tolist()
            rows.append(row)
        assert worst < 3e-5, worst
        write_json(os.path.join(folder, "golden.json"), {
            "case": name, "num_labels": config.num_labels,
            "pad_token_id": config.pad_token_id, "texts": rows,
            "fp64_max_abs_diff": long(worst)})


# ------------------------------------------------------------- the encoders

def make_encoders(root):
    """A body whose names have no prefix and whose norms gamma and beta."""
    tokenizer = word_pieces(180)
    folder = os.path.join(root, "encoders", "bert_body")
    model = enlarge(BertModel(BertConfig(
        max_position_embeddings=CONTEXT, pad_token_id=0,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **sizes(tokenizer, hidden=24, heads=2))), 90)
    rows = []
    save(folder, model, tokenizer)
    path = os.path.join(folder, "model.safetensors")
    save_file({n.replace("LayerNorm.weight", "LayerNorm.gamma")
               .replace("LayerNorm.bias", "LayerNorm.beta"): t
               for n, t in load_file(path).items()},
              path, metadata={"format": "pt"})
    for first, second in dialogues(3, 190):
        x = tokenizer(first, second, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**x).last_hidden_state[0]
        rows.append({"first": first, "second": second,
                     "ids": x["input_ids"][0].tolist(),
                     "type_ids": x["token_type_ids"][0].tolist(),
                     "hidden": shorts(hidden)})
    write_json(os.path.join(folder, "golden.json"),
               {"case": "bert_body", "texts": rows})


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    names = [("decoders", n) for n in decoder_cases()]
    for part in ("classifiers", "encoders"):
        shutil.rmtree(os.path.join(root, part), ignore_errors=True)
    for part, name in names:
        shutil.rmtree(os.path.join(root, part, name), ignore_errors=True)
    make_decoders(root)
    make_classifiers(root)
    make_encoders(root)


if __name__ == "__main__":
    main()
