"""VGG networks of torchvision with batch norm (Simonyan, Zisserman 2015), cut after any pooling.

Cut points are `pool1` … `pool5`, each halving the map; the exits are usually after the last four. A head's global
average and linear layer take the place of the three wide linear layers, as is usual at 32×32.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import (
    VGG11_BN_Weights,
    VGG13_BN_Weights,
    VGG16_BN_Weights,
    VGG19_BN_Weights,
    WeightsEnum,
)
from torchvision.models.vgg import cfgs, make_layers

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Block, Tap


def vgg11_bn(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """VGG-11 with batch norm: 8 convolutions."""
    return _cut("A", VGG11_BN_Weights.DEFAULT, in_channels, pretrained)


def vgg13_bn(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """VGG-13 with batch norm: 10 convolutions."""
    return _cut("B", VGG13_BN_Weights.DEFAULT, in_channels, pretrained)


def vgg16_bn(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """VGG-16 with batch norm: 13 convolutions."""
    return _cut("D", VGG16_BN_Weights.DEFAULT, in_channels, pretrained)


def vgg19_bn(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """VGG-19 with batch norm: 16 convolutions; 0.4 G MACs at 32×32."""
    return _cut("E", VGG19_BN_Weights.DEFAULT, in_channels, pretrained)


def _cut(configuration: str, weights: WeightsEnum, in_channels: int, pretrained: bool) -> Backbone:
    """The convolutions of a torchvision VGG as a backbone. Its classifier of 124 M weights is not even built."""
    if pretrained and in_channels != 3:
        raise UsageError(f"pretrained weights are for 3 channels, not {in_channels}; set pretrained: false")
    features = make_layers(cfgs[configuration], batch_norm=True)
    if in_channels != 3:
        features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    if pretrained:
        _load(features, weights)

    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    since: list[nn.Module] = []
    channels = 0
    for module in features:
        since.append(module)
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.MaxPool2d):
            name = f"pool{len(blocks) + 1}"
            blocks[name] = Block(nn.Sequential(*since))
            taps[name] = Tap(channels, 512, 5 - len(blocks))
            since = []
    return Backbone(blocks, taps, default_cuts=tuple(blocks)[1:])


def _load(features: nn.Module, weights: WeightsEnum) -> None:
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        raise UsageError(f"pretrained weights was unavailable ({error}); set pretrained: false") from error
    prefix = "features."
    features.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
