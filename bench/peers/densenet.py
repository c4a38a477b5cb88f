"""Gradweave's DenseNet and CSPDenseNet written with torch.nn; see src/models.

Only a peer of the benchmark: the same modules in the same order, so that both begin from the same weights.
"""
import math

import torch
from noise import noise as noisy_array
from torch import nn
from torch.nn import functional


def noise(shape, scale=1.0, seed=0):
    return torch.from_numpy(noisy_array(shape, scale, seed))


def initial_weight(shape, seed=0):
    """Initial values of a weight [outputs, ...]: the standard deviation is sqrt(2 / fan in)."""
    return noise(shape, math.sqrt(6 / math.prod(shape[1:])), seed)


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
    def __init__(self, layers, channels, growth_rate, bottleneck_width):
        super().__init__(
            DenseLayer(channels + i * growth_rate, growth_rate, bottleneck_width) for i in range(layers)
        )
        self.out_channels = channels + layers * growth_rate

    def forward(self, x):
        maps = [x]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def transition(channels, kept):
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, kept, 1, bias=False)]


class CspStage(nn.Module):
    """Half of the channels bypasses the dense block; see src/models/csp.ts for the fusions."""

    def __init__(self, layers, channels, growth_rate, bottleneck_width, fusion):
        super().__init__()
        bypass = math.floor(channels / 2 + 0.5)
        self.parts = [bypass, channels - bypass]
        self.block = DenseBlock(layers, channels - bypass, growth_rate, bottleneck_width)
        dense = self.block.out_channels
        kept = max(1, (bypass + dense if fusion == "first" else dense) // 2)
        self.out_channels = kept if fusion == "first" else bypass + kept
        self.first = nn.Sequential(*([] if fusion == "first" else transition(dense, kept)))
        merged = bypass + (dense if fusion == "first" else kept)
        self.second = nn.Sequential(*([] if fusion == "last" else transition(merged, self.out_channels)))

    def forward(self, x):
        bypass, part = torch.split(x, self.parts, 1)
        return self.second(torch.cat([bypass, self.first(self.block(part))], 1))


class DenseNet(nn.Module):
    """Of a Network of task.ts; with a "fusion", CSPDenseNet."""

    def __init__(self, network):
        super().__init__()
        channels = network["stemChannels"]
        if network["stem"] == "small":
            features = [nn.Conv2d(network["inChannels"], channels, 3, stride=2, padding=1, bias=False)]
        else:
            features = [
                nn.Conv2d(network["inChannels"], channels, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2, padding=1),
            ]
        sizes = network["growthRate"], network["bottleneckWidth"]
        for index, layers in enumerate(network["blocks"]):
            is_last = index + 1 == len(network["blocks"])
            if "fusion" in network:
                stage = CspStage(layers, channels, *sizes, network["fusion"])
                features.append(stage)
                channels = stage.out_channels
            else:
                features.append(DenseBlock(layers, channels, *sizes))
                channels = features[-1].out_channels
                if not is_last:
                    features += transition(channels, max(1, channels // 2))
                    channels = max(1, channels // 2)
            if not is_last:
                features.append(nn.AvgPool2d(2))
        features += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(channels, network["classes"])
        with torch.no_grad():
            weights = [parameter for parameter in self.parameters() if parameter.dim() > 1]
            for seed, weight in enumerate(weights):
                weight.copy_(initial_weight(tuple(weight.shape), seed))
            self.classifier.bias.zero_()

    def forward(self, x):
        return self.classifier(self.features(x))
