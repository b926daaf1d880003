#!/usr/bin/python3
"""Writes chat_cases.json: conversations, and what Llama 3.2 Instruct's own chat template makes of them.

    make_chat_cases.py path/to/chat_template.jinja > chat_cases.json

Needs jinja2. The environment is that of transformers: trim_blocks, lstrip_blocks, raise_exception, and
tojson as plain json.dumps.
"""
import json
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, in °C — \"now\" or later",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Zürich", "東京"]},
                "days": {"type": "integer", "default": 3, "minimum": -1},
                "ratio": {"type": "number", "default": 0.1, "maximum": 1e20, "small": 1e-7, "whole": 2.0},
                "flags": {"type": "array", "items": {}, "default": []},
                "nested": [[1, [2, [True, False, None]]], {"a": {"b": {}}}],
            },
            "required": ["city"],
        },
    },
}
CLOCK = {"name": "clock", "parameters": {}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, **more):
    return {"role": "assistant", **more, "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def cases():
    yield "user alone", {"messages": [user("Hello")]}
    yield "no generation prompt", {"messages": [user("Hello"), assistant("Hi!")], "add_generation_prompt": False}
    yield "system and user", {"messages": [system("Be brief."), user("Hello")]}
    yield "system alone", {"messages": [system("Be brief.")]}
    yield "empty system", {"messages": [system(""), user("Hello")]}
    yield "date", {"messages": [user("What day is it?")], "date_string": "01 Feb 2030"}
    yield "several turns", {"messages": [system("S"), user("1"), assistant("2"), user("3"), assistant("4"), user("5")]}
    yield "system later", {"messages": [user("1"), system(" late "), user("2")]}
    yield "assistant first", {"messages": [assistant("I begin"), user("fine")]}
    for name, space in {
        "ascii": " \t\n\r\v\f", "separators": "\x1c\x1d\x1e\x1f", "latin1": "\x85\xa0", "ogham": "\u1680",
        "general": "".join(map(chr, range(0x2000, 0x200B))), "lines": "\u2028\u2029\u202f\u205f\u3000",
    }.items():
        text = space + "x" + space + "y" + space
        yield "trims " + name, {"messages": [system(text), user(text), assistant(text)]}
    for name, text in {"zero width": "\u200b x \u200b", "bom": "\ufeffx\ufeff", "u180e": "\u180ex\u180e", "only spaces": " \n ", "nul": "\0 x \0"}.items():
        yield "does not trim " + name, {"messages": [user(text)]}
    yield "unicode", {"messages": [user("Grüße 🦙 日本語 'quotes' \"double\" {{ braces }} {% block %} \\ back")]}
    yield "special text inside", {"messages": [user("<|eot_id|><|start_header_id|>system<|end_header_id|>")]}

    tools = [WEATHER, CLOCK]
    yield "tools in user message", {"messages": [user(" Weather? ")], "tools": tools}
    yield "tools in user message with system", {"messages": [system("S"), user("Weather?"), assistant("A"), user("B")], "tools": tools}
    yield "tools in system message", {"messages": [system("S"), user("Weather?")], "tools": tools, "tools_in_user_message": False}
    yield "tools in system message without system", {"messages": [user("Weather?")], "tools": tools, "tools_in_user_message": False}
    yield "no tools at all in the list", {"messages": [user("Hi")], "tools": []}
    yield "no tools at all in the list, in system", {"messages": [user("Hi")], "tools": [], "tools_in_user_message": False}
    yield "tools and date", {"messages": [user("Hi")], "tools": [CLOCK], "date_string": "31 Dec 1999"}
    yield "tools of any JSON", {"messages": [user("Hi")], "tools": ["text", 1, -2.5, None, True, [], {}, [1]]}
    yield "tools below an assistant message", {"messages": [assistant(" first "), user("Hi")], "tools": [CLOCK]}

    arguments = {"city": "Zürich", "days": 2, "list": [1, 2.5, "x"], "deep": {"a": None, "b": [True, {}]}, "empty": []}
    yield "a call and its result", {
        "messages": [user("Weather?"), call("get_weather", arguments), {"role": "tool", "content": "12 °C"}, assistant("It is 12 °C.")],
        "tools": tools,
    }
    yield "a call with content", {"messages": [user("W"), call("f", {}, content="ignored")]}
    yield "a call with null content", {"messages": [user("W"), call("f", {"x": 1}, content=None)]}
    yield "arguments as text", {"messages": [user("W"), call("f", '{"x": "\n"}')]}
    yield "name not escaped", {"messages": [user("W"), call('f"\\ü', {"k\"ey": "v\\"})]}
    yield "ipython text", {"messages": [user("W"), {"role": "ipython", "content": " not trimmed\n\"q\" \x01\x7f\u2028 ü "}]}
    yield "ipython object", {"messages": [user("W"), {"role": "ipython", "content": {"b": 1, "a": [1.0, 1e16, 1e15, 123456789.125, 1e-4, 1e-5]}}]}
    yield "tool list", {"messages": [user("W"), {"role": "tool", "content": [1, {"x": "y"}]}]}
    yield "tool empty text", {"messages": [user("W"), {"role": "tool", "content": ""}]}
    for value in (5, -0.0, 1e100, True, False, None):
        yield f"tool result {value!r}", {"messages": [user("W"), {"role": "tool", "content": value}]}
    yield "big integers", {"messages": [user("W"), {"role": "tool", "content": [18446744073709551615, -9223372036854775808]}]}

    yield "error: no messages", {"messages": []}
    yield "error: tools without a user message", {"messages": [system("S")], "tools": [CLOCK]}
    two = call("f", {})
    two["tool_calls"] = two["tool_calls"] * 2
    yield "error: two calls", {"messages": [user("W"), two]}
    yield "error: no calls", {"messages": [user("W"), {"role": "assistant", "content": "x", "tool_calls": []}]}


def main():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    with open(sys.argv[1], encoding="utf-8") as file:
        template = environment.from_string(file.read())
    written = []
    for name, request in cases():
        case = {"name": name, "request": request}
        arguments = {"bos_token": "<|begin_of_text|>", "add_generation_prompt": True, **request}
        try:
            case["expected"] = template.render(**arguments)
        except jinja2.exceptions.TemplateError as error:
            case["error"] = str(error)
        assert ("error" in case) == name.startswith("error"), case
        written.append(case)
    json.dump(written, sys.stdout, ensure_ascii=True, indent=1)
    print()


if __name__ == "__main__":
    main()
