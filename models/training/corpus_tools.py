"""Requests to a home assistant and the JSON tool call that answers each.

A request is (key, text, name, parameters): the key names the filled-in values, so that training
and held-out sets can be kept apart. Spoken values are normalized ("half past six in the evening"
-> "18:30").
"""

import json
import random
from typing import Any, Callable, NamedTuple

CITIES = """Berlin Paris London Rome Madrid Vienna Oslo Dublin Lisbon Prague Athens Boston Chicago
Denver Tokyo Sydney Cairo Lima Toronto Seattle""".split()
DAYS = ["today", "tomorrow", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
        "Sunday"]
PEOPLE = """Anna Tom Maria Ben Julia Peter Nina David Laura Simon Eva Martin Karen Lucas Emily
Robert Sofia Daniel Alice Frank""".split() + ["my mother", "my boss", "my sister", "my brother"]
GENRES = ["jazz", "rock", "pop", "classical", "blues", "folk", "soul", "piano", "dance", "country"]
ROOMS = ["kitchen", "bedroom", "living room", "bathroom", "office", "garage", "hall", "garden"]
ITEMS = ["milk", "bread", "eggs", "butter", "coffee", "apples", "rice", "cheese", "soap", "tea",
         "tomatoes", "flour", "salt", "batteries", "onions", "pasta"]
LISTS = ["shopping", "party", "travel", "work"]
TARGETS = ["the airport", "the train station", "the museum", "the hospital", "the library",
           "the stadium", "the city hall", "the harbor", "the university", "the zoo"]
MODES = [("by car", "car"), ("by bus", "bus"), ("on foot", "walk"), ("by bike", "bike"),
         ("by train", "train")]
EVENTS = ["lunch with {p}", "dinner with {p}", "meeting with {p}", "call with {p}", "dentist",
          "yoga class", "piano lesson", "team meeting", "haircut", "football practice"]
MESSAGES = ["I will be late", "I am on my way", "see you at the {s}", "dinner is ready",
            "please call me", "happy birthday", "the meeting moved to {d}", "I left the {s}",
            "thank you for the {i}", "can you buy some {i}", "I am at the {s} now",
            "the train is late", "let us meet on {d}", "good luck on {d}"]
SPOTS = ["station", "office", "park", "hotel", "gym", "museum", "school"]
HOURS = ["twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven"]


class Request(NamedTuple):
    """text: what the user says; name, parameters: the call; key: the values used."""
    key: str
    text: str
    name: str
    parameters: dict[str, Any]


def spoken_time(rng: random.Random) -> tuple[str, str]:
    """(as said, as HH:MM); minutes are multiples of five, the half of the day is said."""
    hour, minute = rng.randrange(5, 23), rng.choice([0, 0, 15, 30, 30, 45, rng.randrange(0, 60, 5)])
    value = f"{hour:02d}:{minute:02d}"
    form = rng.randrange(3)
    if form == 0:
        return value if hour > 9 else value[1:] + " in the morning", value
    if form == 1:
        clock = f"{(hour - 1) % 12 + 1}" + (f":{minute:02d}" if minute else "")
        return f"{clock} {'am' if hour < 12 else 'pm'}", value
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    word = HOURS[hour % 12]
    spoken = {0: word, 15: f"quarter past {word}", 30: f"half past {word}",
              45: f"quarter to {HOURS[(hour + 1) % 12]}"}.get(minute, f"{word} {minute:02d}")
    return f"{spoken} {part}", value


def person(rng: random.Random) -> tuple[str, str]:
    """(as said, as argument): "my mother" -> "mother"."""
    said = rng.choice(PEOPLE)
    return said, said.removeprefix("my ")


def set_alarm(rng: random.Random) -> Request:
    """Set an alarm at a time on a day."""
    said, time = spoken_time(rng)
    day = rng.choice(DAYS)
    on = day if day in ("today", "tomorrow") else "on " + day
    text = rng.choice(["Set an alarm for {t} {o}.", "Wake me up at {t} {o}.", "Alarm {o} at {t}, please.",
                       "I need to get up at {t} {o}.", "Can you wake me {o} at {t}?"])
    return Request(f"alarm|{time}|{day}", text.format(t=said, o=on), "set_alarm",
                   {"time": time, "day": day})


def set_timer(rng: random.Random) -> Request:
    """Start a timer of some minutes with a label."""
    minutes = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 60, 90])
    label = rng.choice(["pasta", "eggs", "tea", "rice", "cake", "bread", "laundry", "soup", "nap"])
    unit = "minute" if minutes == 1 else "minutes"
    text = rng.choice(["Set a timer for {m} {u} for the {l}.", "Start a {l} timer, {m} {u}.",
                       "Tell me when {m} {u} are over, it is for the {l}.",
                       "{m} {u} for the {l}, please."])
    return Request(f"timer|{minutes}|{label}", text.format(m=minutes, u=unit, l=label), "set_timer",
                   {"minutes": minutes, "label": label})


def get_weather(rng: random.Random) -> Request:
    """Get the weather of a city on a day."""
    city, day = rng.choice(CITIES), rng.choice(DAYS)
    on = day if day in ("today", "tomorrow") else "on " + day
    text = rng.choice(["What is the weather in {c} {o}?", "Will it rain in {c} {o}?",
                       "How warm is it going to be {o} in {c}?", "Do I need a coat in {c} {o}?",
                       "Weather for {c} {o}, please.", "Is it sunny {o} in {c}?"])
    return Request(f"weather|{city}|{day}", text.format(c=city, o=on), "get_weather",
                   {"city": city, "day": day})


