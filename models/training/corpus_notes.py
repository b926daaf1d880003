"""Consultations, dictated or in dialogue, and the structured note that each must become.

All of it is invented: the assessments and plans are plausible words, not medicine. A `Case` holds
the facts; `dictation` and `dialogue` say them in many ways, `note` writes them in one way.
"""

import random
from typing import NamedTuple

FEMALE = """Anna Maria Julia Laura Sofia Emily Karen Nina Eva Helen Alice Clara Diana Emma Grace Ingrid
Irene Joan Lena Linda Martha Monica Olga Paula Rita Ruth Sandra Susan Teresa Vera""".split()
MALE = """Adam Albert Anton Ben Carl Daniel David Erik Frank George Hans Henry Ivan James John Karl
Lars Leon Lucas Mark Martin Michael Oscar Paul Peter Robert Simon Stefan Thomas Victor""".split()
LAST = """Adler Baker Becker Berg Brown Carter Clark Cook Costa Evans Fischer Foster Garcia Gray Green
Hall Hansen Hill Jensen Jones King Klein Larsen Lee Lopez Martin Meyer Miller Moore Morgan Nelson Novak
Olsen Parker Peters Price Reed Rossi Russo Santos Schmidt Scott Silva Smith Stone Taylor Turner Vogel
Wagner Walker Ward Weber White Wilson Wolf Wood Young Zimmer""".split()
SYLLABLES = """ba be bo da de do fa fe ga go ha he ka ko la le li lo ma me mi mo na ne no pa pe ra re
ri ro sa se so ta te to va ve""".split()
ENDINGS = ["n", "s", "r", "nd", "rt", "man", "son", "ski", "ler", "ton"]

