"""Initial weights that a user brings for a classifier: where they go, and what may be wrong with them."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from PIL import Image
from safetensors.torch import save_file

from suite.base.errors import DataError, UserError
from suite.define.bring import adopt, bring, keep
from suite.define.catalog import Catalog
from suite.define.variants import BRING, Initial
from suite.engine.run import resolve_config
from suite.records.lookup import all_attempts
from tasks.vision.data import lists
from tasks.vision.initial import InitialWeightsHook, fit, moved_stages
from tasks.vision.pretrained import BRING_WEIGHTS, make

SMOKE = ("--task", "longtail-cls", "--protocol", "smoke")
LISTS = "imagenet-lt:resnet50"


def torchvision_state(blocks=(3, 4, 6, 3), groups=1, width=64, counted=True):
    """A random state of a bottleneck ResNet as torchvision names it, whatever builds it: `resnet50-*.pth`."""
    generator = torch.Generator().manual_seed(7)
    state = {}

    def conv(name, outputs, inputs, side):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        if counted:
            state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, count in enumerate(blocks, start=1):
        outputs = 256 * 2 ** (stage - 1)
        planes = outputs // 4 * width // 64 * groups
        for block in range(count):
            at = f"layer{stage}.{block}"
            conv(f"{at}.conv1", planes, inputs, 1)
            norm(f"{at}.bn1", planes)
            conv(f"{at}.conv2", planes, planes // groups, 3)
            norm(f"{at}.bn2", planes)
            conv(f"{at}.conv3", outputs, planes, 1)
            norm(f"{at}.bn3", outputs)
            if block == 0:
                conv(f"{at}.downsample.0", outputs, inputs, 1)
                norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    state["fc.weight"] = torch.randn(1000, inputs, generator=generator)
    state["fc.bias"] = torch.randn(1000, generator=generator)
    return state


def small_state(width=4, depth=8, seed=3):
    """State of smoke's backbone, drawn anew."""
    import tasks.vision.networks.classifier  # noqa: F401 - registers

    torch.manual_seed(seed)
    net = MODELS.build({"type": "SmallResNet", "depth": depth, "width": width, "in_channels": 1})
    return {key: value.contiguous() for key, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def installed():
    return Catalog.load()


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """A file as torchvision publishes them, its state, and what `Initial` says of it."""
    path = tmp_path_factory.mktemp("published") / "resnet50-1234.pth"
    state = torchvision_state()
    torch.save(state, path)
    return path, state, Initial(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def brought(installed, tmp_path_factory):
    """`brought(pretrained, protocol, root, task)`: what a command line would bring; nothing is written."""
    nowhere = tmp_path_factory.mktemp("nowhere")

    def call(pretrained, protocol="smoke", root=nowhere, task="longtail-cls", config=None):
        catalog = installed.at(root)
        of = catalog.task(task)
        return bring(catalog, of, catalog.protocol(of, protocol), root, config, pretrained)

    return call


# -- published names


@pytest.mark.slow
def test_a_published_resnet_fits_the_protocols_on_image_files(resnet50, brought, installed):
    path, state, initial = resnet50
    task = installed.task("longtail-cls")
    for name in (LISTS, "inat18:resnet50"):
        made = brought(path, name)
        base = installed.protocol(task, name)
        assert made.protocol.hash != base.hash and made.protocol.init == initial.sha256
        assert {k for k in base.identity if made.protocol.identity[k] != base.identity[k]} == {
            "init"
        }
        assert made.notes == (
            f"initial weights {initial.sha256[:8]}: 265 of 265 tensors of the backbone; "
            "not used: fc.weight, fc.bias",
        )
    backbone = built(installed, LISTS)
    tensors, left = fit(path, backbone)
    assert tensors.keys() == backbone.state_dict().keys() and left == ["fc.weight", "fc.bias"]
    for key, value in tensors.items():
        assert torch.equal(value, state[key]), key


def built(installed, name):
    base = installed.protocol(installed.task("longtail-cls"), name)
    import_modules_from_strings(base.blank["custom_imports"]["imports"])
    return MODELS.build(json.loads(json.dumps(base.blank["model"]["backbone"])))


@pytest.mark.parametrize("form", ["old", "module.", "backbone.", "state_dict", "model"])
def test_the_forms_of_published_files(form, installed, tmp_path):
    """Without counters of batches, as the first ones; from several GPUs; of a whole classifier; below a key."""
    state = torchvision_state(counted=form != "old")
    if form.endswith("."):
        state = {f"{form}{key}": value for key, value in state.items()}
    content = {form: state, "epoch": 90} if form in ("state_dict", "model") else state
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=form != "old")
    tensors, _ = fit(tmp_path / "w.pth", built(installed, LISTS))
    assert len([key for key in tensors if not key.endswith("num_batches_tracked")]) == 265


@pytest.mark.slow
def test_a_published_resnext_fits_its_own_protocol_alone(brought, tmp_path, resnet50):
    save_file(torchvision_state(groups=32, width=4), tmp_path / "x.safetensors")
    made = brought(tmp_path / "x.safetensors", "imagenet-lt:resnext50")
    assert "265 of 265 tensors" in made.notes[0]
    with pytest.raises(UserError, match=r"other shapes layer1\.0\.conv1\.weight"):
        brought(tmp_path / "x.safetensors", LISTS)
    with pytest.raises(UserError, match=r"missing layer2\.4\.conv1\.weight"):
        brought(resnet50[0], "places-lt")


# -- where a training starts


class Before(Hook):
    """Keeps the model's state as the first iteration finds it."""

    priority = "LOWEST"

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not runner.iter:
            self.state = {k: v.clone() for k, v in runner.model.state_dict().items()}


def begun(protocol, data, folder, change=lambda cfg: None, method="ce"):
    """The state of the network at iteration 0, and after one."""
    catalog = Catalog.load()
    source = catalog.source(method)
    params = catalog.resolve(method, protocol, {})
    cfg, facts = resolve_config(protocol.build, data, source.load().configure, params, 0)
    cfg.train_cfg.max_iters = 1
    change(cfg)
    name = f"begun-{folder.name}-{protocol.hash}"
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(folder), "ERROR", name
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=name)
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(before := Before())
    runner.train()
    return before.state, runner.model.state_dict(), facts


