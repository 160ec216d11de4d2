"""Long short-term memory: no token is compared with another, a state is carried from each to the next (Hochreiter and
Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000).

    family=encoder     reads both ways (Graves and Schmidhuber 2005), half of the features in each direction
    family=decoder     reads forwards, and generates from the state that it carries

Every layer adds to a residual stream, as in Wu et al. 2016 (section 3.1), with a norm where `model.norm` says.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from glassformer.data.batch import Batch, StreamBatch
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.cache import pad_and_concat
from glassformer.model.config import ModelConfig
from glassformer.model.dropout import Dropout
from glassformer.model.inputs import Input
from glassformer.model.kinds import Capability, Model, StackParts, last_real, refusal
from glassformer.model.layers import initialise, norm
from glassformer.model.size import linear, of_embeddings, of_norm
from glassformer.model.stack import Embeddings


class Texts(NamedTuple):
    """Where the texts of a batch stand, each a sequence by itself: padding is left out, and of several in a row none
    hears of another."""

    places: Int[Tensor, "texts longest"]
    """Flat indices into B x T, behind the end of a shorter text 0."""
    lengths: Int[Tensor, "texts"]
    """On the CPU, where PyTorch wants them."""

    @classmethod
    def of(cls, documents: Int[Tensor, "B T"]) -> "Texts":
        """Those of rows in which every token has the number of its document, 0 at padding."""
        rows = torch.arange(len(documents), device=documents.device)[:, None]
        numbers = (documents + rows * (documents.max() + 1)).flatten()
        real = documents.flatten().nonzero()[:, 0]
        lengths = numbers[real].unique_consecutive(return_counts=True)[1].cpu()
        return cls(pad_sequence(real.split(lengths.tolist()), batch_first=True), lengths)


class Carried:
    """What one layer carries from token to token: hidden state and cell, each 1 x rows x D; None before the first."""

    def __init__(self, state: tuple[Tensor, Tensor] | None = None) -> None:
        self.state = state


class LSTMLayer(nn.Module):
    """One layer: x + LSTM(norm(x)), or with the norm behind the sum."""

    def __init__(self, config: ModelConfig, both_ways: bool) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.norm = norm(config)
        width = config.d_model // 2 if both_ways else config.d_model
        self.lstm = nn.LSTM(config.d_model, width, bias=config.bias, batch_first=True, bidirectional=both_ways)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], texts: Texts | None = None, carried: Carried | None = None
    ) -> Float[Tensor, "B T D"]:
        """The hidden states with what this layer adds. `texts` None: every row is one text without padding at its
        beginning. With `carried` the tokens are the newest of their texts."""
        if self.pre_norm:
            return x + self.dropout(self.read(self.norm(x), texts, carried))
        return self.norm(x + self.dropout(self.read(x, texts, carried)))

    def read(self, x: Float[Tensor, "B T D"], texts: Texts | None, carried: Carried | None) -> Float[Tensor, "B T D"]:
        """What the LSTM makes of each text; zeros at padding."""
        before = None if carried is None else carried.state
        if texts is None:
            found, after = self.lstm(x, before)
        else:
            each = x.flatten(0, 1)[texts.places]
            packed = pack_padded_sequence(each, texts.lengths, batch_first=True, enforce_sorted=False)
            read, after = self.lstm(packed, before)
            padded, _ = pad_packed_sequence(read, batch_first=True)  # texts x longest x D
            inside = (torch.arange(padded.shape[1]) < texts.lengths[:, None]).to(x.device)
            found = padded.new_zeros(x.shape[0] * x.shape[1], padded.shape[-1])
            found = found.index_put((texts.places[inside],), padded[inside]).view(x.shape)
        if carried is not None:
            carried.state = after
        return found


class LSTMStack(nn.Module):
    """Embeddings without positions, and layers."""

    def __init__(self, config: ModelConfig, token: Input) -> None:
        super().__init__()
        self.both_ways = config.family != "decoder"
        self.embeddings = Embeddings(config.model_copy(update={"positions": "none"}), token)
        distinct = [LSTMLayer(config, self.both_ways) for _ in range(1 if config.share_layers else config.n_layers)]
        self.blocks = nn.ModuleList(distinct[n % len(distinct)] for n in range(config.n_layers))
        self.norm = norm(config) if config.norm == "pre" else nn.Identity()
        self.dropout = Dropout(config.output_dropout)

    def forward(self, stream: StreamBatch) -> Float[Tensor, "B T D"]:
        """Hidden states of one stream. Raises UsageError where a model that reads both ways would see what it is asked,
        and for a mask of pairs."""
        mask = stream.mask
        if mask.causal and self.both_ways:
            raise UsageError(
                "an LSTM of model.family=encoder reads both ways, and would see the tokens that it is asked",
                "use model.family=decoder, or leave it out",
            )
        if mask.pair_mask is not None:
            raise refusal("pair_masks", LSTM.lacks["pair_masks"])
        texts = self.texts_of(mask)
        x = self.embeddings(stream.input_ids, None, stream.segment_ids)
        for block in self.blocks:
            x = block(x, texts)
        return self.dropout(self.norm(x))

    def texts_of(self, mask: AttentionMask) -> Texts | None:
        """The texts of a batch; None where rows can be read as they are, since padding stands at their end."""
        if mask.query_documents is not None:
            return Texts.of(mask.query_documents)
        return Texts.of(mask.key_mask.long()) if mask.key_mask is not None and self.both_ways else None

    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: "LSTMState"
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of the newest tokens of a growing text, behind what `state` carries."""
        texts = None if real.shape[1] == 1 or bool(real.all()) else Texts.of(real.long())
        state.length += real.shape[1]
        x = self.embeddings(input_ids)
        for block, carried in zip(self.blocks, state.layers, strict=True):
            x = block(x, texts, carried)
        return self.dropout(self.norm(x))


