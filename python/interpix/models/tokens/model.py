"""Vision Transformers whose absent patches are dropped tokens, or keys that attention does not see.

An image is embedded once, with its positions; a coalition keeps the tokens of its patches and all prefix tokens (class,
distillation, registers).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch

from interpix.errors import ModelError, bad_value
from interpix.models.protocol.tokens import Tokens
from interpix.models.tokens.families import find_derived, find_inside, read_anatomy, read_part
from interpix.models.tokens.parts import keeping
from interpix.models.tokens.vit import Anatomy, Block, Level, lay_out, level, run
from interpix.models.tokens.wrapped import described, into_wrapper
from interpix.models.torch.memory import Chunks
from interpix.models.torch.module import TorchModule, is_hooked
from interpix.terms import Precision

__all__ = ["TokenModel", "TokenState", "describe_token_model", "find_token_model", "find_tokens"]

_TOKENS_ON_CPU = 800
_TOKENS_ON_GPU = 32768
_EMBEDDED_AT_ONCE = 64


def find_token_model(module: torch.nn.Module) -> "TokenModel | None":
    """`module` as a model whose patches can be dropped; None if it is not a Vision Transformer that is known.

    The families are those of `docs/models.md`, each of exactly its class and made of its usual parts. One that is
    inside of a module that is not known counts where that module drops its tokens: two pictures are run to see it.
    """
    return find_tokens(module)[0]


def find_tokens(module: torch.nn.Module) -> tuple["TokenModel | None", str | None]:
    """The same; and where it is None although a known Vision Transformer is there: what that is, and why not."""
    if read_anatomy(module) is not None:
        return TokenModel(module, partial(read_anatomy, module)), None
    found = find_inside(module)
    if not found:
        derived = find_derived(module)
        return None, derived and f"its `{derived}` derives from a known Vision Transformer, and may do otherwise"
    name, inner = found[0]
    if inner is module:
        return None, "it is a Vision Transformer, some parts of which are not known"
    read, reason = (None, "there are several") if len(found) > 1 else into_wrapper(module, inner, read_part)
    if read is None:
        return None, f"its part `{name}` is a Vision Transformer, whose tokens cannot be dropped there ({reason})"
    return TokenModel(module, read), None


def describe_token_model(module: torch.nn.Module, tokens: Tokens, size: tuple[int, int] | None) -> "TokenModel":
    """`module` as a model whose patches can be dropped where the user says; arguments as `described`."""
    return TokenModel(module, described(module, tokens, size))


class TokenState:
    """Images that are embedded: what all of their coalitions share, computed when first asked for.

    Attributes:
        images: As the model takes them, (K, 3, H, W).
        grid: Rows and columns of patches.
        anatomy: The model as it was then.
        as_it_is: The module itself must run: somebody watches its parts, or what was read of them is not all.
    """

    def __init__(
        self, images: torch.Tensor, grid: tuple[int, int], anatomy: Anatomy, *, as_it_is: bool, name: str
    ) -> None:
        """Use `TokenModel.state_of`."""
        self.images = images
        self.grid = grid
        self.as_it_is = as_it_is
        self.anatomy = anatomy
        self._name = name
        self._owns = False
        self._blocks: dict[Precision, list[Block]] = {}
        self._levels: dict[tuple[int, Precision], Level] = {}

    def blocks(self, precision: Precision) -> list[Block]:
        """The blocks with matrices of this precision; those of a model of half precision stay as they are."""
        if precision not in self._blocks:
            half = self.images.dtype.itemsize <= torch.bfloat16.itemsize
            dtype = torch.bfloat16 if precision == "mixed" and not half else None
            size = self.images.shape[2], self.images.shape[3]
            self._blocks[precision] = lay_out(self.anatomy.blocks_at(size), dtype)
        return self._blocks[precision]

    def level(self, layer: int, precision: Precision) -> Level:
        """What goes into block `layer` when all patches are present: (K, prefix + T, D) and (K, prefix + T, 3 A)."""
        key = (layer, precision)
        if key not in self._levels:
            blocks = self.blocks(precision)
            x = run(blocks[:layer], self.level(0, precision)) if layer else self._embedded(self.images)
            self._levels[key] = level(blocks[layer], x)
        return self._levels[key]

    def replace(self, places: torch.Tensor, images: torch.Tensor) -> None:
        """Puts other images (k, 3, H, W) in some places (k,)."""
        if not self._owns:  # what is there may be the user's
            self.images, self._owns = self.images.clone(), True
        self.images[places] = images.to(self.images)
        embedded = self._embedded(images)
        # Lower levels come first, from which the others follow.
        for (layer, precision), (x, qkv) in sorted(self._levels.items()):
            blocks = self.blocks(precision)
            new_x = run(blocks[:layer], level(blocks[0], embedded)) if layer else embedded
            x[places], new_qkv = new_x, level(blocks[layer], new_x)[1]
            qkv[places] = new_qkv

    def _embedded(self, images: torch.Tensor) -> torch.Tensor:
        """The first block's input (k, prefix + T, D); fewer images go at once where memory runs out."""
        # A copy: the module's own parts may write to what they are given.
        parts = Chunks(self._name, _EMBEDDED_AT_ONCE).run(
            len(images), lambda part: self.anatomy.embed(images[part].clone())
        )
        return torch.cat(parts)