def image_files(folder, spec):
    """Lists of one training image a class (class 0: three) and two test images, all one JPEG."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "one.jpg")
    for file, labels in ((spec.train, [0, 0, *range(spec.classes)]), (spec.test, [0, 1])):
        lines = []
        for i, label in enumerate(labels):
            os.link(folder / "one.jpg", folder / f"{file}{i}.jpg")
            lines.append(f"{file}{i}.jpg {label}\n")
        (folder / file).write_text("".join(lines))
    return folder


def on_a_cpu(cfg):
    cfg.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False
    )
    cfg.train_dataloader.dataset.dataset.transforms[0].size = 64


@pytest.mark.slow
@pytest.mark.usefixtures("plain_dumps")
def test_a_training_on_image_files_starts_from_the_weights(resnet50, brought, tmp_path):
    path, state, _ = resnet50
    root = tmp_path / "root"
    made = brought(path, LISTS, root)
    keep(made, root)
    data = image_files(tmp_path / "imagenet-lt", lists.SPECS["imagenet-lt"])
    before, after, facts = begun(made.protocol, data, tmp_path / "work", on_a_cpu)
    compared = {key for key in before if key.startswith("backbone.")}
    assert compared == {f"backbone.{key}" for key in state if not key.startswith("fc.")}
    for key in compared:
        assert torch.equal(before[key], state[key.removeprefix("backbone.")]), key
    # the classifier is the protocol's own, and all of it is trained
    assert before["head.fc.weight"].shape == (1000, 2048)
    for key in ("backbone.conv1.weight", "backbone.layer4.2.conv3.weight", "head.fc.weight"):
        assert not torch.equal(before[key], after[key]), key
    assert len(facts.classes) == 1000


@pytest.mark.usefixtures("plain_dumps")
def test_a_training_on_small_images_starts_from_the_weights(brought, installed, tmp_path):
    from suite.base.settings import cache_dir

    state, root = small_state(), tmp_path / "root"
    save_file(state, tmp_path / "w.safetensors")
    made = brought(tmp_path / "w.safetensors", root=root)
    keep(made, root)
    (tmp_path / "w.safetensors").unlink()  # what trains is the copy
    base = installed.protocol(installed.task("longtail-cls"), "smoke")
    for protocol in (made.protocol, made.protocol.carved):
        before, *_ = begun(protocol, cache_dir(), tmp_path / "work")
        for key, value in state.items():
            assert torch.equal(before[f"backbone.{key}"], value), key
    plain, *_ = begun(base, cache_dir(), tmp_path / "work")
    assert not torch.equal(plain["backbone.conv.weight"], state["conv.weight"])
    # and nothing else: the head is drawn as without
    assert torch.equal(plain["head.fc.weight"], before["head.fc.weight"])


def test_weights_that_go_or_change_are_found_by_the_worker(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(small_state(), path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    runner = SimpleNamespace(_has_loaded=False, model=None)
    save_file(small_state(seed=4), path)
    with pytest.raises(DataError, match="changed, SHA-256"):
        InitialWeightsHook(str(path), sha).before_train(runner)
    path.unlink()
    with pytest.raises(DataError, match=f"bring them again with --pretrained FILE.*{sha}"):
        InitialWeightsHook(str(path), sha).before_train(runner)
    # a run that goes on from a checkpoint needs none
    InitialWeightsHook(str(path), sha).before_train(SimpleNamespace(_has_loaded=True))


# -- methods that take the backbone apart


def experts(protocol, installed, shared, reduced):
    """RIDE's network: several parts that have the later stages each."""
    from mmengine.config import Config

    from baselines.parts.experts import use_experts

    base = installed.protocol(installed.task("longtail-cls"), protocol)
    import_modules_from_strings(base.blank["custom_imports"]["imports"])
    cfg = Config(json.loads(json.dumps(base.blank)))
    return MODELS.build(use_experts(cfg, {"type": "CrossEntropy"}, 2, reduced, shared=shared).model)


