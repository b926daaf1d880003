"""A trained llama2.c model generates what its reference program prints."""

import json
import tempfile
import unittest

from support import SHARED, cria, require

FOLDER = SHARED / "stories260k"
GOLDEN = FOLDER / "golden-greedy-256.txt"


class Stories260k(unittest.TestCase):
    def setUp(self):
        self.cache = tempfile.TemporaryDirectory()
        self.addCleanup(self.cache.cleanup)

    def run_model(self, *arguments):
        return cria("run", FOLDER / "stories260K.bin", "-p", "", "-n", 256, "-c", 512, "--temp", 0, *arguments,
                    cache=self.cache.name).stdout

    def test_256_greedy_tokens(self):
        golden = GOLDEN.read_bytes().rstrip(b"\n")
        text = self.run_model()
        self.assertEqual(text.rstrip(b"\n"), golden)
        # Naming the tokenizer instead of finding it changes nothing; nor does the number of threads.
        self.assertEqual(text, self.run_model("--tokenizer", FOLDER / "tok512.bin", "-t", 1))
        self.assertEqual(text, self.run_model("-t", 3))

    def test_json_tells_the_same(self):
        answer = json.loads(self.run_model("--json"))
        self.assertEqual(answer["text"].rstrip("\n"), GOLDEN.read_text().rstrip("\n"))
        self.assertEqual(answer["stats"]["n_generated"], len(answer["ids"]))


if __name__ == "__main__":
    require(FOLDER)
    unittest.main()