# complaint: (said by the patient), (examination findings), (assessments), (accompanying symptoms)
COMPLAINTS: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "cough": (["I have a cough", "I keep coughing", "this cough will not go away"],
              ["lungs clear", "crackles on the left", "crackles on the right", "wheezing"],
              ["acute bronchitis", "pneumonia", "asthma"], ["fever", "chills", "chest tightness", "hoarseness"]),
    "sore throat": (["my throat hurts", "I have a sore throat", "it hurts when I swallow"],
                    ["throat red", "tonsils swollen", "neck nodes enlarged"],
                    ["tonsillitis", "viral pharyngitis"], ["fever", "hoarseness", "runny nose", "chills"]),
    "headache": (["I have a headache", "my head hurts", "my head is pounding"],
                 ["neck supple", "pupils equal", "temples tender"],
                 ["migraine", "tension headache", "sinusitis"],
                 ["nausea", "vomiting", "light sensitivity", "blurred vision"]),
    "chest pain": (["I have a pain in my chest", "my chest hurts", "I feel a pressure in my chest"],
                   ["heart sounds normal", "chest wall tender", "systolic murmur"],
                   ["angina", "costochondritis", "reflux disease"],
                   ["sweating", "shortness of breath", "nausea", "palpitations"]),
    "back pain": (["my back hurts", "I have a pain in my lower back", "my back is killing me"],
                  ["lumbar spine tender", "straight leg raise positive", "straight leg raise negative"],
                  ["muscle strain", "sciatica", "disc herniation"],
                  ["leg numbness", "leg weakness", "morning stiffness"]),
    "knee pain": (["my knee hurts", "I have pain in my knee", "I can hardly bend my knee"],
                  ["knee swollen", "knee stable", "joint line tender"],
                  ["osteoarthritis", "meniscus tear", "gout"], ["swelling", "morning stiffness", "locking"]),
    "stomach pain": (["my stomach hurts", "I have stomach pain", "I have cramps in my belly"],
                     ["abdomen soft", "upper abdomen tender", "bowel sounds active"],
                     ["gastritis", "gastroenteritis", "gallstones"],
                     ["nausea", "vomiting", "diarrhea", "loss of appetite"]),
    "earache": (["my ear hurts", "I have an earache", "there is a pain in my left ear"],
                ["eardrum red", "ear canal swollen", "eardrum normal"],
                ["otitis media", "otitis externa"], ["fever", "hearing loss", "discharge"]),
    "dizziness": (["I feel dizzy", "the room is spinning", "I get dizzy when I stand up"],
                  ["no nystagmus", "gait steady", "positional test positive"],
                  ["positional vertigo", "orthostatic hypotension", "dehydration"],
                  ["nausea", "ringing in the ears", "fainting"]),
    "rash": (["I have a rash", "my skin is red and itchy", "there are red spots on my arms"],
             ["red patches on the arms", "blisters on the trunk", "dry scaly skin"],
             ["contact dermatitis", "eczema", "shingles", "hives"], ["itching", "burning pain", "fever"]),
    "shortness of breath": (["I am short of breath", "I can not catch my breath", "I get out of breath on the stairs"],
                            ["wheezing", "ankles swollen", "crackles at both bases"],
                            ["asthma", "heart failure", "chronic bronchitis"],
                            ["cough", "chest tightness", "leg swelling"]),
    "painful urination": (["it burns when I pass water", "it hurts when I urinate", "I have pain when I go to the toilet"],
                          ["lower abdomen tender", "flank tender", "abdomen soft"],
                          ["urinary tract infection", "kidney stone", "cystitis"],
                          ["fever", "blood in the urine", "frequent urination"]),
    "heartburn": (["I have heartburn", "my food comes up again", "I have a burning behind the breastbone"],
                  ["upper abdomen tender", "abdomen soft"],
                  ["reflux disease", "gastritis"], ["belching", "nausea", "trouble swallowing"]),
    "tiredness": (["I am always tired", "I have no energy at all", "I could sleep all day"],
                  ["skin pale", "thyroid enlarged", "heart sounds normal"],
                  ["iron deficiency anemia", "hypothyroidism", "sleep apnea"],
                  ["weight gain", "hair loss", "loss of appetite"]),
    "palpitations": (["my heart is racing", "my heart skips beats", "I feel my heart beating fast"],
                     ["pulse irregular", "heart sounds normal", "thyroid enlarged"],
                     ["atrial fibrillation", "anxiety", "hyperthyroidism"],
                     ["sweating", "tremor", "fainting", "weight loss"]),
    "shoulder pain": (["my shoulder hurts", "I can not lift my arm", "I have pain in my right shoulder"],
                      ["shoulder movement limited", "rotator cuff weak", "shoulder tender"],
                      ["frozen shoulder", "rotator cuff tear", "bursitis"],
                      ["arm numbness", "night pain", "neck stiffness"]),
    "ankle pain": (["I twisted my ankle", "my ankle hurts", "I can not put weight on my foot"],
                   ["ankle swollen", "ankle stable", "outer ankle bruised"],
                   ["ankle sprain", "ankle fracture"], ["swelling", "bruising", "numbness"]),
    "itchy eyes": (["my eyes itch", "my eyes are red and watery", "my eyes are itching all the time"],
                   ["both eyes red", "eyelids swollen", "pupils equal"],
                   ["allergic conjunctivitis", "bacterial conjunctivitis"],
                   ["sneezing", "discharge", "blurred vision"]),
    "trouble sleeping": (["I can not sleep", "I lie awake all night", "I wake up at three every night"],
                         ["mood low", "heart sounds normal", "pupils equal"],
                         ["insomnia", "depression", "anxiety"], ["night sweats", "loss of appetite", "tremor"]),
    "nausea": (["I feel sick", "I feel like throwing up", "I can not keep my food down"],
               ["abdomen soft", "upper abdomen tender", "mouth dry"],
               ["gastroenteritis", "gallstones", "migraine"], ["vomiting", "diarrhea", "fever", "dizziness"]),
}

