"""Images, stacks of them and grids in any layout: against the same numbers laid out by hand."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core import ActorCriticCatalog
from rlkit_core.models import CNNEncoderConfig, GridEncoderConfig, MLPEncoderConfig
from rlkit_core.models.cnn import height_axis, images_of, looks_channels_first

BOX = gym.spaces.Box


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((7, 7, 20), False),
        ((8, 8, 111), False),
        ((111, 8, 8), True),
        ((20, 7, 7), True),
        ((3, 84, 84), True),
        ((84, 84, 3), False),
        ((4, 84, 100), True),
        ((84, 100, 4), False),
        ((2, 9, 9), True),
        ((9, 9, 2), False),
        ((5, 5, 5), False),
        ((210, 160, 3), False),
        ((1, 28, 28), True),
        ((28, 28, 1), False),
    ],
)
def test_two_equal_axes_are_the_image(shape, first):
    assert looks_channels_first(shape) is first


@pytest.mark.parametrize(
    ("shape", "first", "axis"),
    [
        ((4, 42, 42, 3), None, 1),
        ((4, 3, 42, 42), None, 2),
        ((84, 84, 3, 4), None, 0),
        ((4, 7, 7, 20), None, 1),
        ((4, 5, 5, 5), True, 2),
        ((4, 5, 5, 5), False, 1),
    ],
)
def test_stacks(shape, first, axis):
    assert height_axis(shape, first) == axis


@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(2, 5), min_size=2, max_size=4), first=st.sampled_from([None, True, False]))
def test_all_axes_but_height_and_width_are_channels(shape, first):
    config = CNNEncoderConfig(input_dims=shape, channels_first=first, cnn_filter_specifiers=[[2, 3, 1]])
    x = torch.arange(2 * int(np.prod(shape)), dtype=torch.float32).reshape(2, *shape)
    axis = height_axis(shape, first)
    by_hand = torch.movedim(x, (axis + 1, axis + 2), (-2, -1)).reshape(2, -1, shape[axis], shape[axis + 1])
    assert images_of(config)(x).equal(by_hand)
    height, width, channels = config.image_dims
    assert by_hand.shape[1:] == (channels, height, width)
    assert config.build()({"obs": x})["encoder_out"].shape == (2, *config.output_dims)


def chosen(space, **settings):
    return ActorCriticCatalog(space, gym.spaces.Discrete(2), settings).encoder_config()


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (BOX(0, 255, (7, 7, 3), np.uint8), GridEncoderConfig),  # MiniGrid's
        (BOX(0, 10, (25, 25, 3), np.uint8), GridEncoderConfig),
        (BOX(-1, 1, (3, 3), np.int8), GridEncoderConfig),
        (BOX(0, 255, (4, 7, 7, 3), np.uint8), GridEncoderConfig),
        (BOX(0, np.array([[1, 2], [3, 4]]), (2, 2), np.int64), GridEncoderConfig),
        (BOX(0, 1, (8, 8, 111), np.uint8), CNNEncoderConfig),  # planes of bits are one-hot already
        (BOX(0, 1, (10, 10, 4), bool), CNNEncoderConfig),
        (BOX(0, 255, (36, 36, 3), np.uint8), CNNEncoderConfig),
        (BOX(0, 15, (84, 84, 1), np.uint8), CNNEncoderConfig),
        (BOX(0, 255, (7, 7, 3), np.float32), CNNEncoderConfig),
        (BOX(-(2**62), 2**62, (7, 7, 3), np.int64), CNNEncoderConfig),
        (BOX(0, 255, (4, 42, 42, 3), np.uint8), CNNEncoderConfig),
        (BOX(0, 255, (7,), np.uint8), MLPEncoderConfig),
        (BOX(-1, 1, ()), MLPEncoderConfig),
        (BOX(-1, 1, (2, 2, 2, 2, 2)), MLPEncoderConfig),
    ],
    ids=str,
)
def test_what_is_chosen_for_which_box(space, kind):
    config = chosen(space)
    assert type(config) is kind
    obs = torch.from_numpy(np.stack([space.sample() for _ in range(3)]))
    out = config.build()({"obs": obs})["encoder_out"]
    assert out.shape == (3, *config.output_dims)
    assert out.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(2, 4), min_size=2, max_size=4), seed=st.integers(0, 99), data=st.data())
def test_a_grid_is_one_hot(shape, seed, data):
    rng = np.random.default_rng(seed)
    low = rng.integers(-4, 3, shape)
    space = BOX(low, low + rng.integers(0, 5, shape), dtype=np.int64)
    space.seed(seed)
    config = GridEncoderConfig.from_space(space, {"conv_filters": [[2, 2, 1]]})
    net = config.build()
    seen = np.stack([space.sample() for _ in range(2)])
    numbers = images_of(config)(torch.from_numpy(seen))
    planes = []
    for c, (least, count) in enumerate(zip(config.lows, config.counts, strict=True)):
        planes += [numbers[:, c] == least + k for k in range(count)]
    one_hot = torch.stack(planes, 1).float()
    assert one_hot.sum(1).eq(len(config.counts)).all()
    cells = torch.einsum("bphw,pe->behw", one_hot, net.table)
    torch.testing.assert_close(net({"obs": torch.from_numpy(seen)})["encoder_out"], net.encode(cells))


def test_numbers_outside_count_as_the_nearest():
    net = GridEncoderConfig.from_space(BOX(1, 4, (3, 3), np.int64), {}).build()
    assert net({"obs": torch.full((1, 3, 3), 9)})["encoder_out"].equal(
        net({"obs": torch.full((1, 3, 3), 4)})["encoder_out"]
    )
    assert net({"obs": torch.full((1, 3, 3), -9)})["encoder_out"].equal(
        net({"obs": torch.ones(1, 3, 3)})["encoder_out"]
    )
