"""The Python contract, end to end: user code as people write it, over a model compiled for it.

Usage: test_contract.py CRIA_COMMAND PYTHON_DIR MODELS_DIR (ctest passes them).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CRIA, PYTHON_DIR, MODELS_DIR = (str(pathlib.Path(p).resolve()) for p in sys.argv[1:4])
sys.path.insert(0, PYTHON_DIR)

import executorch_npu  # noqa: E402
from executorch_npu import Buffer, Engine, ops  # noqa: E402
from llama_edge import Llama32Tokenizer  # noqa: E402

MODEL_ID = "meta-llama/Llama-3.2-3B"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
PROMPT = "Once upon a time"


def greedy(engine, tokenizer, buffer, prompt, n_tokens):
    """The loop of the contract: the whole prompt first, one id at a time afterwards."""
    ids, generated = tokenizer.encode(prompt), []
    for _ in range(n_tokens):
        logits = engine.forward(ids, buffer)
        next_id = ops.argmax(logits)
        generated.append(next_id)
        if next_id == tokenizer.eos_id:
            break
        ids = [next_id]
    return generated


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls.folder.name)
        (root / "models").mkdir()
        cls.pte = root / "models" / "llama-3.2-3b-int4.pte"
        subprocess.run([CRIA, "compile", MODELS_DIR + "/cria-tiny", "-o", cls.pte, "--quant", "q4"],
                       check=True, capture_output=True)
        # A Hugging Face cache that holds only the tokenizer's files.
        repo = root / "hub" / ("models--" + MODEL_ID.replace("/", "--"))
        snapshot = repo / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("0" * 40)
        for name in TOKENIZER_FILES:
            if (pathlib.Path(MODELS_DIR) / "cria-tiny" / name).exists():
                shutil.copy(pathlib.Path(MODELS_DIR) / "cria-tiny" / name, snapshot)
        os.environ["HF_HUB_CACHE"] = str(root / "hub")
        os.chdir(root)

    @classmethod
    def tearDownClass(cls):
        os.chdir("/")
        cls.folder.cleanup()

    def setUp(self):
        self.device = executorch_npu.init_device(power_profile="high_performance")
        self.engine = Engine("./models/llama-3.2-3b-int4.pte")
        self.tokenizer = Llama32Tokenizer.from_pretrained(MODEL_ID)
        self.buffer = Buffer(self.engine.get_kv_cache_size(1024))

    def test_loop_equals_the_command_line(self):
        generated = greedy(self.engine, self.tokenizer, self.buffer, PROMPT, 512)
        run = subprocess.run([CRIA, "run", self.pte, "-p", PROMPT, "-n", str(len(generated)), "-c", "1024",
                              "--temp", "0", "--json", "--ignore-eos"], check=True, capture_output=True)
        self.assertGreater(len(generated), 10)
        self.assertEqual(generated, json.loads(run.stdout)["ids"])

    def test_reset_gives_a_fresh_run(self):
        first = greedy(self.engine, self.tokenizer, self.buffer, PROMPT, 20)
        self.buffer.reset()
        self.assertEqual(self.buffer.position, 0)
        self.assertEqual(first, greedy(self.engine, self.tokenizer, self.buffer, PROMPT, 20))

    def test_tokenizer(self):
        ids = self.tokenizer.encode(PROMPT)
        self.assertEqual(ids[0], self.tokenizer.bos_id)
        self.assertEqual(self.tokenizer.decode(ids), PROMPT)
        self.assertIsInstance(self.tokenizer.eos_id, int)
        self.assertEqual(self.tokenizer.vocab_size, self.engine.vocab_size)

    def test_logits_are_a_buffer_of_floats(self):
        logits = self.engine.forward([1, 2, 3], self.buffer)
        view = memoryview(logits)
        self.assertEqual((view.format, view.shape), ("f", (self.engine.vocab_size,)))
        self.assertEqual(ops.argmax(logits), max(range(len(logits)), key=lambda i: logits[i]))
        self.assertEqual(ops.argmax([0.5, 2.0, 2.0]), 1)

    def test_errors_are_python_errors(self):
        with self.assertRaises(FileNotFoundError):
            Engine("./models/absent.pte")
        with self.assertRaises(FileNotFoundError):
            Llama32Tokenizer.from_pretrained("meta-llama/absent")
        with self.assertRaises(ValueError):
            executorch_npu.init_device(power_profile="warp")
        with self.assertRaises(ValueError):
            self.engine.forward([], self.buffer)
        with self.assertRaises(ValueError):
            self.engine.forward([10**6], self.buffer)
        with self.assertRaises(ValueError):
            self.engine.get_kv_cache_size(0)
        small = Buffer(self.engine.get_kv_cache_size(4))
        with self.assertRaises(MemoryError):
            self.engine.forward([1, 2, 3, 4, 5], small)
        with self.assertRaises(ValueError):
            ops.argmax([])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
