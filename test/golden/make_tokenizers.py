#!/usr/bin/env python3
"""Makes the reference values of tokenizers of other kinds than make_golden.py.

    python3 make_tokenizers.py [FOLDER]

needs what make_golden.py needs, and sentencepiece for a character map.  Small
tokenizers of every model and of most other parts are trained on its texts (two
runs may number equals differently); what the library `tokenizers` makes of
texts and ids is written beside them.
"""
import os
import random
import sys
import tempfile

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

from make_golden import ODD, PEOPLE, corpus, describe_string, write_json

STRANGE = [
    "ÀÉÎõü İstanbul ẞ", "中文字符and日本語カタカナ", "\x07bell\x7f \x85 \u00ad",
    "\ufffd\u200b\u200e\ufeff", "\u2126 \u03a9 \u212b ﬁ ǅ ﷺ", "\u0301\u0302 a\u0323\u0307",
    "क्षि नमस्ते", "각각 한국어", "🥰🇩🇪👨‍👩‍👧", "₤5 §3 ©™ 10%", "it 's n't . , ! ?",
    "supercalifragilisticexpialidocious" * 4, "word words sword word.", "\r\n\r",
    "[CLS] a [SEP] b [MASK]", " <mask> <MASK>  <mask>x", "a_b-c/d\\e|f~g",
    "①②Ⅷ²½", "ＦＵＬＬ ｗｉｄｔｈ", "x\u2028y\u2029z", "<unk> ▁▁ <0x41>"]


def protobuf_field(message, wanted):
    """The first length-delimited field of that number in a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            varint()
        elif key & 7 == 2:
            size = varint()
            if key >> 3 == wanted:
                return message[at:at + size]
            at += size
        else:
            at += 4 if key & 7 == 5 else 8
    raise KeyError(wanted)


def character_map():
    """A small map as SentencePiece compiles it."""
    rules = {"\u00c0": "A", "\u00c9": "E", "e\u0301": "\u00e9", "\u0301": "", "\u2126": "\u03a9",
             "\u212b": "\u00c5", "ﬁ": "fi", "①": "1", "½": "1\u20442", "\u00a0": " ",
             "\u3000": " ", "\r\n": " ", "\t": " ", "\n": " ", "Ｆ": "F",
             "ｗ": "w", "カ": "か", "…": "...", "ß": "ss", "ü": "ue"}
    with tempfile.TemporaryDirectory() as folder:
        table = os.path.join(folder, "rules.tsv")
        with open(table, "w", encoding="utf-8") as out:
            for source, target in rules.items():
                out.write(" ".join("%X" % ord(c) for c in source) + "\t" +
                          " ".join("%X" % ord(c) for c in target) + "\n")
        prefix = os.path.join(folder, "model")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()), model_prefix=prefix,
            vocab_size=300, normalization_rule_tsv=table,
            hard_vocab_limit=False, minloglevel=2)
        with open(prefix + ".model", "rb") as file:
            return protobuf_field(protobuf_field(file.read(), 3), 2)


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def around(tokenizer, first, last, second_type=1):
    """[first] A [last] B [last], as a template."""
    ids = [(name, tokenizer.token_to_id(name)) for name in (first, last)]
    return processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:{second_type} {last}:{second_type}",
        special_tokens=ids)


def bert(lowers):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained(tokenizer, trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=specials, show_progress=False))
    tokenizer.post_processor = around(tokenizer, "[CLS]", "[SEP]")
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def word_pieces():
    """WordPiece with everything else than BERT has."""
    tokenizer = Tokenizer(models.WordPiece(
        unk_token="<unk>", max_input_chars_per_word=9,
        continuing_subword_prefix="@@"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Nmt()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True),
        pre_tokenizers.Punctuation("merged_with_previous")])
    trained(tokenizer, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"],
        continuing_subword_prefix="@@", show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2),
                                                         ("<s>", 1))
    tokenizer.decoder = decoders.WordPiece("@@", cleanup=False)
    return tokenizer


def unigram(with_map):
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    if not with_map:
        specials += ["<0x%02X>" % byte for byte in range(256)]
    tokenizer = Tokenizer(models.Unigram())
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(character_map()), spaces] if with_map else
        [normalizers.Strip(left=False), normalizers.NFKC(),
         normalizers.Lowercase(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="always" if with_map else "first", split=with_map)
    trained(tokenizer, trainers.UnigramTrainer(
        vocab_size=350 if with_map else 600, special_tokens=specials,
        unk_token="<unk>", show_progress=False))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = around(tokenizer, "<s>", "</s>", 0)
    tokenizer.decoder = decoders.Metaspace() if with_map else (
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(),
                           decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    if with_map:
        return tokenizer
    text = tokenizer.to_str().replace('"byte_fallback":false',
                                      '"byte_fallback":true')
    return Tokenizer.from_str(text)


def roberta():
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trained(tokenizer, trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2),
                                                            ("<s>", 0))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Replace("o", "0"), normalizers.Prepend("~ ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return trained(tokenizer, trainers.WordLevelTrainer(
        vocab_size=150, special_tokens=["[UNK]"], show_progress=False))


def suffixes():
    """BPE as before GPT-2: ends of words are marked."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True,
                                     end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"(?i:'s|'t)|[\p{L}[\p{M}_]]+|\p{N}|[^\s\p{L}\p{N}]+"),
        "removed", invert=True)
    trained(tokenizer, trainers.BpeTrainer(
        vocab_size=350, special_tokens=["<unk>", "<|end|>"],
        end_of_word_suffix="</w>", show_progress=False))
    tokenizer.decoder = decoders.BPEDecoder()
    return tokenizer


