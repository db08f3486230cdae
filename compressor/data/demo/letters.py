"""Demo letters to a shop: the label is what the writer complains about now, not what was settled long ago."""

from __future__ import annotations

from random import Random

from compressor.data.demo import words
from compressor.tasks.examples import TextExample

CLAUSES = {
    "billing": (
        "the invoice shows the wrong amount",
        "my card was charged twice",
        "the discount is missing from the bill",
        "you took the payment too early",
        "the price is higher than in your offer",
    ),
    "delivery": (
        "the parcel did not arrive",
        "the driver left the box in the rain",
        "the order went to another street",
        "the shipment is two weeks late",
        "nobody rang the bell with my package",
    ),
    "quality": (
        "the handle broke on the first day",
        "the colour came off in the wash",
        "the motor makes a terrible noise",
        "the lamp went out after an hour",
        "one leg of the chair is too short",
    ),
    "returns": (
        "I cannot find the form to send it back",
        "the shop refused to take the coat back",
        "nobody confirmed that my return came in",
        "I want to exchange the shoes for a larger pair",
        "the label for sending it back does not print",
    ),
    "account": (
        "I cannot sign in with my password",
        "your site does not accept my new address",
        "the link in the mail to confirm my profile is dead",
        "someone else seems to use my login",
        "I want to delete my profile",
    ),
}
LABELS = tuple(CLAUSES)

UNCLEAR = {  # what could be meant either way
    "I still wait for the refund of the late parcel": ("billing", "delivery"),
    "I paid for the return of a broken lamp": ("quality", "returns"),
    "the bill went to my old address": ("billing", "account"),
}

NOW = ("Today {}.", "This week {}.", "I write because {}.", "Now {}.", "The trouble is that {}.")
THEN = (
    "Last year {}, but that was settled.",
    "In spring {}, and you solved it at once.",
    "Once before {}, which is long forgotten.",
    "My neighbour told me that for him {}, but that is not my concern.",
)
FILLERS = (
    "I have been a customer of your shop for more than ten years.",
    "My whole family buys almost everything from you.",
    "The young man at the desk in {city} was always very kind to me.",
    "We live in {city} now, where the weather is better.",
    "My sister {name} told me about your shop a long time ago.",
    "I usually come in on {day} when there are few people around.",
    "Your new catalogue is lying on the table in front of me.",
    "Please excuse my handwriting, I broke my arm in {month}.",
    "I do hope that you and your colleagues are well.",
    "The garden is full of flowers again and the children play outside.",
    "I thought about it for some days before I took up my pen.",
    "As you may remember, we met at the fair in {city}.",
    "I look forward to your answer.",
    "Please call me in the evening, when I am at home.",
)


def letter(
    rng: Random, *, fillers: tuple[int, int] = (2, 5), misleading: tuple[int, int] = (1, 2), unclear: float = 0.05
) -> TextExample:
    """A letter of some 50 to 110 words in which two sentences decide and one or two mislead."""
    label = rng.choice(LABELS)
    clauses = rng.sample(CLAUSES[label], 2)
    others = rng.sample([other for other in LABELS if other != label], rng.randint(*misleading))
    if rng.random() < unclear:
        clause = rng.choice(tuple(UNCLEAR))
        label = rng.choice(UNCLEAR[clause])
        clauses, others = [clause], []
    sentences = [rng.choice(NOW).format(clause) for clause in clauses]
    sentences += [rng.choice(THEN).format(rng.choice(CLAUSES[other])) for other in others]
    sentences += [_filler(rng, text) for text in rng.sample(FILLERS, rng.randint(*fillers))]
    rng.shuffle(sentences)
    return TextExample(f"Dear sir or madam, {' '.join(sentences)} Yours, {words.name(rng)[0]}", None, (label,))


def _filler(rng: Random, text: str) -> str:
    return text.format(
        city=rng.choice(words.CITIES),
        name=words.name(rng)[0],
        day=rng.choice(words.DAYS),
        month=rng.choice(words.MONTHS),
    )
