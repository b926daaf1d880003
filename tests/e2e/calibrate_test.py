"""`cria calibrate`: shards, interruptions, what is refused."""

import json
import os
import random
import signal
import subprocess
import time
import unittest

from support import CRIA, DRAFT, HELDOUT, TINY, FolderCase, cria

STORIES = HELDOUT.with_name("stories.txt")
TOOLS = HELDOUT.with_name("tools.jsonl")


class Calibrate(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cache = cls.root / "cache"

    def calibrate(self, out, *arguments, model=TINY, text=STORIES, check=True):
        words = ["calibrate", model, "--text", text, "-o", self.root / out, "-c", 128, "--json", *arguments]
        done = cria(*words, cache=self.cache, check=check)
        return json.loads(done.stdout) if check else done

    def read(self, name):
        return (self.root / name).read_bytes()

    def test_summary(self):
        report = self.calibrate("summary", "--chunks", 6)
        self.assertEqual((report["n_windows"], report["n_tokens"], report["n_inputs"]), (6, 768, 17))
        self.assertEqual(report["n_columns"], 4 * (3 * 256 + 512) + 256)
        self.assertEqual(report["file_bytes"], len(self.read("summary")))
        self.assertTrue(report["has_hessian"])
        self.assertLess(report["perplexity"], 5)
        names = [row["name"] for row in report["inputs"]]
        self.assertEqual(names[:4], ["blk.0.attn_in", "blk.0.attn_mixed", "blk.0.ffn_in", "blk.0.ffn_active"])
        for row in report["inputs"]:
            self.assertGreaterEqual(row["largest_mean_square"], row["mean_square"])
            self.assertGreater(row["mean_square"], 0)
        small = self.calibrate("small", "--chunks", 6, "--no-hessian")
        self.assertFalse(small["has_hessian"])
        self.assertEqual(small["inputs"], report["inputs"])
        self.assertLess(small["file_bytes"], 400_000)

    def test_shards_merge_to_the_bytes_of_one_run(self):
        self.calibrate("whole", "--chunks", 12)
        rng = random.Random(7)
        for trial in range(2):
            cuts = [0, 1] + sorted(rng.sample(range(2, 12), 2)) + [12]
            parts = []
            for first, end in zip(cuts, cuts[1:]):
                parts.append(self.root / f"part{trial}-{first}")
                isa = {"CRIA_ISA": "generic"} if first == 0 and trial == 0 else {}  # slow: one window
                cria("calibrate", TINY, "--text", STORIES, "-o", parts[-1], "-c", 128, "--from-chunk", first, "--chunks",
                     end - first, "-t", rng.choice([1, 3]), cache=self.cache, env=isa)
            rng.shuffle(parts)
            cria("calibrate", "--merge", *parts, "-o", self.root / "merged")
            self.assertEqual(self.read("merged"), self.read("whole"))
        twice = cria("calibrate", "--merge", parts[0], parts[0], "-o", self.root / "twice", check=False)
        self.assertEqual(twice.returncode, 1)
        self.assertIn(b"would be counted twice", twice.stderr)
        self.assertFalse((self.root / "twice").exists())

    def test_two_texts_are_two_shards(self):
        start = self.root / "start.txt"
        start.write_bytes(STORIES.read_bytes()[:3000])
        n_start = self.calibrate("stories", text=start)["n_windows"]
        self.calibrate("both", "--text", TOOLS, "--chunks", n_start + 5, text=start)
        self.calibrate("tools", "--chunks", 5, text=TOOLS)
        cria("calibrate", "--merge", self.root / "tools", self.root / "stories", "-o", self.root / "merged2")
        self.assertEqual(self.read("merged2"), self.read("both"))

    def test_killed_and_interrupted_runs_go_on(self):
        self.calibrate("warm", "--chunks", 1)  # compiles the model
        begin = time.monotonic()
        self.calibrate("uninterrupted", "--chunks", 48, "-t", 1)
        whole = time.monotonic() - begin
        command = [CRIA, "calibrate", TINY, "--text", STORIES, "-o", self.root / "killed", "-c", "128", "--chunks", "48", "-t", "1", "--json"]
        environment = dict(os.environ, CRIA_CACHE=str(self.cache))
        n_killed = 0
        for attempt in range(10):
            how = (signal.SIGKILL, signal.SIGINT)[attempt % 2]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            # Windows count once a batch of 16 is done. Of the time that all take here, each run has a fifth more of what the one
            # before had: some end in the first batch, some in a later one.
            time.sleep(0.3 * whole * 1.2**attempt)
            process.send_signal(how)
            out, err = process.communicate()
            if process.returncode == 0:
                break
            n_killed += 1
            self.assertFalse((self.root / "killed").exists())
            if how == signal.SIGINT:
                self.assertEqual(process.returncode, 1, err)
                self.assertIn(b"the same command goes on", err)
        else:
            out = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        self.assertGreater(n_killed, 0)
        report = json.loads(out)
        self.assertGreater(report["n_windows_resumed"], 0)
        self.assertEqual((report["n_windows"], report["n_tokens"]), (48, 48 * 128))
        self.assertEqual(self.read("killed"), self.read("uninterrupted"))
        self.assertFalse((self.root / "killed.calibrating").exists())

    def test_another_command_does_not_go_on(self):
        process = subprocess.Popen([CRIA, "calibrate", TINY, "--text", STORIES, "-o", self.root / "other", "-c", "128"],
                                   env=dict(os.environ, CRIA_CACHE=str(self.cache)), stdout=subprocess.DEVNULL)
        while not (self.root / "other.calibrating").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)
        process.kill()
        process.wait()
        self.assertTrue((self.root / "other.calibrating").exists())
        for changed, message in [({"model": DRAFT}, "another model: n_layers is 4, expected 2"),
                                 ({"text": TOOLS}, "another text")]:
            refused = self.calibrate("other", check=False, **changed)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(message, refused.stderr.decode())
            self.assertIn("to start again", refused.stderr.decode())

    def test_refuses(self):
        short = self.root / "short.txt"
        short.write_text("Once upon a time.")
        refused = self.calibrate("x", check=False, text=short)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr.decode(), r"short.txt: the text has \d+ tokens, one window needs 128")
        lines = self.root / "wrong.jsonl"
        lines.write_text('{"text": "a"}\n{"messages": [{"content": "x"}]}\n')
        self.assertIn("wrong.jsonl: line 2: a message without a role",
                      self.calibrate("x", check=False, text=lines).stderr.decode())
        self.assertIn("none is left from window 100000",
                      self.calibrate("x", "--from-chunk", 100000, check=False).stderr.decode())
        self.assertEqual(cria("calibrate", "-o", self.root / "x", check=False).returncode, 2)
        damaged = self.root / "damaged"
        self.calibrate("whole2", "--chunks", 1)
        data = bytearray(self.read("whole2"))
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        refused = cria("calibrate", "--merge", damaged, "-o", self.root / "x", check=False)
        self.assertIn("the file is damaged", refused.stderr.decode())
        self.assertFalse((self.root / "x").exists())


if __name__ == "__main__":
    unittest.main()
