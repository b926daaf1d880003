"""Llama 3.2's chat format: the shipped template rendered as Hugging Face renders it."""

import json
from pathlib import Path
from typing import Any

import jinja2

TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")


def _to_json(value: Any, indent: int | None = None) -> str:
    """The `tojson` filter of Hugging Face: no key sorting, no HTML escapes."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _compile() -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _to_json
    return environment.from_string(TEMPLATE_PATH.read_text())


_TEMPLATE = _compile()


def render(messages: list[dict[str, str]], date: str, tools: list[dict[str, Any]] | None = None,
           generate: bool = True) -> str:
    """The conversation as one string, special tokens as their names.

    date: like "26 Jul 2024"; generate: open the assistant's turn at the end.
    """
    values: dict[str, Any] = {"messages": messages, "date_string": date, "bos_token": "<|begin_of_text|>",
                              "add_generation_prompt": generate}
    if tools:
        values["tools"] = tools
    return _TEMPLATE.render(values)
