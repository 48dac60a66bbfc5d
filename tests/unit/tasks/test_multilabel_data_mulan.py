"""Mulan's sets: ARFF with XML, and packs; sound, and from strangers."""

import builtins
import json
import sys
import time

import arff
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from multilabel_files import (
    PACKS,
    arff_of,
    features,
    hostile_xml,
    packs,
    pipes_and_folders,
    text,
    write_mulan,
    write_pack,
    xml_of,
)

from suite.base.errors import DataError
from tasks.multilabel.data import mulan
from tasks.multilabel.data.arff_files import read_arff
from tasks.multilabel.data.catalogued import dataset
from tasks.multilabel.data.labelled import observed, positives

EMOTIONS = mulan.names("emotions")
WIDTH = 78
"""Attributes of emotions: 72 features and 6 labels."""


def one_line(error):
    line = str(error.value)
    assert "\n" not in line and len(line) < 600
    return line


@pytest.fixture
def folder(tmp_path):
    return write_mulan(tmp_path / "emotions")


# -- sound copies


@pytest.mark.parametrize("sparse", [False, True])
def test_dense_and_sparse_files_give_what_was_written(tmp_path, sparse):
    folder = write_mulan(tmp_path / "emotions", sparse=sparse)
    path = mulan.find("emotions", tmp_path)
    assert path == folder
    loaded = mulan.load("emotions", path)
    for part, (inputs, labels) in (
        (loaded.train, features(rows=6)),
        (loaded.test, features(rows=4, seed=1)),
    ):
        assert part.inputs.dtype == np.float32 and part.labels.dtype == bool
        assert np.array_equal(part.inputs, inputs) and np.array_equal(part.labels, labels)
    assert loaded.class_counts == positives(loaded.train.labels)
    assert loaded.observed == observed(loaded.train, loaded.test)
    assert loaded.variant
    assert mulan.check("emotions", path, True) == []
    said = mulan.differs("emotions", path, True)
    assert said == "6 training samples instead of 391, 4 test samples instead of 202"


@packs
@pytest.mark.slow
@pytest.mark.parametrize("name", mulan.NAMES)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_real_set_written_as_arff_is_the_pack(tmp_path, name, sparse):
    pack = mulan.load(name, PACKS / f"{name}.npz")
    parts = [(part.inputs, part.labels) for part in (pack.train, pack.test)]
    if name == "bibtex":  # the whole of it would take 10 s
        parts = [(inputs[:300], labels[:300]) for inputs, labels in parts]
    write_mulan(tmp_path, name, *parts, sparse=sparse)
    loaded = mulan.load(name, tmp_path)
    for part, (inputs, labels) in zip((loaded.train, loaded.test), parts, strict=True):
        assert np.array_equal(part.inputs, inputs) and np.array_equal(part.labels, labels)
    assert loaded.variant == (name == "bibtex")


@packs
@pytest.mark.parametrize("name", mulan.NAMES)
def test_the_real_packs_are_those_of_the_manifest(name):
    path = mulan.find(name, PACKS.parent)
    assert path == PACKS / f"{name}.npz"
    loaded, known = mulan.load(name, path), mulan.manifest(name)
    assert loaded.class_counts == tuple(known["positives"])
    assert (len(loaded.train), len(loaded.test)) == (known["train"], known["test"])
    assert loaded.observed == known["observed"] and not loaded.variant
    assert mulan.check(name, path, True) == [] and mulan.differs(name, path, True) == ""
    facts = {s["name"]: s for s in json.loads((PACKS / "meta.json").read_text())["sets"]}[name]
    assert (facts["features"], facts["labels"]) == (known["features"], len(known["labels"]))
    every = np.concatenate([loaded.train.labels, loaded.test.labels])
    assert round(float(every.sum(axis=1).mean()), 3) == facts["cardinality"]
    assert (every.sum(axis=0).max(), every.sum(axis=0).min()) == (
        facts["pos_max"],
        facts["pos_min"],
    )


