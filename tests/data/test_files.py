"""Local files: all formats give the same rows, and every error names the file and the line."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data.load import Split, load_split
from peftbench.data.sources.files import read_rows
from peftbench.errors import DataError, MissingError, PeftbenchError
from peftbench.tasks import KNOWN_TASKS, FilesSource, TaskSpec
from tests.marks import real_data

ROWS = [
    ("a1", "A first question?", 'It says "yes", twice', "1.0"),
    ("a2", "Ünïcode, 日本 and 👩‍👩‍👧", "comma, tab; semicolon", "0.0"),
    ("a3", " leading blank", "trailing blank ", "1"),
]


def task(name: str = "paraphrase", **source: object) -> TaskSpec:
    source = {"root": None, "train": "train.csv", "dev": "dev.csv"} | source
    return TaskSpec(name=name, **KNOWN_TASKS[name], source=FilesSource(**source))


def load(path: Path, name: str = "paraphrase", separator: str | None = "tab") -> Split:
    return load_split(task(name, train=str(path), separator=separator), "train")


def complaint(path: Path, name: str = "paraphrase", separator: str | None = "tab") -> PeftbenchError:
    with pytest.raises(PeftbenchError) as caught:
        load(path, name, separator)
    assert str(path) in caught.value.message
    return caught.value


@pytest.fixture
def put(tmp_path: Path):
    """Write a file and return its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def table(rows: list[tuple[str, ...]], delimiter: str, line_end: str = "\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(("id", "sentence1", "sentence2", "is_duplicate"))
    writer.writerows(rows)
    return out.getvalue()


def study(*lines: str) -> str:
    """The study's pair format: tab-separated whatever the extension, the first column without a name."""
    return "\n".join(["\tid\tsentence1\tsentence2\tis_duplicate", *lines, ""])


class TestFormats:
    def expect(self, split: Split) -> None:
        assert [(e.id, *e.texts, e.label) for e in split.examples] == [
            (row[0], row[1].strip(), row[2].strip(), float(row[3])) for row in ROWS
        ]

    @pytest.mark.parametrize(
        ("name", "delimiter", "separator"),
        [
            ("x.csv", ",", None),
            ("x.CSV", ",", None),
            ("x.tsv", "\t", None),
            ("x.csv", "\t", "tab"),
            ("x.tsv", ",", "comma"),
            ("x.txt", ";", "semicolon"),
        ],
    )
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_text_tables(self, put, name: str, delimiter: str, separator: str | None, line_end: str, mark: str) -> None:
        self.expect(load(put(name, mark + table(ROWS, delimiter, line_end)), separator=separator))

    @pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_json_lines(self, put, name: str, line_end: str, mark: str) -> None:
        keys = ("id", "sentence1", "sentence2", "is_duplicate")
        lines = [json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) for row in ROWS]
        lines.insert(1, "")
        lines[-1] = lines[-1].replace('"1"', "1")
        self.expect(load(put(name, mark + line_end.join(lines) + line_end), separator=None))

    def test_parquet(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        columns = list(zip(*ROWS, strict=True))
        names = ["id", "sentence1", "sentence2", "is_duplicate"]
        for labels in (columns[3], [float(label) for label in columns[3]], [int(float(label)) for label in columns[3]]):
            content = dict(zip(names, [*columns[:3], labels], strict=True))
            pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "x.parquet")
            self.expect(load(tmp_path / "x.parquet", separator=None))

    def test_the_same_rows_have_the_same_fingerprint_in_every_format(self, put) -> None:
        one, other = load(put("x.csv", table(ROWS, "\t"))), load(put("x.tsv", table(ROWS, ",")), separator="comma")
        assert one.fingerprint == other.fingerprint
        moved = load(put("y.csv", table(ROWS[::-1], "\t")))
        assert moved.fingerprint != one.fingerprint

    def test_the_studys_format(self, put) -> None:
        path = put(
            "quora-dev.csv",
            study(
                "0\tq1\tWhat is it?\tWhat's it?\t1.0",
                '1\tq2\t"What is ""love"" in\t here?"\tWhat?\t0.0',
                "2\tq3\tNo label here\tNor here\t",
                "3\tq4\tNone here\teither\t  ",
                "4\tq5\tLast, with a comma\tone\t0.0",
            ),
        )
        split = load(path)
        assert [example.id for example in split.examples] == ["q1", "q2", "q5"]
        assert split.examples[1].texts == ('What is "love" in\t here?', "What?")
        assert [example.label for example in split.examples] == [1.0, 0.0, 0.0]
        assert split.count.read == 5
        assert split.count.skipped == {"no label": 2}

    def test_sentiment_of_the_study_is_stripped_and_keeps_its_classes(self, put) -> None:
        path = put("sst.csv", "\tid\tsentence\tsentiment\n0\ts1\t a film \\/ that works . \t4\n1\ts2\t so so\t2\n")
        assert [(e.texts, e.label) for e in load(path, "sst").examples] == [
            (("a film \\/ that works .",), 4.0),
            (("so so",), 2.0),
        ]

    def test_rows_without_text_are_left_out_and_counted(self, put) -> None:
        path = put("x.csv", study("0\ta\t \tx\t1", "1\tb\tx\t\t1", "2\tc\tx\ty\t1", "3\td\t\t\t"))
        split = load(path)
        assert [example.id for example in split.examples] == ["c"]
        assert split.count.skipped == {"no text": 2, "no label": 1}

    def test_a_json_null_is_no_text_and_no_label(self, put) -> None:
        rows = [(None, "x", 1), ("x", "y", None), ("x", "y", 1)]
        keys = ("id", "sentence1", "sentence2", "is_duplicate")
        lines = [json.dumps(dict(zip(keys, (str(n), *row), strict=True))) for n, row in enumerate(rows)]
        split = load(put("x.jsonl", "\n".join(lines)), separator=None)
        assert split.count.skipped == {"no text": 1, "no label": 1}
        assert len(split.examples) == 1

    def test_without_an_id_column_the_line_is_the_id(self, put) -> None:
        path = put("x.tsv", "text\ty\nfirst\t1\n\nsecond\t0\n")
        own = TaskSpec(
            name="own", kind="binary", text=("text",), label="y", source=FilesSource(train=str(path), dev="d")
        )
        assert [(e.id, e.texts) for e in load_split(own, "train").examples] == [("2", ("first",)), ("4", ("second",))]

    def test_the_dev_split_has_its_own_file(self, put, tmp_path: Path) -> None:
        put("train.csv", table(ROWS, "\t"))
        put("dev.csv", table(ROWS[:1], "\t"))
        spec = task(root=str(tmp_path), separator="tab")
        assert [len(load_split(spec, split).examples) for split in ("train", "dev")] == [3, 1]


