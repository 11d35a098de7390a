"""Word lists of the sentiment sentences: domains, their parts, and the adjectives that fit each."""

from __future__ import annotations

from dataclasses import dataclass

from peftbench.data.quickstart.grammar import words

Scale = dict[int, tuple[str, ...]]
"""Adjectives by strength: -2 very bad, -1 bad, 0 neither, 1 good, 2 very good."""


def _scale(awful: str, poor: str, plain: str, good: str, superb: str) -> Scale:
    return {-2: words(awful), -1: words(poor), 0: words(plain), 1: words(good), 2: words(superb)}


STORY = _scale(
    "dreadful, unbearable, atrocious, insultingly stupid, a complete mess, excruciating",
    "predictable, flat, clumsy, dull, thin, tedious, muddled, lifeless",
    "conventional, ordinary, familiar, of average length, typical of its kind",
    "engaging, clever, entertaining, lively, amusing, likeable, well judged, fresh",
    "brilliant, superb, unforgettable, masterly, stunning, a triumph",
)
CAST = _scale(
    "appalling, atrocious, abysmal, laughably bad, dreadful",
    "wooden, bland, stiff, unconvincing, dull, listless",
    "adequate, little known, of mixed experience, mostly young",
    "likeable, convincing, charming, lively, appealing, funny",
    "magnificent, superb, outstanding, electrifying, flawless",
)
STAFF = _scale(
    "appalling, shockingly rude, insulting, disgracefully careless, utterly incompetent",
    "slow, inattentive, unhelpful, cold, distracted, impatient",
    "adequate, busy, much as expected, neither rushed nor slow",
    "friendly, helpful, attentive, polite, cheerful, patient",
    "wonderful, outstanding, faultless, exceptional, magnificent",
)
FOOD = _scale(
    "disgusting, inedible, revolting, vile, appalling",
    "bland, greasy, overcooked, soggy, stale, tasteless",
    "plain, ordinary, standard, much like any other, unremarkable",
    "tasty, fresh, well seasoned, satisfying, inviting, pleasant",
    "exquisite, divine, superb, heavenly, sensational",
)
PLACE = _scale(
    "filthy, disgusting, squalid, revolting, unbearable",
    "shabby, noisy, cramped, gloomy, draughty, dirty",
    "plain, ordinary, of average size, simple, standard",
    "cosy, clean, comfortable, quiet, bright, inviting",
    "gorgeous, magnificent, immaculate, breathtaking, perfect",
)
DEVICE = _scale(
    "useless, a disaster, utterly unusable, appalling, infuriating",
    "flimsy, sluggish, unreliable, awkward, weak, disappointing",
    "ordinary, standard, average, much like any other, unremarkable",
    "sturdy, handy, reliable, responsive, well made, pleasing",
    "phenomenal, superb, flawless, outstanding, amazing",
)
MUSIC = _scale(
    "excruciating, horrendous, unbearable, dreadful, abysmal",
    "shrill, dull, repetitive, lifeless, monotonous, feeble",
    "conventional, ordinary, familiar, of average length, standard",
    "lively, catchy, charming, graceful, warm, pleasant",
    "sublime, glorious, electrifying, magnificent, unforgettable",
)


