"""Networks of the protocols at the papers' scale: backbone and heads as plain dicts.

Sizes are those of mmsegmentation's own configurations of each family; classes, losses and the
training around them are the recipe's. Nothing heavy is imported.

SegNeXt-L is AUCSeg's own choice (the sheet's section 1.4). What differs from mmsegmentation:
- BatchNorm is `BN`: the papers' batches of 2 or 4 lie on one GPU.
- SegNeXt's head draws the start of its matrix factorisation anew in every call, at test time too; so
  that kept weights predict what was stored, `SeededHamHead` draws it from a fixed seed when testing.
- OCRNet's two heads are one module, `RegionOCRHead`, and not a cascade: a method that replaces the
  training loss finds it where every other network has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Config = dict[str, Any]

BN: Config = {"type": "BN", "requires_grad": True}
_GN: Config = {"type": "GN", "num_groups": 32, "requires_grad": True}


class Network(NamedTuple):
    """A network without classes and losses.

    backbone, head: mmseg configs. auxiliary: an auxiliary head, trained with plain cross entropy of
    weight 0.4 under every method, or None. undecayed: parts of parameter names that get no weight decay,
    beside those of every network. normless: norm layers get none either, by their type: they are not
    called `norm` in this family.
    """

    backbone: Config
    head: Config
    auxiliary: Config | None = None
    undecayed: tuple[str, ...] = ()
    normless: bool = False


def _segnext(
    dims: list[int], depths: list[int], drop_path: float, channels: int, inputs: list[int]
) -> Network:
    return Network(
        {
            "type": "MSCAN",
            "embed_dims": dims,
            "mlp_ratios": [8, 8, 4, 4],
            "drop_rate": 0.0,
            "drop_path_rate": drop_path,
            "depths": depths,
            "attention_kernel_sizes": [5, [1, 7], [1, 11], [1, 21]],
            "attention_kernel_paddings": [2, [0, 3], [0, 5], [0, 10]],
            "act_cfg": {"type": "GELU"},
            "norm_cfg": BN,
        },
        {
            "type": "SeededHamHead",
            "in_channels": inputs,
            "in_index": [1, 2, 3],
            "channels": channels,
            "ham_channels": channels,
            "ham_kwargs": {
                "MD_S": 1,
                "MD_R": 16,
                "train_steps": 6,
                "eval_steps": 7,
                "inv_t": 100,
                "rand_init": True,
            },
            "dropout_ratio": 0.1,
            "norm_cfg": _GN,
        },
    )


def _segformer(dim: int, layers: list[int], channels: int = 256) -> Network:
    heads = [1, 2, 5, 8]
    return Network(
        {
            "type": "MixVisionTransformer",
            "in_channels": 3,
            "embed_dims": dim,
            "num_stages": 4,
            "num_layers": layers,
            "num_heads": heads,
            "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1],
            "out_indices": (0, 1, 2, 3),
            "mlp_ratio": 4,
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1,
        },
        {
            "type": "SegformerHead",
            "in_channels": [dim * n for n in heads],
            "in_index": [0, 1, 2, 3],
            "channels": channels,
            "dropout_ratio": 0.1,
            "norm_cfg": BN,
        },
    )


def _fcn(channels: int, index: int) -> Config:
    """The auxiliary head of DeepLabV3+ and UPerNet: on the third stage."""
    return {
        "type": "FCNHead",
        "in_channels": channels,
        "in_index": index,
        "channels": 256,
        "num_convs": 1,
        "concat_input": False,
        "dropout_ratio": 0.1,
        "norm_cfg": BN,
    }


def _deeplabv3plus(depth: int) -> Network:
    return Network(
        {
            "type": "ResNetV1c",
            "depth": depth,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "dilations": (1, 1, 2, 4),
            "strides": (1, 2, 1, 1),
            "norm_cfg": BN,
            "norm_eval": False,
            "style": "pytorch",
            "contract_dilation": True,
        },
        {
            "type": "DepthwiseSeparableASPPHead",
            "in_channels": 2048,
            "in_index": 3,
            "channels": 512,
            "dilations": (1, 12, 24, 36),
            "c1_in_channels": 256,
            "c1_channels": 48,
            "dropout_ratio": 0.1,
            "norm_cfg": BN,
        },
        _fcn(1024, 2),
        normless=True,
    )


def _ocrnet(width: int) -> Network:
    widths = [width * 2**stage for stage in range(4)]

    def stage(modules: int, branches: int) -> Config:
        return {
            "num_modules": modules,
            "num_branches": branches,
            "block": "BASIC",
            "num_blocks": (4,) * branches,
            "num_channels": tuple(widths[:branches]),
        }

    first = {
        "num_modules": 1,
        "num_branches": 1,
        "block": "BOTTLENECK",
        "num_blocks": (4,),
        "num_channels": (64,),
    }
    features = {
        "in_channels": widths,
        "in_index": (0, 1, 2, 3),
        "input_transform": "resize_concat",
        "dropout_ratio": -1,
        "norm_cfg": BN,
    }
    return Network(
        {
            "type": "HRNet",
            "norm_cfg": BN,
            "norm_eval": False,
            "extra": {
                "stage1": first,
                "stage2": stage(1, 2),
                "stage3": stage(4, 3),
                "stage4": stage(3, 4),
            },
        },
        {
            "type": "RegionOCRHead",
            **features,
            "channels": 512,
            "ocr_channels": 256,
            "region": {
                "type": "FCNHead",
                **features,
                "channels": sum(widths),
                "kernel_size": 1,
                "num_convs": 1,
                "concat_input": False,
            },
        },
        normless=True,
    )


def _swin(dim: int, depths: list[int], heads: list[int], window: int = 7) -> Network:
    widths = [dim * 2**stage for stage in range(4)]
    return Network(
        {
            "type": "SwinTransformer",
            "pretrain_img_size": 224,
            "embed_dims": dim,
            "patch_size": 4,
            "window_size": window,
            "mlp_ratio": 4,
            "depths": depths,
            "num_heads": heads,
            "strides": (4, 2, 2, 2),
            "out_indices": (0, 1, 2, 3),
            "qkv_bias": True,
            "qk_scale": None,
            "patch_norm": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.3,
            "use_abs_pos_embed": False,
            "act_cfg": {"type": "GELU"},
            "norm_cfg": {"type": "LN", "requires_grad": True},
        },
        {
            "type": "UPerHead",
            "in_channels": widths,
            "in_index": [0, 1, 2, 3],
            "pool_scales": (1, 2, 3, 6),
            "channels": 512,
            "dropout_ratio": 0.1,
            "norm_cfg": BN,
        },
        _fcn(widths[2], 2),
        undecayed=("absolute_pos_embed", "relative_position_bias_table"),
    )


_WIDE, _WIDE_IN = [64, 128, 320, 512], [128, 320, 512]
# the first is the default variant
NETWORKS: Mapping[str, Network] = {
    "segnext-l": _segnext(_WIDE, [3, 5, 27, 3], 0.3, 1024, _WIDE_IN),
    "segnext-b": _segnext(_WIDE, [3, 3, 12, 3], 0.1, 512, _WIDE_IN),
    "segnext-s": _segnext(_WIDE, [2, 2, 4, 2], 0.1, 256, _WIDE_IN),
    "segnext-t": _segnext([32, 64, 160, 256], [3, 3, 5, 2], 0.1, 256, [64, 160, 256]),
    "segformer-b0": _segformer(32, [2, 2, 2, 2]),
    "segformer-b1": _segformer(64, [2, 2, 2, 2]),
    "segformer-b2": _segformer(64, [3, 4, 6, 3]),
    "segformer-b3": _segformer(64, [3, 4, 18, 3]),
    "segformer-b4": _segformer(64, [3, 8, 27, 3]),
    "segformer-b5": _segformer(64, [3, 6, 40, 3]),
    "deeplabv3plus-r50": _deeplabv3plus(50),
    "deeplabv3plus-r101": _deeplabv3plus(101),
    "ocrnet-hr18": _ocrnet(18),
    "ocrnet-hr48": _ocrnet(48),
    "upernet-swin-t": _swin(96, [2, 2, 6, 2], [3, 6, 12, 24]),
    "upernet-swin-s": _swin(96, [2, 2, 18, 2], [3, 6, 12, 24]),
    "upernet-swin-b": _swin(128, [2, 2, 18, 2], [4, 8, 16, 32]),
}
