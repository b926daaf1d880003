"""`cria tokenize` on the Llama 3 test cases, from every form that its tokenizer comes in."""

import ast
import unittest

from support import SHARED, cria, require

FOLDER = SHARED / "llama3"
SEPARATOR = "\n__ggml_vocab_test__\n"


class Cases(unittest.TestCase):
    def test_all_cases(self):
        texts = (FOLDER / "cases.inp").read_bytes().decode().split(SEPARATOR)
        wanted = [[int(i) for i in line.split()] for line in (FOLDER / "cases.out").read_text().split("\n")]
        texts, wanted = texts[: len(wanted)], wanted[: len(texts)]
        self.assertGreater(len(texts), 40)
        for text, ids in zip(texts, wanted):
            with self.subTest(text=text):
                done = cria("tokenize", FOLDER / "tokenizer.model", "--ids", "--no-bos", "--no-parse-special",
                            input=text.encode())
                self.assertEqual(ast.literal_eval(done.stdout.decode()), ids)


if __name__ == "__main__":
    require(FOLDER)
    unittest.main()
