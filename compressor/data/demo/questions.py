"""Demo contexts full of facts about several people, and questions about single facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from compressor.data.demo import words
from compressor.tasks.examples import Answer, QuestionExample


@dataclass(frozen=True)
class Attribute:
    """Something that can be said of a person: phrases and questions with {} for the value or the name."""

    phrases: tuple[str, ...]
    questions: tuple[str, ...]
    value: Callable[[Random], str]


ATTRIBUTES = (
    Attribute(
        ("lives in {}", "has lived in {} for many years", "owns a small flat in {}"),
        ("Where does {} live?", "In which city does {} live?"),
        lambda rng: rng.choice(words.CITIES),
    ),
    Attribute(
        ("works as a {}", "earns a living as a {}"),
        ("What does {} work as?", "What is the job of {}?"),
        lambda rng: rng.choice(words.JOBS),
    ),
    Attribute(
        ("was born in {}", "came into the world in {}"),
        ("When was {} born?", "In which year was {} born?"),
        lambda rng: f"{rng.choice(words.MONTHS)} {rng.choice(words.YEARS)}",
    ),
    Attribute(
        ("keeps a {} at home", "often walks out with a {}"),
        ("Which pet does {} have?", "What animal does {} keep?"),
        lambda rng: f"{rng.choice(words.COLOURS)} {rng.choice(words.ANIMALS)}",
    ),
    Attribute(
        ("drives a {}", "bought a {} last year"),
        ("What does {} drive?", "Which vehicle belongs to {}?"),
        lambda rng: f"{rng.choice(words.COLOURS)} {rng.choice(words.VEHICLES)}",
    ),
    Attribute(
        ("plays the {} in the evening", "is learning the {}"),
        ("Which instrument does {} play?",),
        lambda rng: rng.choice(words.INSTRUMENTS),
    ),
    Attribute(
        ("likes to eat {}", "cooks {} for every guest"),
        ("What does {} like to eat?", "What food does {} cook?"),
        lambda rng: f"{rng.choice(words.DISHES)} with {rng.choice(words.SIDES)}",
    ),
    Attribute(
        ("spends the summer in {}", "goes to {} on holiday"),
        ("Where does {} spend the summer?", "Where does {} go on holiday?"),
        lambda rng: rng.choice(words.CITIES),
    ),
    Attribute(
        ("visits the market on {}", "never misses the market on {}"),
        ("When does {} visit the market?", "On which day does {} go to the market?"),
        lambda rng: rng.choice(words.DAYS),
    ),
)

HOME, HOLIDAY = ATTRIBUTES[0], ATTRIBUTES[7]
APART = 0.85
"""Share of contexts that do not tell of both: homes and holidays are cities alike."""

FILLERS = (
    "The weather was mild that year, and the streets were quiet.",
    "Nobody in the village remembers who told the story first.",
    "There was a long letter about it in the old newspaper.",
    "Most neighbours know each other well, but they seldom meet.",
    "The road to the river was closed after the storm.",
    "Every winter the lights in the square are lit again.",
    "It is said that the bridge is older than the church.",
    "The train is late on most days, as everybody knows.",
)


@dataclass(frozen=True)
class Size:
    """How much a context tells: people, kinds of facts, kinds told of two people, and sentences that say nothing.

    Most kinds are told of one person only, so that the kind of fact asked for decides; where a kind is told of two,
    the name does.
    """

    people: tuple[int, int] = (4, 6)
    kinds: tuple[int, int] = (7, 9)
    repeats: tuple[int, int] = (0, 1)
    fillers: tuple[int, int] = (4, 8)


FULL_SIZE = Size()


class _Context:
    """A context while it is written: text and the places of all facts."""

    def __init__(self) -> None:
        self.text = ""
        self.facts: list[tuple[str, Attribute, Answer]] = []

    def write(self, text: str) -> None:
        self.text += text

    def fact(self, person: str, attribute: Attribute, rng: Random) -> None:
        """Write one phrase and remember where its value stands."""
        value = attribute.value(rng)
        before, after = rng.choice(attribute.phrases).split("{}")
        self.write(before)
        self.facts.append((person, attribute, Answer(value, len(self.text))))
        self.write(value + after)


def contexts_with_questions(
    rng: Random, name: str, *, questions: int = 4, size: Size = FULL_SIZE
) -> list[QuestionExample]:
    """One context and up to `questions` questions about different facts of it."""
    context = _context(rng, size)
    chosen = rng.sample(context.facts, min(questions, len(context.facts)))
    return [
        QuestionExample(f"{name}-{index}", rng.choice(attribute.questions).format(person), context.text, (answer,))
        for index, (person, attribute, answer) in enumerate(chosen)
    ]


def _context(rng: Random, size: Size) -> _Context:
    paragraphs: list[tuple[str, str, list[Attribute]] | str] = []
    people: dict[str, tuple[str, str]] = {}
    wanted = rng.randint(*size.people)
    while len(people) < wanted:
        name, pronoun = words.name(rng)
        people.setdefault(name.split()[0], (name, pronoun))
    for (name, pronoun), attributes in zip(people.values(), _shared_out(rng, size, wanted), strict=True):
        while attributes:  # one to three facts stand together
            together, attributes = attributes[: (count := rng.randint(1, 3))], attributes[count:]
            paragraphs.append((name, pronoun, together))
    paragraphs += rng.sample(FILLERS, rng.randint(*size.fillers))
    rng.shuffle(paragraphs)
    context = _Context()
    for paragraph in paragraphs:
        if context.text:
            context.write(" ")
        if isinstance(paragraph, str):
            context.write(paragraph)
        else:
            _write_facts(context, *paragraph, rng)
    return context


def _shared_out(rng: Random, size: Size, people: int) -> list[list[Attribute]]:
    """Kinds of facts for each person: every kind for one of them, and some for a second."""
    kinds = rng.sample(ATTRIBUTES, rng.randint(*size.kinds))
    if rng.random() < APART:
        kinds = [kind for kind in kinds if kind is not HOLIDAY or HOME not in kinds]
    shares: list[list[Attribute]] = [[] for _ in range(people)]
    for kind in kinds:
        rng.choice(shares).append(kind)
    for kind in rng.sample(kinds, min(rng.randint(*size.repeats), len(kinds)) if people > 1 else 0):
        rng.choice([share for share in shares if kind not in share]).append(kind)
    for share in shares:
        rng.shuffle(share)
    return shares


def _write_facts(context: _Context, name: str, pronoun: str, attributes: list[Attribute], rng: Random) -> None:
    context.write(f"{name} ")
    context.fact(name, attributes[0], rng)
    for attribute in attributes[1:]:
        context.write(rng.choice((" and ", " and also ", f". {pronoun.capitalize()} ")))
        context.fact(name, attribute, rng)
    context.write(".")
