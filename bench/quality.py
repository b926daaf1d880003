#!/usr/bin/env python3
"""The table of docs/quality.md: what recipes lose on models/cria-tiny, measured.

    python3 bench/quality.py [--cria build/release/bin/cria] [--chunks N] > table.md

Statistics come from models/calibration, text and tasks from models/heldout, which share no document. Windows of 256
tokens, activations a8 against the float model with float activations.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = ROOT / "models" / "cria-tiny"
RECIPES = [
    ("q8", ["q8"]),
    ("5 bits", ["q5_0", "q5_0+gptq", "q5_k", "q5_k+gptq"]),
    ("4 bits", ["q4_0", "iq4_nl", "q4_1", "mxfp4", "q4_k", "iq4_xs"]),
    ("4 bits, with methods", ["q4_0+importance", "q4_0+clip", "q4_0+awq", "q4_0+rotate", "q4_0+gptq", "q4_0+awq+gptq", "q4_0+rotate+gptq",
                              "iq4_nl+gptq", "mxfp4+gptq", "q4_k+gptq", "iq4_xs+importance", "iq4_xs+awq", "iq4_xs+gptq", "iq4_xs+rotate+gptq",
                              "e8p4+quip"]),
    ("3 bits", ["q3", "q3_k", "q3+importance", "q3+awq", "q3+gptq", "q3+awq+gptq", "q3+rotate+gptq", "q3_k+awq", "q3_k+gptq",
                "q3_k+rotate+gptq", "e8p3", "e8p3+quip"]),
    ("2 bits", ["q2_k", "q2_k+importance", "q2_k+awq", "q2_k+gptq", "q2_k+rotate+gptq", "e8p2", "e8p2+rotate", "e8p2+rotate+gptq",
                "e8p2+quip"]),
    ("defaults, with statistics", ["q4", "q5"]),
    ("budgets: as many bytes as", [f"q4 as {recipe}" for recipe in ("q4_k+gptq", "q4_0+gptq", "iq4_xs+gptq", "q3_k+gptq")]),
]


class Table:
    """One row a recipe. Every command has one thread, and there are as many at a time as cores: the models are small."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.statistics, self.reference = folder / "stats", folder / "reference.pte"
        self.cria("calibrate", arguments.model, "--text", arguments.calibration, "-o", self.statistics, "--json",
                  "--cache-dir", folder)
        self.cria("compile", arguments.model, "-o", self.reference, "--quant", "f32", "--json")

    def cria(self, *words):
        command = [self.arguments.cria, *map(str, words), "-t", "1"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout or "null")

    def compiled(self, recipe, model, *words):
        needs = recipe in ("q4", "q5") or any(method in recipe for method in ("importance", "clip", "awq", "gptq", "quip"))
        return self.cria("compile", self.arguments.model, "-o", model, "--quant", recipe, "--json", *words,
                         *(["--calibration", self.statistics] if needs else []))

    def row(self, recipe):
        model = self.folder / f"{recipe}.pte"
        base, _, like = recipe.partition(" as ")
        if like:  # encodings that a budget buys, for the bytes of a uniform recipe
            file_bytes = self.compiled(like, model)["file_bytes"]
            report = self.compiled(base, model, "--budget", f"{file_bytes}B", "--budget-text", self.arguments.calibration,
                                   "--budget-chunks", 16)
        else:
            report = self.compiled(recipe, model)
        linears = [t for t in report["tensors"] if t["name"].startswith("blk.") and t["shape"][0] > 1]
        bits = 8 * sum(t["bytes"] for t in linears) / sum(t["shape"][0] * t["shape"][1] for t in linears)
        text = self.cria("eval", model, "--reference", self.reference, "--text", self.arguments.text, "-c", 256,
                         "--chunks", self.arguments.chunks, "--json")
        notes = ""
        if self.arguments.limit > 0:
            task = self.cria("eval", model, "--task", ROOT / "models/heldout/notes.jsonl", "--limit", self.arguments.limit,
                             "--json")["tasks"][0]
            notes = f" {100 * task['exact']:.0f} % ({100 * task['exact_low']:.0f} to {100 * task['exact_high']:.0f}) |"
        model.unlink()
        return (f"| {recipe} | {report['bits_per_weight']:.2f} | {bits:.2f} | {report['file_bytes']} "
                f"| {text['kl_mean']:.5f} ± {text['kl_error']:.5f} | {text['kl_p999']:.3f} "
                f"| {100 * text['top1_agreement']:.2f} % | {text['perplexity']:.4f} |{notes}")


def chosen(only):
    """Titles and their recipes: the table's, or those asked for; what the table has not is asked for by name."""
    if not only:
        return RECIPES
    known = {name for title, recipes in RECIPES for name in (title, *recipes)}
    rows = [(title, recipes if title in only else [r for r in recipes if r in only]) for title, recipes in RECIPES]
    return rows + [("others", [recipe for recipe in only if recipe not in known])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cria", default=str(ROOT / "build/release/bin/cria"))
    parser.add_argument("--model", default=TINY, help="another model (with --limit 0: the notes are cria-tiny's)")
    parser.add_argument("--calibration", default=ROOT / "models/calibration/calibration.txt", help="text of the statistics")
    parser.add_argument("--text", default=ROOT / "models/heldout/heldout.txt", help="text that is scored")
    parser.add_argument("--chunks", type=int, default=0, help="windows of the text (0: all)")
    parser.add_argument("--limit", type=int, default=100, help="examples of the notes (0: none)")
    parser.add_argument("--only", action="append", help="rows of this title, or this recipe, also one that is not in the table, alone (may be repeated)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        table = Table(arguments, pathlib.Path(folder))
        rows = [(title, [pool.submit(table.row, recipe) for recipe in recipes]) for title, recipes in chosen(arguments.only) if recipes]
        columns = ["recipe", "bits a weight", "of linears", "file bytes", "KL mean", "KL 99.9 %", "same top 1", "perplexity"]
        columns += ["notes right"] if arguments.limit > 0 else []
        print("| " + " | ".join(columns) + " |")
        print("|" + "---|" * len(columns))
        for title, futures in rows:
            print(f"| **{title}** |")
            for future in futures:
                print(future.result(), flush=True)


if __name__ == "__main__":
    main()
