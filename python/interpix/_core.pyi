# ---- search --------------------------------------------------------------------------------------

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Asked",
    "Batch",
    "Explored",
    "Explorer",
    "Group",
    "NativeModel",
    "NativeTokens",
    "Outcome",
    "PixelGraph",
    "Plan",
    "Round",
    "Search",
    "__version__",
    "architectures",
    "check_architecture",
    "check_solve",
    "convert_weights",
    "default_radius",
    "gather_windows",
    "interpolate",
    "one_shot",
    "prepare",
    "reset_threads",
    "restore_levels",
    "rgb_to_lab",
    "set_threads",
    "shapley_interactions",
    "shapley_values",
    "transform_products",
    "transform_tiles",
    "vector_instructions",
]

__version__: str

def reset_threads() -> None:
    """Forget the thread pool in the child of a fork."""

def set_threads(count: int) -> None:
    """Set the number of threads of parallel work; 0 means one for each core."""

def vector_instructions() -> Literal["AVX-512", "AVX2", "NEON", "none"]:
    """The vector instructions that run here, of those that the kernels are compiled for."""

@final
class Search:
    """Greedy searches of any number of images that share their batches.

    ``ask`` for a batch of coalitions, evaluate it, ``tell`` the scores, until ``ask`` returns ``None``. The outcome
    depends on neither ``batch_size`` nor ``in_flight``; equal rewards go to the lowest player.

    Args:
        players: Number of players of each image.
        direction: ``"insertion"`` (argmax of the reward, from nothing) or ``"deletion"`` (argmin, from everything).
        stop: ``"flip"`` ends an image when its answer holds (insertion) or no longer does (deletion), ``"all"`` after
            all players, an integer after so many steps.
        min_confidence: With ``stop="flip"`` and insertion, the least answer, a probability in [0, 1].
        min_players: With ``stop="flip"``, find at least so many players, whenever the flip was.
        batch_size: Most coalitions in a batch.
        in_flight: Most images searched at the same time.
        full: For each image what was told of all players together, where it is known: (reward, answer, predicted class
            or -1, whether it holds).
        empty: Likewise of no player at all.

    Raises:
        interpix.errors.ArgumentError: An argument is out of its range.
    """

    def __new__(
        cls,
        players: Sequence[int],
        *,
        direction: Literal["insertion", "deletion"],
        stop: Literal["all", "flip"] | int,
        min_confidence: float = 0.0,
        min_players: int = 0,
        batch_size: int = 64,
        in_flight: int = 64,
        full: Sequence[tuple[float, float, int, bool] | None] | None = None,
        empty: Sequence[tuple[float, float, int, bool] | None] | None = None,
    ) -> Search: ...
    def ask(self) -> Batch | None:
        """Return the next coalitions to evaluate, or ``None`` at the end; before ``tell`` the same ones again."""

    def tell(
        self,
        reward: NDArray[np.float64],
        answer: NDArray[np.float64],
        predicted: NDArray[np.int64],
        holds: NDArray[np.bool],
    ) -> None:
        """Take the scores of the batch asked last, row by row; on an error the batch stays open.

        Args:
            reward: (c,) finite.
            answer: (c,) what the model says of the target, finite: a classifier's probability.
            predicted: (c,) the class of the greatest logit; -1 without classes.
            holds: (c,) whether the model still says what is explained.
        """

    def ask_round(self, most: int | None = None) -> Round | None:
        """Return a whole step of about half of the images in flight; ``None`` where no image awaits one.

        For evaluators that list a step's candidates themselves. Any number of rounds may be open; ``ask`` has what
        else there is.

        Args:
            most: The greatest number of candidates, unless one image has more.
        """

    def tell_best(
        self,
        ticket: int,
        player: NDArray[np.int64],
        reward: NDArray[np.float64],
        answer: NDArray[np.float64],
        predicted: NDArray[np.int64],
        holds: NDArray[np.bool],
        gap: NDArray[np.float64],
    ) -> None:
        """Take the best player of each image of an open round; on an error the round stays open.

        Args:
            ticket: The round's.
            player: (b,) the lowest of those whose flip is best.
            reward: (b,) of the set with it flipped; the next columns as of ``tell``.
            answer: (b,)
            predicted: (b,)
            holds: (b,)
            gap: (b,) how far the reward is ahead of the second best, at least 0.
        """

    def outcomes(self) -> list[Outcome]:
        """Return what was found, in the order of the images.

        Before the end: only the images of which both ends are known, as far as they have come (see
        ``Outcome.image``).
        """

    def ended(self) -> list[int]:
        """Return the images whose searches have ended since this was asked last, ascending."""

    def outcome(self, image: int) -> Outcome | None:
        """Return what was found on one image so far; ``None`` before both ends are known."""

    def replace(
        self,
        image: int,
        players: int,
        *,
        full: tuple[float, float, int, bool] | None = None,
        empty: tuple[float, float, int, bool] | None = None,
    ) -> None:
        """Begin the search of another image in the place of one that has ended.

        Args:
            image: The place.
            players: The other image's number of players.
            full: What was told of all players together, where it is known.
            empty: Likewise of no player at all.

        Raises:
            interpix.errors.ArgumentError: The place does not exist, or its search goes on.
        """

    @property
    def done(self) -> bool:
        """Whether every search has ended."""

    @property
    def evaluations(self) -> int:
        """Coalitions evaluated so far."""

    @property
    def steps(self) -> list[int]:
        """Flips done so far, for each image."""