@packs
def test_three_keywords_of_corel5k_have_no_training_image():
    loaded = mulan.load("corel5k", PACKS / "corel5k.npz")
    assert loaded.class_counts.count(0) == 3 and not loaded.variant


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("yeast", (2, 3, 9)),
        ("scene", (1, 4, 1)),
        ("emotions", (1, 3, 2)),
        ("corel5k", (36, 108, 230)),
        ("bibtex", (27, 64, 68)),
    ],
)
def test_groups_are_known_without_data(name, sizes):
    known = dataset(name)
    assert tuple(len(members) for members in known.groups.values()) == sizes
    assert known.classes == mulan.names(name) and len(set(known.classes)) == len(known.classes)


def test_capitals_order_and_nesting_of_a_copy_do_not_matter(tmp_path):
    """Yeast's XML nests its labels, Corel5k's files are capitalised and sparse, labels may stand before features."""
    inputs, labels = features(rows=6)
    order = [3, 1, 0, 5, 4, 2]
    spelled = [EMOTIONS[i].title() for i in order]
    for split in ("train", "test"):
        lines = arff_of(inputs, labels[:, order], spelled, True)
        text(
            tmp_path / f"Emotions-{split}-sparse.arff",
            "\ufeff% a comment\n" + lines.replace("\n", "\r\n"),
        )
    nested = (
        xml_of(spelled).replace("></label>\n", ">", 1).replace("</labels>", "</label></labels>")
    )
    text(tmp_path / "Emotions.xml", "\ufeff" + nested)
    loaded = mulan.load("emotions", mulan.find("emotions", tmp_path))
    assert np.array_equal(loaded.train.inputs, inputs) and np.array_equal(
        loaded.train.labels, labels
    )


def test_what_a_sparse_row_leaves_out_is_the_first_value_declared(tmp_path):
    path = text(
        tmp_path / "a.arff",
        "@relation r\n@attribute a {1, 0}\n@attribute 'b c' real\n@attribute \"d\" {0,1}\n@data\n{1 2.5}\n{}\n{0 0,2 1}\n",
    )
    table = read_arff(path, 3)
    assert [a.name for a in table.attributes] == ["a", "b c", "d"]
    assert table.values.tolist() == [[1, 2.5, 0], [1, 0, 0], [0, 0, 1]]


