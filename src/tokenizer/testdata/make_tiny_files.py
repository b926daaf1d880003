#!/usr/bin/python3
"""Writes the vocabulary of tokenizer_testing.h (tiny_vocabulary) as the files that readers take.

    make_tiny_files.py FOLDER  ->  tiny_tokenizer.json  tiny.tiktoken  tiny_llama2c.bin
"""
import base64
import json
import pathlib
import struct
import sys

MERGES = [(b"t", b"h"), (b"th", b"e"), (b"i", b"n"), (b"a", b"n"), (b"an", b"d"), (b" ", b"the"), (b" ", b"and"),
          (b"in", b"g"), (b"e", b"r"), (b"l", b"l"), (b"e", b"ll"), (b"ell", b"o"), (b"h", b"ello"), (b" ", b"a"),
          (b"a", b"a"), (b"aa", b"aa"), (b"\n", b"\n"), (b" ", b" "), (b"1", b"2"), (b"12", b"3"), (b"'", b"s"),
          (b"\xc3", b"\xa9"), (b"\xe2", b"\x80"), (b"\xf0", b"\x9f")]
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def gpt2_characters():
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    substitutes = iter(range(0x100, 0x200))
    return [chr(byte) if byte in prints else chr(next(substitutes)) for byte in range(256)]


def spelled(token):
    characters = gpt2_characters()
    return "".join(characters[byte] for byte in token)


def tokenizer_json(tokens):
    first_special = len(tokens)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": first_special + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, text in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {spelled(token): i for i, token in enumerate(tokens)},
                  "merges": [[spelled(left), spelled(right)] for left, right in MERGES]},
    }


def llama2c(tokens):
    """The same tokens as SentencePiece would hold them: scores fall with the order of the merges."""
    texts = [b"<unk>", b"\n<s>\n", b"\n</s>\n"] + [b"<0x%02X>" % byte for byte in range(256)]
    texts += [b" ", b"a", b"b", b"e", b"h", b"i", b"l", b"n", b"o", b"t"] + [token for token in tokens[256:] if token.isascii()]
    data = struct.pack("<i", max(map(len, texts)))
    for i, text in enumerate(texts):
        data += struct.pack("<fi", -float(max(0, i - 259)), len(text)) + text
    return data


def main():
    folder = pathlib.Path(sys.argv[1])
    tokens = [bytes([byte]) for byte in range(256)] + [left + right for left, right in MERGES]
    (folder / "tiny_tokenizer.json").write_text(json.dumps(tokenizer_json(tokens), ensure_ascii=False, indent=0), encoding="utf-8")
    lines = [base64.b64encode(token).decode() + f" {rank}\n" for rank, token in enumerate(tokens)]
    (folder / "tiny.tiktoken").write_text("".join(lines))
    (folder / "tiny_llama2c.bin").write_bytes(llama2c(tokens))


if __name__ == "__main__":
    main()