class LSTMState:
    """What generation carries: as much after the thousandth token as after the first."""

    def __init__(self, layers: list[Carried], length: int = 0) -> None:
        self.layers = layers
        self.length = length
        """Tokens that were read, those of the longest row."""

    @classmethod
    def concat(cls, states: list["LSTMState"], rows: list[list[int]], capacity: int) -> "LSTMState":
        """One state of several, each of which has the given rows of it."""
        layers = []
        for parts in zip(*(state.layers for state in states), strict=True):
            each = [part.state for part in parts if part.state is not None]
            if not each:
                layers.append(Carried())
                continue
            hidden, cell = (pad_and_concat([one[n].transpose(0, 1) for one in each], rows, 1) for n in (0, 1))
            layers.append(Carried((hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())))
        return cls(layers, max(state.length for state in states))

    def reorder(self, rows: Int[Tensor, "rows"], shared_prefix: int = 0) -> None:
        """Keep these rows, in this order; a row may be taken several times (beams) or not at all (finished)."""
        for layer in self.layers:
            if layer.state is not None:
                hidden, cell = layer.state
                layer.state = (hidden[:, rows], cell[:, rows])


NO_COMPARISON = "an LSTM compares no token with another, it carries a state from each to the next"


class LSTM(Model):
    """One stack of LSTM layers: a rival without attention."""

    lacks: ClassVar = {
        "attention_weights": NO_COMPARISON,
        "block_steps": NO_COMPARISON,
        "positions": "an LSTM reads in order, and is told none",
        "pair_masks": "an LSTM reads every token that stands before another",
    }
    reads_no: ClassVar[Sequence[str]] = (
        *("n_heads", "n_kv_heads", "d_ff", "activation", "attention", "attention_scale", "attention_dropout"),
        *("positions", "n_decoder_layers", "shared_embeddings"),
    )

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError for two stacks, and for features that two directions cannot share."""
        if len(config.stacks) > 1:
            raise UsageError("an LSTM has one stack here, and reads no source", "use model.kind=transformer for pairs")
        if config.family != "decoder" and config.d_model % 2:
            raise UsageError(
                f"an LSTM that reads both ways has half of model.d_model={config.d_model} for each",
                f"use an even one, such as {config.d_model + 1}",
            )

    @classmethod
    def parameters_of_stack(cls, config: ModelConfig, name: str) -> int:
        """All but its token embeddings. Of each gate and the candidate a matrix from the input, one from the state, and
        of both a bias."""
        directions = 1 if config.family == "decoder" else 2
        width = config.d_model // directions
        layer = 4 * directions * (linear(config.d_model, width, config.bias) + linear(width, width, config.bias))
        layers = 1 if config.share_layers else config.n_layers
        last = of_norm(config) if config.norm == "pre" else 0
        return of_embeddings(config) + layers * (layer + of_norm(config)) + last

    def make_stack(self, config: ModelConfig, name: str, token: Input) -> LSTMStack:
        """Embeddings and layers."""
        return LSTMStack(config, token)

    @torch.no_grad()
    def initialise(self) -> None:
        """As in all models here, weights of variance 1 / fan-in and biases zero; but forget gates begin open, with a
        bias of 1 (Jozefowicz, Zaremba and Sutskever 2015)."""
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.LSTM):
                for name, parameter in module.named_parameters():
                    if parameter.ndim == 2:
                        nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
                    else:
                        nn.init.zeros_(parameter)
                    if name.startswith("bias_ih"):
                        parameter[module.hidden_size : 2 * module.hidden_size] = 1.0

    @property
    def parts(self) -> dict[str, StackParts]:
        """Whole layers."""
        [name] = self.config.stacks
        blocks = [f"{name}.blocks.{n}" for n in range(self.config.n_layers)]
        return {name: StackParts(f"{name}.embeddings", blocks, f"{name}.norm")}

    def why_not(self, what: Capability) -> str | None:
        """Of one that reads both ways also generation."""
        if what == "decoding" and self.stacks[0].both_ways:
            return "it reads both ways, and of a text that grows the end is not there yet"
        return super().why_not(what)

    @torch.inference_mode()
    def new_state(self, batch: Batch, capacity: int) -> LSTMState:
        """Nothing is carried yet."""
        return LSTMState([Carried() for _ in range(self.config.n_layers)])

    @torch.inference_mode()
    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: LSTMState, head: str
    ) -> Float[Tensor, "B size"]:
        """See Model."""
        return self.heads[head](last_real(self.stacks[0].step(input_ids, real, state), real))
