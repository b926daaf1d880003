"""What tells people about NPUs and power: `cria devices`, `cria plan`, `cria simulate`, `cria bench --power-profile`."""

import json
import pathlib
import tempfile
import unittest

from support import ON_NPU, OP_KINDS, REPOSITORY, TINY, cria, cria_json

PROFILES = {path.stem for path in (REPOSITORY / "profiles/npu").glob("*.toml")}


class Devices(unittest.TestCase):
    def test_json_lists_the_cpu_and_every_profile(self):
        devices = cria_json("devices", "--json")
        self.assertGreaterEqual(devices["cpu"]["n_cores"], 1)
        self.assertEqual({profile["name"] for profile in devices["profiles"]}, PROFILES)
        self.assertEqual(devices["problems"], [])
        for profile in devices["profiles"]:
            self.assertGreater(profile["dram_gb_per_s"], 0)
            self.assertGreater(sum(profile["provenance"].values()), 50)

    def test_people_see_every_profile(self):
        text = cria("devices").stdout.decode()
        for name in PROFILES:
            self.assertIn(f"sim:{name} ", text)

    def test_a_broken_profile_is_left_out_and_told(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "broken.toml").write_text("name = 5\n")
            done = cria("devices", env={"CRIA_PROFILES": folder})
            self.assertIn("broken.toml: name: 5", done.stderr.decode())
            self.assertIn("sim:hexagon-v79", done.stdout.decode())


