"""The sentence frames of the named entities: words and slots, separated by spaces.

A slot such as `{person}` is a name of a type (`NAMES`), or of no type (`entity_words.SLOTS`). Every frame determines
the type of its names without their spelling: who retires is a person, what comes in two colours is a product.
"""

from __future__ import annotations

Frames = tuple[str, ...]

# The wordings of each kind of name, with weights. `+` joins what is one entity; the rest of a wording is outside of it.
NAMES: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "person": (
        "PER",
        (("{first}+{surname}", 3), ("{first}", 2.5), ("{surname}", 2.5), ("{initial}+{surname}", 1)),
    ),
    "last": ("PER", (("{surname}", 1),)),
    "location": (
        "LOC",
        (
            ("{place}", 10),
            ("Lake+{first}", 0.5),
            ("Mount+{surname}", 0.5),
            ("Port+{surname}", 0.6),
            ("{surname}+Street", 0.8),
            ("{surname}+Valley", 0.5),
            ("New+{place}", 0.6),
        ),
    ),
    "town": ("LOC", (("{place}", 1),)),
    "firm": (
        "ORG",
        (
            ("{firm}", 9),
            ("{firm}+Motors", 0.5),
            ("{firm}+Foods", 0.5),
            ("{surname}+&+Sons", 0.6),
            ("{surname}+and+{surname}", 0.6),
            ("{surname}+,+{surname}+&+{surname}", 0.5),
        ),
    ),
    "club": ("ORG", (("{club}", 4), ("{club}+United", 1), ("{club}+Rovers", 1))),
    "institution": (
        "ORG",
        (
            ("the University+of+{place}", 2),
            ("the Bank+of+{place}", 2),
            ("the Museum+of+{place}", 1),
            ("{place}+University", 1),
            ("{place}+Hospital", 1),
            ("{surname}+College", 1),
            ("the {place}+Symphony+Orchestra", 0.6),
        ),
    ),
    "model": ("PROD", (("{product}", 5), ("{product}+{digit}", 1), ("{product}+Mini", 0.7), ("{product}+Pro", 0.7))),
    "product": (
        "PROD",
        (
            ("{product}", 5),
            ("{product}+{digit}", 1),
            ("{product}+Mini", 0.7),
            ("{product}+Pro", 0.7),
            ("{firm}+{product}", 1),
        ),
    ),
}

# What a clause can be about: its subjects and its predicates.
CLAUSES: dict[str, tuple[Frames, Frames]] = {
    "person": (
        (
            "{person}",
            "{person}",
            "{person} , {age} ,",
            "{title} {last}",
            "{person} , a {job} from {town} ,",
            "the {job} {person}",
            "{person} and {person}",
            "the {job} from {town}",
            "a {job} called {person}",
        ),
        (
            "grew up in {town}",
            "grew up with {person}",
            "studied at {institution}",
            "married {person} in {town}",
            "left a post at {firm} after {num} years",
            "bought a {product} {when}",
            "met {person} near {location} {when}",
            "moved from {town} to {town}",
            "played for {club} {when}",
            "sold the old {product} to {person}",
            "waved to {person} from the {building}",
            "drove the {product} to {location} {when}",
            "drove {person} to {location}",
            "drove through {town} with {person}",
            "gave {person} a {thing} {when}",
            "gave the {thing} to {person}",
            "wrote to {institution} about the {thing}",
            "missed the last train to {town}",
            "scored twice for {club} against {club}",
            "bought shares of {firm} {when}",
            "worked at {firm} in {town}",
            "worked with {title} {last} in {town}",
            "retired {when}",
            "lost the {thing} on the way to {location}",
            "borrowed a {product} from {person}",
            "sang a song at the birthday of {person}",
            "flew over {location} {when}",
            "painted {location} {when}",
            "walked from {town} to {location}",
            "flew with {person} to {town}",
        ),
    ),
    "firm": (
        ("{firm}", "{firm}", "{firm} , based in {town} ,", "{firm} , the maker of the {model} ,"),
        (
            "reported a small profit {when}",
            "opened a branch in {town}",
            "appointed {person} to its board",
            "recalled the {model} {when}",
            "merged with {firm} {when}",
            "closed its office in {town}",
            "cut {num} jobs in {town}",
            "stopped making the {model}",
            "raised its prices {when}",
            "sold its shares in {firm}",
            "moved its head office from {town} to {town}",
            "named {person} as chief executive",
            "launched the {model} {when}",
            "lost customers to {firm}",
        ),
    ),
    "club": (
        ("{club}", "{club}", "{club} , coached by {person} ,"),
        (
            "beat {club} {score} {when}",
            "drew with {club} {when}",
            "signed {person} from {club}",
            "lost the final to {club}",
            "sacked the coach {when}",
            "sold {person} to {club}",
            "scored a late goal against {club}",
            "finished third in the league",
            "travelled to {town} for the cup match",
        ),
    ),
    "location": (
        ("{town}", "{town}", "{town}", "the town of {town}", "{town} , a port near {location} ,"),
        (
            "was cut off by snow {when}",
            "elected a new mayor {when}",
            "lies north of {location}",
            "has fewer inhabitants than {town}",
            "got a new {building} {when}",
            "was under water {when}",
            "lost its only {building}",
            "is {num} hours from {town} by train",
            "has more rain than {town}",
            "was home to {person} {when}",
        ),
    ),
    "institution": (
        ("{institution}", "{institution}", "{institution} , in {town} ,"),
        (
            "opened a new wing {when}",
            "gave {person} a prize {when}",
            "moved out of {town}",
            "closed for repairs {when}",
            "hired {person} {when}",
            "bought the head office of {firm} {when}",
        ),
    ),
    "product": (
        ("the {product}", "the new {product}", "the {model} , made by {firm} ,", "{firm} 's {model}"),
        (
            "costs less than the {product}",
            "comes in {num} colours",
            "runs for {num} hours on one charge",
            "was designed by {person}",
            "is made by {firm} in {town}",
            "needs a new battery",
            "sold badly in {town}",
            "weighs less than a {thing}",
            "was out of stock {when}",
            "has a better screen than the {product}",
        ),
    ),
}

