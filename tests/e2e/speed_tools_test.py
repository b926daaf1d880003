"""What measures speed: shares of the machine's peaks, profiles, models with random weights."""

import csv
import io
import json
import os
import pathlib
import subprocess
import unittest

from support import CRIA, TINY, FolderCase, cria, cria_json

MAKE_RANDOM_MODEL = os.environ.get("MAKE_RANDOM_MODEL", str(pathlib.Path(CRIA).parent / "make_random_model"))


# For commands whose answer does not depend on how exactly the machine was measured.
BRIEF = ("--machine-seconds", 0.1)


def make_random_model(*arguments, code=0):
    done = subprocess.run([MAKE_RANDOM_MODEL, *map(str, arguments)], capture_output=True, timeout=600)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}: {done.stderr.decode()}"
    return done


class SpeedTools(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pte = cls.root / "tiny.pte"
        cria("compile", TINY, "-o", cls.pte, "--quant", "q4")

    def assert_usage_error(self, *arguments):
        done = cria(*arguments, check=False)
        self.assertEqual(done.returncode, 2, arguments)
        self.assertEqual(done.stdout, b"")
        self.assertNotEqual(done.stderr, b"")

    def test_machine(self):
        report = cria_json("bench", "--machine", "-o", "json")
        self.assertGreater(report["n_cores"], 0)
        rates = {}
        for row in report["measurements"]:
            self.assertGreater(row["rate"], 0)
            rates.setdefault(row["measure"], []).append(row["rate"])
        fork_join = {"fork_join"} if report["n_cores"] > 1 else set()
        self.assertEqual(set(rates) - {"int8_tiles", "bf16_tiles"}, {"read", "int8", "bf16", "f32"} | fork_join)
        self.assertEqual(report["peaks"]["read_gb_per_second"], max(rates["read"]))
        short = ("bench", "--machine", *BRIEF)
        rows = list(csv.DictReader(io.StringIO(cria(*short, "-o", "csv").stdout.decode())))
        self.assertEqual(len(rows), len(report["measurements"]))
        lines = cria(*short, "-o", "jsonl").stdout.splitlines()
        self.assertEqual([json.loads(line)["measure"] for line in lines], [row["measure"] for row in rows])
        self.assertIn("| read", cria(*short).stdout.decode())

    def test_shares_of_the_peaks(self):
        rows = cria_json("bench", self.pte, "-p", 16, "-n", 4, "-pg", "8,2", "-r", 1, *BRIEF, "-o", "json")
        self.assertEqual([row["peak"] for row in rows], ["int8", "read", ""])
        for row in rows[:2]:
            self.assertGreater(row["peak_share"], 0)
        float_row = cria_json("bench", self.pte, "-p", 16, "-n", 0, "-r", 1, "--act", "a16", *BRIEF, "-o", "json")[0]
        self.assertEqual(float_row["peak"], "f32")
        unmeasured = cria_json("bench", self.pte, "-p", 16, "-n", 0, "-r", 1, "--no-machine", "-o", "json")[0]
        self.assertEqual((unmeasured["peak_rate"], unmeasured["peak_share"]), (0, 0))
        self.assertGreater(unmeasured["gmac_per_second"], 0)
        table = cria("bench", self.pte, "-p", 8, "-n", 2, "-r", 1, *BRIEF).stdout.decode()
        self.assertIn("% int8", table)
        self.assertIn("% read", table)
        self.assertIn("machine: ", table)

    def test_in_turns(self):
        """Every repetition has what the machine did beside it; a depth is compared with the first, pair by pair."""
        flags = ("-p", 16, "-n", 4, "-pg", "8,2", "-d", "0,7", "-t", "1,2", "-r", 3, "--in-turns")
        rows = cria_json("bench", self.pte, *flags, *BRIEF, "-o", "json")
        tests = [(row["n_threads"], row["n_depth"], row["n_prompt"], row["n_gen"]) for row in rows]
        self.assertEqual(tests, [(t, d, *n) for t in (1, 2) for d in (0, 7) for n in ((16, 0), (0, 4), (8, 2))])
        base = {test[:1] + test[2:]: row for test, row in zip(tests, rows) if row["n_depth"] == 0}
        for test, row in zip(tests, rows):
            with self.subTest(test=test):
                self.assertEqual(len(row["samples_ns"]), 3)
                self.assertEqual(row["sustained_share"] > 0, row["peak"] != "")
                self.assertEqual(row["sustained_rate"] > 0, row["peak"] != "")
                shares = [a / b for a, b in zip(base[test[:1] + test[2:]]["samples_ns"], row["samples_ns"])]
                self.assertAlmostEqual(row["first_depth_share"], sorted(shares)[1] if row["n_depth"] else 0)
        alone = cria_json("bench", self.pte, *flags, "--no-machine", "-o", "json")
        self.assertEqual([row["sustained_share"] for row in alone], [0] * len(rows))
        self.assertGreater(alone[-1]["first_depth_share"], 0)
        table = cria("bench", self.pte, *flags, *BRIEF).stdout.decode()
        self.assertIn("of sustained", table)
        self.assertNotIn("of sustained", cria("bench", self.pte, "-p", 8, "-n", 0, "-r", 1, *BRIEF).stdout.decode())
        # What the machine is measured with, 128 MB and more, is not the model's memory.
        self.assertLess(rows[0]["rss_anon_bytes"], 100e6)

    def test_batch_sizes(self):
        """However a prompt is cut, logits are the same bits; the cut is what was asked for, as far as methods go."""
        ids = ",".join(str(7 * i % 500 + 1) for i in range(77))
        whole = cria("logits", self.pte, "--ids", ids).stdout
        for flags in (("-b", 1), ("-ub", 1), ("-ub", 2), ("-ub", 7), ("-b", 33, "-ub", 24), ("-b", 2048, "-ub", 2048)):
            with self.subTest(flags=flags):
                self.assertEqual(cria("logits", self.pte, "--ids", ids, *flags).stdout, whole)
        text = ("run", self.pte, "-p", "Once upon a time there was a little dog", "-n", 8, "--temp", 0)
        self.assertEqual(cria(*text, "-b", 5, "-ub", 3).stdout, cria(*text).stdout)
        rows = cria_json("bench", self.pte, "-p", 50, "-n", 0, "-b", "1,40,2048", "-ub", "16,2048", "-r", 1, "--no-machine",
                         "-o", "json")
        self.assertEqual([(row["n_batch"], row["n_ubatch"]) for row in rows],
                         [(1, 1), (1, 1), (40, 16), (40, 40), (2048, 16), (2048, 256)])
        # One step reads the weights once; steps of one token, fifty times.
        self.assertGreater(rows[0]["touched_weight_bytes"], 40 * rows[5]["touched_weight_bytes"])
        self.assertGreater(rows[0]["macs"], rows[5]["macs"])  # the head is computed once a step
        self.assertIn("n_ubatch", cria("bench", self.pte, "-p", 8, "-n", 0, "-ub", 4, "-r", 1, "--no-machine").stdout.decode())
        self.assertNotIn("n_ubatch", cria("bench", self.pte, "-p", 8, "-n", 0, "-r", 1, "--no-machine").stdout.decode())
        for flags in (("-b", 0), ("-ub", 0), ("-b", -1), ("-ub", "x")):
            self.assert_usage_error("bench", self.pte, *flags)
        self.assert_usage_error("run", self.pte, "-p", "x", "-ub", 0)

    def test_verify_steps(self):
        rows = cria_json("bench", self.pte, "-p", 0, "-n", 1, "--verify", "1,4,32", "-d", 9, "-r", 2, "--no-machine",
                         "-o", "json")
        self.assertEqual([row["n_verify"] for row in rows], [0, 1, 4, 32])
        self.assertEqual(rows[0]["verify_ratio"], 0)
        for row in rows[1:]:
            self.assertEqual((row["n_prompt"], row["n_gen"], row["n_depth"], row["peak"]), (0, 0, 9, "read"))
            self.assertEqual(len(row["samples_ns"]), 2)
            for key in ("decode_step_ns", "verify_step_ns", "verify_ratio"):
                self.assertGreater(row[key], 0)
        # One more pass of the weights for more tokens: but for the embedding's rows, which each token adds.
        self.assertEqual(rows[0]["touched_weight_bytes"], rows[1]["touched_weight_bytes"])
        self.assertLess(rows[3]["touched_weight_bytes"], 1.1 * rows[1]["touched_weight_bytes"])
        self.assertEqual(rows[2]["macs"] // 4 * 4, rows[2]["macs"])
        table = cria("bench", self.pte, "-p", 0, "-n", 1, "--verify", 4, "-r", 1, "--no-machine").stdout.decode()
        self.assertIn("vk4", table)
        self.assertIn("decode steps", table)
        refused = cria("bench", self.pte, "-p", 0, "-n", 0, "--verify", 33, "-r", 1, "--no-machine", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"32", refused.stderr)
        self.assert_usage_error("bench", self.pte, "--verify", -4)

    def test_sizes_at_the_edge(self):
        """No prompt, more threads than cores, contexts that are no multiple of a tile: right or refused."""
        self.assert_usage_error("bench", self.pte, "-p", -1)
        none = cria("bench", self.pte, "-p", 0, "-n", 0, "--no-machine", check=False)
        self.assertEqual((none.returncode, none.stdout), (1, b""))
        self.assertIn(b"nothing to measure", none.stderr)
        ids = ",".join(str(i + 1) for i in range(37))
        one = cria("logits", self.pte, "--ids", ids, "-t", 1).stdout
        for n_threads in (2, 7, 64):
            self.assertEqual(cria("logits", self.pte, "--ids", ids, "-t", n_threads).stdout, one)
        self.assert_usage_error("logits", self.pte, "--ids", ids, "-t", 257)
        pte = self.root / "q8kv.pte"
        cria("compile", TINY, "-o", pte, "--quant", "q4", "-ctk", "q8_0", "-ctv", "q8_0", "--ctx", 77)
        done = cria("bench", pte, "-p", 33, "-n", 3, "-d", 41, "-r", 1, "--no-machine", "-o", "json")
        self.assertEqual(len(json.loads(done.stdout)), 2)
        refused = cria("bench", pte, "-p", 33, "-n", 0, "-d", 512, "-r", 1, "--no-machine", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"positions", refused.stderr)

    def test_long_steps(self):
        """Steps of 1 to 2048 tokens: the same bits, with caches in f16 and in 8 bits. Those of 333 are long and begin within panels of positions."""
        ids = ",".join(str(11 * i % 900 + 1) for i in range(2048))
        for kv in ("f16", "q8_0"):
            pte = self.root / f"chunk2048-{kv}.pte"
            cria("compile", TINY, "-o", pte, "--quant", "q4", "-ctk", kv, "-ctv", kv, "--prefill-chunk", 2048, "--ctx", 2048)
            whole = cria("logits", pte, "--ids", ids, "-ub", 2048).stdout
            for n in (7, 333, 512) if kv == "f16" else (1, 7, 333, 512):  # single tokens, of which there are many, for one cache
                with self.subTest(kv=kv, n=n):
                    self.assertEqual(cria("logits", pte, "--ids", ids, "-ub", n).stdout, whole)
        self.assertEqual(cria("logits", pte, "--ids", ids, "-b", 7, "-ub", 512).stdout, whole)
        for flags in (("-b", 0), ("-ub", 0), ("-b", -1), ("-ub", -512)):
            self.assert_usage_error("logits", pte, "--ids", "1,2", *flags)

    def test_odd_contexts(self):
        """Contexts that are no multiple of a tile: logits up to the last position are those of a long context; one more is refused."""
        for kv in ("f16", "q8_0"):
            flags = ("-ctk", kv, "-ctv", kv)
            long = self.root / f"long-{kv}.pte"
            cria("compile", TINY, "-o", long, "--quant", "q4", *flags)
            text = ("-p", "Once upon a time there was a little dog", "-n", 20, "--temp", 0, "--ignore-eos")
            tokens = cria("run", long, *text).stdout
            for n in (33, 100, 257):
                with self.subTest(kv=kv, n=n):
                    pte = self.root / f"ctx{n}-{kv}.pte"
                    cria("compile", TINY, "-o", pte, "--quant", "q4", "--ctx", n, *flags)
                    most = n if kv == "f16" else (n + 15) // 16 * 16  # docs/kv_cache.md
                    ids = [11 * i % 900 + 1 for i in range(most + 1)]
                    full = ",".join(map(str, ids[:most]))
                    self.assertEqual(cria("logits", pte, "--ids", full).stdout, cria("logits", long, "--ids", full).stdout)
                    refused = cria("logits", pte, "--ids", ",".join(map(str, ids)), check=False)
                    self.assertEqual((refused.returncode, refused.stdout, refused.stderr.count(b"\n")), (1, b"", 1))
                    self.assertIn(str(most).encode(), refused.stderr)
                    self.assertEqual(cria("run", pte, *text).stdout, tokens)
                    self.assertEqual(cria("run", long, *text, "-c", n).stdout, tokens)

    def test_prompts_without_tokens(self):
        """Generation starts from the begin token; a list of ids that has none is refused."""
        for flags in (("-p", ""), ("-f", "/dev/null")):
            done = cria("run", self.pte, *flags, "-n", 4, "--temp", 0, "--json")
            answer = json.loads(done.stdout)
            self.assertEqual((answer["stats"]["n_prompt"], len(answer["ids"])), (1, 4))
        self.assert_usage_error("logits", self.pte, "--ids")
        self.assert_usage_error("logits", self.pte, "--ids", "")

    def test_bytes_of_a_decode_step(self):
        """All weights but the embedding's other rows; and the cache up to the token."""
        pte = cria_json("inspect", self.pte, "--json")
        weights = {d["key"]: d for d in pte["named_data"] if d["shape"]}
        total = sum(d["bytes"] for d in weights.values())
        embedding = weights["token_embd.weight"]
        per_position = next(m for m in pte["methods"] if m["name"] == "decode")["delegates"][0]["plan"]["kv_bytes_per_position"]
        row = cria_json("bench", self.pte, "-p", 0, "-n", 3, "-d", 5, "-r", 1, "--no-machine", "-o", "json")[0]
        # The table is read whole as the head (it is tied) and by one row as the embedding; the frequencies of the
        # rotation are read in every layer.
        n_layers = pte["metadata"]["config"]["n_layers"]
        step = total + embedding["bytes"] // embedding["shape"][0]
        step += (n_layers - 1) * weights["rope.inverse_frequencies"]["bytes"]
        self.assertEqual(row["touched_weight_bytes"], 3 * step)
        # Positions 0..5, 0..6 and 0..7 are read, three are written.
        self.assertEqual(row["touched_kv_bytes"], (6 + 7 + 8 + 3) * per_position)

    def test_profile(self):
        done = cria_json("profile", self.pte, "-p", 32, "-n", 4, "-d", 3, "--json")
        prefill, decode = done["phases"]
        self.assertEqual((prefill["phase"], prefill["n_depth"], prefill["n_tokens"]), ("prefill", 3, 32))
        self.assertEqual((decode["phase"], decode["n_forwards"], decode["n_tokens"]), ("decode", 4, 4))
        for phase in (prefill, decode):
            self.assertLess(phase["unaccounted_share"], 0.5)
            self.assertGreaterEqual(phase["unaccounted_share"], 0)
            for rows in (phase["by_op"], phase["by_layer"], phase["ops"]):
                self.assertEqual(sum(row["ns"] for row in rows), phase["total"]["ns"])
                self.assertEqual(sum(row["macs"] for row in rows), phase["total"]["macs"])
            self.assertEqual({row["delegate"] for row in phase["by_op"]}, {"CriaCpuBackend"})
            self.assertIn("attention", {row["op"] for row in phase["by_op"]})
        bench = cria_json("bench", self.pte, "-p", 32, "-n", 0, "-d", 3, "-r", 1, "--no-machine", "-o", "json")[0]
        self.assertEqual(prefill["total"]["macs"], bench["macs"])
        self.assertEqual(prefill["total"]["weight_bytes"], bench["touched_weight_bytes"])
        self.assertEqual(prefill["total"]["kv_bytes"], bench["touched_kv_bytes"])

    def test_a_prompt_that_is_worked_on_in_blocks_has_every_op(self):
        prefill = cria_json("profile", self.pte, "-p", 128, "-n", 1, "--json")["phases"][0]
        bench = cria_json("bench", self.pte, "-p", 128, "-n", 0, "-r", 1, "--no-machine", "-o", "json")[0]
        self.assertEqual(prefill["total"]["macs"], bench["macs"])
        swiglu = [row for row in prefill["ops"] if row["op"] == "swiglu"]
        self.assertEqual(len(swiglu), len([row for row in prefill["ops"] if "gate_up" in row["name"]]))
        self.assertEqual({row["ns"] for row in swiglu}, {0})  # part of the linear before
        self.assertGreater(min(row["ns"] for row in prefill["ops"] if "gate_up" in row["name"]), 0)

    def test_profile_tables(self):
        table = cria("profile", self.pte, "-p", 8, "-n", 2).stdout.decode()
        for text in ("prefill: 1 x 8 tokens", "decode: 2 x 1 tokens", "attention", "all ops", "unaccounted"):
            self.assertIn(text, table)
        self.assertNotIn("| layer", table)
        self.assertIn("| layer", cria("profile", self.pte, "-p", 8, "-n", 2, "--layers").stdout.decode())
        only = cria("profile", self.pte, "-p", 0, "-n", 1).stdout.decode()
        self.assertNotIn("prefill", only)

    def test_prompts_are_repeated_from_the_same_depth(self):
        for n_prompt in (1, 16):  # more often than the cache has room for behind each other
            prefill, decode = cria_json("profile", self.pte, "-p", n_prompt, "-n", 2, "-d", 3, "-r", 40, "--json")["phases"]
            once = cria_json("profile", self.pte, "-p", n_prompt, "-n", 2, "-d", 3, "--json")["phases"][0]
            self.assertEqual((prefill["n_depth"], prefill["n_forwards"], prefill["n_tokens"]), (3, 40, 40 * n_prompt))
            self.assertEqual((decode["n_depth"], decode["n_forwards"]), (3 + n_prompt, 2))
            for key in ("calls", "macs", "kv_bytes"):
                self.assertEqual(prefill["total"][key], 40 * once["total"][key])

    def test_calls_that_nobody_disturbed_are_told_apart(self):
        arguments = ("profile", self.pte, "-p", 16, "-n", 20, "-r", 20)
        self.assertIn("Undisturbed by others", cria(*arguments, "--watch-cores").stdout.decode())
        self.assertNotIn("Undisturbed by others", cria(*arguments).stdout.decode())
        watched = cria_json(*arguments, "--watch-cores", "--json")
        self.assertGreater(watched["additions_per_second"], 0)
        for phase in watched["phases"]:
            all_ns, known = 0, True
            for row in phase["by_op"]:
                self.assertLessEqual(row["undisturbed_calls"], row["calls"])
                self.assertLessEqual(row["undisturbed_ns"], row["ns"])
                known &= row["undisturbed_calls"] > 0
                all_ns += row["undisturbed_ns"] * row["calls"] / max(row["undisturbed_calls"], 1)
            # How much others do here is not known, only what follows from it.
            expected = 1e9 * phase["n_tokens"] / all_ns if known else 0
            self.assertAlmostEqual(phase["undisturbed_tokens_per_second"], expected, delta=1e-6 * expected)
        for phase in cria_json(*arguments, "--json")["phases"]:
            self.assertEqual((phase["total"]["undisturbed_calls"], phase["undisturbed_tokens_per_second"]), (0, 0))

    def test_profile_trace(self):
        trace = self.root / "trace.json"
        cria("profile", self.pte, "-p", 8, "-n", 2, "--trace", trace)
        events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X"]
        forwards = [e for e in events if e["cat"] == "forward"]
        self.assertEqual(len(forwards), 3)
        for event in events:
            self.assertGreaterEqual(event["ts"], 0)
            inside = [f for f in forwards if f["ts"] <= event["ts"] and event["ts"] + event["dur"] <= f["ts"] + f["dur"] + 0.01]
            self.assertEqual(len(inside), 1, event)
        self.assertEqual({e["args"]["delegate"] for e in events if e not in forwards}, {"CriaCpuBackend"})

    def test_wrong_usage(self):
        for arguments in (["bench"], ["bench", self.pte, "--machine"], ["bench", "--machine", "--machine-seconds", "-1"],
                          ["profile"], ["profile", self.pte, "-p", 0, "-n", 0],
                          ["profile", self.pte, "-p", "-1"], ["profile", self.pte, "-r", "0"],
                          ["profile", self.pte, "--json=maybe"]):
            self.assert_usage_error(*arguments)
        for arguments in (["9b", "x.pte"], ["small"], ["small", "folder", "--quant", "q4"],
                          ["small", "x.pte", "--quant", "q4", "--store", "Q4_K"], ["small", "x.pte", "--quant", "q99"],
                          ["small", "x.pte", "--layers", "-1"]):
            make_random_model(*arguments, code=2)

    def test_failures(self):
        for arguments in (["profile", self.root / "absent.pte"], ["profile", self.pte, "-p", 10**6],
                          ["profile", self.pte, "-p", 4, "-n", 1, "--trace", self.root / "no" / "trace.json"]):
            done = cria(*arguments, check=False)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertEqual(done.stdout, b"")
        for arguments in (["small", self.root / "no" / "x.pte"], ["small", self.root / "x.pte", "--ctx", 10**6],
                          ["small", self.root / "x.pte", "--tokenizer", self.root / "absent"]):
            make_random_model(*arguments, code=1)
        self.assertFalse((self.root / "x.pte").exists())

    def test_random_models_of_every_encoding(self):
        for flag, names in (("--quant", ("f16", "q8", "q4", "q3", "mxfp4")),
                            ("--store", ("F32", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
                                         "IQ4_NL", "IQ4_XS", "MXFP4"))):
            for name in names:
                with self.subTest(flag=flag, name=name):
                    out = self.root / f"{name}.pte"
                    make_random_model("small", out, flag, name)
                    rows = cria_json("bench", out, "-p", 8, "-n", 1, "-r", 1, "--no-machine", "-o", "json")
                    self.assertEqual(len(rows), 2)
                    logits = cria("logits", out, "--ids", "1,2,3").stdout.decode()
                    self.assertNotIn("nan", logits.lower())

    def test_random_models_are_the_same_every_time(self):
        made = [self.root / name for name in ("a.pte", "b.pte")]
        make_random_model("small", made[0], "-t", 1)
        make_random_model("small", made[1], "-t", 3)
        self.assertEqual(made[0].read_bytes(), made[1].read_bytes())
        folder = self.root / "small"
        make_random_model("small", folder)
        make_random_model("small", self.root / "one", "--layers", 1)
        self.assertEqual(json.loads((self.root / "one" / "config.json").read_text())["num_hidden_layers"], 1)
        cria("inspect", self.root / "one")
        cria("compile", folder, "-o", self.root / "folder.pte", "--quant", "f16")
        make_random_model("small", self.root / "direct.pte", "--quant", "f16")
        ids = ("--ids", "5,6,7,8")
        self.assertEqual(cria("logits", self.root / "folder.pte", *ids).stdout,
                         cria("logits", self.root / "direct.pte", *ids).stdout)


if __name__ == "__main__":
    unittest.main()
