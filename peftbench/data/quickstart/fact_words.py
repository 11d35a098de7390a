"""Word lists of the pair tasks: people, things, places and questions.

A group such as `doctor|physician` lists synonyms, the most common first; the groups of one list differ in meaning.
All entries of a setting are compatible: each verb takes each of its things, and each person may act in each of its
places.
"""

from __future__ import annotations

from dataclasses import dataclass

from peftbench.data.quickstart.grammar import synonyms

Group = tuple[str, ...]
"""Wordings of one meaning, the usual one first."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where events happen. Verbs are `past` or `past/participle`."""

    people: tuple[Group, ...]
    verbs: tuple[Group, ...]
    things: tuple[Group, ...]
    traits: tuple[Group, ...]
    locations: tuple[Group, ...]


SETTINGS = (
    Setting(
        people=synonyms("cook|chef, waiter, owner|proprietor, guest|diner, baker, cleaner"),
        verbs=synonyms("washed|cleaned, bought|purchased, dropped, hid/hidden|concealed, sold, wrapped|packed up"),
        things=synonyms("bowl|dish, pan, kettle, tray, cake, basket, jug|pitcher"),
        traits=synonyms("large|big, small|little, old, new, expensive|costly"),
        locations=synonyms(
            "in the kitchen, in the dining room, on the terrace|on the patio, in the cellar|in the basement"
        ),
    ),
    Setting(
        people=synonyms(
            "teacher|schoolteacher, pupil|schoolchild, head teacher|principal, librarian, caretaker|janitor"
        ),
        verbs=synonyms(
            "borrowed, ordered|sent for, lost|mislaid, repaired|fixed, found|discovered, "
            "threw away/thrown away|discarded"
        ),
        things=synonyms("map, dictionary, drum, microscope, poster|placard, globe, violin|fiddle"),
        traits=synonyms("large|big, small|little, old, new, cheap|inexpensive"),
        locations=synonyms(
            "in the classroom|in the schoolroom, in the library, in the gym|in the sports hall, in the hallway"
        ),
    ),
    Setting(
        people=synonyms("doctor|physician, nurse, surgeon, patient, driver, pharmacist|chemist"),
        verbs=synonyms(
            "labelled|marked, misplaced|mislaid, moved, brought|delivered, examined|inspected, kept|held on to"
        ),
        things=synonyms("letter, wheelchair, bottle|flask, report, key, parcel|package"),
        traits=synonyms("large|big, small|little, old, new, heavy"),
        locations=synonyms(
            "in the hospital|at the clinic, in the waiting room, in the pharmacy, near the lift|by the elevator"
        ),
    ),
    Setting(
        people=synonyms("mechanic, motorist|driver, electrician, apprentice|trainee, customer|client, inspector"),
        verbs=synonyms("repaired|fixed, tested|tried out, painted, sold, damaged, cleaned|washed"),
        things=synonyms("car|automobile, engine|motor, bicycle|bike, van, lamp, radio, trailer"),
        traits=synonyms("red, blue, old, new, expensive|costly"),
        locations=synonyms(
            "in the garage|in the workshop, in the yard, behind the factory|behind the plant, at the petrol station"
        ),
    ),
    Setting(
        people=synonyms("manager|boss, secretary, lawyer|attorney, accountant, clerk, courier"),
        verbs=synonyms(
            "signed, wrote/written|drew up/drawn up, copied|duplicated, destroyed|shredded, lost|mislaid, "
            "checked|reviewed"
        ),
        things=synonyms("contract|agreement, letter, report, invoice|bill, form, certificate"),
        traits=synonyms("long|lengthy, short|brief, important, secret|confidential, missing"),
        locations=synonyms("in the office, in the meeting room|in the conference room, at the bank, at home"),
    ),
    Setting(
        people=synonyms("farmer, shepherd, gardener, vet|veterinarian, neighbour, beekeeper"),
        verbs=synonyms(
            "bought|purchased, sold, washed|cleaned, found|discovered, stole/stolen|carried off, photographed"
        ),
        things=synonyms("horse, goat, tractor, pig|hog, cart|wagon, donkey"),
        traits=synonyms("large|big, small|little, white, brown, old"),
        locations=synonyms("in the village, at the market|at the fair, near the river|by the river, behind the barn"),
    ),
    Setting(
        people=synonyms("painter|artist, guard|watchman, collector, curator, visitor, student"),
        verbs=synonyms(
            "admired, stole/stolen|carried off, restored, hid/hidden|concealed, donated|gave away/given away, measured"
        ),
        things=synonyms("painting|picture, statue|sculpture, vase, coin, mask, ring"),
        traits=synonyms("famous|celebrated, small|little, valuable|precious, old, golden"),
        locations=synonyms("in the museum|at the gallery, in the park, in the castle|in the fortress, at the auction"),
    ),
    Setting(
        people=synonyms("sailor|seaman, captain|skipper, tourist|holidaymaker, diver, harbour master, cabin boy"),
        verbs=synonyms("rented|hired, sold, lost|mislaid, examined|inspected, found|discovered, dragged|hauled"),
        things=synonyms("boat, net, anchor, rope, barrel|cask, lantern"),
        traits=synonyms("large|big, heavy, green, old, new"),
        locations=synonyms("in the harbour|in the port, on the beach|on the shore, near the lighthouse, on the island"),
    ),
)