class TokenModel:
    """A Vision Transformer that is run on coalitions of its patch tokens.

    The module is never changed; while it is asked, dropout is off. If the user's hooks watch any part of it, the
    module itself is run (slower), so that they see what they would see.

    Attributes:
        grid: Rows and columns of patches of an image of the size that the model is made for.
        image_size: That size, height and width.
        patch_size: Height and width of a patch, pixels.
        any_size: It takes images of other sizes too, and has more or fewer patches of them.
        prefix: Number of class, distillation and register tokens.
        depth: Number of blocks.
        pools_patches: The head reads the mean of the patch tokens, so that a dropped token is not the same as
            one that attention does not see.
        only_itself: Its blocks are not known: the module itself drops its tokens, and none can be masked.
        token_budget: The greatest number of tokens that go through a block at once; None: 800 on a CPU, which
            keeps them in its cache, 32768 on a GPU.
    """

    def __init__(
        self, module: torch.nn.Module, read: Callable[[], Anatomy | None], *, token_budget: int | None = None
    ) -> None:
        """Use `find_token_model`; `read` gives the module's anatomy as it is when asked."""
        self._net = TorchModule(module, name=type(module).__name__)
        self._read_anatomy = read
        anatomy = self._read()
        self.image_size = anatomy.image_size
        self.grid = _grid(anatomy, *anatomy.image_size)
        self.prefix = anatomy.prefix
        self.patch_size = anatomy.patch_size
        self.any_size = anatomy.any_size
        self.depth = len(anatomy.blocks)
        self.pools_patches = anatomy.pools_patches
        self.only_itself = anatomy.only_itself
        self.token_budget = token_budget

    def grid_at(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of a size, height and width.

        Raises:
            ArgumentError: It takes no such image.
        """
        return _grid(self, *size)

    def state_of(self, images: torch.Tensor) -> TokenState:
        """Takes images (K, 3, H, W), which are embedded once for all coalitions.

        The state is of the model as it is: ask for another after changing a parameter.
        """
        anatomy = self._read()
        grid = _grid(anatomy, *images.shape[-2:])
        images = images.to(self._net.device, self._net.dtype)
        as_it_is = anatomy.only_itself or is_hooked(self._net.module)
        return TokenState(images, grid, anatomy, as_it_is=as_it_is, name=self._net.name)

    def logits(
        self,
        state: TokenState,
        owner: torch.Tensor,
        kept: torch.Tensor,
        *,
        from_layer: int = 0,
        precision: Precision = "exact",
    ) -> torch.Tensor:
        """Logits (c, classes) of coalitions of equal size; the tokens of all other patches are dropped.

        Args:
            state: The images.
            owner: The image of each coalition, int64 (c,).
            kept: The present patches of each coalition, ascending, int64 (c, m) in 0 ... T-1; m may be 0. The
                mean of no patches, where the head reads it, is zero.
            from_layer: The first block that the others are missing in, 0 ... depth - 1. For models that read no
                patch token this is `masked_logits` without computing what nobody sees.
            precision: `"exact"` or `"mixed"`.
        """
        if from_layer:
            _refuse_own_pass(state)
        elif state.as_it_is:
            return self.reference_logits(state.images, owner, kept)
        with self._net.evaluating():
            x, qkv = state.level(from_layer, precision)
            rows = _with_prefix(kept, self.prefix) + owner[:, None] * x.shape[1]
            blocks = state.blocks(precision)[from_layer:]
            parts = [
                _finish(state.anatomy, blocks, (_take(x, part), _take(qkv, part)), rows=part % x.shape[1])
                for part in rows.split(self._chunk(rows.shape[1]))
            ]
        return torch.cat(parts)

    def masked_logits(
        self,
        state: TokenState,
        owner: torch.Tensor,
        kept_mask: torch.Tensor,
        from_layer: int,
        *,
        precision: Precision = "exact",
    ) -> torch.Tensor:
        """Logits (c, classes) where all tokens stay, but attention does not see absent ones from `from_layer` on.

        Args:
            state: The images.
            owner: The image of each coalition, int64 (c,).
            kept_mask: The coalitions, True = present, bool (c, T).
            from_layer: The first block that does not see absent patches, 0 ... depth - 1.
            precision: `"exact"` or `"mixed"`.
        """
        _refuse_own_pass(state)
        with self._net.evaluating():
            x, qkv = state.level(from_layer, precision)
            blocks = state.blocks(precision)[from_layer:]
            seen = torch.nn.functional.pad(kept_mask, (self.prefix, 0), value=True)[:, None, None]
            chunk = self._chunk(x.shape[1])
            parts = [
                _finish(state.anatomy, blocks, (x[mine], qkv[mine]), mask=mask)
                for mine, mask in zip(owner.split(chunk), seen.split(chunk), strict=True)
            ]
        return torch.cat(parts)

    def reference_logits(self, images: torch.Tensor, owner: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """What `logits` says, by running the whole module and gathering tokens before its first block: slow, simple."""
        anatomy = self._read()
        size = images.shape[2], images.shape[3]
        tokens = math.prod(_grid(anatomy, *size))
        chunk = self._chunk(tokens)
        answers = []
        with self._net.evaluating():
            for mine, patches in zip(owner.split(chunk), kept.split(chunk), strict=True):
                rows = _with_prefix(patches, self.prefix)
                if not patches.shape[1] and _without_blocks(anatomy):
                    answers.append(_prefix_only(anatomy, images[mine]))
                    continue
                with _keeping(anatomy, rows, size):
                    answers.append(self._net.answer(images[mine]))
        return torch.cat(answers)

    def _read(self) -> Anatomy:
        anatomy = self._read_anatomy()
        if anatomy is None:
            raise ModelError(f"model `{self._net.name}`: its parts were replaced since it was wrapped; wrap it again")
        return anatomy

    @property
    def budget(self) -> int:
        """The greatest number of tokens that go through a block at once."""
        return self.token_budget or (_TOKENS_ON_CPU if self._net.device.type == "cpu" else _TOKENS_ON_GPU)

    def _chunk(self, tokens: int) -> int:
        """How many coalitions of `tokens` tokens go through the blocks at once."""
        return max(1, self.budget // max(1, tokens))


def _grid(of: "Anatomy | TokenModel", height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches of an image of `height` x `width` pixels."""
    rows, columns = of.patch_size
    wanted = of.image_size
    if (height, width) != wanted and not (of.any_size and height % rows == 0 and width % columns == 0):
        need = f"multiples of the patch, {rows} x {columns}" if of.any_size else f"{wanted[0]} x {wanted[1]}"
        raise bad_value("images", f"{need} pixels", f"{height} x {width}", "preprocess them as the model wants it")
    return height // rows, width // columns


def _with_prefix(kept: torch.Tensor, prefix: int) -> torch.Tensor:
    """Indices of tokens (c, prefix + m) for indices of patches (c, m)."""
    first = torch.arange(prefix, device=kept.device).expand(len(kept), -1)
    return torch.cat([first, kept + prefix], dim=1)


def _take(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows (c, n) of values (K, N, D), counted over all images, as (c, n, D)."""
    return values.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, values.shape[2])


def _finish(
    anatomy: Anatomy,
    blocks: Sequence[Block],
    entry: Level,
    *,
    mask: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits from what goes into the first of the remaining blocks; no tokens stay no tokens."""
    x = run(blocks, entry, read=anatomy.read, mask=mask, rows=rows) if entry[0].shape[1] else entry[0]
    return anatomy.head(x) if mask is None or anatomy.masked_head is None else anatomy.masked_head(x, mask)


def _without_blocks(anatomy: Anatomy) -> bool:
    """Whether an image without any patch is answered by prefix and head: the module has no answer, or another."""
    return anatomy.read is None and not anatomy.only_itself and (anatomy.keeping is None or not anatomy.prefix)


def _prefix_only(anatomy: Anatomy, images: torch.Tensor) -> torch.Tensor:
    """Logits without any patch where the head reads patches: the mean of none, which the module answers with NaN."""
    x = anatomy.embed(images)[:, : anatomy.prefix]
    if anatomy.prefix:
        for layer in anatomy.layers:
            x = layer(x)
    return anatomy.head(x)


def _keeping(anatomy: Anatomy, rows: torch.Tensor, size: tuple[int, int]) -> AbstractContextManager[None]:
    """Within it, the user's module keeps the tokens `rows` (c, n) of each sample only."""
    if anatomy.keeping is not None:
        return anatomy.keeping(rows, size)
    return keeping(anatomy.layers, None, rows, None)


def _refuse_own_pass(state: TokenState) -> None:
    if state.as_it_is:
        message = (
            "absence from a later block on needs a forward pass of our own, which would not answer as this model does "
            "with its hooks or replaced functions; remove them, or drop tokens before the first block"
        )
        raise ModelError(message)
