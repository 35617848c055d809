"""The encoder that all tasks share, in a form that travels.

``load_base`` reads it once, where the files or the network are; ``BaseEncoder`` is plain values and NumPy
arrays, which an object store hands to every worker without a copy; ``build_encoder`` makes the module from
them with no disk access. Weights are read from safetensors only, in float32. The model's own pooler is left
out: heads pool by themselves.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, BertConfig, PretrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.initialization import no_init_weights
from transformers.utils import logging

from auxtune.trials.alignment import aligned, embedding_layer
from auxtune.trials.hashed_words import PAD, VOCABULARY
from auxtune.trials.hub import refusal, settle
from auxtune.trials.recipe import ModelOptions

# A hundred steps a second on one core. ReLU because the backward pass of GELU alone would cost a tenth.
TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
# What transformers raises for files that are missing, damaged, of another kind or in need of a package.
_UNLOADABLE = (OSError, ValueError, ImportError, LookupError, AttributeError, RuntimeError, TypeError,
               SafetensorError)


class EncoderError(ValueError):
    """The encoder that the options name cannot serve."""


@dataclass(frozen=True)
class BaseEncoder:
    """An encoder before training.

    ``weights`` maps parameter names to float32 arrays; ``None`` means from scratch, drawn from the trial's
    seed. ``digest`` is the SHA-256 of configuration and weights, whatever their path. ``code`` names the
    repository or folder of a model that brings its own code (``trust_remote_code``), which workers must be
    able to read; ``None`` for all others.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, np.ndarray] | None
    digest: str
    code: str | None = None


class Encoder(nn.Module):
    """Any transformers encoder, asked in one way.

    ``width`` is the size of its vectors, ``dropout`` its own rate. ``pad`` fills rows up: the model's own id,
    since some models derive positions from it. ``segments``: it is told which sentence of a pair a token is of.
    """

    def __init__(self, module: PreTrainedModel) -> None:
        super().__init__()
        self.module = module
        config = module.config
        self.width: int = config.hidden_size
        self.dropout: float = getattr(config, "hidden_dropout_prob", 0.1)
        self.pad: int = getattr(config, "pad_token_id", None) or 0
        # RoBERTa and its kin accept segments but know only one; others do not accept any.
        accepts = "token_type_ids" in inspect.signature(module.forward).parameters
        self.segments = accepts and getattr(config, "type_vocab_size", 0) > 1

    @cached_property
    def embeddings(self) -> str:
        """The name of the submodule that gives what the first layer is given. Raises ``EncoderError``."""
        name = embedding_layer(self.module, self.pad)
        if name is None:
            raise EncoderError(
                f"model.alignment: in {type(self.module).__name__} no part gives the embeddings as its first layer "
                "takes them, so nothing can be put between; leave `alignment` out or name another encoder"
            )
        return name

    def forward(
        self, tokens: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None,
        alignment: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One vector per token: (rows, length) ids to (rows, length, width).

        No ``mask`` means no padding. ``alignment``, (width, width), multiplies the embeddings.
        """
        with self._aligned(alignment):
            return cast(torch.Tensor, self.module(**self._inputs(tokens, segments, mask))[0])

    def hidden_states(
        self, tokens: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None,
        alignment: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """What enters the first layer, then what leaves each: (rows, length, width) all. Empty if it keeps none."""
        with self._aligned(alignment):
            outputs = self.module(**self._inputs(tokens, segments, mask), output_hidden_states=True)
        return tuple(getattr(outputs, "hidden_states", None) or ())

    def _inputs(
        self, tokens: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None
    ) -> dict[str, torch.Tensor | None]:
        inputs = {"input_ids": tokens, "attention_mask": mask}
        return {**inputs, "token_type_ids": segments} if self.segments else inputs

    def _aligned(self, alignment: torch.Tensor | None) -> AbstractContextManager[object]:
        if alignment is None:
            return nullcontext()
        return aligned(self.module.get_submodule(self.embeddings), alignment)


def load_base(options: ModelOptions) -> BaseEncoder:
    """Read the encoder that ``options`` names. Raises ``EncoderError`` where it cannot serve, saying why."""
    if options.encoder == "tiny":
        config: PretrainedConfig = BertConfig(
            **TINY, vocab_size=VOCABULARY, pad_token_id=PAD, max_position_embeddings=options.max_length
        )
        _keep_layers(config, options)
        base = _base(config, None, None)
    else:
        config = _read_config(options)
        _keep_layers(config, options)
        weights = _read_weights(options, config)
        own_code = options.trust_remote_code and "AutoModel" in getattr(config, "auto_map", {})
        base = _base(config, weights, options.encoder if own_code else None)
    _try_once(base, options)
    return base


def build_encoder(base: BaseEncoder, seed: int) -> Encoder:
    """A fresh encoder with the base's weights or, from scratch, with weights drawn from ``seed``."""
    if base.weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Encoder(_module(base))
    with no_init_weights():
        module = _module(base)
    module.tie_weights()
    with warnings.catch_warnings():                    # that they cannot be written to is what is wanted
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        shared = {name: torch.from_numpy(array) for name, array in base.weights.items()}
    module.load_state_dict(shared)                     # the one copy, into the module's own memory
    return Encoder(module)


def save_encoder(encoder: Encoder, folder: Path) -> dict[str, bool]:
    """Write config.json and model.safetensors into ``folder``, as ``AutoModel.from_pretrained`` wants them.

    Returns what to say to that besides, lest it draws a pooler at random.
    """
    with _quiet():
        encoder.module.save_pretrained(folder)
    return {"add_pooling_layer": False} if _may_lack_pooler(encoder.module) else {}


def _read_config(options: ModelOptions) -> PretrainedConfig:
    settle(options.encoder)
    try:
        config = AutoConfig.from_pretrained(options.encoder, trust_remote_code=options.trust_remote_code)
    except _UNLOADABLE as error:
        raise _refusal(options, f"its configuration cannot be read: {refusal(error)}") from error
    if config.is_encoder_decoder:
        raise _refusal(options, f"{config.model_type} is an encoder-decoder; name a model that only encodes")
    return cast(PretrainedConfig, config)


def _keep_layers(config: PretrainedConfig, options: ModelOptions) -> None:
    """Shorten ``config``, with the list of layers that newer models carry."""
    if options.layers is None:
        return
    held = getattr(config, "num_hidden_layers", 0)
    if not 1 <= options.layers <= held:
        raise EncoderError(f"model.layers: expected 1 to {held} for {options.encoder!r}, found {options.layers}")
    config.num_hidden_layers = options.layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: options.layers]