ENCOUNTERS = synonyms(
    "thanked, praised|complimented, called|phoned, helped|assisted, greeted|welcomed, warned|alerted, "
    "interviewed|questioned, photographed, blamed, invited, ignored, recognised|identified"
)

TRANSFERS = (
    (("sold",), ("bought", "purchased")),
    (("lent", "loaned"), ("borrowed",)),
    (("handed", "gave"), ("received", "got")),
)
"""What the giver did *to* the taker, and the taker *from* the giver."""

NUMBERS = ("two", "three", "four", "five")

TIMES = synonyms(
    "on Monday, on Friday, at noon|at midday, at dawn|at sunrise, at dusk|at nightfall, "
    "last night|yesterday evening,this morning, last week, before breakfast, after lunch, in July, "
    "in the autumn|in the fall"
)


@dataclass(frozen=True, slots=True)
class Scale:
    """Things that compare on the same scales; a scale is a comparative and its opposite."""

    things: tuple[Group, ...]
    scales: tuple[tuple[str, str], ...]


SCALES = (
    Scale(
        synonyms("tower, bridge, church, town hall, lighthouse, theatre|playhouse, mill, hospital|clinic"),
        (("taller", "shorter"), ("older", "newer"), ("more beautiful", "uglier"), ("wider", "narrower")),
    ),
    Scale(
        synonyms("horse, dog, fox, goat, donkey, cow, pig|hog"),
        (("faster", "slower"), ("heavier", "lighter"), ("older", "younger"), ("stronger", "weaker")),
    ),
    Scale(
        synonyms("red car|red automobile, blue van, tram|streetcar, night train, city bus, ferry|ferry boat"),
        (("cheaper", "more expensive"), ("quieter", "louder"), ("faster", "slower"), ("cleaner", "dirtier")),
    ),
    Scale(
        synonyms("kitchen, attic|loft, bedroom, cellar|basement, hall, living room|lounge"),
        (("warmer", "colder"), ("larger", "smaller"), ("brighter", "darker"), ("tidier", "messier")),
    ),
)
DEGREES = (("much", "far"), ("slightly", "a little"))
SOURCES = synonyms(
    "according to the mayor|in the mayor's opinion, according to my uncle|in my uncle's opinion, "
    "according to most people|in most people's opinion, according to the newspaper|as the newspaper says, "
    "according to the neighbours|in the neighbours' opinion"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Something people ask about: a verb group (`base/gerund`) with {x}, perhaps {y}, and what fills them."""

    doing: Group
    fillers: tuple[Group, ...]
    manners: tuple[Group, ...]


AT_HOME = synonyms(
    "at home, in winter|during the winter, on a small budget|with little money, as a beginner, "
    "without any help|without assistance, together with a friend|with a friend"
)
ON_THE_ROAD = synonyms(
    "by train|by rail, by bus|by coach, in winter|during the winter, on a small budget|with little money, "
    "with small children|with young children, with a dog"
)
WISHES = (
    Wish(
        ("learn {x}/learning {x}", "pick up {x}/picking up {x}"),
        synonyms("Spanish, Danish, chess, juggling, sign language, the piano, Greek"),
        AT_HOME,
    ),
    Wish(
        ("grow {x}/growing {x}", "raise {x}/raising {x}"),
        synonyms("tomatoes, lemons, roses, potatoes|spuds, beans, mushrooms"),
        AT_HOME,
    ),
    Wish(
        ("travel from {x} to {y}/travelling from {x} to {y}", "get from {x} to {y}/getting from {x} to {y}"),
        synonyms("Lisbon, Madrid, Vienna, Oslo, Rome, Athens"),
        ON_THE_ROAD,
    ),
    Wish(
        ("turn {x} into {y}/turning {x} into {y}", "convert {x} into {y}/converting {x} into {y}"),
        synonyms("a garage, a loft|an attic, a bedroom, a workshop, a playroom, an office|a study"),
        AT_HOME,
    ),
    Wish(
        ("repair {x}/repairing {x}", "fix {x}/fixing {x}", "mend {x}/mending {x}"),
        synonyms("a bicycle|a bike, a tent, a roof, a guitar, a zip|a zipper, a clock"),
        AT_HOME,
    ),
    Wish(
        ("make {x}/making {x}", "prepare {x}/preparing {x}"),
        synonyms("bread, cheese, pancakes, jam, soup|broth, ice cream"),
        AT_HOME,
    ),
    Wish(
        ("clean {x}/cleaning {x}", "get {x} clean/getting {x} clean"),
        synonyms("a carpet|a rug, a sofa|a couch, a fish tank|an aquarium, a chimney, a silver spoon, an oven"),
        AT_HOME,
    ),
    Wish(
        ("train for {x}/training for {x}", "prepare for {x}/preparing for {x}"),
        synonyms(
            "a marathon, a job interview, a boxing match|a boxing bout, a wedding, a bicycle race, an exam|a test"
        ),
        AT_HOME,
    ),
)
QUESTIONS: tuple[Group, ...] = (
    ("how can I {do}", "what is the best way to {do}", "what should I do to {do}"),
    (
        "how long does it take to {do}",
        "how much time does one need to {do}",
        "how many hours does {doing} take",
    ),
    ("how much does it cost to {do}", "how much money does one need to {do}", "what does {doing} cost"),
    ("is it difficult to {do}", "is {doing} hard", "how hard is it to {do}"),
    ("why should one {do}", "what are good reasons to {do}", "what is the point of {doing}"),
    ("is it dangerous to {do}", "are there any risks in {doing}", "how risky is it to {do}"),
)
