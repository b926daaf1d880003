"""Checks of the training code and of the exported folders: python3 -m unittest test_training."""

import json
import random
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import torch

import chat
import corpus_notes
import export
import model as llama
from train_tokenizer import ASCII_SPLIT, N_VOCAB, SPECIAL, Tokenizer

MODELS = Path(__file__).parent.parent
FOLDERS = [MODELS / "cria-tiny", MODELS / "cria-draft"]


def encode_with_merges(word: str, merges: dict[tuple[str, str], int], vocab: dict[str, int],
                       alphabet: dict[int, str]) -> list[int]:
    """One pre-token as Hugging Face's BPE with ignore_merges encodes it."""
    parts = [alphabet[b] for b in word.encode()]
    if "".join(parts) in vocab:
        return [vocab["".join(parts)]]
    while True:
        pairs = [(merges[p], i) for i, p in enumerate(zip(parts, parts[1:])) if p in merges]
        if not pairs:
            return [vocab[p] for p in parts]
        _, i = min(pairs)
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


class TokenizerTest(unittest.TestCase):
    """The exported tokenizer.json against the tokenizer that the models were trained with."""

    def setUp(self) -> None:
        _, self.tokenizer = export.load_model(FOLDERS[0])
        self.file = json.loads((FOLDERS[0] / "tokenizer.json").read_text())

    def test_merges_give_the_same_ids_as_ranks(self) -> None:
        merges = {tuple(m.split(" ")): i for i, m in enumerate(self.file["model"]["merges"])}
        rng = random.Random(3)
        words = set(ASCII_SPLIT.findall((MODELS / "heldout" / "stories.txt").read_text()))
        words |= {"".join(rng.choices("abcdefghionrstuy", k=rng.randrange(2, 14))) for _ in range(2000)}
        words |= {"caf\u00e9", "\u4f60\u597d", "\U0001f999"}
        for word in sorted(words):
            got = encode_with_merges(word, merges, self.file["model"]["vocab"], export.byte_alphabet())
            self.assertEqual(got, self.tokenizer.encode_word(word), word)

    def test_text_survives(self) -> None:
        text = "".join(chr(c) for c in range(32, 127)) + "\n\n \t x  y\r\n"
        self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)

    def test_ids_are_dense(self) -> None:
        ids = sorted(self.file["model"]["vocab"].values()) + [t["id"] for t in self.file["added_tokens"]]
        self.assertEqual(ids, list(range(N_VOCAB)))
        self.assertEqual([t["content"] for t in self.file["added_tokens"]], SPECIAL)

    def test_both_models_share_the_vocabulary(self) -> None:
        self.assertEqual((FOLDERS[0] / "tokenizer.json").read_bytes(), (FOLDERS[1] / "tokenizer.json").read_bytes())


class ModelTest(unittest.TestCase):
    """The maths that training, evaluation and golden files share."""

    def test_cache_gives_the_logits_of_the_whole_prompt(self) -> None:
        for folder in FOLDERS:
            net, _ = export.load_model(folder)
            ids = torch.arange(100, 140)[None]
            with torch.no_grad():
                whole = net(ids)
                past: list[list[torch.Tensor]] = [[] for _ in net.model.layers]
                parts = torch.cat([net(ids[:, :30], past=past), net(ids[:, 30:37], past=past),
                                   net(ids[:, 37:38], past=past)], 1)
            self.assertLess(float((whole[:, :38] - parts).abs().max()), 1e-3)

    def test_rope_scaling_has_three_ranges(self) -> None:
        c = llama.Config()
        plain = c.rope_theta ** -(torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
        ratio = plain / llama.scaled_frequencies(c)
        self.assertAlmostEqual(float(ratio[0]), 1.0)
        self.assertAlmostEqual(float(ratio[-1]), c.rope_factor)
        self.assertTrue(bool(((ratio > 1.01) & (ratio < c.rope_factor - 0.01)).any()))


class HelperTest(unittest.TestCase):
    """The second process of the trainer."""

    def test_it_ends_with_the_trainer(self) -> None:
        program = ("import time, torch, model, train; helper = train.Helper(model.Llama(model.CONFIGS['cria-draft'])); "
                   "print(helper.process.pid, flush=True); time.sleep(600)")
        trainer = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent, stdout=subprocess.PIPE)
        self.assertGreater(int(trainer.stdout.readline()), 0)
        trainer.send_signal(signal.SIGKILL)
        # The helper has the same standard output, which ends when both have ended.
        trainer.communicate(timeout=60)


class HeldoutTest(unittest.TestCase):
    """The held-out files."""

    def test_prompts_are_what_the_template_renders(self) -> None:
        for name in ("notes.jsonl", "tools.jsonl"):
            for line in (MODELS / "heldout" / name).read_text().splitlines():
                row = json.loads(line)
                self.assertEqual(row["prompt"], chat.render(row["messages"], row["date"], row.get("tools")))

    def test_facts_of_a_note_are_said(self) -> None:
        rng = random.Random(5)
        for _ in range(300):
            case = corpus_notes.make_case(rng)
            for text in (corpus_notes.dictation(rng, case), corpus_notes.dialogue(rng, case)):
                for fact in (case.name.split()[0], case.name.split()[1], str(case.age), case.present, case.absent,
                             case.assessment, case.drug, case.temperature):
                    self.assertIn(fact, text)


if __name__ == "__main__":
    unittest.main()
