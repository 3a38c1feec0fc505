"""API mixins by name: their implementations on a module's class, in specs, configs, checkpoints and workers."""

from __future__ import annotations

import abc
import copy
import json
import pickle

import gymnasium as gym
import pytest
import torch

from actor_critic import ACConfig, ACModule
from rlkit_core import ModuleAPI, MultiRLModuleSpec, RLModule, RLModuleSpec, TorchRLModule, hookimpl
from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.cli.given import apply_setting
from rlkit_core.errors import ConfigError, NoComponentError, PluginNotFoundError, SpecError
from rlkit_core.plugins.host import default_host
from rlkit_core.rl_module.apis.composition import composed, parts_of

ID = "default_policy"
BOX, DISCRETE = gym.spaces.Box(-1.0, 1.0, (4,)), gym.spaces.Discrete(2)


class ScaleAPI(abc.ABC):
    @abc.abstractmethod
    def scale(self) -> float: ...


class Scaled(ScaleAPI, InferenceOnlyAPI):
    """Its network is for learning alone."""

    def setup(self):
        super().setup()
        self.scaling = torch.nn.Linear(2, 1)

    def get_non_inference_attributes(self):
        return [*super().get_non_inference_attributes(), "scaling"]

    def scale(self):
        return float(self.model_config.get("scale", 2.0))


class ScaleDriver:
    def extra_loss(self, *, learner, module_id, module):
        learner.metrics.log_value((module_id, "scale"), module.scale())
        return 0.0 * module.scaling.weight.sum()


class NoteAPI:
    """Nothing to write."""


class Noting(NoteAPI):
    def setup(self):
        super().setup()
        self.notes = getattr(self, "scaling", None) is not None


class Half(ScaleAPI):
    """Leaves its method out."""


class Stray:
    """Of no API."""


class Meta(type):
    pass


class OtherAPI:
    pass


class Conflicting(OtherAPI, metaclass=Meta):
    pass


class Plain(TorchRLModule):
    """A module without a catalog."""


class Plugin:
    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self):
        return [
            ModuleAPI("scale", ScaleAPI, ScaleDriver, implementation=Scaled),
            ModuleAPI("note", NoteAPI, implementation=Noting),
            ModuleAPI("bare", OtherAPI),
            ModuleAPI("half", ScaleAPI, implementation=Half),
            ModuleAPI("stray", OtherAPI, implementation=Stray),
            ModuleAPI("conflict", OtherAPI, implementation=Conflicting),
        ]


@pytest.fixture(autouse=True)
def plugin():
    with default_host().temporary(Plugin()):
        yield


def config(**rl_module):
    made = ACConfig().environment("CartPole-v1").rl_module(model_config={"fcnet_hiddens": [4]}, **rl_module)
    made.training(train_batch_size=32, minibatch_size=32, num_epochs=1)
    return made.env_runners(num_envs_per_env_runner=2).debugging(seed=1)


def test_a_config_names_them_and_its_learner_serves_them():
    with config(mixins=["local/note", "scale"]).build_algo() as algo:
        assert algo.train()["learners"][ID]["scale"] == 2.0
        learners, runners = algo.learner_group.learner.module[ID], algo.env_runner.module[ID]
        assert [cls.__name__ for cls in type(learners).__mro__][1:5] == ["Noting", "NoteAPI", "Scaled", "ScaleAPI"]
        assert type(learners) is type(runners)
        assert learners.notes
        assert not hasattr(runners, "scaling")
        assert parts_of(type(learners)) == (ACModule, ("local/note", "local/scale"))
        roles = {(used.role, used.id) for used in algo.what_is_used().entries}
        assert {("mixin", "local/scale"), ("mixin", "local/note"), ("driver", "local/scale")} <= roles


def test_it_is_one_class_and_copied_and_sent_by_its_parts():
    spec = RLModuleSpec(ACModule, mixins=["scale", "note"])
    made = spec.class_to_build()
    assert made is composed(ACModule, ["local/scale", "local/note"]) is spec.copy().class_to_build()
    assert made is not composed(ACModule, ["note", "scale"])
    assert composed(composed(ACModule, ["note"]), ["scale"]) is made
    assert composed(ACModule, []) is ACModule
    module = RLModuleSpec(Plain, BOX, DISCRETE, mixins="scale").build()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(twin) is type(module)
        assert torch.equal(twin.scaling.weight, module.scaling.weight)

    class Below(type(module)):
        pass

    assert type(copy.deepcopy(Below(observation_space=BOX, action_space=DISCRETE))) is Below


def test_spec_and_json_hold_the_base_class_and_full_ids():
    own = config(mixins=["scale"])
    module = own.get_rl_module_spec().build()
    spec = RLModuleSpec.from_module(module)
    assert (spec.module_class, spec.mixins) == (ACModule, ("local/scale",))
    data = json.loads(json.dumps(spec.to_dict()))
    assert data["module_class"] == "actor_critic:ACModule"
    assert data["mixins"] == ["local/scale"]
    assert type(RLModuleSpec.from_dict(data).build()) is type(module)
    assert type(own.from_json(own.to_json()).get_rl_module_spec().build()) is type(module)
    multi = MultiRLModuleSpec.from_module(module.as_multi_rl_module())
    assert type(MultiRLModuleSpec.from_dict(json.loads(json.dumps(multi.to_dict()))).build()[ID]) is type(module)