@dataclass(frozen=True, slots=True)
class Aspect:
    """A part of the judged thing: all `names` take the same verb form and adjectives."""

    names: tuple[str, ...]
    scale: Scale
    plural: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of thing to judge: its names, verbs of use, parts, and neutral facts about it."""

    things: tuple[str, ...]
    scale: Scale
    used: str
    again: str
    doing_again: str
    aspects: tuple[Aspect, ...]
    facts: tuple[str, ...]


DOMAINS = (
    Domain(
        words("film, thriller, comedy, drama, documentary, western, sequel"),
        STORY,
        "seen",
        "watch it again",
        "watching it again",
        (
            Aspect(words("plot, script, opening, ending, dialogue, humour, story, final act"), STORY),
            Aspect(words("jokes, characters, chase scenes, songs"), STORY, plural=True),
            Aspect(words("leading man, heroine, cast, supporting cast"), CAST),
            Aspect(words("two leads, child actors, main actors"), CAST, plural=True),
        ),
        words(
            "runs for about two hours, opens in cinemas on Friday, was shot in Norway, "
            "has a cast of twelve, follows two brothers on a journey, is set in a small port"
        ),
    ),
    Domain(
        words("novel, memoir, biography, thriller, debut, novella"),
        STORY,
        "read",
        "read it again",
        "reading it again",
        (
            Aspect(words("plot, prose, style, opening chapter, final chapter, dialogue, translation"), STORY),
            Aspect(words("characters, descriptions, last fifty pages, footnotes, early chapters"), STORY, True),
        ),
        words(
            "has three hundred pages, came out in paperback in May, is set in the sixties, "
            "has eleven chapters,tells of a family of farmers, is the second of four"
        ),
    ),
    Domain(
        words("restaurant, bistro, cafe, diner, pizzeria, brasserie"),
        PLACE,
        "eaten at",
        "eat there again",
        "eating there again",
        (
            Aspect(words("service, waiter, welcome, manager, head waiter"), STAFF),
            Aspect(words("waiters, staff, people at the bar"), STAFF, plural=True),
            Aspect(words("food, soup, dessert, pasta, fish, bread, main course, breakfast"), FOOD),
            Aspect(words("starters, noodles, vegetables, side dishes, pastries"), FOOD, plural=True),
            Aspect(words("dining room, terrace, bar, garden"), PLACE),
        ),
        words(
            "seats about forty guests, is closed on Mondays, stands next to the station, "
            "changes its menu in June,takes orders until ten, serves lunch and dinner"
        ),
    ),
    Domain(
        words("hotel, hostel, inn, guest house, resort, campsite"),
        PLACE,
        "stayed at",
        "stay there again",
        "staying there again",
        (
            Aspect(words("receptionist, service, owner, welcome, porter"), STAFF),
            Aspect(words("staff, cleaners, owners"), STAFF, plural=True),
            Aspect(words("lobby, bathroom, breakfast room, pool, lounge, courtyard"), PLACE),
            Aspect(words("rooms, bathrooms, corridors, cabins"), PLACE, plural=True),
            Aspect(words("breakfast, coffee, dinner, buffet"), FOOD),
        ),
        words(
            "has thirty rooms, lies ten minutes from the beach, opens from March to October, "
            "has two lifts, stands behind the town hall, belongs to a larger group"
        ),
    ),
    Domain(
        words("phone, laptop, tablet, camera, printer, speaker, smart watch"),
        DEVICE,
        "used",
        "buy it again",
        "buying it again",
        (
            Aspect(words("screen, battery, keyboard, casing, software, charger, touch pad, display"), DEVICE),
            Aspect(words("buttons, menus, controls, accessories, speakers"), DEVICE, plural=True),
            Aspect(words("support line, after-sales service, help desk"), STAFF),
        ),
        words(
            "comes in black and in silver, weighs about as much as an apple, has two ports, "
            "charges over a cable,goes on sale in April, ships with a printed manual"
        ),
    ),
    Domain(
        words("concert, recital, musical, album, opera, song cycle"),
        MUSIC,
        "heard",
        "hear it again",
        "hearing it again",
        (
            Aspect(words("overture, first half, finale, encore, melody, slow movement, opening number"), MUSIC),
            Aspect(words("songs, solos, choruses, arrangements"), MUSIC, plural=True),
            Aspect(words("soloist, conductor, singer, pianist, choir"), CAST),
        ),
        words(
            "lasts ninety minutes, has nine parts, starts at eight, was recorded in Vienna, "
            "calls for a large choir,is sung in Italian"
        ),
    ),
)
