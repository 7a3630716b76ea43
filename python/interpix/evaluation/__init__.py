"""Attribution methods evaluated over thousands of images: resumable, in several processes or on Ray."""

from interpix.evaluation.result import Evaluation, load_evaluation
from interpix.evaluation.run import evaluate

__all__ = ["Evaluation", "evaluate", "load_evaluation"]
