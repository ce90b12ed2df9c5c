"""Linear layers by convolution: the same numbers to float32's rounding, the same parameters, and only where it pays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslmem_kit.encoders import fast_linear
from sslmem_kit.encoders.fast_linear import ConvLinear, use_conv_linear


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "is_amd", lambda: True)


@pytest.mark.parametrize("shape", [(600, 96), (8, 75, 96), (600, 1, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_numbers_and_gradients_are_those_of_a_linear_layer(amd: None, shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(96, 320, bias=bias)
    fast = use_conv_linear(nn.Sequential(nn.Linear(96, 320, bias=bias)))[0]
    fast.load_state_dict(plain.state_dict())
    images = torch.randn(shape)
    ends = []
    for layer in (plain, fast):
        given = images.clone().requires_grad_()
        output = layer(given)
        output.square().mean().backward()
        ends.append((output, given.grad, *(parameter.grad for parameter in layer.parameters())))
    for expected, got in zip(*ends, strict=True):
        assert expected.shape == got.shape
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_without_gradients_the_numbers_are_the_same(amd: None, bias: bool) -> None:
    layer = use_conv_linear(nn.Sequential(nn.Linear(96, 320, bias=bias)))[0]
    images = torch.randn(8, 75, 96)
    expected = layer(images).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-6)


def test_a_convolution_is_used_where_it_pays_and_not_below(amd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = torch.nn.functional.conv2d
    monkeypatch.setattr(
        "torch.nn.functional.conv2d", lambda images, *rest: (sizes.append(images.numel()), original(images, *rest))[1]
    )
    layer = use_conv_linear(nn.Linear(64, 64))
    layer(torch.randn(4095, 64))
    assert sizes == []
    layer(torch.randn(4096, 64))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(4096, 64))
    assert sizes == [4096 * 64]


def test_other_machines_and_other_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "is_amd", lambda: False)
    assert type(use_conv_linear(nn.Linear(3, 3))) is nn.Linear
    monkeypatch.setattr(fast_linear, "is_amd", lambda: True)
    held = use_conv_linear(nn.Sequential(nn.Linear(3, 3), nn.modules.linear.NonDynamicallyQuantizableLinear(3, 3), nn.ReLU()))
    assert [type(layer) for layer in held] == [ConvLinear, nn.modules.linear.NonDynamicallyQuantizableLinear, nn.ReLU]
    assert held.state_dict().keys() == nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).state_dict().keys()
