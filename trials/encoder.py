"""The encoder that all tasks share, in a form that travels.

``load_base`` reads it once, where the files or the network are; ``BaseEncoder`` is plain values and NumPy arrays, which
an object store hands to every worker without a copy; ``build_encoder`` makes the module from them without disk access.
Weights are read from safetensors only, and the module is built in float32, whatever the type of its files: half
precision is left to autocast. The model's own pooler is left out: heads do their own pooling.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from auxtune.trials.alignment import align_embeddings, find_embedding_layer
from auxtune.trials.encoder_checks import (
    count_embeddings,
    find_broken_weight,
    is_causal,
    is_finite,
    leave_processor,
    spread_token_ids,
)
from auxtune.trials.recipe import ModelOptions, ModelPackageError, Pooling, locate_model
from auxtune.trials.tokenizer import PAD, VOCABULARY

# Only what is used of transformers is imported, where it is used: its models take as long to import as torch, and
# whoever starts a study with the tiny encoder builds none.
if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

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
_SURE = 4096  # tokens of a row that the tiny encoder reads without having been tried
_READ_LAST = (
    "its attention is causal, so `pooling: cls` reads the last token's vector of a text: the first token has seen "
    "nothing else"
)
# Far beyond any encoder: what is larger was not meant.
_LARGEST = {
    "num_hidden_layers": 1_000,
    "num_attention_heads": 10_000,
    "hidden_size": 100_000,
    "intermediate_size": 1_000_000,
    "vocab_size": 10_000_000,
    "max_position_embeddings": 100_000_000,
}
# The errors of transformers for files that are missing, damaged, of another kind or in need of a package.
_UNLOADABLE = (OSError, ValueError, ImportError, LookupError, AttributeError, RuntimeError, TypeError, SafetensorError)


class EncoderError(ValueError):
    """The encoder named by the options cannot be used.

    ``key`` is the study file's key that is wrong and ``reason`` says why; ``name`` is the encoder's, if that is the
    key. ``is_unread``: not even a configuration was found under the name, neither in a folder nor on the hub.
    """

    def __init__(self, key: str, reason: str, name: str | None = None, is_unread: bool = False) -> None:
        super().__init__(key, reason, name, is_unread)  # all of them, so that it can be pickled
        self.key, self.reason, self.name, self.is_unread = key, reason, name, is_unread

    @property
    def message(self) -> str:
        """What is wrong, for readers who see the key beside it."""
        return self.reason if self.name is None else f"{self.name!r}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.key}{':' if self.name is None else ''} {self.message}"


@dataclass(frozen=True)
class BaseEncoder:
    """An encoder before training.

    ``weights`` maps parameter names to float32 arrays; ``None`` means from scratch, drawn from the trial's
    seed. ``digest`` is the SHA-256 of configuration and weights, whatever their path. ``code`` names the
    repository or folder of a model that brings its own code (``trust_remote_code``), which workers must be
    able to read; ``None`` for all others. ``causal``: a token's vector does not depend on the tokens after it.
    ``embedded`` counts the token ids that have an embedding, ``None`` if the model does not tell. ``notes`` are for
    the user who chose it.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, np.ndarray] | None
    digest: str
    code: str | None = None
    causal: bool = False
    embedded: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many weights it begins with; 0 from scratch."""
        return sum(array.size for array in (self.weights or {}).values())


class Encoder(nn.Module):
    """Any transformers encoder, behind one interface.

    ``width`` is the size of its vectors, ``dropout`` its own rate. ``pad`` is the id for padding: the model's own,
    since some models derive positions from it. ``segments``: it is told which sentence of a pair a token belongs to.
    """

    def __init__(self, module: PreTrainedModel, causal: bool = False) -> None:
        super().__init__()
        self.module, self._causal = module, causal
        config = module.config
        self.width: int = config.hidden_size
        self.dropout: float = getattr(config, "hidden_dropout_prob", 0.1)
        self.pad: int = getattr(config, "pad_token_id", None) or 0
        # RoBERTa and its kin accept segments but know only one; others do not accept any.
        accepts = "token_type_ids" in inspect.signature(module.forward).parameters
        self.segments = accepts and getattr(config, "type_vocab_size", 0) > 1

    def reading(self, pooling: Literal["cls", "mean"]) -> Pooling:
        """How this encoder's vectors become one: ``cls`` means the token that has seen the whole text.

        In a causal decoder that is the last one; its first has seen nothing but itself.
        """
        return "last" if self._causal and pooling == "cls" else pooling

    @cached_property
    def embeddings(self) -> str:
        """The name of the submodule whose output is the first layer's input. Raises ``EncoderError``."""
        name = find_embedding_layer(self.module, self.pad)
        if name is None:
            raise EncoderError(
                "model.alignment",
                f"in {type(self.module).__name__} no part gives the embeddings as its first layer takes them, so they "
                "cannot be aligned; leave `alignment` out or name another encoder",
            )
        return name

    def forward(
        self,
        tokens: torch.Tensor,
        segments: torch.Tensor,
        mask: torch.Tensor | None,
        alignment: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One vector per token: (rows, length) ids to (rows, length, width).

        No ``mask`` means no padding. ``alignment``, (width, width), multiplies the embeddings.
        """
        with self._aligned(alignment):
            return cast(torch.Tensor, self.module(**self._inputs(tokens, segments, mask))[0])

    def hidden_states(
        self,
        tokens: torch.Tensor,
        segments: torch.Tensor,
        mask: torch.Tensor | None,
        alignment: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The first layer's input, then each layer's output: (rows, length, width) each. Empty if it keeps none."""
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
        return align_embeddings(self.module.get_submodule(self.embeddings), alignment)


def load_base(options: ModelOptions) -> BaseEncoder:
    """Read the encoder that ``options`` names. Raises ``EncoderError``, saying why, if it cannot be used."""
    if options.name == "tiny":
        from transformers import BertConfig

        config: PretrainedConfig = BertConfig(
            **TINY, vocab_size=VOCABULARY, pad_token_id=PAD, max_position_embeddings=options.max_length
        )
        _keep_layers(config, options)
        base = _build_base(config, None, None)
        if options.max_length <= _SURE:
            return replace(base, embedded=VOCABULARY)  # what a try comes to
    else:
        options = _locate_files(options)
        config = _read_config(options)
        _keep_layers(config, options)
        with leave_processor():
            weights = _read_weights(options, config)
        own_code = options.trust_remote_code and "AutoModel" in getattr(config, "auto_map", {})
        base = _build_base(config, weights, options.name if own_code else None)
    with leave_processor():
        return _try_encoder(base, options)


def build_encoder(base: BaseEncoder, seed: int) -> Encoder:
    """A fresh encoder with the base's weights or, from scratch, with weights drawn from ``seed``."""
    if base.weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Encoder(_build_module(base), base.causal)
    from transformers.initialization import no_init_weights

    with no_init_weights():
        module = _build_module(base)
    module.tie_weights()
    with warnings.catch_warnings():  # read-only arrays are intended
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        shared = {name: torch.from_numpy(array) for name, array in base.weights.items()}
    module.load_state_dict(shared)  # the one copy, into the module's own memory
    return Encoder(module, base.causal)


def save_encoder(encoder: Encoder, folder: Path) -> dict[str, bool]:
    """Write config.json and model.safetensors into ``folder``, as ``AutoModel.from_pretrained`` expects them.

    Returns further arguments for that call, which keep it from drawing a pooler at random.
    """
    from auxtune.trials.hub import silence

    with silence():
        encoder.module.save_pretrained(folder)
    return {"add_pooling_layer": False} if _may_lack_pooler(encoder.module) else {}


def _locate_files(options: ModelOptions) -> ModelOptions:
    try:
        return replace(options, name=locate_model(options.name))
    except ModelPackageError as error:
        raise _explain_refusal(options, str(error)) from error


def _read_config(options: ModelOptions) -> PretrainedConfig:
    from transformers import AutoConfig

    from auxtune.trials.hub import explain_refusal, use_cache_if_offline

    folder = Path(options.name)
    if folder.is_absolute() and not folder.is_dir():
        found = "found a file" if folder.is_file() else "there is no such folder"
        raise _explain_refusal(
            options, f"expected the folder of an encoder, {found}; correct the path, or name a hub id"
        )
    use_cache_if_offline(options.name)
    try:
        config = AutoConfig.from_pretrained(options.name, trust_remote_code=options.trust_remote_code)
    except _UNLOADABLE as error:
        reason = f"its configuration cannot be read: {explain_refusal(error)}"
        raise EncoderError("model.name", reason, options.name, is_unread=True) from error
    _check_sizes(options, config)
    if config.is_encoder_decoder:
        raise _explain_refusal(options, f"{config.model_type} is an encoder-decoder; name a model that only encodes")
    return cast("PretrainedConfig", config)


def _check_sizes(options: ModelOptions, config: PretrainedConfig) -> None:
    """Refuse sizes that no encoder has, before memory is taken for them. Raises ``EncoderError``."""
    for part in (config, getattr(config, "text_config", None)):
        for name, most in _LARGEST.items():
            found = getattr(part, name, None)
            if isinstance(found, int) and not 0 <= found <= most:
                raise _explain_refusal(options, f"its configuration has {name} {found}, expected at most {most:,}")


def _keep_layers(config: PretrainedConfig, options: ModelOptions) -> None:
    """Shorten ``config``, with the list of layers that newer models carry."""
    if options.layers is None:
        return
    held = getattr(config, "num_hidden_layers", 0)
    if not 1 <= options.layers <= held:
        raise EncoderError("model.layers", f"expected 1 to {held} for {options.name!r}, found {options.layers}")
    config.num_hidden_layers = options.layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: options.layers]


