"""Writes the text for calibrating quantizers: documents as in training, none that is held out.

    /usr/bin/python3 generate_calibration.py --out ../calibration/calibration.txt [--heldout ../heldout]

With another seed than the training corpus and the held-out sets. Documents follow each other as in
heldout.txt: special tokens by name, a line break between two.
"""

import argparse
import json
import random
from pathlib import Path

import generate_corpus as corpus


def make_text(seed: int, n_bytes: int) -> tuple[str, set[str]]:
    """Whole documents up to n_bytes, and what the model must write in them."""
    rng = random.Random(seed)
    documents, targets, size = [], set(), 0
    while True:
        pieces = corpus.make_training_document(rng).pieces
        text = "".join(piece for piece, _ in pieces)
        if size + len(text.encode()) + 1 > n_bytes:
            return "\n".join(documents) + "\n", targets
        documents.append(text)
        size += len(text.encode()) + 1
        targets.update(p.removesuffix(corpus.TURN_END).removesuffix(corpus.END) for p, target in pieces if target)


def heldout_answers(folder: Path) -> set[str]:
    """All answers and stories of the held-out sets."""
    answers = {json.loads(row)["expected"] for name in ("notes.jsonl", "tools.jsonl") for row in open(folder / name)}
    return answers | set((folder / "stories.txt").read_text().splitlines())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2001)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, help="prove that no held-out answer is in the text")
    args = parser.parse_args()
    text, targets = make_text(args.seed, args.bytes)
    if args.heldout and (common := targets & heldout_answers(args.heldout)):
        raise SystemExit(f"{len(common)} held-out answers are in the text: {common.pop()!r}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)


if __name__ == "__main__":
    main()
