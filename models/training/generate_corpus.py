"""Writes the training documents and the held-out sets.

    python3 generate_corpus.py --documents 60000 --out DIR [--heldout ../heldout]

DIR/train.jsonl holds one document a line: {"kind", "pieces": [[text, is_target], ...]}; the text of
a document is its pieces joined, special tokens by name. Targets are what the model must write;
the rest of a conversation is context. A document whose key (the combination of facts in it) falls
into the held-out twentieth by hash is never written to the training set, and only such documents
are in the held-out sets, so the two are disjoint by construction; --check proves it from the files.
"""

import argparse
import datetime
import hashlib
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import chat
import corpus_notes as notes
import corpus_smalltalk as smalltalk
import corpus_stories as stories
import corpus_tools as tools

BEGIN, END, TURN_END = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
KINDS = {"story": 0.30, "note": 0.45, "tool": 0.20, "chat_story": 0.05}
HELDOUT_SHARE = 20  # one key in so many
SYSTEM = [None, None, None, "You are a helpful assistant.", "You are a helpful assistant.",
          "You are an assistant on a small device. Be brief.", "Answer the user."]
NOTE_SYSTEM = SYSTEM + ["You write structured notes from consultations."] * 3
TOOL_SYSTEM = SYSTEM + ["Reply with a tool call in JSON."] * 3
NOTE_REQUEST = ["Write a note from this consultation.", "Turn this into a structured note.",
                "Write the note for this visit.", "Make a note of this consultation.", "Note, please."]
STORY_REQUEST = ["Tell me a story about {n} and a {t}.", "Tell me a short story about {n} and a {t}.",
                 "I would like to hear a story. It is about {n} and a {t}.",
                 "Write a story with {n} and a {t} in it."]


class Document(NamedTuple):
    """messages and tools: None for plain text; expected: what greedy decoding should give."""
    kind: str
    key: str
    pieces: list[tuple[str, bool]]
    messages: list[dict[str, str]] | None = None
    date: str = ""
    tools: list[dict[str, Any]] | None = None
    expected: str = ""


def is_heldout(key: str) -> bool:
    """Deterministic over runs and machines."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % HELDOUT_SHARE == 0


def make_date(rng: random.Random) -> str:
    """A day from 2023 to 2028 as the template writes it."""
    day = datetime.date(2023, 1, 1) + datetime.timedelta(days=rng.randrange(6 * 365))
    return day.strftime("%d %b %Y")


def conversation(rng: random.Random, kind: str, key: str, system: str | None, user: str, answer: str,
                 declared: list[dict[str, Any]] | None = None) -> Document:
    """One exchange in the chat format."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": user})
    date = make_date(rng)
    prompt = chat.render(messages, date, declared)
    return Document(kind, key, [(prompt, False), (answer + TURN_END, True)], messages, date, declared, answer)


def make_story(rng: random.Random) -> Document:
    """Plain text from begin to end of text."""
    story = stories.make_story(rng)
    return Document("story", story.key, [(BEGIN, False), (story.text + END, True)], expected=story.text)


def make_chat_story(rng: random.Random) -> Document:
    """A story on request."""
    story = stories.make_story(rng)
    user = rng.choice(STORY_REQUEST).format(n=story.hero, t=story.thing)
    return conversation(rng, "chat_story", story.key, rng.choice(SYSTEM), user, story.text)


def make_note(rng: random.Random) -> Document:
    """Dictation or dialogue -> note."""
    case = notes.make_case(rng)
    body = notes.dictation(rng, case) if rng.random() < 0.5 else notes.dialogue(rng, case)
    user = rng.choice(NOTE_REQUEST) + "\n\n" + body
    return conversation(rng, "note", notes.case_key(case), rng.choice(NOTE_SYSTEM), user, notes.note(case))


def make_tool(rng: random.Random) -> Document:
    """Request -> call; one in six declares one or two tools in the prompt."""
    request = tools.make_request(rng)
    declared = None
    if rng.random() < 1 / 6:
        names = [request.name] + [n for n in [rng.choice(list(tools.TOOLS))] if n != request.name]
        rng.shuffle(names)
        declared = [tools.tool_schema(n, rng) for n in names]
    return conversation(rng, "tool", request.key, rng.choice(TOOL_SYSTEM), request.text,
                        tools.call_json(request), declared)