@pytest.mark.slow
@pytest.mark.parametrize("reduced", [False, True])
def test_experts_start_from_the_weights_where_they_fit(reduced, resnet50, installed, capsys):
    path, state, initial = resnet50
    model = experts(LISTS, installed, 2, reduced)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    InitialWeightsHook(str(path), initial.sha256).before_train(
        SimpleNamespace(_has_loaded=False, model=model)
    )
    now = model.state_dict()
    seen = {f"backbone.{key}" for key in state if f"backbone.{key}" in own}
    assert "backbone.layer2.3.bn3.bias" in seen and "backbone.layer3.0.bn1.bias" not in seen
    for key in seen:
        assert torch.equal(now[key], state[key.removeprefix("backbone.")]), key
    later = moved_stages(model).keys()
    assert {key.partition(".")[0] for key in later} == {"layer3", "layer4"}
    for key in later:
        for expert in ("experts.0.", "experts.1."):
            expected = own[expert + key] if reduced else state[key]
            if key.endswith("num_batches_tracked"):
                continue
            assert torch.equal(now[expert + key], expected), key
    total = 2 * sum(not key.endswith("num_batches_tracked") for key in later)
    said = f"of {total} tensors of stages that the method has several times, {0 if reduced else total} start"
    assert said in capsys.readouterr().out


