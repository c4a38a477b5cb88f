"""Gradweave's DenseNet with the "small" stem, written with torch.nn; see src/models/densenet.ts.

Only a peer of the benchmark: the same modules in the same order, so that both begin from the same weights.
"""
import math

import numpy
import torch
from torch import nn
from torch.nn import functional


def chirp(shape, scale=1.0):
    """scale * sin(0.37 i^2), computed in f64: what bench/peers/peer.ts fills its tensors with."""
    i = numpy.arange(math.prod(shape), dtype=numpy.float64)
    return torch.from_numpy((scale * numpy.sin(0.37 * i * i)).astype(numpy.float32).reshape(shape))


def chirp_weight(shape):
    """Initial values of a weight [outputs, ...]: the standard deviation is sqrt(2 / fan in)."""
    return chirp(shape, 2 / math.sqrt(math.prod(shape[1:])))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth_rate, bottleneck_width):
        super().__init__()
        width = bottleneck_width * growth_rate
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)

    def forward(self, maps):
        x = torch.cat(maps, 1)
        x = self.conv1(functional.relu(self.norm1(x), inplace=True))
        return self.conv2(functional.relu(self.norm2(x), inplace=True))


class DenseBlock(nn.ModuleList):
    def forward(self, x):
        maps = [x]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    def __init__(self, blocks, growth_rate, bottleneck_width, stem_channels, classes):
        super().__init__()
        channels = stem_channels
        features = [nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False)]
        for index, layers in enumerate(blocks):
            features.append(
                DenseBlock(
                    DenseLayer(channels + i * growth_rate, growth_rate, bottleneck_width) for i in range(layers)
                )
            )
            channels += layers * growth_rate
            if index + 1 < len(blocks):
                kept = max(1, channels // 2)
                features += [
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, kept, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                channels = kept
        features += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(channels, classes)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(chirp_weight(tuple(parameter.shape)))
            self.classifier.bias.zero_()

    def forward(self, x):
        return self.classifier(self.features(x))
