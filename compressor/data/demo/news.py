"""Demo news sentences with people, places and organisations, some of which share their names."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from compressor.data.demo import words
from compressor.tasks.examples import TokenExample

KINDS = ("PER", "LOC", "ORG")
LABELS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in ("B", "I")))

CLAUSES = (
    "{person} said that the plan of {organisation} was far too expensive",
    "{person} travelled from {place} to {place} in the early morning",
    "the shares of {organisation} fell after a difficult week",
    "{organisation} opened a new office in {place}",
    "{organisation} will pay a large sum to {organisation}",
    "the old harbour of {place} was closed because of the storm",
    "{person} , who was born in {place} , married {person} last summer",
    "a speaker for {organisation} thanked {person} for the help",
    "{team} won the match against {team} by a single goal",
    "the train between {place} and {place} was late again",
    "{person} wrote a long letter to {person} about the matter",
    "nobody was hurt when a roof came down in {place}",
    "the prices of bread and milk went up for the third time",
    "the police found the stolen painting in an empty house",
    "many people talked about {any} during the whole evening",
    "everybody waited for {any}",
)
LINKS = (", and", ", while", "; meanwhile", ", but", ". At the same time", ". Later")


def sentence(rng: Random, *, clauses: tuple[int, int] = (3, 6)) -> TokenExample:
    """Some 30 to 80 words with BIO tags."""
    tagged: list[tuple[str, str]] = []
    for index in range(rng.randint(*clauses)):
        if index:
            tagged += [(word, "O") for word in _words(rng.choice(LINKS))]
        tagged += _clause(rng.choice(CLAUSES), rng)
    tagged.append((".", "O"))
    first = tagged[0]
    tagged[0] = (first[0][:1].upper() + first[0][1:], first[1])
    return TokenExample(tuple(word for word, _ in tagged), tuple(tag for _, tag in tagged))


def _words(text: str) -> list[str]:
    return text.replace(",", " , ").replace(";", " ; ").replace(".", " . ").split()


def _clause(template: str, rng: Random) -> Iterator[tuple[str, str]]:
    for word in template.split():
        if not word.startswith("{"):
            yield (word, "O")
            continue
        kind, text = _name(word.strip("{}"), rng)
        for index, part in enumerate(text.split()):
            yield (part, f"{'I' if index else 'B'}-{kind}")


def _name(slot: str, rng: Random) -> tuple[str, str]:
    """The kind and the text of a name for a slot of a template."""
    if slot == "any":
        slot = rng.choice(("person", "place", "organisation"))
    if slot == "person":
        full, _ = words.name(rng)
        return "PER", full if rng.random() < 0.6 else full.split()[1]
    if slot == "place":
        part = rng.choice(("North ", "East ")) if rng.random() < 0.15 else ""
        return "LOC", part + rng.choice(words.CITIES)
    if slot == "team":  # a place's team goes by the place's name
        return "ORG", rng.choice(words.CITIES)
    text = rng.choice(
        (words.company(rng), words.surname(rng), f"{rng.choice(words.CITIES)} {rng.choice(words.CITY_BODIES)}")
    )
    return "ORG", text
