"""What the teacher's decoder is made of, on weights of a few values."""

import math

import torch
import torch.nn.functional as F

from csm_chat.training.speech.teacher.vocoder import CURVE_SAMPLES, Conv, Norm, Rings, Source


class Weights:
    """Random ones of any place, for two channels."""

    def __init__(self):
        torch.manual_seed(0)

    def product(self, place):
        return torch.randn(9, 1) if "l_linear" in place else torch.randn(3, 4)

    def stored(self, name):
        if "l_linear" in name:
            return torch.zeros(1)
        return torch.rand(1, 2, 1) + 0.5 if "alpha" in name else torch.randn(4)

    def conv(self, place, kind="Conv"):
        return Conv(torch.randn(2, 2, 3) / 3, torch.randn(2))


def test_a_norm_is_an_instance_norm_as_the_style_asks():
    norm, style, x = Norm(Weights(), "norm1"), torch.randn(1, 3), torch.randn(1, 2, 50) * 3 + 1
    gain, offset = (style @ norm._weight + norm._bias)[:, :, None].chunk(2, 1)
    assert torch.allclose(norm(x, style), (1 + gain) * F.instance_norm(x) + offset, atol=1e-4)


def test_narrow_convolutions_give_nearly_the_same_in_float32():
    conv, x = Weights().conv(""), torch.randn(1, 2, 40)
    narrow = conv.narrow()(x, dilation=3)
    assert (narrow.dtype, narrow.shape) == (torch.float32, x.shape)
    assert torch.allclose(narrow, conv(x, dilation=3), atol=0.05)


def test_rings_leave_their_input_as_it_was():
    x = torch.randn(1, 2, 40)
    before = x.clone()
    assert Rings(Weights(), "resblocks.0")(x, torch.randn(1, 3)).shape == x.shape
    assert torch.equal(x, before)


def test_the_source_has_the_pitch_it_is_given_and_rests_without():
    pitch = torch.cat([torch.zeros(1, 20), torch.full((1, 60), 200.0)], 1)
    wave = Source(Weights())(pitch)[0]
    assert len(wave) == 80 * CURVE_SAMPLES and not wave[: 19 * CURVE_SAMPLES].any()
    voiced = wave[30 * CURVE_SAMPLES : -CURVE_SAMPLES]  # the last value is held
    period = 24_000 // 200
    assert torch.allclose(voiced[:-period], voiced[period:], atol=1e-2)
    assert voiced.abs().max() > 1e-3 and math.isfinite(float(voiced.sum()))
