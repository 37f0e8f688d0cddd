"""The configuration of a method of the user's own: our fields and its."""

import copy
import dataclasses
import pickle
import sys
from types import ModuleType
from typing import Annotated

import pytest
import torch
from support.hub import SECRET

from mulki_hf import ConfigurationError, MulKIConfig
from mulki_hf.config.composed import compose
from mulki_hf.config.parser import make_parser
from mulki_hf.config.paths import shareable_settings
from mulki_hf.config.recipes import changed_settings, decisive, default_settings
from mulki_hf.config.training import config_class, config_of
from mulki_hf.hub.shareable import PATH
from mulki_hf.objectives import MulKI, Objective
from mulki_hf.objectives.mulki import MulKIArguments


@dataclasses.dataclass
class OwnArguments:
    own_weight: float = 1.0
    own_names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    own_file: Annotated[str, PATH] | None = None


class Own(Objective):
    """Nothing."""

    arguments = OwnArguments

    def retention(self, batch):
        return {}


class Bare(Own):
    arguments = None


@dataclasses.dataclass
class MoreArguments(MulKIArguments):
    _argument_group_name = "MulKI and more"

    elicit_weight: float = 0.25
    more: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.more < 1:
            raise ValueError(f"more must be >= 1, got {self.more}")


class More(MulKI):
    arguments = MoreArguments


def named(objective: type) -> str:
    return f"{objective.__module__}:{objective.__qualname__}"


class TestFields:
    def test_ours_and_its(self, make_args):
        args = make_args(method=Own, own_weight=2.0, train_towers="text")
        assert isinstance(args, MulKIConfig)
        assert (args.method, args.own_weight, args.own_names, args.train_towers) == (named(Own), 2.0, ["a"], "text")
        assert {f.name for f in dataclasses.fields(OwnArguments)} < {f.name for f in dataclasses.fields(args)}
        assert make_args(method=named(Own)).own_weight == 1.0
        with pytest.raises(TypeError, match="own_weight"):
            make_args(method="finetune", own_weight=2.0)

    def test_the_output_folder_stays_the_first(self):
        assert MulKIConfig("out", method=Own, use_cpu=True).output_dir == "out"

    def test_of_a_class_without_there_are_ours(self, make_args):
        assert type(make_args(method=Bare)) is MulKIConfig

    def test_replaced(self, make_args):
        args = dataclasses.replace(make_args(), method=Own)
        assert dataclasses.replace(args, own_weight=3.0).own_weight == 3.0

    def test_of_a_dataclass_derived_from_ours(self, make_args):
        """It is checked once for all, has our fields with its own defaults, and is one group."""
        args = make_args(method=More)
        assert (args.elicit_weight, args.names_weight, args.more) == (0.25, make_args().names_weight, 1)
        for given in ({"more": 0}, {"elicit_weight": -1.0}):
            with pytest.raises(ValueError, match=f"{next(iter(given))} must be >= "):
                make_args(method=More, **given)
        titles = [group.title for group in make_parser(type(args))._action_groups]
        assert "MulKI and more" in titles and not {"MulKI (four stages)"} & {*titles}

    @pytest.mark.parametrize(
        ("name", "metadata"),
        [("seed", {}), ("protocol", {}), ("mine", {"aliases": ["--seed"]}), ("mine", {"aliases": "--max-steps"})],
    )
    def test_a_name_that_is_taken(self, name, metadata):
        """Also by what a field of ours is called on the command line, or by what this one is."""
        taken = dataclasses.make_dataclass("Taken", [(name, int, dataclasses.field(default=1, metadata=metadata))])
        with pytest.raises(
            ConfigurationError, match=f"Own is one among whose arguments {name} has the name of another"
        ):
            compose(MulKIConfig, MulKIConfig.groups, type("Own", (Own,), {"arguments": taken}))


class TestPickled:
    """As Trainer does with its arguments beside every checkpoint."""

    def test_and_back(self, make_args):
        args = make_args(method=Own, own_weight=2.0, hub_token=SECRET)
        for other in (pickle.loads(pickle.dumps(args)), copy.copy(args), copy.deepcopy(args)):
            assert type(other) is type(args) and other.to_dict() == args.to_dict()
            assert (other.hub_token, args.hub_token) == (None, SECRET)
        assert SECRET.encode() not in pickle.dumps(args)

    @pytest.mark.parametrize("method", ["mulki", Own])
    def test_loaded_by_torch_with_weights_only(self, make_args, tmp_path, method):
        """It imports nothing unasked; the class is among what a person can allow."""
        args = make_args(method=method)
        torch.save(args, tmp_path / "training_args.bin")
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "training_args.bin", weights_only=True)
        names = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "training_args.bin")
        allowed = [type(args)]
        for module, _, name in (full.rpartition(".") for full in names):
            allowed.append(getattr(sys.modules[module], name))
        with torch.serialization.safe_globals(allowed):
            loaded = torch.load(tmp_path / "training_args.bin", weights_only=True)
        assert type(loaded) is type(args) and loaded.to_dict() == args.to_dict()


class TestRecorded:
    """What recipes, results and cards make of its fields."""

    def settings(self, make_args, **given) -> dict:
        return default_settings() | make_args(method=Own, **given).to_dict()

    def test_they_decide(self, make_args):
        settings = self.settings(make_args, own_weight=2.0)
        assert decisive(settings)["own_weight"] == 2.0 and decisive(settings)["own_names"] == ["a"]
        assert changed_settings(settings)["own_weight"] == 2.0
        assert not {"own_names", "own_file"} & changed_settings(settings).keys()

    def test_its_paths_are_shortened(self, make_args):
        settings = self.settings(make_args, own_file="/home/ann/x.txt")
        assert shareable_settings(settings)["own_file"] == "x.txt"
        assert shareable_settings(settings | {"method": "mulki"})["own_file"] == "/home/ann/x.txt"

    def test_of_what_nobody_imported_we_know_our_own(self, tmp_path, monkeypatch):
        (tmp_path / "never.py").write_text("raise SystemExit")
        monkeypatch.syspath_prepend(tmp_path)
        assert config_of({"method": "never:Own"}) is config_of({}) is MulKIConfig
        assert "never" not in sys.modules

    @pytest.mark.parametrize("value", [(1, 2), {1: 2}, {"a": object()}])
    def test_what_they_can_not_hold_is_refused(self, make_args, value):
        with pytest.raises(ValueError, match="own_names must be made of numbers, strings, lists and mappings"):
            make_args(method=Own, own_names=value)


def test_a_class_that_was_defined_anew(make_args, monkeypatch):
    """As in a notebook: the configuration is that of the new one."""
    module = ModuleType("anew")
    monkeypatch.setitem(sys.modules, "anew", module)
    for default in (1, 2):
        fields = dataclasses.make_dataclass("Fields", [("anew_weight", int, default)])
        content = {"arguments": fields, "__module__": "anew", "__qualname__": "Anew"}
        module.Anew = type("Anew", (Own,), content)
        assert make_args(method=module.Anew).anew_weight == default
        assert config_class("anew:Anew") is config_class(module.Anew)