@final
class Batch:
    """Coalitions of equal size from one or more images: each row is an image's base set with one player flipped."""

    def __len__(self) -> int: ...
    @property
    def size(self) -> int:
        """Number of present players, the same in every row."""

    @property
    def owner(self) -> NDArray[np.int64]:
        """(c,) the image of each row, ascending."""

    @property
    def flip(self) -> NDArray[np.int64]:
        """(c,) the player that differs from the image's base set; -1: the base set itself."""

    @property
    def bases(self) -> NDArray[np.bool_]:
        """(b, n) the base sets of the images that have rows here, ascending by image, True = present."""

    @property
    def row(self) -> NDArray[np.int64]:
        """(c,) the row of ``bases`` that holds each row's base set."""

    def masks(self, owner: int | None = None) -> NDArray[np.bool_]:
        """Return presence, (c, n), True = present.

        n is the largest number of players in the batch; an image with fewer has False beyond its own. With an
        ``owner``, only that image's rows and players.
        """

    def kept(self) -> NDArray[np.int64]:
        """Return the present players of each row, ascending, (c, size)."""

@final
class Round:
    """One step of some images whose sets have equally many players: which one to flip next?"""

    @property
    def ticket(self) -> int:
        """What ``tell_best`` knows it by."""

    @property
    def size(self) -> int:
        """Number of present players, the same in every set."""

    @property
    def images(self) -> NDArray[np.int64]:
        """(b,) the images, ascending."""

    @property
    def bases(self) -> NDArray[np.bool_]:
        """(b, n) the set of each image, True = present."""

@final
class Outcome:
    """What the search of one image found."""

    @property
    def image(self) -> int:
        """Index of the image."""

    @property
    def ranking(self) -> NDArray[np.int64]:
        """(k,) the players in the order of their flips, most important first."""

    @property
    def reward(self) -> NDArray[np.float64]:
        """(k + 1,) after 0, 1, ... flips."""

    @property
    def answer(self) -> NDArray[np.float64]:
        """(k + 1,) what the model says of the target, after 0, 1, ... flips."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(k + 1,) the predicted class or -1, after 0, 1, ... flips."""

    @property
    def holds(self) -> NDArray[np.bool]:
        """(k + 1,) whether the answer holds, after 0, 1, ... flips."""

    @property
    def full(self) -> tuple[float, float, int, bool]:
        """Reward, answer, predicted class, and whether it holds, of all players together."""

    @property
    def empty(self) -> tuple[float, float, int, bool]:
        """The same of no player at all."""

    @property
    def stopped_at(self) -> int | None:
        """First number of flips where the condition of ``stop="flip"`` held, 0 = at the start, under every rule."""

    @property
    def gaps(self) -> NDArray[np.float64]:
        """(k,) how far each step's best reward was ahead of the second; inf where one player was left."""

    @property
    def evaluations(self) -> int:
        """Coalitions that were evaluated for this image."""

# ---- explore -------------------------------------------------------------------------------------

