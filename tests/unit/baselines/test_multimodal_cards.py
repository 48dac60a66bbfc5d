"""Cards of the methods for several modalities, read without importing them."""

import pytest

from suite.define.card import resolve
from suite.define.catalog import Catalog

CATALOG = Catalog.load()
JOINT = ("concat", "sum", "film", "gated", "ume", "mla", "umt")
BOOSTED = ("recon-boost", "recon-boost-masked", "recon-boost-kl0")


def values(method, protocol, **overrides):
    return resolve(CATALOG.card(method), method, protocol, overrides)


def test_methods_are_found():
    found = CATALOG.methods("multimodal")
    assert {*JOINT, *BOOSTED, "recon-boost-warm", "unimodal-1", "unimodal-2"} <= set(found)


@pytest.mark.parametrize(
    ("protocol", "stages", "hidden", "w1"),
    [
        ("smoke", 4, 0, 5.0),
        ("quick", 6, 0, 5.0),
        ("quick:ir10", 6, 0, 5.0),
        ("quick:ir10:carved", 6, 0, 5.0),
        ("av-digits:cnn", 8, 0, 5.0),
        ("scene15:mlp", 12, 0, 5.0),
        ("mfeat:mlp,ir50", 12, 0, 5.0),
        ("cremad-feat:mlp", 12, 0, 5.0),
        ("crema-d:r18", 12, 256, 5.0),
        ("ave:r18", 12, 256, 4.0),
        ("modelnet40:2view", 12, 256, 4.0),
        ("sims:lf", 12, 0, 1.0),
    ],
)
def test_defaults_of_protocols(protocol, stages, hidden, w1):
    for method in (*BOOSTED, "recon-boost-warm", "recon-boost-long"):
        found = values(method, protocol)
        assert (found["stages"], found["hidden"], found["w1"]) == (stages, hidden, w1)
        assert found["w2"] == (0.25 if w1 == 1 else 1.0)


def test_presets_of_recon_boost():
    assert (values("recon-boost", "quick")["lam"], values("recon-boost", "quick")["alpha"]) == (
        0.25,
        0.5,
    )
    plain = values("recon-boost-kl0", "quick")
    assert (plain["lam"], plain["alpha"], plain["kl"]) == (0.0, 0.0, "full")
    assert values("recon-boost-masked", "quick")["kl"] == "masked"
    # what starts from ume has the same defaults everywhere
    cold, warm, long = (CATALOG.card(f"recon-boost{kind}") for kind in ("", "-warm", "-long"))
    assert cold.protocol_defaults == warm.protocol_defaults == long.protocol_defaults
    assert cold.params == warm.params == {k: v for k, v in long.params.items() if k != "times"}
    assert long.flags == ["extra-budget"]


def test_input_runs_are_those_of_ume_and_flagged():
    for method, role in (("umt", "teacher"), ("recon-boost-warm", "warm")):
        card = CATALOG.card(method)
        assert card.needs.inputs == {role: "ume"} and card.flags == ["extra-budget"]
    others = (*BOOSTED, *JOINT[:-1], "unimodal-1", "unimodal-2")
    assert not any(CATALOG.card(method).flags for method in others)


def test_unimodal_presets():
    assert [values(f"unimodal-{k}", "quick")["modality"] for k in (1, 2)] == [1, 2]
    assert values("unimodal-1", "quick", modality=3)["modality"] == 3
