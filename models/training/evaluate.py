"""Measures an exported folder on the held-out sets and writes the figures as JSON.

    python3 evaluate.py ../cria-tiny --out ../cria-tiny-figures.json

Perplexity is exp of the mean cross-entropy a token: of what the model must write (story, note,
tool) and of every token of heldout.txt after its first. A note is right when greedy decoding gives
the expected text exactly; field accuracy counts its lines, and a call's name and arguments.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

import model as llama
from export import load_model, special_id, write_json
from train import heldout_batches, heldout_loss
from train_tokenizer import Tokenizer

HELDOUT = Path(__file__).parent.parent / "heldout"


def mixed_loss(net: llama.Llama, tokenizer: Tokenizer, text: str, window: int = 512) -> float:
    """Mean cross-entropy in nats over all tokens of the text, in windows that start afresh."""
    ids = tokenizer.encode(text)
    windows = [ids[i:i + window] for i in range(0, len(ids), window)]
    documents = [(w, 1) for w in windows if len(w) > 1]
    return heldout_loss(net, documents)


def note_fields(text: str) -> dict[str, str]:
    """Line label -> content."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def call_fields(text: str) -> dict[str, Any]:
    """The name of the call and its arguments; empty when it is no JSON object of that form."""
    try:
        call = json.loads(text)
        return {"name": call["name"], **call["parameters"]}
    except (ValueError, KeyError, TypeError):
        return {}


def greedy_answer(net: llama.Llama, tokenizer: Tokenizer, prompt: str, expected: str) -> str:
    """What greedy decoding gives, without the end token.

    One forward pass over the expected answer shows up to where greedy decoding follows it; only the
    rest is generated.
    """
    stop = {special_id("<|eot_id|>"), special_id("<|end_of_text|>")}
    context, target = tokenizer.encode(prompt), tokenizer.encode(expected + "<|eot_id|>")
    best = net(torch.tensor([context + target[:-1]]))[0, len(context) - 1:].argmax(-1).tolist()
    right = next((i for i, (a, b) in enumerate(zip(best, target)) if a != b), len(target))
    if right == len(target):
        return expected
    ids = target[:right] + llama.generate(net, context + target[:right], 200 - right, stop)
    return tokenizer.decode([i for i in ids if i not in stop])


def task_accuracy(net: llama.Llama, tokenizer: Tokenizer, path: Path, limit: int) -> dict[str, Any]:
    """Greedy answers against the expected ones: exact matches and right fields, as shares."""
    fields = note_fields if path.name == "notes.jsonl" else call_fields
    exact, hits, wrong = 0, {}, []
    rows = [json.loads(line) for line in path.read_text().splitlines()[:limit]]
    for row in rows:
        answer = greedy_answer(net, tokenizer, row["prompt"], row["expected"])
        exact += answer == row["expected"]
        if answer != row["expected"]:
            wrong.append({"expected": row["expected"], "answer": answer})
        got = fields(answer)
        for name, value in fields(row["expected"]).items():
            key = name if fields is note_fields else "name" if name == "name" else "arguments"
            hits.setdefault(key, []).append(got.get(name) == value)
    shares = {k: round(sum(v) / len(v), 4) for k, v in hits.items()}
    every = [x for v in hits.values() for x in v]
    return {"n": len(rows), "exact": round(exact / len(rows), 4), "fields": round(sum(every) / len(every), 4),
            "by_field": shares, "wrong": wrong[:5]}


def evaluate(folder: Path, heldout: Path, limit: int) -> dict[str, Any]:
    """All figures of one folder."""
    net, tokenizer = load_model(folder)
    net.eval()
    losses = {k: heldout_loss(net, d) for k, d in heldout_batches(heldout, tokenizer, limit).items()}
    losses["mixed"] = mixed_loss(net, tokenizer, (heldout / "heldout.txt").read_text())
    return {"model": folder.name, "parameters": llama.count_parameters(net),
            "perplexity": {k: round(math.exp(v), 4) for k, v in losses.items()},
            "note": task_accuracy(net, tokenizer, heldout / "notes.jsonl", limit),
            "tool": task_accuracy(net, tokenizer, heldout / "tools.jsonl", limit)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--heldout", type=Path, default=HELDOUT)
    parser.add_argument("--limit", type=int, default=300, help="examples a task")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    started = time.time()
    figures = evaluate(args.folder, args.heldout, args.limit)
    print(json.dumps(figures, indent=2), f"\n{time.time() - started:.0f} s")
    if args.out:
        write_json(args.out, figures)


if __name__ == "__main__":
    main()