@final
class Plan:
    """How groups of each image are looked for.

    Args:
        direction: ``"insertion"`` (groups that suffice), ``"deletion"`` (that are needed) or ``"both"`` (at once).
        search: ``"greedy"``, ``"beam"``, ``"bidirectional"``, ``"swap"`` or ``"catalogue"``.
        weight: With ``"both"``, how much the reward of the group alone counts, in [0, 1].
        stop: As of ``Search``; ``"swap"`` and ``"catalogue"`` take ``"flip"`` only.
        min_confidence: As of ``Search``.
        min_players: As of ``Search``, for ``"greedy"`` and ``"bidirectional"``.
        minimal: With ``stop="flip"``, shrink the group until no player can be left out.
        width: Of beams.
        pending: Of ``"bidirectional"``: how many players are tried for the back of the order.
        count: Of a catalogue: most groups.
        overlap: Of a catalogue: the greatest part of a smaller group's players that another one may have, in [0, 1].
        exhaust: Of a catalogue: all groups of up to so many players are tried first.
        tries: Of a catalogue: most beams.

    Raises:
        interpix.errors.ArgumentError: A word is none.
    """

    def __new__(
        cls,
        direction: Literal["insertion", "deletion", "both"],
        search: Literal["greedy", "beam", "bidirectional", "swap", "catalogue"],
        *,
        weight: float = 0.5,
        stop: Literal["all", "flip"] | int,
        min_confidence: float = 0.0,
        min_players: int = 0,
        minimal: bool = False,
        width: int = 4,
        pending: int = 8,
        count: int = 5,
        overlap: float = 0.5,
        exhaust: int = 1,
        tries: int = 20,
    ) -> Plan: ...

@final
class Explorer:
    """Searches of any number of images, each after all of some plans, which share batches and what is known.

    Args:
        players: Number of players of each image.
        plans: At least one.
        batch_size: Most coalitions in a batch.
        in_flight: Most images searched at the same time.
        full: For each image what was told of all players together, where it is known.
        empty: Likewise of no player at all.

    Raises:
        interpix.errors.ArgumentError: An argument is out of its range.
    """

    def __new__(
        cls,
        players: Sequence[int],
        plans: Sequence[Plan],
        *,
        batch_size: int = 64,
        in_flight: int = 64,
        full: Sequence[tuple[float, float, int, bool] | None] | None = None,
        empty: Sequence[tuple[float, float, int, bool] | None] | None = None,
    ) -> Explorer: ...
    def know(
        self,
        image: int,
        masks: NDArray[np.bool],
        reward: NDArray[np.float64],
        answer: NDArray[np.float64],
        predicted: NDArray[np.int64],
        holds: NDArray[np.bool],
    ) -> None:
        """Take what is known of an image already, coalitions (c, players) and their scores: it is not asked again."""

    def give(self, image: int, order: Sequence[int]) -> None:
        """Take an order of an image's players in the place of what its plans would search for."""

    def ask(self) -> Asked | None:
        """Return the next coalitions to evaluate, or ``None`` at the end; before ``tell`` the same ones again."""

    def tell(
        self,
        reward: NDArray[np.float64],
        answer: NDArray[np.float64],
        predicted: NDArray[np.int64],
        holds: NDArray[np.bool],
    ) -> None:
        """Take the scores of what was asked last, as ``Search.tell`` does."""

    def outcome(self, image: int) -> Explored | None:
        """Return what was found on one image so far, once its two ends are known."""

    @property
    def done(self) -> bool:
        """Whether every search has ended."""

    @property
    def evaluations(self) -> int:
        """Coalitions evaluated so far."""

@final
class Asked:
    """Coalitions of one or more images that are evaluated together."""

    def __len__(self) -> int: ...
    @property
    def owner(self) -> NDArray[np.int64]:
        """The image of each, (c,)."""

    @property
    def masks(self) -> NDArray[np.bool]:
        """Presence, (c, players); an image with fewer players than others has False beyond its own."""

    def flips(self) -> tuple[NDArray[np.bool], NDArray[np.int64], NDArray[np.int64]]:
        """Return the same as sets (b, players), the set of each (c,), and the player flipped in it, -1: none (c,)."""

@final
class Explored:
    """What was found on one image."""

    @property
    def groups(self) -> list[list[Group]]:
        """For each plan its groups: one, or those of a catalogue."""

    @property
    def full(self) -> tuple[float, float, int, bool]:
        """The score of all players together: reward, answer, predicted class or -1, whether it holds."""

    @property
    def empty(self) -> tuple[float, float, int, bool]:
        """The score of no player at all."""

    @property
    def evaluations(self) -> int:
        """Coalitions that were evaluated for this image; its plans share them."""

