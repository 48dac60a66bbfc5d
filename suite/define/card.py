"""Cards: what a baseline file says of its methods, read without importing the file.

A baseline file holds one assignment `CARD = {...}`, a pure literal whose last line is `}`.
"""

import ast
import math
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from suite.base.errors import UserError, did_you_mean
from suite.define.flags import EXTRA_BUDGET, TEST_PRIOR, TRANSDUCTIVE
from suite.define.protocol import CARVED

Value = bool | int | float | str | None | list[Any]


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter of a method.

    `default` fixes the type; `low`/`high` are inclusive bounds; `choices` lists the values allowed.
    A default of None with bounds is an optional float, with `whole` an optional whole number. With
    `method` the value names another method, which is configured first; its own parameters are those that
    begin with `KEY.`.
    `neutral` belongs to a parameter added after results existed: the value that reproduces the old
    behaviour, left out of the run's identity.
    """

    default: Value
    help: str = ""
    low: float | None = None
    high: float | None = None
    choices: list[Value] | None = None
    neutral: Value | msgspec.UnsetType = msgspec.UNSET
    method: bool = False
    whole: bool = False


def _as_written(bound: float, value: float) -> float:
    """The bound as the value is written: 999 of a whole number, 1.0 of another."""
    return int(bound) if isinstance(value, int) and bound == int(bound) else bound


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named method of the file: its own parameter values over the card's defaults, and over those in
    some protocols (as `Card.protocol_defaults`)."""

    summary: str
    params: dict[str, Value] = {}
    protocol_defaults: dict[str, dict[str, Value]] = {}


class Needs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a method needs beyond the protocol.

    `experts` and `passes` (forward-backward passes per step) are costs; `inputs` maps a role to the
    method whose run, of the same protocol and seed, fills it unless `--set METHOD.ROLE=` names another;
    `unlabelled` (test inputs) and `prior` (test class prior) make flags.
    """

    experts: int = 1
    passes: float = 1.0
    inputs: dict[str, str] = {}
    unlabelled: bool = False
    prior: bool = False
    extra_budget: bool = False


P = TypeVar("P", Param, Param | str)


class _Fields(msgspec.Struct, Generic[P], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`protocol_defaults` and `search` are keyed by protocol name, or by the part before its `:` and any
    of its variants (`r32-200:cifar100,ir100`; `*:cifar100` for any base). More variants win."""

    title: str
    tasks: list[str]
    names: dict[str, Preset]
    params: dict[str, P] = {}
    paper: str = ""
    venue: str = ""
    arxiv: str = ""
    bibtex: str = ""
    notes: str = ""
    protocol_defaults: dict[str, dict[str, Value]] = {}
    search: dict[str, Any] = {}
    needs: Needs = Needs()


