"""Ends of the Hessian's spectrum: exact Hessians, another solver, what a run stores, bad arrays."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cls_scores import LABEL, LOGITS, THREE
from cls_training import CATALOG, SMOKE, TASK, config, train
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from PIL import Image
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

from suite.base.errors import RecordError
from suite.define.protocol import recipe_digest
from suite.define.task import Trained
from tasks.longtail_cls.evaluation import evaluate
from tasks.longtail_cls.further_sets import with_further_sets
from tasks.longtail_cls.sharpness import SharpnessHook, choose
from tasks.vision.data import lists
from tasks.vision.recipes.image_files import ListRecipe, image_lists
from tasks.vision.recipes.small_images import small_images
from tasks.vision.spectrum import (
    SOLVERS,
    hessian_product,
    lanczos_ends,
    loss_gradient,
    power_ends,
)
from tasks.vision.stored import store

NUMBERS = ("lambda_max", "lambda_min", "residual_max", "residual_min", "loss", "gradient_norm")


def symmetric(size, seed=0):
    made = torch.randn(
        size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return made + made.T


def start(size, seed=1):
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Tiny:
    """A network whose Hessian can be written down: 55 weights, 20 samples of three classes."""

    def __init__(self):
        torch.manual_seed(3)
        self.net = nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Linear(3, 3)
        ).double()
        self.inputs = torch.randn(20, 4, dtype=torch.float64)
        self.labels = torch.randint(3, (20,))
        self.parameters = list(self.net.parameters())

    def parts(self, batch):
        for begin in range(0, 20, batch):
            scores = self.net(self.inputs[begin : begin + batch])
            yield F.cross_entropy(scores, self.labels[begin : begin + batch], reduction="sum") / 20

    def hessian(self):
        """(55, 55) by torch's own full Hessian."""
        names = [name for name, _ in self.net.named_parameters()]
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])

        def loss(vector):
            parts = vector.split([p.numel() for p in self.parameters])
            weights = {
                n: v.view_as(p) for n, v, p in zip(names, parts, self.parameters, strict=True)
            }
            scores = torch.func.functional_call(self.net, weights, (self.inputs,))
            return F.cross_entropy(scores, self.labels)

        return torch.autograd.functional.hessian(loss, flat)


# -- solvers


def test_products_and_gradient_are_those_of_the_full_hessian():
    tiny = Tiny()
    exact = tiny.hessian()
    for batch in (20, 7):
        for seed in range(3):
            vector = start(55, seed)
            found = hessian_product(lambda: tiny.parts(batch), tiny.parameters, vector)  # noqa: B023
            torch.testing.assert_close(found, exact @ vector, rtol=1e-10, atol=1e-12)
    loss, gradient = loss_gradient(lambda: tiny.parts(7), tiny.parameters)
    whole = F.cross_entropy(tiny.net(tiny.inputs), tiny.labels)
    assert loss == pytest.approx(whole.item(), rel=1e-12)
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(whole, tiny.parameters)])
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_ends_of_a_networks_exact_spectrum(solver):
    tiny = Tiny()
    values = torch.linalg.eigvalsh(tiny.hessian())
    assert values[0] < -0.01 < values[-1]  # a saddle: both ends are of interest
    calls = []

    def product(vector):
        calls.append(vector)
        return hessian_product(lambda: tiny.parts(20), tiny.parameters, vector)

    iterations = {"lanczos": 40, "power": 3000}[solver]
    low, high = SOLVERS[solver](product, start(55), iterations, 1e-7)
    assert high.value == pytest.approx(values[-1].item(), rel=1e-5)
    assert low.value == pytest.approx(values[0].item(), rel=1e-4)
    if solver == "lanczos":
        assert len(calls) <= 42


def test_the_default_effort_is_enough_for_both_ends_where_power_iteration_is_far_off():
    # a spectrum as trained networks have it: few large eigenvalues, a bulk at zero, a small negative end
    values = torch.cat([torch.tensor([40.0, 12.0, 3.0]), torch.linspace(-0.4, 0.4, 400)]).double()
    calls = []

    def product(vector):
        calls.append(vector)
        return values * vector

    low, high = lanczos_ends(product, start(403))
    assert len(calls) <= 32
    assert high.value == pytest.approx(40, rel=1e-3)
    assert low.value == pytest.approx(-0.4, rel=0.05)
    low, high = power_ends(product, start(403))
    assert high.value == pytest.approx(40, rel=1e-3)
    assert low.value > -0.2


