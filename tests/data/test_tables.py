"""Text tables: the output of a csv writer is read back, and the quoting of tab files is detected."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data.load import load_split
from peftbench.data.sources.files import FileReading, choose_separator, read_rows
from peftbench.data.sources.tables import CHARACTERS
from peftbench.errors import DataError
from peftbench.tasks import FilesSource, TaskSpec

NAMES = ("id", "text", "note", "label")
QUOTED = {"minimal": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL, "text": csv.QUOTE_NONNUMERIC}


def written(rows: list[tuple[str, ...]], **dialect: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **dialect)
    writer.writerow(NAMES[: len(rows[0])])
    writer.writerows(rows)
    return out.getvalue()


def values(path: Path, separator: str, quoting: str = "auto") -> list[tuple[str, ...]]:
    return [tuple(row.values.values()) for row in read_rows(path, separator, quoting)]


def rows_of(leave_out: str) -> st.SearchStrategy[list[tuple[str, ...]]]:
    likely = st.text(st.sampled_from([character for character in "ab\" ,;\t\n\r'é" if character not in leave_out]))
    any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=f"\0{leave_out}"), max_size=8)
    return st.integers(1, 4).flatmap(
        lambda width: st.lists(st.tuples(*[likely | any_text] * width), min_size=1, max_size=6)
    )


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_rows_out_are_rows_in_for_every_dialect(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    separator = data.draw(st.sampled_from(list(CHARACTERS)))
    line_end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoted = data.draw(st.sampled_from(list(QUOTED)))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    # A tab file in which only some texts are quoted: texts that span lines need `quoting = "minimal"`.
    given_quoting = data.draw(st.sampled_from(["auto", "minimal"]))
    leave_out = {"\n": "\r", "\r\n": "", "\r": "\n"}[line_end]  # the writer does not quote the other one
    if (separator, quoted, given_quoting) == ("tab", "minimal", "auto"):
        leave_out = "\r\n"
    rows = data.draw(rows_of(leave_out))
    content = written(rows, delimiter=CHARACTERS[separator], lineterminator=line_end, quoting=QUOTED[quoted])
    path = tmp_path_factory.getbasetemp() / "dialect.csv"
    path.write_bytes(content.encode(encoding))
    assert values(path, separator, given_quoting) == rows


@pytest.mark.slow
@settings(max_examples=150)
@given(st.data())
def test_rows_out_are_rows_in_without_quotes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    separator = data.draw(st.sampled_from(list(CHARACTERS)))
    quoting = data.draw(st.sampled_from(["none", "auto"]))
    leave_out = CHARACTERS[separator] + "\r\n" + ('"' if quoting == "auto" else "")
    rows = [row for row in data.draw(rows_of(leave_out)) if len(row) > 1]
    if not rows:
        return
    dialect: dict[str, Any] = {"quoting": csv.QUOTE_NONE, "quotechar": None, "lineterminator": "\n"}
    path = tmp_path_factory.getbasetemp() / "plain.csv"
    path.write_bytes(written(rows, delimiter=CHARACTERS[separator], **dialect).encode())
    assert values(path, separator, quoting) == rows


@pytest.fixture
def put(tmp_path: Path):
    """Write a tab file with the columns id, text, label and return its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "x.tsv"
        path.write_text("\n".join(["id\ttext\tlabel", *lines, ""]), newline="")
        return path

    return write


def texts(path: Path, quoting: str = "auto") -> list[str]:
    return [str(row.values["text"]) for row in read_rows(path, "tab", quoting)]


PLAIN = [f"{n}\ttext {n}\t1" for n in range(10)]