def _read_weights(options: ModelOptions, config: PretrainedConfig) -> dict[str, np.ndarray]:
    try:
        with _quiet():
            module, info = AutoModel.from_pretrained(
                options.encoder, config=config, trust_remote_code=options.trust_remote_code,
                dtype=torch.float32, use_safetensors=True, output_loading_info=True,
            )
    except _UNLOADABLE as error:
        raise _refusal(options, f"AutoModel cannot load it: {refusal(error)}") from error
    weights = _without_pooler(module).state_dict()
    missing = sorted(set(info["missing_keys"]) & set(weights))
    if missing:
        raise _refusal(options, f"its files lack {len(missing)} weights, the first is {missing[0]!r}")
    return {name: tensor.numpy() for name, tensor in weights.items()}


def _base(config: PretrainedConfig, weights: dict[str, np.ndarray] | None, code: str | None) -> BaseEncoder:
    values = json.loads(config.to_json_string(use_diff=False))
    for incidental in ("_name_or_path", "transformers_version"):
        values.pop(incidental, None)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted((weights or {}).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return BaseEncoder(values, weights, digest.hexdigest(), code)


def _try_once(base: BaseEncoder, options: ModelOptions) -> None:
    """Run one row of the full length, so that what cannot work is known before any trial."""
    try:
        encoder = build_encoder(base, seed=0).eval()
        row = torch.full((1, options.max_length), encoder.pad + 1)
        with torch.no_grad():
            alignment = None if options.alignment == "none" else torch.eye(encoder.width)
            hidden = encoder(row, torch.zeros_like(row), torch.ones_like(row), alignment)
    except EncoderError:
        raise
    except _UNLOADABLE as error:
        raise _refusal(options, f"a row of model.max_length {options.max_length} fails: {error}") from error
    if hidden.shape != (*row.shape, encoder.width):
        raise _refusal(options, f"expected one vector per token, found the shape {tuple(hidden.shape)}")


def _module(base: BaseEncoder) -> PreTrainedModel:
    own = base.config.get("auto_map", {}).get("AutoConfig")
    if base.code and own:
        kind: Any = get_class_from_dynamic_module(own, base.code)
    else:
        kind = CONFIG_MAPPING[base.config["model_type"]]
    config = kind.from_dict({**base.config, "_name_or_path": base.code or ""})
    return _without_pooler(AutoModel.from_config(config, trust_remote_code=base.code is not None))


def _without_pooler(module: Any) -> PreTrainedModel:
    """Models that may be built without a pooler allow ``None`` in its place."""
    if _may_lack_pooler(module):
        module.pooler = None
    return cast(PreTrainedModel, module)


def _may_lack_pooler(module: Any) -> bool:
    return "add_pooling_layer" in inspect.signature(type(module).__init__).parameters


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress, and the report on weights left unused: a pretraining head, layers beyond ``layers``."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _refusal(options: ModelOptions, reason: str) -> EncoderError:
    return EncoderError(f"model.encoder {options.encoder!r}: {reason}")
