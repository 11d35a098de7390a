"""What a pair of sentences can be about: facts that can be told in several ways, and changed by degrees.

Every kind of fact knows four ways to become another one, from nearly the same to merely the same topic:
`vaguer` loses a detail, `detail` changes one, `core` changes who or what or the roles, `akin` keeps only the
surroundings. Both pair tasks label by which of them was used.
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
"""A detail that is left out."""


class Fact(Protocol):
    """Something that can be told in several ways, and its neighbours in meaning."""

    @property
    def topic(self) -> object:
        """Its surroundings: facts of two topics have nothing in common."""

    def tell(self, draw: Draw, drift: float) -> str:
        """A sentence that says it; each word is replaced by a synonym with probability `drift`."""

    def vaguer(self, draw: Draw) -> Fact:
        """The same with a detail left out."""

    def detail(self, draw: Draw) -> Fact:
        """The same with another time, place, number, degree, source or manner."""

    def core(self, draw: Draw) -> Fact:
        """The same words mostly, about somebody or something else, or with the roles exchanged."""

    def akin(self, draw: Draw) -> Fact:
        """Another fact from the same surroundings."""


def _say(draw: Draw, group: Group, drift: float) -> str:
    return draw.one(group[1:]) if len(group) > 1 and draw.chance(drift) else group[0]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _around(draw: Draw, core: str, aside: str) -> str:
    """`core` with `aside` before or after it, as a statement."""
    if aside and draw.chance(0.3):
        return sentence(f"{aside}, {core}")
    return sentence(_join(core, aside))


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody did something to a thing or to somebody, somewhere, at some time; or, `denied`, did not."""

    setting: Setting
    agent: Group
    verb: Group
    patient: Group
    number: str
    trait: Group
    place: Group
    time: Group
    denied: bool

    @classmethod
    def any(cls, draw: Draw, setting: Setting | None = None) -> Event:
        """A random event, of one setting if given."""
        setting = setting or draw.one(SETTINGS)
        agent, person = draw.two(setting.people)
        if draw.chance(0.3):
            verb, patient, number, trait = draw.one(ENCOUNTERS), person, "the", NOTHING
        else:
            verb, patient = draw.one(setting.verbs), draw.one(setting.things)
            number = draw.one(NUMBERS) if draw.chance(0.4) else "the"
            trait = draw.one(setting.traits) if draw.chance(0.4) else NOTHING
        place, time = draw.one(setting.places), draw.one(TIMES)
        return cls(setting, agent, verb, patient, number, trait, place, time, denied=draw.chance(0.12))

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
        place, time = _say(draw, self.place, drift), _say(draw, self.time, drift)
        never = "never" if self.denied else ""
        form = draw.weighted((("active", 5), ("passive", 3), ("cleft", 1.5)))
        if form == "cleft":
            it_was = "it was not" if self.denied else "it was"
            return sentence(_join(it_was, agent, "who", past, patient, place, time))
        if form == "passive":
            be = "was" if self.number == "the" else "were"
            core = _join(patient, be, never, participle or past, "by", agent, place)
        else:
            core = _join(agent, never, past, patient, place)
        return _around(draw, core, time)

    def vaguer(self, draw: Draw) -> Event:
        """Without its place or its time."""
        return replace(self, place=NOTHING) if draw.chance(0.5) else replace(self, time=NOTHING)

    def detail(self, draw: Draw) -> Event:
        """At another time or place, or with another number or kind of things."""
        changes: list[Callable[[], Event]] = [
            lambda: replace(self, time=draw.other(TIMES, self.time)),
            lambda: replace(self, place=draw.other(self.setting.places, self.place)),
        ]
        if self.number != "the":
            changes.append(lambda: replace(self, number=draw.other(NUMBERS, self.number)))
        if self.trait != NOTHING:
            changes.append(lambda: replace(self, trait=draw.other(self.setting.traits, self.trait)))
        return draw.one(changes)()

    def core(self, draw: Draw) -> Event:
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

    def akin(self, draw: Draw) -> Event:
        """Something else that happened in the same setting."""
        other = Event.any(draw, self.setting)
        return replace(
            other,
            agent=draw.other(self.setting.people, self.agent, other.patient),
            time=draw.other(TIMES, self.time),
            verb=draw.other(ENCOUNTERS if other.between_people else self.setting.verbs, self.verb),
        )


