"""Where the patch tokens of a Vision Transformer are, said by the user where its class is not known."""

from dataclasses import dataclass

from interpix.checks import check_integer
from interpix.errors import bad_type, bad_value
from interpix.options import plain_options

__all__ = ["Tokens"]


@dataclass(frozen=True)
class Tokens:
    """Where the patch tokens of a Vision Transformer are whose class is not known.

    The module itself drops them, by hooks on its blocks. Once a call it is tried whether they are as described: each
    patch must go into a token of its own, and only by these into the answer, which must not depend on their order.

    >>> import torch
    >>> class ViT(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed = torch.nn.Conv2d(3, 8, 8, 8)
    ...         self.place = torch.nn.Parameter(torch.randn(6, 8))
    ...         layer = torch.nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    ...         self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    ...
    ...     def forward(self, x):
    ...         return self.encoder(self.embed(x).flatten(2).mT + self.place).mean(1)
    >>> import interpix as ix
    >>> import numpy as np
    >>> model = ix.TorchClassifier(ViT(), tokens=Tokens("encoder.layers", patch=8, prefix=0))
    >>> ix.MoXI(model).explain(np.ones((3, 16, 24), np.float32), 1, stop=1).provenance["regions"]
    '2x3'

    Attributes:
        blocks: The name of its list of transformer blocks, as in `module.named_modules()`; each takes and gives tokens
            (B, prefix + patches, D), those of patches in rows from the top left.
        patch: Height and width of a patch in pixels, or one number for both.
        prefix: How many tokens come before those of patches: class, distillation and register tokens.
    """

    blocks: str
    patch: int | tuple[int, int]
    prefix: int = 1

    def __post_init__(self) -> None:
        plain_options(self)
        if not isinstance(self.blocks, str):
            raise bad_type("blocks", "the name of a list of blocks", self.blocks, 'for example "encoder.layers"')
        need, cure = "pixels of a patch, a positive number or two", "16 is usual"
        sides = self.patch if isinstance(self.patch, tuple) else (self.patch, self.patch)
        if len(sides) != 2:
            raise bad_value("patch", need, self.patch, cure)
        for side in sides:
            check_integer("patch", side, 1, None, need, cure)
        check_integer("prefix", self.prefix, 0, None, "a number of tokens", "1 for a class token")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a patch, pixels."""
        return self.patch if isinstance(self.patch, tuple) else (self.patch, self.patch)