# Nouns that determine the type of the name they belong to: "the streets of Victoria", "Victoria 's hands".
POSSESSED: dict[str, str] = {
    "person": "parents, hands, brother, voice, knee, birthday, grandson, handwriting, smile, mother, childhood",
    "town": "streets, mayor, harbour, old quarter, suburbs, rooftops, climate, tram lines, inhabitants, town hall",
    "firm": "shares, shareholders, board of directors, head office, sales figures, dividend, annual results, branches",
    "club": "goalkeeper, fans, home ground, second goal, defenders, away match, midfield, league position",
    "product": "screen, buttons, battery, engine, manual, keyboard, charger, price tag, software",
}
AFTER_POSSESSED: Frames = (
    "surprised the {job}",
    "came up in conversation {when}",
    "caused no trouble {when}",
    "got a mention in the paper {when}",
    "looked better than expected",
    "made the {job} think",
    "did not interest the {job}",
    "interested {title} {last} {when}",
    "changed a great deal {when}",
)

# Clauses in which small words decide, or in which a part of a longer name stands by itself.
CONTRASTS: Frames = (
    "the university in {town} is older than {institution}",
    "the bank in {town} closed {when}",
    "the {town} office of {firm} moved to {town}",
    "the museum opposite {institution} burned down",
    "we waited for {person} in {town}",
    "we changed trains in {town} and again in {town}",
    "nobody at {firm} had heard of {person}",
    "nobody in {town} had heard of the {product}",
    "nobody but {person} had been to {town}",
    "the road from {town} to {town} was closed",
    "the match between {club} and {club} was called off",
    "the merger of {firm} and {firm} was called off",
    "the wedding of {person} and {person} was called off",
    "a flight from {town} was late , and {person} with it",
    "I swapped my {product} for a {product}",
    "I asked {person} , {person} and {person} for help",
    "we went to {town} , {town} and {town} {when}",
    "{person} , not {person} , plays for {club}",
    "{firm} , not {firm} , makes the {model}",
    "the mayor of {town} met Mayor {last} of {town}",
    "the {noun} in {town} belongs to {person}",
    "the {job} put the {noun} into the {product}",
)

# Clauses without a name, with words that are names elsewhere, or capital letters that mean nothing.
NO_NAME: Frames = (
    "it will rain on {day} , or it may not",
    "the {noun} will be ready by {day}",
    "May was colder than {month}",
    "in {month} the {noun} looked better than in {month}",
    "mark the page with the {noun} before you close the book",
    "grant us {num} more days",
    "the battle over the {noun} lasted {num} weeks",
    "the price of the {noun} went up {when}",
    "there was no deal between the {job} and the {job}",
    "a {job} drew a {noun} {when}",
    "we may hope for a better {noun}",
    "the {job} sent the bill for the {noun} {when}",
    "the rose by the {building} died {when}",
    "the bank of the river gave way {when}",
    "the reading of the will took {num} hours",
    "a nice bath is better than a {noun}",
    "the Prime Minister opened the {building} {when}",
    "the Annual Report came out on {day}",
    "Chapter Four is about a {job} and a {noun}",
    "a {job} found a {noun} near the {building}",
    "the {job} gave the {job} a {thing} {when}",
    "summer came late , and autumn early",
    "orange suits the {noun}",
    "the split between the {job} and the {job} lasted {num} weeks",
    "the {noun} and the {noun} were hard to tell apart",
    "to be frank , the {noun} was no joy",
    "the Dutch {job} lost a {thing} on {day}",
    "at dawn the {job} went miles for a {noun}",
)

QUESTIONS: Frames = (
    "will {person} stay in {town}",
    "may {person} borrow the {thing}",
    "did {person} grant the shareholders of {firm} {num} more days",
    "does the {product} come with a charger",
    "will {firm} launch the {model} in {month}",
    "what did {person} mark with the {thing}",
    "is {town} nice in {month}",
    "has {club} signed {person} or {person}",
)
PLAIN_QUESTIONS: Frames = (
    "will the {noun} be ready by {day}",
    "may I borrow the {thing}",
    "will they grant us {num} more days",
    "who will bill us for the {noun}",
    "did the {job} mark the {noun} with a {thing}",
    "is it nice to be a {job} in {month}",
    "may we hope for a warm summer",
)

OPENERS: Frames = (
    "in short ,",
    "as expected ,",
    "according to the {job} ,",
    "as {title} {last} recalled ,",
    "as far as we know ,",
    "in {town} people say that",
    "it is true that",
    "few remember that",
    "we heard from {title} {last} that",
    "the paper says that",
    "it came as news to the {job} that",
)
PLAIN_OPENERS: Frames = tuple(opener for opener in OPENERS if not any(f"{{{name}}}" in opener for name in NAMES))
JOINTS: Frames = (", and", ", but", ", while", ";")