def test_experts_whose_stages_have_no_names_are_refused(installed, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(small_state(), path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    model = experts("smoke", installed, 1, True)
    with pytest.raises(UserError, match="ExpertClassifier has another: the method cannot start"):
        InitialWeightsHook(str(path), sha).before_train(
            SimpleNamespace(_has_loaded=False, model=model)
        )


# -- the command line


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of `ce` from weights of the user's own: (folder, its variant's file, stderr)."""
    folder = tmp_path_factory.mktemp("pretrained")
    save_file(small_state(), folder / "start.safetensors")
    command = [sys.executable, "-m", "suite", "run", *SMOKE, "--method", "ce", "--workers", "1"]
    ended = subprocess.run(
        [*command, "--pretrained", "start.safetensors"],
        cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (path,) = (folder / "results" / "protocols").iterdir()
    return folder, json.loads(path.read_text()), ended.stderr


@pytest.mark.slow
def test_a_run_is_known_to_both_tasks_from_the_root_alone(done, installed, inside):
    folder, variant, said = done
    root, sha = folder / "results", variant["weights"]["sha256"]
    assert variant["name"] == f"smoke:pretrained-{sha[:8]}"
    assert [path.name for path in (root / "weights").iterdir()] == [f"{sha}.safetensors"]
    assert "35 of 35 tensors of the backbone" in said
    (attempt,) = all_attempts(root)
    smoke = installed.protocol(installed.task("longtail-cls"), "smoke")
    assert attempt.record().spec.protocol_hash != smoke.hash
    assert (
        f"initial weights {sha[:8]} are in the backbone" in (attempt.path / "log.txt").read_text()
    )
    where = "--root", str(root)
    for task in ("longtail-cls", "test-agnostic"):
        board = inside("leaderboard", "--task", task, *where, "--format", "json")
        (row,) = (row for row in json.loads(board.stdout)["rows"] if row["state"] == "done")
        assert (row["protocol"], row["method"]) == (variant["name"], "ce")
        planned = inside(
            "plan", "--task", task, "--protocol", "smoke:pretrained", "--method", "ce", *where,
            "--seeds", "0,1", "--format", "json",
        )  # fmt: skip
        assert planned.returncode == 0, planned.stderr
        assert [item["todo"] for item in json.loads(planned.stdout)["rows"]] == ["done", "new"]
    verified = inside("verify", attempt.run_id, *where)
    assert verified.returncode == 0, verified.stdout
    # another results folder is given it with the run
    assert adopt(root, folder / "other", installed.at(folder / "other")) == 1


@pytest.mark.slow
def test_the_config_of_a_variant(done, inside, plain_dumps):
    folder, variant, _ = done
    for name in (variant["name"], f"{variant['name']}:carved"):
        printed = inside(
            "config", "--task", "longtail-cls", "--method", "ce", "--protocol", name,
            "--root", str(folder / "results"),
        )  # fmt: skip
        assert printed.returncode == 0, printed.stderr
        assert "InitialWeightsHook" in printed.stdout and "tasks.vision.initial" in printed.stdout
        assert ("'carved'" in printed.stdout) == name.endswith(":carved")


def test_a_plan_and_a_config_write_nothing(inside, tmp_path, plain_dumps):
    save_file(small_state(), tmp_path / "w.safetensors")
    brought = "--pretrained", "w.safetensors"
    for verb in ("plan", "config"):
        ended = inside(verb, *SMOKE, "--method", "ce", *brought)
        assert ended.returncode == 0, ended.stderr
        assert "protocol smoke:pretrained-" in ended.stderr
    assert "InitialWeightsHook" in ended.stdout
    carved = inside("plan", *SMOKE[:2], "--protocol", "smoke:carved", "--method", "ce", *brought)
    assert carved.returncode == 0 and ":carved (" in carved.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.safetensors"]


def test_either_task_brings_the_same_protocol(brought, installed, tmp_path):
    root = tmp_path / "root"
    save_file(small_state(), tmp_path / "w.safetensors")
    first = brought(tmp_path / "w.safetensors", root=root, task="test-agnostic")
    keep(first, root)
    second = brought(tmp_path / "w.safetensors", root=root)
    assert second.protocol.hash == first.protocol.hash
    keep(second, root)
    assert len(list((root / "protocols").iterdir())) == 1
    catalog = installed.at(root)
    made = catalog.protocol_with(first.protocol.hash)
    holding = {task.name for task in catalog.accepting(made)}
    assert holding == {"longtail-cls", "test-agnostic"} and catalog.problems == installed.problems
    for name in holding:
        task = catalog.task(name)
        assert catalog.accepted(task, made.hash, made.name) is made
        assert task.evaluation_hash(made) == task.evaluation_hash(task.protocols["smoke"])


# -- what may be wrong


class _Code:
    """What an unpickler would call."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self):
        return Path.touch, (self._made,)


class _System(_Code):
    def __reduce__(self):
        return os.system, (f"touch {self._made}",)


def bad_weights(folder: Path, made: Path) -> dict[str, str]:
    """Name of a file -> what is said of it; `made` is there once something of a file was executed."""
    state = small_state()
    (folder / "folder.pth").mkdir()
    (folder / "text.pth").write_text("not a checkpoint")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "weights.csv").write_text("a,b\n1,2\n")
    np.savez(folder / "arrays.npz", **{key: value.numpy() for key, value in state.items()})
    torch.save(state, folder / "torch.safetensors")
    save_file(state, folder / "named.pth")
    (folder / "raw.pkl").write_bytes(pickle.dumps(_Code(made)))
    torch.save({"weights": _Code(made)}, folder / "code.pth")
    torch.save({"state_dict": state, "more": _System(made)}, folder / "system.pth")
    torch.save(_Code(made), folder / "bare.pth")
    save_file(small_state(width=8), folder / "wide.safetensors")
    save_file(small_state(depth=14), folder / "deep.safetensors")
    save_file(
        {key: value for key, value in state.items() if "blocks.2" not in key},
        folder / "short.safetensors",
    )
    save_file({"blocks.0.attn.weight": torch.zeros(3)}, folder / "other.safetensors")
    save_file({"fc.weight": torch.zeros(3)}, folder / "head.safetensors")
    torch.save(torchvision_state(blocks=(1, 1, 1, 1)), folder / "resnet.pth")
    nan = state | {"conv.weight": torch.full_like(state["conv.weight"], torch.nan)}
    save_file(nan, folder / "nan.safetensors")
    give = "no weights file; give a .pth or .safetensors file"
    return {
        "absent.pth": "no such file; give a .pth or .safetensors file",
        "folder.pth": "is a folder; give a .pth or .safetensors file",
        "text.pth": give,
        "empty.pth": "damaged weights file",
        "weights.csv": give,
        "arrays.npz": give,
        "torch.safetensors": "is a torch file; rename it to end with .pth",
        "named.pth": "is a safetensors file; rename it to end with .safetensors",
        "raw.pkl": "raw.pkl: ",
        "code.pth": "holds more than tensors and is not loaded (",
        "system.pth": "holds more than tensors and is not loaded (it names posix.system)",
        "bare.pth": "bare.pth: holds",
        "wide.safetensors": "other shapes conv.weight",
        "deep.safetensors": "unexpected blocks.3",
        "short.safetensors": "missing blocks.2.conv1.weight",
        "other.safetensors": "0 of 35 tensors fit (0%)",
        "head.safetensors": "0 of 35 tensors fit (0%)",
        "resnet.pth": "weights of another architecture than the backbone SmallResNet: 0 of 35",
        "nan.safetensors": "conv.weight is not finite",
    }


