"""Word lists of the named entities, by what else a name can be.

No name is in two lists, so that the part of a list for one split alone (see `splits.pick_for`) holds for every type
that a name can have. Firms, clubs and products are invented, or named after a place or a person.
"""

from __future__ import annotations

from peftbench.data.quickstart.grammar import words

FIRST = words(
    "Anna, Peter, Maria, Thomas, Elena, Martin, Sophie, David, Julia, Oliver, Nadia, Samuel, Clara, Viktor, Irene, "
    "Hugo, Leila, Anders, Teresa, Omar, Greta, Felix, Priya, Conrad, Lucia, Hassan, Ingrid, Stefan, Amara, Jonas, "
    "Yuki, Edwin, Beatrix, Rafael, Mei, Walter, Zofia, Dario, Helen, Kofi"
)
FIRST_OR_WORD = words(
    "Will, Mark, Grant, May, Rose, Grace, Bill, June, Hope, Frank, Drew, April, Faith, Dean, Penny, Summer, Joy, "
    "Chase, Pearl, Dawn, Iris, Miles, Olive, Ruby, Ivy, Art, Daisy, Jack"
)
FIRST_OR_PLACE = words(
    "Jordan, Florence, Austin, Georgia, Victoria, Sydney, Charlotte, Adelaide, Paris, Savannah, Chester, Madison, "
    "Chelsea, Virginia, Dakota, Carolina, Devon, Alexandria, Kent, Regina"
)
SURNAME = words(
    "Keller, Novak, Jensen, Moreau, Okafor, Lindqvist, Tanaka, Ferreira, Kowalski, Hughes, Dimitrov, Haddad, Murphy, "
    "Rossi, Larsen, Mehta, Petrov, Vargas, O'Connor, Schmidt, Ibrahim, Nowak, Fischer, Castillo, Andersson, Mensah, "
    "Bianchi, Clarke, Yilmaz, Dubois, Sato, Herrera, Horvath, Nguyen, Virtanen, Kaplan, Osei, Weber, Barros, Fraser"
)
SURNAME_OR_WORD = words(
    "Marsh, Hill, Baker, Stone, Banks, Price, Cook, Bishop, Woods, Rice, Page, Mason, Hunter, Lane, Fox, Field, King, "
    "Bridges, Waters, Cross, Church, Park, Drake, Wolf, Bush, Swan, Young, Rivers"
)
SURNAME_OR_PLACE = words(
    "Lincoln, York, Hamilton, Preston, Houston, Bolton, Warwick, Nelson, Denver, Lancaster, Carlisle, Windsor, Derby, "
    "Durham, Bradford, Hastings, Sutton, Kingston, Stafford, Newton, Burton, Wellington, Milton, Wells, Melbourne, "
    "Washington, Bristol, Halifax"
)
PLACE = words(
    "Lisbon, Oslo, Krakow, Toronto, Bergen, Vienna, Nairobi, Porto, Helsinki, Lima, Zagreb, Dublin, Osaka, Geneva, "
    "Gdansk, Montreal, Seville, Accra, Riga, Bologna, Utrecht, Kyoto, Tallinn, Leipzig, Norway, Peru, Kenya, Portugal, "
    "Ghana, Finland, Canada, Estonia, Uruguay, Morocco, Iceland, Latvia"
)
PLACE_OR_WORD = words(
    "Reading, Nice, Bath, Cork, Hull, Split, Turkey, Rugby, Orange, Phoenix, Rye, Jersey, Deal, Sandwich, Battle, "
    "Buffalo, Mobile, Flint, Bury, Java, Cologne, Limerick, Chile, Ware"
)
BRAND = words(
    "Zentra, Vertex, Lumio, Nexus, Quillon, Norvik, Althea, Calyx, Ardenco, Fluxa, Helvex, Intara, Kordia, Apex, "
    "Ombra, Zenith, Pentari, Rovano, Solvenne, Tirano, Ultima, Wendra, Xelio, Dynamo"
)
BRAND_OR_WORD = words(
    "Beacon, Comet, Kestrel, Lantern, Falcon, Anchor, Compass, Orchard, Horizon, Ember, Maple, Raven, Summit, Otter, "
    "Pioneer, Willow, Badger, Puffin, Harbour, Feather, Pebble, Thistle, Acorn, Lark"
)

MODEL = words(
    "Tempo, Glider, Zephyr, Turbo, Nova, Pixel, Runabout, Scout, Omega, Voltino, Wavely, Aero, Bravado, Corsair, "
    "Drifter, Sonata, Fiesta, Gamma, Hoverly, Mirage, Kinto, Loopo, Mistral, Nimbus"
)

NAMES_FOR = {
    "first": ((FIRST, 8.0), (FIRST_OR_WORD, 1.0), (FIRST_OR_PLACE, 1.0)),
    "surname": ((SURNAME, 8.0), (SURNAME_OR_WORD, 1.0), (SURNAME_OR_PLACE, 1.0)),
    "place": ((PLACE, 8.0), (PLACE_OR_WORD, 1.0), (FIRST_OR_PLACE, 1.0), (SURNAME_OR_PLACE, 1.5)),
    "club": ((PLACE, 1.0), (PLACE_OR_WORD, 1.0), (SURNAME_OR_PLACE, 3.0)),
    "firm": ((BRAND, 7.0), (BRAND_OR_WORD, 1.5), (SURNAME, 0.4), (SURNAME_OR_WORD, 0.4)),
    "product": ((MODEL, 7.0), (BRAND_OR_WORD, 1.5), (FIRST_OR_PLACE, 0.7), (FIRST_OR_WORD, 0.3)),
}
"""The lists that a name of each kind is drawn from, with their weights."""

COMMON_NOUNS = words(
    "marsh, hill, baker, stone, cook, bishop, page, mason, hunter, lane, fox, field, king, cross, church, park, "
    "swan, wolf, beacon, comet, kestrel, lantern, falcon, anchor, compass, orchard, feather, pebble, thistle, raven, "
    "maple, willow, badger, puffin, harbour, otter, rose, daisy, pearl, ruby, lily, bath, cork, sandwich, jersey, "
    "turkey, buffalo, penny, grant, mark, dean, bank, museum, hospital"
)
"""Nouns that are also (parts of) names, in sentences where they are none."""

SLOTS = {
    "day": words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "month": words("January, March, April, May, June, August, October"),
    "num": words("two, three, four, five, six, nine, eleven, twenty, forty"),
    "age": words("19, 24, 31, 38, 43, 52, 61, 67"),
    "score": words("2 - 1, 3 - 0, 1 - 0, 4 - 2, 5 - 3"),
    "title": words("Mayor, Doctor, Captain, Judge, Professor, Sergeant, Dr, Mr, Mrs, Ms, Aunt, Uncle, Coach"),
    "job": words(
        "nurse, plumber, teacher, lawyer, pilot, violinist, farmer, carpenter, surgeon, clerk, welder, librarian, "
        "goalkeeper, midfielder, architect, baker, cook, hunter, mason, bishop"
    ),
    "thing": words("letter, ladder, bicycle, piano, map, kettle, parcel, ticket, coat, photograph, guitar, key"),
    "building": words("bridge, library, station, town hall, theatre, hospital, school, museum, bank, university"),
    "when": words(
        "last week, last spring, in May, this summer, in August, two years ago, on Sunday, in the end, at last, again, "
        "yesterday, in April, before the holidays, during the strike, this morning"
    ),
    "noun": COMMON_NOUNS,
}
"""What fills the slots of a sentence that are no names."""
