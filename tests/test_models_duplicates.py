"""Copies are found by bytes and by looks, look-alikes are not, and their patients are split together."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrscreen.imaging import phantoms
from models.data import read_index
from models.errors import IndexInvalid
from models.indexes.collection import collect, table, write
from models.indexes.detail import agreement, detail
from models.indexes.duplicates import Pair, Prints, believable, candidates, fingerprints, join, search
from models.indexes.rows import Options, Row


def rows_of(*files: Path, split: str = "", label: str = "covid") -> list[Row]:
    return [Row(file, file.name, label, file.stem, "s", split) for file in files]


def noise(folder: Path, number: int, start: int = 0) -> list[Path]:
    """Pictures of soft noise, each like no other."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed in range(start, start + number):
        grey = np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)
        files.append(folder / f"n{seed}.png")
        Image.fromarray(grey).resize((128, 128), Image.Resampling.BICUBIC).save(files[-1])
    return files


def altered(file: Path, target: Path, quality: int = 60) -> Path:
    with Image.open(file) as picture:
        picture.convert("L").resize((200, 190)).save(target, "JPEG", quality=quality)
    return target


def found(rows: list[Row]) -> list[tuple[str, str, bool]]:
    kept, prints = fingerprints(rows)
    return [(kept[pair.first].name, kept[pair.second].name, pair.exact) for pair in search(kept, prints)]


def test_same_bytes_and_same_looks_are_found_and_nothing_else(tmp_path):
    files = noise(tmp_path, 12)
    copy, jpeg = tmp_path / "copy.png", altered(files[3], tmp_path / "other.jpg")
    shutil.copy(files[2], copy)
    assert found(rows_of(*files, copy, jpeg)) == [("n2.png", "copy.png", True), ("n3.png", "other.jpg", False)]


def test_real_radiographs_of_different_people_are_no_copies_and_their_copies_are(test_data, tmp_path):
    rows = list(read_index(test_data / "cxr").split("test"))
    kept, prints = fingerprints(rows)
    pairs = search(kept, prints)
    assert all(kept[pair.first].patient == kept[pair.second].patient for pair in pairs)
    for row in rows[:12]:
        with Image.open(row.path) as picture:
            grey = picture.convert("L")
            dx, dy = grey.width // 50, grey.height // 50
            grey.crop((dx, dy, grey.width - dx, grey.height - dy)).save(tmp_path / row.path.name, quality=70)
    copies = [Row(tmp_path / row.path.name, row.name, row.label, "copy", "s", "") for row in rows[:12]]
    both = rows + copies
    kept, prints = fingerprints(both)
    hits = {pair.first for pair in search(kept, prints) if pair.second == pair.first + len(rows)}
    assert len(hits) >= 11


def test_search_finds_what_comparing_all_by_hand_finds():
    chance = np.random.default_rng(0)
    fine = chance.integers(0, 2**64, (700, 4), dtype=np.uint64)
    coarse = chance.integers(0, 2**64, (700, 1), dtype=np.uint64)
    for copy, bits in ((600, 3), (650, 5), (699, 0)):
        coarse[copy] = coarse[7] ^ np.uint64(2**bits - 1)
        fine[copy] = fine[7] ^ np.array([2 ** (4 * bits) - 1, 0, 0, 0], dtype=np.uint64)
    exact, close = candidates(Prints(tuple(str(min(n, 698)) for n in range(700)), coarse, fine))
    assert exact == [Pair(698, 699, 0, True)]
    assert close == [Pair(600, 650, 8, False), Pair(7, 600, 12, False), Pair(7, 650, 20, False)]


def test_pictures_with_equal_hashes_are_compared_once():
    same = np.zeros((50, 4), np.uint64)
    exact, close = candidates(Prints(tuple(map(str, range(50))), same[:, :1], same))
    assert not exact and close == [Pair(0, n, 0, False) for n in range(1, 50)]


def test_patients_of_copies_become_one_however_long_the_chain(tmp_path):
    rows = rows_of(*(tmp_path / f"p{n}.png" for n in range(6)))
    chain = [Pair(4, 5, 0, True), Pair(1, 4, 9, False), Pair(5, 3, 9, False)]
    assert [row.patient for row in join(rows, chain)] == ["p0", "p1", "p2", "p1", "p1", "p1"]