def added():
    """Added tokens of every kind, with a normalizer that matters."""
    tokenizer = bert(True)
    for place, content in enumerate(
            ["word", "New", "café", " x", "<A>", "don't", "ÀÉ", "½", "."]):
        tokenizer.add_tokens([AddedToken(
            content, single_word=place % 2 == 0, lstrip=place % 3 == 0,
            rstrip=place % 3 == 1, normalized=place % 4 < 2,
            special=place % 5 == 0)])
    return tokenizer


def splits():
    """Pre-tokenizers that cut in other ways; what is unknown is left out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"(?=[A-Z])|^x"), "isolated"),
        pre_tokenizers.CharDelimiterSplit("."), pre_tokenizers.Digits(),
        pre_tokenizers.Split(" ", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"\h{2}|[[:punct:]]"), "contiguous"),
        pre_tokenizers.FixedLength(7)])
    trained(tokenizer, trainers.BpeTrainer(
        vocab_size=300, special_tokens=[], limit_alphabet=60,
        show_progress=False))
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace(Regex("[aeiou]"), "*"), decoders.Strip("t", 1, 0),
        decoders.CTC("th", "an", True)])
    return tokenizer


def make(folder, kind, tokenizer, settings):
    rng = random.Random(len(folder))
    size = tokenizer.get_vocab_size()
    texts = ODD + STRANGE + rng.sample(corpus(), 8)
    texts += ["".join(rng.choice(ODD + STRANGE[:14] + PEOPLE + [" ", "\n"])
                      for _ in range(3)) for _ in range(30)]
    golden = {"vocab_size": size, "kind": kind, "decode": [], "pairs": [],
              "strings": [describe_string(tokenizer, t) for t in texts]}
    for _ in range(40):
        ids = [rng.randrange(size) for _ in range(rng.randrange(1, 9))]
        golden["decode"].append(
            {"ids": ids, "text": tokenizer.decode(ids, False),
             "text_skip": tokenizer.decode(ids, True)})
    for first, second in zip(texts[:8], texts[-8:]):
        both = tokenizer.encode(first, second)
        golden["pairs"].append({"first": first, "second": second,
                                "ids": both.ids, "type_ids": both.type_ids})
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    write_json(os.path.join(folder, "tokenizer_config.json"), settings)
    write_json(os.path.join(folder, "golden.json"), golden)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.abspath(__file__))
    cases = {
        "bert": ("WordPiece", bert(True), {"do_lower_case": True}),
        "wordpiece": ("WordPiece", word_pieces(), {}),
        "unigram": ("Unigram", unigram(False), {}),
        "unigram_map": ("Unigram", unigram(True), {}),
        "roberta": ("BPE", roberta(), {
            "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>",
            "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
            "mask_token": {"content": "<mask>", "lstrip": True},
            "add_prefix_space": True}),
        "word_level": ("WordLevel", words(), {}),
        "bpe_suffix": ("BPE", suffixes(), {}),
        "added": ("WordPiece", added(), {}),
        "splits": ("BPE", splits(), {}),
    }
    for name, (kind, tokenizer, settings) in cases.items():
        folder = os.path.join(root, "tokenizers", name)
        make(folder, kind, tokenizer, settings)
        if name in ("bert", "roberta"):
            tokenizer.model.save(folder)
        if name == "roberta":
            write_json(os.path.join(folder, "added_tokens.json"),
                       {"<mask>": tokenizer.token_to_id("<mask>")})
        print(name)


if __name__ == "__main__":
    main()