class WrittenCard(_Fields[Param | str], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CARD as it stands in its file. `suite.define.borrowed.complete` makes a `Card` of it.

    In place of a parameter there may be the name of another method, whose parameter of that name is meant.
    `cite` is the key, or keys, of the card's BibTeX in the `references.bib` of a package of methods.
    """

    cite: str | list[str] = []


class Card(_Fields[Param], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A baseline file's CARD."""

    @property
    def built_on(self) -> list[str]:
        """The parameters that name a method."""
        return [key for key, param in self.params.items() if param.method]

    @property
    def flags(self) -> list[str]:
        """Fairness flags that follow from what the method needs."""
        needs = self.needs
        flags = {
            TRANSDUCTIVE: needs.unlabelled,
            TEST_PRIOR: needs.prior,
            EXTRA_BUDGET: needs.extra_budget,
        }
        return [flag for flag, raised in flags.items() if raised]


_CARD = re.compile(r"^CARD(?:\s*:[^=\n]*)?\s*=\s*(\{.*?^\})", re.MULTILINE | re.DOTALL)
_CARD_BYTES = re.compile(_CARD.pattern.encode(), _CARD.flags & ~re.UNICODE)
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


def read_card(path: Path) -> WrittenCard | None:
    """The card of a baseline file; None if the file has none. Raises UserError if it is malformed."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    match = _CARD.search(source)
    if match is None:
        return None
    try:
        return msgspec.convert(ast.literal_eval(match.group(1)), WrittenCard)
    except (ValueError, SyntaxError, TypeError, msgspec.ValidationError, RecursionError) as error:
        line = source.count("\n", 0, match.start()) + 1
        raise UserError(f"{path}:{line}: CARD is not a valid literal card: {error}") from None


def without_card(source: bytes) -> bytes:
    """A baseline file's text without its card."""
    return _CARD_BYTES.sub(b"", source, count=1)


def check_card(card: Card, path: Path) -> None:
    """Raise UserError where names, parameters and their values do not fit together."""
    for name, preset in card.names.items():
        if not _NAME.fullmatch(name):
            raise UserError(f"{path}: method name {name!r}: use a-z, 0-9, '.', '+' and '-'")
        for key, value in preset.params.items():
            check_value(card, f"{path}: {name}", key, value)
        _check_defaults(card, f"{path}: {name}: protocol_defaults", preset.protocol_defaults)
    _check_defaults(card, f"{path}: protocol_defaults", card.protocol_defaults)
    for key, param in card.params.items():
        if "." in key or key in card.needs.inputs:
            raise UserError(
                f"{path}: parameter {key!r}: has a dot, or is a role in needs.inputs too"
            )
        if param.method and not isinstance(param.default, str):
            raise UserError(f"{path}: parameter {key!r} names a method; its default must too")
        check_value(card, f"{path}: default", key, param.default)
        if param.neutral is not msgspec.UNSET:
            check_value(card, f"{path}: neutral", key, param.neutral)


def _check_defaults(card: Card, where: str, scoped: Mapping[str, Mapping[str, Value]]) -> None:
    for scope, defaults in scoped.items():
        for key, value in defaults.items():
            check_value(card, f"{where}[{scope!r}]", key, value)


def check_value(card: Card, where: str, key: str, value: Any) -> Value:
    """`value` in the parameter's type, or UserError. An integer is taken where a float is meant."""
    if key not in card.params:
        raise UserError(f"{where}: unknown parameter {key!r}{did_you_mean(key, card.params)}")
    param = card.params[key]
    kind = type(param.default)
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise UserError(f"{where}: {key}: the number is too large") from None
    if param.default is not None and type(value) is not kind:
        raise UserError(f"{where}: {key}={value!r} is not of type {kind.__name__}")
    if param.default is None and (param.low is not None or param.high is not None):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{where}: {key}={value!r} is neither a number nor None")
        if param.whole and value is not None and not isinstance(value, int):
            raise UserError(f"{where}: {key}={value!r} is neither a whole number nor None")
        value = float(value) if value is not None and not param.whole else value
    if param.choices is not None and value not in param.choices:
        raise UserError(f"{where}: {key}={value!r} is none of {param.choices}")
    if not _is_finite(value):
        raise UserError(f"{where}: {key}={value!r} is not finite")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise UserError(f"{where}: {key}: the number is too large")
    if isinstance(value, float):
        value += 0.0  # -0.0 and 0.0 are one value and must be one identity
    if isinstance(value, int | float) and not isinstance(value, bool):
        if param.low is not None and value < param.low:
            raise UserError(f"{where}: {key}={value!r} is below {_as_written(param.low, value)}")
        if param.high is not None and value > param.high:
            raise UserError(f"{where}: {key}={value!r} is above {_as_written(param.high, value)}")
    return value  # type: ignore[no-any-return]


def another_value(card: Card, key: str, taken: Iterable[Any]) -> Value | None:
    """A value of the parameter that is none of `taken`, to suggest; None where the card names none."""
    param = card.params.get(key)
    if param is None:
        return None
    taken = list(taken)
    candidates: list[Any] = []
    if param.choices is not None:
        candidates = param.choices
    elif isinstance(param.default, bool):
        candidates = [False, True]
    elif not isinstance(param.default, str):
        known = [one for one in (param.default, *taken) if isinstance(one, int | float)]
        candidates = [*(2 * one for one in known), *(one / 2 for one in known), 1, param.low, 2, 3]
        if param.whole or isinstance(param.default, int):
            first = int(param.low or 0)
            candidates = list(range(first, first + len(taken) + 2))
    for one in candidates:
        try:
            value = check_value(card, key, key, one)
        except UserError:
            continue
        if value is not None and not any(value == other for other in taken):
            return value
    return None


def resolve(
    card: Card, name: str, protocol: str, overrides: Mapping[str, Any], typed: str = ""
) -> dict[str, Value]:
    """Every parameter of method `name` under `protocol`.

    Later wins: default, protocol's default, preset, the preset's protocol default, override. (A preset
    is what a method *is*, so a protocol's default does not undo it.) `typed` is what an override was
    called by, where that is not the method's name.
    """
    values = {key: param.default for key, param in card.params.items()}
    values |= _scoped(card.protocol_defaults, protocol)
    values |= card.names[name].params
    values |= _scoped(card.names[name].protocol_defaults, protocol)
    for key, value in overrides.items():
        values[key] = check_value(card, f"--set {typed or name}.{key}", key, value)
    # one type per parameter, so that 1 and 1.0 are one identity
    return {key: check_value(card, name, key, value) for key, value in values.items()}


def _scoped(defaults: Mapping[str, Mapping[str, Value]], protocol: str) -> dict[str, Value]:
    """What holds under the protocol; a carved one has what holds for the whole."""
    protocol = protocol.removesuffix(CARVED)
    values: dict[str, Value] = {}
    scopes = [scope for scope in defaults if covers(scope, protocol)]
    # stable: of two scopes with as many variants the later one wins
    for scope in sorted(scopes, key=lambda scope: len(_parts(scope)[1])):
        values |= defaults[scope]
    return values


def covers(scope: str, protocol: str) -> bool:
    """Whether `scope` is the protocol's base name, or `*`, with some of its variants. Of a carved protocol only a
    carved one is."""
    if scope.endswith(CARVED) != protocol.endswith(CARVED):
        return False
    base, variants = _parts(scope)
    full_base, full_variants = _parts(protocol)
    return base in (full_base, "*") and variants <= full_variants


def _parts(name: str) -> tuple[str, set[str]]:
    base, _, variants = name.removesuffix(CARVED).partition(":")
    return base, set(filter(None, variants.split(",")))


def identity(card: Card, params: Mapping[str, Value]) -> dict[str, Value]:
    """The parameters that belong to the run's identity: those not at their neutral value."""
    return {key: value for key, value in params.items() if card.params[key].neutral != value}


def _is_value(value: Any) -> bool:
    """Whether a literal can be a parameter's value: no complex number, set, bytes, `...`, and no list of these."""
    if isinstance(value, list):
        return all(map(_is_value, value))
    return value is None or isinstance(value, str | bool | int | float)


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class Setting(NamedTuple):
    """`METHOD.key=value` as typed: `value` is a Python literal or else the text itself, `raw`."""

    method: str
    key: str
    value: Any
    raw: str


def parse_setting(text: str, methods: Container[str] = ()) -> Setting:
    """Raises UserError. The method ends at the last dot, or at the last that makes it one of `methods`: a
    name may hold dots, and a key too (`sam.loss.margin`)."""
    target, equals, raw = text.partition("=")
    dots = [at for at, sign in enumerate(target) if sign == "."]
    at = max((at for at in dots if target[:at] in methods), default=max(dots, default=0))
    method, key = target[:at], target[at + 1 :]
    if not (equals and method and key):
        raise UserError(f"--set {text!r}: write METHOD.key=value, such as --set focal.gamma=1.0")
    try:
        value: Any = {"true": True, "false": False, "none": None}[raw.lower()]
    except KeyError:
        try:
            value = ast.literal_eval(raw)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = raw
        if not _is_value(value):
            value = raw
    if not _is_finite(value):
        # 1e400 as a float
        raise UserError(f"--set {text}: not a finite number")
    return Setting(method, key, value, raw)
