"""Trains the byte-level BPE and encodes the corpus with it.

    python3 train_tokenizer.py train --corpus DIR/train.jsonl --out DIR/ranks.json
    python3 train_tokenizer.py encode --corpus DIR/train.jsonl --ranks DIR/ranks.json --out DIR/train

The vocabulary is a list of byte strings in rank order, as in a tiktoken file: first the 256 bytes in
GPT-2's order, then the merges as they were learned, then the special tokens. Encoding merges the
adjacent pair whose concatenation has the lowest rank, which is what tiktoken and Llama 3 do.
"""

import argparse
import collections
import json
import re
from pathlib import Path

import numpy as np

N_VOCAB = 2048
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
           "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>",
           "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
           "<|reserved_special_token_3|>", "<|reserved_special_token_4|>", "<|reserved_special_token_5|>",
           "<|reserved_special_token_6|>", "<|reserved_special_token_7|>"]
N_BASE = N_VOCAB - len(SPECIAL)
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
ASCII_SPLIT = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}"
                         r"| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # PATTERN on ASCII text
SPECIAL_SPLIT = re.compile("(" + "|".join(re.escape(s) for s in SPECIAL) + ")")


def byte_order() -> list[int]:
    """The 256 byte values in GPT-2's order: printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [b for b in range(256) if b not in printable]


def merge_word(parts: list[bytes], new: bytes) -> list[bytes]:
    """Joins, left to right, every adjacent pair that gives `new`."""
    out: list[bytes] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] + parts[i + 1] == new:
            out.append(new)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def train_bpe(words: dict[bytes, int], n_tokens: int) -> list[bytes]:
    """The n_tokens most useful tokens; words: pre-token -> count. Ties go to the smaller bytes."""
    ranks = [bytes([b]) for b in byte_order()]
    parts = {w: [w[i:i + 1] for i in range(len(w))] for w in words}
    counts: collections.Counter[bytes] = collections.Counter()
    where: dict[bytes, set[bytes]] = collections.defaultdict(set)

    def add(word: bytes, sign: int) -> None:
        pieces = parts[word]
        for left, right in zip(pieces, pieces[1:]):
            counts[left + right] += sign * words[word]
            where[left + right].add(word)

    for word in words:
        add(word, 1)
    while len(ranks) < n_tokens:
        best = min((t for t, c in counts.items() if c > 0), key=lambda t: (-counts[t], t))
        ranks.append(best)
        for word in where.pop(best):
            add(word, -1)
            parts[word] = merge_word(parts[word], best)
            add(word, 1)
    return ranks


class Tokenizer:
    """Text with special tokens by name <-> ids; keeps the ids of every pre-token it has seen."""

    def __init__(self, ranks: list[bytes]) -> None:
        self.tokens = ranks + [s.encode() for s in SPECIAL]
        self.rank = {t: i for i, t in enumerate(ranks)}
        self.special = {s: len(ranks) + i for i, s in enumerate(SPECIAL)}
        self.cache: dict[str, list[int]] = {}

    @staticmethod
    def load(path: Path) -> "Tokenizer":
        """From the file that `train` wrote: byte strings as latin-1."""
        return Tokenizer([t.encode("latin-1") for t in json.loads(path.read_text())])

    def encode_word(self, word: str) -> list[int]:
        """Ids of one pre-token."""
        raw = word.encode()
        if raw in self.rank:
            return [self.rank[raw]]
        parts = [raw[i:i + 1] for i in range(len(raw))]
        while len(parts) > 1:
            best = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p[0] + p[1], N_VOCAB))
            if best[0] + best[1] not in self.rank:
                break
            parts = merge_word(parts, best[0] + best[1])
        return [self.rank[p] for p in parts]

    def encode(self, text: str) -> list[int]:
        """Ids of ASCII text; names of special tokens become their ids, nothing is added in front."""
        ids: list[int] = []
        for piece in SPECIAL_SPLIT.split(text):
            if piece in self.special:
                ids.append(self.special[piece])
                continue
            for word in ASCII_SPLIT.findall(piece):
                if word not in self.cache:
                    self.cache[word] = self.encode_word(word)
                ids += self.cache[word]
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text; special tokens as their names."""
        return b"".join(self.tokens[i] for i in ids).decode(errors="replace")


def train(corpus: Path, out: Path, max_documents: int) -> None:
    """Learns the vocabulary from the first documents of the corpus."""
    words: collections.Counter[bytes] = collections.Counter()
    with open(corpus) as rows:
        for _, row in zip(range(max_documents), rows):
            text = "".join(t for t, _ in json.loads(row)["pieces"])
            for piece in SPECIAL_SPLIT.split(text):
                if piece not in SPECIAL:
                    words.update(w.encode() for w in ASCII_SPLIT.findall(piece))
    ranks = train_bpe(words, N_BASE)
    out.write_text(json.dumps([t.decode("latin-1") for t in ranks]))
    print(f"{len(words)} distinct pre-tokens, {len(ranks)} base tokens")


def encode(corpus: Path, ranks: Path, out: Path) -> None:
    """Writes `out`.npz: ids, target [tokens] of all documents in sequence; start [documents + 1], kind [documents]."""
    tokenizer = Tokenizer.load(ranks)
    ids: list[int] = []
    target: list[int] = []
    start, kind = [0], []
    with open(corpus) as lines:
        for line in lines:
            document = json.loads(line)
            kind.append(document["kind"])
            for text, is_target in document["pieces"]:
                piece = tokenizer.encode(text)
                ids += piece
                target += [int(is_target)] * len(piece)
            start.append(len(ids))
    np.savez(out.with_suffix(".npz"), ids=np.array(ids, np.uint16), target=np.array(target, np.uint8),
             start=np.array(start, np.int64), kind=np.array(kind))
    print(f"{len(start) - 1} documents, {len(ids)} tokens, at most {np.diff(start).max()} in one")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["train", "encode"])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--ranks", type=Path, help="of encode: the trained vocabulary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=20000, help="of train: learn from so many")
    args = parser.parse_args()
    if args.step == "train":
        train(args.corpus, args.out, args.documents)
    else:
        encode(args.corpus, args.ranks, args.out)


if __name__ == "__main__":
    main()