@pytest.mark.parametrize("solver", SOLVERS.values())
@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 8), seed=st.integers(0, 10**6), iterations=st.integers(1, 12))
def test_values_lie_in_the_spectrum_and_an_eigenvalue_within_the_residual(
    solver, size, seed, iterations
):
    matrix = symmetric(size, seed)
    values = torch.linalg.eigvalsh(matrix)
    low, high = solver(lambda v: matrix @ v, start(size, seed + 1), iterations)
    slack = 1e-9 * values.abs().max().item()
    assert values[0] - slack <= low.value <= high.value <= values[-1] + slack
    for end in (low, high):
        assert (values - end.value).abs().min() <= end.residual + slack


def test_opposite_ends_of_equal_size():
    """Where a Rayleigh quotient stands still between two ends, power iteration's residual says so."""
    values = torch.tensor([5.0, -5.0, 1.0, 0.5], dtype=torch.float64)
    begin = torch.tensor([0.71, 0.7, 0.1, 0.1], dtype=torch.float64)
    low, high = lanczos_ends(lambda v: values * v, begin)
    assert (low.value, high.value) == pytest.approx((-5, 5))
    low, high = power_ends(lambda v: values * v, begin)
    assert low.value == pytest.approx(-5, rel=1e-2)
    assert high.value < 4 and high.residual > 1


@pytest.mark.parametrize("solver", SOLVERS.values())
def test_operators_without_a_second_end(solver):
    begin = torch.ones(3)
    for factor in (0.0, 2.0):
        low, high = solver(lambda v: factor * v, begin)  # noqa: B023
        assert (low.value, high.value) == pytest.approx((factor, factor), abs=1e-6)
        assert (low.residual, high.residual) == pytest.approx((0, 0), abs=1e-6)
    low, high = solver(lambda v: -3 * v, torch.ones(1))
    assert (low.value, high.value) == pytest.approx((-3, -3))
    calls = []

    def broken(vector):
        calls.append(vector)
        return vector * math.nan

    low, high = solver(broken, begin)
    assert all(math.isnan(x) for end in (low, high) for x in (end.value, end.residual))
    assert len(calls) <= 2  # no iteration is of use any more


# -- the hook


def hooked(cfg):
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), cfg.prediction_hooks["sharpness"]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain"), "ce")


def measured(runner, **changes):
    """As the engine asks for a set that is added later."""
    hook = HOOKS.build({**config("ce").prediction_hooks["sharpness"], **changes})
    hook.after_train(runner)
    return hook.arrays()


@pytest.fixture(scope="module")
def arrays(plain):
    return measured(plain)


def test_as_a_hook_of_a_training_it_changes_nothing_and_finds_the_same(plain, arrays, tmp_path):
    runner = train(tmp_path, "ce", change=hooked)
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[key]), key
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SharpnessHook))
    assert not hasattr(hook, "metric_rows")
    found = hook.arrays()
    assert found.keys() == arrays.keys() == {"group", "images", *NUMBERS}
    for key, value in found.items():
        np.testing.assert_array_equal(value, arrays[key])


def test_stored_arrays(arrays):
    groups = SMOKE.dataset.groups
    assert arrays["group"].tolist() == list(groups) and arrays["group"].dtype.kind == "U"
    counts = np.array(small_counts())
    assert arrays["images"].tolist() == [counts[list(ids)].sum() for ids in groups.values()]
    for key in NUMBERS:
        assert arrays[key].dtype == np.float64 and np.isfinite(arrays[key]).all()
    assert (arrays["lambda_min"] < 0).all() and (arrays["lambda_max"] > 0).all()
    # the rare classes are learned worst
    assert arrays["loss"][0] < arrays["loss"][2]


def small_counts():
    return CATALOG.protocol(TASK, "smoke").build(None)[1].class_counts


