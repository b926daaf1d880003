#!/usr/bin/env python3
"""The table of docs/quality.md: what recipes lose on models/cria-tiny, measured.

    python3 bench/quality.py [--cria build/release/bin/cria] [--chunks N] > table.md

Statistics come from models/calibration, text and tasks from models/heldout, which share no document. Windows of 256
tokens, activations a8 against the float model with float activations.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = ROOT / "models" / "cria-tiny"
RECIPES = [
    ("q8", ["q8"]),
    ("5 bits", ["q5_0", "q5_0+gptq", "q5_k", "q5_k+gptq"]),
    ("4 bits", ["q4_0", "iq4_nl", "q4_1", "mxfp4", "q4_k", "iq4_xs"]),
    ("4 bits, with methods", ["q4_0+importance", "q4_0+rotate", "q4_0+gptq", "q4_0+rotate+gptq", "iq4_nl+gptq", "mxfp4+gptq", "q4_k+gptq",
                              "iq4_xs+importance", "iq4_xs+gptq", "iq4_xs+rotate+gptq", "e8p4+quip"]),
    ("3 bits", ["q3", "q3_k", "q3+importance", "q3+gptq", "q3+rotate+gptq", "q3_k+gptq", "q3_k+rotate+gptq",
                "e8p3", "e8p3+rotate+gptq", "e8p3+quip"]),
    ("2 bits", ["q2_k", "q2_k+importance", "q2_k+gptq", "q2_k+rotate+gptq", "e8p2", "e8p2+rotate",
                "e8p2+gptq", "e8p2+rotate+gptq", "e8p2+quip"]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cria", default=str(ROOT / "build/release/bin/cria"))
    parser.add_argument("--chunks", type=int, default=0, help="windows of the held-out text (0: all)")
    parser.add_argument("--limit", type=int, default=100, help="examples a task")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def cria(*words):
            command = [arguments.cria, *map(str, words)]
            return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or "null")

        statistics, reference, model = folder / "stats", folder / "reference.pte", folder / "model.pte"
        cria("calibrate", TINY, "--text", ROOT / "models/calibration/calibration.txt", "-o", statistics, "--json",
             "--cache-dir", folder)
        cria("compile", TINY, "-o", reference, "--quant", "f32", "--json")
        print("| recipe | bits a weight | of linears | file bytes | KL mean | KL 99.9 % | same top 1 | perplexity | notes right |")
        print("|---|---|---|---|---|---|---|---|---|")
        for title, recipes in RECIPES:
            print(f"| **{title}** |")
            for recipe in recipes:
                needs = any(method in recipe for method in ("importance", "gptq", "quip"))
                report = cria("compile", TINY, "-o", model, "--quant", recipe, "--json",
                              *(["--calibration", statistics] if needs else []))
                linears = [t for t in report["tensors"] if t["name"].startswith("blk.") and t["shape"][0] > 1]
                bits = 8 * sum(t["bytes"] for t in linears) / sum(t["shape"][0] * t["shape"][1] for t in linears)
                text = cria("eval", model, "--reference", reference, "--text", ROOT / "models/heldout/heldout.txt",
                            "-c", 256, "--chunks", arguments.chunks, "--json")
                task = cria("eval", model, "--task", ROOT / "models/heldout/notes.jsonl", "--limit", arguments.limit,
                            "--json")["tasks"][0]
                print(f"| {recipe} | {report['bits_per_weight']:.2f} | {bits:.2f} | {report['file_bytes']} "
                      f"| {text['kl_mean']:.5f} ± {text['kl_error']:.5f} | {text['kl_p999']:.3f} "
                      f"| {100 * text['top1_agreement']:.2f} % | {text['perplexity']:.4f} "
                      f"| {100 * task['exact']:.0f} % ({100 * task['exact_low']:.0f} to {100 * task['exact_high']:.0f}) |",
                      flush=True)


if __name__ == "__main__":
    main()
