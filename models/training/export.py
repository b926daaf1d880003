"""Writes a checkpoint as a Hugging Face folder of Llama 3.2's layout, in bf16.

    python3 export.py --checkpoint DIR/cria-tiny/checkpoint.pt --ranks DIR/ranks.json --out ../cria-tiny
"""

import argparse
import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import chat
import model as llama
from train_tokenizer import N_BASE, PATTERN, SPECIAL, Tokenizer, byte_order

EOS = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]


def special_id(name: str) -> int:
    """Id of a special token."""
    return N_BASE + SPECIAL.index(name)


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character of each byte; ids 0..255 follow the same order."""
    order = byte_order()
    return {b: chr(b) if i < 188 else chr(256 + i - 188) for i, b in enumerate(order)}


def merges_of(ranks: list[bytes]) -> list[tuple[bytes, bytes]]:
    """All ways to make each token from two earlier ones, in rank order, as Llama 3's file lists them."""
    index = {t: i for i, t in enumerate(ranks)}
    merges = []
    for token in ranks[256:]:
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [s for s in splits if s[0] in index and s[1] in index]
        merges += sorted(known, key=lambda s: (index[s[0]], index[s[1]]))
    return merges


def added_tokens() -> list[dict[str, Any]]:
    """The special tokens as tokenizer.json lists them."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": special_id(s), "content": s, **flags} for s in SPECIAL]


def post_processor() -> dict[str, Any]:
    """Puts the begin token in front of an encoded text."""
    begin = SPECIAL[0]
    special = {"SpecialToken": {"id": begin, "type_id": 0}}
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    second = [{"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    template = {"type": "TemplateProcessing", "single": [special] + sequence, "pair": [special] + sequence + second,
                "special_tokens": {begin: {"id": begin, "ids": [special_id(begin)], "tokens": [begin]}}}
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    return {"type": "Sequence", "processors": [level, template]}


def tokenizer_json(ranks: list[bytes]) -> dict[str, Any]:
    """The content of tokenizer.json."""
    alphabet = byte_alphabet()

    def show(token: bytes) -> str:
        return "".join(alphabet[b] for b in token)

    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
             "vocab": {show(t): i for i, t in enumerate(ranks)},
             "merges": [f"{show(a)} {show(b)}" for a, b in merges_of(ranks)]}
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens(),
            "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": post_processor(), "decoder": decoder, "model": model}


def tokenizer_config(c: llama.Config) -> dict[str, Any]:
    """The content of tokenizer_config.json."""
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added_tokens()}
    return {"added_tokens_decoder": decoder, "bos_token": SPECIAL[0], "chat_template": chat.TEMPLATE_PATH.read_text(),
            "clean_up_tokenization_spaces": True, "eos_token": "<|eot_id|>",
            "model_input_names": ["input_ids", "attention_mask"], "model_max_length": c.max_positions,
            "tokenizer_class": "PreTrainedTokenizerFast"}


def model_config(c: llama.Config) -> dict[str, Any]:
    """The content of config.json, with every field of Llama 3.2 1B's."""
    rope = {"factor": c.rope_factor, "high_freq_factor": c.rope_high, "low_freq_factor": c.rope_low,
            "original_max_position_embeddings": c.rope_original, "rope_type": "llama3"}
    return {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": special_id(SPECIAL[0]), "eos_token_id": [special_id(s) for s in EOS],
            "head_dim": c.head_dim, "hidden_act": "silu", "hidden_size": c.hidden, "initializer_range": 0.02,
            "intermediate_size": c.ffn, "max_position_embeddings": c.max_positions, "mlp_bias": False,
            "model_type": "llama", "num_attention_heads": c.heads, "num_hidden_layers": c.layers,
            "num_key_value_heads": c.kv_heads, "pretraining_tp": 1, "rms_norm_eps": c.eps, "rope_scaling": rope,
            "rope_theta": c.rope_theta, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
            "transformers_version": "4.45.0", "use_cache": True, "vocab_size": c.vocab}


def generation_config() -> dict[str, Any]:
    """The content of generation_config.json."""
    return {"bos_token_id": special_id(SPECIAL[0]), "do_sample": False,
            "eos_token_id": [special_id(s) for s in EOS], "transformers_version": "4.45.0"}


def write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """bf16 tensors in the order of their names; the header is padded so that the data starts at a multiple of 8."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = []
    offset = 0
    for name, tensor in sorted(tensors.items()):
        raw = tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The bf16 tensors of a file as float32."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = (8 + size + o for o in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(raw[begin:end]), dtype=torch.bfloat16)
        out[name] = flat.float().view(entry["shape"])
    return out


def load_model(folder: Path) -> tuple[llama.Llama, Tokenizer]:
    """The exported folder, back as a float32 model and its tokenizer."""
    c = json.loads((folder / "config.json").read_text())
    rope = c["rope_scaling"]
    config = llama.Config(
        c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"],
        c["intermediate_size"], c["vocab_size"], c["head_dim"], c["rms_norm_eps"], c["rope_theta"], rope["factor"],
        rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"],
        c["max_position_embeddings"])
    net = llama.Llama(config)
    net.load_state_dict(read_safetensors(folder / "model.safetensors"))
    bytes_of = {char: byte for byte, char in byte_alphabet().items()}
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    ranks = [bytes(bytes_of[ch] for ch in token) for token, _ in sorted(vocab.items(), key=lambda kv: kv[1])]
    return net, Tokenizer(ranks)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented, characters as they are, a newline at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--ranks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", choices=["average", "net"], default="average",
                        help="the running average, or the last weights (better after a decay)")
    args = parser.parse_args()
    saved = torch.load(args.checkpoint)
    config = llama.CONFIGS[saved["model"]]
    args.out.mkdir(parents=True, exist_ok=True)
    ranks = Tokenizer.load(args.ranks).tokens[:N_BASE]
    write_json(args.out / "tokenizer.json", tokenizer_json(ranks))
    write_json(args.out / "tokenizer_config.json", tokenizer_config(config))
    write_json(args.out / "special_tokens_map.json", {"bos_token": SPECIAL[0], "eos_token": "<|eot_id|>"})
    write_json(args.out / "config.json", model_config(config))
    write_json(args.out / "generation_config.json", generation_config())
    write_safetensors(args.out / "model.safetensors", saved[args.weights])
    print(f"{args.out}: step {saved['step']}, {saved['tokens']} tokens")


if __name__ == "__main__":
    main()
