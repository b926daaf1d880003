"""Short stories from plots: a plot is a list of beats, a beat a list of alternative sentences.

Slots in braces are filled from the tables; {he} {his} {him} agree with the hero, and a slot
with a capital letter starts a sentence. A story is one paragraph of plain ASCII text.
"""

import random
from typing import NamedTuple

GIRLS = """Anna Mia Lucy Clara Emma Nora Ella Rosa Lily Grace Ruby Sara Alice Hanna Ida Maya Zoe Vera
Daisy Flora""".split()
BOYS = """Tom Ben Max Leo Sam Finn Jack Oscar Hugo Paul Noah Adam Felix Theo Luke Milo Peter Oliver
Henry Jonas""".split()
ANIMALS = """fox rabbit bear owl mouse cat dog duck frog turtle squirrel hedgehog pony goat crow
otter hen sparrow kitten puppy""".split()
TRAITS = "little brave shy clever kind curious careful funny quiet happy lazy young old gentle".split()
THINGS = """kite ball boat drum lamp key hat book bell basket scarf whistle coin map shell toy cup
blanket flute umbrella lantern ring puzzle wagon feather button""".split()
COLORS = "red blue green yellow white brown silver golden purple orange".split()
PLACES = """park forest garden meadow library school barn field village market harbor mill valley
orchard castle cave museum""".split()
WEATHER = ["sunny", "windy", "rainy", "cold", "warm", "cloudy", "snowy", "quiet", "bright", "foggy"]
TIMES = ["morning", "afternoon", "evening", "day"]
FOODS = ["cake", "pie", "pizza", "melon", "pudding", "apple pie", "honey cake", "plum pie",
         "chocolate cake", "cherry pie", "cheese", "pumpkin soup"]
KIN = ["mother", "father", "grandmother", "grandfather", "sister", "brother", "aunt", "uncle",
       "teacher", "neighbor"]
FEELINGS = ["sad", "worried", "tired", "afraid", "lonely", "upset"]

OPENING = [
    "Once upon a time there was a {trait} {kind} named {name}.",
    "There was once a {trait} {kind} called {name}.",
    "One {weather} {time}, {name} the {trait} {kind} went to the {place}.",
    "{name} was a {trait} {kind} who lived near the {place}.",
    "Long ago, a {trait} {kind} named {name} lived by the {place}.",
    "In a small house near the {place} lived a {trait} {kind} named {name}.",
]
CLOSING = [
    "From that day on, {name} and {friend} were good friends.",
    "That night {name} slept well and dreamed of the {place}.",
    "{name} never forgot that {weather} {time}.",
    "And they all went home together, tired but happy.",
    "{name} smiled all the way home.",
    "Everyone in the {place} was glad, and {name} most of all.",
    "\"This was the best day,\" said {name}.",
]

