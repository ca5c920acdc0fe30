"""The data sets of BioX-Bridge in the layout in which they are published."""

from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.wesad import Wesad

__all__ = ["Fog", "Isruc", "Wesad"]