class TestTabFiles:
    def test_a_text_that_begins_with_a_quote_and_the_next_that_ends_with_one_stay_two(self, put) -> None:
        path = put(*PLAIN[:5], '5\t"Well, he said\t1', '6\tand left"\t0', *PLAIN[:5])
        task = TaskSpec(
            name="own", kind="binary", text=("text",), label="label", source=FilesSource(train=str(path), dev="d")
        )
        split = load_split(task, "train")
        assert len(split.examples) == split.count.read == 12
        assert [(e.texts, e.label) for e in split.examples[5:7]] == [(('"Well, he said',), 1.0), (('and left"',), 0.0)]
        reading = dict(split.reading)
        assert (reading["quoting"], reading["lines"], reading["rows"]) == ("none", 13, 12)

    @pytest.mark.parametrize("first", ['"a', '"a "b', '"a" b', '"', '"a"b"', '"""', '"a\\"', '"a"" b'])
    @pytest.mark.parametrize("second", ['b"', 'c "d"', '"e"', "plain"])
    def test_quotes_that_enclose_nothing_are_characters(self, put, first: str, second: str) -> None:
        assert texts(put(*PLAIN, f"10\t{first}\t1", f"11\t{second}\t0"))[10:] == [first, second]

    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            ('"What is ""love""?"', 'What is "love"?'),
            ('""""', '"'),
            ('"""a"""', '"a"'),
            ('"a\tb"', "a\tb"),
            ('"a\tb ""c"""', 'a\tb "c"'),
            ('""', ""),
        ],
    )
    def test_quotes_as_a_writer_puts_them_enclose_a_field(self, put, cell: str, text: str) -> None:
        assert texts(put(*PLAIN, f"10\t{cell}\t1")) == [f"text {n}" for n in range(10)] + [text]

    def test_a_title_that_stands_in_quotes_keeps_them(self, put) -> None:
        assert texts(put(*PLAIN, '10\t"A title"\t1'))[-1] == '"A title"'
        assert texts(put(*PLAIN, '10\t"A title"\t1'), "minimal")[-1] == "A title"

    def test_a_column_whose_every_value_stands_in_quotes_is_quoted(self, put) -> None:
        assert texts(put('0\t"one"\t1', '1\t"two"\t0')) == ["one", "two"]

    def test_an_empty_column_says_nothing_of_quotes(self, tmp_path: Path) -> None:
        (tmp_path / "x.tsv").write_text('id\ttext\tnote\n0\t"A title"\t\n1\tplain\t\n')
        assert texts(tmp_path / "x.tsv") == ['"A title"', "plain"]

    def test_a_header_in_quotes_says_that_everything_may_be(self, tmp_path: Path) -> None:
        (tmp_path / "x.tsv").write_text('"id"\t"text"\n"0"\t"one\n1\ttwo"\n')
        assert texts(tmp_path / "x.tsv") == ["one\n1\ttwo"]

    def test_a_field_over_two_lines_is_counted(self, put) -> None:
        path, reading = put(*PLAIN, '10\t"one\ntwo ""three"""\t1', '11\t"four\nfive"\t1'), FileReading()
        rows = list(read_rows(path, "tab", reading=reading))
        assert [(row.number, row.values["text"]) for row in rows[10:]] == [(12, 'one\ntwo "three"'), (14, "four\nfive")]
        assert (reading.quoting, reading.spanning, reading.rows, reading.lines) == ("minimal", 2, 12, 15)

    def test_quotes_used_in_two_ways_are_nobodys_to_know(self, put) -> None:
        path = put('0\t"He said ""no"""\t1', "1\tplain\t0", '2\t"Well, he said\t1')
        with pytest.raises(DataError, match=r"line 2 has a quoted field .*line 4 a field that begins") as caught:
            texts(path)
        assert 'quoting = "minimal"' in caught.value.hint and 'quoting = "none"' in caught.value.hint
        assert texts(path, "none") == ['"He said ""no"""', "plain", '"Well, he said']
        with pytest.raises(DataError, match="line 4: a quote opened in this line is not closed"):
            texts(path, "minimal")

    def test_without_quotes_a_line_is_a_row(self, put) -> None:
        with pytest.raises(DataError, match="line 2: 2 fields, the header has 3"):
            texts(put('0\t"one', 'two"\t1'), "none")


class TestOtherSeparators:
    @pytest.mark.parametrize(("separator", "character"), [("comma", ","), ("semicolon", ";")])
    def test_quotes_enclose_a_field_whatever_is_in_it(self, tmp_path: Path, separator: str, character: str) -> None:
        path, reading = tmp_path / "x.csv", FileReading()
        path.write_text(f'id{character}text\n0{character}"A title"\n1{character}"two\nlines"\n')
        assert [row.values["text"] for row in read_rows(path, separator, reading=reading)] == ["A title", "two\nlines"]
        assert (reading.quoting, reading.spanning) == ("minimal", 1)

    def test_where_they_do_not_the_setting_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text('id,text\n0,"Well\n1,"said" he\n')
        with pytest.raises(DataError, match="line 3: 'said\" he' after a closing quote") as caught:
            values(path, "comma")
        assert 'quoting = "none"' in caught.value.hint
        assert values(path, "comma", "none") == [("0", '"Well'), ("1", '"said" he')]

    @pytest.mark.parametrize("size", [131_072, 131_073, 1_000_000])
    def test_a_cell_of_any_length(self, tmp_path: Path, size: int) -> None:
        before = csv.field_size_limit()
        (tmp_path / "x.csv").write_text(f'id,text\n0,{"a" * size}\n1,"{"b" * size}"\n')
        assert values(tmp_path / "x.csv", "comma") == [("0", "a" * size), ("1", "b" * size)]
        assert csv.field_size_limit() == before

    @pytest.mark.parametrize(
        ("name", "header", "separator"),
        [
            ("x.csv", "id,sentence", "comma"),
            ("x.csv", "\tid\tsentence", "tab"),
            ("x.csv", "id;sentence", "semicolon"),
            ("x.tsv", "id;sentence", "semicolon"),
            ("x.csv", '"a\tb",id,sentence', "comma"),
            ("x.csv", '"id, number"\tid\tsentence', "tab"),
            ("x.csv", '"a\tb";id;sentence;"c,d"', "semicolon"),
            ("x.csv", "no,such", "comma"),
        ],
    )
    def test_the_separator_is_told_by_a_header_that_is_parsed(
        self, tmp_path: Path, name: str, header: str, separator: str
    ) -> None:
        (tmp_path / name).write_text(f"{header}\n")
        assert choose_separator(tmp_path / name, ("sentence", "id")) == separator

    def test_the_preferred_one_comes_first(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("a,b;c\n")
        assert choose_separator(tmp_path / "x.csv", (), "semicolon") == "semicolon"
        assert choose_separator(tmp_path / "x.csv", ("a",), "semicolon") == "comma"
