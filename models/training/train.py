"""Trains a model on the packed corpus; stops and resumes at any checkpoint.

    python3 train.py --model cria-tiny --data DIR/train.npz --ranks DIR/ranks.json --out DIR/cria-tiny \\
        --steps 4000 --decay 800

The learning rate warms up, stays, and falls linearly to zero over the last --decay steps (or over
--minutes, on a machine of unknown load). Matrices
inside the layers are trained with Muon (orthogonalized momentum), the rest with AdamW. Loss on
context tokens of a conversation counts --context-weight, on what the model must write 1.
"""

import argparse
import csv
import json
import math
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import model as llama
from train_tokenizer import Tokenizer


class Batch(NamedTuple):
    """ids [documents, n], padded at the end; the labels that count: where, which, weight, each [labels]."""
    ids: Tensor
    places: Tensor  # index into the flattened ids
    labels: Tensor
    weights: Tensor


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made nearly orthogonal by five Newton-Schulz steps."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                buffer = state.setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalize(p.grad.lerp(buffer, group["momentum"]))
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, p.shape[0] / p.shape[1])))


def orthogonalize(x: Tensor) -> Tensor:
    """Moves all singular values of x towards 1 (quintic Newton-Schulz iteration)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = (x.t() if tall else x) / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.t() if tall else x


def make_batch(data: dict[str, np.ndarray], documents: list[int], args: argparse.Namespace, phase: int) -> Batch:
    """All labels of targets with weight 1 and every fourth of the context with four times its weight; times --weight."""
    of_kind = values_by_kind(args.weight)
    spans = [slice(data["start"][d], data["start"][d + 1]) for d in documents]
    n = max(s.stop - s.start for s in spans)
    ids, weight = torch.zeros(len(spans), n, dtype=torch.long), torch.zeros(len(spans), n)
    sampled = 4 * args.context_weight * ((torch.arange(n) + phase) % 4 == 0)
    for row, span in enumerate(spans):
        length = span.stop - span.start
        ids[row, :length] = torch.from_numpy(data["ids"][span].astype(np.int64))
        target = torch.from_numpy(data["target"][span].astype(bool))
        weight[row, :length] = torch.where(target, torch.tensor(1.0), sampled[:length])
        weight[row] *= of_kind.get(str(data["kind"][documents[row]]), 1.0)
    weights = weight[:, 1:].flatten()
    places = weights.nonzero()[:, 0]
    return Batch(ids[:, :-1], places, ids[:, 1:].flatten()[places], weights[places])


def loss_of(net: llama.Llama, batch: Batch) -> Tensor:
    """Weighted sum of the cross-entropies in nats."""
    logits = net.logits(net.hidden(batch.ids).flatten(0, 1)[batch.places])
    losses = logits.logsumexp(-1) - logits.gather(-1, batch.labels[:, None])[:, 0]
    return (losses * batch.weights).sum()


def heldout_batches(folder: Path, tokenizer: Tokenizer, n: int = 48) -> dict[str, list[tuple[list[int], int]]]:
    """Kind -> n documents as (ids, number of context ids); the loss is of the ids after the context."""
    out: dict[str, list[tuple[list[int], int]]] = {"story": [], "note": [], "tool": []}
    for text in (folder / "stories.txt").read_text().splitlines()[:n]:
        out["story"].append((tokenizer.encode("<|begin_of_text|>" + text + "<|end_of_text|>"), 1))
    for kind, name in (("note", "notes.jsonl"), ("tool", "tools.jsonl")):
        for line in (folder / name).read_text().splitlines()[:n]:
            row = json.loads(line)
            prompt = tokenizer.encode(row["prompt"])
            out[kind].append((prompt + tokenizer.encode(row["expected"] + "<|eot_id|>"), len(prompt)))
    return out


@torch.no_grad()
def heldout_loss(net: llama.Llama, documents: list[tuple[list[int], int]]) -> float:
    """Mean cross-entropy in nats of the tokens after the context."""
    total, count = 0.0, 0
    for ids, context in documents:
        logits = net(torch.tensor([ids[:-1]]))[0, context - 1:]
        total += float(functional.cross_entropy(logits, torch.tensor(ids[context:]), reduction="sum"))
        count += len(ids) - context
    return total / count


def backward_of(net: llama.Llama, batches: list[Batch], total_weight: float) -> float:
    """Adds the gradients of these batches; returns their share of the weighted mean loss."""
    total = 0.0
    for batch in batches:
        loss = loss_of(net, batch) / total_weight
        loss.backward()
        total += float(loss)
    return total


class Helper:
    """A second process that computes gradients of half a step while a core is idle.

    It shares the parameters with the trainer and answers into shared gradient tensors.
    """

    def __init__(self, net: llama.Llama) -> None:
        net.share_memory()
        self.gradients = [torch.zeros_like(p).share_memory_() for p in net.parameters()]
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=self.serve, args=(net, other), daemon=True)
        self.process.start()
        other.close()

    def serve(self, net: llama.Llama, pipe: Any) -> None:
        """Runs in the second process until the trainer is gone, however it went."""
        # The copy of the trainer's end that came with the fork would keep the pipe open for ever.
        self.pipe.close()
        try:
            while True:
                batches, total_weight = pipe.recv()
                net.zero_grad(set_to_none=True)
                loss = backward_of(net, [Batch(*map(torch.from_numpy, b)) for b in batches], total_weight)
                for own, shared in zip(net.parameters(), self.gradients):
                    shared.copy_(own.grad)
                pipe.send(loss)
        except (EOFError, OSError):
            return

    @staticmethod
    def core_is_idle() -> bool:
        """True when nothing but the trainer itself is running at this moment."""
        return int(Path("/proc/loadavg").read_text().split()[3].split("/")[0]) <= 1


class Trainer:
    """The model, its running average, the optimizers and the step: all that a checkpoint holds."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args = args
        self.net = llama.Llama(llama.CONFIGS[args.model])
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        named = list(self.net.named_parameters())
        inner = [p for n, p in named if p.dim() == 2 and "embed" not in n]
        outer = [p for n, p in named if p.dim() != 2 or "embed" in n]
        self.peaks = [args.lr, args.lr_adam]
        self.optimizers = [Muon(inner, args.lr),
                           torch.optim.AdamW(outer, args.lr_adam, betas=(0.9, 0.98), weight_decay=0.0)]
        self.step, self.tokens = 0, 0
        self.started = time.time()
        self.helper: Helper | None = None
        self.helped = 0
        self.path = args.out / "checkpoint.pt"
        if self.path.exists():
            self.restore(torch.load(self.path))

    def restore(self, saved: dict[str, Any]) -> None:
        """Everything as `save` left it; a grown checkpoint has no optimizer states."""
        self.net.load_state_dict(saved["net"])
        self.average = saved["average"]
        for optimizer, state in zip(self.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        self.step, self.tokens = saved["step"], saved["tokens"]

    def save(self) -> None:
        """Replaces the checkpoint in one move."""
        saved = {"net": self.net.state_dict(), "average": self.average, "model": self.args.model,
                 "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step, "tokens": self.tokens}
        torch.save(saved, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)

    def set_rate(self) -> None:
        """Learning rate of this step."""
        a = self.args
        left = (a.steps - self.step) / max(1, a.decay)
        if a.minutes:
            left = max(0.0, 1 - (time.time() - self.started) / (60 * a.minutes))
        factor = min(1.0, (self.step + 1) / a.warmup, left)
        for optimizer, peak in zip(self.optimizers, self.peaks):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor

    def documents(self, used: np.ndarray) -> np.ndarray:
        """Those of `used` for this step: each epoch is another permutation, so that a resume continues."""
        batch, per_epoch = self.args.batch, len(used) // self.args.batch
        order = np.random.default_rng(self.args.seed + self.step // per_epoch).permutation(used)
        start = self.step % per_epoch * batch
        return order[start:start + batch]

    def gradients_of(self, batches: list[Batch]) -> float:
        """Fills the gradients, with the helper's help when a core is idle; returns the mean loss."""
        weight = float(sum(b.weights.sum() for b in batches))
        if not (self.helper and Helper.core_is_idle()):
            return backward_of(self.net, batches, weight)
        half = len(batches) // 2
        middle = slice(half // 2, half // 2 + half)  # as much work as the outer ones
        self.helper.pipe.send(([tuple(t.numpy() for t in b) for b in batches[middle]], weight))
        total = backward_of(self.net, batches[:middle.start] + batches[middle.stop:], weight)
        total += self.helper.pipe.recv()
        self.helped += 1
        for p, shared in zip(self.net.parameters(), self.helper.gradients):
            p.grad += shared
        return total

    def train_step(self, data: dict[str, np.ndarray], used: np.ndarray) -> float:
        """One update from documents of similar length together; returns the weighted mean loss."""
        self.set_rate()
        length = np.diff(data["start"])
        documents = sorted(self.documents(used), key=lambda d: length[d])
        batches = [make_batch(data, list(part), self.args, self.step)
                   for part in np.array_split(documents, self.args.parts)]
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total = self.gradients_of(batches)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.tokens += int(length[documents].sum())
        self.update_average()
        return total

    @torch.no_grad()
    def update_average(self) -> None:
        """Exponential average over some 300 steps, fewer at the start."""
        share = max(1 / 300, 1 / (1 + self.step / 4))
        for name, value in self.net.state_dict().items():
            self.average[name].lerp_(value, share)

    def heldout_losses(self, heldout: dict[str, list[tuple[list[int], int]]]) -> dict[str, float]:
        """Loss of the averaged weights by kind."""
        net = llama.Llama(self.net.c)
        net.load_state_dict(self.average)
        return {kind: heldout_loss(net, documents) for kind, documents in heldout.items()}


def values_by_kind(settings: list[str]) -> dict[str, float]:
    """["story=0.3"] -> {"story": 0.3}"""
    return {name: float(value) for name, value in (setting.split("=") for setting in settings)}


def used_documents(kind: np.ndarray, shares: list[str]) -> np.ndarray:
    """Indices of the documents to train on; shares: "story=0.3" takes that part of the stories."""
    chance = np.random.default_rng(0).random(len(kind))
    used = np.ones(len(kind), bool)
    for name, value in values_by_kind(shares).items():
        used &= (kind != name) | (chance < value)
    return np.nonzero(used)[0]


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a line to a CSV file, with a header when it is new."""
    new = not path.exists()
    with open(path, "a", newline="") as out:
        writer = csv.DictWriter(out, row.keys())
        if new:
            writer.writeheader()
        writer.writerow(row)


def checkpoint(trainer: Trainer, heldout: dict[str, list[tuple[list[int], int]]]) -> None:
    """Saves, then measures the held-out losses."""
    trainer.save()
    row = {"step": trainer.step, "tokens": trainer.tokens}
    row.update({k: round(v, 4) for k, v in trainer.heldout_losses(heldout).items()})
    append_row(trainer.args.out / "heldout.csv", row)
    print(row, flush=True)


def run(args: argparse.Namespace) -> None:
    """Trains up to args.steps, or until SIGTERM; leaves a checkpoint."""
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    data = dict(np.load(args.data))
    heldout = heldout_batches(args.heldout, Tokenizer.load(args.ranks))
    trainer = Trainer(args)
    if args.helper:
        trainer.helper = Helper(trainer.net)
    print(f"{llama.count_parameters(trainer.net)} parameters, {len(data['start']) - 1} documents, from step {trainer.step}")
    used = used_documents(data["kind"], args.share)
    losses: list[float] = []
    started, tokens = time.time(), trainer.tokens
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    end = time.time() + 60 * args.minutes if args.minutes else math.inf
    while trainer.step < args.steps and time.time() < end and not stop:
        losses.append(trainer.train_step(data, used))
        if trainer.step % 20 == 0:
            rate = (trainer.tokens - tokens) / (time.time() - started)
            row = {"step": trainer.step, "tokens": trainer.tokens, "loss": round(float(np.mean(losses)), 4)}
            append_row(args.out / "train.csv", row)
            print(f"{row} {rate:.0f} tokens/s, {trainer.helped} helped", flush=True)
            losses, started, tokens = [], time.time(), trainer.tokens
        if trainer.step % args.every == 0:
            checkpoint(trainer, heldout)
            started, tokens = time.time(), trainer.tokens
    checkpoint(trainer, heldout)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(llama.CONFIGS), default="cria-tiny")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ranks", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, default=Path(__file__).parent.parent / "heldout")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and CSV files")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--decay", type=int, default=800)
    parser.add_argument("--minutes", type=float, default=0, help="decay over so many minutes instead, and end")
    parser.add_argument("--batch", type=int, default=16, help="documents a step")
    parser.add_argument("--parts", type=int, default=4, help="padded batches a step")
    parser.add_argument("--lr", type=float, default=0.02, help="of Muon")
    parser.add_argument("--lr-adam", type=float, default=0.003)
    parser.add_argument("--context-weight", type=float, default=0.2)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--share", nargs="*", default=[], help="KIND=PART: train only on that part of a kind")
    parser.add_argument("--weight", nargs="*", default=[], help="KIND=FACTOR: of the loss of a kind; a story has so much "
                        "that nobody can guess that its gradient drowns what is left to learn of the others")
    parser.add_argument("--helper", action="store_true", help="use a second core while it is idle")
    parser.add_argument("--seed", type=int, default=1)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
