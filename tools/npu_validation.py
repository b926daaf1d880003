#!/usr/bin/env python3
"""Writes docs/npu-validation.md: what `cria simulate` and `cria plan` say beside what others measured (bench/npu_published.toml).

    tools/npu_validation.py [--check] [CRIA]

CRIA: the command, build/release/bin/cria by default. --check: writes nothing, fails where the page is not up to date or a goal is missed.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "npu-validation.md"
UNITS = {"first_tokens_per_second": "decode, tok/s", "prefill_tokens_per_second": "prefill, tok/s",
         "npu_watts": "NPU rail, W", "joules_per_token": "whole device, J/token"}
KINDS = ("embed", "rms_norm", "linear", "rope", "kv_append", "attention", "swiglu", "last_row", "output")
HEAD = """# How far predictions are from measurements

Written by `tools/npu_validation.py`; the published figures and their sources are in [bench/npu_published.toml](../bench/npu_published.toml). Predictions are those of
`cria simulate` and `cria plan`: the model's shape compiled for the device, its commands timed event by event ([npu.md](npu.md)). "Held out": no constant of the profile
comes from this measurement.
"""


def figures_of(cria, command, setting, *more):
    arguments = [cria, command, setting["model"], "--device", "sim:" + setting["device"], "--quant", setting["quant"],
                 "--act", setting["activations"], "-c", str(setting["context"]), "-p", str(setting["prompt"]), "--json", *more]
    arguments += setting.get("runtime_options", [])
    return json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)


def percent(value, published):
    return f"{100 * (value / published - 1):+.0f} %"


class Errors:
    """Relative errors by what a goal is about."""

    def __init__(self):
        self.of = {"fitted": [], "modules": [], "held out": [], "named": [], "energy": []}
        self.without_goal = []  # "device -64 %"

    def add(self, figure, value):
        error = abs(value / figure["published"] - 1)
        if not figure["held_out"]:
            self.of["fitted"].append(error)
        elif figure["field"] == "first_tokens_per_second":
            self.of["held out"].append(error)
            if figure.get("chosen"):
                self.of["named"].append(error)
        elif figure["field"] == "prefill_tokens_per_second":
            self.without_goal.append(f"{figure['device']} {percent(value, figure['published'])}")
        else:
            self.of["energy"].append(error)

    def goals(self):
        return [("decoding and prefill of the run that constants are fitted to", max(self.of["fitted"]), 0.1),
                ("each of its modules", max(self.of["modules"]), 0.25),
                (f"median of the {len(self.of['held out'])} held-out decoding speeds", statistics.median(self.of["held out"]), 0.2),
                (f"median of the {len(self.of['named'])} of them that were named before anything was predicted", statistics.median(self.of["named"]), 0.2),
                ("power and energy", max(self.of["energy"]), 0.3)]

    def text(self):
        rows = "".join(f"| {what} | {100 * worst:.0f} % | {100 * goal:.0f} % | {'yes' if worst <= goal else 'NO'} |\n" for what, worst, goal in self.goals())
        return ("\n| of | error | goal | met |\n|---|---|---|---|\n" + rows +
                f"\nErrors are the largest where the row says no median. Held-out prefill belongs to no goal: {', '.join(self.without_goal)}.\n")


def row(figure, value):
    setting = f"{figure['model']} {figure['quant']} {figure['activations']}, {figure['context']} tokens"
    setting += " (assumed)" if figure.get("assumed") else ""
    setting += f", {figure['runtime']}" if "runtime" in figure else ""
    why = figure["why"] if abs(value / figure["published"] - 1) > 0.2 else ""
    return (f"| {figure['device']} | {setting} | {UNITS[figure['field']]} | {figure['published']:g} | {value:.3g} | "
            f"{percent(value, figure['published'])} | {'yes' if figure['held_out'] else 'no'} | {figure['source']} | {why} |\n")


def whole_models(cria, figures, errors):
    text = "\n## Whole models\n\n| device | model, activations, context | figure | measured | predicted | error | held out | source | why |\n"
    text += "|---|---|---|---|---|---|---|---|---|\n"
    for figure in figures:
        value = figures_of(cria, "simulate", figure, "--minutes", "0.1")[figure["field"]]
        text += row(figure, value)
        errors.add(figure, value)
    return text


def module_us(plan, module, call):
    total = 1e3 * sum(plan[call][part] for part in module.get("host", []))
    for op in plan["ops"]:
        for wanted in module["ops"]:
            kind, _, part = wanted.partition(" ")
            if op["kind"] == kind and part in op["name"]:
                total += op["costs"][0][call + "_us"]
    return total


def modules(cria, setting, errors):
    setting = {**setting, "runtime_options": ["--one-op-at-a-time"]}
    plan = figures_of(cria, "plan", setting, "--place", ",".join(kind + "=npu" for kind in KINDS))
    text = (f"\n## Modules\n\n{setting['source']}: microseconds of all layers, one op at a time. Constants are fitted to these. What the run calls residual "
            "(81 us) is part of the products here; \"the rest\" is what its total has beyond its modules.\n\n"
            "| module | decode, measured | predicted | error | prefill of 64, measured | predicted | error |\n|---|---|---|---|---|---|---|\n")
    for module in setting["module"]:
        text += f"| {module['name']} |"
        for call in ("decode", "prefill"):
            if call + "_us" not in module:
                text += " | | |"
                continue
            value = module_us(plan, module, call)
            errors.of["modules"].append(abs(value / module[call + "_us"] - 1))
            text += f" {module[call + '_us']:g} | {value:.0f} | {percent(value, module[call + '_us'])} |"
        text += "\n"
    return text


def constants():
    profile = (ROOT / "profiles" / "npu" / "hexagon-v79.toml").read_text()
    found = re.findall(r'^(\w+) = \{ (?:value = ([^,]+), )?provenance = "fitted", source = "([^"]*)"', profile, re.M)
    text = "\n## Fitted constants\n\nOf hexagon-v79; L32 is the run of the modules, EXP micro-benchmarks on the same chip.\n\n| field | value | to meet |\n|---|---|---|\n"
    return text + "".join(f"| `{name}` | {value or 'a table'} | {source} |\n" for name, value, source in found)


def page(cria):
    published = tomllib.loads((ROOT / "bench" / "npu_published.toml").read_text())
    errors = Errors()
    tables = whole_models(cria, published["figure"], errors) + published["honesty"] + modules(cria, published["modules"], errors)
    return HEAD + errors.text() + tables + constants(), errors


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    text, errors = page(arguments[0] if arguments else str(ROOT / "build/release/bin/cria"))
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"{PAGE} is not up to date: run tools/npu_validation.py")
    for what, worst, goal in errors.goals():
        if worst > goal:
            sys.exit(f"{what}: off by {100 * worst:.0f} %, the goal is {100 * goal:.0f} %")


if __name__ == "__main__":
    main()