def test_drawn_pictures_that_are_all_alike_are_not_taken_for_one():
    rows = [Row(Path(f"{n}"), f"{n}", ("covid", "normal")[n % 2], f"p{n}", "s", "") for n in range(40)]
    alike = [Pair(n, n + 1, 40, False) for n in range(39)]
    sure = [Pair(0, 39, 0, True)]
    kept, note = believable(rows, sure + alike)
    assert kept == sure and "39 of 40 pairs" in note
    assert believable(rows, sure + alike[:3]) == (sure + alike[:3], "")


def test_phantoms_in_class_folders_can_be_split(tmp_path):
    phantoms.write_index(tmp_path, per_class=10, seed=0, side=96)
    for file in (tmp_path / "images").iterdir():
        target = tmp_path / "set" / file.name.split("-")[0] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    counts = read_index(tmp_path / "set").counts()
    assert all(counts[split][label] for split in ("train", "val", "test") for label in phantoms.KINDS)


def test_structure_agrees_with_itself_and_its_copies_only(tmp_path):
    one, other = (np.asarray(Image.open(file)) for file in noise(tmp_path, 2))
    stream = io.BytesIO()
    Image.fromarray(one).save(stream, "JPEG", quality=40)
    assert agreement(detail(one), detail(one)) == pytest.approx(1)
    assert agreement(detail(one), detail(np.asarray(Image.open(stream)))) > 0.9
    assert agreement(detail(one), detail(other)) < 0.4


# one index out of several sources


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two sources of class folders; a picture of the second is a smaller copy of one of the first."""
    for source, start in (("a", 0), ("b", 100)):
        for place, label in enumerate(("covid", "normal", "pneumonia")):
            noise(tmp_path / source / label, 8, start + 10 * place)
    altered(tmp_path / "a" / "covid" / "n3.png", tmp_path / "b" / "covid" / "again.jpg")
    return [tmp_path / "a", tmp_path / "b"]


def test_copies_between_sources_land_in_one_split(two, tmp_path):
    made = collect(two)
    assert len(made.rows) == 49 and made.seed == 0
    assert made.joined == {"covid/again": ["covid/again", "covid/n3"]}
    assert len(made.pairs) == 1 and not made.crossing() and not made.torn()
    assert table(made.rows, "source")["b"] == Counter(covid=9, normal=8, pneumonia=8)
    (tmp_path / "x").mkdir()
    write(made, tmp_path / "x" / "index.csv")
    again = read_index(tmp_path / "x" / "index.csv")
    assert again.split_seed is None and again.rows[0].name == "../a/covid/n0.png"
    assert [(row.label, row.patient, row.split) for row in again.rows] == [
        (row.label, row.patient, row.split) for row in made.rows
    ]
    assert [row.split for row in collect(two, seed=0).rows] == [row.split for row in made.rows]
    assert [row.split for row in collect(two, seed=1).rows] != [row.split for row in made.rows]


def test_a_brought_split_is_kept_and_its_copies_are_told(two, tmp_path):
    text = "file,label,patient,source,split\na/covid/n3.png,covid,1,s,train\nb/covid/again.jpg,normal,2,s,test\n"
    path = tmp_path / "index.csv"
    path.write_text(text)
    made = collect([path])
    assert made.seed is None and made.crossing() == made.torn() == list(made.pairs) and not made.joined
    anew = collect([path], seed=3)
    assert anew.seed == 3 and not anew.crossing()
    shutil.copy(tmp_path / "a" / "covid" / "n3.png", tmp_path / "b" / "covid" / "again.jpg")
    with pytest.raises(IndexInvalid, match=r"holds the same bytes as a/covid/n3.png \(train\)"):
        collect([path])
    with pytest.raises(IndexInvalid, match=r"some sources bring a split and others none"):
        noise(tmp_path / "c" / "covid", 2, 300)
        collect([path, tmp_path / "c"])
    with pytest.raises(IndexInvalid, match=r"covid/n0.png comes from two sources"):
        collect([two[0], two[0]])


def test_unreadable_pictures_end_it_or_are_counted(two):
    bad = two[1] / "normal" / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(IndexInvalid, match=r"The picture normal/bad.png cannot be used"):
        collect(two)
    made = collect(two, options=Options(partial=True))
    assert made.left_out == {"the picture cannot be used": 1} and len(made.refused) == 1 and len(made.rows) == 49
