"""V = R + discount P V for several images, maps and discounts at once, on the device where they lie.

As the compiled half's solver (`src/graph/solve/`): the Chebyshev expansion of `(1 - g P)^-1` applied to P P R in single
precision, summed in double; what is left of the right-hand side after n terms is `g / 2 (c_n T_{n+1} - c_{n+1} T_n)`,
so the stop rule costs no product. The certificate is the residual in double precision, from weights in double
precision; where it does not hold, the residual is solved for in turn.

An image's answer does not depend on the images beside it: one that is done is added to no more. Numbers come to the
host once for `_CHECK_EVERY` products and once for a certificate, for all images together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpix.errors import ConvergenceError, bad_value
from interpix.propagation.device.products import Products
from interpix.propagation.options import SolveOptions

__all__ = ["Solved", "peaks_on", "solve"]

#: Products from one look at what is left to the next: a look waits for the device, and reads every sum.
_CHECK_EVERY = 8
# The three as in `src/graph/solve/progress.rs`.
#: The part of the tolerance that a pass in single precision aims at; its rounding gets the rest.
_CERTIFICATE_MARGIN = 0.9
#: Relative error that a pass in single precision does not reliably get below.
_SINGLE_PRECISION = 2e-5
#: Relative error of the certificate's own arithmetic.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Solved:
    """Propagated maps and how good they are.

    Attributes:
        values: V in double precision, (images, discounts, maps, H, W).
        iterations: Products with P, the certificates' not counted.
        residuals: ``max |R + discount P V - V|``, (images, discounts, maps).
        bounds: Upper bounds of ``max |V - V*| / max |V|``, (images, discounts, maps).
    """

    values: Tensor
    iterations: int
    residuals: NDArray[np.float64]
    bounds: NDArray[np.float64]


def solve(
    products: Products,
    rewards: Tensor,
    peaks: NDArray[np.float64],
    options: SolveOptions,
) -> Solved:
    """Solves for each image's maps and each discount.

    Two pixels of one color, the only neighbors of each other: V0 = 1 + V1 / 2 and V1 = V0 / 2.

    >>> from interpix.propagation.device.products import TorchProducts
    >>> from interpix.propagation.options import solve_options
    >>> pair = TorchProducts(torch.zeros(1, 3, 1, 2), radius=1, memory_budget=1 << 20)
    >>> rewards = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    >>> options = solve_options(discount=0.5, tolerance=1e-6, solver="auto")
    >>> solve(pair, rewards, np.ones((1, 1)), options).values.mul(3).round(decimals=4).flatten()
    tensor([4., 2.], dtype=torch.float64)

    Args:
        products: The images' P.
        rewards: R in double precision, (images, maps, H, W), finite.
        peaks: The greatest absolute values of `rewards`, (images, maps).
        options: Checked; the solver is the one that runs here.

    Raises:
        ConvergenceError: An image's tolerance was not reached.
        ArgumentError: Propagated values are beyond double precision's range.
    """
    scales = _power_of_two_scales(peaks)[:, None]
    scaled = rewards[:, None] * _on(rewards, scales)
    refinement = _Refinement(products, scaled, options)
    refinement.run(scales)
    return refinement.unscaled(scales)


class _Refinement:
    """Systems that are being solved, all maps scaled to about 1, and how far they have come.

    Arrays of numbers are (images, discounts, maps), tensors have (H, W) after that; 1 stands for all discounts.
    """

    def __init__(self, products: Products, rewards: Tensor, options: SolveOptions) -> None:
        self._products, self._rewards, self._options = products, rewards, options
        self._discounts = options["discounts"][None, :, None]
        self._tolerance, self._max_iterations = options["tolerance"], options["max_iterations"]
        self._iterations = 0
        images, _, maps, height, width = rewards.shape
        self._values = rewards.new_zeros((images, self._discounts.size, maps, height, width))
        self._defect = rewards.expand_as(self._values)
        self._certify()

    def run(self, scales: NDArray[np.float64]) -> None:
        """Solves for the defect in single precision until every image's certificate is below the tolerance."""
        worst = self._worst()
        while not (reached := worst <= self._tolerance).all():  # a bound that is no number is none
            self._correct(~reached)
            self._certify()
            before, worst = worst, self._worst()
            halved = (worst <= 0.5 * before) & (self._iterations < self._max_iterations)
            failed = ~(worst <= self._tolerance) & ~halved
            if failed.any():
                residual = float((self._residuals / scales)[failed].max())
                raise ConvergenceError(
                    f"{self._options['solver']} did not converge to the tolerance {self._tolerance:.1e}: after "
                    f"{self._iterations} iterations the residual is {residual:.3e} and the guaranteed relative error "
                    f"{worst[failed].max():.3e}; raise `max_iterations` or `tolerance`"
                )

    def unscaled(self, scales: NDArray[np.float64]) -> Solved:
        """The answer at the scale of the maps, with what that rounds away: only what is below the normal numbers."""
        factor = _on(self._values, scales)
        values = self._values / factor
        rounding, largest = peaks_on((values * factor).sub_(self._values), values)
        with np.errstate(invalid="ignore", over="ignore"):
            lost = np.divide(rounding, largest * scales, out=np.zeros_like(rounding), where=rounding > 0)
            bounds = self._bounds + lost
        if not (np.isfinite(largest).all() and np.isfinite(bounds).all()):
            # Their logarithms: the numbers themselves are infinite.
            greatest = (np.log10(np.maximum(self._largest, 1e-300)) - np.log10(scales)).max()
            expected = "a map whose propagated values are in double precision's range"
            raise bad_value("attribution", expected, f"values of about 1e{greatest:.0f}", "scale it first")
        return Solved(values, self._iterations, self._residuals / scales, bounds)

    def _worst(self) -> NDArray[np.float64]:
        """The greatest bound of each image; NaN if there is one."""
        worst: NDArray[np.float64] = self._bounds.max(axis=(1, 2))
        return worst

    def _certify(self) -> None:
        """The defect in double precision, and from it residuals and error bounds."""
        if self._iterations > 0:
            steps = self._products.step_exactly(self._values.flatten(1, 2)).view_as(self._values)
            self._defect = steps.mul_(_on(steps, self._discounts)).add_(self._rewards).sub_(self._values)
        self._residuals, self._largest = peaks_on(self._defect, self._values)
        errors = (self._residuals + _ROUNDING * self._largest) / (1 - self._discounts)
        # Before the first pass V is 0 and all of it is missing.
        greatest = np.maximum(self._largest, self._residuals)
        self._bounds = np.divide(errors, greatest, out=np.zeros_like(errors), where=errors != 0)

    def _correct(self, wanted: NDArray[np.bool_]) -> None:
        """Adds the solution for the defect to the values of the images that are wanted.

        With `s = sqrt(1 - g^2)` and `q = g / (1 + s)`, `(1 - g P)^-1 = sum of c_k T_k(P)`, `c_0 = 1 / s` and
        `c_k = 2 q^k / s`; the series is summed for P P R, V = R + g P R + g^2 (1 - g P)^-1 P P R.
        """
        # At first all discounts have the same right-hand sides.
        rhs, peaks = (self._defect, self._residuals) if self._iterations else (self._rewards, self._residuals[:, :1])
        asked = wanted[:, None, None]
        rhs = torch.where(_on(rhs, asked), rhs, 0.0)
        scales = _power_of_two_scales(np.where(asked, peaks, 0.0))
        series = _Series(self._products, rhs, scales, self._discounts)
        self._iterations += 2
        goal = _Goal(_on(rhs, self._largest), _on(rhs, 1 - self._discounts), self._tolerance)
        for product in range(1, self._max_iterations - self._iterations + 1):
            series.add_term()
            self._iterations += 1
            if product % _CHECK_EVERY == 0 and not series.stop_what_is_done(goal):
                break
        self._values += series.sums


