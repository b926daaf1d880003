#!/usr/bin/env python3
"""Writes docs/npu-validation.md: what `cria simulate` estimates beside what others measured (bench/npu_published.toml).

    tools/npu_validation.py [--check] [CRIA]

CRIA: the command, build/release/bin/cria by default. --check: writes nothing, fails where the page is not up to date.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "npu-validation.md"
UNITS = {"first_tokens_per_second": "decode, tok/s", "prefill_tokens_per_second": "prefill, tok/s",
         "npu_watts": "NPU rail, W", "joules_per_token": "whole device, J/token"}
HEAD = """# How far estimates are from measurements

Written by `tools/npu_validation.py`; the published figures and their sources are in [bench/npu_published.toml](../bench/npu_published.toml). Estimates are those of
`cria simulate` (closed form, one op after the other, [src/npu_plan/estimate.h](../src/npu_plan/estimate.h)), not of compiled commands. "Held out": no constant of
the profile comes from this measurement. Constants marked `fitted` or `derived` from the 1B on Hexagon V79: `vector.start_cycles`, `host.submit_us`, `host.complete_us`.

Held out is not blind: the published figures were known when the profiles were written. Where sources left a choice, the choice was made knowing them: Intel's path to
memory (45 or 136 GB/s, both of the vendor), the four chunks of a 3B model on the A19 Pro, static power of all devices (a third of another device's full load).
"""


def estimate(cria, figure):
    command = [cria, "simulate", figure["model"], "--device", "sim:" + figure["device"], "--quant", figure["quant"],
               "-c", str(figure["context"]), "-p", str(figure["prompt"]), "--minutes", "0.1", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[figure["field"]]


def row(figure, value):
    error = 100 * (value / figure["published"] - 1)
    setting = f"{figure['model']} {figure['quant']}, {figure['context']} tokens" + (" (assumed)" if figure.get("assumed") else "")
    why = figure["why"] if abs(error) > 20 or not figure["held_out"] else ""
    return (f"| {figure['device']} | {setting} | {UNITS[figure['field']]} | {figure['published']:g} | {value:.3g} | {error:+.0f} % | "
            f"{'yes' if figure['held_out'] else 'no'} | {figure['source']} | {why} |\n")


def page(cria):
    figures = tomllib.loads((ROOT / "bench" / "npu_published.toml").read_text())["figure"]
    text = HEAD + "\n| device | model, context | figure | measured | estimated | error | held out | source | why |\n|---|---|---|---|---|---|---|---|---|\n"
    errors = []
    for figure in figures:
        value = estimate(cria, figure)
        text += row(figure, value)
        if figure["held_out"] and figure["field"] == "first_tokens_per_second":
            errors.append(abs(value / figure["published"] - 1))
    text += f"\nMedian error of the {len(errors)} held-out decoding speeds: {100 * statistics.median(errors):.0f} %.\n\n"
    return text + ("Not compared: RK3588 (its published run is of a 1.1B model whose shape cria does not name), and the module times of "
                   "Hexagon V79.\n")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    text = page(arguments[0] if arguments else str(ROOT / "build/release/bin/cria"))
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"{PAGE} is not up to date: run tools/npu_validation.py")


if __name__ == "__main__":
    main()
