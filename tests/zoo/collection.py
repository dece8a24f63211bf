"""The networks of the zoo: by library and name, each with the way to make it untrained, with ten classes.

timm's are one or more of each family that a phone can carry; transformers' are small configurations of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CLASSES = 10
# The smallest that works is taken: what is to be seen here does not grow with the image.
SIZES = (64, 96, 128, 160, 192, 224, 240, 256, 299)
# Their pools end in 6x6 and 7x7, and would enlarge what is left of a smaller image; no exporter writes that.
_OWN_SIZE = ("alexnet", "vgg")

TIMM = (
    *("bat_resnext26ts", "beitv2_base_patch16_224", "botnet26t_256", "caformer_s18", "cait_xxs24_224"),
    *("coat_lite_tiny", "coatnet_pico_rw_224", "convformer_s18", "convit_tiny", "convmixer_768_32"),
    *("convnext_atto", "convnextv2_atto", "crossvit_tiny_240", "cs3darknet_s", "cspdarknet53"),
    *("davit_tiny", "deit_tiny_patch16_224", "deit3_small_patch16_224", "densenet121", "dla46_c", "dpn48b"),
    *("eca_nfnet_l0", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0", "efficientnet_b0"),
    *("efficientnet_es", "efficientnet_lite0", "efficientvit_b0", "efficientvit_m0", "ese_vovnet19b_dw"),
    *("eva02_tiny_patch14_224", "fasternet_t0", "fastvit_t8", "fbnetc_100", "fbnetv3_b", "focalnet_tiny_srf"),
    *("gcvit_xxtiny", "gernet_s", "ghostnet_100", "ghostnetv2_100", "gmlp_ti16_224", "halonet26t"),
    *("hardcorenas_a", "hgnetv2_b0", "hiera_tiny_224", "hrnet_w18_small", "inception_next_tiny", "inception_v4"),
    *("lambda_resnet26t", "lcnet_050", "legacy_seresnet18", "legacy_xception", "levit_128s", "mambaout_femto"),
    *("maxvit_pico_rw_256", "maxxvitv2_nano_rw_256", "mixer_s32_224", "mixnet_s", "mnasnet_small"),
    *("mobilenet_edgetpu_100", "mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small"),
    *("mobilenetv4_hybrid_medium", "mobileone_s0", "mobilevit_xxs", "mobilevitv2_050", "mvitv2_tiny"),
    *("nest_tiny", "nextvit_small", "nf_regnet_b0", "pit_ti_224", "poolformer_s12", "poolformerv2_s12"),
    *("pvt_v2_b0", "rdnet_tiny", "regnetx_002", "regnety_002", "repghostnet_050", "repvgg_a0", "repvit_m0_9"),
    *("res2net50d", "resmlp_12_224", "resnest14d", "resnet10t", "resnetv2_50", "rexnet_100", "selecsls42b"),
    *("semnasnet_075", "sequencer2d_s", "shvit_s1", "skresnet18", "spnasnet_100", "starnet_s1"),
    *("swiftformer_xs", "swinv2_cr_tiny_224", "swin_tiny_patch4_window7_224", "tf_efficientnetv2_b0"),
    *("tiny_vit_5m_224", "tinynet_e", "tnt_s_legacy_patch16_224", "tresnet_m", "twins_pcpvt_small"),
    *("twins_svt_small", "vgg11", "visformer_tiny", "vit_tiny_patch16_224", "volo_d1_224", "xcit_nano_12_p16_224"),
)

_SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
_PATCHES = {**_SMALL, "image_size": 64, "patch_size": 16}
# Kind -> the settings of a small one.
TRANSFORMERS: Mapping[str, Mapping[str, Any]] = {
    "ViT": _PATCHES,
    "DeiT": _PATCHES,
    "Beit": {**_PATCHES, "use_relative_position_bias": True, "use_mean_pooling": True},
    "Swin": {
        "image_size": 64,
        "patch_size": 4,
        "embed_dim": 24,
        "depths": [1, 1],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "ConvNext": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_stages": 4},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
    "MobileNetV2": {"depth_multiplier": 0.5, "image_size": 64},
    "MobileViT": {
        "image_size": 64,
        "hidden_sizes": [48, 64, 80],
        "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 160],
    },
}

# For a route whose backend is slow: small ones, each built of other parts than the rest.
COVERING = (
    *("torchvision/alexnet", "torchvision/densenet121", "torchvision/efficientnet_b0", "torchvision/googlenet"),
    *("torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "torchvision/regnet_y_400mf"),
    *("torchvision/resnet18", "torchvision/shufflenet_v2_x0_5", "torchvision/squeezenet1_1"),
    *("torchvision/swin_v2_t", "timm/coatnet_pico_rw_224", "timm/convnextv2_atto", "timm/edgenext_xx_small"),
    *("timm/efficientvit_b0", "timm/ghostnet_100", "timm/halonet26t", "timm/hrnet_w18_small", "timm/levit_128s"),
    *("timm/mixer_s32_224", "timm/mixnet_s", "timm/poolformer_s12", "timm/sequencer2d_s"),
    *("timm/vit_tiny_patch16_224", "timm/volo_d1_224", "timm/xcit_nano_12_p16_224"),
    *("transformers/Beit", "transformers/ConvNext", "transformers/MobileViT", "transformers/Swin"),
)


@dataclass(frozen=True)
class Animal:
    """Name a network of the zoo. make: takes a size, gives the module for images of that height and width."""

    library: str
    network: str
    make: Callable[[int], torch.nn.Module]

    @property
    def name(self) -> str:
        """Return the name by which it is asked for: `timm/levit_128s`."""
        return f"{self.library}/{self.network}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """List the sizes of images to try, the smallest first."""
        return SIZES[SIZES.index(224) :] if self.network.startswith(_OWN_SIZE) else SIZES


def animals() -> Iterator[Animal]:
    """List the whole zoo, library by library."""
    from conversion.sources.torchvision_models import torchvision_model_names

    yield from (Animal("torchvision", name, _torchvision(name)) for name in torchvision_model_names())
    yield from (Animal("timm", name, _timm(name)) for name in TIMM)
    yield from (Animal("transformers", name, _transformers(name)) for name in TRANSFORMERS)


def _torchvision(name: str) -> Callable[[int], torch.nn.Module]:
    def make(size: int) -> torch.nn.Module:
        from conversion.guards.torchvision_guard import torchvision

        options: dict[str, Any] = {"num_classes": CLASSES}
        if name.startswith("vit_"):
            # Of patches of 14 pixels a whole number must fit.
            options["image_size"] = size // 14 * 14 if name.endswith("_14") else size
        if name.startswith("maxvit"):
            options["input_size"] = (size, size)
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "init_weights": False}
        module: torch.nn.Module = torchvision().models.get_model(name, weights=None, **options)
        return module

    return make


def _timm(name: str) -> Callable[[int], torch.nn.Module]:
    def make(size: int) -> torch.nn.Module:
        import timm

        try:
            module: torch.nn.Module = timm.create_model(name, num_classes=CLASSES, img_size=size)
        except TypeError:  # it takes images of any size, and no word of it
            module = timm.create_model(name, num_classes=CLASSES)
        return module

    return make


def _transformers(kind: str) -> Callable[[int], torch.nn.Module]:
    def make(size: int) -> torch.nn.Module:
        import transformers

        settings = {**TRANSFORMERS[kind], "num_labels": CLASSES}
        config = getattr(transformers, f"{kind}Config")(**settings)
        module: torch.nn.Module = getattr(transformers, f"{kind}ForImageClassification")(config)
        return module

    return make