@settings(max_examples=40, deadline=None)
@given(
    strategies.lists(
        strategies.lists(
            strategies.floats(width=32, allow_nan=False, allow_infinity=False),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    ),
    strategies.booleans(),
)
def test_numbers_come_back_to_the_last_bit(tmp_path_factory, rows, sparse):
    inputs = np.array(rows, np.float32)
    labels = inputs[:, :2] > 0
    path = text(
        tmp_path_factory.mktemp("arff") / "a.arff", arff_of(inputs, labels, ["x", "y"], sparse)
    )
    assert np.array_equal(read_arff(path, 5).values, np.column_stack([inputs, labels]))


def test_our_rows_are_those_that_liac_arff_reads_of_the_whole_file(tmp_path):
    inputs, labels = features(rows=5)
    for sparse in (False, True):
        path = text(tmp_path / "a.arff", arff_of(inputs, labels, EMOTIONS, sparse))
        theirs = arff.loads(path.read_text(), return_type=arff.DENSE)["data"]
        assert np.array_equal(
            read_arff(path, WIDTH).values, np.array(theirs, float).astype(np.float32)
        )


def test_a_pack_is_read_and_the_files_are_preferred(tmp_path):
    pack = write_pack(tmp_path / "emotions.npz")
    assert mulan.find("emotions", tmp_path) == pack
    packed = mulan.load("emotions", pack)
    folder = write_mulan(tmp_path / "emotions")
    assert mulan.find("emotions", tmp_path) == folder
    assert packed.observed == mulan.load("emotions", folder).observed


def test_a_changed_file_is_read_again(folder):
    before = mulan.load("emotions", folder)
    assert mulan.load("emotions", folder) is before
    text(folder / "emotions-test.arff", arff_of(*features(rows=7), EMOTIONS))
    assert len(mulan.load("emotions", folder).test) == 7


def test_other_numbers_of_the_right_size_are_a_variant(tmp_path):
    write_mulan(tmp_path, train=features(rows=391), test=features(rows=202, seed=1))
    said = mulan.differs("emotions", tmp_path, True)
    assert said.startswith(
        "the train inputs are not those of the tracked manifest, the train labels"
    )
    assert mulan.differs("emotions", tmp_path, False) == ""


# -- missing


def test_half_a_copy(folder, tmp_path):
    (folder / "emotions.xml").unlink()
    with pytest.raises(
        DataError, match=r"is not whole: emotions.xml is missing; expected emotions-train.arff"
    ):
        mulan.find("emotions", tmp_path)
    assert mulan.check("emotions", folder) == [
        f"{folder / 'emotions.xml'} is missing; copy it there"
    ]
    with pytest.raises(
        DataError, match=r"yeast: expected yeast-train.arff, .* found there: emotions"
    ):
        mulan.find("yeast", tmp_path)


def test_without_the_library_the_line_says_what_to_install(folder, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name == "arff":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "arff", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(DataError, match="not installed: pip install liac-arff") as error:
        mulan.load("emotions", folder)
    one_line(error)


# -- strangers


def damaged(change):
    """A text of six rows, changed."""
    return change(arff_of(*features(rows=6), EMOTIONS))


def first_value(new):
    def changed(content):
        head, _, rows = content.partition("@data\n")
        return f"{head}@data\n{new}{rows[rows.index(',') :]}"

    return changed


def rows_of(*rows):
    return lambda content: content.partition("@data")[0] + "@data\n" + "\n".join(rows) + "\n"


BAD_ARFF = {
    "cut in the header": (lambda c: c[:300], "attribute 'Att11' is 'numer'"),
    "cut before @data": (lambda c: c.partition("@data")[0], "ends before @data"),
    "cut in a row": (lambda c: c[:-20], "a row of other than 78 values"),
    "no rows": (lambda c: c.partition("@data")[0] + "@data\n", "has no row after @data"),
    "other width": (
        lambda c: c.replace("@attribute Att7 numeric\n", ""),
        "77 attributes, expected 78",
    ),
    "a thousand attributes": (
        lambda c: "@relation r\n" + "".join(f"@attribute a{i} numeric\n" for i in range(1000)),
        "more than 78 attributes",
    ),
    "an attribute twice": (
        lambda c: c.replace("Att7 ", "Att6 "),
        "attribute 'Att6' is declared twice",
    ),
    "a text": (lambda c: c.replace("Att7 numeric", "Att7 string"), "attribute 'Att7' is 'string'"),
    "a date": (lambda c: c.replace("Att7 numeric", "Att7 date 'yyyy'"), "expected `@attribute"),
    "words": (lambda c: c.replace("Att7 numeric", "Att7 {yes,no}"), "expected numeric or numbers"),
    "commas": (
        lambda c: c.replace("Att7 numeric", "Att7 {" + "," * 60 + "x y"),
        "expected `@attribute",
    ),
    "braces": (lambda c: c.replace("Att7 numeric", "Att7 " + "{" * 2000), "expected `@attribute"),
    "an endless line": (lambda c: c.replace("Att7", "A" * 10**6), "expected `@attribute"),
    "nan": (first_value("nan"), "not finite"),
    "inf": (first_value("-inf"), "not finite"),
    "beyond 32 bits": (first_value("1e300"), "not finite"),
    "missing": (first_value("?"), r"missing value \(\?\)"),
    "nothing": (first_value(""), "missing value"),
    "a word": (first_value("zero"), "a value that is no number"),
    "digits that only Python takes": (first_value("1_0"), "characters that no number has"),
    "other digits": (first_value("\u0663"), "characters that no number has"),
    "escapes": (first_value("'%d\\'"), "characters that no number has"),
    "an open quote": (
        first_value("'" * 3_001),
        "neither a row|a value that is no number|other than",
    ),
    "label 2": (
        rows_of(",".join(["0"] * 77 + ["2"])),
        "'angry-aggresive' is 2 in row 1, expected one of 0, 1",
    ),
    "label -1": (rows_of(",".join(["0"] * 77 + ["-1"])), "'angry-aggresive' is -1 in row 1"),
    "index 10^9": (rows_of("{0 1,1000000000 1}"), "an index that is not below 78"),
    "an index of 5,000 digits": (rows_of("{" + "1" * 5000 + " 1}"), "no number|row"),
    "an index twice": (rows_of("{0 1,0 2}"), "names an index twice"),
    "a negative index": (rows_of("{-1 1}"), "neither a row of values nor a sparse row"),
    "an open brace": (rows_of("{0 1"), "neither a row of values nor a sparse row"),
    "dense after sparse": (rows_of("{0 1}", ",".join(["0"] * 78)), "mixture of both"),
    "a row of 10 MB": (rows_of("0," * 5_000_000), "a row of more than 5,056 characters"),
    "a row of 79 values": (rows_of(",".join("0" * 79)), "a row of other than 78 values"),
    "UTF-16": (lambda c: c.encode("utf-16"), "not UTF-8"),
    "latin-1": (
        lambda c: c.replace("@relation r", "@relation \xe9").encode("latin-1"),
        ":1: not UTF-8",
    ),
    "empty": (lambda c: "", "is empty"),
}


@pytest.mark.parametrize("case", BAD_ARFF)
def test_damaged_arff(folder, case):
    change, message = BAD_ARFF[case]
    file = text(folder / "emotions-train.arff", damaged(change))
    started = time.process_time()
    with pytest.raises(DataError, match=message) as error:
        mulan.load("emotions", folder)
    assert str(file) in one_line(error)
    assert time.process_time() - started < 2
    assert mulan.check("emotions", folder, True) == [str(error.value)]


def test_numeric_labels_are_held_to_0_and_1(folder):
    content = arff_of(*features(rows=2), EMOTIONS).replace("sad-lonely {0,1}", "sad-lonely numeric")
    text(folder / "emotions-train.arff", content)
    mulan.load("emotions", folder)
    text(folder / "emotions-train.arff", rows_of(",".join(["0"] * 76 + [".5", "0"]))(content))
    with pytest.raises(DataError, match=r"label 'sad-lonely' is 0.5 in row 1, expected 0 or 1"):
        mulan.load("emotions", folder)


def test_more_rows_than_there_can_be(folder, monkeypatch):
    monkeypatch.setattr("tasks.multilabel.data.arff_files.MAX_VALUES", 5 * WIDTH)
    with pytest.raises(DataError, match="more than 390 values, so it is another file"):
        mulan.load("emotions", folder)


def test_the_test_file_has_the_features_of_the_training_file(folder):
    content = arff_of(*features(rows=4), EMOTIONS).replace("Att3 ", "Att_3 ")
    text(folder / "emotions-test.arff", content)
    with pytest.raises(DataError, match="has other features than"):
        mulan.load("emotions", folder)


@pytest.mark.parametrize("case", hostile_xml("labels"))
def test_hostile_xml(folder, case):
    file = text(folder / "emotions.xml", hostile_xml("labels")[case])
    started = time.process_time()
    with pytest.raises(DataError) as error:
        mulan.load("emotions", folder)
    assert str(file) in one_line(error) and "copy it again" in str(error.value)
    assert time.process_time() - started < 1
    assert mulan.check("emotions", folder) == [str(error.value)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (EMOTIONS[:-1], "names 5 of the 6 labels of emotions: angry-aggresive is missing"),
        ((*EMOTIONS, "angry"), "emotions has no label 'angry'; did you mean angry-aggresive"),
        ((*EMOTIONS, EMOTIONS[0].upper()), "names the label 'AMAZED-SUPRISED' twice"),
        ((), "names 0 of the 6 labels"),
    ],
)
def test_other_labels(folder, labels, message):
    text(folder / "emotions.xml", xml_of(labels))
    with pytest.raises(DataError, match=message) as error:
        mulan.load("emotions", folder)
    one_line(error)


def test_a_label_that_is_no_attribute(folder):
    content = (
        (folder / "emotions-test.arff")
        .read_text()
        .replace("@attribute sad-lonely", "@attribute sad")
    )
    text(folder / "emotions-test.arff", content)
    with pytest.raises(
        DataError, match=r"has no attribute 'sad-lonely', which .* names as a label"
    ):
        mulan.load("emotions", folder)


def test_pipes_and_folders(folder):
    for file in ("emotions-train.arff", "emotions.xml"):
        for kind in pipes_and_folders(folder / file):
            with pytest.raises(DataError, match=file) as error:
                mulan.load("emotions", folder)
            assert kind == "nothing" or "not a regular file" in one_line(error)
        write_mulan(folder)


TEN = np.zeros((10, 72), np.float32)
BAD_PACKS = {
    "no Y": ({"Y": None}, "it has no array Y"),
    "float64": ({"X": TEN.astype(np.float64)}, "X is float64"),
    "other width": ({"X": np.zeros((10, 71), np.float32)}, r"expected float32 \(N, 72\)"),
    "flat": ({"X": np.zeros(720, np.float32)}, "expected float32"),
    "other length": (
        {"Y": np.zeros((9, 6), np.uint8)},
        r"Y is uint8 \(9, 6\), expected uint8 \(10, 6\)",
    ),
    "label 2": ({"Y": np.full((10, 6), 2, np.uint8)}, "Y holds 2, expected 0 or 1"),
    "split 2": ({"split": np.full(10, 2, np.uint8)}, "split holds 2"),
    "only training": ({"split": np.zeros(10, np.uint8)}, "no test sample"),
    "nan": ({"X": TEN + np.float32("nan")}, "a feature of sample 0 is not finite"),
    "other labels": (
        {"labels": np.array(list("abcdef"))},
        "its labels are not those of emotions, 'a' among them",
    ),
    "a label twice": (
        {"labels": np.array([*EMOTIONS[:5], EMOTIONS[0]])},
        "its labels are not those",
    ),
    "objects": ({"labels": np.array([{}] * 6)}, "not plain numbers"),
}


@pytest.mark.parametrize("case", BAD_PACKS)
def test_damaged_packs(tmp_path, case):
    arrays, message = BAD_PACKS[case]
    path = write_pack(tmp_path / "emotions.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        mulan.load("emotions", path)
    assert str(path) in one_line(error)
    assert mulan.check("emotions", path, True) == [str(error.value)]


@pytest.mark.parametrize("content", ["", "no zip", None, b"PK\x03\x04" + bytes(1000)])
def test_cut_packs(tmp_path, content):
    path = write_pack(tmp_path / "emotions.npz")
    text(path, path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(DataError, match="copy") as error:
        mulan.load("emotions", path)
    assert str(path) in one_line(error)


def test_a_pack_that_unpacks_to_more_than_it_may(tmp_path, monkeypatch):
    import zipfile

    path = write_pack(tmp_path / "emotions.npz")
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("X.npy", "w", force_zip64=True) as member,
    ):
        member.write(bytes(1 << 25))
    monkeypatch.setattr(mulan, "MAX_PACK", 1 << 24)
    started = time.process_time()
    with pytest.raises(DataError, match="unpacks to 33,554,432 bytes, more than 16,777,216"):
        mulan.load("emotions", path)
    assert time.process_time() - started < 1


def test_a_header_that_claims_a_terabyte(tmp_path):
    import io
    import zipfile

    path = write_pack(tmp_path / "emotions.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**10, 72)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("X.npy", header.getvalue())
    with pytest.raises(DataError, match="its header tells of"):
        mulan.load("emotions", path)