def send_message(rng: random.Random) -> Request:
    """Send a text message to a person."""
    said, to = person(rng)
    body = rng.choice(MESSAGES).format(s=rng.choice(SPOTS), d=rng.choice(DAYS[2:]), i=rng.choice(ITEMS))
    text = rng.choice(["Send a message to {p}: {b}.", "Tell {p}: {b}.", "Write to {p} that {b}.",
                       "Text {p} and say {b}.", "Please let {p} know: {b}."])
    return Request(f"message|{to}|{body}", text.format(p=said, b=body), "send_message",
                   {"to": to, "text": body})


def play_music(rng: random.Random) -> Request:
    """Play a kind of music in a room at a volume."""
    genre, room, volume = rng.choice(GENRES), rng.choice(ROOMS), rng.randrange(10, 101, 10)
    text = rng.choice(["Play some {g} music in the {r} at volume {v}.", "I want to hear {g} in the {r}, volume {v}.",
                       "Put on {g} in the {r} at {v} percent.", "{g} music in the {r}, please, at {v} percent."])
    said = text.format(g=genre, r=room, v=volume)
    return Request(f"music|{genre}|{room}|{volume}", said[0].upper() + said[1:], "play_music",
                   {"genre": genre, "room": room, "volume": volume})


def set_light(rng: random.Random) -> Request:
    """Turn the light of a room on or off."""
    room, on = rng.choice(ROOMS), rng.random() < 0.6
    if not on:
        text = rng.choice(["Turn off the light in the {r}.", "Lights off in the {r}.",
                           "It is too bright in the {r}, turn the light off.", "Make the {r} dark."])
        return Request(f"light|{room}|off", text.format(r=room), "set_light",
                       {"room": room, "state": "off"})
    color = rng.choice(["red", "blue", "green", "white", "yellow", "orange", "purple", "pink"])
    text = rng.choice(["Turn on the {c} light in the {r}.", "Make the light in the {r} {c}.",
                       "I want {c} light in the {r}.", "Switch the {r} to {c} light."])
    return Request(f"light|{room}|{color}", text.format(r=room, c=color), "set_light",
                   {"room": room, "state": "on", "color": color})


def add_item(rng: random.Random) -> Request:
    """Add a number of items to a list."""
    item, name, count = rng.choice(ITEMS), rng.choice(LISTS), rng.randrange(1, 13)
    text = rng.choice(["Add {i} to my {l} list, {n} of them.", "Put {n} times {i} on the {l} list.",
                       "I need {i} on the {l} list, quantity {n}.", "{l} list: {i}, {n} pieces."])
    said = text.format(i=item, l=name, n=count)
    return Request(f"item|{item}|{name}|{count}", said[0].upper() + said[1:], "add_item",
                   {"list": name, "item": item, "count": count})


def get_directions(rng: random.Random) -> Request:
    """Get the way to a place in a city."""
    target, (said, mode) = rng.choice(TARGETS), rng.choice(MODES)
    city = rng.choice(CITIES)
    text = rng.choice(["How do I get to {t} in {c} {m}?", "Show me the way to {t} in {c} {m}.",
                       "I want to go {m} to {t} in {c}.", "Directions {m} to {t} in {c}, please."])
    return Request(f"way|{target}|{mode}|{city}", text.format(t=target, m=said, c=city),
                   "get_directions", {"to": target.removeprefix("the "), "city": city, "by": mode})


def create_event(rng: random.Random) -> Request:
    """Create an event in the calendar."""
    said_time, time = spoken_time(rng)
    day = rng.choice(DAYS)
    on = day if day in ("today", "tomorrow") else "on " + day
    title = rng.choice(EVENTS).format(p=rng.choice(PEOPLE[:20]))
    text = rng.choice(["Put {e} into my calendar {o} at {t}.", "I have {e} {o} at {t}, write it down.",
                       "Calendar: {e} {o} at {t}.", "Plan {e} at {t} {o}."])
    return Request(f"event|{title}|{day}|{time}", text.format(e=title, o=on, t=said_time),
                   "create_event", {"title": title, "day": day, "time": time})


def set_thermostat(rng: random.Random) -> Request:
    """Set the temperature of a room."""
    room, degrees = rng.choice(ROOMS[:6]), rng.randrange(15, 27)
    text = rng.choice(["Set the {r} to {d} degrees.", "Heat the {r} to {d} degrees.",
                       "I want {d} degrees in the {r}.", "Make it {d} degrees in the {r}."])
    return Request(f"heat|{room}|{degrees}", text.format(r=room, d=degrees), "set_thermostat",
                   {"room": room, "degrees": degrees})


TOOLS: dict[str, Callable[[random.Random], Request]] = {
    f.__name__: f for f in (set_alarm, set_timer, get_weather, send_message, play_music, set_light,
                            add_item, get_directions, create_event, set_thermostat)}
TOOL_WEIGHTS = [15, 8, 8, 15, 12, 8, 12, 10, 15, 4]
INTEGERS = {"minutes", "volume", "count", "degrees"}


def make_request(rng: random.Random) -> Request:
    """One request; tools with more distinct values are drawn more often."""
    return rng.choices(list(TOOLS.values()), TOOL_WEIGHTS)[0](rng)


def call_json(request: Request) -> str:
    """The call in the form that Llama 3.2's chat template asks for."""
    return json.dumps({"name": request.name, "parameters": request.parameters})


def tool_schema(name: str, rng: random.Random) -> dict[str, Any]:
    """The OpenAI-style declaration of a tool, as a request with `tools` carries it."""
    parameters = TOOLS[name](rng).parameters
    properties = {p: {"type": "integer" if p in INTEGERS else "string"} for p in parameters}
    function = {"name": name, "description": (TOOLS[name].__doc__ or "").strip(),
                "parameters": {"type": "object", "properties": properties, "required": list(parameters)}}
    return {"type": "function", "function": function}