PLOTS: dict[str, list[list[str]]] = {
    "lost": [
        ["{He} had a {color} {thing} that {he} loved very much.",
         "{His} favorite thing was a {color} {thing}.",
         "{His} {kin} had given {him} a {color} {thing}."],
        ["One {time} the {thing} was gone.", "But one {time} {he} could not find the {thing}.",
         "One {weather} {time} {he} lost the {thing} near the {place}."],
        ["{name} looked under the bed and behind the door, but it was not there.",
         "{He} looked everywhere and felt very {feeling}.",
         "{He} sat down by the {place} and began to cry."],
        ["Then {friend} the {animal} came by and asked, \"Why are you {feeling}?\"",
         "{friend} the {animal} saw {him} and said, \"I will help you look.\"",
         "A {trait2} {animal} named {friend} heard {him} and came to help."],
        ["They searched all over the {place2}.", "Together they walked to the {place2}.",
         "They looked in the {place2} and asked everyone they met."],
        ["At last {friend} saw something {color} in the tall grass. It was the {thing}!",
         "At last they found the {thing} under an old tree.",
         "There, next to a big stone, lay the {color} {thing}."],
        ["\"Thank you,\" said {name}, and {he} gave {friend} a piece of {food}.",
         "{name} was so happy that {he} hugged {friend}.",
         "{name} thanked {friend} and promised to be more careful."],
    ],
    "share": [
        ["{His} {kin} made a big {food} for {him}.", "{He} had a big {food} all to {himself}.",
         "One {weather} {time} {he} took a {food} to the {place}."],
        ["On the way {he} met {friend}, a {trait2} {animal}.",
         "There {he} saw a {trait2} {animal} named {friend}.",
         "{friend} the {animal} was sitting by the {place2}."],
        ["{friend} had nothing to eat and looked {feeling}.",
         "\"I am so hungry,\" said {friend}.", "{friend} looked at the {food} and said nothing."],
        ["At first {name} did not want to share.", "{name} thought about it for a moment.",
         "{name} was hungry too, but {he} felt sorry for {friend}."],
        ["Then {he} cut the {food} in two and gave one half to {friend}.",
         "\"We can share it,\" said {name}.",
         "Then {he} smiled and said, \"Please have some of my {food}.\""],
        ["They ate together and talked until the sun went down.",
         "The {food} tasted even better than before.", "They sat by the {place2} and ate every bit of it."],
        ["The next day {friend} gave {name} a {color} {thing} to say thank you.",
         "{name} learned that sharing makes two people happy.",
         "\"You are very kind,\" said {friend}."],
    ],
    "storm": [
        ["{He} liked to play in the {place} with {friend} the {animal}.",
         "Every {time} {he} walked to the {place} with {friend} the {animal}.",
         "{His} best friend was a {trait2} {animal} named {friend}."],
        ["One {time} dark clouds came and it began to rain.",
         "Suddenly the wind was strong and the sky turned black.",
         "One {time} there was a big storm over the {place}."],
        ["{friend} was {feeling} and did not know where to go.",
         "\"I am afraid of the thunder,\" said {friend}.",
         "They were far from home and very {feeling}."],
        ["\"Come with me,\" said {name}. \"I know a dry place.\"",
         "{name} held up a {color} {thing} to keep the rain away.",
         "{name} took {friend} by the hand and ran to the {place2}."],
        ["They waited in the {place2} and told each other jokes.",
         "They sat close together and sang a song until the rain stopped.",
         "Inside it was warm, and they shared some {food}."],
        ["Soon the sun came out, and there was a rainbow over the {place}.",
         "After an hour the storm was over.", "When the rain stopped, everything smelled fresh and new."],
        ["\"You were very brave,\" said {friend}.", "\"I am not afraid any more,\" said {friend}.",
         "{friend} thanked {name} again and again."],
    ],
    "learn": [
        ["{He} wanted to sing in the {place}.", "{He} wanted to learn how to swim.",
         "{He} wanted to make a {food} for {his} {kin}.", "{He} wanted to ride a bike to the {place}."],
        ["{He} tried once and failed.", "The first time, everything went wrong.",
         "{He} tried and tried, but it did not work."],
        ["\"I can not do it,\" said {name}, and {he} felt {feeling}.",
         "{name} wanted to stop.", "{He} went to the {place2} and sat there alone."],
        ["{His} {kin} said, \"You only need to practice.\"",
         "{friend} the {animal} said, \"Try it again, slowly.\"",
         "{His} {kin} came and showed {him} how to do it."],
        ["So {name} tried again every {time}.", "{name} practiced for seven days.",
         "{He} worked hard, and each day it was a little better."],
        ["One {weather} {time}, it worked!", "At last {he} could do it all alone.",
         "In the end {he} did it, and everyone clapped."],
        ["{name} was very proud.", "\"I am proud of you,\" said {his} {kin}.",
         "{name} learned that it is good to keep trying."],
    ],
    "rescue": [
        ["One {weather} {time} {he} walked along the {place}.", "{He} was on the way to the {place2}.",
         "{He} was playing with a {color} {thing} near the {place}."],
        ["Suddenly {he} heard a small voice call for help.", "Then {he} heard someone cry.",
         "A sound came from behind the bushes."],
        ["It was {friend}, a {trait2} {animal}, who was stuck in the mud.",
         "A {trait2} {animal} named {friend} was stuck in a hole.",
         "There was {friend} the {animal}, caught between two stones."],
        ["\"Please help me,\" said {friend}.", "\"I have been here all {time},\" said {friend}.",
         "{friend} was {feeling} and could not move."],
        ["{name} found a long stick and pulled as hard as {he} could.",
         "{name} ran to get {his} {kin}, and together they pulled.",
         "{name} tied a rope to a tree and held on to {friend}."],
        ["With one big pull, {friend} was free.", "It took a long time, but at last {friend} was free.",
         "One, two, three, and {friend} was out!"],
        ["\"You saved me,\" said {friend}. \"How can I thank you?\"",
         "{friend} gave {name} a {color} {thing2} as a present.",
         "They went to the {place2} and ate some {food}."],
    ],
    "secret": [
        ["One {time} {he} found a {color} {thing} in the {place}.",
         "While cleaning the house, {he} found an old {thing}.",
         "Under a tree in the {place} {he} saw a small {color} box with a {thing} in it."],
        ["It was old and very beautiful.", "It was covered with dust and leaves.",
         "There was a name on it, but {he} could not read it."],
        ["\"Whose {thing} is this?\" {he} asked.", "{He} wanted to keep it, but it was not {his} own.",
         "{He} showed it to {his} {kin}, but {his} {kin} had never seen it."],
        ["So {he} asked {friend} the {animal}, who lived in the {place2}.",
         "In the {place2} {he} met a {trait2} {animal} named {friend}.",
         "{He} walked to the {place2} and asked {friend} the {animal}."],
        ["\"It is mine!\" said {friend}. \"I lost it a year ago.\"",
         "{friend} jumped with joy. \"I thought it was gone forever!\"",
         "It belonged to {friend}, who had looked for it for weeks."],
        ["{name} gave the {thing} back at once.", "{name} was happy to give it back.",
         "It was hard to give it away, but {name} did it."],
        ["{friend} invited {name} for some {food}.", "\"You are honest,\" said {friend}.",
         "To say thank you, {friend} taught {name} a new song."],
    ],
    "race": [
        ["Every year there was a race from the {place} to the {place2}.",
         "One {weather} {time} there was a race to the {place2}.",
         "All the children of the {place} wanted to win the race."],
        ["{friend} the {animal} was fast, and {name} was slow.",
         "A {trait2} {animal} named {friend} wanted to win, too.",
         "The prize was a {color} {thing}, and {friend} the {animal} wanted it."],
        ["They ran over the hill and past a small bridge.", "\"Ready, steady, go!\" called {his} {kin}.",
         "They started when the bell rang."],
        ["Halfway there, {friend} fell and hurt a foot.", "Then {friend} stopped to eat some {food}.",
         "After a while {friend} was too {feeling} to go on."],
        ["{name} could win now, but {he} stopped to help.", "{name} turned around and went back.",
         "\"Are you all right?\" asked {name}."],
        ["They walked the last part together, arm in arm.", "Side by side they came to the end.",
         "{friend} leaned on {name}, and slowly they went on."],
        ["Nobody won that race, but both got a prize.", "\"A friend is better than a prize,\" said {name}.",
         "Everyone clapped when they came in together."],
    ],
    "seed": [
        ["{His} {kin} gave {him} a small seed.", "One {time} {he} found a strange seed near the {place}.",
         "{friend} the {animal} brought {him} a tiny seed."],
        ["{He} put it in the ground and gave it water.", "{He} planted it behind the house.",
         "{He} planted it in a {color} pot next to the window."],
        ["Every {time} {he} looked, but nothing grew.", "Day after day nothing happened.",
         "{He} waited a week, and then one more."],
        ["{name} was {feeling}, but {he} did not give up.", "\"Be patient,\" said {his} {kin}.",
         "\"It needs sun and time,\" said {friend}."],
        ["Then one {weather} {time} a green leaf came out of the earth.",
         "One {time} there was a little plant.", "After the rain, the plant grew and grew."],
        ["Soon there was a {color} flower, as big as a {thing}.",
         "By summer it was a tree with sweet fruit.", "It was the most beautiful flower in the {place}."],
        ["{name} gave some of it to everyone in the {place2}.",
         "{name} learned that good things take time.", "{friend} and {name} sat next to it every {time}."],
    ],
}


