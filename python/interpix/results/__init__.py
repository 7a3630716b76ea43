"""What comes out: frozen raw numbers with their provenance, in one family of results."""

from interpix.results.attribution import Attribution
from interpix.results.base import Result, save_all
from interpix.results.catalogue import Catalogue
from interpix.results.explanation import Explanation
from interpix.results.files import load, load_all
from interpix.results.stability import Stability
from interpix.results.why import Why

__all__ = ["Attribution", "Catalogue", "Explanation", "Result", "Stability", "Why", "load", "load_all", "save_all"]