class Plan(unittest.TestCase):
    def test_a_plan_of_a_shape(self):
        plan = cria_json("plan", "1b", "--device", "sim:hexagon-v79", "--place", "linear=npu", "--json")
        self.assertEqual({op["device"] for op in plan["ops"] if op["kind"] == "linear"}, {"npu"})
        self.assertGreater(plan["handoffs_per_call"], 0)
        free = cria_json("plan", "1b", "--device", "sim:hexagon-v79", "--json")
        self.assertGreaterEqual(free["decode_tokens_per_second"], plan["decode_tokens_per_second"])
        # 4 bits with a scale a row: the published run of this model reads 621.9 MB a token.
        self.assertAlmostEqual(plan["dram_bytes_per_token"] / 1e6, 622, delta=20)

    def test_a_plan_is_no_slower_than_all_on_the_npu(self):
        for model in ("1b", "3b"):
            free, npu = (cria_json("plan", model, "-n", 128, *place, "--json") for place in ((), ("--place", ON_NPU)))
            free_ms, npu_ms = (plan["first_token_ms"] + 128 * plan["decode"]["ms"] for plan in (free, npu))
            self.assertLessEqual(free_ms, npu_ms * (1 + 1e-9))

    def test_pins_leave_the_rest_to_the_npu_where_that_is_best(self):
        rest = ",".join(kind + "=npu" for kind in OP_KINDS if kind not in ("attention", "kv_append"))
        for device, quant, n in (("ane-m4", "q4c", 1), ("edge-small", "q8", 16)):
            attention, all_else = (cria_json("plan", "small", "--device", "sim:" + device, "--quant", quant, "-n", n, "--place", pins, "--json")
                                   for pins in ("attention=cpu", "attention=cpu,kv_append=cpu," + rest))
            ms, ms_rest = (plan["first_token_ms"] + n * plan["decode"]["ms"] for plan in (attention, all_else))
            self.assertLessEqual(ms, ms_rest * (1 + 1e-9))
            for op in attention["ops"]:
                if op["kind"] in ("attention", "kv_append"):
                    self.assertEqual(op["device"], "cpu")
                    self.assertEqual(op["reason"] == "pinned", op["kind"] == "attention")

    def test_plan_and_simulation_agree(self):
        for device, quant in (("hexagon-v79", "q4c"), ("xdna2", "q4"), ("ane-m4", "q4")):
            options = ("small", "--device", "sim:" + device, "--quant", quant, "--json")
            run = cria_json("simulate", *options, "--minutes", 0.02)
            plan = cria_json("plan", *options, "--place", ON_NPU)
            self.assertAlmostEqual(plan["decode_tokens_per_second"], run["first_tokens_per_second"], places=6)
            self.assertAlmostEqual(plan["first_token_ms"], run["first_token_ms"], places=6)
            # What ops cost one by one, and what the host does, is the whole.
            for call in ("prefill", "decode"):
                ops = sum(op["costs"][0][call + "_us"] for op in plan["ops"]) / 1e3
                host = sum(plan[call][part] for part in ("submit_ms", "complete_ms", "choose_ms"))
                self.assertAlmostEqual(ops + host, plan[call]["ms"], places=6)
            self.assertEqual(plan["decode"]["n_copies"], 0)
            self.assertGreater(plan["decode"]["sram_bytes"], 0)

    def test_one_op_at_a_time_is_slower(self):
        fast, slow = (cria_json("simulate", "small", "--minutes", 0.02, "--json", *flags)
                      for flags in ((), ("--one-op-at-a-time",)))
        self.assertGreater(fast["first_tokens_per_second"], slow["first_tokens_per_second"])

    def test_submissions_that_are_waited_for_cost_time(self):
        at_once, waited = (cria_json("plan", "small", "--device", "sim:xdna2", "--quant", "q4", "--place", ON_NPU, "--json", *flags)["decode"]
                           for flags in ((), ("--ops-per-submission", 10, "--queue-depth", 1)))
        self.assertEqual(at_once["n_submissions"], 1)
        self.assertGreater(waited["n_submissions"], 1)
        # Each further one is sent, and waited for.
        trips = (waited["n_submissions"] - 1) * (waited["submit_ms"] + waited["complete_ms"])
        self.assertGreater(waited["ms"], at_once["ms"] + 0.99 * trips)

    def test_weights_of_a_shape_may_differ(self):
        same, mixed = (cria_json("plan", "small", "--quant", quant, "--json")["dram_bytes_per_token"]
                       for quant in ("q4c", "q4c,ffn=q8c"))
        self.assertGreater(mixed, 1.2 * same)
        for wrong in ("q4c,", "ffn=q8c", "q4c,q8c", "q4c,ffn=q99"):
            done = cria("plan", "small", "--quant", wrong, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("expected an encoding", done.stderr.decode())

    def test_a_plan_tells_the_whole(self):
        plan = cria_json("plan", "1b", "-c", 512, "--place", ON_NPU, "--json")
        self.assertEqual(plan["n_copies"], 0)
        self.assertEqual(plan["kv_bytes"], 16 * 512 * 2 * 8 * 64 * 2)
        self.assertEqual(plan["sram_peak_bytes"], max(plan[call]["sram_bytes"] for call in ("prefill", "decode")))
        self.assertLessEqual(plan["sram_peak_bytes"], plan["sram_size_bytes"])
        text = cria("plan", "1b", "-c", 512, "--place", ON_NPU).stdout.decode()
        for word in (f"decode {plan['decode_tokens_per_second']:.2f} tok/s", f"first token after {plan['first_token_ms']:.1f} ms",
                     f"{1e3 * plan['joules_per_token']:.1f} mJ/token", "SRAM peak", "DRAM traffic", "KV cache 16.78 MB", "; copies 0"):
            self.assertIn(word, text)

    def test_what_devices_share_is_passed_once(self):
        # The residual stream, which every layer works on: loaded once, and never stored.
        rest = ON_NPU.replace("embed=npu", "embed=cpu")
        plan = cria_json("plan", "1b", "--place", rest, "--json")
        self.assertEqual([plan[call]["n_copies"] for call in ("prefill", "decode")], [1, 1])
        # Two transfers of scores (of a tile each, the next on its way), two of their weights, and the residual stream there and back.
        mixed = cria_json("plan", "1b", "--place", ON_NPU + ",softmax=cpu", "--json")
        self.assertEqual(mixed["decode"]["n_copies"], 16 * (2 + 2 + 2))

    def test_what_cannot_be_placed_is_named(self):
        done = cria("plan", "1b", "--device", "sim:rk3588", "--quant", "q4", "--place", "linear=npu", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("linear blk.0.qkv cannot be placed: npu: weight blk.0.attn_q.weight: q4 has groups of 32", done.stderr.decode())

    def test_power_profiles_trade_speed_for_power(self):
        names = ["high_performance", "balanced", "low_power"]
        options = ("simulate", "1b", "--minutes", 0.02, "--power-profile", ",".join(names))
        runs = cria_json(*options, "--json")
        self.assertEqual([run["power_profile"] for run in runs], names)
        for field in ("first_tokens_per_second", "prefill_tokens_per_second", "npu_watts", "npu_joules_per_token"):
            self.assertEqual([run[field] for run in runs], sorted({run[field] for run in runs}, reverse=True), field)
        self.assertEqual(cria_json("simulate", "1b", "--minutes", 0.02, "--power-profile", "balanced", "--json"), runs[1])
        table = cria(*options).stdout.decode()
        for run in runs:
            for figure in (f"| {run['power_profile']} ", f" {run['tokens_per_second']:.2f} |", f" {1e3 * run['joules_per_token']:.1f} |"):
                self.assertIn(figure, table)

    def test_each_submission_costs_the_host(self):
        few, many = (cria_json("simulate", "small", "--minutes", 0.02, "--json", *flags) for flags in ((), ("--ops-per-submission", 10)))
        plan = cria_json("plan", "small", "--place", ON_NPU, "--json")["decode"]
        self.assertAlmostEqual(1e3 * few["host_seconds_per_token"], plan["submit_ms"] + plan["complete_ms"] + plan["choose_ms"])
        self.assertGreater(many["host_seconds_per_token"], 2 * few["host_seconds_per_token"])
        self.assertGreater(many["joules_per_token"], few["joules_per_token"])

    def test_simulate_heats_up(self):
        with tempfile.TemporaryDirectory() as folder:
            svg = pathlib.Path(folder, "run.svg")
            run = cria_json("simulate", "1b", "--minutes", 1, "--json", "--svg", svg)
            self.assertEqual(len(run["points"]), 60)
            self.assertGreater(run["points"][-1]["die_c"], run["points"][0]["die_c"])
            self.assertEqual({point["clock_state"] for point in run["points"]}, {"turbo"})
            self.assertGreater(run["points"][0]["clock_mhz"], 1000)
            picture = svg.read_text()
            self.assertTrue(picture.endswith("</svg>\n"))
            for curve in ("tokens/s", "clock, MHz", "die C", "skin C", "mJ/token"):
                self.assertIn(curve, picture)


class Profile(unittest.TestCase):
    def check_phases(self, profile):
        self.assertEqual([phase["phase"] for phase in profile["phases"]], ["prefill", "decode"])
        for phase in profile["phases"]:
            host = phase["submit_us"] + phase["complete_us"] + phase["choose_us"]
            for parts in ("by_op", "by_layer", "ops"):
                # Nothing is left that nobody accounts for.
                self.assertAlmostEqual(sum(part["us"] for part in phase[parts]) + host, phase["us"], delta=1e-3)
                for part in phase[parts]:
                    self.assertIn(part["bound"], {"dma", "matrix", "vector", "host", "latency"})
            self.assertEqual(sum(part["n_ops"] for part in phase["by_op"]), len(phase["ops"]))

    def test_a_shape_in_simulated_time(self):
        profile = cria_json("profile", "1b", "-p", 128, "-n", 8, "--device", "sim:hexagon-v79", "--json")
        self.check_phases(profile)
        plan = cria_json("plan", "1b", "-c", 128, "-p", 128, "-n", 8, "--place", ON_NPU, "--json")
        for phase in profile["phases"]:
            self.assertAlmostEqual(phase["us"] / 1e3, plan[phase["phase"]]["ms"], places=6)
        decode = {part["name"]: part["bound"] for part in profile["phases"][1]["by_op"]}
        self.assertEqual(decode["ffn_down"], "dma")
        self.assertEqual(decode["attention"], "vector")
        layers = profile["phases"][1]["by_layer"]
        self.assertEqual([part["layer"] for part in layers], list(range(-1, 16)))

    def test_changes_are_those_of_the_plan(self):
        options = ("small", "--quant", "q4c", "-p", 100, "-n", 8)  # no whole number of chunks
        profile = cria_json("profile", *options, "--device", "sim:hexagon-v79", "--json")
        changes = {change["change"]: change for change in profile["changes"]}
        self.assertEqual({change["what"] for change in profile["changes"]},
                         {"", "encoding", "activations", "cache", "chunk", "placement"})
        for name, flags in (("", ()), ("--quant q8c", ("--quant", "q8c")), ("--act a16", ("--act", "a16")),
                            ("-ctk q8_0 -ctv q8_0", ("-ctk", "q8_0", "-ctv", "q8_0")), ("--prefill-chunk 16", ("--prefill-chunk", 16)),
                            ("logits on the CPU", ("--place", ON_NPU + ",logits=cpu"))):
            place = () if "--place" in flags else ("--place", ON_NPU)
            arguments = tuple(flags[1] if part == "q4c" and "--quant" in flags else part for part in options)
            flags = () if "--quant" in flags else flags
            plan = cria_json("plan", *arguments, "-c", 100, *place, *flags, "--json")
            for field in ("prefill_tokens_per_second", "decode_tokens_per_second", "joules_per_token"):
                self.assertAlmostEqual(changes[name][field] / plan[field], 1, places=9, msg=f"{name} {field}")

    def test_what_a_device_cannot_is_told(self):
        profile = cria_json("profile", "small", "--quant", "q8c", "-p", 16, "--device", "sim:rk3588", "--json")
        refused = {change["change"]: change["refused"] for change in profile["changes"]}
        self.assertIn("groups of 32", refused["--quant q8"])
        self.assertEqual(refused["--quant q8g128"], "")
        self.assertIn("not on this device:\n", cria("profile", "small", "--quant", "q8c", "-p", 16, "--device", "sim:rk3588").stdout.decode())

    def test_a_compiled_program_is_profiled_in_its_own_time(self):
        with tempfile.TemporaryDirectory() as folder:
            program, trace = pathlib.Path(folder, "tiny.pte"), pathlib.Path(folder, "trace.json")
            cria("compile", TINY, "--quant", "q4", "--device", "sim:hexagon-v79", "-o", program)
            profile = cria_json("profile", program, "-p", 16, "-n", 2, "--json", "--trace", trace)
            self.check_phases(profile)
            self.assertEqual(profile["device"], "sim:hexagon-v79")
            self.assertEqual(profile["changes"], [])
            events = json.loads(trace.read_text())["traceEvents"]
            self.assertEqual({event["cat"] for event in events if event["ph"] == "X"}, {"weight_dma", "data_dma", "matrix", "vector"})
            text = cria("profile", program, "-p", 16, "-n", 2).stdout.decode()
            self.assertIn("simulated time", text)
            self.assertNotIn("unaccounted", text)
            for flags, message in ((("--device", "sim:xdna2"), "not for sim:xdna2"), (("-p", 100000), "compiled for a context of")):
                done = cria("profile", program, *flags, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(message, done.stderr.decode())


class Power(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def bench(self, *arguments):
        done = cria("bench", TINY, "-p", 0, "-n", 4, "-r", 1, "--no-machine", "-o", "json", *arguments, cache=self.root)
        return json.loads(done.stdout), done.stderr.decode()

    def test_each_profile_has_its_row(self):
        rows, notes = self.bench("--power-profile", "high_performance,balanced,low_power", "--sysfs", self.root)
        self.assertEqual([row["power_profile"] for row in rows], ["high_performance", "balanced", "low_power"])
        for row in rows:
            self.assertGreater(row["cpu_seconds_per_token"], 0)
            self.assertEqual((row["joules_per_token"], row["energy_source"]), (0, ""))
        # Four steps start at least a tenth of a second apart; the warm-up is one more.
        self.assertGreater(rows[2]["avg_ns"], 0.3e9)
        self.assertEqual(notes.count("energy is not measured"), 1)

    def test_energy_is_read_from_powercap(self):
        zone = self.root / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "1000")):
            (zone / name).write_text(text + "\n")
        rows, notes = self.bench("--sysfs", self.root)
        self.assertEqual(rows[0]["energy_source"], "powercap: package-0")
        self.assertEqual(rows[0]["joules_per_token"], 0)  # the counter stood still
        self.assertNotIn("energy is not measured", notes)

    def test_another_profile_is_wrong_usage(self):
        done = cria("bench", TINY, "--power-profile", "warp", check=False)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
