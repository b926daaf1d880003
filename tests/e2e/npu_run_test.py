"""Programs for a simulated NPU: `cria compile --device sim:X`, `cria inspect --commands`, `cria run`."""

import json
import pathlib
import random
import re
import tempfile
import tomllib
import unittest

from support import ON_NPU, REPOSITORY, TINY, cria, cria_json


class Programs(unittest.TestCase):
    """One program for the CPU and one for an NPU, of the same model, and a folder for more; all tests share them."""

    @classmethod
    def compile(cls, name, *arguments):
        path = cls.root / name
        cria("compile", TINY, "-o", path, "--quant", "q4", "--prefill-chunk", 16, *arguments)
        return path


def setUpModule():
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    Programs.root = pathlib.Path(folder.name)
    Programs.cpu = Programs.compile("cpu.pte", "--device", "cpu")
    Programs.npu = Programs.compile("npu.pte", "--device", "sim:hexagon-v79")


class Commands(Programs):
    def streams(self, *arguments):
        return cria_json("inspect", self.npu, "--commands", "--json", *arguments)["streams"]

    def test_every_method_has_its_stream(self):
        self.assertEqual([s["method"] for s in self.streams()], ["prefill", "decode", "verify"])

    def test_commands_tell_what_they_move(self):
        (stream,) = self.streams("--method", "decode")
        self.assertEqual((stream["device"], stream["max_tokens"]), ("sim:hexagon-v79", 1))
        commands = stream["commands"]
        self.assertEqual([c["index"] for c in commands], list(range(stream["n_commands"])))
        self.assertEqual({c["engine"] for c in commands}, {"weight_dma", "data_dma", "matrix", "vector"})
        buffers = {b["name"] for b in stream["buffers"]}
        for command in commands:
            for access in command["reads"] + command["writes"]:
                if access["memory"] != "sram":
                    continue
                self.assertIn(access["buffer"], buffers)
                self.assertLessEqual(access["at"] + access["bytes"], stream["sram_bytes"])
        # Every weight byte is loaded exactly once in a step, but for the embedding, of which a row is.
        loaded = sum(c["reads"][0]["bytes"] for c in commands if c["command"] == "load_weight")
        data = cria_json("inspect", self.npu, "--json")["named_data"]
        self.assertEqual(loaded, sum(d["bytes"] for d in data if d["encoding"]))

    def test_people_see_a_line_a_command(self):
        lines = cria("inspect", self.npu, "--commands", "--method", "decode").stdout.decode().splitlines()
        self.assertTrue(any("matmul" in line and "blk.3.attn_v.weight" in line for line in lines))
        self.assertTrue(any(line.strip().startswith("for each two tiles of the cache") for line in lines))

    def test_a_program_of_the_cpu_has_none(self):
        done = cria("inspect", self.cpu, "--commands", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no commands of an NPU", done.stderr.decode())


class Refusals(Programs):
    """What a program was not compiled for is refused by name, and never run."""

    def refuses(self, *arguments):
        done = cria(*arguments, check=False)
        self.assertEqual(done.returncode, 1)
        errors = [line for line in done.stderr.decode().splitlines() if line.startswith("cria: ")]
        self.assertEqual(len(errors), 1, done.stderr.decode())
        return errors[0]

    def test_another_device(self):
        prompt = ("-p", "Once", "-n", 1)
        ids = ("--ids", "1,2")
        text = self.root / "text.txt"
        text.write_text("Once upon a time there was a little dog.")
        for command, rest in (("run", prompt), ("logits", ids), ("eval", ("--text", text)),
                              ("bench", ("-p", 0, "-n", 1, "--no-machine"))):
            for device in ("cpu", "sim:hexagon-v75"):
                error = self.refuses(command, self.npu, *rest, "--device", device)
                self.assertIn(f"compiled for sim:hexagon-v79, not for {device}", error)
            error = self.refuses(command, self.cpu, *rest, "--device", "sim:hexagon-v79")
            self.assertIn("compiled for cpu, not for sim:hexagon-v79", error)
        self.assertIn("expected cpu or sim:PROFILE", self.refuses("run", self.npu, *prompt, "--device", "gpu"))

    def test_the_right_device_runs(self):
        for program, device in ((self.cpu, "cpu"), (self.npu, "sim:hexagon-v79")):
            run = cria_json("run", program, "-p", "Once", "-n", 1, "--json", "--device", device)
            self.assertEqual(run["model"]["device"], device)

    def test_a_checkpoint_is_compiled_for_the_device(self):
        run = cria_json("run", TINY, "-p", "Once", "-n", 1, "--json", "--quant", "q4", "--device", "sim:ane-m4",
                        cache=self.root / "cache")
        self.assertEqual(run["model"]["device"], "sim:ane-m4")

    def test_a_longer_context(self):
        error = self.refuses("run", self.npu, "-p", "Once", "-n", 1, "-c", 4096)
        self.assertIn("a context of 4096 positions, this program has 1 to 2048", error)

    def test_a_newer_format(self):
        data = bytearray(self.npu.read_bytes())
        at = data.index(b"CNPU") + 4
        data[at] += 1
        newer = self.root / "newer.pte"
        newer.write_bytes(data)
        error = self.refuses("run", newer, "-p", "Once", "-n", 1)
        self.assertIn(f"NPU commands of version {data[at]}, this build reads version {data[at] - 1}", error)
        self.assertIn("method prefill", error)

    def test_changed_commands_are_refused_or_harmless(self):
        whole = self.npu.read_bytes()
        first = whole.index(b"CNPU")
        first = whole.index(b"attn_norm", first)  # behind the text of the profile
        dice = random.Random(1)
        refused = []
        for _ in range(30):
            data = bytearray(whole)
            data[first + dice.randrange(8000)] ^= 1 << dice.randrange(8)
            changed = self.root / "changed.pte"
            changed.write_bytes(data)
            done = cria("run", changed, "-p", "Once", "-n", 1, check=False)
            self.assertIn(done.returncode, (0, 1), done.stderr[-500:])
            if done.returncode == 1:
                (error,) = done.stderr.decode().splitlines()
                self.assertRegex(error, "method prefill: CriaSimNpuBackend: .*(command|weight|buffer|op|bytes) ")
                self.assertTrue(error.isprintable())
                refused.append(error)
        self.assertGreater(len(refused), 10)
        self.assertGreater(sum(re.search(r"command [0-9]+", error) is not None for error in refused), 5)


PROMPTS = ("Once upon a time there was a", "The little dog ran to the park because it wanted to play with")


def tokens(program, prompt):
    return cria_json("run", program, "-p", prompt, "-n", 24, "--temp", 0, "--json")["ids"]


def encodings(program):
    return {d["key"]: d["encoding"] for d in cria_json("inspect", program, "--json")["named_data"]}


class Mixed(Programs):
    """Heads on the NPU, softmax on the CPU."""

    PLACE = "attention=npu,softmax=cpu"

    def test_greedy_tokens_are_those_of_one_device(self):
        for kv in ("f16", "q8_0"):
            for act in ("a8", "a16"):
                options = ("--act", act, "-ctk", kv, "-ctv", kv)
                cpu = self.compile(f"cpu-{kv}-{act}.pte", *options)
                mixed = self.compile(f"mixed-{kv}-{act}.pte", *options, "--device", "sim:hexagon-v79", "--place", self.PLACE)
                for prompt in PROMPTS:
                    self.assertEqual(tokens(mixed, prompt), tokens(cpu, prompt), mixed.name)

    def test_other_ops_can_be_the_cpus_too(self):
        expected = tokens(self.cpu, PROMPTS[0])
        for place in ("attention=cpu", "rms_norm=cpu,swiglu=cpu", "blk.1.qkv=cpu", "linear=cpu", "scores=cpu,softmax=cpu,mix=cpu"):
            self.assertEqual(tokens(self.compile("other.pte", "--device", "sim:hexagon-v79", "--place", place), PROMPTS[0]), expected, place)

    def test_both_delegates_are_in_the_program(self):
        mixed = self.compile("parts.pte", "--device", "sim:hexagon-v79", "--place", self.PLACE)
        methods = {m["name"]: [d["id"] for d in m["delegates"]]
                   for m in cria_json("inspect", mixed, "--json")["methods"]}
        cpu, npu = "CriaCpuBackend", "CriaSimNpuBackend"
        self.assertEqual(methods["decode"], [npu, cpu] * 4 + [npu])  # one softmax a layer
        # Two groups of heads a layer: while the NPU has the scores of the second, the CPU makes weights of the first.
        self.assertEqual(methods["prefill"], [npu, npu, cpu, npu, cpu] * 4 + [npu])
        kinds = {c["command"] for s in cria_json("inspect", mixed, "--commands", "--json")["streams"]
                 for c in s["commands"]}
        self.assertIn("scores", kinds)
        self.assertNotIn("softmax", kinds)

    def test_the_plan_is_the_same(self):
        plan = cria_json("plan", TINY, "--quant", "q4", "--place", self.PLACE, "--json")
        places = {(op["kind"], op["device"]) for op in plan["ops"] if op["kind"] in ("scores", "softmax", "mix", "kv_append")}
        self.assertEqual(places, {("scores", "npu"), ("softmax", "cpu"), ("mix", "npu"), ("kv_append", "npu")})
        self.assertGreater(plan["decode"]["n_copies"], 0)
        whole = cria_json("plan", TINY, "--quant", "q4", "--json",
                          "--place", ",".join(f"{kind}=npu" for kind in {op["kind"] for op in plan["ops"]}
                                              - {"scores", "softmax", "mix"} | {"attention"}))
        self.assertEqual((whole["n_copies"], whole["handoffs_per_call"]), (0, 2))

    def test_what_cannot_be_placed_is_named(self):
        for place, message in (
                ("softmax=npu", "softmax of layer 0 is on the NPU, which has it as a part of attention only"),
                ("scores=cpu,softmax=cpu,mix=npu", "scores and mix of layer 0 are on different devices; a layer's cache lies with one"),
                ("kv_append=npu,attention=cpu", "kv_append and attention of layer 0 are on different devices"),
                ("convolution=cpu", '--place "convolution": no op of this kind or name'),
                ("attention=gpu", "--place attention=gpu: expected npu or cpu"),
                ("attention", '--place "attention": expected OP=DEVICE')):
            for command in (("compile", TINY, "-o", self.root / "none.pte", "--device", "sim:hexagon-v79"), ("plan", TINY)):
                done = cria(*command, "--quant", "q4", "--place", place, check=False)
                self.assertEqual(done.returncode, 1, place)
                error = done.stderr.decode().splitlines()[-1]
                if command[0] == "plan" and "of layer 0" in message:  # says what each device lacks
                    self.assertIn("cannot be placed", error)
                else:
                    self.assertIn(message, error)
            self.assertFalse((self.root / "none.pte").exists())
        done = cria("compile", TINY, "-o", self.root / "none.pte", "--quant", "q4", "--place", self.PLACE, check=False)
        self.assertIn("--place needs --device sim:PROFILE", done.stderr.decode())


class Timeline(Programs):
    """The processor and the NPU on one clock: `cria profile --trace` of a program that they share."""

    OPS, SUBMISSIONS, NPU = "ops (measured)", "submissions (simulated)", "submitted work"

    @classmethod
    def setUpClass(cls):
        mixed = cls.compile("mixed.pte", "--device", "sim:hexagon-v79", "--place", "softmax=cpu")
        trace = cls.root / "trace.json"
        cls.mixed = mixed
        cls.profile = cria_json("profile", mixed, "-p", 32, "-n", 3, "-d", 7, "--trace", trace, "--json")
        cls.table = cria("profile", mixed, "-p", 32, "-n", 3).stdout.decode()
        cls.trace = json.loads(trace.read_text())
        tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in cls.trace["traceEvents"] if e["name"] == "thread_name"}
        cls.slices = {name: [] for name in tracks.values()}
        for e in cls.trace["traceEvents"]:
            if e["ph"] == "X":
                cls.slices[tracks[e["pid"], e["tid"]]].append((e["ts"], e["ts"] + e["dur"], e["name"]))
        cls.arrows = {}
        for e in cls.trace["traceEvents"]:
            if e["ph"] in "sf":
                cls.arrows.setdefault(e["id"], {})[e["ph"]] = (tracks[e["pid"], e["tid"]], e["ts"])

    def test_it_says_what_is_simulated_and_what_is_measured(self):
        self.assertEqual(self.trace["otherData"], {"device": "sim:hexagon-v79", "npu": "simulated",
                                                   "submissions": "simulated", "processor_ops": "measured"})
        self.assertEqual((self.profile["npu"], self.profile["processor"]), ("simulated", "measured"))
        self.assertIn("the NPU and the handing over simulated, ops of the processor as measured", self.table)

    def test_an_estimate_is_what_the_plan_says(self):
        for power in ("high_performance", "low_power"):
            told = cria_json("profile", self.mixed, "--estimate", "-p", 16, "-n", 1, "--power-profile", power, "--json")
            self.assertEqual((told["processor"], told["phases"][0]["both_seconds"] > 0), ("estimated", True))
            plan = cria_json("plan", TINY, "--quant", "q4", "--prefill-chunk", 16, "-p", 16, "-c", 16, "-n", 2048 - 16,
                             "--place", ON_NPU + ",softmax=cpu", "--power-profile", power, "--json")
            for phase in told["phases"]:
                self.assertAlmostEqual(phase["seconds"] * 1e3, plan[phase["phase"]]["ms"], places=9)
        done = cria("profile", TINY, "--estimate", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is no program that an NPU and the processor share", done.stderr.decode())

    def test_a_benchmark_says_whose_times_it_tells(self):
        done = cria("bench", self.mixed, "-p", 8, "-n", 0, "-r", 1, "--no-machine", "-o", "json")
        (row,) = json.loads(done.stdout)
        self.assertEqual((row["backends"], row["gmac_per_second"]), ("sim:hexagon-v79", 0))
        self.assertIn("these are the times of the simulation on this machine", done.stderr.decode())
        done = cria("plan", self.mixed, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("compiled for sim:hexagon-v79, where cria profile tells its time", done.stderr.decode())

    def test_every_engine_and_the_processor_do_one_thing_at_a_time(self):
        self.assertTrue({"calls", self.OPS, self.SUBMISSIONS, self.NPU, "weight_dma", "data_dma", "matrix", "vector"}
                        <= set(self.slices))
        for name, slices in self.slices.items():
            slices.sort()
            for before, after in zip(slices, slices[1:]):
                self.assertLessEqual(before[1], after[0] + 1e-3, name)
        # Two prefill steps and three decode steps of four layers.
        self.assertEqual(len(self.slices[self.OPS]), 4 * 2 * 2 + 4 * 3)
        self.assertEqual([name for _, _, name in self.slices["calls"]], ["prefill of 16"] * 2 + ["decode of 1"] * 3)

    def test_work_waits_for_what_it_needs(self):
        self.assertEqual(len(self.slices[self.NPU]), len([s for s in self.slices[self.SUBMISSIONS] if s[2] == "submit"]))
        starts = {track: {round(s[0], 3) for s in self.slices[track]} for track in (self.OPS, self.NPU)}
        for arrow in self.arrows.values():
            (source, left), (target, came) = arrow["s"], arrow["f"]
            self.assertEqual({source, target}, {self.OPS, self.NPU})
            self.assertLessEqual(left, came)
            self.assertTrue(any(s[0] <= left <= s[1] for s in self.slices[source]))
            self.assertIn(round(came, 3), starts[target])
        # Every softmax waits for scores, and every mix for a softmax.
        self.assertEqual(sum(a["f"][0] == self.OPS for a in self.arrows.values()), len(self.slices[self.OPS]))
        self.assertEqual(sum(a["f"][0] == self.NPU for a in self.arrows.values()), len(self.slices[self.OPS]))

    def test_both_are_at_work_at_once(self):
        both = sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in self.slices[self.OPS] for b in self.slices[self.NPU])
        self.assertGreater(both, 0)
        self.assertAlmostEqual(both * 1e-6, sum(p["both_seconds"] for p in self.profile["phases"]), places=9)
        for track, key in ((self.OPS, "processor_seconds"), (self.NPU, "npu_seconds")):
            self.assertAlmostEqual(sum(s[1] - s[0] for s in self.slices[track]) * 1e-6,
                                   sum(p[key] for p in self.profile["phases"]), places=9)


class SameTokens(Programs):

    def test_greedy_tokens_are_the_cpus(self):
        # Two take other groups of weights, three not all that q4 has by default.
        wide = self.root / "wide.toml"
        wide.write_text('base = "q8"\n[[rule]]\ntensors = "*"\nencoding = "q8g128"\n')
        recipes = {"hexagon-v79": "q4", "ane-m4": "iq4_nl", "edge-small": "q4", "intel-npu-4000": wide, "rk3588": wide,
                   "ane-a19-pro": "iq4_nl", "hexagon-v75": "q4", "xdna2": "iq4_nl"}
        sram = {path.stem: tomllib.loads(path.read_text())["sram"]["bytes"]["value"]
                for path in (REPOSITORY / "profiles/npu").glob("*.toml")}
        self.assertEqual(set(recipes), set(sram))
        # These are like one of the others; the device with the least SRAM is none of them.
        once = ("ane-a19-pro", "hexagon-v75", "xdna2")
        self.assertNotIn(min(sram, key=sram.get), once)
        expected = {}
        for profile, recipe in recipes.items():
            for act, kv in (("a8", "f16"), ("a16", "f16"), ("a8", "q8_0"), ("a16", "q8_0"))[: 1 if profile in once else 4]:
                options = ("--quant", recipe, "--act", act, "-ctk", kv, "-ctv", kv)
                npu = self.root / f"{profile}-{act}-{kv}.pte"
                # On one of them the longer prompt takes several calls.
                chunk = ("--prefill-chunk", 16) if profile == "hexagon-v79" else ()
                cria("compile", TINY, "-o", npu, *options, *chunk, "--device", f"sim:{profile}")
                if options not in expected:
                    cpu = self.root / f"cpu-{pathlib.Path(recipe).stem}-{act}-{kv}.pte"
                    cria("compile", TINY, "-o", cpu, *options)
                    expected[options] = [tokens(cpu, prompt) for prompt in PROMPTS], encodings(cpu)
                self.assertEqual(([tokens(npu, prompt) for prompt in PROMPTS], encodings(npu)), expected[options], npu.name)

    def test_a_mixed_cache(self):
        options = ("--act", "a8", "-ctk", "q8_0", "-ctv", "f16")
        cpu = self.compile("cpu-mixed-cache.pte", *options)
        npu = self.compile("npu-mixed-cache.pte", *options, "--device", "sim:edge-small")
        for prompt in PROMPTS:
            self.assertEqual(tokens(npu, prompt), tokens(cpu, prompt))


class Alignment(Programs):
    """Nothing is copied to be aligned: it is where the device wants it."""

    RECIPES = {"intel-npu-4000": "q8g128", "rk3588": "q8g128", "ane-a19-pro": "q4"}

    def test_on_every_device(self):
        for path in sorted((REPOSITORY / "profiles/npu").glob("*.toml")):
            align = tomllib.loads(path.read_text())["limits"]["align_bytes"]["value"]
            self.assertGreaterEqual(align, 64)
            self.assertEqual(align & (align - 1), 0)
            encoding = self.RECIPES.get(path.stem, "q4")
            recipe = self.root / f"{encoding}.toml"
            recipe.write_text(f'base = "q8"\n[[rule]]\ntensors = "*"\nencoding = "{encoding}"\n')
            program = self.root / f"{path.stem}.pte"
            cria("compile", TINY, "-o", program, "--quant", recipe, "--prefill-chunk", 16, "--device", f"sim:{path.stem}")
            for weight in cria_json("inspect", program, "--json")["named_data"]:
                self.assertEqual(weight["offset"] % align, 0, weight)
            for stream in cria_json("inspect", program, "--commands", "--json")["streams"]:
                self.check_stream(stream, align)

    def check_stream(self, stream, align):
        self.assertEqual(stream["align_bytes"] % align, 0)
        self.assertEqual(stream["scratch_bytes"], 0, "activations leave SRAM")
        for buffer in stream["buffers"]:
            self.assertEqual(buffer["at"] % align, 0, buffer)
        for command in stream["commands"]:
            # What would move activations by themselves: none; DMA brings weights, the cache and results.
            self.assertNotIn(command["command"], ("load", "load_scores", "store_scores"))
            if command["command"] == "store":
                self.assertEqual(command["writes"][0]["memory"], "result")
            for access in command["reads"] + command["writes"]:
                if access["memory"] == "sram":
                    self.assertEqual(access["at"] % 64, 0, command)


if __name__ == "__main__":
    unittest.main()