def test_bad_weights_are_one_line(inside, tmp_path):
    made = tmp_path / "executed"
    for name, expected in bad_weights(tmp_path, made).items():
        ended = inside("run", *SMOKE, "--method", "ce", "--pretrained", name)
        assert ended.returncode == 2, (name, ended.stderr)
        lines = ended.stderr.splitlines()
        assert len(lines) == 1, (name, lines)
        assert lines[0].startswith("Error: ") and name in lines[0], lines
        assert expected in lines[0], (name, lines)
        assert "weights_only" not in lines[0]
        assert not made.exists(), name
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("task", ["longtail-cls", "test-agnostic"])
def test_a_config_file_is_refused_unopened(task, inside, tmp_path):
    made = tmp_path / "executed"
    (tmp_path / "mine.py").write_text(f"open({str(made)!r}, 'w')\n")
    save_file(small_state(), tmp_path / "w.safetensors")
    for more in ((), ("--pretrained", "w.safetensors")):
        ended = inside(
            "plan", "--task", task, "--protocol", "smoke", "--base-config", "mine.py", *more
        )
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert line.startswith("Error: --base-config ") and "takes no config file" in line
        assert "what it takes is --pretrained FILE" in line and "(resnet8-w4)" in line
    assert not made.exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"settings": {"batch": 3}, "label": "x"}, "takes initial weights alone"),
        ({"settings": {}, "label": "x"}, "takes initial weights alone"),
        ({"task": "longtail-seg"}, "by its content: changed since"),
        ({"weights": {"sha256": "0" * 64}}, "by its content: changed since"),
        ({"weights": None}, "changes nothing of its protocol"),
        ({"base": "quick"}, "by its content: changed since"),
    ],
)
def test_a_tampered_file_is_left_out_with_a_line(change, expected, brought, installed, tmp_path):
    root = tmp_path / "root"
    save_file(small_state(), tmp_path / "w.safetensors")
    keep(brought(tmp_path / "w.safetensors", root=root), root)
    (path,) = (root / "protocols").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    catalog = installed.at(root)
    assert not catalog.variants
    (problem,) = set(catalog.problems) - set(installed.problems)
    assert expected in problem


def test_a_protocol_without_a_backbone_of_its_own(installed):
    base = installed.protocol(installed.task("longtail-cls"), "smoke")
    initial = Initial(Path("w.pth"), "0" * 64)
    assert make(base, None, initial).identity == base.identity
    for one in (
        replace(base, budget=None),
        replace(base, blank=None),
        replace(base, blank={"model": {"type": "ImageClassifier"}}),
    ):
        with pytest.raises(UserError, match="'smoke' has no backbone that initial weights"):
            make(one, None, initial)


def test_every_protocol_can_be_looked_at_without_data(installed):
    for name in ("longtail-cls", "test-agnostic"):
        task = installed.task(name)
        assert BRING.of(task) is BRING_WEIGHTS
        for protocol in task.protocols:
            assert "backbone" in protocol.blank["model"], protocol.name
            assert "default_scope" in protocol.blank and "custom_imports" in protocol.blank


@pytest.mark.slow
def test_a_config_that_names_the_old_module_finds_the_hook():
    """As configs were written before; the module is imported for what it registers."""
    code = (
        "import suite, warnings; warnings.simplefilter('ignore')\n"
        "from mmengine.registry import HOOKS\n"
        "from mmengine.utils import import_modules_from_strings\n"
        "assert HOOKS.get('InitialWeightsHook') is None\n"
        "import_modules_from_strings(['tasks.longtail_seg.initial'])\n"
        "hook = HOOKS.build(dict(type='InitialWeightsHook', path='w.pth', sha256='0'))\n"
        "from tasks.longtail_seg.initial import InitialWeightsHook\n"
        "assert type(hook) is InitialWeightsHook\n"
        "assert type(hook).__module__ == 'tasks.vision.initial'\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
