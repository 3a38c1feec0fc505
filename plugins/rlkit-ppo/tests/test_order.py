"""The order in which plugins were installed, and in which folders stand on the path, makes no difference."""

from __future__ import annotations

import json
import random
import sys
import warnings

import pytest
from gymnasium import spaces
from sites import Site

from rlkit_core.algorithm.config.used import used_by_config
from rlkit_core.cli.explained import explain_run
from rlkit_core.plugins import discovery
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.records import ComponentRequest
from rlkit_core.plugins.registry import choose
from rlkit_ppo import PPOConfig

SOURCE = """\
from gymnasium import spaces
from rlkit_core import *
from rlkit_core.models import MLPEncoderConfig, MLPHeadConfig
from rlkit_core.plugins.records import Service
rlkit_api = "1.0"
class Encoder(MLPEncoderConfig): pass
class Head(MLPHeadConfig): pass
class Mixin: pass
class Driver: pass
class Catalog(ActorCriticCatalog):
    components = (Component("of-catalog", "encoder", Encoder, [spaces.Box], priority={number}),)
def rlkit_encoders(): return [Component("enc", "encoder", Encoder, [spaces.Box{gap}])]
def rlkit_heads(): return [Component("head", "head", Head, [spaces.Space])]
def rlkit_module_apis(): return [ModuleAPI("api", Mixin, Driver)]
def rlkit_services(): return [Service("env_wrapper", "wrap", Encoder), Service("writer", "mine", Encoder)]
"""


def what_is_built(folder, order):
    """What explain says, the lock and who fills a gap, with 12 plugins over three folders, in an order of chance."""
    sites = [Site(folder / f"part{k}") for k in range(3)]
    for number in order.sample(range(12), 12):
        groups = {
            "rlkit.plugins": {"main": f"lab_{number}"},
            "rlkit.catalogs": {f"cat-{number}": f"lab_{number}:Catalog"},
        }
        gap = ", spaces.Text" if number == 9 else ""
        order.choice(sites).add(f"lab-{number}", SOURCE.format(number=number, gap=gap), groups=groups)
    order.shuffle(sites)
    path = list(sys.path)
    sys.path[:0] = [str(site.path) for site in sites]
    try:
        with warnings.catch_warnings(), use_host(PluginHost(discovery.scan(list(sys.path)))):
            warnings.simplefilter("ignore")
            config = PPOConfig().environment("CartPole-v1")
            config.rl_module(catalogs=["cat-7", "cat-3"], components={"head:pi": "lab-5/head"})
            explained = explain_run(config)
            host = default_host()
            filler = choose(ComponentRequest("encoder", "encoder", (), spaces.Text(3)), registry=host.registry)
            services = [service.id for service in host.services()]
            return json.dumps([explained, used_by_config(config).to_dict(), filler.id, services], sort_keys=True)
    finally:
        sys.path[:] = path
        for number in range(12):
            sys.modules.pop(f"lab_{number}", None)


@pytest.mark.parametrize("shuffles", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_no_order_makes_a_difference(tmp_path, shuffles):
    found = {what_is_built(tmp_path / str(seed), random.Random(seed)) for seed in range(shuffles)}
    assert len(found) == 1
    said = next(iter(found))
    assert '"lab-7/of-catalog"' in said
    assert '"lab-5/head"' in said
    assert '"lab-9/enc"' in said