def _read_weights(options: ModelOptions, config: PretrainedConfig) -> dict[str, np.ndarray]:
    from transformers import AutoModel

    from auxtune.trials.hub import explain_refusal, silence

    try:
        with silence():
            module, info = AutoModel.from_pretrained(
                options.name,
                config=config,
                trust_remote_code=options.trust_remote_code,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
    except _UNLOADABLE as error:
        raise _explain_refusal(options, f"AutoModel cannot load it: {explain_refusal(error)}") from error
    weights = _drop_pooler(module).state_dict()
    missing = sorted(set(info["missing_keys"]) & set(weights))
    if missing:
        raise _explain_refusal(options, f"its files lack {len(missing)} weights, the first is {missing[0]!r}")
    if (broken := find_broken_weight(module)) is not None:
        raise _explain_refusal(
            options,
            f"its weights {broken!r} hold values that are not finite (NaN or infinity), so no "
            "training can start from them; take another copy of its files, or another encoder",
        )
    return {name: _convert_to_float32(tensor).numpy() for name, tensor in weights.items()}


def _convert_to_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Code that comes with a model may ignore the requested type of its weights."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _build_base(config: PretrainedConfig, weights: dict[str, np.ndarray] | None, code: str | None) -> BaseEncoder:
    values = json.loads(config.to_json_string(use_diff=False))
    for incidental in ("_name_or_path", "transformers_version"):
        values.pop(incidental, None)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted((weights or {}).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return BaseEncoder(values, weights, digest.hexdigest(), code)


def _try_encoder(base: BaseEncoder, options: ModelOptions) -> BaseEncoder:
    """Run a row of the full length, so that failures show before any trial; note how rows are read."""
    try:
        encoder = build_encoder(base, seed=0).eval()
        count = count_embeddings(encoder.module)
        row = spread_token_ids(count, encoder.pad, options.max_length).unsqueeze(0)
        with torch.no_grad():
            alignment = None if options.alignment == "none" else torch.eye(encoder.width)
            hidden = encoder(row, torch.zeros_like(row), torch.ones_like(row), alignment)
            causal = base.weights is not None and is_causal(encoder, count, options.max_length)
    except EncoderError:
        raise
    except _UNLOADABLE as error:
        raise _explain_refusal(options, f"a row of model.max_length {options.max_length} fails: {error}") from error
    if hidden.shape != (*row.shape, encoder.width):
        raise _explain_refusal(options, f"expected one vector per token, found the shape {tuple(hidden.shape)}")
    if not is_finite(hidden):
        raise _explain_refusal(
            options,
            "its vectors are not finite (NaN or infinity) for a row of ordinary tokens, so no "
            "training can start from it; take another copy of its files, or another encoder",
        )
    # Which of its vectors is read is part of an encoder's identity: it changes the results.
    digest = hashlib.sha256(f"{base.digest} causal".encode()).hexdigest() if causal else base.digest
    notes = (_READ_LAST,) if causal and options.pooling == "cls" else ()
    return replace(base, causal=causal, embedded=count, digest=digest, notes=notes)


def _build_module(base: BaseEncoder) -> PreTrainedModel:
    from transformers import CONFIG_MAPPING, AutoModel
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    own = base.config.get("auto_map", {}).get("AutoConfig")
    if base.code and own:
        kind: Any = get_class_from_dynamic_module(own, base.code)
    else:
        kind = CONFIG_MAPPING[base.config["model_type"]]
    config = kind.from_dict({**base.config, "_name_or_path": base.code or ""})
    config.dtype = torch.float32  # not what its files were saved in
    module = AutoModel.from_config(config, trust_remote_code=base.code is not None, dtype=torch.float32)
    # A part that is built from a configuration of its own may have used the type given there.
    return _drop_pooler(module.float())


def _drop_pooler(module: Any) -> PreTrainedModel:
    """Set the pooler to ``None``, in models that may be built without one."""
    if _may_lack_pooler(module):
        module.pooler = None
    return cast("PreTrainedModel", module)


def _may_lack_pooler(module: Any) -> bool:
    return "add_pooling_layer" in inspect.signature(type(module).__init__).parameters


def _explain_refusal(options: ModelOptions, reason: str) -> EncoderError:
    return EncoderError("model.name", reason, options.name)
