"""Generator of five-class sentiment: one sentence, built for a given class.

A sentence is a clause of known polarity (-2..2), or two contrasted clauses. The words alone do not determine the
class: praise is negated ("hardly a triumph"), blame is negated ("never dull"), a contrast is decided by its main
clause, hearsay by whether it proved right, a comparison by who is compared with whom. This is the part that a
linear layer on a frozen encoder cannot learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peftbench.data.quickstart.grammar import Draw, a, plural, sentence
from peftbench.data.quickstart.sentiment_words import DOMAINS, Aspect, Domain

NEUTRAL = 2
"""The middle class; a class is its polarity plus this."""

SENTIMENT_LEVELS = (0, 1, 2, 3, 4)

BOOST = ("extremely", "remarkably", "truly", "incredibly", "exceedingly")
DAMP = {
    1: ("fairly", "reasonably", "moderately", "mildly"),
    -1: ("a little", "rather", "somewhat", "slightly"),
}
ASIDES = (
    "to my mind",
    "for me",
    "if you ask me",
    "as far as I am concerned",
    "to be honest",
    "all things considered",
    "looking back",
    "in my experience",
)

# What follows the subject: {be} is the verb, {strong}, {good}, {bad} adjectives of the subject's own scale.
PREDICATES: dict[int, tuple[tuple[str, float], ...]] = {
    2: (
        ("{be} {superb}", 4),
        ("{be} {boost} {good}", 2),
        ("{be} nothing short of {superb}", 0.7),
        ("could hardly {inf} better", 0.7),
        ("{leave} nothing to be desired", 0.7),
    ),
    1: (
        ("{be} {good}", 3),
        ("{be} {damp} {good}", 1.5),
        ("{be} never {bad}", 1),
        ("{be} not in the least {bad}", 1),
        ("{be} anything but {bad}", 1),
        ("{be} {good} rather than {bad}", 0.6),
        ("{be} better than I had expected", 0.6),
        ("{be} not without charm", 0.6),
    ),
    0: (
        ("{be} {plain}", 2),
        ("{be} neither {good} nor {bad}", 1),
        ("{be} neither {bad} nor {good}", 1),
        ("{be} by turns {good} and {bad}", 1),
        ("{be} no better and no worse than usual", 0.6),
        ("{be} partly {bad} and partly {good}", 1),
    ),
    -1: (
        ("{be} {bad}", 3),
        ("{be} {damp} {bad}", 1.5),
        ("{be} hardly {superb}", 1),
        ("{be} never {good}", 1),
        ("{be} not at all {good}", 1),
        ("{be} anything but {good}", 1),
        ("{be} {bad} rather than {good}", 0.6),
        ("{be} worse than I had expected", 0.6),
        ("{leave} something to be desired", 0.6),
    ),
    -2: (
        ("{be} {awful}", 4),
        ("{be} {boost} {bad}", 2),
        ("{be} nothing short of {awful}", 0.7),
        ("could hardly {inf} worse", 0.7),
        ("{be} without a single merit", 0.7),
    ),
}

# Overall judgements. Each has a counterpart in the opposite class that shares nearly all its words.
VERDICTS: dict[int, tuple[str, ...]] = {
    2: (
        "I have rarely {used} a better {thing}",
        "this is the best {thing} I have {used} in years",
        "few {things} have impressed me more",
        "no {thing} in years has given me more pleasure",
        "I could not find a single fault with this {thing}",
        "it is hard to imagine a better {thing}",
        "nothing could stop me from {doing_again}",
        "I would {again} tomorrow, whatever it cost",
    ),
    1: (
        "you could do far worse than this {thing}",
        "this {thing} is better than most of its kind",
        "I would be happy to {again}",
        "I do not regret having {used} this {thing}",
        "I had feared {a_bad} {thing} and got {a_good} one",
        "people told me that the {thing} was {bad}, and they were wrong",
        "people told me that the {thing} was {good}, and they were right",
        "whoever calls this {thing} {bad} cannot have paid attention",
        "it is a relief to find {a_thing} that is not {bad}",
    ),
    0: (
        "I have {used} better {things}, and I have {used} worse",
        "this {thing} is no better and no worse than the rest",
        "I can neither praise this {thing} nor complain about it",
        "it is hard to feel strongly about this {thing} either way",
        "some call this {thing} {good}, some call it {bad}, and both are half right",
        "this {thing} does what it promises, no more and no less",
        "I might {again}, or I might not",
    ),
    -1: (
        "you could do far better than this {thing}",
        "this {thing} is weaker than most of its kind",
        "I would think twice about {doing_again}",
        "I rather regret having {used} this {thing}",
        "I had hoped for {a_good} {thing} and got {a_bad} one",
        "people told me that the {thing} was {good}, and they were wrong",
        "people told me that the {thing} was {bad}, and they were right",
        "whoever calls this {thing} {good} cannot have paid attention",
        "it is a pity to find {a_thing} that is not {good}",
    ),
    -2: (
        "I have rarely {used} a worse {thing}",
        "this is the worst {thing} I have {used} in years",
        "few {things} have annoyed me more",
        "no {thing} in years has given me less pleasure",
        "I could not find a single thing to like about this {thing}",
        "it is hard to imagine a worse {thing}",
        "nothing could persuade me into {doing_again}",
        "I would never {again}, even if it were free",
    ),
}

CONTRASTS = (
    "{less}, but {main}",
    "{less}, yet {main}",
    "although {less}, {main}",
    "{main}, although {less}",
    "{main}, even if {less}",
    "{less}; what counts, however, is that {main}",
)
BALANCES = (
    "{one}, but {other}, so it evens out",
    "on the one hand {one}, on the other {other}",
    "{one}, and {other}; I cannot say which weighs more",
    "{one}, while {other}, which leaves me undecided",
)


@dataclass(slots=True)
class _Review:
    """The state of one sentence being generated: its domain, its tense, and the parts not mentioned yet."""

    draw: Draw
    domain: Domain = field(init=False)
    thing: str = field(init=False)
    past: bool = field(init=False)
    unsaid: list[Aspect] = field(init=False)

    def __post_init__(self) -> None:
        self.domain = self.draw.pick(DOMAINS)
        self.thing = self.draw.pick(self.domain.things)
        self.past = self.draw.chance(0.5)
        overall = Aspect((self.thing,), self.domain.scale)
        self.unsaid = self.draw.shuffled((*self.domain.aspects, overall))

    def clause(self, polarity: int) -> str:
        """Subject and predicate of a polarity, about a part not mentioned yet."""
        aspect = self.unsaid.pop()
        name = self.draw.pick(aspect.names)
        pattern = self.draw.weighted(PREDICATES[polarity])
        be = ("were" if aspect.plural else "was") if self.past else ("are" if aspect.plural else "is")
        adjectives = {level: self.draw.pick(options) for level, options in aspect.scale.items()}
        predicate = pattern.format(
            be=be,
            inf="have been" if self.past else "be",
            leave="left" if self.past else "leave" if aspect.plural else "leaves",
            boost=self.draw.pick(BOOST),
            damp=self.draw.pick(DAMP.get(polarity, ("",))),
            awful=adjectives[-2],
            bad=adjectives[-1],
            plain=adjectives[0],
            good=adjectives[1],
            superb=adjectives[2],
        )
        return f"the {name} {predicate}"

    def verdict(self, polarity: int) -> str:
        """An overall judgement."""
        good, bad = self.draw.pick(self.domain.scale[1]), self.draw.pick(self.domain.scale[-1])
        return self.draw.pick(VERDICTS[polarity]).format(
            thing=self.thing,
            a_thing=a(self.thing),
            things=plural(self.thing),
            used=self.domain.used,
            again=self.domain.again,
            doing_again=self.domain.doing_again,
            good=good,
            bad=bad,
            a_good=a(good),
            a_bad=a(bad),
        )

    def contrast(self, polarity: int) -> str:
        """A concessive clause, and a main clause at least as strong that determines the sign."""
        conceded, main = self.draw.pick(((1, 1), (1, 2), (2, 2)))
        less = self.clause(-polarity * conceded)
        return self.draw.pick(CONTRASTS).format(less=less, main=self.clause(polarity * main))

    def balance(self) -> str:
        """Praise and blame of the same strength, in either order."""
        sign = self.draw.pick((-1, 1))
        first = self.clause(sign)
        return self.draw.pick(BALANCES).format(one=first, other=self.clause(-sign))

    def fact(self) -> str:
        return f"the {self.thing} {self.draw.pick(self.domain.facts)}"

    def single(self, polarity: int) -> str:
        clause = self.clause(polarity)
        return f"{self.draw.pick(ASIDES)}, {clause}" if self.draw.chance(0.5) else clause

    def double(self, polarity: int) -> str:
        return f"{self.clause(polarity)}, and {self.clause(polarity)}"


def write_sentiment(draw: Draw, label: int) -> tuple[tuple[str], float]:
    """One sentence whose class is `label` (0 very negative .. 4 very positive)."""
    review = _Review(draw)
    polarity = label - NEUTRAL
    if polarity == 0:
        shape = draw.weighted((("single", 3), ("balance", 3), ("verdict", 3), ("fact", 1), ("double", 1)))
    elif abs(polarity) == 1:
        shape = draw.weighted((("single", 3), ("contrast", 3), ("verdict", 3), ("double", 1)))
    else:
        shape = draw.weighted((("single", 3), ("verdict", 3), ("double", 2)))
    match shape:
        case "balance":
            text = review.balance()
        case "contrast":
            text = review.contrast(polarity)
        case "verdict":
            text = review.verdict(polarity)
        case "fact":
            text = review.fact()
        case "double":
            text = review.double(polarity)
        case _:
            text = review.single(polarity)
    return (sentence(text),), float(label)