# drug: (doses), (frequencies), (lengths in days)
DRUGS: dict[str, tuple[list[str], list[str], list[int]]] = {
    "amoxicillin": (["500 mg", "1000 mg"], ["twice a day", "three times a day"], [5, 7, 10]),
    "azithromycin": (["250 mg", "500 mg"], ["once a day"], [3, 5]),
    "ciprofloxacin": (["250 mg", "500 mg"], ["twice a day"], [3, 5, 7]),
    "nitrofurantoin": (["50 mg", "100 mg"], ["twice a day", "four times a day"], [5, 7]),
    "ibuprofen": (["200 mg", "400 mg", "600 mg"], ["twice a day", "three times a day"], [3, 5, 7, 10]),
    "naproxen": (["250 mg", "500 mg"], ["twice a day"], [5, 7, 14]),
    "paracetamol": (["500 mg", "1000 mg"], ["three times a day", "four times a day"], [3, 5, 7]),
    "omeprazole": (["20 mg", "40 mg"], ["once a day", "twice a day"], [14, 28]),
    "prednisone": (["5 mg", "20 mg", "40 mg"], ["once a day"], [5, 7, 10]),
    "cetirizine": (["5 mg", "10 mg"], ["once a day"], [7, 14, 28]),
    "sumatriptan": (["50 mg", "100 mg"], ["once a day"], [3, 5]),
    "metoprolol": (["25 mg", "50 mg"], ["once a day", "twice a day"], [14, 28]),
    "furosemide": (["20 mg", "40 mg"], ["once a day"], [7, 14]),
    "ondansetron": (["4 mg", "8 mg"], ["twice a day", "three times a day"], [3, 5]),
    "iron tablets": (["100 mg", "200 mg"], ["once a day"], [28, 30]),
    "levothyroxine": (["25 mg", "50 mg"], ["once a day"], [28, 30]),
    "sertraline": (["25 mg", "50 mg"], ["once a day"], [28, 30]),
    "colchicine": (["1 mg", "2 mg"], ["once a day", "twice a day"], [3, 5]),
}
ANTIBIOTICS = ["amoxicillin", "azithromycin", "ciprofloxacin"]
PAINKILLERS = ["ibuprofen", "naproxen", "paracetamol"]
TREATMENT = {
    "acute bronchitis": ANTIBIOTICS + ["paracetamol"], "pneumonia": ANTIBIOTICS, "asthma": ["prednisone"],
    "tonsillitis": ANTIBIOTICS, "viral pharyngitis": ["ibuprofen", "paracetamol"],
    "migraine": ["sumatriptan", "ibuprofen"], "sinusitis": ANTIBIOTICS, "angina": ["metoprolol"],
    "reflux disease": ["omeprazole"], "gastritis": ["omeprazole"], "gout": ["colchicine", "prednisone"],
    "gastroenteritis": ["ondansetron"], "otitis media": ANTIBIOTICS, "otitis externa": ["ciprofloxacin"],
    "contact dermatitis": ["cetirizine", "prednisone"], "eczema": ["cetirizine"], "hives": ["cetirizine"],
    "shingles": ["paracetamol", "prednisone"], "heart failure": ["furosemide"],
    "chronic bronchitis": ["prednisone", "azithromycin"], "cystitis": ["nitrofurantoin"],
    "urinary tract infection": ["nitrofurantoin", "ciprofloxacin"],
    "iron deficiency anemia": ["iron tablets"], "hypothyroidism": ["levothyroxine"],
    "atrial fibrillation": ["metoprolol"], "hyperthyroidism": ["metoprolol"], "anxiety": ["sertraline"],
    "depression": ["sertraline"], "insomnia": ["sertraline"], "allergic conjunctivitis": ["cetirizine"],
    "bacterial conjunctivitis": ["azithromycin"], "positional vertigo": ["ondansetron"],
}
FOLLOW_UPS = ["blood test", "chest x-ray", "ECG", "ultrasound", "urine test", "physiotherapy",
              "rest and fluids", "referral to a specialist", "sick leave"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve"]
ASIDES = ["The waiting room was full.", "The patient came by bus.", "I will sign this later.",
          "Please send a copy to the clinic.", "The daughter was there too.", "This is my last patient today."]
CHAT = [("Good morning, what brings you here?", "Good morning, doctor."),
        ("Hello, please sit down.", "Thank you."), ("How are you today?", "Not so well."),
        ("Sorry that you had to wait.", "No problem, I had a book."),
        ("Is it still raining?", "Yes, it is terrible.")]


class Case(NamedTuple):
    """The facts of one consultation; durations, vital signs and plans already as in the note."""
    name: str
    age: int
    female: bool
    complaint: str
    amount: int
    unit: str            # day, week or month
    present: str         # accompanying symptom
    absent: str
    finding: str
    temperature: str     # degrees Celsius, one decimal, or ""
    pulse: int           # beats per minute, or 0
    pressure: tuple[int, int] | None  # mmHg
    assessment: str
    drug: str
    dose: str
    frequency: str
    days: int
    follow_up: str       # "" for none
    weeks: int           # return in so many weeks; 0 for none


def make_name(rng: random.Random, female: bool) -> str:
    """First and last name; one last name in four is put together from syllables."""
    last = rng.choice(LAST)
    if rng.random() < 0.25:
        last = "".join(rng.choice(SYLLABLES) for _ in range(2)).capitalize() + rng.choice(ENDINGS)
    return f"{rng.choice(FEMALE if female else MALE)} {last}"


def make_case(rng: random.Random) -> Case:
    """A case with plausible combinations; vital signs are each present with probability 0.75."""
    female = rng.random() < 0.5
    complaint = rng.choice(sorted(COMPLAINTS))
    _, findings, assessments, others = COMPLAINTS[complaint]
    present, absent = rng.sample(others, 2)
    assessment = rng.choice(assessments)
    drug = rng.choice(TREATMENT.get(assessment, PAINKILLERS))
    doses, frequencies, days = DRUGS[drug]
    unit = rng.choices(["day", "week", "month"], [5, 3, 2])[0]
    has = [rng.random() < 0.75 for _ in range(3)]
    systolic = rng.randrange(100, 172, 2)
    return Case(
        make_name(rng, female), rng.randrange(18, 92), female, complaint, rng.randrange(1, 11 if unit == "day" else 9),
        unit, present, absent, rng.choice(findings),
        f"{rng.randrange(362, 398) / 10:.1f}" if has[0] else "", rng.randrange(52, 124, 2) if has[1] else 0,
        (systolic, systolic - rng.randrange(36, 62, 2)) if has[2] else None,
        assessment, drug, rng.choice(doses), rng.choice(frequencies), rng.choice(days),
        rng.choice(FOLLOW_UPS) if rng.random() < 0.6 else "", rng.choice([0, 0, 1, 2, 3, 4, 6]))


def case_key(case: Case) -> str:
    """What keeps training and held-out sets apart: no held-out combination is ever trained on."""
    return "|".join([case.complaint, str(case.amount), case.unit, case.present, case.assessment,
                     case.drug, case.dose, case.follow_up])


def count(n: int, unit: str) -> str:
    """"3 days"."""
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"


def note(case: Case) -> str:
    """The note: seven lines in a fixed order, without a newline at the end."""
    vitals = [f"temperature {case.temperature}"] if case.temperature else []
    vitals += [f"pulse {case.pulse}"] if case.pulse else []
    vitals += [f"blood pressure {case.pressure[0]}/{case.pressure[1]}"] if case.pressure else []
    plan = [f"{case.drug} {case.dose} {case.frequency} for {count(case.days, 'day')}"]
    plan += [case.follow_up] if case.follow_up else []
    plan += [f"return in {count(case.weeks, 'week')}"] if case.weeks else []
    return "\n".join([
        f"Patient: {case.name}, {case.age}, {'female' if case.female else 'male'}",
        f"Complaint: {case.complaint}",
        f"Duration: {count(case.amount, case.unit)}",
        f"Symptoms: {case.present}, no {case.absent}",
        f"Findings: {', '.join(vitals + [case.finding])}",
        f"Assessment: {case.assessment}",
        f"Plan: {'; '.join(plan)}"])


def say_count(rng: random.Random, n: int, unit: str) -> str:
    """"3 days" as it is said: "three days", "a week", "3 days"."""
    if n == 1 and rng.random() < 0.6:
        return f"a {unit}"
    if n == 2 and rng.random() < 0.3:
        return f"a couple of {unit}s"
    word = NUMBERS[n] if n < len(NUMBERS) and rng.random() < 0.7 else str(n)
    return f"{word} {unit}" if n == 1 else f"{word} {unit}s"


def say_vitals(rng: random.Random, case: Case) -> str:
    """One sentence with the vital signs in any order, or an empty string."""
    parts = []
    if case.temperature:
        parts.append(rng.choice(["temperature {}", "temperature is {}", "the temperature is {}"]).format(case.temperature))
    if case.pulse:
        parts.append(rng.choice(["pulse {}", "pulse is {}", "heart rate {}", "a pulse of {}"]).format(case.pulse))
    if case.pressure:
        parts.append(rng.choice(["blood pressure {} over {}", "blood pressure is {} over {}",
                                 "pressure {} over {}"]).format(*case.pressure))
    rng.shuffle(parts)
    text = rng.choice([", ", " and " if len(parts) == 2 else ", "]).join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def say_plan(rng: random.Random, case: Case, subject: str) -> list[str]:
    """Sentences for drug, follow-up and return; subject is "you" or the patient's pronoun."""
    dose = case.dose.replace("mg", rng.choice(["mg", "milligrams"]))
    frequency = case.frequency
    if rng.random() < 0.4:
        frequency = {"once a day": "once daily", "twice a day": "two times a day",
                     "three times a day": "three times daily", "four times a day": "four times daily"}[frequency]
    length = say_count(rng, case.days, "day") if case.days != 7 or rng.random() < 0.5 else "a week"
    drug = rng.choice(["I prescribe {d}, {x}, {f} for {n}.", "We start {d} {x} {f} for {n}.",
                       "{S} will take {d} {x} {f} for {n}.", "Plan is {d} {x} {f}, for {n}.",
                       "I am giving {s} {d}, {x} {f}, for {n}."])
    spoken = {"you": "you", "he": "him", "she": "her"}[subject]
    out = [drug.format(d=case.drug, x=dose, f=frequency, n=length, s=spoken, S=subject.capitalize())]
    if case.follow_up:
        out.append(rng.choice(["We also need {}.", "Also {}.", "In addition {}.", "I order {} as well."]).format(case.follow_up))
    if case.weeks:
        out.append(rng.choice(["Come back in {}.", "Return in {}.", "See me again in {}.", "Next visit in {}."])
                   .format(say_count(rng, case.weeks, "week")))
    return out


def dictation(rng: random.Random, case: Case) -> str:
    """The doctor speaks the whole case as one paragraph."""
    he, person = ("she", "woman") if case.female else ("he", "man")
    title = "Mrs" if case.female else "Mr"
    last = case.name.split()[1]
    duration = say_count(rng, case.amount, case.unit)
    intro = rng.choice([f"This is {case.name}, {case.age} years old.",
                        f"Patient is {case.name}, a {case.age} year old {person}.",
                        f"{case.name}, {case.age}, came in today.",
                        f"Next is {title} {last}, first name {case.name.split()[0]}, age {case.age}.",
                        f"I saw {case.name}, aged {case.age}, this morning."])
    who = rng.choice([he.capitalize(), f"{title} {last}"])
    complaint = rng.choice([f"{who} complains of {case.complaint} for {duration}.",
                            f"{who} has had {case.complaint} for {duration}.",
                            f"The problem is {case.complaint}, for {duration} now.",
                            f"{who} came because of {case.complaint}, which began {duration} ago."])
    symptoms = rng.choice([f"There is {case.present} but no {case.absent}.",
                           f"{he.capitalize()} reports {case.present} and denies {case.absent}.",
                           f"No {case.absent}, but {case.present}.",
                           f"Also {case.present}. No {case.absent}."])
    exam = [f"On examination {case.finding}.", f"Examination shows {case.finding}.", f"Exam: {case.finding}."]
    middle = [s for s in (say_vitals(rng, case), rng.choice(exam)) if s]
    rng.shuffle(middle)
    opinion = rng.choice(["I think this is {}.", "Assessment is {}.", "This looks like {}.",
                          "My diagnosis is {}.", "Most likely {}."]).format(case.assessment)
    parts = [intro, complaint, symptoms] + middle + [opinion] + say_plan(rng, case, he)
    if rng.random() < 0.3:
        parts.insert(rng.randrange(1, len(parts) + 1), rng.choice(ASIDES))
    return " ".join(parts)


def dialogue(rng: random.Random, case: Case) -> str:
    """Doctor and patient in turns, a line each."""
    title = "Mrs" if case.female else "Mr"
    duration = say_count(rng, case.amount, case.unit)
    first, last = case.name.split()
    lines = [pair for pair in [rng.choice(CHAT)] if rng.random() < 0.6]
    lines.append(rng.choice([
        ("Your name and age, please?", f"{case.name}, I am {case.age}."),
        (f"You are {title} {last}?", f"Yes, {first} {last}, {case.age} years old."),
        (f"{title} {last}, what is your first name and age?", f"{first}, and I am {case.age}.")]))
    said = rng.choice(COMPLAINTS[case.complaint][0])
    said = said[0].upper() + said[1:]
    lines += rng.choice([
        [("What can I do for you?", f"{said}."), ("Since when?", f"For {duration}.")],
        [("What is the problem?", f"{said}. It started {duration} ago.")],
        [("Tell me what is wrong.", f"{said}, for {duration} now.")]])
    lines += rng.choice([
        [(f"Any {case.present}?", "Yes."), (f"And {case.absent}?", "No.")],
        [(f"Any {case.absent}?", "No, none."), (f"And {case.present}?", "Yes, a bit.")],
        [(f"Do you have {case.present} or {case.absent}?", f"Only {case.present}, no {case.absent}.")],
        [("Anything else?", f"Yes, {case.present}, but no {case.absent}.")]])
    vitals = say_vitals(rng, case)
    exam = rng.choice(["Let me see. {}.", "I will examine you. {}.", "{}."])
    findings = [s for s in (vitals, exam.format(case.finding[0].upper() + case.finding[1:])) if s]
    rng.shuffle(findings)
    opinion = rng.choice(["I think you have {}.", "This is {}.", "It looks like {}."]).format(case.assessment)
    out = [f"{who}: {text}" for pair in lines for who, text in zip(("Doctor", "Patient"), pair)]
    out.append("Doctor: " + " ".join(findings))
    out.append("Doctor: " + " ".join([opinion] + say_plan(rng, case, "you")))
    if rng.random() < 0.5:
        out.append("Patient: " + rng.choice(["Thank you, doctor.", "All right.", "I will do that.", "Goodbye."]))
    return "\n".join(out)
