"""Makes the first checkpoint of a larger model that computes what a trained smaller one computes.

    python3 grow.py --checkpoint DIR/cria-draft/checkpoint.pt --model cria-tiny --out DIR/cria-tiny

A small model learns more from an hour of processor time than a large one; the large one then starts
from there. New residual channels and MLP units are read with random weights and written with zeros,
so that they change nothing at first and have gradients at once. The residual stream becomes [x, 0];
its root mean square shrinks by sqrt(ratio), which the norm weights take back. New heads copy a little
of what they attend to (their output matrix is the transpose of their value matrix): a token's vector
added to the stream raises that token's logit, so a head has to learn only where to look.
"""

import argparse
import math
import re
from pathlib import Path

import torch
from torch import Tensor

import model as llama

COPY_GAIN = 0.5  # of the value and of the output matrix of a new head
WRITES = ("o_proj.weight", "down_proj.weight")  # what adds to the residual stream


def widen_matrix(old: Tensor, shape: torch.Size, zero: bool) -> Tensor:
    """[rows, columns] with `old` in the upper left corner; the rest is zero or normal of deviation 0.02."""
    new = torch.zeros(shape) if zero else 0.02 * torch.randn(shape)
    new[:old.shape[0], :old.shape[1]] = old
    return new


def widen_norm(old: Tensor, size: int) -> Tensor:
    """[size] weights; new channels start with the mean weight."""
    scale = math.sqrt(old.shape[0] / size)
    new = torch.full((size,), float(old.mean()) * scale)
    new[:old.shape[0]] = old * scale
    return new


def grow(old: dict[str, Tensor], small: llama.Config, large: llama.Config) -> dict[str, Tensor]:
    """Parameters of the large model; layer i comes from layer i * small.layers // large.layers.

    Of the layers with the same origin the first is the old one; the others write zeros.
    """
    new = llama.Llama(large).state_dict()
    fresh: dict[int, range] = {}  # layer -> its new key/value heads
    for name, value in new.items():
        match = re.match(r"model\.layers\.(\d+)\.", name)
        source, first = name, True
        if match:
            layer = int(match.group(1))
            origin = layer * small.layers // large.layers
            first = layer == 0 or (layer - 1) * small.layers // large.layers != origin
            source = name.replace(match.group(0), f"model.layers.{origin}.")
            if name.endswith("o_proj.weight"):
                fresh[layer] = range(small.kv_heads if first else 0, large.kv_heads)
        if value.dim() == 1:
            new[name] = widen_norm(old[source], value.shape[0])
        elif name.endswith(WRITES) and not first:
            new[name] = torch.zeros(value.shape)
        else:
            new[name] = widen_matrix(old[source], value.shape, "embed" in name or name.endswith(WRITES))
    for layer, kv_heads in fresh.items():
        make_copying(new, layer, kv_heads, large)
    return new


def make_copying(state: dict[str, Tensor], layer: int, kv_heads: range, c: llama.Config) -> None:
    """Gives these key/value heads and their query heads orthonormal values and transposed outputs."""
    groups = c.heads // c.kv_heads
    prefix = f"model.layers.{layer}.self_attn."
    for kv in kv_heads:
        rows = slice(kv * c.head_dim, (kv + 1) * c.head_dim)
        values = COPY_GAIN * torch.linalg.qr(torch.randn(c.hidden, c.head_dim))[0].t()
        state[prefix + "v_proj.weight"][rows] = values
        for head in range(kv * groups, (kv + 1) * groups):
            columns = slice(head * c.head_dim, (head + 1) * c.head_dim)
            state[prefix + "o_proj.weight"][:, columns] = values.t() / groups


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(llama.CONFIGS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint.pt")
    args = parser.parse_args()
    torch.manual_seed(1)
    saved = torch.load(args.checkpoint)
    small, large = llama.CONFIGS[saved["model"]], llama.CONFIGS[args.model]
    weights = grow(saved["average"], small, large)
    before, after = llama.Llama(small), llama.Llama(large)
    before.load_state_dict(saved["average"])
    after.load_state_dict(weights)
    ids = torch.arange(100, 150)[None]
    print(f"largest change of a logit: {float((before(ids) - after(ids)).abs().max()):.2e}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"net": weights, "average": {k: v.clone() for k, v in weights.items()}, "model": args.model,
                "optimizers": [], "step": 0, "tokens": saved["tokens"]}, args.out / "checkpoint.pt")


if __name__ == "__main__":
    main()