@dataclass(frozen=True)
class _Goal:
    """The residual that is small enough, given the largest value before the pass and the correction's."""

    before: Tensor
    undiscounted: Tensor
    tolerance: float

    def of(self, correction: Tensor) -> Tensor:
        wanted = _CERTIFICATE_MARGIN * self.tolerance * torch.maximum(self.before, correction)
        return self.undiscounted * torch.maximum(wanted, _SINGLE_PRECISION * correction)


class _Series:
    """The first terms of the expansion for several right-hand sides and discounts.

    Attributes:
        sums: V as far as it is summed, in double precision: its rounding would be the largest part of the residual.
    """

    def __init__(
        self, products: Products, rhs: Tensor, scales: NDArray[np.float64], discounts: NDArray[np.float64]
    ) -> None:
        self._products, self._shape = products, rhs.shape
        s = np.sqrt(1 - discounts**2)
        self._discount, self._ratio = _on(rhs, discounts), _on(rhs, discounts / (1 + s))
        first = products.step((rhs * _on(rhs, scales)).float().flatten(1, 2))
        self.sums = torch.addcmul(rhs, _on(rhs, discounts / scales), first.view(self._shape))
        # T_k P P R and T_{k-1} P P R of each right-hand side, and c_k.
        self._new, self._old = products.step(first), first
        self._factor = _on(rhs, 2 * discounts**2 / s / scales)
        self._terms = 0

    def add_term(self) -> None:
        """Adds the next term to each sum."""
        self._factor = self._factor * self._ratio if self._terms > 0 else self._factor
        factor = self._factor if self._terms > 0 else 0.5 * self._factor
        self.sums.addcmul_(factor, self._new.view(self._shape))
        following = self._products.step(self._new)
        if self._terms > 0:  # T_1 is P: there is no previous term
            # Twice as far from the old to the following: 2 P T_k - T_{k-1} in one launch.
            following = self._old.lerp_(following, 2.0)
        self._old, self._new = self._new, following
        self._terms += 1

    def stop_what_is_done(self, goal: _Goal) -> bool:
        """Adds no more to images of which nothing is left above the goal; whether there are others."""
        ends = self._new.view(self._shape) - self._ratio.float() * self._old.view(self._shape)
        left = 0.5 * self._discount * self._factor * ends.abs_().amax((-2, -1), keepdim=True)
        going = left > goal.of(self.sums.abs().amax((-2, -1), keepdim=True))
        going = going.any(dim=2, keepdim=True).any(dim=1, keepdim=True)
        self._factor = self._factor * going
        return bool(going.any())


def peaks_on(*tensors: Tensor) -> NDArray[np.float64]:
    """The greatest absolute values of each (H, W), in one transfer; NaN where there is one."""
    peaks = torch.stack([tensor.abs().amax((-2, -1)) for tensor in tensors])
    numbers: NDArray[np.float64] = peaks.cpu().numpy()
    return numbers


def _power_of_two_scales(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """What brings values to a size of about 1: powers of two, so that nothing is rounded.

    >>> _power_of_two_scales(np.array([0.0, 0.25, 7.0]))
    array([1.   , 4.   , 0.125])
    """
    exponents = np.round(np.log2(np.where(peaks == 0, 1.0, peaks)))
    # Of the least numbers the inverse would be infinite; what is left of them is large enough.
    return np.ldexp(1.0, np.clip(-exponents, -1022, 1022).astype(np.int32))


def _on(like: Tensor, numbers: NDArray[np.generic]) -> Tensor:
    """Numbers of images, discounts and maps beside tensors that have (H, W) after these."""
    return torch.from_numpy(np.ascontiguousarray(numbers[..., None, None])).to(like.device)
