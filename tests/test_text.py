"""What comes from outside is printable after `clean`: nothing in it moves a cursor, a colour or a reader's eye."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.text import clean

ESCAPES = ("\x1b", "\x1b[31m", "\x1b]8;;", "\x07", "\x1b\\", "\x9b", "\x9c", "\x9d", "\x90", "\u202e", "\u2066", "\n")
ZWJ = "\u200d"

# Any text, and texts in which the dangerous pieces are frequent.
texts = st.one_of(
    st.text(alphabet=st.characters(codec=None)),
    st.lists(st.one_of(st.sampled_from(ESCAPES), st.text(max_size=4)), max_size=12).map("".join),
)


@given(texts)
def test_no_text_yields_a_control_escape_bidi_or_line_breaking_character(text: str) -> None:
    for character in clean(text):
        assert character in (" ", ZWJ) or unicodedata.category(character) not in {
            *("Cc", "Cf", "Cs", "Co", "Cn"),
            *("Zl", "Zp", "Zs"),
        }


@given(texts)
def test_clean_text_is_one_trimmed_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned.splitlines()) <= 1
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert clean(cleaned) == cleaned
    cleaned.encode("utf-8")


@given(texts, st.integers(1, 20))
def test_a_limit_is_kept_and_a_cut_is_marked(text: str, limit: int) -> None:
    whole, cut = clean(text), clean(text, limit)
    assert len(cut) <= limit
    assert cut == whole or cut == whole[: limit - 1] + "…"


@pytest.mark.parametrize(
    "text",
    [
        "plain, with 3 digits & marks: [x] {y} 100 %",
        "👩‍👩‍👧 and 🧑‍💻",
        "❤️ 1️⃣",
        "日本語 한국어 中文",
        "e\u0301tude",
        "हिन्दी, العربية, ελληνικά",
        "[red]not markup[/red]",
    ],
)
def test_what_people_write_is_kept(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;196mred", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b[?1049hother screen", "other screen"),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]8;;https://example.com\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]52;c;ZXZpbA==\x07after", "after"),
        ("\x1bP1$r0m\x1b\\after", "after"),
        ("\x1b_application\x1b\\after", "after"),
        ("\x1bcafter a reset", "after a reset"),
        ("\x1b(0line drawing", "line drawing"),
        ("\x9b31mred", "red"),
        ("\x1b\x1b[31mred", "red"),
        ("an end \x1b", "an end"),
        ("an end \x1b]0;never closed", "an end"),
        ("over\rwritten", "over written"),
        ("back\x08\x08space", "backspace"),
        ("a\x00b", "ab"),
        ("tab\tand\nline\r\nand\x0bmore\x0c.", "tab and line and more ."),
        ("line\u2028paragraph\u2029next\x85end", "line paragraph next end"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("\u2066isolated\u2069", "isolated"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud800 pair", "half pair"),
        ("  \u00a0 trimmed \u3000 ", "trimmed"),
    ],
)
def test_what_a_terminal_would_act_on_is_dropped(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "start", ["\x9d8;;https://example.com\x9clink", "\x901$r\x9clink", "\x1b[31;", "\x1b[", "\x9b3"]
)
def test_a_sequence_of_c1_controls_or_one_without_an_end_leaves_no_control(start: str) -> None:
    assert clean(start).isprintable()


def test_a_long_flood_of_unfinished_sequences_takes_no_time() -> None:
    assert clean("\x1b[" * 50_000) == ""
    assert clean("\x1b]" * 50_000 + "x") == ""
    assert clean("\x1b[" + "0" * 200_000).count("0") == 200_000


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (None, "None"), (0.5, "0.5"), (ValueError("a\nb"), "a b")])
def test_values_that_are_no_text_are_written_out(value: object, text: str) -> None:
    assert clean(value) == text


def test_a_text_that_fits_is_not_cut() -> None:
    assert clean("dora-r12-1", 10) == "dora-r12-1"
    assert clean("dora-r12-10", 10) == "dora-r12-…"