class Story(NamedTuple):
    """key: what must differ between training and held-out; hero, thing: for the request."""
    key: str
    text: str
    hero: str
    thing: str


def make_slots(rng: random.Random) -> dict[str, str]:
    """One value for each slot; every slot keeps its value through the whole story."""
    girl = rng.random() < 0.5
    name = rng.choice(GIRLS if girl else BOYS)
    animal, kind_animal = rng.sample(ANIMALS, 2)
    place, place2 = rng.sample(PLACES, 2)
    thing, thing2 = rng.sample(THINGS, 2)
    trait, trait2 = rng.sample(TRAITS, 2)
    friend = rng.choice([n for n in GIRLS + BOYS if n != name])
    kind = kind_animal if rng.random() < 0.5 else ("girl" if girl else "boy")
    he, his, him = ("she", "her", "her") if girl else ("he", "his", "him")
    return {
        "name": name, "friend": friend, "animal": animal, "kind": kind, "place": place,
        "place2": place2, "thing": thing, "thing2": thing2, "trait": trait, "trait2": trait2,
        "color": rng.choice(COLORS), "weather": rng.choice(WEATHER), "time": rng.choice(TIMES),
        "food": rng.choice(FOODS), "kin": rng.choice(KIN), "feeling": rng.choice(FEELINGS),
        "he": he, "his": his, "him": him, "himself": him + "self",
        "He": he.capitalize(), "His": his.capitalize(),
    }


def fix_articles(text: str) -> str:
    """"a owl" -> "an owl" (and the capital form)."""
    words = text.split(" ")
    for i in range(len(words) - 1):
        if words[i] in ("a", "A") and words[i + 1][:1] in "aeiou" and words[i + 1][:3] != "one":
            words[i] += "n"
    return " ".join(words)


def pick(rng: random.Random, beat: list[str], met: bool) -> str:
    """An alternative that does not speak of the friend before the friend was introduced."""
    def introduces(line: str) -> bool:
        return any(x in line for x in ("{friend} the {animal}", "named {friend}", "{friend}, a {trait2}"))
    fitting = [x for x in beat if "{friend}" not in x or (introduces(x) != met or (met and "the {animal}" in x))]
    return rng.choice(fitting or beat)


def make_story(rng: random.Random) -> Story:
    """One story of 8 or 9 sentences or pairs of sentences."""
    plot = rng.choice(sorted(PLOTS))
    slots = make_slots(rng)
    lines: list[str] = []
    for beat in [OPENING] + PLOTS[plot] + ([CLOSING] if rng.random() < 0.8 else []):
        lines.append(pick(rng, beat, any("{friend}" in x for x in lines)))
    text = fix_articles(" ".join(lines).format(**slots))
    return Story("|".join([plot, slots["name"], slots["thing"], slots["place"]]), text, slots["name"], slots["thing"])
