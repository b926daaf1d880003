#!/usr/bin/env python3
"""Scores a compiled model on the held-out tasks, with cria's own runtime and greedy decoding.

    cria compile models/cria-tiny -o tiny.pte [--quant q4]
    PYTHONPATH=build/release/python python3 models/score.py tiny.pte models/cria-tiny [--limit N]

Prints one JSON object: per task the number of examples, how many answers are right to the letter (with a 95 % Wilson
interval), and how many of their lines are.
"""

import argparse
import json
import math
import pathlib

import executorch_npu
from llama_edge import Llama32Tokenizer

HELDOUT = pathlib.Path(__file__).parent / "heldout"
MAX_TOKENS = 200
CONTEXT = 1024


def answer(engine, tokenizer, buffer, prompt: str) -> str:
    """The greedy continuation of a rendered prompt, up to an end token."""
    ids, generated = tokenizer.encode(prompt), []
    buffer.reset()
    for _ in range(MAX_TOKENS):
        next_id = executorch_npu.ops.argmax(engine.forward(ids, buffer))
        if next_id in tokenizer.eos_ids:
            break
        generated.append(next_id)
        ids = [next_id]
    return tokenizer.decode(generated).strip()


def wilson(n_right: int, n: int) -> list[float]:
    """The 95 % confidence interval of a share."""
    z, share = 1.96, n_right / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return [round(center - half, 4), round(center + half, 4)]


def score(engine, tokenizer, rows: list[dict]) -> dict:
    buffer = executorch_npu.Buffer(engine.get_kv_cache_size(CONTEXT))
    n_right = n_lines = n_right_lines = 0
    for row in rows:
        expected = row["expected"].strip()
        given = answer(engine, tokenizer, buffer, row["prompt"])
        n_right += given == expected
        n_lines += len(expected.splitlines())
        n_right_lines += sum(line in given.splitlines() for line in expected.splitlines())
    return {"n": len(rows), "exact": round(n_right / len(rows), 4), "exact_95": wilson(n_right, len(rows)),
            "lines": round(n_right_lines / n_lines, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pte")
    parser.add_argument("tokenizer", help="the folder of the model that was compiled")
    parser.add_argument("--limit", type=int, default=None)
    arguments = parser.parse_args()
    engine = executorch_npu.Engine(arguments.pte)
    tokenizer = Llama32Tokenizer.from_pretrained(arguments.tokenizer)
    report = {}
    for task in ("notes", "tools"):
        rows = [json.loads(line) for line in (HELDOUT / f"{task}.jsonl").read_text().splitlines()]
        report[task] = score(engine, tokenizer, rows[: arguments.limit])
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
