"""Any tuner of PEFT that can be switched off and merged: its type and fields, as PEFT has them."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from transformers import CLIPModel

from ..errors import ConfigurationError
from ..hub.shareable import PATH
from ..markdown import code
from ..objectives import Objective
from ..records import ArtefactRecord
from ..strict_yaml import read_yaml
from .adapters import FOLDER, Adapters, add_adapter, both_towers, check_unadapted, import_peft, is_peft_model
from .base import Load
from .lora import Lora


@dataclass
class PeftArguments:
    """Another tuner than the LoRA of `lora_*`."""

    _argument_group_name = "PEFT (any tuner that can be switched off; needs mulki-hf[lora])"

    peft_config: dict | Annotated[str, PATH] | None = field(
        default=None,
        metadata={
            "help": "YAML file (in a recipe: a mapping) with `peft_type` and that tuner's fields: `peft_type: OFT`, "
            "`target_modules: [q_proj, v_proj]`, ... Default: no tuner but the one that lora_r asks for."
        },
    )

    def __post_init__(self):
        if isinstance(self.peft_config, str):
            self.peft_config = read_yaml(self.peft_config, "peft_config")
        if (spec := self.peft_config) is not None and not (isinstance(spec, dict) and "peft_type" in spec):
            raise ConfigurationError(f"peft_config must be a mapping with peft_type, got {spec!r}")


class PeftTuner(Adapters):
    """Adapters of whatever kind. There is no mean of them, so stage 4 is refused; LoRA's own can be had here too."""

    name, switch, arguments, note = "a PEFT tuner other than LoRA", "peft_config", PeftArguments, Lora.note

    @classmethod
    def takes(cls, model: Any) -> bool:
        return is_peft_model(model)

    @classmethod
    def start(cls, load: Load, args: Any, before: Path | None) -> Adapters:
        model = add_adapter(load(), tuner(args.peft_config), args.seed, before and before / FOLDER)
        return (Lora if Lora.takes(model) else cls)(model, args)

    @classmethod
    def artefact(cls, args: Any) -> ArtefactRecord:
        kind = args.peft_config["peft_type"]
        given = [f"{code(name)}: {code(str(value))}" for name, value in args.peft_config.items() if name != "peft_type"]
        suffix = "lora" if kind == "LORA" else "adapter"
        words = (f"A PEFT adapter ({kind})", f"PEFT adapters ({kind})", f"Settings: {', '.join(given) or 'none'}.")
        return ArtefactRecord(FOLDER, suffix, *words, kind.lower())

    @classmethod
    def check(cls, model: CLIPModel, args: Any, objective: Objective) -> None:
        check_unadapted(model, cls.switch)
        kind, twin = args.peft_config["peft_type"], copy.deepcopy(model).eval()
        said = both_towers(twin)
        try:
            student = cls.start(lambda: twin, args, None)
            student.can_connect(objective)
            student.try_out(said, args.train_towers, f"peft_config: {kind}")
        except ConfigurationError:
            raise
        except Exception as error:  # PEFT's are of many kinds
            raise ConfigurationError(f"peft_config: {kind} on this model: {type(error).__name__}: {error}") from error


def tuner(spec: dict[str, Any]) -> Any:
    """The `PeftConfig` that `spec` describes; refuses unknown types and fields, and what can't be switched off."""
    peft, fields = import_peft(PeftTuner.switch), dict(spec)
    try:
        kind = peft.PeftType(fields.pop("peft_type"))
        config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"peft_config: {error}") from error
    PeftTuner.check_config(config)
    return config
