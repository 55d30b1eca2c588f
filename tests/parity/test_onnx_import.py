"""Networks that PyTorch exports, through `from_onnx`: the outputs of PyTorch and of ONNX's runtime, and gradients."""

import io
import warnings

import numpy as np
import pytest
import torch
from imported import assert_agrees, channels_last, in_float64, onnx_runs, run
from torch import nn

from funcnn.onnx import from_onnx
from funcnn.testing import check_layer

OPSETS = 11, 17


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def conv_norm_relu(inputs, outputs, size=3, **options):
    return nn.Sequential(conv(inputs, outputs, size, bias=False, **options), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(conv_norm_relu(inputs, outputs, stride=stride), conv(outputs, outputs))
        self.norm, self.shortcut = nn.BatchNorm2d(outputs), conv(inputs, outputs, 1, stride=stride)

    def forward(self, x):
        return torch.relu(self.norm(self.body(x)) + self.shortcut(x))


class Excitation(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Sequential(conv(channels, 2, 1), nn.SiLU(), conv(2, channels, 1), nn.Hardsigmoid())

    def forward(self, x):
        return x * self.fc(nn.functional.adaptive_avg_pool2d(x, 1))


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.coarse = conv_norm_relu(3, 8), conv_norm_relu(8, 8, stride=2)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), conv(20, 5)

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        nearest = nn.functional.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        linear = nn.functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return self.last(torch.cat([fine + linear, nearest, self.up(coarse)], 1))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        channels = 6, 10, 14
        self.first, self.last = conv(3, 6), conv_norm_relu(18, 8, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv(c, 4, bias=False)) for c in channels
        )

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return nn.functional.avg_pool2d(self.last(x), 2)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(3, 4, 1),
                nn.Sequential(conv_norm_relu(3, 3, 1), conv_norm_relu(3, 5)),
                nn.Sequential(nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, (5, 1), padding=(2, 0))),
                nn.MaxPool2d(3, 1, 1),
                nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            ]
        )

    def forward(self, x):
        x = torch.cat([branch(x) for branch in self.branches], 1)
        return nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = conv(3, 8), conv_norm_relu(4, 4, groups=4)

    def forward(self, x):
        left, right = self.first(x).chunk(2, dim=1)
        x = torch.cat([left, self.second(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Transformer(nn.Module):
    """A block over the positions of a map, with heads as PyTorch users write them and the GELU of old opsets."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.qkv = nn.Conv2d(3, 8, 2, stride=2), nn.LayerNorm(8), nn.Linear(8, 24)
        self.mlp, self.head = (
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, 2, 4).permute(0, 2, 3, 1, 4).unbind(1)
        y = ((q @ k.transpose(-2, -1)) * 4**-0.5).softmax(-1) @ v
        x = x + y.transpose(1, 2).reshape(n, t, 8)
        return self.head((x + self.mlp(x)).mean(1))


NETWORKS = {
    "resnet": lambda: nn.Sequential(
        conv_norm_relu(3, 8),
        nn.MaxPool2d(3, 2, 1),
        Residual(8, 12, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ),
    "mobilenet": lambda: nn.Sequential(
        conv(3, 6), nn.Hardswish(), conv_norm_relu(6, 6, groups=6, stride=2), Excitation(6), conv(6, 9, 1), nn.ReLU6()
    ),
    "vgg": lambda: nn.Sequential(
        conv(3, 4),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(48, 7),
        nn.Dropout(),
        nn.Linear(7, 3),
    ),
    "pyramid": Pyramid,
    "dense blocks": Dense,
    "inception": Inception,
    "shuffle": Shuffle,
    "transformer": Transformer,
    "norms": lambda: nn.Sequential(
        conv(3, 8),
        nn.GroupNorm(4, 8),
        nn.ELU(),
        nn.InstanceNorm2d(8, affine=True),
        nn.PReLU(8),
        nn.Softplus(),
        nn.PixelShuffle(2),
    ),
    "padding": lambda: nn.Sequential(
        nn.ReflectionPad2d((1, 2, 0, 1)),
        conv(3, 4),
        nn.ZeroPad2d((0, 1, 2, 0)),
        nn.Tanh(),
        nn.ReplicationPad2d(1),
        nn.Mish(),
        nn.Softmax(1),
    ),
    # PyTorch writes an If, as wherever an axis is squeezed: is its size 1?
    "local response": lambda: nn.Sequential(conv(3, 6), nn.LocalResponseNorm(5, alpha=0.5, beta=0.6, k=2.0)),
}


def randomised(make):
    torch.manual_seed(0)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return network


def exported(network, x, opset):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, x, file, opset_version=opset, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    return file.getvalue()


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_exported_network(name, opset):
    network = randomised(NETWORKS[name])
    content = exported(network, torch.randn(2, 3, 6, 8), opset)
    for n in (1, 3):
        x = torch.randn(n, 3, 6, 8, generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            expected = network(x).numpy()
        y = run(content, x.numpy())
        assert_agrees(y, expected)
        assert_agrees(y, onnx_runs(content, x.numpy()))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_of_the_input(name):
    network = randomised(NETWORKS[name])
    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = network(x)
    y.square().sum().backward()
    layer = from_onnx(exported(network, x.detach(), 17))
    params, state, _ = layer.init((0,), (6, 8, 3))
    out, vjp, _ = layer.forward(params, channels_last(x.detach().numpy()), state, train=False)
    _, dx = vjp(2 * out)
    np.testing.assert_allclose(dx, channels_last(x.grad.numpy()), rtol=1e-4, atol=1e-4 * float(np.abs(dx).max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_by_complex_step(name):
    layer = from_onnx(exported(randomised(NETWORKS[name]), torch.randn(2, 3, 6, 8), 17))
    check_layer(in_float64(layer), (6, 8, 3), rtol=1e-10)
