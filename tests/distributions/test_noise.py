"""Noise that hangs together over time: standard normal at every step, with the spectrum or correlation of its kind."""

from __future__ import annotations

import math

import pytest
import torch

from rlkit_core.distributions.noise import ColoredNoise, OrnsteinUhlenbeck, noise_process

KINDS = [lambda: OrnsteinUhlenbeck(length=32), lambda: ColoredNoise(length=64), lambda: ColoredNoise(0.5, length=63)]


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


@pytest.mark.parametrize("make", KINDS)
def test_each_step_is_standard_normal_within_rollouts_and_across(make):
    process = make()
    steps = torch.cat([process.rows(count, 20_000, 1) for count in (1, 30, 7, 60)]).squeeze(-1)
    assert (steps.mean(1).abs() < 5 / math.sqrt(20_000)).all()
    assert ((steps.var(1) - 1.0).abs() < 5 * math.sqrt(2 / 20_000)).all()
    fourth = (steps**4).mean(1)
    assert ((fourth - 3.0).abs() < 0.5).all()


def test_columns_and_elements_are_independent():
    rows = torch.stack([ColoredNoise(length=64).rows(64, 2, 2).reshape(64, 4) for _ in range(2000)])
    at_once = rows[:, 10]
    off = torch.corrcoef(at_once.t()) - torch.eye(4)
    assert off.abs().max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_power_spectrum_falls_as_it_says(exponent):
    length = 256
    steps = ColoredNoise(exponent, length).rows(length, 4000, 1).squeeze(-1).double()
    power = torch.fft.rfft(steps, dim=0).abs().square().mean(1)[1:-1]
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64)[1:-1]
    logs = torch.stack((frequency.log(), torch.ones_like(frequency)), 1)
    slope = torch.linalg.lstsq(logs, power.log().unsqueeze(1)).solution[0].item()
    assert slope == pytest.approx(-exponent, abs=0.02)
    flat = power * frequency**exponent
    assert (flat / flat.mean() - 1.0).abs().max() < 0.12


def test_the_autocorrelation_of_ornstein_uhlenbeck_goes_on_across_blocks_and_rollouts():
    process = OrnsteinUhlenbeck(theta=0.15, length=16)
    steps = torch.cat([process.rows(count, 20_000, 1) for count in (5, 20, 15)]).squeeze(-1)
    for start in (0, 3, 14, 15, 30):  # within a block, and across the end of one
        for lag in (1, 2, 8):
            measured = (steps[start] * steps[start + lag]).mean().item()
            assert measured == pytest.approx(math.exp(-0.15 * lag), abs=0.04)


def test_how_it_is_asked_for_makes_no_difference():
    torch.manual_seed(5)
    whole = ColoredNoise(length=8).rows(20, 3, 2)
    torch.manual_seed(5)
    process = ColoredNoise(length=8)
    assert torch.equal(torch.cat([process.rows(count, 3, 2) for count in (3, 5, 1, 11)]), whole)
    torch.manual_seed(5)
    process = ColoredNoise(length=8)
    assert torch.equal(torch.stack([process.next_of(torch.arange(3), 3, 2) for _ in range(20)]), whole)


def test_each_column_may_have_its_own_pace():
    process = OrnsteinUhlenbeck(length=6)
    alone = [process.next_of(torch.tensor([1]), 2, 1)[0, 0].item() for _ in range(5)]
    both = process.next_of(torch.tensor([0, 1]), 2, 1)
    assert len({*alone, *both.flatten().tolist()}) == 7
    before = process.next_of(torch.tensor([1]), 2, 1).item()  # the first of its next block
    assert abs(before - both[1].item()) < 3.0
    wider = process.next_of(torch.tensor([2, 0]), 3, 1)
    assert wider.shape == (2, 1)


@pytest.mark.parametrize("make", KINDS)
def test_it_goes_on_from_its_state(make):
    process = make()
    process.rows(10, 2, 3)
    state, drawn = process.get_state(), torch.get_rng_state()
    expected = process.rows(100, 2, 3)
    again = make()
    again.set_state(state)
    torch.set_rng_state(drawn)
    assert torch.equal(again.rows(100, 2, 3), expected)
    other = ColoredNoise(length=7)
    other.set_state(state)  # of another length: begins anew
    assert other.rows(1, 2, 3).shape == (1, 2, 3)


def test_what_a_config_names():
    assert noise_process(None) is noise_process({"type": "independent"}) is None
    assert noise_process({"type": "ou", "theta": 0.3}).theta == 0.3
    assert noise_process({"type": "pink", "length": 10}).length == 10