@dataclass(frozen=True, slots=True)
class Transfer:
    """A thing went from one person to another: told from either side."""

    setting: Setting
    verbs: tuple[Group, Group]
    giver: Group
    taker: Group
    thing: Group
    time: Group

    @classmethod
    def any(cls, draw: Draw, setting: Setting | None = None) -> Transfer:
        """A random transfer, of one setting if given."""
        setting = setting or draw.one(SETTINGS)
        giver, taker = draw.two(setting.people)
        return cls(setting, draw.one(TRANSFERS), giver, taker, draw.one(setting.things), draw.one(TIMES))

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

    def akin(self, draw: Draw) -> Event:
        """Something else that happened in the same setting."""
        return replace(Event.any(draw, self.setting), time=draw.other(TIMES, self.time))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing has more of something than another: told from either end of the scale."""

    kind: Scale
    more: Group
    less: Group
    scale: tuple[str, str]
    degree: Group
    source: Group

    @classmethod
    def any(cls, draw: Draw, kind: Scale | None = None) -> Comparison:
        """A random comparison, of one kind of things if given."""
        kind = kind or draw.one(SCALES)
        more, less = draw.two(kind.things)
        scale = draw.one(kind.scales)
        scale = scale if draw.chance(0.5) else scale[::-1]
        return cls(kind, more, less, scale, draw.one(DEGREES), draw.one(SOURCES))

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

    def vaguer(self, draw: Draw) -> Comparison:
        """Without its degree or without its source."""
        return replace(self, degree=NOTHING) if draw.chance(0.5) else replace(self, source=NOTHING)

    def detail(self, draw: Draw) -> Comparison:
        """To another degree, or by another source."""
        if draw.chance(0.5):
            return replace(self, degree=draw.other(DEGREES, self.degree))
        return replace(self, source=draw.other(SOURCES, self.source))

    def core(self, draw: Draw) -> Comparison:
        """The other way round, on another scale, or with another thing."""
        change = draw.weighted((("roles", 1), ("scale", 1), ("thing", 1)))
        if change == "roles":
            return replace(self, more=self.less, less=self.more)
        if change == "scale":
            return replace(self, scale=draw.other(self.kind.scales, self.scale, self.scale[::-1]))
        return replace(self, less=draw.other(self.kind.things, self.more, self.less))

    def akin(self, draw: Draw) -> Comparison:
        """Another comparison among things of the same kind."""
        other = Comparison.any(draw, self.kind)
        return replace(other, scale=draw.other(self.kind.scales, self.scale, self.scale[::-1]))


@dataclass(frozen=True, slots=True)
class Question:
    """Something one may want to know about something one may want to do."""

    asked: Group
    wish: Wish
    x: Group
    y: Group
    manner: Group

    @classmethod
    def any(cls, draw: Draw, wish: Wish | None = None) -> Question:
        """A random question, about one wish if given."""
        wish = wish or draw.one(WISHES)
        x, y = draw.two(wish.fillers)
        return cls(draw.one(QUESTIONS), wish, x, y, draw.one(wish.manners))

    @property
    def topic(self) -> Wish:
        """What one would like to do."""
        return self.wish

    @property
    def between_two(self) -> bool:
        """Whether x and y could exchange their roles."""
        return "{y}" in self.wish.doing[0]

    def tell(self, draw: Draw, drift: float) -> str:
        """Ask in any of the ways of asking it."""
        x, y = _say(draw, self.x, drift), _say(draw, self.y, drift)
        do, doing = (form.format(x=x, y=y) for form in _say(draw, self.wish.doing, drift).split("/"))
        manner = _say(draw, self.manner, drift)
        asked = draw.one(self.asked)
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
        (Event.any, 6),
        (Transfer.any, 0.7),
        (Comparison.any, 0.8),
        (Question.any, 2.5),
    )
    return draw.weighted(kinds)(draw)
