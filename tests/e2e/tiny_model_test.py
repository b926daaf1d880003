"""The model that ships, from its Hugging Face folder to text."""

import json
import unittest

from support import DRAFT, HELDOUT, REPOSITORY, TINY, FolderCase, cria, cria_json, kl_divergence, read_npy

GOLDEN = REPOSITORY / "models" / "golden"


class TinyModel(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pte = cls.root / "tiny.pte"
        cria("compile", TINY, "-o", cls.pte, "--quant", "q4")

    def generate(self, model, *arguments):
        return cria_json("run", model, "-p", "Once upon a time", "--temp", 0, "--json", *arguments, cache=self.root / "cache")

    def test_goldens_of_the_training_framework(self):
        cases = sorted(GOLDEN.glob("*.json"))
        self.assertTrue(cases)
        for case in cases:
            with self.subTest(case=case.name):
                golden = json.loads(case.read_text())
                model = TINY if "tiny" in case.name else DRAFT
                out = self.root / "logits.npy"
                cria("logits", model, "--ids", ",".join(map(str, golden["ids"])), "--act", "a16", "--npy", out,
                     cache=self.root / "cache")
                # Same weights, so only float rounding and the half-precision KV cache differ.
                self.assertLess(kl_divergence(read_npy(case.with_suffix(".npy")), read_npy(out)), 1e-5)

    def test_compiling_twice_gives_the_same_bytes(self):
        again = self.root / "again.pte"
        cria("compile", TINY, "-o", again, "--quant", "q4", "-t", 1)
        self.assertEqual(self.pte.read_bytes(), again.read_bytes())

    def test_run_from_the_folder_equals_run_from_the_pte(self):
        direct = self.generate(TINY, "--quant", "q4", "-n", 40)
        compiled = self.generate(self.pte, "-n", 40)
        self.assertEqual(direct["ids"], compiled["ids"])
        files = list((self.root / "cache").glob("*.pte"))
        before = [f.stat().st_mtime_ns for f in files]
        self.assertEqual(direct["ids"], self.generate(TINY, "--quant", "q4", "-n", 40)["ids"])
        self.assertEqual(before, [f.stat().st_mtime_ns for f in files], "compiled again though nothing changed")

    def test_tasks_are_scored(self):
        notes = HELDOUT.with_name("notes.jsonl")
        report = cria_json("eval", self.pte, "--task", notes, "--limit", 5, "--json")["tasks"][0]
        self.assertEqual(report["n_examples"], 5)
        # 97 % of the notes are right, so all of five being wrong is a broken score.
        self.assertGreater(report["exact"], 0.5)
        examples = [json.loads(line) for line in notes.read_text().splitlines()[:3]]
        examples[1]["expected"] += "\nPlan: something else"
        wrong = self.root / "wrong.jsonl"
        wrong.write_text("\n".join(map(json.dumps, examples)) + "\n")
        changed = cria_json("eval", self.pte, "--task", wrong, "--json")["tasks"][0]
        right = cria_json("eval", self.pte, "--task", notes, "--limit", 3, "--json")["tasks"][0]
        self.assertAlmostEqual(changed["exact"], right["exact"] - 1 / 3)
        self.assertLess(changed["lines"], right["lines"])

    def test_task_lines_that_are_no_examples_are_named(self):
        bad = self.root / "bad.jsonl"
        for content, expected in [('{"prompt": "a", "expected": "b"}\n{"prompt": "a"}', "line 2: has no 'expected'"),
                                  ('{"prompt": 3, "expected": "b"}', "line 1"), ("{", "line 1"), ("", "no examples"),
                                  (json.dumps({"prompt": "a " * 5000, "expected": "b"}), "the model's context")]:
            bad.write_text(content)
            done = cria("eval", self.pte, "--task", bad, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(expected, done.stderr.decode())
        self.assertEqual(cria("eval", self.pte, check=False).returncode, 2)

    def test_limits_and_stops(self):
        self.assertEqual(self.generate(self.pte, "-n", 7)["stats"]["n_generated"], 7)
        full = self.generate(self.pte, "-c", 24, "--ignore-eos")
        self.assertEqual(full["stop_reason"], "context")
        self.assertLessEqual(full["stats"]["n_prompt"] + full["stats"]["n_generated"], 25)
        text = self.generate(self.pte, "-n", 60)["text"]
        word = text.split()[5]
        stopped = self.generate(self.pte, "-n", 60, "--stop", word)
        self.assertEqual(stopped["stop_reason"], "stop")
        self.assertEqual(stopped["text"], text[: text.index(word)])

    def test_seed_decides(self):
        def sample(seed):
            done = cria("run", self.pte, "-p", "Once upon a time", "-n", 30, "--temp", 1.5, "--top-k", 0, "--top-p", 1,
                        "--min-p", 0, "-s", seed)
            return done.stdout

        self.assertEqual(sample(1), sample(1))
        self.assertGreater(len({sample(seed) for seed in range(1, 5)}), 1)

    def test_stdout_is_the_text_alone(self):
        done = cria("run", self.pte, "-p", "Once upon a time", "-n", 20, "--temp", 0)
        self.assertEqual(done.stdout.decode(), self.generate(self.pte, "-n", 20)["text"])
        self.assertEqual(done.stderr, b"")

    def test_activations_and_threads(self):
        ids = self.generate(self.pte, "-n", 30, "-t", 1)["ids"]
        self.assertEqual(ids, self.generate(self.pte, "-n", 30, "-t", 4)["ids"])
        self.assertEqual(len(self.generate(self.pte, "-n", 30, "--act", "a16", "--ignore-eos")["ids"]), 30)

    def test_kv_cache_in_8_bits(self):
        eight = self.root / "kv8.pte"
        cria("compile", TINY, "-o", eight, "-ctk", "q8_0", "-ctv", "q8_0", "--ctx", 100)
        program = cria_json("inspect", eight, "--json")
        plan = program["methods"][0]["delegates"][0]["plan"]
        self.assertEqual((plan["cache_type_k"], plan["cache_type_v"]), ("q8_0", "q8_0"))
        # 4 layers, K and V, 2 heads of 64: 16 positions in a panel of 1024 codes and 32 half floats.
        self.assertEqual(plan["kv_bytes_per_position"], 4 * 2 * 2 * (1024 + 64) // 16)
        direct = self.generate(TINY, "-ctk", "q8_0", "-ctv", "q8_0", "-n", 40)
        self.assertEqual(direct["ids"], self.generate(eight, "-n", 40)["ids"])
        full = self.generate(eight, "-c", 20, "--ignore-eos")  # 20 positions are held as 32
        self.assertEqual(full["stop_reason"], "context")
        self.assertLessEqual(full["stats"]["n_prompt"] + full["stats"]["n_generated"], 33)
        row = cria_json("bench", eight, "-p", 8, "-n", 0, "-r", 1, "--no-machine", "-o", "json")[0]
        self.assertEqual((row["type_k"], row["type_v"]), ("q8_0", "q8_0"))
        refused = cria("run", eight, "-p", "x", "-ctk", "f16", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"compiled with -ctk q8_0, -ctk f16 needs the checkpoint", refused.stderr)

    def test_eval(self):
        report = cria_json("eval", TINY, "--quant", "q4", "--reference", TINY, "--text", HELDOUT, "-c", 256,
                           "--chunks", 8, "--json", cache=self.root / "cache")
        self.assertGreater(report["perplexity"], 1)
        self.assertGreater(report["kl_mean"], 0)
        self.assertLess(report["kl_mean"], 0.5)
        self.assertGreater(report["top1_agreement"], 0.8)

    def test_bench(self):
        rows = cria_json("bench", self.pte, "-p", 32, "-n", 4, "-pg", "16,2", "-r", 2, "-o", "json")
        self.assertEqual([(r["n_prompt"], r["n_gen"]) for r in rows], [(32, 0), (0, 4), (16, 2)])
        for row in rows:
            self.assertGreater(row["avg_ts"], 0)
            self.assertEqual(len(row["samples_ns"]), 2)
        table = cria("bench", self.pte, "-p", 8, "-n", 2, "-r", 1).stdout.decode()
        self.assertIn("pp8", table)
        self.assertIn("tg2", table)

    def test_inspect(self):
        pte = cria_json("inspect", self.pte, "--json")
        self.assertEqual(pte["kind"], "pte")
        self.assertLessEqual({"prefill", "decode", "verify"}, {method["name"] for method in pte["methods"]})
        folder = cria_json("inspect", TINY, "--json")
        self.assertTrue(folder["llama"]["importable"])
        self.assertIn("attn", cria("inspect", self.pte).stdout.decode())

    def test_chat(self):
        done = cria("chat", self.pte, "-n", 8, "--temp", 0, input=b"Hello\n/clear\nHello\n/bye\n")
        answers = done.stdout.decode().split("\n")
        self.assertEqual(answers[0], answers[1])


if __name__ == "__main__":
    unittest.main()
