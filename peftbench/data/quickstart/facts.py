"""The facts behind the sentence pairs: each can be expressed in several ways, and changed by degrees.

Every kind of fact has four transformations, from nearly the same meaning to merely the same topic: `vaguer` drops
a detail, `detail` changes one, `core` changes a participant or the roles, `akin` keeps only the topic. Both pair
tasks derive the label from the transformation used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from peftbench.data.quickstart.fact_words import (
    DEGREES,
    ENCOUNTERS,
    NUMBERS,
    QUESTIONS,
    SCALES,
    SETTINGS,
    SOURCES,
    TIMES,
    TRANSFERS,
    WISHES,
    Group,
    Scale,
    Setting,
    Wish,
)
from peftbench.data.quickstart.grammar import Draw, plural, sentence

NOTHING: Group = ("",)
"""An omitted detail."""


class Fact(Protocol):
    """A fact that can be expressed in several ways, and its neighbours in meaning."""

    @property
    def topic(self) -> object:
        """Its topic: facts of different topics are unrelated."""

    def tell(self, draw: Draw, drift: float) -> str:
        """A sentence that expresses the fact; each word is replaced by a synonym with probability `drift`."""

    def vaguer(self, draw: Draw) -> Fact:
        """The same fact with a detail omitted."""

    def detail(self, draw: Draw) -> Fact:
        """The same fact with another time, place, number, degree, source or manner."""

    def core(self, draw: Draw) -> Fact:
        """Mostly the same words, about somebody or something else, or with exchanged roles."""

    def akin(self, draw: Draw) -> Fact:
        """Another fact of the same topic."""


def _say(draw: Draw, group: Group, drift: float) -> str:
    return draw.pick(group[1:]) if len(group) > 1 and draw.chance(drift) else group[0]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _around(draw: Draw, core: str, aside: str) -> str:
    """`core` with `aside` before or after it, as a statement."""
    if aside and draw.chance(0.3):
        return sentence(f"{aside}, {core}")
    return sentence(_join(core, aside))


@dataclass(frozen=True, slots=True)
class EventFact:
    """An agent did something to a thing or person, somewhere, at some time; if `denied`, did not."""

    setting: Setting
    agent: Group
    verb: Group
    patient: Group
    number: str
    trait: Group
    location: Group
    time: Group
    denied: bool

    @classmethod
    def any(cls, draw: Draw, setting: Setting | None = None) -> EventFact:
        """A random event, of one setting if given."""
        setting = setting or draw.pick(SETTINGS)
        agent, person = draw.two(setting.people)
        if draw.chance(0.3):
            verb, patient, number, trait = draw.pick(ENCOUNTERS), person, "the", NOTHING
        else:
            verb, patient = draw.pick(setting.verbs), draw.pick(setting.things)
            number = draw.pick(NUMBERS) if draw.chance(0.4) else "the"
            trait = draw.pick(setting.traits) if draw.chance(0.4) else NOTHING
        location, time = draw.pick(setting.locations), draw.pick(TIMES)
        return cls(setting, agent, verb, patient, number, trait, location, time, denied=draw.chance(0.12))

    @property
    def topic(self) -> Setting:
        """Where it happened."""
        return self.setting

    @property
    def between_people(self) -> bool:
        """Whether agent and patient could exchange their roles."""
        return self.patient in self.setting.people

    def tell(self, draw: Draw, drift: float) -> str:
        """Active, passive or cleft, with the time first or last."""
        agent = "the " + _say(draw, self.agent, drift)
        past, _, participle = _say(draw, self.verb, drift).partition("/")
        noun = _say(draw, self.patient, drift)
        noun = noun if self.number == "the" else plural(noun)
        patient = _join(self.number, _say(draw, self.trait, drift), noun)
        location, time = _say(draw, self.location, drift), _say(draw, self.time, drift)
        never = "never" if self.denied else ""
        form = draw.weighted((("active", 5), ("passive", 3), ("cleft", 1.5)))
        if form == "cleft":
            it_was = "it was not" if self.denied else "it was"
            return sentence(_join(it_was, agent, "who", past, patient, location, time))
        if form == "passive":
            be = "was" if self.number == "the" else "were"
            core = _join(patient, be, never, participle or past, "by", agent, location)
        else:
            core = _join(agent, never, past, patient, location)
        return _around(draw, core, time)

    def vaguer(self, draw: Draw) -> EventFact:
        """Without its place or its time."""
        return replace(self, location=NOTHING) if draw.chance(0.5) else replace(self, time=NOTHING)

    def detail(self, draw: Draw) -> EventFact:
        """At another time or place, or with another number or kind of things."""
        changes: list[Callable[[], EventFact]] = [
            lambda: replace(self, time=draw.other(TIMES, self.time)),
            lambda: replace(self, location=draw.other(self.setting.locations, self.location)),
        ]
        if self.number != "the":
            changes.append(lambda: replace(self, number=draw.other(NUMBERS, self.number)))
        if self.trait != NOTHING:
            changes.append(lambda: replace(self, trait=draw.other(self.setting.traits, self.trait)))
        return draw.pick(changes)()

    def core(self, draw: Draw) -> EventFact:
        """By or to another person, with another deed or thing, with exchanged roles, or denied."""
        people, verbs = self.setting.people, ENCOUNTERS if self.between_people else self.setting.verbs
        change = draw.weighted(
            (("roles", self.between_people), ("denial", 1), ("agent", 1), ("verb", 1), ("patient", 1))
        )
        if change == "roles":
            return replace(self, agent=self.patient, patient=self.agent)
        if change == "denial":
            return replace(self, denied=not self.denied)
        if change == "agent":
            return replace(self, agent=draw.other(people, self.agent, self.patient))
        if change == "verb":
            return replace(self, verb=draw.other(verbs, self.verb))
        kind = people if self.between_people else self.setting.things
        return replace(self, patient=draw.other(kind, self.agent, self.patient))

    def akin(self, draw: Draw) -> EventFact:
        """Something else that happened in the same setting."""
        other = EventFact.any(draw, self.setting)
        return replace(
            other,
            agent=draw.other(self.setting.people, self.agent, other.patient),
            time=draw.other(TIMES, self.time),
            verb=draw.other(ENCOUNTERS if other.between_people else self.setting.verbs, self.verb),
        )


@dataclass(frozen=True, slots=True)
class Transfer:
    """A thing passed from one person to another, expressed from either side."""

    setting: Setting
    verbs: tuple[Group, Group]
    giver: Group
    taker: Group
    thing: Group
    time: Group

    @classmethod
    def any(cls, draw: Draw, setting: Setting | None = None) -> Transfer:
        """A random transfer, of one setting if given."""
        setting = setting or draw.pick(SETTINGS)
        giver, taker = draw.two(setting.people)
        return cls(setting, draw.pick(TRANSFERS), giver, taker, draw.pick(setting.things), draw.pick(TIMES))

    @property
    def topic(self) -> Setting:
        """Where it happened."""
        return self.setting

    def tell(self, draw: Draw, drift: float) -> str:
        """What the giver did, or what the taker did."""
        giver, taker, thing = (_say(draw, group, drift) for group in (self.giver, self.taker, self.thing))
        gave, took = (_say(draw, verb, drift) for verb in self.verbs)
        time = _say(draw, self.time, drift)
        if draw.chance(0.5):
            return _around(draw, f"the {giver} {gave} the {thing} to the {taker}", time)
        return _around(draw, f"the {taker} {took} the {thing} from the {giver}", time)

    def vaguer(self, draw: Draw) -> Transfer:
        """Without its time."""
        return replace(self, time=NOTHING)

    def detail(self, draw: Draw) -> Transfer:
        """At another time."""
        return replace(self, time=draw.other(TIMES, self.time))

    def core(self, draw: Draw) -> Transfer:
        """The other way round, or of another thing."""
        if draw.chance(0.5):
            return replace(self, giver=self.taker, taker=self.giver)
        return replace(self, thing=draw.other(self.setting.things, self.thing))

    def akin(self, draw: Draw) -> EventFact:
        """Something else that happened in the same setting."""
        return replace(EventFact.any(draw, self.setting), time=draw.other(TIMES, self.time))


@dataclass(frozen=True, slots=True)
class ComparisonFact:
    """One thing exceeds another on a scale, expressed from either end of the scale."""

    kind: Scale
    more: Group
    less: Group
    scale: tuple[str, str]
    degree: Group
    source: Group

    @classmethod
    def any(cls, draw: Draw, kind: Scale | None = None) -> ComparisonFact:
        """A random comparison, of one kind of things if given."""
        kind = kind or draw.pick(SCALES)
        more, less = draw.two(kind.things)
        scale = draw.pick(kind.scales)
        scale = scale if draw.chance(0.5) else scale[::-1]
        return cls(kind, more, less, scale, draw.pick(DEGREES), draw.pick(SOURCES))

    @property
    def topic(self) -> Scale:
        """What kind of things are compared."""
        return self.kind

    def tell(self, draw: Draw, drift: float) -> str:
        """Either thing first, with the comparative that fits it."""
        more, less = _say(draw, self.more, drift), _say(draw, self.less, drift)
        degree, source = _say(draw, self.degree, drift), _say(draw, self.source, drift)
        first, word, second = (more, self.scale[0], less) if draw.chance(0.5) else (less, self.scale[1], more)
        return _around(draw, _join(f"the {first} is", degree, word, f"than the {second}"), source)

    def vaguer(self, draw: Draw) -> ComparisonFact:
        """Without its degree or without its source."""
        return replace(self, degree=NOTHING) if draw.chance(0.5) else replace(self, source=NOTHING)

    def detail(self, draw: Draw) -> ComparisonFact:
        """To another degree, or by another source."""
        if draw.chance(0.5):
            return replace(self, degree=draw.other(DEGREES, self.degree))
        return replace(self, source=draw.other(SOURCES, self.source))

    def core(self, draw: Draw) -> ComparisonFact:
        """The other way round, on another scale, or with another thing."""
        change = draw.weighted((("roles", 1), ("scale", 1), ("thing", 1)))
        if change == "roles":
            return replace(self, more=self.less, less=self.more)
        if change == "scale":
            return replace(self, scale=draw.other(self.kind.scales, self.scale, self.scale[::-1]))
        return replace(self, less=draw.other(self.kind.things, self.more, self.less))

    def akin(self, draw: Draw) -> ComparisonFact:
        """Another comparison among things of the same kind."""
        other = ComparisonFact.any(draw, self.kind)
        return replace(other, scale=draw.other(self.kind.scales, self.scale, self.scale[::-1]))


@dataclass(frozen=True, slots=True)
class Question:
    """A question about something that one may want to do."""

    asked: Group
    wish: Wish
    x: Group
    y: Group
    manner: Group

    @classmethod
    def any(cls, draw: Draw, wish: Wish | None = None) -> Question:
        """A random question, about one wish if given."""
        wish = wish or draw.pick(WISHES)
        x, y = draw.two(wish.fillers)
        return cls(draw.pick(QUESTIONS), wish, x, y, draw.pick(wish.manners))

    @property
    def topic(self) -> Wish:
        """What one would like to do."""
        return self.wish

    @property
    def between_two(self) -> bool:
        """Whether x and y could exchange their roles."""
        return "{y}" in self.wish.doing[0]

    def tell(self, draw: Draw, drift: float) -> str:
        """One of the wordings of the question."""
        x, y = _say(draw, self.x, drift), _say(draw, self.y, drift)
        do, doing = (form.format(x=x, y=y) for form in _say(draw, self.wish.doing, drift).split("/"))
        manner = _say(draw, self.manner, drift)
        asked = draw.pick(self.asked)
        return sentence(asked.format(do=_join(do, manner), doing=_join(doing, manner)), "?")

    def vaguer(self, draw: Draw) -> Question:
        """Without its circumstances."""
        return replace(self, manner=NOTHING)

    def detail(self, draw: Draw) -> Question:
        """In other circumstances."""
        return replace(self, manner=draw.other(self.wish.manners, self.manner))

    def core(self, draw: Draw) -> Question:
        """Another question about the same wish, or the same about another thing, or from y to x."""
        change = draw.weighted((("roles", self.between_two), ("asked", 1), ("x", 1)))
        if change == "roles":
            return replace(self, x=self.y, y=self.x)
        if change == "asked":
            return replace(self, asked=draw.other(QUESTIONS, self.asked))
        return replace(self, x=draw.other(self.wish.fillers, self.x, self.y))

    def akin(self, draw: Draw) -> Question:
        """Another question about a similar wish."""
        other = Question.any(draw, self.wish)
        return replace(other, asked=draw.other(QUESTIONS, self.asked))


def any_fact(draw: Draw) -> Fact:
    """A random fact of any kind."""
    kinds: tuple[tuple[Callable[[Draw], Fact], float], ...] = (
        (EventFact.any, 6),
        (Transfer.any, 0.7),
        (ComparisonFact.any, 0.8),
        (Question.any, 2.5),
    )
    return draw.weighted(kinds)(draw)
