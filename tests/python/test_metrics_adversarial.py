import numpy as np
import pytest

import interpix as ix
from interpix.metrics import Sample, l2_pgd, trace_adversarial
from interpix.normalization import Normalization

torch = pytest.importorskip("torch")

HEIGHT, WIDTH = 4, 6
UNIT = Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
GRAY = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)


class Linear(torch.nn.Module):
    """Two classes with logits w x and -w x."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(3 * HEIGHT * WIDTH, generator=generator))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, batch):
        score = self.dropout(batch.flatten(1)) @ self.weight
        return torch.stack([score, -score], dim=1)

    def direction(self):
        """The unit vector (H, W, 3) along which the first class grows fastest."""
        weight = self.weight.detach().numpy().reshape(3, HEIGHT, WIDTH).transpose(1, 2, 0)
        return weight / np.linalg.norm(weight)


@pytest.mark.parametrize(("steps", "length"), [(1, 0.2), (3, 0.6), (5, 1.0), (10, 1.0)])
def test_a_linear_classifier_by_hand(steps, length):
    # Every gradient is along -w for class 0, so the attack walks straight, up to the ball's border.
    module = Linear()
    attacked = l2_pgd(module, UNIT, GRAY, 0, steps=steps)
    np.testing.assert_allclose(attacked, GRAY / 255 - length * module.direction(), atol=1e-5)
    towards = l2_pgd(module, UNIT, GRAY, 1, steps=steps)
    np.testing.assert_allclose(towards, GRAY / 255 + length * module.direction(), atol=1e-5)


class Wrapped(Linear):
    """Answers with an object that holds the logits, as Hugging Face's models do."""

    def forward(self, batch):
        return {"logits": super().forward(batch)}


def test_a_module_that_answers_with_an_object_is_attacked_like_its_logits():
    """F33: Hugging Face's answers went into the cross-entropy as they were."""
    np.testing.assert_array_equal(l2_pgd(Wrapped(), UNIT, GRAY, 0), l2_pgd(Linear(), UNIT, GRAY, 0))


def test_a_module_of_half_precision_is_attacked_in_its_own_precision():
    attacked = l2_pgd(Linear().to(torch.bfloat16), UNIT, GRAY, 0, steps=3)
    np.testing.assert_allclose(attacked, GRAY / 255 - 0.6 * Linear().direction(), atol=2e-3)


def test_pixels_stay_in_range():
    module = Linear()
    attacked = l2_pgd(module, UNIT, np.zeros_like(GRAY), 0, radius=3, step_size=3, steps=1)
    np.testing.assert_allclose(attacked, np.clip(-3 * module.direction(), 0, 1), atol=1e-5)


def test_the_normalization_is_undone():
    # Normalizing stretches the channels, and with them the gradient in pixel space.
    module = Linear()
    scale = np.array([50.0, 100.0, 200.0])
    attacked = l2_pgd(module, Normalization((10.0, 20.0, 30.0), tuple(scale)), GRAY, 0, steps=1)
    gradient = module.direction() / scale
    expected = GRAY / 255 - 0.2 * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(attacked, expected, atol=1e-5)


def test_a_random_start_repeats_and_stays_in_the_ball():
    module = Linear()
    starts = [l2_pgd(module, UNIT, GRAY, 0, steps=0, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert (starts[0] != starts[2]).any()
    assert all(0 < np.linalg.norm(start - GRAY / 255) <= 1 + 1e-6 for start in starts)


def test_no_gradient_is_no_change():
    class Constant(torch.nn.Module):
        def forward(self, batch):
            return batch.sum(dim=(1, 2, 3))[:, None] * torch.zeros(2)

    np.testing.assert_allclose(l2_pgd(Constant(), UNIT, GRAY, 0), GRAY / 255, atol=1e-6)


def test_the_module_is_left_as_it_was():
    module = Linear().train()
    module.dropout.eval()
    before = module.weight.detach().clone()
    with torch.no_grad():
        l2_pgd(module, UNIT, GRAY, 0)
    assert module.training
    assert not module.dropout.training
    assert module.weight.grad is None
    assert module.weight.requires_grad
    assert torch.equal(module.weight, before)


def test_attacked_patches_replace_clean_ones():
    module = Linear().eval()

    def function(batch):
        with torch.no_grad():
            return module(torch.from_numpy(batch))

    model = ix.CallableClassifier(function, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    sample = Sample.of(model, GRAY)
    trace = trace_adversarial(sample, module, [3, 2, 0, 1, 4, 5], regions=(2, 3), radius=20, step_size=5)
    assert trace.correct[0]
    assert not trace.correct[-1]
    assert trace.options["replacement"] == "l2_pgd"
    none = trace_adversarial(sample, module, [3, 2, 0, 1, 4, 5], regions=(2, 3), radius=0)
    assert none.correct.all()


@pytest.mark.parametrize("options", [{"radius": -1}, {"step_size": -1}, {"steps": -1}])
def test_bad_options_are_refused(options):
    with pytest.raises(ix.ArgumentError, match=r"at least 0|in 0 ... 1e"):
        l2_pgd(Linear(), UNIT, GRAY, 0, **options)