class TestPaths:
    def test_without_a_folder_the_user_is_told_how_to_give_one(self) -> None:
        with pytest.raises(MissingError, match=r"task paraphrase: the workload reads 'train.csv'") as caught:
            load_split(task(), "train")
        assert "--data DIR" in caught.value.hint

    def test_an_absent_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MissingError, match=r"dev\.csv does not exist") as caught:
            load_split(task(root=str(tmp_path)), "dev")
        assert "--data paraphrase=DIR" in caught.value.hint

    def test_a_folder_without_data_is_no_data(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").mkdir()
        (tmp_path / "train.csv" / "readme.md").write_text("x")
        with pytest.raises(MissingError, match=r"the folder .*train\.csv has no data file"):
            load_split(task(root=str(tmp_path)), "train")

    @pytest.mark.parametrize("name", ["x" * 600 + ".csv", "a\0b.csv"])
    def test_a_name_that_no_file_can_have(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(MissingError) as caught:
            load_split(task(root=str(tmp_path), train=name), "train")
        assert caught.value.exit_code == 3 and len(caught.value.message) < 600

    @pytest.mark.parametrize("where", ["root", "train"])
    def test_a_tilde_is_the_home_folder(self, put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        put("train.csv", table(ROWS, "\t"))
        source = {"root": "~"} if where == "root" else {"train": "~/train.csv"}
        assert len(load_split(task(**source, separator="tab"), "train").examples) == 3

    def test_a_file_that_may_not_be_read_is_the_users_business(self, put) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path = put("x.csv", table(ROWS, "\t"))
        path.chmod(0)
        assert isinstance(complaint(path), MissingError | DataError)


class TestComplaints:
    @pytest.mark.parametrize("name", ["x.xlsx", "x.json", "x"])
    def test_an_unknown_extension(self, put, name: str) -> None:
        error = complaint(put(name, table(ROWS, "\t")), separator=None)
        assert "unknown file type" in error.message
        assert ".parquet" in error.hint

    @pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
    @pytest.mark.parametrize("content", ["", "\n\n", "  \n", "\ufeff"])
    def test_an_empty_file(self, put, name: str, content: str) -> None:
        assert "the file is empty" in complaint(put(name, content), separator=None).message

    def test_a_header_alone(self, put) -> None:
        assert "no usable row" in complaint(put("x.csv", study())).message

    def test_rows_without_any_label(self, put) -> None:
        error = complaint(put("x.csv", study("0\ta\tx\ty\t", "1\tb\tx\ty\t")))
        assert "no usable row (2 with no label)" in error.message

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_bad_utf8(self, put, mark: bytes) -> None:
        error = complaint(put("x.csv", mark + study("0\ta\tx\ty\t1").encode() + b"\xe9\tb\tx\ty\t1\n"))
        assert "line 3: not UTF-8 (byte 0xe9)" in error.message

    def test_utf16_without_a_mark(self, put) -> None:
        content = study("0\ta\tx\ty\t1")
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
            error = complaint(put("x.csv", content.encode(encoding)))
            assert "looks like UTF-16 without a byte order mark" in error.message

    def test_a_missing_column_lists_those_there_and_the_nearest(self, put) -> None:
        error = complaint(put("x.csv", "id\tsentence_1\tsentence2\tis_duplicate\na\tx\ty\t1\n"))
        assert "no column 'sentence1'; did you mean 'sentence_1'?" in error.message
        assert "columns found: id, sentence_1, sentence2, is_duplicate" in error.hint
        assert "tasks.paraphrase.text" in error.hint

    def test_a_header_that_reads_as_one_column_points_at_the_separator(self, put) -> None:
        error = complaint(put("x.csv", study("0\ta\tx\ty\t1")), separator="comma")
        assert "no column 'sentence1'" in error.message
        assert "tasks.paraphrase.source.separator" in error.hint

    def test_a_key_missing_in_one_line_of_json_is_a_missing_text(self, put) -> None:
        good = '{"id": "a", "sentence1": "x", "sentence2": "y", "is_duplicate": 1}'
        bad = '{"id": "b", "sentence1": "x", "is_duplicate": 1}'
        split = load(put("x.jsonl", f"{good}\n{bad}\n"), separator=None)
        assert (len(split.examples), split.count.described("no text")) == (1, "line 2")
        error = complaint(put("x.jsonl", f"{bad}\n{bad}\n"), separator=None)
        assert "line 1: no column 'sentence2'" in error.message

    def test_json_has_no_separator_to_set(self, put) -> None:
        error = complaint(put("x.jsonl", '{"text": "x"}\n'), separator=None)
        assert "no column 'sentence1'" in error.message
        assert "separator" not in error.hint

    @pytest.mark.parametrize(("line", "fields"), [("1\tb\tx\t1", 4), ("1\tb\tx\ty\t1\t", 6), ("   ", 1)])
    def test_a_wrong_number_of_fields(self, put, line: str, fields: int) -> None:
        error = complaint(put("x.csv", study("0\ta\tx\ty\t1", line)))
        assert f"line 3: {fields} fields, the header has 5" in error.message

    def test_a_quote_that_is_never_closed_names_the_line_where_it_opens(self, put) -> None:
        lines = ["id,sentence1,sentence2,is_duplicate", "a,x,y,1", 'b,"x,y,1', *[f"{n},x,y,1" for n in "234"]]
        error = complaint(put("x.csv", "\n".join(lines)), separator="comma")
        assert "line 3: a quote opened in this line is not closed" in error.message
        assert 'quoting = "none"' in error.hint

    def test_text_after_a_closing_quote(self, put) -> None:
        path = put("x.csv", 'id,sentence1,sentence2,is_duplicate\na,"x" y,z,1\n')
        assert "line 2: 'y,z,1' after a closing quote" in complaint(path, separator="comma").message

    @pytest.mark.parametrize(
        "label", ["2", "-1", "0.5", "yes", "nan", "inf", "-inf", "1e400", "True", "1,0", "0x1", "0_1"]
    )
    def test_a_label_that_is_not_0_or_1(self, put, label: str) -> None:
        error = complaint(put("x.csv", study("0\ta\tx\ty\t1", f"1\tb\tx\ty\t{label}")))
        assert f"line 3: label '{label}' is not a whole number from 0 to 1" in error.message

    @pytest.mark.parametrize("label", ["5", "-1", "1.5", "nan"])
    def test_a_label_that_is_no_class(self, put, label: str) -> None:
        error = complaint(put("x.csv", f"id\tsentence\tsentiment\na\tx\t{label}\n"), "sst")
        assert f"line 2: label '{label}' is not a whole number from 0 to 4" in error.message

    @pytest.mark.parametrize("label", ["5.01", "-0.1", "nan", "inf", "high"])
    def test_a_label_that_is_no_score(self, put, label: str) -> None:
        error = complaint(put("x.csv", f"id\tsentence1\tsentence2\tsimilarity\na\tx\ty\t{label}\n"), "sts")
        assert f"line 2: label '{label}' is not a score from 0 to 5" in error.message

    @pytest.mark.parametrize("label", ["Infinity", "-1", "[1]", '{"a": 1}', '"x"', "1" + "0" * 400])
    def test_a_json_label_that_is_no_class(self, put, label: str) -> None:
        row = f'{{"id": "a", "sentence1": "x", "sentence2": "y", "is_duplicate": {label}}}'
        assert "line 1: label" in complaint(put("x.jsonl", row), separator=None).message

    def test_an_id_used_twice_names_both_lines(self, put) -> None:
        error = complaint(put("x.csv", study("0\ta\tx\ty\t1", "1\tb\tx\ty\t1", "2\ta\tx\ty\t0")))
        assert "line 4: the id 'a' was already used in line 2" in error.message
        assert 'tasks.paraphrase.id=""' in error.hint

    @pytest.mark.parametrize("line", ["{", "not json", "'a'", '{"a": 1} {"b": 2}'])
    def test_a_line_that_is_not_json(self, put, line: str) -> None:
        assert "line 2: not JSON" in complaint(put("x.jsonl", "\n" + line), separator=None).message

    @pytest.mark.parametrize(("line", "kind"), [("[1]", "list"), ('"x"', "str"), ("3", "int"), ("null", "NoneType")])
    def test_json_that_is_no_object(self, put, line: str, kind: str) -> None:
        assert (
            f"line 1: expected a JSON object, found {kind}" in complaint(put("x.jsonl", line), separator=None).message
        )

    def test_json_nested_without_end(self, put) -> None:
        assert "line 1" in complaint(put("x.jsonl", "[" * 200_000), separator=None).message

    @pytest.mark.parametrize("text", ['["a", "b"]', '{"a": 1}'])
    def test_a_json_text_that_is_no_text(self, put, text: str) -> None:
        """Converted with `str`, it would silently be used for training."""
        row = f'{{"id": "a", "sentence1": {text}, "sentence2": "y", "is_duplicate": 1}}'
        assert "line 1" in complaint(put("x.jsonl", row), separator=None).message

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"id,sentence\n"])
    def test_what_is_no_parquet(self, put, content: bytes) -> None:
        assert "not readable as parquet" in complaint(put("x.parquet", content), separator=None).message

    def test_parquet_without_rows(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([], "string")}), tmp_path / "x.parquet")
        assert "no rows" in complaint(tmp_path / "x.parquet", separator=None).message

    def test_a_parquet_label_names_its_row(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        content = {"id": ["a", "b"], "sentence1": ["x", "x"], "sentence2": ["y", "y"], "is_duplicate": [1, 7]}
        pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "x.parquet")
        assert "row 2: label '7'" in complaint(tmp_path / "x.parquet", separator=None).message

    def test_two_columns_of_a_name_that_is_asked_for(self, put) -> None:
        """It would be ambiguous."""
        path = put("x.csv", "id\tsentence\tsentence\tsentiment\na\tx\ty\t1\n")
        assert "'sentence'" in complaint(path, "sst").message

    @settings(max_examples=80)
    @given(st.binary(max_size=80), st.sampled_from(["x.csv", "x.tsv", "x.jsonl"]))
    def test_no_bytes_whatever_bring_more_than_a_complaint(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
    ) -> None:
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        with pytest.raises(DataError):
            load(path, separator=None)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file", "rows", "unlabelled", "labels"),
    [
        ("sst", "cs224n/ids-sst-train.csv", 8_544, 0, {0: 1_092, 1: 2_218, 2: 1_624, 3: 2_322, 4: 1_288}),
        ("sst", "cs224n/ids-sst-dev.csv", 1_101, 0, {0: 139, 1: 289, 2: 229, 3: 279, 4: 165}),
        ("cfimdb", "cs224n/ids-cfimdb-train.csv", 1_707, 0, {0: 856, 1: 851}),
        ("cfimdb", "cs224n/ids-cfimdb-dev.csv", 245, 0, {0: 123, 1: 122}),
        ("paraphrase", "cs224n/quora-dev.csv", 20_214, 2, {0: 12_627, 1: 7_585}),
        ("paraphrase", "cs224n-quora-resplit/quora-train.csv", 16_212, 0, {0: 10_092, 1: 6_120}),
        ("paraphrase", "cs224n-quora-resplit/quora-dev.csv", 4_000, 0, {0: 2_535, 1: 1_465}),
        ("sts", "cs224n/sts-train.csv", 6_040, 0, {0: 1_043, 1: 979, 2: 1_041, 3: 1_586, 4: 1_108, 5: 283}),
        ("sts", "cs224n/sts-dev.csv", 863, 0, {0: 136, 1: 113, 2: 160, 3: 235, 4: 167, 5: 52}),
    ],
)
def test_the_studys_files_have_the_rows_they_are_known_for(
    name: str, file: str, rows: int, unlabelled: int, labels: dict[int, int]
) -> None:
    path = real_data() / file
    split = load(path, name, separator=None)
    assert split.fingerprint == load(path, name, separator="tab").fingerprint
    assert split.count.read == rows == path.read_bytes().count(b"\n") - 1
    quoted = {"quoting": "none" if name == "sst" else "minimal", "separator": "tab", "encoding": "utf-8"}
    assert dict(split.reading) == {"lines": rows + 1, "rows": rows, **quoted}
    assert sum(split.count.skipped.values()) == unlabelled
    assert len(split.examples) == rows - unlabelled
    counts = {part: sum(int(example.label) == part for example in split.examples) for part in labels}
    assert counts == labels
    assert len({example.id for example in split.examples}) == len(split.examples)


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["ids-sst-test-student.csv", "ids-cfimdb-test-student.csv", "sts-test-student.csv"])
def test_the_studys_test_files_have_a_row_a_line(file: str) -> None:
    path = real_data() / "cs224n" / file
    rows = list(read_rows(path, columns=["id"]))
    assert len(rows) == path.read_bytes().count(b"\n") - 1
    assert len({row.values["id"] for row in rows}) == len(rows)
