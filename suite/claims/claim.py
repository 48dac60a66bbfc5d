"""A published number: its value, its source, and how what was measured differs from ours."""

from dataclasses import dataclass

import msgspec

FRACTIONS = ("percent", "fraction", "percent-error", "fraction-error")
"""Units that are kept as a fraction in [0, 1]; an error rate as 1 - error."""
VERIFIED, UNVERIFIED = ("C", "R", "paper"), ("P", "V", "2nd")
"""Tags: read in released code, in a README or log, in the paper itself; or an abstract or aggregator, a
public review, another second hand. Recollection is not a source."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who printed the numbers. `where`: what was read (README, log, ...); `sheet`: our method sheet."""

    title: str
    where: str
    venue: str = ""
    arxiv: str = ""
    url: str = ""
    sheet: str = ""
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published number.

    Attributes:
        source, file, location: who printed it, the file that says so, and the table.
        method: name of ours; None where there is no such method here.
        method_as_printed: as the source calls it.
        task, metric: as ours; the task may be one that does not exist yet.
        value, std: fractions in [0, 1] where they are fractions; std None where none is printed.
        n: replicates behind `value`, None where the source does not say.
        decimals: printed decimals, of the percentage for fractions.
        unit: as printed, one of `FRACTIONS` or a name such as `G`.
        protocol_as_printed: data set, ratio, backbone, epochs, as far as the source tells them.
        protocol: name of our nearest protocol, or the beginning of one; "" where there is none.
        variants: the further variants under which it is as printed.
        differs: how every protocol of ours differs from what was printed.
        verified, tag: see `VERIFIED`.
    """

    source: Source
    file: str
    location: str
    method: str | None
    method_as_printed: str
    task: str
    metric: str
    value: float
    std: float | None
    n: int | None
    decimals: int
    unit: str
    protocol_as_printed: str
    protocol: str
    variants: tuple[str, ...]
    differs: tuple[str, ...]
    verified: bool
    tag: str

    @property
    def name(self) -> str:
        """The source in a word: its file's name."""
        return self.file.removesuffix(".toml")

    @property
    def is_fraction(self) -> bool:
        return self.unit in FRACTIONS

    @property
    def full_protocol(self) -> str:
        """`protocol` with the variants."""
        mark = "," if ":" in self.protocol else ":"
        return self.protocol + (mark + ",".join(self.variants) if self.variants else "")
