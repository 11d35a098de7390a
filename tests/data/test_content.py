"""File encodings, compression, and splits of several files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from peftbench.data.load import Split, load_split, load_test
from peftbench.data.sources.files import read_rows
from peftbench.errors import DataError, MissingError
from peftbench.jobs.queue import check_files
from peftbench.spec import resolve
from peftbench.tasks import FilesSource, TaskSpec

TABLE = "text,label\nUne fête 日本 👩‍👩‍👧,1\nplain,0\n"
TEXTS = ["Une fête 日本 👩‍👩‍👧", "plain"]


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def load(path: Path | str, root: Path | None = None, **more: str) -> Split:
    source = FilesSource(root=None if root is None else str(root), train=str(path), dev="d", **more)
    return load_split(TaskSpec(name="own", kind="binary", text=("text",), label="label", source=source), "train")


def texts(split: Split) -> list[str]:
    return [example.texts[0] for example in split.examples]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
    @pytest.mark.parametrize("marks", [1, 2, 3])
    @pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
    def test_a_byte_order_mark_says_which(self, tmp_path: Path, encoding: str, marks: int, name: str) -> None:
        rows = [{"text": text, "label": 1 - n} for n, text in enumerate(TEXTS)]
        content = TABLE if name == "x.csv" else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / name).write_bytes(("\ufeff" * marks + content).encode(encoding))
        split = load(tmp_path / name)
        assert texts(split) == TEXTS
        assert split.reading["encoding"] == encoding

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_a_text_that_lies_across_two_reads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
    ) -> None:
        monkeypatch.setattr("peftbench.data.sources.content._CHUNK", 7)
        rows = "".join(f"{n} {text},1\r\n" for n in range(20) for text in TEXTS)
        (tmp_path / "x.csv").write_bytes(f"text,label\r\n{rows}".encode(encoding))
        assert texts(load(tmp_path / "x.csv")) == [f"{n} {text}" for n in range(20) for text in TEXTS]

    @pytest.mark.parametrize("chunk", [5, 1 << 20])
    @pytest.mark.parametrize(
        ("encoding", "bad"), [("utf-8", b"\xe9"), ("utf-8", b"\xf0\x9f"), ("utf-16-le", b"\x00\xd8")]
    )
    def test_what_cannot_be_decoded_names_its_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, encoding: str, bad: bytes
    ) -> None:
        monkeypatch.setattr("peftbench.data.sources.content._CHUNK", chunk)
        mark = b"" if encoding == "utf-8" else "\ufeff".encode(encoding)
        content = mark + "text,label\né,1\n".encode(encoding) + bad + "x,1\n".encode(encoding)
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(DataError, match=rf"x\.csv, line 3: not {encoding.upper()} \(byte 0x"):
            load(tmp_path / "x.csv")

    def test_half_an_emoji_in_json_names_the_line(self, tmp_path: Path) -> None:
        rows = ['{"text": "fine \\ud83d\\ude00", "label": 1}', '{"text": "half \\ud83d", "label": 0}']
        (tmp_path / "x.jsonl").write_text("\n".join(rows))
        with pytest.raises(DataError, match=r"x\.jsonl, line 2, 'text': not valid Unicode: lone surrogate"):
            load(tmp_path / "x.jsonl")
        (tmp_path / "x.jsonl").write_text(rows[0])
        assert texts(load(tmp_path / "x.jsonl")) == ["fine 😀"]


class TestCompression:
    @pytest.mark.parametrize("suffix", COMPRESS)
    @pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.tsv", "x.jsonl"])
    def test_compressed_text_is_read(self, tmp_path: Path, suffix: str, name: str) -> None:
        content = {
            "x.tsv": TABLE.replace(",", "\t"),
            "x.jsonl": "".join(json.dumps({"text": text, "label": 1 - n}) + "\n" for n, text in enumerate(TEXTS)),
        }.get(name, TABLE)
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(COMPRESS[suffix](content.encode()))
        split = load(path)
        assert texts(split) == TEXTS and split.reading["compression"]

    @pytest.mark.parametrize("suffix", COMPRESS)
    def test_it_is_told_by_the_content_and_not_by_the_name(self, tmp_path: Path, suffix: str) -> None:
        (tmp_path / "x.csv").write_bytes(COMPRESS[suffix](TABLE.encode()))
        (tmp_path / f"y.csv{suffix}").write_text(TABLE)
        assert texts(load(tmp_path / "x.csv")) == texts(load(tmp_path / f"y.csv{suffix}")) == TEXTS

    @pytest.mark.parametrize("suffix", COMPRESS)
    def test_what_is_cut_short_is_no_shorter_file(self, tmp_path: Path, suffix: str) -> None:
        content = TABLE + "".join(f"row {n * 7919 % 1000} {n},1\n" for n in range(2000))
        whole = COMPRESS[suffix](content.encode())
        (tmp_path / f"x.csv{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"not readable as (gzip|zstd|bz2|xz)") as caught:
            load(tmp_path / f"x.csv{suffix}")
        assert caught.value.hint == "check that the file is complete"

    @pytest.mark.parametrize("suffix", COMPRESS)
    def test_several_streams_one_behind_the_other(self, tmp_path: Path, suffix: str) -> None:
        header, rows = TABLE.encode().split(b"\n", 1)
        (tmp_path / f"x.csv{suffix}").write_bytes(COMPRESS[suffix](header + b"\n") + COMPRESS[suffix](rows))
        assert texts(load(tmp_path / f"x.csv{suffix}")) == TEXTS


class TestShards:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        for n in (2, 0, 1):
            (folder / f"part-{n}.csv").write_text(f"text,label\nfirst of {n},1\nsecond of {n},0\n")
        (folder / "_SUCCESS").touch()
        (folder / ".part-0.csv.crc").touch()
        (folder / "readme.md").write_text("x")
        return folder

    EXPECTED = (*("first of 0", "second of 0", "first of 1"), *("second of 1", "first of 2", "second of 2"))

    @pytest.mark.parametrize("name", ["data", "data/part-*.csv", "data/part-[0-2].csv", "*/part-*", "**/part-*"])
    def test_a_folder_or_a_pattern_is_its_files_by_name(self, folder: Path, name: str) -> None:
        split = load(name, folder.parent)
        assert texts(split) == list(self.EXPECTED)
        assert (split.count.read, split.reading["files"], split.reading["rows"]) == (6, 3, 6)
        assert len({example.id for example in split.examples}) == 6
        assert split.examples[0].id.endswith("part-0.csv:2")

    def test_a_pattern_that_begins_at_the_root(self, folder: Path) -> None:
        assert texts(load(f"{folder}/part-?.csv")) == list(self.EXPECTED)

    def test_rows_are_told_with_their_file(self, folder: Path) -> None:
        (folder / "part-1.csv").write_text("text,label\n,1\nx,0\n")
        split = load("data", folder.parent)
        assert split.count.described("no text") == "part-1.csv line 2"
        (folder / "part-1.csv").write_text("text,label\nx,7\nx,0\n")
        with pytest.raises(DataError, match=r"part-1\.csv, line 2: label '7'"):
            load("data", folder.parent)
        (folder / "part-2.csv").write_text("other,label\nx,1\n")
        (folder / "part-1.csv").write_text("text,label\nx,1\n")
        with pytest.raises(DataError, match=r"part-2\.csv, line 2: no column 'text'"):
            load("data", folder.parent)

    def test_an_id_in_two_files_names_both(self, folder: Path) -> None:
        for n in range(3):
            (folder / f"part-{n}.csv").write_text(f"id,text,label\n{n % 2},x,1\n")
        source = FilesSource(root=str(folder.parent), train="data", dev="d")
        task = TaskSpec(name="own", kind="binary", text=("text",), label="label", id="id", source=source)
        with pytest.raises(DataError, match=r"part-2\.csv, line 2: the id '0' .* in line 2 of .*part-0\.csv"):
            load_split(task, "train")

    def test_a_column_of_parquet_shards(self, tmp_path: Path) -> None:
        for n in range(2):
            table = pyarrow.table({"text": [f"a{n}", None, f"b{n}"], "label": [1.0, 0.0, float("nan")]})
            pyarrow.parquet.write_table(table, tmp_path / f"x-{n}.parquet")
        split = load("x-*.parquet", tmp_path)
        assert texts(split) == ["a0", "a1"]
        assert split.count.skipped == {"no text": 2, "no label": 2}

    def test_files_of_several_kinds_are_not_mixed(self, folder: Path) -> None:
        (folder / "x.jsonl").write_text('{"text": "x", "label": 1}\n')
        with pytest.raises(DataError, match=r"several kinds: \.csv, \.jsonl"):
            load("data", folder.parent)

    def test_a_pattern_that_matches_nothing(self, folder: Path) -> None:
        with pytest.raises(MissingError, match=r"none-\*\.csv does not exist"):
            load("none-*.csv", folder)

    def test_a_name_with_a_pattern_in_it_is_that_file_first(self, folder: Path) -> None:
        (folder / "part-[0].csv").write_text("text,label\nthis one,1\n")
        assert texts(load("part-[0].csv", folder)) == ["this one"]

    def test_they_are_looked_for_before_a_run_is_queued(self, folder: Path, tmp_path: Path) -> None:
        own = tmp_path / "own.toml"
        own.write_text(
            '[encoder]\nname = "x"\n[tasks.own]\nkind = "binary"\ntext = ["text"]\nlabel = "label"\n'
            '[tasks.own.source]\ntype = "files"\ntrain = "data"\ndev = "data/part-*.csv"\ntest = "data"\n'
        )
        spec = resolve("full", str(own), data=[str(folder.parent)]).spec
        check_files(spec)
        assert len(load_test(spec.tasks[0])) == 6
        with pytest.raises(MissingError):
            check_files(resolve("full", str(own), data=[str(folder)]).spec)


def test_two_parquet_columns_of_one_name(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="two columns are named 'text'"):
        list(read_rows(tmp_path / "x.parquet"))