def test_a_checkpoint_builds_it_again(tmp_path):
    with config(mixins=["scale"]).build_algo() as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "all")
        weight = algo.learner_group.learner.module[ID].scaling.weight
        folder = tmp_path / f"all/learner_group/learner/rl_module/{ID}"
        stored = json.loads((folder / "class_and_ctor_args.json").read_text())
        assert stored["class"] == "actor_critic:ACModule"
        assert stored["ctor_args_and_kwargs"][1]["mixins"] == ["local/scale"]
        module = RLModule.from_checkpoint(folder)
        assert type(module) is type(algo.learner_group.learner.module[ID])
        assert torch.equal(module.scaling.weight, weight)
        assert torch.equal(type(module).from_checkpoint(module.save_to_path(tmp_path / "one")).scaling.weight, weight)
        with type(algo).from_checkpoint(path) as again:
            assert torch.equal(again.learner_group.learner.module[ID].scaling.weight, weight)
            again.train()


def test_of_several_modules_each_has_its_own():
    own = config(mixins=["note"])
    own.multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda *args, **kwargs: "a")
    own.rl_module(algorithm_config_overrides_per_module={"b": {"mixins": ["scale"]}})
    specs = own.get_multi_rl_module_spec(spaces=(BOX, DISCRETE), inference_only=False).rl_module_specs
    assert specs["a"].mixins == ("note",)
    assert specs["b"].mixins == ("scale",)


@pytest.mark.parametrize(
    ("mixins", "error", "says"),
    [
        (["scal"], NoComponentError, "Did you mean 'scale'"),
        (["acme-rnd/rnd"], PluginNotFoundError, "nothing installed supplies 'acme-rnd'"),
        (["bare"], SpecError, "'local/bare' has no implementation to be mixed in"),
        (["half"], SpecError, r"'local/half' and ACModule: nobody writes scale\(\)"),
        (["stray"], SpecError, "its implementation Stray does not inherit OtherAPI"),
        (["conflict"], SpecError, "'local/conflict' and ACModule cannot be one class: metaclass conflict"),
        (["scale", "local/scale"], SpecError, "it is listed twice"),
    ],
)
def test_what_does_not_fit_is_refused(mixins, error, says):
    with pytest.raises(error, match=says):
        RLModuleSpec(ACModule, mixins=mixins).class_to_build()
    if error is not SpecError or "bare" in mixins:
        with pytest.raises(ConfigError, match=says):
            config(mixins=mixins).validate()


def test_a_class_that_has_it_already_is_refused():
    class Own(ACModule, ScaleAPI):
        def scale(self):
            return 1.0

    with pytest.raises(SpecError, match="ScaleAPI is among the bases of Own already"):
        RLModuleSpec(Own, mixins=["scale"]).class_to_build()


def test_names_are_names():
    with pytest.raises(ConfigError, match="expected a name"):
        config(mixins=[Scaled])
    with pytest.raises(SpecError, match="expected ids of module APIs"):
        RLModuleSpec(mixins=[Scaled])


# -- on the command line ----------------------------------------------------------------------------------------------


def test_mixins_and_classes_can_be_set_on_the_command_line():
    own = config()
    for text in (
        'mixins=["scale"]',
        "learner_class=rows_learner:RowsLearner",
        "rl_module_spec.module_class=actor_critic:ACModule",
    ):
        apply_setting(own, text)
    assert own.mixins == ["scale"]
    assert own.learner_class.__name__ == "RowsLearner"
    apply_setting(own, "rl_module_spec.mixins=note")
    assert own.stored("rl_module_spec").module_class is ACModule
    assert own.stored("rl_module_spec").mixins == ("note",)
    assert own.from_json(own.to_json()).stored("rl_module_spec").mixins == ("note",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learner_class=actor_critic:ACLearnr", "no such class.* Did you mean 'ACLearner'"),
        ("learner_class=actor_critic.ACLearner", "Did you mean 'actor_critic:ACLearner'"),
        ("learner_class=actor_criti:ACLearner", "no module 'actor_criti'.* Did you mean 'actor_critic'"),
        ("learner_class=actor_critic:ACModule", "expected a Learner subclass"),
        ("learner_class=actor_critic:AC.train", "which is no class"),
        ("rl_module_spec.module_class=actor_critic:ACModul", "Did you mean 'ACModule'"),
        ("rl_module_spec.module_clas=actor_critic:ACModule", "module_class"),
        ("rl_module_specs.module_class=actor_critic:ACModule", "rl_module_spec and plugin.DISTRIBUTION"),
    ],
)
def test_a_misspelt_class_is_an_error(text, says):
    with pytest.raises(Exception, match=says) as caught:
        apply_setting(config(), text)
    assert isinstance(caught.value, ValueError | KeyError)


def test_what_is_read_imports_nothing_that_is_not_trusted():
    data = json.loads(config().to_json())
    data["settings"]["learner_class"] = "antigravity:Learner"
    with pytest.raises(Exception, match="standard library"):
        ACConfig.from_json(json.dumps(data))
    data["settings"]["learner_class"] = None
    data["settings"]["evaluation_config"] = {"learner_class": "antigravity:Learner"}
    with pytest.raises(Exception, match="standard library"):
        ACConfig.from_json(json.dumps(data))