@final
class Group:
    """A group of players, or an order of them."""

    @property
    def ranking(self) -> NDArray[np.int64]:
        """The players in the order found (k,)."""

    @property
    def alone(self) -> list[tuple[float, float, int, bool]]:
        """What is said to the first 0 ... k of them alone; empty for deletion."""

    @property
    def without(self) -> list[tuple[float, float, int, bool]]:
        """What is said to all others; empty for insertion."""

    @property
    def gaps(self) -> NDArray[np.float64]:
        """By how much each is ahead of the best other one that was tried in its place (k,)."""

    @property
    def stopped_at(self) -> int | None:
        """The least number of players that do what they shall."""

    @property
    def minimal(
        self,
    ) -> tuple[list[int], tuple[float, float, int, bool] | None, tuple[float, float, int, bool] | None] | None:
        """Those that cannot be left out, what is said to them alone, and to all others."""

    @property
    def none_up_to(self) -> int | None:
        """Every group of up to so many players was tried, and none does what it shall."""

    @property
    def all_parts_tried(self) -> bool:
        """Whether every part of the group was tried, and none does what it shall."""

# ---- game ----------------------------------------------------------------------------------------

def shapley_values(
    players: int,
    evaluate: Callable[[NDArray[np.bool_]], ArrayLike],
    *,
    sampler: Literal["exact", "moxi", "permutation"] = "exact",
    rounds: int = 200,
    seed: int = 0,
    batch_size: int = 64,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return every player's Shapley value, its standard error, and the number of coalitions evaluated.

    Args:
        players: Number of players n; at most 16 with ``sampler="exact"``.
        evaluate: Takes presence (c, n), True = present, and returns rewards (c,). Its exceptions come out as they are.
        sampler: ``"exact"``: all coalitions. ``"moxi"``: each round draws one size ratio and a random coalition of
            others of that ratio for each player. ``"permutation"``: each round lets all join in a random order.
        rounds: Number of rounds of the two samplers.
        seed: Of the two samplers, at least 0; the same seed gives the same values everywhere.
        batch_size: Most rows that ``evaluate`` gets at once.

    Returns:
        Values (n,), standard errors (n,) (zero when exact, infinite after a single round), evaluations.
    """

def shapley_interactions(
    players: int, evaluate: Callable[[NDArray[np.bool_]], ArrayLike], *, batch_size: int = 64
) -> NDArray[np.float64]:
    """Return the Shapley interaction index of each pair, (n, n), symmetric with a zero diagonal, for n <= 16.

    Args:
        players: Number of players n.
        evaluate: As in ``shapley_values``.
        batch_size: Most rows that ``evaluate`` gets at once.
    """

def one_shot(
    players: int,
    evaluate: Callable[[NDArray[np.bool_]], ArrayLike],
    *,
    direction: Literal["insertion", "deletion"],
    batch_size: int = 64,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rank all players at once, without interactions (MoXI(-)), from n + 1 evaluations.

    Args:
        players: Number of players n.
        evaluate: As in ``shapley_values``.
        direction: ``"insertion"`` ranks by f(a) - f({}), ``"deletion"`` by [f(N) - f(N - a)] / n.
        batch_size: Most rows that ``evaluate`` gets at once.

    Returns:
        The ranking (n,), most important first, and each player's value (n,).
    """

# ---- graph ---------------------------------------------------------------------------------------

def rgb_to_lab(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert sRGB (H, W, 3), uint8 or float32 in 0..1, to CIELAB planes (3, H, W) as scikit-image does."""

def default_radius(height: int, width: int) -> int:
    """Return the paper's radius for an image of this size."""

def check_solve(*, discounts: Sequence[float], tolerance: float, solver: str, max_iterations: int) -> None:
    """Refuse options of `PixelGraph.propagate` that no solver takes."""

@final
class PixelGraph:
    """The pixels of one image and the probability of stepping from each to its neighbors.

    Args:
        lab: (3, H, W) CIELAB.
        radius: Chebyshev radius of a neighborhood, at least 1; ``None`` is the paper's.
        memory_budget: Bytes that stored weights may take; above it they are computed in every product.
    """

    def __new__(
        cls, lab: NDArray[np.float32], *, radius: int | None = None, memory_budget: int = 1073741824
    ) -> PixelGraph: ...
    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def radius(self) -> int:
        """Chebyshev radius of a neighborhood."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of stored weights, 0 when they are computed in every product."""

    @property
    def colors(self) -> NDArray[np.float32]:
        """The image in CIELAB (3, H, W), from which the same graph is built again."""

    def propagate(
        self,
        maps: NDArray[np.float64],
        *,
        discounts: NDArray[np.float64],
        tolerance: float,
        solver: str,
        max_iterations: int,
    ) -> tuple[NDArray[np.float64], int, NDArray[np.float64], NDArray[np.float64]]:
        """Propagate maps (M, H, W) with each of D discounts.

        Returns:
            Values (D, M, H, W), products with P, residuals (D, M), guaranteed relative errors (D, M).
        """

    def transition_matrix(self) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any]]:
        """Return P in compressed sparse rows: data, column indices, row starts; int32 where that suffices, or int64."""

