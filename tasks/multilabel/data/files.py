"""Files of labels that may be a stranger's, read within bounds; and the checks that all readers of images share.

Whatever is wrong with a file is a DataError of one line. Nothing is unpickled, no XML declares anything (`defusedxml`),
and no number in a file decides how much memory is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError

from suite.base.errors import DataError
from tasks.vision.data.list_images import image_problems, require_sample
from tasks.vision.data.lists import shown
from tasks.vision.data.small_files import decode, read_bytes, read_text

if TYPE_CHECKING:
    from tasks.multilabel.data.labelled import LabelSets

MAX_LIST = 1 << 24
"""Bytes of a list of images; the longest known, NUS-WIDE's, has 6 MB."""
MAX_XML = 1 << 20
"""Bytes of an XML file; an annotation of VOC has a few thousand."""
_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
# a pickle of protocol 2 or later, or of protocol 0 of a list, tuple or mapping
_PICKLES = (b"\x80", b"(lp", b"(dp", b"(tp", b"]q", b"}q", b"ccopy_reg")


def read_ids(path: Path, mend: str = "copy the list again") -> tuple[str, ...]:
    """The ids of a list, one a line, in file order. Raises DataError for anything else in it (paths, blanks within a
    line, an id listed twice), and for a pickle, which is not opened."""
    content = read_bytes(path, MAX_LIST, mend)
    if content.startswith(_PICKLES):
        raise DataError(
            f"{path} is a pickle, and pickles are not opened; the released list of that name is plain text, one id a "
            f"line: {mend}"
        )
    first_at: dict[str, int] = {}
    for number, line in enumerate(decode(content, path, mend).rstrip("\n").split("\n"), start=1):
        word = line.strip()
        if not _ID.fullmatch(word):
            raise DataError(f"{path}:{number}: expected one image id, found {shown(line)}; {mend}")
        if word in first_at:
            raise DataError(
                f"{path}:{number}: {shown(word)} is already on line {first_at[word]}; {mend}"
            )
        first_at[word] = number
    return tuple(first_at)


def read_xml(path: Path, mend: str = "copy it again") -> Element:
    """The root of an XML file. Raises DataError: damaged, or with a document type, so that nothing is declared, expanded
    or fetched."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    # as text, so that what it declares of its encoding is not followed
    text = read_text(path, MAX_XML, mend)
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(
            f"{path} has a document type or entities ({type(error).__name__}), which no release has: it is not read; "
            f"{mend}"
        ) from None
    except (ParseError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path} is damaged XML ({reason}); {mend}") from None
    return root


def without_positives(counts: Sequence[int], names: Sequence[str]) -> str:
    """`2 labels without a training image (cat, dog)`, or "", of the training images of each label."""
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if not absent:
        return ""
    some = ", ".join(absent[:3]) + ", ..." * (len(absent) > 3)
    return f"{len(absent)} label{'s' * (len(absent) > 1)} without a training image ({some})"


def twice(names: Iterable[str]) -> str | None:
    """One that stands there more than once, or None."""
    most = Counter(names).most_common(1)
    return most[0][0] if most and most[0][1] > 1 else None


def problems_of(path: Path, sets: LabelSets, deep: bool) -> list[str]:
    """What is wrong with the image files of both sets, one line each: a sample of them looked for, or, `deep`, all of them
    decoded; and images that both train and test."""
    problems = []
    train, test = sets.train.inputs, sets.test.inputs
    assert isinstance(train, tuple) and isinstance(test, tuple)
    both = sorted(set(train) & set(test))
    if both:
        some = ", ".join(both[:3]) + ", ..." * (len(both) > 3)
        problems.append(
            f"{len(both):,} images of {path} both train and test: {some}; copy the lists again"
        )
    for images, split in ((train, "training"), (test, "test")):
        problems += image_problems(path, images, split, deep)
    return problems


def require_images(path: Path, sets: LabelSets) -> None:
    """Raises DataError where an image of a sample of either set is absent."""
    for part in (sets.train, sets.test):
        assert isinstance(part.inputs, tuple)
        require_sample(path, part.inputs)
