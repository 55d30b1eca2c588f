"""Weights with torchvision's names: the ResNets as torchvision defines them, here in plain PyTorch."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from funcnn.torchvision import from_torchvision


class Block(nn.Module):
    def __init__(self, inputs, features, stride, bottleneck):
        super().__init__()
        sizes = [(inputs, features, 1), (features, features, 3), (features, 4 * features, 1)]
        self.layers, strided = (3, 2) if bottleneck else (2, 1)
        for i, (width, outputs, size) in enumerate(sizes if bottleneck else [(inputs, features, 3), sizes[1]], 1):
            step = stride if i == strided else 1
            setattr(self, f"conv{i}", nn.Conv2d(width, outputs, size, step, size // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.layers + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.layers else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        width = 64
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                layers.append(Block(width, 64 * 2**stage, 2 if stage and not i else 1, bottleneck))
                width = 64 * 2**stage * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "blocks", "bottleneck"),
    [("resnet18", (2, 2, 2, 2), False), ("resnet34", (3, 4, 6, 3), False), ("resnet50", (3, 4, 6, 3), True)],
)
def test_resnets_compute_what_pytorch_computes(tmp_path, name, blocks, bottleneck):
    torch.manual_seed(0)
    net = ResNet(blocks, bottleneck, 11)
    x = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        net.train()(x)  # running statistics that are not 0 and 1
        expected = net.eval()(x).numpy()
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    model = from_torchvision(name, tmp_path / "net.safetensors")
    images = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))
    params, state, _ = model.init((0,), images.shape[1:])
    y = model.forward(params, images, state, train=False)[0]
    assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()