def group_batch(runner, group):
    """All training images of a group as the network sees them, and their labels."""
    dataset = DATASETS.build(config("ce").prediction_dataloaders["train"].dataset)
    ids = torch.tensor(SMOKE.dataset.groups[group])
    places = torch.isin(dataset.labels, ids).nonzero()[:, 0].tolist()
    batch = runner.model.data_preprocessor(dataset.__getitems__(places))
    return batch["inputs"], batch["label"]


def test_numbers_of_a_group_by_another_way(plain, arrays):
    model = copy.deepcopy(plain.model).eval()
    inputs, label = group_batch(plain, "tail")
    names, weights = zip(*model.named_parameters(), strict=True)
    sizes = [w.numel() for w in weights]

    def loss(*values):
        given = dict(zip(names, values, strict=True))
        scores = torch.func.functional_call(
            model, given, (), {"inputs": inputs, "label": label, "mode": "tensor"}
        )
        return F.cross_entropy(scores, label)

    def product(vector):
        flat = torch.from_numpy(vector.reshape(-1).astype(np.float32))
        along = tuple(v.view_as(w) for v, w in zip(flat.split(sizes), weights, strict=True))
        _, made = torch.autograd.functional.hvp(loss, weights, along)
        return torch.cat([m.reshape(-1) for m in made]).double().numpy()

    operator = LinearOperator((sum(sizes),) * 2, matvec=product, dtype=np.float64)
    low, high = eigsh(operator, k=2, which="BE", tol=1e-4, return_eigenvectors=False)
    assert arrays["lambda_max"][2] == pytest.approx(high, rel=1e-3)
    assert arrays["lambda_min"][2] == pytest.approx(low, rel=5e-3)
    value = loss(*weights)
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, weights)])
    assert arrays["loss"][2] == pytest.approx(value.item(), rel=1e-5)
    assert arrays["gradient_norm"][2] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_batches_do_not_matter_and_the_other_solver_agrees(plain, arrays):
    tail = {"tail": SMOKE.dataset.groups["tail"]}
    small = measured(plain, batch=5, groups=tail)
    for key in NUMBERS:
        if not key.startswith("residual"):
            np.testing.assert_allclose(small[key], arrays[key][2:], rtol=2e-3)
    power = measured(plain, solver="power", groups=tail)
    assert power["lambda_max"][0] == pytest.approx(arrays["lambda_max"][2], rel=2e-3)
    assert power["lambda_min"][0] == pytest.approx(arrays["lambda_min"][2], rel=0.02)


