"""The data sets of BioX-Bridge, and of AI4PAIN, in the layout in which they are published."""

from jaxbridge.data.published.ai4pain import Ai4Pain
from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.wesad import Wesad

__all__ = ["Ai4Pain", "Fog", "Isruc", "Wesad"]