# ---- interpolation -------------------------------------------------------------------------------

def interpolate(image: NDArray[np.float32], known: NDArray[np.bool_], fill: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (H, W, C) with the pixels that are not `known` interpolated linearly between those that are.

    Args:
        image: The colors (H, W, C).
        known: True where the color is kept (H, W).
        fill: The color (C) outside of the known pixels' convex hull.
    """

# ---- levels --------------------------------------------------------------------------------------

def restore_levels(
    tensor: NDArray[np.float32], mean: Sequence[float], scale: Sequence[float], channel: Sequence[int], slack: float
) -> tuple[NDArray[np.uint8], float, float, int, tuple[float, float]]:
    """Return the picture (H, W, C) of a model's input (C, H, W), and what was seen on the way.

    That is the least and the greatest level, how many are beyond, and the least and greatest value of the input.

    Args:
        tensor: (level - mean) / scale for each channel.
        mean: (C,)
        scale: (C,)
        channel: Which of the picture's channels each of the input's is (C,).
        slack: How many levels beyond 0 and 255 still count as these.

    Raises:
        interpix.errors.ArgumentError: The lists do not fit.
    """

# ---- models --------------------------------------------------------------------------------------

@final
class NativeModel:
    """A classifier that runs without torch.

    Args:
        name: The architecture's name.
        weights: A safetensors file, or torch's old pickle format.

    Raises:
        interpix.errors.ArgumentError: There is no such architecture.
        interpix.errors.ModelError: The file is damaged, of another format, or another architecture's.
    """

    def __new__(cls, name: str, weights: str | PathLike[str]) -> NativeModel: ...
    @staticmethod
    def from_folder(folder: str | PathLike[str]) -> NativeModel:
        """Return the model that a folder holds, with timm's or transformers' configuration."""

    @property
    def name(self) -> str:
        """The checkpoint's name."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the image that the network sees."""

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of a Vision Transformer's patches."""

    @property
    def depth(self) -> int | None:
        """The number of a Vision Transformer's blocks."""

    @property
    def class_names(self) -> list[str] | None:
        """One name for each class, where they are known."""

    @property
    def classes(self) -> int:
        """The number of classes."""

    @property
    def independent(self) -> bool:
        """Whether each class is a label of its own, there or not."""

    def tokens(self, images: NDArray[np.float32]) -> NativeTokens:
        """Embed preprocessed images (K, 3, H, W), once for all of their coalitions."""

    def preprocess(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return an RGB photo (H, W, 3) as the network's normalized input (3, h, w)."""

    def display(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of an RGB photo that the network sees, at its size: (h, w, 3)."""

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (B, classes) of preprocessed images (B, 3, H, W)."""

    def masked_logits(
        self,
        images: NDArray[np.float32],
        regions: NDArray[np.int64],
        fill: NDArray[np.float32],
        owner: NDArray[np.int64],
        masks: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return the logits (c, classes) of coalitions.

        Args:
            images: Preprocessed images (K, 3, H, W).
            regions: Labels of each image (K, H, W), 0 ... n-1.
            fill: What absent regions show, (K, 3, H, W), preprocessed too.
            owner: The image of each coalition, (c,).
            masks: The coalitions (c, n), True = present.
        """

    def masked_best(
        self, images: NDArray[np.float32], regions: NDArray[np.int64], fill: NDArray[np.float32], step: object
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
        """Return the best player of each image of a step (b,), its lead (b,), and the logits with it (b, classes).

        Args:
            images: As for `masked_logits`.
            regions: As for `masked_logits`.
            fill: As for `masked_logits`.
            step: What is asked: an `interpix.models.protocol.steps.Step`.
        """

@final
class NativeTokens:
    """Images as a Vision Transformer's tokens; made by `NativeModel.tokens`."""

    def logits(
        self, owner: NDArray[np.int64], kept: NDArray[np.bool_], *, masked: bool, from_layer: int
    ) -> NDArray[np.float32]:
        """Return the logits (c, classes) of coalitions of patches.

        Args:
            owner: The image of each coalition, (c,).
            kept: The coalitions (c, patches), True = present.
            masked: Absent tokens stay, but attention does not see them; otherwise they are dropped.
            from_layer: The first block where they are missing.
        """

    def best(
        self, players: NDArray[np.int64], step: object, *, masked: bool, from_layer: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
        """Return the best player of each image of a step (b,), its lead (b,), and the logits with it (b, classes).

        Args:
            players: The player of each patch (K, patches).
            step: What is asked, of players: an `interpix.models.protocol.steps.Step`.
            masked: As for `logits`.
            from_layer: As for `logits`.
        """

def architectures() -> list[str]:
    """Return the names of the native architectures, those of timm and torchvision."""

def prepare(name: str, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an RGB photo (H, W, 3) as the library prepares it for the weights that it has under this name: (3, h, w).

    Raises:
        interpix.errors.ArgumentError: There is no such architecture.
    """

def check_architecture(name: str) -> None:
    """Refuse a name that is no native architecture's.

    Raises:
        interpix.errors.ArgumentError: With the names that there are.
    """

def convert_weights(name: str, source: str | PathLike[str]) -> bytes:
    """Return a checkpoint in torch's old pickle format, or in safetensors, as a safetensors file's content.

    Raises:
        interpix.errors.ModelError: The file is damaged, or of another format.
        OSError: It cannot be read.
    """

# ---- windows -------------------------------------------------------------------------------------

def gather_windows(
    table: NDArray[np.uint8],
    base: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    windows: NDArray[np.int64],
    fill: NDArray[np.uint8],
    origins: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy an area of each candidate's map into `out`: its window where that reaches, else the base map, else `fill`.

    Args:
        table: The pixels (rows, bytes) of all windows, whatever their numbers are.
        base: The base map (height * width, bytes).
        size: Height and width of the map.
        windows: Top, left, height, width and first row of each candidate's window, (5, candidates).
        fill: The pixel (bytes) outside of the map.
        origins: Top and left of each area, (2, candidates), which may lie outside of the map.
        out: Receives the areas (candidates, h, w, bytes).

    Raises:
        interpix.errors.ArgumentError: The arrays do not belong together.
    """

def transform_tiles(
    table: NDArray[Any],
    base: NDArray[Any] | None,
    *,
    size: tuple[int, int],
    windows: NDArray[np.int64],
    origins: NDArray[np.int64],
    tiles: tuple[int, int],
    out: NDArray[Any],
) -> None:
    """Transform the inputs of a 3 x 3 convolution by Winograd's F(4 x 4, 3 x 3): the left factors of 36 products.

    Args:
        table: The pixels (rows, C) of all windows, float32, or the bits of bfloat16 as uint16.
        base: The base map (height * width, C), which is taken away; None for zero.
        size: Height and width of the map.
        windows: Top, left, height, width and first row of each candidate's window, (5, candidates).
        origins: Top and left of each candidate's first input, (2, candidates), which may lie outside of the map.
        tiles: Tiles of 4 x 4 outputs down and across.
        out: Receives the transformed tiles (36, candidates * tiles, C), in the table's numbers.

    Raises:
        interpix.errors.ArgumentError: The arrays do not belong together.
    """

def transform_products(
    products: NDArray[Any],
    start: NDArray[np.float32],
    origins: NDArray[np.int64],
    out: NDArray[Any],
) -> None:
    """Transform the 36 products of `transform_tiles`' result with transformed kernels back.

    Args:
        products: The products (36, candidates * tiles, O), float32, or the bits of bfloat16 as uint16.
        start: What the outputs are added to, (H, W, O).
        origins: Top and left of each candidate's outputs in `start`, (2, candidates).
        out: Receives the outputs (candidates, h, w, O), in the products' numbers.

    Raises:
        interpix.errors.ArgumentError: The arrays do not belong together.
    """