def test_model_and_generators_are_left_as_they_were(plain, arrays):
    model = plain.model
    model.train()
    model.backbone.blocks.eval()
    frozen = model.backbone.conv.weight.requires_grad_(False)
    flags = [(m, m.training) for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad for p in model.parameters()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    tf32 = (torch.backends.cudnn, torch.backends.cuda.matmul)
    allowed, inside = [backend.allow_tf32 for backend in tf32], set()
    watch = model.register_forward_hook(
        lambda *_: inside.update(
            (b.allow_tf32 for b in tf32), (m.training for m in model.modules())
        )
    )
    try:
        # what surrounds it does not matter either
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = measured(plain)
        assert not frozen.requires_grad
        assert [(m, m.training) for m in model.modules()] == flags
    finally:
        watch.remove()
        frozen.requires_grad_(True)
        model.train()
    assert inside == {False}
    assert [backend.allow_tf32 for backend in tf32] == allowed
    for key, value in before.items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert all(a is p.grad for a, p in zip(gradients, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    for key in NUMBERS:  # a frozen weight is one of the loss's all the same
        np.testing.assert_array_equal(found[key], arrays[key])


def test_at_most_so_many_images_evenly_spaced():
    labels = torch.tensor([0, 1, 2] * 10)
    assert choose(labels, [0], 5) == [0, 6, 12, 18, 24]
    assert choose(labels, [0, 2], 100) == [i for i in range(30) if i % 3 != 1]
    assert choose(labels, [], 5) == choose(labels, [7], 5) == []


def test_groups_without_images_are_left_out(plain):
    found = measured(plain, groups={"head": [0], "none": []}, images=9, iterations=3)
    assert found["group"].tolist() == ["head"] and found["images"].tolist() == [9]
    with pytest.raises(RecordError, match="no group has a training image"):
        measured(plain, groups={"none": []})


def test_wrong_settings():
    rest = config("ce").prediction_hooks["sharpness"]
    with pytest.raises(RecordError, match="no training has ended"):
        HOOKS.build(rest).arrays()
    with pytest.raises(ValueError, match="unknown solver 'arnoldi'; known: lanczos, power"):
        HOOKS.build({**rest, "solver": "arnoldi"})
    for key in ("images", "batch", "iterations"):
        with pytest.raises(ValueError, match="at least 1"):
            HOOKS.build({**rest, key: 0})


def test_images_from_files(tmp_path):
    """Samples that are collated one by one, and a config whose groups come from a list's counts."""
    spec = lists.SPECS["places-lt"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):  # of classes 0 and 1; no other image is opened
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    labels = (0, 0, *range(spec.classes))
    (tmp_path / spec.train).write_text("".join(f"{i}.png {c}\n" for i, c in enumerate(labels)))
    recipe = ListRecipe(
        spec="places-lt", images=2, classes=spec.classes, depth=50, batch=2, lr=0.1,
        weight_decay=0.0, epochs=1,
    )  # fmt: skip
    groups = {"head": (), "tail": (0, 1)}
    cfg = with_further_sets(image_lists(recipe, str(tmp_path)), groups, [], 0, batch=16)
    import_modules_from_strings(cfg["custom_imports"]["imports"])
    hook = HOOKS.build(cfg["prediction_hooks"]["sharpness"])
    assert hook.batch == 16
    for transform in hook.dataset["transforms"]:
        transform["size"] = 12
    torch.manual_seed(0)
    small = {"type": "SmallResNet", "depth": 8, "width": 2}
    head = {**cfg["model"]["head"], "in_channels": 8}
    model = MODELS.build({**cfg["model"], "backbone": small, "head": head})
    hook.after_train(SimpleNamespace(model=model))
    found = hook.arrays()
    assert found["group"].tolist() == ["tail"] and found["images"].tolist() == [4]
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    batch = model.data_preprocessor({"inputs": inputs, "label": torch.tensor([0, 0, 0, 1])})
    expected = F.cross_entropy(model.eval()(**batch), batch["label"])
    assert found["loss"][0] == pytest.approx(expected.item(), rel=1e-5)


# -- scores


def stored_sharpness(**changes):
    made = {
        "group": np.array(["head", "tail"]),
        "lambda_max": np.array([3.0, np.nan]),
        "lambda_min": np.array([-0.5, -0.25]),
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def test_rows_of_a_stored_set():
    test = {"test": store(LOGITS, LABEL)}
    before = evaluate(test, THREE, Trained())
    adapted = Trained(infer=lambda arrays, **_: arrays["logits"])
    for trained in (Trained(), adapted):
        rows = evaluate({**test, "sharpness": stored_sharpness()}, THREE, trained)
        rest = [row for row in rows if not row.metric.startswith("hessian")]
        assert rest == evaluate(test, THREE, trained)
        found = {row.key: row.value for row in rows if row.metric.startswith("hessian")}
        assert found == {
            "hessian_max[group=head,split=train]": 3.0,
            "hessian_max[group=tail,split=train]": None,
            "hessian_min[group=head,split=train]": -0.5,
            "hessian_min[group=tail,split=train]": -0.25,
        }
    assert not any(row.metric.startswith("hessian") for row in before)
    better = {m.name: m.higher_is_better for m in TASK.metrics}
    assert (better["hessian_max"], better["hessian_min"]) == (False, True)


def test_rows_of_what_the_hook_stores(arrays):
    about = TASK.settings(SMOKE)
    found = {row.key: row.value for row in evaluate({"sharpness": arrays}, about, Trained())}
    for i, group in enumerate(("head", "medium", "tail")):
        for end in ("max", "min"):
            assert found[f"hessian_{end}[group={group},split=train]"] == arrays[f"lambda_{end}"][i]
    assert len(found) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": None}, "no list of group names"),
        ({"group": np.array(3)}, "no list of group names"),
        ({"group": np.array([1, 2])}, "no list of group names"),
        ({"group": np.array([["head", "tail"]])}, "no list of group names"),
        (
            {"group": np.array(["head", "x,split=test"])},
            "group 'x,split=test', expected head, medium",
        ),
        ({"group": np.array(["head", "head"])}, "group 'head', expected .* once each"),
        ({"lambda_max": None}, "lambda_max is not 2 floats"),
        ({"lambda_min": np.array([1.0])}, "lambda_min is not 2 floats"),
        ({"lambda_min": np.array([1, 2])}, "lambda_min is not 2 floats"),
        ({"lambda_max": np.array(["1", "2"])}, "lambda_max is not 2 floats"),
        ({"lambda_max": np.array([[1.0, 2.0]])}, "lambda_max is not 2 floats"),
        ({"lambda_max": np.array([1 + 2j, 0])}, "lambda_max is not 2 floats"),
    ],
)
def test_arrays_of_another_form(changes, message):
    with pytest.raises(RecordError, match=message):
        evaluate({"sharpness": stored_sharpness(**changes)}, THREE, Trained())


# -- protocols

# hashes of protocols and of their recipes as they were before anything was measured after training
HASHES = {
    "quick": ("77a88b6b39aa", "ced939d0bdf2"),
    "smoke": ("ed30fca25ee6", "2e4a52c3a4fc"),
    "cpu-cifar": ("7c01b6fa8519", "afe0eccd8d5f"),
    "r32-200:cifar100,exp,ir100,first": ("1719ba3aa2bc", "436b40df0058"),
    "r32-200:cifar10,exp,ir100,shuffled,bf16": ("212ee7a53bc3", "03a91bf5dcb3"),
    "r32-200:fashion-mnist,exp,ir50,first,legacy-selection": ("9c645cae3b06", "6cd230eef488"),
    "r32-400-aa:cifar100,step,ir10,shuffled": ("60560b877bbf", "b03f6c85f9fd"),
    "imagenet-lt:resnext50": ("044a4c3b4569", "3eb603b6fa76"),
    "places-lt:resnet152": ("cf1eb7627261", "6fab1138d86c"),
    "inat18:resnet50": ("6df42b90f73e", "b38eb5c12102"),
}


def test_what_is_measured_afterwards_is_not_in_a_protocols_identity():
    known = {p.name: (p.hash, p.recipe) for p in TASK.protocols}
    assert {name: known[name] for name in HASHES} == HASHES
    assert all("sharpness" in p.extra_sets for p in TASK.protocols)


def test_a_built_config_is_the_hashed_recipe_and_the_diagnostics():
    from tasks.longtail_cls import protocols

    recipe = protocols.replace(protocols._QUICK, width=4, epochs=2, limit=10)
    built, facts = SMOKE.build("")
    hook = built.pop("prediction_hooks")["sharpness"]
    imports = built["custom_imports"]["imports"]
    further = [
        "tasks.longtail_cls.sharpness",
        "tasks.vision.augment.photometric",
        "tasks.vision.geometry.hook",
    ]
    # behind those that are hashed
    assert imports[-3:] == further
    del imports[-3:]
    loaders = built["prediction_dataloaders"]
    views = [loaders.pop(name) for name in SMOKE.views]
    assert len({view["dataset"]["seed"] for view in views}) == len(views) == 10
    blank = small_images(recipe, protocols._DIGITS, "")
    digests = [recipe_digest(one, protocols.HASHED_IMPORTS) for one in ({**blank, **built}, blank)]
    assert digests == [SMOKE.recipe] * 2
    assert hook["groups"] == {name: list(ids) for name, ids in facts.groups.items()}
    assert hook["dataset"] == blank["prediction_dataloaders"]["train"]["dataset"]


@pytest.mark.usefixtures("plain_dumps")
def test_in_mmengine_itself_it_measures_the_weights_that_other_hooks_leave(tmp_path):
    class Halve(Hook):
        def after_train(self, runner):
            with torch.no_grad():
                runner.model.head.fc.weight.mul_(0.5)

    few = dict(images=8, iterations=3)
    cfg = config("ce", hooked)
    cfg.custom_hooks[-1].update(few)
    cfg.train_cfg.max_iters = 1
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path), "ERROR", "bare"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name="bare")
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Halve())
    runner.train()
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SharpnessHook))
    found = hook.arrays()
    for key, value in measured(runner, **few).items():
        np.testing.assert_array_equal(found[key], value)