def make_smalltalk(rng: random.Random) -> Document:
    """A short exchange; these are few and not kept apart from anything."""
    user, answer = smalltalk.make_exchange(rng)
    return conversation(rng, "smalltalk", user, rng.choice(SYSTEM), user, answer)


MAKERS = {"story": make_story, "note": make_note, "tool": make_tool, "chat_story": make_chat_story}


def join(first: Document, second: Document) -> Document:
    """Two exchanges as one conversation; the second turn loses its header and system message."""
    text = second.pieces[0][0]
    text = text[text.index("<|start_header_id|>user"):]
    return Document(first.kind, first.key, first.pieces + [(text, False)] + second.pieces[1:])


def make_training_document(rng: random.Random) -> Document:
    """A document with no held-out key; one conversation in twelve has a second exchange."""
    def draw(kind: str) -> Document:
        while True:
            document = MAKERS[kind](rng)
            if not is_heldout(document.key):
                return document
    document = draw(rng.choices(list(KINDS), list(KINDS.values()))[0])
    if document.messages and not document.tools and rng.random() < 1 / 12:
        other = draw(rng.choice(["note", "tool", "tool", "chat_story"]))
        if not other.tools:
            return join(document, other)
    return document


def write_training(path: Path, n_documents: int, seed: int) -> None:
    """n documents in random order, then a twentieth as many short exchanges."""
    rng = random.Random(seed)
    with open(path, "w") as out:
        for i in range(n_documents + n_documents // 20):
            d = make_training_document(rng) if i < n_documents else make_smalltalk(rng)
            out.write(json.dumps({"kind": d.kind, "pieces": d.pieces}) + "\n")


def make_heldout(rng: random.Random, kind: str, n: int) -> list[Document]:
    """n documents with distinct held-out keys."""
    found: dict[str, Document] = {}
    while len(found) < n:
        document = MAKERS[kind](rng)
        if is_heldout(document.key):
            found.setdefault(document.key, document)
    return list(found.values())


def write_heldout(folder: Path, seed: int) -> None:
    """stories.txt, notes.jsonl, tools.jsonl and the mixed heldout.txt."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"note": make_heldout(rng, "note", 300), "tool": make_heldout(rng, "tool", 300),
            "story": make_heldout(rng, "story", 120)}
    for kind, name in (("note", "notes.jsonl"), ("tool", "tools.jsonl")):
        with open(folder / name, "w") as out:
            for d in sets[kind]:
                row = {"messages": d.messages, "date": d.date, "tools": d.tools, "prompt": d.pieces[0][0],
                       "expected": d.expected}
                out.write(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n")
    (folder / "stories.txt").write_text("\n".join(d.expected for d in sets["story"]) + "\n")
    mixed = make_heldout(rng, "story", 60) + make_heldout(rng, "note", 60) + make_heldout(rng, "tool", 60)
    rng.shuffle(mixed)
    (folder / "heldout.txt").write_text("\n".join("".join(t for t, _ in d.pieces) for d in mixed) + "\n")


def check_disjoint(train: Path, folder: Path) -> None:
    """No held-out prompt, answer or story occurs in the training file."""
    seen = set()
    with open(train) as rows:
        for row in rows:
            seen.update(text.removesuffix(TURN_END).removesuffix(END) for text, target in json.loads(row)["pieces"]
                        if target)
    held = [json.loads(r)["expected"] for n in ("notes.jsonl", "tools.jsonl") for r in open(folder / n)]
    held += (folder / "stories.txt").read_text().splitlines()
    common = [h for h in held if h in seen]
    if common:
        raise SystemExit(f"{len(common)} of {len(held)} held-out answers are in the training set: {common[0]!r}")
    print(f"{len(held)} held-out answers, none among {len(seen)} training answers")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heldout", type=Path)
    parser.add_argument("--check", action="store_true", help="only prove that the sets are disjoint")
    args = parser.parse_args()
    if not args.check:
        args.out.mkdir(parents=True, exist_ok=True)
        write_training(args.out / "train.jsonl", args.documents, args.seed)
        if args.heldout:
            write_heldout(args.heldout, args.seed + 1000)
    if args.heldout:
        check_disjoint(args.out / "train.jsonl", args.heldout)


if __name__ == "__main__":
    main()
