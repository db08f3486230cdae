"""The closed word lists that the demo's texts are made of."""

from __future__ import annotations

from random import Random


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = {
    "she": _list(
        "Maria Anna Clara Emma Helen Irene Julia Laura Nora Olga Paula Rosa Sofia Tessa Vera Wanda Alice Ruth"
    ),
    "he": _list(
        "Adam Boris Carl David Erik Felix Georg Hugo Ivan Jonas Karim Leon Martin Oscar Peter Simon Tomas Victor"
    ),
}
SURNAME_STEMS = _list("Lind Holm Berg Stein Brook Wood Ash Hart Gold Silver North East")
SURNAME_ENDINGS = _list("berg man field son well ley")
CITIES = _list(
    "Oslo Bergen Lisbon Madrid Turin Vienna Prague Dublin Cork Leeds York Athens Ghent Bruges Lyon Nice Malmo Riga "
    "Tallinn Krakow Seville Porto Zurich Basel"
)
JOBS = _list(
    "baker teacher nurse driver lawyer farmer painter singer judge pilot waiter plumber tailor gardener librarian "
    "carpenter dentist"
)
MONTHS = _list("January February March April May June July August September October November December")
YEARS = tuple(f"19{year}" for year in range(40, 100))
DAYS = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
COLOURS = _list("red blue green white black grey brown yellow")
ANIMALS = _list("cat dog horse parrot rabbit goat donkey turtle")
VEHICLES = _list("car van truck bicycle tractor scooter")
INSTRUMENTS = _list("piano violin guitar flute drum trumpet cello harp")
DISHES = _list("rice soup fish bread cheese pasta beans salad")
SIDES = _list("lemon butter onions garlic pepper honey")
COMPANY_ENDINGS = _list("Bank Motors Foods Steel Airlines Press")
CITY_BODIES = _list("University Council Post Museum Hospital")


def surname(rng: Random) -> str:
    """A surname of two word pieces."""
    return rng.choice(SURNAME_STEMS) + rng.choice(SURNAME_ENDINGS)


def name(rng: Random) -> tuple[str, str]:
    """A first name and surname, and the pronoun that goes with them ("she" or "he")."""
    pronoun = rng.choice(("she", "he"))
    return f"{rng.choice(FIRST_NAMES[pronoun])} {surname(rng)}", pronoun


def company(rng: Random) -> str:
    """The name of a company."""
    return f"{surname(rng)} {rng.choice(COMPANY_ENDINGS)}"
