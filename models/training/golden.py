"""Writes golden files for runtime tests: logits and greedy ids of an exported folder in float64.

    python3 golden.py ../cria-tiny ../cria-draft --out ../golden

MODEL-N.json: {"model", "prompt", "ids" (the prompt with its begin token), "greedy" (64 ids that
follow, end tokens not stopping), "margin" (smallest distance between the best and the second logit
over the 64 steps: below it a runtime may differ)}; MODEL-N.npy: [vocab] float32 logits after the
prompt's last id.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import model as llama
from export import load_model, write_json

N_GREEDY = 64
PROMPTS = [
    "<|begin_of_text|>Once upon a time there was a little fox named Mia.",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Write a note from this consultation.\n\nPatient is Clara Weber, a 47 year old woman. Mrs Weber complains of "
    "cough for two weeks. There is fever but no chills. Temperature 38.4, pulse 96, blood pressure 132 over 84. "
    "On examination wheezing. I think this is acute bronchitis. I prescribe amoxicillin, 500 milligrams, three times "
    "a day for a week. Also chest x-ray. Come back in two weeks."
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 22 Nov 2026\n\nYou are a helpful assistant.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Wake me up at half past six in the morning on Friday."
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
]


def greedy_with_margin(net: llama.Llama, ids: list[int]) -> tuple[Tensor, list[int], float]:
    """Logits [vocab] after the prompt, N_GREEDY ids, smallest margin."""
    past: list[list[Tensor]] = [[] for _ in net.model.layers]
    first, out, margin = torch.empty(0), [], float("inf")
    feed = ids
    while len(out) < N_GREEDY:
        logits = net(torch.tensor([feed]), past=past)[0, -1]
        first = logits if not out else first
        best = logits.topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        out.append(int(best.indices[0]))
        feed = out[-1:]
    return first, out, margin


def rotary_in_double(net: llama.Llama) -> None:
    """Recomputes the tables that were rounded to float32."""
    angles = torch.arange(net.c.max_positions, dtype=torch.float64)[:, None] * llama.scaled_frequencies(net.c)
    net.cos, net.sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()


def write_golden(folder: Path, out: Path) -> None:
    """The files of one model."""
    net, tokenizer = load_model(folder)
    net.double()
    rotary_in_double(net)
    for number, prompt in enumerate(PROMPTS):
        ids = tokenizer.encode(prompt)
        logits, greedy, margin = greedy_with_margin(net, ids)
        content: dict[str, Any] = {"model": folder.name, "prompt": prompt, "ids": ids, "greedy": greedy,
                                   "margin": round(margin, 6)}
        write_json(out / f"{folder.name}-{number}.json", content)
        np.save(out / f"{folder.name}-{number}.npy", logits.numpy().astype(np.float32))
        print(folder.name, number, f"margin {margin:.4f}", repr(tokenizer.decode(greedy)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    args.out.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        write_golden(folder, args.out)


if __name__ == "__main__":
    main()
